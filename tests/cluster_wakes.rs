//! How often a shard is woken, counted by the kernel: nobody reads a shard's eventfd, so that its
//! counter says how often it was written to. A program of its own, with no other eventfds.

use std::collections::BTreeMap;
use std::fs::{read_dir, read_link, read_to_string};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use zero_io::{ClusterConfig, CpuAffinity, Event, IoCluster, IoError, ShardIo};

const POSTERS: u16 = 3;
const POSTS_EACH: u64 = 100_000;
/// The longest sleep: a wake that is lost fails the test.
const LONG: Duration = Duration::from_secs(20);

/// The counters of all eventfds of this process, by descriptor.
fn counters() -> BTreeMap<u32, u64> {
    let open = read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path());
    let is_eventfd = |path: &std::path::PathBuf| {
        read_link(path).is_ok_and(|target| target.to_string_lossy().contains("[eventfd]"))
    };
    let numbers = open.filter(is_eventfd).filter_map(|path| {
        path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok())
    });
    numbers.map(|fd: u32| (fd, counter(fd))).collect()
}

fn counter(fd: u32) -> u64 {
    let info = read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    let count = info.lines().find_map(|line| line.strip_prefix("eventfd-count:"));
    u64::from_str_radix(count.expect("an eventfd").trim(), 16).unwrap()
}

/// Posts in bursts, so that the shard sleeps now and then; how often it had to be woken.
fn post(mut shard: ShardIo) -> u64 {
    let mut sent = 0;
    while sent < POSTS_EACH {
        let burst = 1 + sent % 61;
        for _ in 0..burst.min(POSTS_EACH - sent) {
            match shard.post_to(0, 1) {
                Ok(()) => sent += 1,
                Err(IoError::QueueFull { .. }) => break,
                Err(error) => panic!("{error}"),
            }
        }
        shard.poll(Duration::ZERO).unwrap();
        if sent % 7 == 0 {
            std::thread::sleep(Duration::from_micros(20));
        }
    }
    shard.poll(Duration::ZERO).unwrap();
    shard.fleet_stats().wakes
}

#[test]
fn a_shard_is_woken_once_for_each_sleep_at_the_most() {
    let config = ClusterConfig::new(4).with(|c| c.cpu_affinity = CpuAffinity::Off);
    let mut cluster = IoCluster::new(config).unwrap();
    let mut seeds = cluster.seeds().unwrap().into_iter();
    let before = counters();
    let mut woken = seeds.next().unwrap().grow().unwrap();
    let made = counters().into_keys().filter(|fd| !before.contains_key(fd)).collect::<Vec<_>>();
    let [eventfd] = made[..] else { panic!("one eventfd for each shard: {made:?}") };
    assert_eq!(counter(eventfd), 0);

    // Who does not sleep is not woken.
    let mut posters = seeds.map(|seed| seed.grow().unwrap()).collect::<Vec<_>>();
    for poster in &mut posters {
        poster.post_to(0, 0).unwrap();
        poster.poll(Duration::ZERO).unwrap();
    }
    assert_eq!(counter(eventfd), 0);

    // Shards are made where they run: these are dropped, and begun anew in their threads.
    drop(posters);
    let handle = cluster.handle();
    for shard in 1..=POSTERS {
        handle.restart_shard(shard, zero_io::DrainOptions::default()).unwrap();
    }
    let mut seeds = Vec::new();
    while seeds.len() < usize::from(POSTERS) {
        if let zero_io::Supervised::Reseed(seed) = cluster.supervise(LONG).unwrap() {
            seeds.push(seed);
        }
    }
    let claimed = AtomicU64::new(0);
    let (mut got, before) = (0, woken.io_stats().enters);
    std::thread::scope(|threads| {
        for seed in seeds {
            let claimed = &claimed;
            threads.spawn(move || {
                claimed.fetch_add(post(seed.grow().unwrap()), Ordering::Relaxed);
            });
        }
        while got < u64::from(POSTERS) * POSTS_EACH {
            woken.poll(LONG).unwrap();
            while let Some(event) = woken.next_event() {
                got += u64::from(matches!(event, Event::User { token: 1, .. }));
            }
        }
    });
    let (writes, sleeps) = (counter(eventfd), woken.io_stats().enters - before);
    eprintln!("{got} posts: {writes} writes to the eventfd, {sleeps} sleeps at most");
    assert!(writes > 0 && writes <= sleeps, "{writes} wakes, {sleeps} sleeps");
    assert_eq!(writes, claimed.load(Ordering::Relaxed), "and so say the counters");
}
