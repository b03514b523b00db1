//! HTTP/1.1 servers behind TLS.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::split::both;
use crate::config::{HttpListenConfig, TcpListenConfig, TlsServerConfig};
use crate::error::Result;
use crate::ids::EndpointId;
use crate::proto::tls::Acceptor;

both! {
    /// Serves HTTPS on a TCP address, with the defaults of [`HttpListenConfig`].
    ///
    /// # Errors
    /// As [`http_listen_with`](Self::http_listen_with).
    pub fn http_listen_tls(
        &mut self_,
        addr: SocketAddr,
        tls: TlsServerConfig,
    ) -> Result<EndpointId> {
        let config = HttpListenConfig::new(TcpListenConfig::new(addr));
        self_.http_listen(&config, Some(Acceptor::new(tls)))
    }

    /// Serves HTTPS.
    ///
    /// # Errors
    /// As [`http_listen_with`](Self::http_listen_with).
    pub fn http_listen_tls_with(
        &mut self_,
        config: HttpListenConfig,
        tls: TlsServerConfig,
    ) -> Result<EndpointId> {
        self_.http_listen(&config, Some(Acceptor::new(tls)))
    }

    /// Serves HTTPS on a socket that listens already.
    ///
    /// # Errors
    /// As [`adopt_http_listener`](Self::adopt_http_listener).
    pub fn adopt_http_listener_tls(
        &mut self_,
        socket: OwnedFd,
        config: HttpListenConfig,
        tls: TlsServerConfig,
    ) -> Result<EndpointId> {
        self_.adopt_http_listener(socket, &config, Some(Acceptor::new(tls)))
    }
}
