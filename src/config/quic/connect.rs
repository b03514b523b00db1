//! What an outgoing QUIC connection is made with.

use std::net::SocketAddr;
use std::time::Duration;

use super::transport::QuicTransport;
use crate::config::check_ms;
use crate::config::{HostOrAddr, SessionTicket, TlsClientConfig};
use crate::error::{IoError, Result};
use crate::ids::EndpointId;

/// An outgoing QUIC connection. Connections share a socket per address family, unless `bind` or
/// `endpoint` says otherwise.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QuicConnectConfig {
    /// Where to connect to. The server's certificate must be for this host or address, unless
    /// [`server_name`](crate::TlsClientBuilder::server_name) says otherwise. The addresses of a
    /// host race, each with a handshake of its own: see [`HostOrAddr::Host`].
    pub target: HostOrAddr,
    /// Whom to trust, and ALPN. TLS 1.3 must be among its versions.
    pub tls: TlsClientConfig,
    /// What the connection is made with.
    pub transport: QuicTransport,
    /// A socket of its own at this local address, port 0 for any. It goes with the connection.
    /// Default: the socket that connections to that family share, bound to no address.
    pub bind: Option<SocketAddr>,
    /// The listener whose socket is used instead, so that peers see one address for both
    /// directions. An IPv6 socket reaches IPv4 when it is bound to the wildcard and dual-stack.
    /// Default none; not together with `bind`.
    pub endpoint: Option<EndpointId>,
    /// How long connecting may take, name resolution and handshake included. Default 30 s; 10 ms to
    /// 1 h.
    pub connect_timeout: Duration,
    /// How long one address of a host is waited for before the next one is tried beside it, the
    /// Connection Attempt Delay of RFC 8305 §5. Default 250 ms; 10 ms to 2 s.
    pub attempt_delay: Duration,
    /// Lets [`early_data_send`](crate::Io::early_data_send) send before the handshake is done
    /// (0-RTT, RFC 9001 §4.6), where there is a ticket of a server that takes it. Whoever recorded
    /// that can send it again to the server: say yes only for what does no harm twice. To a host
    /// nothing is sent early, as its addresses race. Default off.
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
    pub fn new(target: impl Into<HostOrAddr>, tls: TlsClientConfig) -> Self {
        Self {
            target: target.into(),
            tls,
            transport: QuicTransport::default(),
            bind: None,
            endpoint: None,
            connect_timeout: Duration::from_secs(30),
            attempt_delay: Duration::from_millis(250),
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
    /// [`IoError::InvalidArgument`] for `bind` together with `endpoint`, and when the ticket is
    /// another server's; [`IoError::TlsConfig`](crate::IoError::TlsConfig) when `tls` lacks TLS
    /// 1.3.
    pub fn validate(&self) -> Result<()> {
        self.transport.validate()?;
        if self.bind.is_some() && self.endpoint.is_some() {
            return Err(IoError::InvalidArgument {
                what: "QuicConnectConfig::bind",
                why: "the socket of an endpoint is bound already; give one of the two",
            });
        }
        // RFC 8305 §5: not less than 10 ms, and 2 s is the recommended maximum.
        let delay = self.attempt_delay;
        check_ms("QuicConnectConfig::attempt_delay", delay, 10, 2000, "10 to 2000 ms")?;
        let timeout = self.connect_timeout;
        let field = "QuicConnectConfig::connect_timeout";
        check_ms(field, timeout, 10, 3_600_000, "10 to 3,600,000 ms")?;
        if let Some(ticket) = &self.ticket {
            let name = self.tls.server_name_for(Some(&self.target))?;
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
