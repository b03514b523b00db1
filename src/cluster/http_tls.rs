//! HTTPS servers of a cluster.

use std::net::SocketAddr;

use super::IoCluster;
use crate::config::{HttpListenConfig, TcpListenConfig, TlsServerConfig};
use crate::error::Result;
use crate::ids::ClusterEndpoint;
use crate::proto::tls::Acceptor;

impl IoCluster {
    /// Serves HTTPS on a TCP address, with the defaults of [`HttpListenConfig`].
    ///
    /// # Errors
    /// As [`http_listen_with`](Self::http_listen_with).
    pub fn http_listen_tls(
        &mut self,
        addr: SocketAddr,
        tls: TlsServerConfig,
    ) -> Result<ClusterEndpoint> {
        self.http_listen_tls_with(HttpListenConfig::new(TcpListenConfig::new(addr)), tls)
    }

    /// Serves HTTPS.
    ///
    /// # Errors
    /// As [`http_listen_with`](Self::http_listen_with).
    pub fn http_listen_tls_with(
        &mut self,
        config: HttpListenConfig,
        tls: TlsServerConfig,
    ) -> Result<ClusterEndpoint> {
        self.open_http(config, Some(Acceptor::new(tls)))
    }
}
