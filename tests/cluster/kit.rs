//! A cluster that serves on threads of its own, and is shut down in the end.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zero_io::{
    ClusterConfig, ClusterHandle, ClusterReadiness, ClusterReport, Config, CpuAffinity,
    DrainOptions, IoCluster, Result, ShardIo, ShardSeed,
};

use crate::common::PATIENCE;

/// The longest sleep of a shard: wakes have to end it sooner.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// How much slower this machine is than one that runs its own instructions: a guest says so.
pub(crate) fn slower() -> u32 {
    std::env::var("ZERO_IO_SLOWER").map_or(1, |times| times.parse().expect("a number"))
}

/// Small shards, wherever the system runs them.
pub(crate) fn config(shards: u16) -> ClusterConfig {
    ClusterConfig::new(shards).with(|c| {
        c.cpu_affinity = CpuAffinity::Off;
        c.drain_deadline = Duration::from_millis(500) * slower();
        c.io = Config::default().with(|io| {
            io.close_timeout *= slower();
            io.pool_slot_count = 512;
            io.stream_buffer_count = 128;
            io.debug.audit_every_tick = true;
        });
    })
}

/// Two shards on one thread, so that the test says who runs when.
pub(crate) fn pair(config: ClusterConfig) -> (IoCluster, ShardIo, ShardIo) {
    let mut cluster = IoCluster::new(config).unwrap();
    let seeds: [ShardSeed; 2] = cluster.seeds().unwrap().try_into().expect("two shards");
    let [one, other] = seeds.map(|seed| seed.grow().unwrap());
    (cluster, one, other)
}

/// A cluster under way.
pub(crate) struct Running {
    pub(crate) handle: ClusterHandle,
    thread: Option<JoinHandle<Result<ClusterReport>>>,
}

impl Running {
    pub(crate) fn start(
        cluster: IoCluster,
        serve: impl Fn(&mut ShardIo) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        let handle = cluster.handle();
        let thread = Some(std::thread::spawn(move || cluster.run(serve)));
        Self { handle, thread }
    }

    /// Waits until every shard can be reached.
    pub(crate) fn wait_until_up(&self) {
        let end = Instant::now() + PATIENCE;
        for shard in 0..self.handle.shard_count() {
            while let Err(error) = self.handle.post_to(shard, u64::MAX) {
                assert!(Instant::now() < end, "shard {shard}: {error}");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Waits until a shard, or all of them, are that.
    pub(crate) fn wait_for(&self, shard: Option<u16>, what: ClusterReadiness) {
        let end = Instant::now() + PATIENCE;
        loop {
            let is = match shard {
                Some(shard) => self.handle.shard_readiness(shard).unwrap(),
                None => self.handle.readiness(),
            };
            if is == what {
                return;
            }
            assert!(Instant::now() < end, "{shard:?} is {is:?}, not {what:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for the end of all loops.
    pub(crate) fn end(mut self) -> ClusterReport {
        self.thread.take().expect("once").join().expect("no panic").expect("a report")
    }

    /// Has all loops end in order.
    pub(crate) fn shut_down(self) {
        self.handle.shutdown(DrainOptions::default()).expect("room in the mail");
        let report = self.end();
        assert!(report.is_clean(), "{report:?}");
    }
}

/// Polls while the shard runs, and hands events to `on_event` with the half that sends.
pub(crate) fn serve(
    shard: &mut ShardIo,
    mut on_event: impl FnMut(zero_io::Event<'_>, &mut zero_io::Sender<'_>),
) -> Result<()> {
    while shard.is_running() {
        shard.poll(LONG)?;
        let (mut events, mut sender) = shard.split();
        while let Some(event) = events.next_event() {
            on_event(event, &mut sender);
        }
    }
    Ok(())
}
