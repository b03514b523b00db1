//! [`ClusterStats`]: what the shards have done, summed without asking them.

use crate::engine::fleet::shared::Shared;
use crate::stats::{FleetStats, IoStats};

/// What one shard has done, in all of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ShardStats {
    /// Its number.
    pub shard: u16,
    /// Connections that it has, those included that are being made.
    pub connections: u64,
    /// As [`Io::io_stats`](crate::Io::io_stats).
    pub io: IoStats,
    /// As [`ShardIo::fleet_stats`](crate::ShardIo::fleet_stats).
    pub fleet: FleetStats,
}

/// What the shards of a cluster have done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterStats {
    /// By their numbers.
    pub shards: Vec<ShardStats>,
}

impl ClusterStats {
    pub(super) fn of(shared: &Shared) -> Self {
        let of = |shard| {
            let posted = shared.posted(shard);
            let (connections, io, fleet) = (posted.connections, posted.io, posted.fleet);
            ShardStats { shard, connections, io, fleet }
        };
        Self { shards: (0..shared.count()).map(of).collect() }
    }

    /// The sums of all shards. They only grow.
    #[must_use]
    pub fn total(&self) -> (IoStats, FleetStats) {
        let mut total = (IoStats::default(), FleetStats::default());
        for shard in &self.shards {
            total.0 += shard.io;
            total.1 += shard.fleet;
        }
        total
    }

    /// The connections of all shards.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shards.iter().map(|shard| shard.connections).sum()
    }
}
