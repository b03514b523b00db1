//! Reading: pausing, few buffers, and events that are not taken.

use std::collections::BTreeMap;
use std::io::Write;
use std::thread;
use std::time::Duration;

use zero_io::{IoError, Protocol};

use crate::common::{STREAM, Seen, Shard, assert_same, dial, patient, pattern};

#[test]
fn paused_receiving_closes_the_window_and_loses_nothing() {
    const TOTAL: usize = 16 << 20;
    let mut shard = Shard::new();
    let (conn, mut peer) = shard.accepted();
    shard.io.pause_recv(conn).unwrap();
    let sender = thread::spawn(move || {
        peer.write_all(&pattern(8, TOTAL)).unwrap();
        peer
    });
    shard.run_for(Duration::from_millis(300));
    let early = shard.bytes_of(conn).len();
    assert!(early < 1 << 20, "{early} bytes came while it was paused");
    shard.run_for(Duration::from_millis(100));
    assert_eq!(shard.bytes_of(conn).len(), early, "nothing more comes");
    assert!(!sender.is_finished(), "the peer has to wait");
    shard.io.resume_recv(conn).unwrap();
    assert_same(&shard.wait_bytes(conn, TOTAL), &pattern(8, TOTAL));
    // Again and again, in the middle of a stream.
    let mut peer = sender.join().unwrap();
    let sender = thread::spawn(move || {
        peer.write_all(&pattern(9, TOTAL)).unwrap();
        peer
    });
    shard.seen.clear();
    let mut got = 0;
    let mut rounds = 0;
    shard.until("the rest", |shard| {
        rounds += 1;
        if rounds % 2 == 0 {
            shard.io.pause_recv(conn).unwrap();
        } else {
            shard.io.resume_recv(conn).unwrap();
        }
        got = shard.bytes_of(conn).len();
        got == TOTAL
    });
    assert_same(&shard.bytes_of(conn), &pattern(9, TOTAL));
    drop(sender.join().unwrap());
    shard.finish();
}

#[test]
fn few_buffers_starve_nobody() {
    const CLIENTS: usize = 40;
    const EACH: usize = 300_000;
    let mut shard = Shard::with(|c| {
        c.stream_buffer_count = 8;
        c.stream_buffer_size = 4096;
        c.max_events_per_poll = 16;
    });
    let (_, addr) = shard.listen();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|seed| {
            thread::spawn(move || dial(addr).write_all(&pattern(seed as u64, EACH)).unwrap())
        })
        .collect();
    let ends = |shard: &mut Shard| shard.count(|seen| matches!(seen, Seen::ReadClosed { .. }));
    shard.until("every byte", |shard| ends(shard) == CLIENTS);
    let mut by_conn: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    for seen in &shard.seen {
        if let Seen::Frame { conn, data, .. } = seen {
            by_conn.entry(*conn).or_default().extend_from_slice(data);
        }
    }
    let mut wanted: Vec<_> = (0..CLIENTS).map(|seed| pattern(seed as u64, EACH)).collect();
    for got in by_conn.values() {
        let at = wanted.iter().position(|w| w[..16] == got[..16]).expect("one of the streams");
        assert_same(got, &wanted.swap_remove(at));
    }
    assert!(wanted.is_empty());
    for client in clients {
        client.join().unwrap();
    }
    assert!(shard.io.io_stats().starved > 0, "the test is to exhaust the buffers");
    shard.finish();
}

#[test]
fn streams_are_not_pulled() {
    let mut shard = Shard::new();
    let (conn, _peer) = shard.accepted();
    let error = shard.io.stream_read(conn, STREAM, &mut [0; 8]).unwrap_err();
    assert_eq!(error, IoError::StreamNotPullable { protocol: Protocol::Tcp });
    shard.finish();
}

#[test]
fn events_beyond_the_bound_wait_and_none_is_lost() {
    let mut shard = Shard::with(|c| c.max_events_per_poll = 16);
    let (_, addr) = shard.listen();
    let clients: Vec<_> = (0..100)
        .map(|seed| {
            let mut client = dial(addr);
            client.write_all(&pattern(seed, 100)).unwrap();
            client
        })
        .collect();
    let mut most = 0;
    shard.until("all", |shard| {
        let before = shard.seen.len();
        shard.step(Duration::ZERO);
        most = most.max(shard.seen.len() - before);
        let bytes: usize = shard
            .seen
            .iter()
            .map(|seen| if let Seen::Frame { data, .. } = seen { data.len() } else { 0 })
            .sum();
        bytes == clients.len() * 100
    });
    assert!(most <= 20, "{most} events in one poll");
    assert_eq!(shard.count(|seen| matches!(seen, Seen::Connected { .. })), 100);
    drop(clients);
    shard.finish();
}

#[test]
fn events_that_are_not_taken_stay() {
    let mut shard = Shard::with(|c| c.max_events_per_poll = 16);
    let (conn, mut peer) = shard.accepted();
    let writer = thread::spawn(move || {
        peer.write_all(&pattern(4, 3 << 20)).unwrap();
        peer
    });
    for _ in 0..200 {
        shard.io.poll(Duration::from_millis(1)).unwrap();
    }
    assert_same(&shard.wait_bytes(conn, 3 << 20), &pattern(4, 3 << 20));
    drop(patient(writer.join().unwrap()));
    shard.finish();
}
