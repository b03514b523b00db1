//! TLS over which socket.

use super::{TlsClientConfig, TlsServerConfig};
use crate::config::{TcpConnectConfig, TcpListenConfig, UdsConnectConfig, UdsListenConfig};

/// What is below TLS.
#[derive(Debug, Clone)]
pub(crate) enum TlsSocket<T, U> {
    Tcp(T),
    Uds(U),
}

/// A TLS listener: a socket and the certificates.
#[derive(Debug, Clone)]
pub struct TlsListenConfig {
    pub(crate) socket: TlsSocket<TcpListenConfig, UdsListenConfig>,
    pub(crate) tls: TlsServerConfig,
}

impl TlsListenConfig {
    /// On TCP.
    #[must_use]
    pub const fn tcp(socket: TcpListenConfig, tls: TlsServerConfig) -> Self {
        Self { socket: TlsSocket::Tcp(socket), tls }
    }

    /// On a Unix socket.
    #[must_use]
    pub const fn uds(socket: UdsListenConfig, tls: TlsServerConfig) -> Self {
        Self { socket: TlsSocket::Uds(socket), tls }
    }
}

/// A TLS client's connection: a socket, and whom to trust.
#[derive(Debug, Clone)]
pub struct TlsConnectConfig {
    pub(crate) socket: TlsSocket<TcpConnectConfig, UdsConnectConfig>,
    pub(crate) tls: TlsClientConfig,
}

impl TlsConnectConfig {
    /// Over TCP.
    #[must_use]
    pub const fn tcp(socket: TcpConnectConfig, tls: TlsClientConfig) -> Self {
        Self { socket: TlsSocket::Tcp(socket), tls }
    }

    /// Over a Unix socket. The TLS configuration must have a server name.
    #[must_use]
    pub const fn uds(socket: UdsConnectConfig, tls: TlsClientConfig) -> Self {
        Self { socket: TlsSocket::Uds(socket), tls }
    }
}
