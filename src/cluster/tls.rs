//! TLS listeners of a cluster.

use std::net::SocketAddr;

use super::IoCluster;
use crate::config::{TcpListenConfig, TlsListenConfig, TlsServerConfig, TlsSocket};
use crate::error::Result;
use crate::ids::ClusterEndpoint;
use crate::proto::tls::Acceptor;

impl IoCluster {
    /// Listens for TLS on a TCP address with the defaults of [`TcpListenConfig`]. Sessions are
    /// resumed on whichever shard a client comes back to.
    ///
    /// # Errors
    /// As [`tcp_listen_with`](Self::tcp_listen_with).
    pub fn tls_listen(
        &mut self,
        addr: SocketAddr,
        tls: TlsServerConfig,
    ) -> Result<ClusterEndpoint> {
        self.open_tcp(TcpListenConfig::new(addr), Some(Acceptor::new(tls)))
    }

    /// Listens for TLS on TCP or Unix sockets.
    ///
    /// # Errors
    /// As [`tcp_listen_with`](Self::tcp_listen_with) and
    /// [`uds_listen_with`](Self::uds_listen_with).
    pub fn tls_listen_with(&mut self, config: TlsListenConfig) -> Result<ClusterEndpoint> {
        let TlsListenConfig { socket, tls } = config;
        let acceptor = Some(Acceptor::new(tls));
        match socket {
            TlsSocket::Tcp(config) => self.open_tcp(config, acceptor),
            TlsSocket::Uds(config) => self.open_uds(config, acceptor),
        }
    }
}
