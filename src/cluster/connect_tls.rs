//! Outgoing connections that any thread asks the cluster for: TLS.

use super::ClusterHandle;
use crate::config::TlsConnectConfig;
use crate::error::Result;

impl ClusterHandle {
    /// Has the shard with the fewest connections connect and shake hands; which shard that is. See
    /// [`tcp_connect`](Self::tcp_connect).
    ///
    /// # Errors
    /// `ShardDown` when no shard runs; `QueueFull`.
    pub fn tls_connect_with(&self, config: TlsConnectConfig, token: u64) -> Result<u16> {
        self.ask(token, move |engine| engine.tls_connect(config))
    }
}
