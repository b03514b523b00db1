//! `IoCluster::run`: a thread for each shard, until the last one ends.
//!
//! *Invariant*: a shard that fails or panics ends alone: its thread's panic is caught there.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, scope};

use super::{ClusterReport, IoCluster, ShardExit, ShardIo, ShardReport, ShardSeed};
use crate::error::{IoError, Result};
use crate::sys::affinity::pin_current_thread;
use crate::sys::errno;

impl IoCluster {
    /// Runs every shard on a thread of its own (`shard-0` and so on), on the processor that
    /// [`ClusterConfig::cpu_affinity`](crate::ClusterConfig::cpu_affinity) says, until the loops of
    /// all have returned.
    ///
    /// A shard that fails or panics does not end the others; the report tells of it. (A program
    /// that is built with `panic = "abort"` ends.)
    ///
    /// # Errors
    /// `NofileLimit`; `Os`: nothing was started.
    pub fn run<F>(mut self, serve: F) -> Result<ClusterReport>
    where
        F: Fn(&mut ShardIo) -> Result<()> + Sync,
    {
        let seeds = self.seeds()?;
        let serve = &serve;
        let shards = scope(|threads| {
            let started = seeds.into_iter().map(|seed| {
                let shard = seed.shard();
                let builder = Builder::new().name(format!("shard-{shard}"));
                (shard, builder.spawn_scoped(threads, move || live(seed, serve)))
            });
            // All of them start before the first is waited for.
            let started = started.collect::<Vec<_>>();
            let ended = started.into_iter().map(|(shard, thread)| {
                let exit = match thread {
                    Ok(thread) => thread.join().unwrap_or_else(|panic| panicked(&*panic)),
                    Err(error) => {
                        let code = error.raw_os_error().unwrap_or(errno::EAGAIN);
                        ShardExit::Failed(IoError::os("pthread_create", code))
                    }
                };
                ShardReport { shard, exit }
            });
            ended.collect()
        });
        Ok(ClusterReport { shards })
    }
}

/// One life of a shard.
fn live<F>(seed: ShardSeed, serve: &F) -> ShardExit
where
    F: Fn(&mut ShardIo) -> Result<()>,
{
    let life = || {
        if let Some(cpu) = seed.cpu() {
            pin_current_thread(cpu)?;
        }
        serve(&mut seed.grow()?)
    };
    // What the closure leaves behind after a panic, nobody looks at.
    match catch_unwind(AssertUnwindSafe(life)) {
        Ok(Ok(())) => ShardExit::Done,
        Ok(Err(error)) => ShardExit::Failed(error),
        Err(panic) => panicked(&*panic),
    }
}

fn panicked(panic: &(dyn Any + Send)) -> ShardExit {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    ShardExit::Panicked(text.unwrap_or_else(|| "a panic without a message".to_owned()))
}
