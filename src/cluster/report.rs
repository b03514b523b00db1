//! What became of the shards.

use crate::error::IoError;

/// How a shard's thread ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardExit {
    /// Its loop returned.
    Done,
    /// The shard could not be grown, or its loop returned this.
    Failed(IoError),
    /// Its loop panicked, with that message.
    Panicked(String),
}

/// What became of one shard.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardReport {
    /// Its number.
    pub shard: u16,
    /// How often it began anew.
    pub restarts: u32,
    /// How its last thread ended.
    pub exit: ShardExit,
}

/// What became of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterReport {
    /// By their numbers.
    pub shards: Vec<ShardReport>,
}

impl ClusterReport {
    /// Whether every shard's last loop returned in order.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.shards.iter().all(|report| report.exit == ShardExit::Done)
    }
}
