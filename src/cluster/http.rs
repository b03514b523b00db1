//! HTTP servers of a cluster.

use std::net::SocketAddr;

use super::IoCluster;
use super::groups::Socket;
use crate::config::{ExpectedProtocols, HttpListenConfig, HttpSocket, TcpListenConfig};
use crate::engine::fleet::listen::What;
use crate::error::{IoError, Result};
use crate::ids::ClusterEndpoint;
use crate::proto::tls::Acceptor;
use crate::transport::Terms;

const NO_ADDRESS: IoError = IoError::InvalidArgument {
    what: "HttpListenConfig::socket",
    why: "a cluster makes a socket for each shard, and an adopted one has no address to share",
};

impl IoCluster {
    /// Serves HTTP on a TCP address, with the defaults of [`HttpListenConfig`].
    ///
    /// # Errors
    /// As [`http_listen_with`](Self::http_listen_with).
    pub fn http_listen(&mut self, addr: SocketAddr) -> Result<ClusterEndpoint> {
        self.http_listen_with(HttpListenConfig::new(TcpListenConfig::new(addr)))
    }

    /// Serves HTTP.
    ///
    /// # Errors
    /// As [`tcp_listen_with`](Self::tcp_listen_with) and
    /// [`uds_listen_with`](Self::uds_listen_with); `InvalidArgument` for an adopted socket.
    pub fn http_listen_with(&mut self, config: HttpListenConfig) -> Result<ClusterEndpoint> {
        self.open_http(config, None)
    }

    pub(super) fn open_http(
        &mut self,
        config: HttpListenConfig,
        tls: Option<Acceptor>,
    ) -> Result<ClusterEndpoint> {
        config.validate()?;
        let (expected, socket) = match &config.socket {
            HttpSocket::Tcp(tcp) => (ExpectedProtocols::TCP, Socket::Tcp(tcp.clone())),
            HttpSocket::Uds(uds) => (ExpectedProtocols::UDS, Socket::Uds(uds.clone())),
            HttpSocket::Adopted(_) => return Err(NO_ADDRESS),
        };
        let terms = Terms::new(config.socket.timeouts(), tls, config.socket.proxy())?;
        let what = What::Http { terms, plan: Box::new(config) };
        self.open(expected, socket, what)
    }
}
