//! What the cluster tells of its shards without asking them, and whom it has connect.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use zero_io::{Event, FleetStats, IoCluster, IoError, IoStats, PoolKind, ShardIo};

use crate::common::{PATIENCE, STREAM};
use crate::kit::{Running, config, serve};

fn some_of((io, fleet): (IoStats, FleetStats)) -> [u64; 7] {
    let IoStats { polls, enters, events, commands, .. } = io;
    [polls, enters, events, commands, fleet.posts_in, fleet.posts_out, fleet.wakes]
}

#[test]
fn totals_only_grow() {
    const ROUNDS: u64 = 20_000;
    let cluster = IoCluster::new(config(2)).unwrap();
    let (done, over) = std::sync::mpsc::channel();
    let running = Running::start(cluster, move |shard| {
        let me = shard.shard();
        serve(shard, |event, sender| match event {
            Event::User { token, .. } if token < ROUNDS => {
                sender.post_to(1 - me, token + 1).unwrap();
            }
            Event::User { token: ROUNDS, .. } => done.send(()).unwrap(),
            _ => {}
        })
    });
    running.wait_until_up();
    let handle = running.handle.clone();
    let stop = Arc::new(AtomicBool::new(false));
    let reader = std::thread::spawn({
        let (handle, stop) = (handle.clone(), Arc::clone(&stop));
        move || {
            let (mut last, mut changes) = ([0; 7], 0);
            while !stop.load(Ordering::Relaxed) {
                let next = some_of(handle.stats().total());
                assert!(last.iter().zip(&next).all(|(l, n)| l <= n), "{last:?} {next:?}");
                changes += u64::from(next != last);
                last = next;
            }
            changes
        }
    });
    handle.post_to(0, 0).unwrap();
    over.recv_timeout(PATIENCE).unwrap();
    stop.store(true, Ordering::Relaxed);
    assert!(reader.join().unwrap() > 10, "they are posted up while the shards run");
    running.shut_down();
    let (io, fleet) = handle.stats().total();
    // The first one, and those that asked whether the shards are up, came from handles.
    assert_eq!((fleet.posts_out, fleet.posts_in, fleet.posts_lost), (ROUNDS, ROUNDS + 3, 0));
    assert!(fleet.wakes <= ROUNDS && io.events >= ROUNDS);
}

/// Posts as fast as they go: each sleep is ended by one write to the eventfd at most.
#[test]
fn one_wake_per_sleep() {
    const POSTS: u64 = 200_000;
    let cluster = IoCluster::new(config(2)).unwrap();
    let (done, over) = std::sync::mpsc::channel();
    let running = Running::start(cluster, move |shard| {
        if shard.shard() == 1 {
            let mut next = 0;
            return serve(shard, |event, _| {
                if let Event::User { token, .. } = event
                    && token != u64::MAX
                {
                    assert_eq!(token, next);
                    next += 1;
                    if next == POSTS {
                        done.send(()).unwrap();
                    }
                }
            });
        }
        let mut sent = 0;
        while shard.is_running() {
            while sent < POSTS {
                match shard.post_to(1, sent) {
                    Ok(()) => sent += 1,
                    Err(IoError::QueueFull { .. } | IoError::ShardDown { .. }) => break,
                    Err(error) => return Err(error),
                }
            }
            shard.poll(Duration::from_micros(100))?;
            while shard.next_event().is_some() {}
        }
        Ok(())
    });
    over.recv_timeout(PATIENCE).unwrap();
    let handle = running.handle.clone();
    running.shut_down();
    let shards = handle.stats().shards;
    let (wakes, sleeps) = (shards[0].fleet.wakes, shards[1].io.enters);
    eprintln!("{POSTS} posts: {wakes} wakes, at most {sleeps} sleeps");
    assert!(wakes <= sleeps);
}

fn connected(shard: &mut ShardIo) -> Vec<u64> {
    let start = Instant::now();
    let mut tokens = Vec::new();
    while tokens.len() < 5 {
        assert!(start.elapsed() < PATIENCE);
        shard.poll(Duration::from_millis(1)).unwrap();
        while let Some(event) = shard.next_event() {
            let Event::Connected { conn, endpoint: None, .. } = event else { continue };
            tokens.push(conn);
        }
    }
    tokens.into_iter().map(|conn| shard.user_data(conn).unwrap()).collect()
}

#[test]
fn connections_go_to_the_shard_with_fewest() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let handle = cluster.handle();
    assert!(matches!(handle.tcp_connect(addr, 0), Err(IoError::ShardDown { .. })));
    let mut shards = cluster.seeds().unwrap().into_iter().map(|seed| seed.grow().unwrap());
    let (mut one, mut other) = (shards.next().unwrap(), shards.next().unwrap());
    // What was asked for counts at once, although no shard has run since.
    let asked: Vec<u16> = (0..10).map(|token| handle.tcp_connect(addr, token).unwrap()).collect();
    let asked = &asked;
    let of = |shard| (0..10).filter(move |token| asked[*token as usize] == shard).collect();
    let expected: [Vec<u64>; 2] = [of(0), of(1)];
    assert_eq!(expected[0].len(), 5);
    let (mut at_one, mut at_other) = (connected(&mut one), connected(&mut other));
    at_one.sort_unstable();
    at_other.sort_unstable();
    assert_eq!([at_one, at_other], expected);
    assert_eq!(handle.stats().connections(), 10);
    // One that has more by itself gets none.
    for _ in 0..2 {
        one.tcp_connect(addr).unwrap();
    }
    one.poll(Duration::from_millis(20)).unwrap();
    assert_eq!(handle.tcp_connect(addr, 10), Ok(1));
    assert_eq!(handle.tcp_connect(addr, 11), Ok(1));
}

#[test]
fn a_connection_that_cannot_start_is_told() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut cluster = IoCluster::new(config(1).with(|c| c.io.max_connections = 1)).unwrap();
    let handle = cluster.handle();
    let mut shard = cluster.seeds().unwrap().remove(0).grow().unwrap();
    (0..3).for_each(|token| assert_eq!(handle.tcp_connect(addr, token), Ok(0)));
    let mut failed = Vec::new();
    let start = Instant::now();
    while failed.len() < 2 {
        assert!(start.elapsed() < PATIENCE);
        shard.poll(Duration::from_millis(1)).unwrap();
        while let Some(event) = shard.next_event() {
            if let Event::ConnectFailed { token, error } = event {
                failed.push((token, error));
            }
        }
    }
    let error = IoError::PoolExhausted { pool: PoolKind::Connections };
    assert_eq!(failed, [(1, error), (2, error)]);
}

#[test]
fn a_shard_has_a_handle_for_its_life() {
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let handle = cluster.handle();
    assert!(matches!(handle.io_handle(0), Err(IoError::ShardDown { shard: 0 })));
    assert!(matches!(handle.io_handle(2), Err(IoError::NoSuchShard { shard: 2, shards: 2 })));
    let mut shard = cluster.seeds().unwrap().remove(0).grow().unwrap();
    let io = handle.io_handle(0).unwrap();
    io.post_data(3, b"three").unwrap();
    shard.poll(PATIENCE).unwrap();
    assert!(matches!(shard.next_event(), Some(Event::User { token: 3, data: b"three" })));
    drop(shard);
    assert_eq!(io.post(4), Err(IoError::IoGone));
    let nobody = zero_io::ConnId::from_u64(1);
    assert_eq!(io.stream_write(nobody, STREAM, b"x"), Err(IoError::IoGone));
}
