//! Writing: order, high water, send buffers.

use std::collections::BTreeMap;
use std::io::{IoSlice, Read, Write};
use std::thread;
use std::time::Duration;

use zero_io::{Event, IoError, MessageKind, code};

use crate::common::{PATIENCE, STREAM, Seen, Shard, TICK, assert_same, dial, pattern, read_to_end};

/// Echoes by `split` until `clients` connections have ended.
fn serve_echo(shard: &mut Shard, clients: usize) {
    let mut ended = 0;
    // What a connection did not take at once.
    let mut rest: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    let start = std::time::Instant::now();
    while ended < clients {
        assert!(start.elapsed() < PATIENCE, "{ended} of {clients} ended");
        shard.io.poll(TICK).unwrap();
        let (mut events, mut sender) = shard.io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::StreamFrame { conn, stream, kind, data, .. } => {
                    assert_eq!(kind, MessageKind::Binary);
                    let waiting = rest.entry(conn).or_default();
                    let n = if waiting.is_empty() {
                        sender.stream_write(conn, stream, data).unwrap()
                    } else {
                        0
                    };
                    waiting.extend_from_slice(&data[n..]);
                }
                Event::Writable { conn, stream, credit } => {
                    let waiting = rest.entry(conn).or_default();
                    let n = sender.stream_write(conn, stream, waiting).unwrap();
                    assert!(n >= credit.min(waiting.len()), "the credit is kept");
                    waiting.drain(..n);
                }
                Event::ReadClosed { conn, .. } if rest.get(&conn).is_none_or(Vec::is_empty) => {
                    sender.close_graceful(conn, Duration::ZERO).unwrap();
                }
                Event::Disconnected { conn, error_code, clean, .. } => {
                    assert_eq!((error_code, clean), (code::NONE, true));
                    assert!(rest.remove(&conn).is_none_or(|rest| rest.is_empty()));
                    ended += 1;
                }
                _ => {}
            }
        }
    }
}

#[test]
fn echo_with_split() {
    const CLIENTS: usize = 24;
    let mut shard = Shard::new();
    let (_, addr) = shard.listen();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|seed| {
            thread::spawn(move || {
                let stream = dial(addr);
                let data = pattern(seed as u64, 20_000 + seed * 997);
                let mut writer = stream.try_clone().unwrap();
                let sent = data.clone();
                let sending = thread::spawn(move || {
                    let mut at = 0;
                    for size in (1..).step_by(37) {
                        let end = sent.len().min(at + size);
                        writer.write_all(&sent[at..end]).unwrap();
                        at = end;
                        if at == sent.len() {
                            break;
                        }
                    }
                });
                let mut got = vec![0; data.len()];
                let mut reader = &stream;
                reader.read_exact(&mut got).unwrap();
                sending.join().unwrap();
                assert_same(&got, &data);
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                assert!(read_to_end(&stream).is_empty());
            })
        })
        .collect();
    serve_echo(&mut shard, CLIENTS);
    for client in clients {
        client.join().unwrap();
    }
    shard.finish();
}

#[test]
fn a_write_is_cut_at_the_high_water_mark_and_nothing_is_lost() {
    const HIGH: usize = 64 * 1024;
    const TOTAL: usize = 8 << 20;
    let mut shard = Shard::with(|c| c.send_high_water = HIGH);
    let (conn, peer) = shard.accepted();
    let data = pattern(1, TOTAL);
    let first = shard.io.stream_write(conn, STREAM, &data).unwrap();
    assert!((1..=HIGH).contains(&first), "{first}");
    assert_eq!(shard.io.stream_write(conn, STREAM, &data[first..]), Ok(0));
    let reader = thread::spawn(move || read_to_end(peer));
    let mut done = first;
    let mut told = 0;
    while done < TOTAL {
        let credit = shard.wait("Writable", |seen| match seen {
            Seen::Writable { conn: c, credit } if *c == conn => Some(*credit),
            _ => None,
        });
        told += 1;
        assert!((1..=HIGH).contains(&credit), "{credit}");
        let n = shard.io.stream_write(conn, STREAM, &data[done..]).unwrap();
        assert!(n >= credit.min(TOTAL - done), "{n} of a credit of {credit}");
        done += n;
    }
    assert!(told >= TOTAL / HIGH / 2, "{told}");
    shard.io.close_graceful(conn, PATIENCE).unwrap();
    assert_eq!(shard.wait_end(conn), (code::NONE, true));
    assert_same(&reader.join().unwrap(), &data);
    let late = shard.count(|seen| matches!(seen, Seen::Writable { .. }));
    assert_eq!(late, 0, "no Writable without a write that was cut");
    shard.finish();
}

#[test]
fn writev_keeps_the_order_and_counts() {
    let mut shard = Shard::with(|c| c.send_high_water = 4096);
    let (conn, mut peer) = shard.accepted();
    let parts = [&b"one "[..], b"", b"two ", b"three"];
    let slices = parts.map(IoSlice::new);
    assert_eq!(shard.io.stream_writev(conn, STREAM, &slices), Ok(13));
    shard.step(TICK);
    let mut got = [0; 13];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"one two three");
    shard.run_for(Duration::from_millis(10));
    let large = [pattern(1, 3000), pattern(2, 3000), pattern(3, 10)];
    let slices: Vec<_> = large.iter().map(|part| IoSlice::new(part)).collect();
    assert_eq!(shard.io.stream_writev(conn, STREAM, &slices), Ok(4096), "cut inside the second");
    assert_eq!(shard.io.stream_writev(conn, STREAM, &[]), Ok(0));
    shard.step(TICK);
    let mut got = [0; 4096];
    peer.read_exact(&mut got).unwrap();
    assert_same(&got, &large.concat()[..4096]);
    shard.wait("Writable", |seen| matches!(seen, Seen::Writable { .. }).then_some(()));
    shard.finish();
}

#[test]
fn send_buffers_of_every_class_are_sent_in_order() {
    let mut shard = Shard::with(|c| c.send_high_water = 8 << 20);
    let (conn, peer) = shard.accepted();
    let reader = thread::spawn(move || read_to_end(peer));
    let mut all = Vec::new();
    let sizes = [1, 2048, 2049, 32 * 1024, 33_000, 64 * 1024, 65_537, 1 << 20];
    for (seed, len) in sizes.into_iter().cycle().take(40).enumerate() {
        let data = pattern(seed as u64, len);
        let mut sent = false;
        shard.until("a send buffer", |shard| {
            match shard.io.send_buffer(len) {
                Ok(mut buffer) => {
                    assert_eq!(buffer.len(), len);
                    assert!(buffer.capacity() >= len);
                    buffer.as_mut_slice().copy_from_slice(&data);
                    match shard.io.stream_write_buffer(conn, STREAM, buffer) {
                        Ok(()) => sent = true,
                        Err(error) => assert!(error.is_retryable(), "{error}"),
                    }
                }
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            sent
        });
        all.extend_from_slice(&data);
    }
    // Made by appending, and cut short.
    let mut buffer = shard.io.send_buffer(100).unwrap();
    buffer.clear();
    buffer.write_all(b"appended, and then cut").unwrap();
    buffer.set_len(8);
    shard.io.stream_write_buffer(conn, STREAM, buffer).unwrap();
    all.extend_from_slice(b"appended");
    // An empty one is nothing.
    let empty = shard.io.send_buffer_for(conn, 0).unwrap();
    shard.io.stream_write_buffer(conn, STREAM, empty).unwrap();
    // One that is dropped goes home.
    drop(shard.io.send_buffer(2000).unwrap());
    shard.io.close_graceful(conn, PATIENCE).unwrap();
    assert_eq!(shard.wait_end(conn), (code::NONE, true));
    assert_same(&reader.join().unwrap(), &all);
    shard.finish();
}

#[test]
fn write_buffer_at_the_high_water_mark_is_refused_and_then_told() {
    let mut shard = Shard::with(|c| c.send_high_water = 4096);
    let (conn, peer) = shard.accepted();
    let mut buffer = shard.io.send_buffer(4096).unwrap();
    buffer.fill(b'x');
    shard.io.stream_write_buffer(conn, STREAM, buffer).unwrap();
    let before = shard.io.pool_stats();
    let buffer = shard.io.send_buffer(1).unwrap();
    let error = shard.io.stream_write_buffer(conn, STREAM, buffer).unwrap_err();
    assert_eq!(error, IoError::QueueFull { queue: "connection send", capacity: 4096 });
    assert!(error.is_retryable());
    shard.wait("Writable", |seen| matches!(seen, Seen::Writable { .. }).then_some(()));
    let after = shard.io.pool_stats();
    assert!(after.pools[0].used <= before.pools[0].used, "the refused buffer went home");
    drop(peer);
    shard.finish();
}
