//! [`IoCluster`]: several shards behind the same addresses.
//!
//! Role: the sockets of all shards, who gets which, and the threads that run them. Not role: what
//! a shard does (it is an ordinary `Io`), what lies between the threads (`engine::fleet`).
//!
//! *Invariants*
//! - All sockets of an endpoint are made here, in the order of the shards, and kept open for as
//!   long as the cluster lives: shards have duplicates. So a socket's place among them never
//!   changes, whatever becomes of its shard.
//! - Nothing here holds a lock or waits for a shard, but `run`, which waits for the last one's end.

#[cfg(feature = "tcp")]
mod connect;
#[cfg(feature = "quic")]
mod connect_quic;
#[cfg(feature = "tls")]
mod connect_tls;
mod groups;
mod handle;
#[cfg(feature = "http")]
mod http;
#[cfg(all(feature = "http", feature = "tls"))]
mod http_tls;
mod report;
mod route;
mod run;
mod seed;
mod shard;
mod stats;
#[cfg(feature = "tcp")]
mod stream;
#[cfg(feature = "tls")]
mod tls;
mod udp;

use std::sync::Arc;

pub use handle::ClusterHandle;
pub use report::{ClusterReport, ShardExit, ShardReport};
pub use seed::ShardSeed;
pub use shard::ShardIo;
pub use stats::{ClusterStats, ShardStats};

use crate::config::{ClusterConfig, EffectiveRouting};
use crate::engine::fleet::mail::Mail;
use crate::engine::fleet::shared::Shared;
use crate::error::Result;
use crate::ring::ports::Ports;
use groups::Group;

/// Several shards behind the same addresses: one [`Io`](crate::Io) per core, each on a thread of
/// its own.
///
/// ```no_run
/// use std::time::Duration;
/// use zero_io::{ClusterConfig, Event, IoCluster};
///
/// # fn main() -> zero_io::Result<()> {
/// let mut cluster = IoCluster::new(ClusterConfig::new(2))?;
/// cluster.tcp_listen("127.0.0.1:7000".parse().unwrap())?;
/// cluster.run(|shard| {
///     while shard.is_running() {
///         shard.poll(Duration::from_millis(100))?;
///         let (mut events, mut sender) = shard.split();
///         while let Some(event) = events.next_event() {
///             if let Event::StreamFrame { conn, stream, data, .. } = event {
///                 sender.stream_write(conn, stream, data)?;
///             }
///         }
///     }
///     Ok(())
/// })?;
/// # Ok(())
/// # }
/// ```
pub struct IoCluster {
    config: ClusterConfig,
    routing: EffectiveRouting,
    /// The processor of each shard.
    cpus: Vec<Option<usize>>,
    ports: Ports,
    groups: Vec<Group>,
    shared: Arc<Shared>,
    /// Whether the shard's seed was given out.
    is_out: Vec<bool>,
    /// What found no room in a shard's mail, in order.
    outbox: Vec<(u16, Mail)>,
}

impl IoCluster {
    /// Checks the configuration and finds out how packets can be routed. No thread and no ring are
    /// made yet.
    ///
    /// # Errors
    /// `InvalidConfig` names the field; `RoutingRefused` when the strategy that was asked for
    /// cannot be had; `Os`.
    pub fn new(config: ClusterConfig) -> Result<Self> {
        config.validate()?;
        let mut routing = route::choose(&config)?;
        let (cpus, warnings) = route::place(&config)?;
        routing.warnings |= warnings;
        crate::trace::routing(&routing);
        let shards = config.shard_count;
        Ok(Self {
            routing,
            cpus,
            ports: Ports::Os,
            groups: Vec::new(),
            shared: Arc::new(Shared::new(shards, config.mail_entries)),
            is_out: vec![false; shards.into()],
            outbox: Vec::new(),
            config,
        })
    }

    /// How many shards there are.
    #[must_use]
    pub fn shard_count(&self) -> u16 {
        self.config.shard_count
    }

    /// How packets are routed, and what is odd about the cluster.
    #[must_use]
    pub fn effective_routing(&self) -> EffectiveRouting {
        self.routing
    }

    /// A way for other threads to reach the shards.
    #[must_use]
    pub fn handle(&self) -> ClusterHandle {
        ClusterHandle::new(Arc::clone(&self.shared))
    }
}

impl std::fmt::Debug for IoCluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IoCluster")
            .field("shards", &self.config.shard_count)
            .field("routing", &self.routing)
            .finish_non_exhaustive()
    }
}
