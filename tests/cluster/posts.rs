//! Messages between shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use zero_io::{Config, Event, Io, IoCluster, IoError, PoolKind, ShardIo};

use crate::common::{PATIENCE, pattern};
use crate::kit::{LONG, Running, config, pair, serve};

/// Polls once, and gives the messages that came.
fn messages(shard: &mut ShardIo) -> Vec<(u64, Vec<u8>)> {
    shard.poll(Duration::ZERO).unwrap();
    let mut got = Vec::new();
    while let Some(event) = shard.next_event() {
        if let Event::User { token, data } = event {
            got.push((token, data.to_vec()));
        }
    }
    got
}

#[test]
fn arrive_in_order_with_their_data() {
    let (_cluster, mut one, mut other) = pair(config(2));
    assert_eq!((one.shard_id(), one.shard_count()), (0, 2));
    assert_eq!((other.shard(), other.shard_count()), (1, 2));
    one.post_to(1, 10).unwrap();
    one.post_data_to(1, 11, b"eleven").unwrap();
    one.post_data_to(1, 12, b"").unwrap();
    one.post_to(0, 13).unwrap();
    other.post_data_to(0, 14, &pattern(14, 2048)).unwrap();
    let expected = [(10, vec![]), (11, b"eleven".to_vec()), (12, vec![])];
    assert_eq!(messages(&mut other), expected);
    assert_eq!(messages(&mut one), [(13, vec![]), (14, pattern(14, 2048))]);
    assert_eq!((one.fleet_stats().posts_out, one.fleet_stats().posts_in), (4, 2));
    // Buffers go home to whose they were.
    for shard in [&mut one, &mut other] {
        shard.poll(Duration::ZERO).unwrap();
        assert!(shard.is_idle());
    }
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_lost() {
    let (cluster, mut one, mut other) = pair(config(2).with(|c| {
        c.mail_entries = 4;
        c.io.handle_reserve_count = 2;
        c.io.max_events_per_poll = 16;
    }));
    let absent = IoError::NoSuchShard { shard: 2, shards: 2 };
    assert_eq!(one.post_to(2, 0), Err(absent));
    let long = IoError::BufferTooLarge { len: 2049, max: 2048 };
    assert_eq!(one.post_data_to(1, 0, &[0; 2049]), Err(long));
    for token in 0..2 {
        one.post_data_to(1, token, b"data").unwrap();
    }
    let none = IoError::PoolExhausted { pool: PoolKind::HandleReserve };
    assert_eq!(one.post_data_to(1, 2, b"data"), Err(none));
    for token in 2..4 {
        one.post_to(1, token).unwrap();
    }
    let full = IoError::QueueFull { queue: "mail", capacity: 4 };
    assert_eq!(one.post_to(1, 4), Err(full));
    let tokens = messages(&mut other).into_iter().map(|(token, _)| token);
    assert!(tokens.eq(0..4));
    // Its reserve is filled again.
    other.poll(Duration::ZERO).unwrap();
    one.post_data_to(1, 5, b"data").unwrap();
    drop(other);
    assert_eq!(one.post_to(1, 6), Err(IoError::ShardDown { shard: 1 }));
    assert_eq!(cluster.handle().post_to(1, 6), Err(IoError::ShardDown { shard: 1 }));
    cluster.handle().post_to(0, 7).unwrap();
    assert_eq!(messages(&mut one), [(7, vec![])]);
}

#[test]
fn a_full_event_queue_keeps_them_waiting_in_order() {
    let (_cluster, mut one, mut other) = pair(config(2).with(|c| c.io.max_events_per_poll = 16));
    for token in 0..1000 {
        one.post_to(1, token).unwrap();
    }
    let mut next = 0;
    while next < 1000 {
        // It does not sleep while there is more.
        let start = Instant::now();
        other.poll(LONG).unwrap();
        assert!(start.elapsed() < PATIENCE);
        while let Some(event) = other.next_event() {
            assert!(matches!(event, Event::User { token, .. } if token == next), "{event:?}");
            next += 1;
        }
    }
}

#[test]
fn a_shard_alone_posts_to_itself() {
    let mut io = Io::new(Config::default()).unwrap();
    assert_eq!((io.shard_id(), io.shard_count()), (0, 1));
    io.post_to(0, 1).unwrap();
    io.post_data_to(0, 2, b"two").unwrap();
    assert_eq!(io.post_to(1, 3), Err(IoError::NoSuchShard { shard: 1, shards: 1 }));
    io.poll(LONG).unwrap();
    assert!(matches!(io.next_event(), Some(Event::User { token: 1, data: [] })));
    assert!(matches!(io.next_event(), Some(Event::User { token: 2, data: b"two" })));
}

/// A ball goes to and fro between two threads that sleep: none is lost, and no post wakes twice.
#[test]
fn sleepers_are_woken_once_each() {
    const ROUNDS: u64 = 2000;
    let cluster = IoCluster::new(config(2)).unwrap();
    let wakes = Arc::new(AtomicU64::new(0));
    let (done, over) = std::sync::mpsc::channel();
    let sum = Arc::clone(&wakes);
    let running = Running::start(cluster, move |shard| {
        let me = shard.shard();
        serve(shard, |event, sender| match event {
            Event::User { token, .. } if token < ROUNDS => {
                sender.post_to(1 - me, token + 1).unwrap();
            }
            Event::User { token: ROUNDS, .. } => done.send(()).unwrap(),
            _ => {}
        })?;
        let stats = shard.fleet_stats();
        assert_eq!(stats.posts_out, ROUNDS / 2);
        sum.fetch_add(stats.wakes, Ordering::Relaxed);
        Ok(())
    });
    running.wait_until_up();
    running.handle.post_to(0, 0).unwrap();
    over.recv_timeout(PATIENCE).unwrap();
    running.shut_down();
    let wakes = wakes.load(Ordering::Relaxed);
    assert!(wakes <= ROUNDS, "{wakes} wakes for {ROUNDS} posts");
}

/// A handle ends the sleep of a shard.
#[test]
fn handles_wake_too() {
    let (cluster, _one, mut other) = pair(config(2));
    let handle = cluster.handle();
    std::thread::scope(|threads| {
        threads.spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            (0..100).for_each(|token| handle.post_to(1, token).unwrap());
        });
        let start = Instant::now();
        let mut next = 0;
        while next < 100 {
            other.poll(LONG).unwrap();
            while let Some(event) = other.next_event() {
                assert!(matches!(event, Event::User { token, .. } if token == next), "{event:?}");
                next += 1;
            }
        }
        assert!(start.elapsed() < PATIENCE);
    });
}
