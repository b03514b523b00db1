//! [`ClusterHandle`]: the way from other threads to the shards, and to their supervisor.

use std::sync::Arc;

use super::ClusterReadiness;
use super::stats::ClusterStats;
use crate::config::{DrainOptions, EffectiveRouting};
use crate::engine::Engine;
use crate::engine::fleet::ask::Ask;
use crate::engine::fleet::connect::Connect;
use crate::engine::fleet::shared::Shared;
use crate::error::Result;
use crate::ids::ConnId;
use crate::io::IoHandle;

/// Reaches the shards of a cluster from any thread. Cheap to clone.
#[derive(Clone)]
pub struct ClusterHandle {
    shared: Arc<Shared>,
}

impl ClusterHandle {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// How many shards there are.
    #[must_use]
    pub fn shard_count(&self) -> u16 {
        self.shared.count()
    }

    /// Sends the loop of a shard a message: `Event::User` with this token and no data. The shard is
    /// woken if it sleeps.
    ///
    /// # Errors
    /// `NoSuchShard`, `ShardDown`, `QueueFull`.
    pub fn post_to(&self, shard: u16, token: u64) -> Result<()> {
        self.post(shard, token, None)
    }

    /// Sends the loop of a shard a message with up to `Config::pool_slot_size` bytes, which are
    /// copied into that shard's reserve: `Event::User`.
    ///
    /// # Errors
    /// `NoSuchShard`, `ShardDown`, `QueueFull`; `BufferTooLarge`; `PoolExhausted` when all of the
    /// shard's `Config::handle_reserve_count` are out.
    pub fn post_data_to(&self, shard: u16, token: u64, data: &[u8]) -> Result<()> {
        self.post(shard, token, Some(data))
    }

    fn post(&self, shard: u16, token: u64, data: Option<&[u8]>) -> Result<()> {
        self.shared.post(shard, token, data)?;
        self.shared.nudge(shard);
        Ok(())
    }

    /// The handle of a shard, for the life that it has now: afterwards its calls say `IoGone`.
    ///
    /// # Errors
    /// `NoSuchShard`, `ShardDown`.
    pub fn io_handle(&self, shard: u16) -> Result<IoHandle> {
        self.shared.with_resident(shard, |resident| {
            let (commands, gate) = (resident.commands.clone(), Arc::clone(&resident.gate));
            IoHandle::from_parts(commands, gate, Arc::clone(&resident.pool), resident.guards)
        })
    }

    /// What the shards have done so far, as each posted it up last: before it slept, or within the
    /// last 10 ms or tick of its running. No shard is asked, nor stopped.
    #[must_use]
    pub fn stats(&self) -> ClusterStats {
        ClusterStats::of(&self.shared)
    }

    /// Has a shard make a connection; which one. The shard is that with the fewest connections, or
    /// the next of several.
    pub(super) fn ask(
        &self,
        token: u64,
        dial: impl FnOnce(&mut Engine) -> Result<ConnId> + Send + 'static,
    ) -> Result<u16> {
        self.shared.ask_to_connect(Connect::new(token, dial))
    }

    /// Has the cluster end: it says [`Draining`](ClusterReadiness::Draining) for the grace, then
    /// listeners take nothing new, what is in their backlogs is accepted and served, and what is
    /// left of it after the deadline is closed. Asked for, not done: `run` returns when it is, or
    /// `supervise` says so. Asked for again, the sooner end counts.
    ///
    /// # Errors
    /// `QueueFull` when the supervisor has much to hear: try again.
    pub fn shutdown(&self, drain: DrainOptions) -> Result<()> {
        if self.shared.ask(Ask::Shutdown(drain))? {
            self.shared.set_readiness(ClusterReadiness::Draining);
        }
        Ok(())
    }

    /// Has one shard end, as [`shutdown`](Self::shutdown) does all, while the others serve: they
    /// get the connections that come to its sockets.
    ///
    /// # Errors
    /// `ClusterBusy` while it starts or drains; `ShardDown` when it is gone, or the supervisor is;
    /// `NoSuchShard`; `QueueFull`.
    pub fn drain_shard(&self, shard: u16, drain: DrainOptions) -> Result<()> {
        self.shared.ask_to_leave(shard, drain, false)
    }

    /// The same, and then it begins anew; at once, if it is gone. Connections that come in the
    /// meantime go to the others, or wait if there are none.
    ///
    /// # Errors
    /// As [`drain_shard`](Self::drain_shard), but that it is gone.
    pub fn restart_shard(&self, shard: u16, drain: DrainOptions) -> Result<()> {
        self.shared.ask_to_leave(shard, drain, true)
    }

    /// Has all programs that choose among sockets made anew, as
    /// [`IoCluster::reload_ports`](crate::IoCluster::reload_ports) does, which is out of reach
    /// while the cluster runs: each takes the place of the one before between two packets, so no
    /// packet is lost, and shards that are gone get none. Asked for, not done:
    /// [`ClusterStats::reloads`] counts, or `RELOAD_REFUSED` is among the warnings of
    /// [`effective_routing`](Self::effective_routing), and the log has why. A cluster that is over
    /// has nothing to make anew.
    ///
    /// # Errors
    /// `QueueFull` when the supervisor has much to hear: try again.
    pub fn reload_ports(&self) -> Result<()> {
        self.shared.ask(Ask::Reload).map(drop)
    }

    /// How packets are routed, and what is odd about the cluster now.
    #[must_use]
    pub fn effective_routing(&self) -> EffectiveRouting {
        self.shared.routing()
    }

    /// How ready the cluster is, for load balancers.
    #[must_use]
    pub fn readiness(&self) -> ClusterReadiness {
        self.shared.readiness()
    }

    /// How ready one shard is.
    ///
    /// # Errors
    /// `NoSuchShard`.
    pub fn shard_readiness(&self, shard: u16) -> Result<ClusterReadiness> {
        self.shared.shard_readiness(shard)
    }
}

impl std::fmt::Debug for ClusterHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterHandle").field("shards", &self.shared.count()).finish()
    }
}
