//! Where the showcase runs: on one shard, or on a cluster of them.

use zero_io::{Io, IoCluster};

pub(super) enum Host {
    Alone(Box<Io>),
    Cluster(Box<IoCluster>),
}

/// The same on whatever it is.
macro_rules! on {
    ($host:expr, $io:ident => $call:expr) => {
        match $host {
            $crate::host::Host::Alone($io) => $call,
            $crate::host::Host::Cluster($io) => $call,
        }
    };
}
pub(super) use on;
