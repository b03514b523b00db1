//! Posts between two shards: a ball to and fro, awake and asleep; and one way as fast as they go.

use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use zero_io::{
    ClusterConfig, CpuAffinity, DrainOptions, Event, IoCluster, IoError, Result, ShardIo, Spin,
};

use crate::percentile;

const WARM: u64 = 5_000;
const ROUNDS: u64 = 50_000;
const ONE_WAY: u64 = 1_000_000;
const LONG: Duration = Duration::from_secs(10);

fn cluster(spin: Spin) -> IoCluster {
    let config = ClusterConfig::new(2).with(|c| {
        c.cpu_affinity = CpuAffinity::List(vec![0, 1]);
        c.io.spin = spin;
        c.io.max_connections = 1024;
    });
    IoCluster::new(config).expect("a cluster")
}

pub(crate) fn run() {
    println!("shard 0 on processor 0, shard 1 on 1");
    println!("| post to and fro, half a round | p50 | p99 |");
    for (what, spin) in [("awake", Spin::Always { max_us: 1000 }), ("asleep", Spin::Off)] {
        let (tell, told) = channel();
        ping_pong(spin, &tell);
        let mut halves: Vec<u64> = told.recv().expect("figures");
        halves.sort_unstable();
        println!("| {what} | {} ns | {} ns |", percentile(&halves, 50), percentile(&halves, 99));
    }
    for (what, len) in [("", None), (" with 64 bytes", Some(64))] {
        one_way(what, len);
    }
}

/// Waits until the other shard can be posted to.
fn first(shard: &mut ShardIo, to: u16) -> Result<()> {
    while let Err(IoError::ShardDown { .. }) = shard.post_to(to, u64::MAX) {
        shard.poll(Duration::from_millis(1))?;
    }
    Ok(())
}

fn ping_pong(spin: Spin, tell: &Sender<Vec<u64>>) {
    let cluster = cluster(spin);
    let handle = cluster.handle();
    let serve = |shard: &mut ShardIo| {
        let me = shard.shard();
        let mut halves = Vec::with_capacity((WARM + ROUNDS) as usize);
        first(shard, 1 - me)?;
        if me == 0 {
            shard.post_to(1, 0)?;
        }
        let mut start = Instant::now();
        while shard.is_running() {
            shard.poll(LONG)?;
            let (mut events, mut sender) = shard.split();
            while let Some(event) = events.next_event() {
                let Event::User { token, .. } = event else { continue };
                if token == u64::MAX {
                    continue;
                }
                if me == 0 {
                    halves.push(start.elapsed().as_nanos() as u64 / 2);
                    start = Instant::now();
                }
                if token == WARM + ROUNDS {
                    tell.send(halves.split_off(WARM as usize)).expect("somebody listens");
                    handle.shutdown(DrainOptions::default())?;
                } else {
                    sender.post_to(1 - me, token + u64::from(me == 1))?;
                }
            }
        }
        Ok(())
    };
    let report = cluster.run(serve).expect("a run");
    assert!(report.is_clean(), "{report:?}");
}

/// Shard 0 posts and shard 1 counts.
fn one_way(what: &str, len: Option<usize>) {
    let cluster = cluster(Spin::Off);
    let handle = cluster.handle();
    let stats = handle.clone();
    let (tell, told) = channel();
    let data = len.map(|len| vec![7; len]);
    let serve = |shard: &mut ShardIo| {
        first(shard, 1 - shard.shard())?;
        let (start, mut sent, mut got) = (Instant::now(), 0, 0);
        while shard.is_running() {
            while shard.shard() == 0 && sent < ONE_WAY {
                let posted = match &data {
                    None => shard.post_to(1, sent),
                    Some(data) => shard.post_data_to(1, sent, data),
                };
                match posted {
                    Ok(()) => sent += 1,
                    Err(IoError::QueueFull { .. } | IoError::PoolExhausted { .. }) => break,
                    Err(error) => return Err(error),
                }
            }
            let is_busy = shard.shard() == 0 && sent < ONE_WAY;
            shard.poll(if is_busy { Duration::ZERO } else { LONG })?;
            while let Some(event) = shard.next_event() {
                got += u64::from(matches!(event, Event::User { token, .. } if token != u64::MAX));
            }
            if got == ONE_WAY {
                tell.send(start.elapsed()).expect("somebody listens");
                handle.shutdown(DrainOptions::default())?;
            }
        }
        Ok(())
    };
    let report = cluster.run(serve).expect("a run");
    assert!(report.is_clean(), "{report:?}");
    let took = told.recv().expect("figures");
    let shards = stats.stats().shards;
    let (wakes, enters) = (shards[0].fleet.wakes, shards[1].io.enters);
    println!(
        "{ONE_WAY} posts{what} one way: {:.0} ns each; {wakes} wakes in {enters} sleeps at most: \
         {:.2} each",
        took.as_nanos() as f64 / ONE_WAY as f64,
        wakes as f64 / enters.max(1) as f64
    );
}
