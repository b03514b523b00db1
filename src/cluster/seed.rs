//! [`ShardSeed`]: a shard on its way to its thread.

use std::marker::PhantomData;
use std::sync::Arc;

use super::supervise::State;
use super::{IoCluster, ShardIo};
use crate::config::Config;
use crate::engine::fleet::ask::Left;
use crate::engine::fleet::listen::ListenPlan;
use crate::engine::fleet::mail::Mail;
use crate::engine::fleet::shared::Shared;
use crate::error::Result;
use crate::io::Io;
use crate::ring::ports::Passed;
use crate::sync::mpsc::Consumer;

/// What a [`ShardIo`] is grown from. `Send`, as the shard is not: move it to the thread and
/// [`grow`](Self::grow) it there. Dropped instead, the shard is down.
///
/// ```compile_fail
/// # let mut cluster = zero_io::IoCluster::new(zero_io::ClusterConfig::new(1)).unwrap();
/// let seed = cluster.seeds().unwrap().pop().unwrap();
/// let once = seed.grow();
/// let twice = seed.grow();
/// ```
pub struct ShardSeed {
    shard: u16,
    cpu: Option<usize>,
    config: Config,
    shared: Arc<Shared>,
    mail: Consumer<Mail>,
    parts: Vec<(ListenPlan, Passed)>,
    life: Life,
}

/// A life of a shard: the supervisor hears when it is over.
#[derive(Debug)]
pub(super) struct Life {
    shared: Arc<Shared>,
    shard: u16,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.shared.left(Left { shard: self.shard, panicked: std::thread::panicking() });
    }
}

impl ShardSeed {
    /// The shard's number.
    #[must_use]
    pub const fn shard(&self) -> u16 {
        self.shard
    }

    /// The processor that its thread belongs on:
    /// [`pin_current_thread`](crate::pin_current_thread).
    #[must_use]
    pub const fn cpu(&self) -> Option<usize> {
        self.cpu
    }

    /// Makes the shard on this thread.
    ///
    /// # Errors
    /// As [`Io::new`]. The shard is down then.
    pub fn grow(self) -> Result<ShardIo> {
        self.grow_with(Io::new)
    }

    pub(super) fn grow_with(self, make: impl FnOnce(Config) -> Result<Io>) -> Result<ShardIo> {
        let Self { shard, config, shared, mail, parts, life, .. } = self;
        let mut io = make(config)?;
        io.engine().join(shared, shard, mail, parts)?;
        Ok(ShardIo { io, _life: life, _here: PhantomData })
    }
}

impl std::fmt::Debug for ShardSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardSeed").field("shard", &self.shard).finish_non_exhaustive()
    }
}

impl IoCluster {
    /// The shards whose seeds are not out, for who has threads of his own; all of them, the first
    /// time. Keep the cluster, and call [`supervise`](Self::supervise): it holds the sockets, and
    /// what handles ask for is done there.
    ///
    /// # Errors
    /// `NofileLimit`; `Os`: no seed is out then.
    pub fn seeds(&mut self) -> Result<Vec<ShardSeed>> {
        self.deliver();
        let is_waiting = |s: &u16| self.places[usize::from(*s)].state == State::Waiting;
        let shards = (0..self.config.shard_count).filter(is_waiting);
        let shards = shards.collect::<Vec<_>>();
        // A seed that is dropped is the end of a life: none is made before all can be.
        let parts = shards.iter().map(|shard| self.parts(*shard)).collect::<Result<Vec<_>>>()?;
        let seeds = shards.iter().zip(parts).map(|(shard, parts)| self.seed_of(*shard, parts));
        let seeds = seeds.collect::<Result<Vec<_>>>()?;
        for shard in shards {
            self.places[usize::from(shard)].state = State::Out;
        }
        Ok(seeds)
    }

    pub(super) fn seed(&mut self, shard: u16) -> Result<ShardSeed> {
        let parts = self.parts(shard)?;
        self.seed_of(shard, parts)
    }

    fn seed_of(&self, shard: u16, parts: Vec<(ListenPlan, Passed)>) -> Result<ShardSeed> {
        Ok(ShardSeed {
            shard,
            cpu: self.cpus[usize::from(shard)],
            config: self.config.io.clone(),
            mail: self.shared.begin(shard)?,
            shared: Arc::clone(&self.shared),
            parts,
            life: Life { shared: Arc::clone(&self.shared), shard },
        })
    }
}
