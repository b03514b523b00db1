//! TCP and Unix listeners of a cluster.

use std::net::SocketAddr;

use super::IoCluster;
use super::groups::Socket;
use crate::config::{ExpectedProtocols, TcpListenConfig, UdsListenConfig};
use crate::engine::fleet::listen::What;
use crate::error::Result;
use crate::ids::ClusterEndpoint;
use crate::proto::tls::Acceptor;
use crate::transport::Terms;

impl IoCluster {
    /// Listens on a TCP address with the defaults of [`TcpListenConfig`].
    ///
    /// # Errors
    /// As [`tcp_listen_with`](Self::tcp_listen_with).
    pub fn tcp_listen(&mut self, addr: SocketAddr) -> Result<ClusterEndpoint> {
        self.tcp_listen_with(TcpListenConfig::new(addr))
    }

    /// Listens on a TCP address with a socket for every shard. Each connection is one shard's,
    /// which tells of it by `Event::Connected`.
    ///
    /// # Errors
    /// `AddrInUse`, also when somebody else's sockets would share the address; `InvalidConfig`;
    /// `PoolExhausted` when `Config::max_endpoints` are open; `NofileLimit`; `Os`.
    pub fn tcp_listen_with(&mut self, config: TcpListenConfig) -> Result<ClusterEndpoint> {
        self.open_tcp(config, None)
    }

    /// Listens on a Unix socket path, or on an abstract name (`@name`).
    ///
    /// # Errors
    /// As [`uds_listen_with`](Self::uds_listen_with).
    pub fn uds_listen(&mut self, path: &str) -> Result<ClusterEndpoint> {
        self.uds_listen_with(UdsListenConfig::new(path))
    }

    /// Listens on a Unix socket, which all shards share: whoever is first accepts.
    ///
    /// # Errors
    /// As [`Io::uds_listen_with`](crate::Io::uds_listen_with).
    pub fn uds_listen_with(&mut self, config: UdsListenConfig) -> Result<ClusterEndpoint> {
        self.open_uds(config, None)
    }

    pub(super) fn open_tcp(
        &mut self,
        config: TcpListenConfig,
        tls: Option<Acceptor>,
    ) -> Result<ClusterEndpoint> {
        let terms = Terms::new(config.timeouts, tls, config.proxy.as_ref())?;
        let what = What::Stream { terms, framing: config.framing };
        self.open(ExpectedProtocols::TCP, Socket::Tcp(config), what)
    }

    pub(super) fn open_uds(
        &mut self,
        config: UdsListenConfig,
        tls: Option<Acceptor>,
    ) -> Result<ClusterEndpoint> {
        let terms = Terms::new(config.timeouts, tls, config.proxy.as_ref())?;
        let what = What::Stream { terms, framing: config.framing };
        self.open(ExpectedProtocols::UDS, Socket::Uds(config), what)
    }
}
