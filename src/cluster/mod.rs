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
//! - Whatever begins, ends or saves shards happens in `supervise`, on one thread.

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
#[cfg(feature = "quic")]
mod quic;
mod report;
mod rescue;
mod route;
mod run;
mod seed;
mod shard;
#[cfg(feature = "_sim")]
mod sim;
mod stats;
#[cfg(feature = "tcp")]
mod stream;
mod supervise;
#[cfg(feature = "tls")]
mod tls;
mod udp;

use std::sync::Arc;

pub use crate::engine::fleet::ready::ClusterReadiness;
pub use handle::ClusterHandle;
pub use report::{ClusterReport, ShardExit, ShardReport};
pub use seed::ShardSeed;
pub use shard::ShardIo;
pub use stats::{ClusterStats, ShardStats};
pub use supervise::Supervised;

use crate::config::{ClusterConfig, EffectiveRouting, ExpectedProtocols, random_keys};
use crate::engine::fleet::ask::Desk;
use crate::engine::fleet::mail::Mail;
use crate::engine::fleet::shared::Shared;
use crate::error::Result;
use crate::ring::ports::Ports;
use crate::sys::control::Control;
use groups::Group;
use rescue::Rescue;
use route::Plans;
use supervise::{Place, Stopping};

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
///             if let Event::StreamFrame { conn, stream, data, .. } = event
///                 && sender.stream_write(conn, stream, data) != Ok(data.len())
///             {
///                 // It is gone, or reads nothing: it ends alone.
///                 let _ = sender.close(conn);
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
    plans: Plans,
    /// The processor of each shard.
    cpus: Vec<Option<usize>>,
    ports: Ports,
    groups: Vec<Group>,
    shared: Arc<Shared>,
    /// What the supervisor sleeps on, and hears.
    control: Control,
    desk: Desk,
    places: Vec<Place>,
    /// Of all shards.
    stopping: Option<Stopping>,
    rescue: Rescue,
    /// What found no room in a shard's mail, in order.
    outbox: Vec<(u16, Mail)>,
}

impl IoCluster {
    /// Checks the configuration and finds out how packets can be routed. No thread and no ring are
    /// made yet.
    ///
    /// # Errors
    /// `InvalidConfig` names the field; `NofileLimit`; `RoutingRefused` when the strategy that was
    /// asked for cannot be had; `Os`.
    pub fn new(config: ClusterConfig) -> Result<Self> {
        Self::with_ports(config, Ports::Os)
    }

    fn with_ports(mut config: ClusterConfig, mut ports: Ports) -> Result<Self> {
        config.validate()?;
        if config.keys.is_none() && config.expected_protocols.contains(ExpectedProtocols::QUIC) {
            config.keys = random_keys()?;
        }
        let (cpus, warnings) = route::place(&config)?;
        let plans = Plans::new(&config, &cpus, &mut ports)?;
        let mut routing = route::choose(&config, &plans, &mut ports)?;
        routing.warnings |= warnings;
        crate::trace::routing(&routing);
        let shards = config.shard_count;
        let control = Control::new()?;
        let (shared, desk) = Shared::new(&config, routing, control.waker());
        Ok(Self {
            plans,
            cpus,
            ports,
            groups: Vec::new(),
            shared: Arc::new(shared),
            control,
            desk,
            places: (0..shards).map(|_| Place::NEW).collect(),
            stopping: None,
            rescue: Rescue::NEW,
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
        self.shared.routing()
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
            .field("routing", &self.shared.routing())
            .finish_non_exhaustive()
    }
}
