//! Connections that handles ask for, and whose shard ends before it makes them.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use zero_io::{ClusterReadiness, DrainOptions, Event, IoCluster, IoError, ShardIo};

use crate::common::{PATIENCE, plain_listener};
use crate::kit::{config, pair};

fn at_once() -> DrainOptions {
    DrainOptions::default().with(|drain| drain.deadline = Some(Duration::ZERO))
}

/// The number of the next connection that a shard tells of.
fn told(shard: &mut ShardIo) -> u64 {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        shard.poll(Duration::from_millis(1)).unwrap();
        let (mut events, mut sender) = shard.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::Connected { conn, .. } => return sender.user_data(conn).unwrap(),
                Event::Disconnected { user_data, .. } => return user_data,
                Event::ConnectFailed { token, .. } => return token,
                _ => {}
            }
        }
    }
    panic!("it tells nothing");
}

/// Nobody listens there: the end is all that is told, and says whose connection it was.
#[test]
fn who_is_refused_is_told_by_the_token() {
    let (cluster, mut one, mut other) = pair(config(2));
    let (listener, addr) = plain_listener();
    drop(listener);
    let handle = cluster.handle();
    for token in [11, 12] {
        match handle.tcp_connect(addr, token).unwrap() {
            0 => assert_eq!(told(&mut one), token),
            _ => assert_eq!(told(&mut other), token),
        }
    }
}

/// A shard that is about to end begins nothing new; when all are, nobody is asked.
#[test]
fn a_shard_that_drains_is_not_asked() {
    let (cluster, _one, mut other) = pair(config(2));
    let handle = cluster.handle();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    handle.drain_shard(0, DrainOptions::default()).unwrap();
    assert_eq!(handle.shard_readiness(0), Ok(ClusterReadiness::Draining));
    for token in 1..=6 {
        assert_eq!(handle.tcp_connect(addr, token), Ok(1));
        assert_eq!(told(&mut other), token);
    }
    handle.drain_shard(1, DrainOptions::default()).unwrap();
    let asked = handle.tcp_connect(addr, 7);
    assert!(matches!(asked, Err(IoError::ShardDown { .. })), "{asked:?}");
}

/// What a shard that is gone was asked for others make, and count as their own.
#[test]
fn another_shard_makes_what_was_asked_of_one_that_is_gone() {
    const SHARDS: u16 = 4;
    let mut cluster = IoCluster::new(config(SHARDS)).unwrap();
    let handle = cluster.handle();
    let seeds = cluster.seeds().unwrap();
    let mut shards: Vec<_> = seeds.into_iter().map(|seed| Some(seed.grow().unwrap())).collect();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let gone = handle.tcp_connect(addr, 5).unwrap();
    shards[usize::from(gone)] = None;
    let heir = (gone + 1) % SHARDS;
    assert_eq!(told(shards[usize::from(heir)].as_mut().unwrap()), 5);
    // The heir has one; the two others none: of five they get two each, and it gets one.
    let mut of_heir = 0;
    for token in 6..11 {
        of_heir += u32::from(handle.tcp_connect(addr, token) == Ok(heir));
    }
    assert_eq!(of_heir, 1);
    assert_eq!(handle.stats().total().1.connects_lost, 0);
}

/// Where there is nobody who could tell, it is counted.
#[test]
fn what_nobody_is_left_to_make_is_counted() {
    let mut cluster = IoCluster::new(config(1)).unwrap();
    let handle = cluster.handle();
    let shard = cluster.seeds().unwrap().remove(0).grow().unwrap();
    let (_listener, addr) = plain_listener();
    handle.tcp_connect(addr, 1).unwrap();
    handle.tcp_connect(addr, 2).unwrap();
    drop(shard);
    assert_eq!(handle.stats().total().1.connects_lost, 2);
}

/// What was asked for before its shard drains is told of while that goes on.
#[test]
fn what_was_asked_before_a_drain_is_told() {
    let mut cluster = IoCluster::new(config(1)).unwrap();
    let handle = cluster.handle();
    let mut shard = cluster.seeds().unwrap().remove(0).grow().unwrap();
    let (_listener, addr) = plain_listener();
    handle.tcp_connect(addr, 1).unwrap();
    handle.shutdown(at_once()).unwrap();
    cluster.supervise(Duration::ZERO).unwrap();
    assert_eq!(told(&mut shard), 1);
}
