//! Outgoing connections that any thread asks the cluster for: QUIC.

use super::ClusterHandle;
use crate::config::QuicConnectConfig;
use crate::error::Result;

impl ClusterHandle {
    /// Has the shard with the fewest connections connect by QUIC; which shard that is. See
    /// [`tcp_connect`](Self::tcp_connect).
    ///
    /// # Errors
    /// `ShardDown` when no shard runs; `QueueFull`.
    pub fn quic_connect_with(&self, config: QuicConnectConfig, token: u64) -> Result<u16> {
        self.ask(token, move |engine| engine.quic_connect(&config))
    }
}
