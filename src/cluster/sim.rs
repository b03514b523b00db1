//! [`IoCluster`] on the simulated kernel. For tests; no stability promise.

use super::{IoCluster, ShardIo, ShardSeed};
use crate::config::ClusterConfig;
use crate::error::Result;
use crate::io::Io;
use crate::ring::ports::Ports;
use crate::sim::World;

impl IoCluster {
    /// A cluster whose sockets are a new node's of `world`, and whose shards are others:
    /// [`ShardSeed::grow_in`]. Poll the shards in turn, and call `supervise(Duration::ZERO)` in
    /// between. Give it keys if it speaks QUIC, lest they be new ones in each run.
    ///
    /// # Errors
    /// As [`new`](Self::new), and what the world's faults make fail.
    #[doc(hidden)]
    pub fn in_world(config: ClusterConfig, world: &World) -> Result<Self> {
        Self::with_ports(config, Ports::Sim(world.ports()))
    }
}

impl ShardSeed {
    /// Makes the shard as a new node of `world`.
    ///
    /// # Errors
    /// As [`grow`](Self::grow).
    #[doc(hidden)]
    pub fn grow_in(self, world: &World) -> Result<ShardIo> {
        self.grow_with(|config| Io::in_world(config, world))
    }
}
