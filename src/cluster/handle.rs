//! [`ClusterHandle`]: the way from other threads to the shards.

use std::sync::Arc;

use super::stats::ClusterStats;
use crate::config::DrainOptions;
use crate::engine::Engine;
use crate::engine::fleet::connect::Connect;
use crate::engine::fleet::mail::{Control, Mail};
use crate::engine::fleet::shared::Shared;
use crate::error::{IoError, Result};
use crate::ids::ConnId;
use crate::io::IoHandle;
use crate::sync::mpsc::PushError;

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

    /// Has every shard leave its loop: [`ShardIo::is_running`](crate::ShardIo::is_running) is false
    /// from its next poll on. Connections end as their shard is dropped. Shards that are not grown
    /// yet find it when they are. Nothing is waited for yet, however long `drain` would allow.
    ///
    /// # Errors
    /// `QueueFull` when the mail of a shard has no room: call again, the others were told.
    pub fn shutdown(&self, drain: DrainOptions) -> Result<()> {
        let DrainOptions { .. } = drain;
        let mut answer = Ok(());
        for shard in 0..self.shared.count() {
            let stop = Mail::Control(Box::new(Control::Stop));
            if let Err(PushError::Full(_)) = self.shared.send(shard, stop) {
                answer =
                    Err(IoError::QueueFull { queue: "mail", capacity: self.shared.mail_entries() });
            }
        }
        answer
    }
}

impl std::fmt::Debug for ClusterHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterHandle").field("shards", &self.shared.count()).finish()
    }
}
