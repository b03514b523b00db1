//! Allocations of what shards have to do with each other, by a counting allocator: none per post,
//! wake and posting of counters. Run with `--nocapture` to see the figures.

#[path = "common/counting.rs"]
mod counting;

use std::time::{Duration, Instant};

use counting::so_far;
use zero_io::{ClusterConfig, Config, CpuAffinity, Event, IoCluster, ShardIo};

const WARM: u64 = 4000;
const COUNTED: u64 = 20_000;
const BATCH: u64 = 16;

fn pair() -> (IoCluster, ShardIo, ShardIo) {
    let config = ClusterConfig::new(2).with(|c| {
        c.cpu_affinity = CpuAffinity::Off;
        c.io = Config::default();
    });
    let mut cluster = IoCluster::new(config).unwrap();
    let mut shards = cluster.seeds().unwrap().into_iter().map(|seed| seed.grow().unwrap());
    let (one, other) = (shards.next().unwrap(), shards.next().unwrap());
    drop(shards);
    (cluster, one, other)
}

/// Takes the messages that came; how many.
fn take(shard: &mut ShardIo, timeout: Duration) -> u64 {
    shard.poll(timeout).unwrap();
    let mut taken = 0;
    while let Some(event) = shard.next_event() {
        taken += u64::from(matches!(event, Event::User { .. }));
    }
    taken
}

/// Runs `round`, which answers how many messages it handled, and counts after warming up.
#[track_caller]
fn check(what: &str, mut round: impl FnMut() -> u64) {
    let mut run = |messages: u64| {
        let mut done = 0;
        while done < messages {
            done += round();
        }
        done
    };
    run(WARM);
    let (before, start) = (so_far().0, Instant::now());
    let messages = run(COUNTED);
    let (allocations, took) = (so_far().0 - before, start.elapsed());
    eprintln!("{what}: {allocations} allocations in {messages} messages, {took:?}");
    assert_eq!(allocations, 0, "{what}: in {messages} messages");
}

#[test]
fn posts() {
    let (_cluster, mut one, mut other) = pair();
    check("post", || {
        (0..BATCH).for_each(|token| one.post_to(1, token).unwrap());
        take(&mut other, Duration::ZERO) + take(&mut one, Duration::ZERO)
    });
}

#[test]
fn posts_with_data() {
    let (_cluster, mut one, mut other) = pair();
    check("post with 64 bytes", || {
        (0..BATCH).for_each(|token| one.post_data_to(1, token, &[7; 64]).unwrap());
        take(&mut other, Duration::ZERO) + take(&mut one, Duration::ZERO)
    });
}

/// The shard sleeps a moment each round, so that its counters are posted up each time; and the
/// handle counts here too.
#[test]
fn posts_of_a_handle_that_wake_and_counters_that_are_posted_up() {
    let (cluster, _one, mut other) = pair();
    let handle = cluster.handle();
    let mut polls = 0;
    check("post of a handle, and counters", || {
        (0..BATCH).for_each(|token| handle.post_data_to(1, token, &[7; 64]).unwrap());
        polls += 1;
        if polls % 64 == 0 {
            std::thread::sleep(Duration::from_millis(11));
        }
        take(&mut other, Duration::ZERO) + take(&mut other, Duration::from_nanos(1))
    });
    assert!(handle.stats().shards[1].fleet.posts_in > COUNTED);
}

/// Two threads wake each other with every post: neither allocates.
#[test]
fn wakes() {
    let (_cluster, mut one, other) = {
        let config = ClusterConfig::new(2).with(|c| c.cpu_affinity = CpuAffinity::Off);
        let mut cluster = IoCluster::new(config).unwrap();
        let mut seeds = cluster.seeds().unwrap();
        let other = seeds.remove(1);
        (cluster, seeds.remove(0).grow().unwrap(), other)
    };
    let (up, is_up) = std::sync::mpsc::channel();
    let echo = std::thread::spawn(move || {
        let mut shard = other.grow().unwrap();
        up.send(()).unwrap();
        let mut start = 0;
        for round in 0..WARM + COUNTED + 1 {
            if round == WARM {
                start = so_far().0;
            }
            while take(&mut shard, Duration::from_secs(10)) == 0 {}
            shard.post_to(0, round).unwrap();
        }
        let allocations = so_far().0 - start;
        shard.poll(Duration::ZERO).unwrap();
        allocations
    });
    is_up.recv().unwrap();
    let mut start = 0;
    for round in 0..WARM + COUNTED + 1 {
        if round == WARM {
            start = so_far().0;
        }
        one.post_to(1, round).unwrap();
        while take(&mut one, Duration::from_secs(10)) == 0 {}
    }
    assert_eq!(so_far().0 - start, 0);
    let wakes = one.fleet_stats().wakes;
    eprintln!("{wakes} wakes of {} posts", WARM + COUNTED + 1);
    assert_eq!(echo.join().unwrap(), 0);
}
