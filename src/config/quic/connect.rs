//! What an outgoing QUIC connection is made with.

use std::net::SocketAddr;
use std::time::Duration;

use super::check_ms;
use super::transport::QuicTransport;
use crate::config::TlsClientConfig;
use crate::error::Result;

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
    /// [`IoError::TlsConfig`](crate::IoError::TlsConfig) when `tls` lacks TLS 1.3.
    pub fn validate(&self) -> Result<()> {
        self.transport.validate()?;
        let timeout = self.connect_timeout;
        let field = "QuicConnectConfig::connect_timeout";
        check_ms(field, timeout, 10, 3_600_000, "10 to 3,600,000 ms")?;
        self.tls.quic().map(drop)
    }
}
