//! What an outgoing QUIC connection is made with.

use std::net::SocketAddr;
use std::time::Duration;

use super::check_ms;
use super::transport::QuicTransport;
use crate::config::{HostOrAddr, SessionTicket, TlsClientConfig};
use crate::error::{IoError, Result};

/// An outgoing QUIC connection. Connections share a socket per address family.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QuicConnectConfig {
    /// Where to connect to. The server's certificate must be for this address, unless
    /// [`server_name`](crate::TlsClientBuilder::server_name) says otherwise.
    pub target: SocketAddr,
    /// Whom to trust, and ALPN. TLS 1.3 must be among its versions.
    pub tls: TlsClientConfig,
    /// What the connection is made with.
    pub transport: QuicTransport,
    /// How long connecting may take, the handshake included. Default 30 s; 10 ms to 1 h.
    pub connect_timeout: Duration,
    /// Lets [`early_data_send`](crate::Io::early_data_send) send before the handshake is done
    /// (0-RTT, RFC 9001 §4.6), where there is a ticket of a server that takes it. Whoever recorded
    /// that can send it again to the server: say yes only for what does no harm twice. Default off.
    pub early_data: bool,
    /// What to resume with. Default: what
    /// [`set_session_ticket`](crate::Io::set_session_ticket) was given for the server, otherwise
    /// what a connection of `tls` was given by it.
    pub ticket: Option<SessionTicket>,
    /// Keeps the tokens that servers give out, and shows them at the next connection, which is then
    /// not asked to retry (RFC 9000 §8.1.3). A server knows a client by them. Default on.
    pub new_tokens: bool,
}

impl QuicConnectConfig {
    /// The defaults, towards that address.
    #[must_use]
    pub fn new(target: SocketAddr, tls: TlsClientConfig) -> Self {
        Self {
            target,
            tls,
            transport: QuicTransport::default(),
            connect_timeout: Duration::from_secs(30),
            early_data: false,
            ticket: None,
            new_tokens: true,
        }
    }

    /// The same after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`IoError::InvalidConfig`](crate::IoError::InvalidConfig) with the first bad field;
    /// [`IoError::InvalidArgument`](crate::IoError::InvalidArgument) when the ticket is another
    /// server's; [`IoError::TlsConfig`](crate::IoError::TlsConfig) when `tls` lacks TLS 1.3.
    pub fn validate(&self) -> Result<()> {
        self.transport.validate()?;
        let timeout = self.connect_timeout;
        let field = "QuicConnectConfig::connect_timeout";
        check_ms(field, timeout, 10, 3_600_000, "10 to 3,600,000 ms")?;
        if let Some(ticket) = &self.ticket {
            let target = HostOrAddr::Addr(self.target);
            let name = self.tls.server_name_for(Some(&target))?;
            check_ticket(ticket, &name.to_str())?;
        }
        self.tls.check_quic()
    }
}

/// RFC 8446 §4.6.1: "Clients MUST only resume if the new SNI value is valid for the server
/// certificate presented in the original session", and we know of no other name that is.
pub(crate) fn check_ticket(ticket: &SessionTicket, server_name: &str) -> Result<()> {
    if ticket.server_name().eq_ignore_ascii_case(server_name) {
        return Ok(());
    }
    let why = "another server gave it: see SessionTicket::server_name";
    Err(IoError::InvalidArgument { what: "session ticket", why })
}
