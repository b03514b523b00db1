//! HTTP/1.1 servers behind TLS.

use std::net::SocketAddr;

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
}
