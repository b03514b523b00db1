//! TLS listeners of a cluster.

use std::net::SocketAddr;

use super::IoCluster;
use crate::config::{
    CertReloadHandle, TcpListenConfig, TlsListenConfig, TlsServerConfig, TlsSocket,
};
use crate::engine::fleet::listen::What;
use crate::error::{IoError, Result};
use crate::ids::ClusterEndpoint;
use crate::proto::tls::Acceptor;

const NOT_TLS: IoError = IoError::InvalidArgument {
    what: "cluster endpoint",
    why: "it is not a listener of TLS; use the id that tls_listen or quic_listen gave",
};

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

    /// Replaces the certificates of a TLS or QUIC listener while it runs, on all shards at once and
    /// from any thread. Connections in their handshake keep the old certificate, new ones get the
    /// new one; a bad pair is refused.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not a listener of TLS or QUIC, or of another cluster.
    pub fn enable_cert_hot_reload(
        &mut self,
        endpoint: ClusterEndpoint,
    ) -> Result<CertReloadHandle> {
        match self.group(endpoint)?.what() {
            What::Stream { terms, .. } | What::Http { terms, .. } => {
                let acceptor = terms.tls.as_ref().ok_or(NOT_TLS)?;
                Ok(acceptor.config().reload_handle())
            }
            What::Quic(plan) => Ok(plan.reload()),
            What::Udp(_) => Err(NOT_TLS),
        }
    }
}
