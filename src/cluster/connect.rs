//! Outgoing connections that any thread asks the cluster for: TCP and Unix.

use std::net::SocketAddr;

use super::ClusterHandle;
use crate::config::{TcpConnectConfig, UdsConnectConfig};
use crate::error::Result;

impl ClusterHandle {
    /// Has the shard with the fewest connections connect to a TCP address; which shard that is.
    /// There `Event::Connected` or `Event::Disconnected` follows, of a connection whose `user_data`
    /// is the token, or `Event::ConnectFailed` with the token.
    ///
    /// # Errors
    /// `ShardDown` when no shard runs; `QueueFull`.
    pub fn tcp_connect(&self, addr: SocketAddr, token: u64) -> Result<u16> {
        self.tcp_connect_with(TcpConnectConfig::new(addr), token)
    }

    /// The same to a TCP address or host.
    ///
    /// # Errors
    /// As [`tcp_connect`](Self::tcp_connect); `InvalidConfig`.
    pub fn tcp_connect_with(&self, config: TcpConnectConfig, token: u64) -> Result<u16> {
        config.validate()?;
        self.ask(token, move |engine| engine.tcp_connect(config))
    }

    /// The same to a Unix socket.
    ///
    /// # Errors
    /// As [`tcp_connect`](Self::tcp_connect).
    pub fn uds_connect(&self, path: &str, token: u64) -> Result<u16> {
        self.uds_connect_with(UdsConnectConfig::new(path), token)
    }

    /// The same to a Unix socket.
    ///
    /// # Errors
    /// As [`tcp_connect`](Self::tcp_connect).
    pub fn uds_connect_with(&self, config: UdsConnectConfig, token: u64) -> Result<u16> {
        self.ask(token, move |engine| engine.uds_connect(config))
    }
}
