//! `IoCluster::run`: a thread for each shard, until the last one ends.
//!
//! *Invariant*: a shard that fails or panics ends alone: its thread's panic is caught there.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::{Builder, ScopedJoinHandle, scope};
use std::time::Duration;

use super::{ClusterReport, IoCluster, ShardExit, ShardIo, ShardReport, ShardSeed, Supervised};
use crate::error::{IoError, Result};
use crate::sys::affinity::pin_current_thread;
use crate::sys::errno;

/// The supervisor's sleep, when nothing is due.
const LONG: Duration = Duration::from_secs(3600);

impl IoCluster {
    /// Runs every shard on a thread of its own (`shard-0` and so on), on the processor that
    /// [`ClusterConfig::cpu_affinity`](crate::ClusterConfig::cpu_affinity) says, until the loops of
    /// all have returned.
    ///
    /// A shard that fails or panics does not end the others; the report tells of it. After a panic
    /// it begins anew, if [`ClusterConfig::on_panic`](crate::ClusterConfig::on_panic) says so, as
    /// it does when it is [restarted](crate::ClusterHandle::restart_shard): `serve` is called
    /// again, on a new thread. (A program that is built with `panic = "abort"` ends.)
    ///
    /// # Errors
    /// `NofileLimit`; `Os`: nothing was started.
    pub fn run<F>(mut self, serve: F) -> Result<ClusterReport>
    where
        F: Fn(&mut ShardIo) -> Result<()> + Sync,
    {
        let seeds = self.seeds()?;
        let serve = &serve;
        scope(|threads| {
            let mut crew = Crew::new(self.shard_count());
            let start = |seed: ShardSeed| {
                let builder = Builder::new().name(format!("shard-{}", seed.shard()));
                builder.spawn_scoped(threads, move || live(seed, serve))
            };
            for seed in seeds {
                crew.put(seed.shard(), start(seed));
            }
            let ended = loop {
                match self.supervise(LONG) {
                    Ok(Supervised::Idle) => {}
                    Ok(Supervised::Reseed(seed)) => crew.put(seed.shard(), start(seed)),
                    Ok(Supervised::Over) => break Ok(()),
                    Err(error) => {
                        self.abandon();
                        break Err(error);
                    }
                }
            };
            let exits = crew.end();
            ended.map(|()| self.report(exits))
        })
    }

    fn report(&self, exits: Vec<Option<ShardExit>>) -> ClusterReport {
        let shards = (0..).zip(exits).zip(&self.places).filter_map(|((shard, exit), place)| {
            let failure = place.failure.map(ShardExit::Failed);
            Some(ShardReport { shard, restarts: place.restarts, exit: failure.or(exit)? })
        });
        ClusterReport { shards: shards.collect() }
    }
}

/// The threads that shards run on.
struct Crew<'scope> {
    threads: Vec<Option<ScopedJoinHandle<'scope, ShardExit>>>,
    exits: Vec<Option<ShardExit>>,
}

impl<'scope> Crew<'scope> {
    fn new(shards: u16) -> Self {
        let threads = (0..shards).map(|_| None).collect();
        Self { threads, exits: vec![None; shards.into()] }
    }

    /// The shard's next life runs there. Its last one has said that it is over, so its thread ends
    /// about now.
    fn put(&mut self, shard: u16, thread: io::Result<ScopedJoinHandle<'scope, ShardExit>>) {
        let at = usize::from(shard);
        self.join(at);
        match thread {
            Ok(thread) => self.threads[at] = Some(thread),
            Err(error) => {
                let code = error.raw_os_error().unwrap_or(errno::EAGAIN);
                let error = IoError::os("pthread_create", code);
                self.exits[at] = Some(ShardExit::Failed(error));
            }
        }
    }

    fn join(&mut self, at: usize) {
        if let Some(thread) = self.threads[at].take() {
            self.exits[at] = Some(thread.join().unwrap_or_else(|panic| panicked(&*panic)));
        }
    }

    fn end(mut self) -> Vec<Option<ShardExit>> {
        (0..self.threads.len()).for_each(|at| self.join(at));
        self.exits
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
