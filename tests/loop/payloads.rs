//! Payloads that leave the shard.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use zero_io::{ConnId, Event, IoError, OwnedSlot, PoolKind};

use crate::common::{PATIENCE, STREAM, Shard, TICK, assert_same, pattern, read_to_end};
use crate::handles::insist;

#[test]
fn payloads_travel_to_threads_and_back() {
    const COUNT: usize = 500;
    let mut shard = Shard::new();
    let (conn, peer) = shard.accepted();
    let data = pattern(7, COUNT * 1000);
    let copy = data.clone();
    let client = thread::spawn(move || {
        let mut writer = peer.try_clone().unwrap();
        let sender = thread::spawn(move || {
            for piece in copy.chunks(1000) {
                writer.write_all(piece).unwrap();
            }
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let got = read_to_end(peer);
        sender.join().unwrap();
        got
    });
    let (to_worker, work) = mpsc::channel::<OwnedSlot>();
    let handle = shard.io.handle();
    let worker = thread::spawn(move || {
        for slot in work {
            let keep = slot.clone();
            assert_eq!(&keep[..], &slot[..]);
            drop(keep);
            match slot.try_into_send_buffer() {
                Ok(buffer) => {
                    let mut buffer = Some(buffer);
                    insist(|| {
                        let buffer = buffer.take().expect("one try: the queue is large");
                        handle.stream_write_buffer(conn, STREAM, buffer)
                    });
                }
                Err(slot) => insist(|| handle.stream_write(conn, STREAM, &slot)),
            }
        }
        insist(|| handle.close_graceful(conn, PATIENCE));
    });
    let start = Instant::now();
    let mut to_worker = Some(to_worker);
    let mut ended = false;
    while !ended {
        assert!(start.elapsed() < PATIENCE);
        shard.io.poll(TICK).unwrap();
        loop {
            let is_payload = match shard.io.next_event() {
                None => break,
                Some(Event::StreamFrame { .. }) => true,
                Some(Event::ReadClosed { .. }) => {
                    to_worker = None;
                    false
                }
                Some(Event::Disconnected { error_code, clean, .. }) => {
                    assert_eq!((error_code, clean), (0, true));
                    ended = true;
                    false
                }
                Some(_) => false,
            };
            if is_payload {
                let slot = shard.io.detach_event_data().expect("a payload");
                assert!(shard.io.detach_event_data().is_none(), "once");
                to_worker.as_ref().expect("before the end").send(slot).unwrap();
            }
        }
    }
    worker.join().unwrap();
    assert_same(&client.join().unwrap(), &data);
    shard.until("nothing to be left", |shard| shard.io.is_idle());
}

#[test]
fn a_shared_payload_is_not_writable() {
    let mut shard = Shard::new();
    let (_, mut peer) = shard.accepted();
    peer.write_all(b"0123456789").unwrap();
    let mut slot = None;
    while slot.is_none() {
        shard.io.poll(TICK).unwrap();
        while let Some(event) = shard.io.next_event() {
            if matches!(event, Event::StreamFrame { .. }) {
                slot = shard.io.detach_event_data();
                break;
            }
        }
    }
    let slot = slot.unwrap().slice(2..8);
    let clone = slot.clone();
    let slot = slot.try_into_send_buffer().expect_err("it is shared");
    assert_eq!((&slot[..], &clone[..]), (&b"234567"[..], &b"234567"[..]));
    drop(clone);
    let mut buffer = slot.try_into_send_buffer().expect("the last one");
    assert_eq!(&buffer[..], b"234567");
    buffer.as_mut_slice()[0] = b'!';
    assert_eq!(&buffer[..], b"!34567");
    drop(buffer);
    assert_eq!(shard.io.pool_stats().detached, 1, "not home yet");
    shard.run_for(Duration::from_millis(10));
    assert_eq!(shard.io.pool_stats().detached, 0);
    shard.finish();
}

#[test]
fn payloads_outlive_their_io() {
    let mut shard = Shard::new();
    let (_, mut peer) = shard.accepted();
    peer.write_all(b"immortal").unwrap();
    let mut slot = None;
    while slot.is_none() {
        shard.io.poll(TICK).unwrap();
        let is_payload = matches!(shard.io.next_event(), Some(Event::StreamFrame { .. }));
        slot = if is_payload { shard.io.detach_event_data() } else { None };
    }
    drop(shard);
    let slot = slot.unwrap();
    let other = slot.clone();
    thread::spawn(move || assert_eq!(&other[..], b"immortal")).join().unwrap();
    assert_eq!(&slot[..], b"immortal");
}

/// Sends one message of 100 bytes and keeps its payload, which the shard may refuse.
fn keep_one(
    shard: &mut Shard,
    conn: ConnId,
    peer: &mut TcpStream,
    byte: u8,
) -> Result<OwnedSlot, IoError> {
    peer.write_all(&[byte; 100]).unwrap();
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "the message does not come");
        shard.io.poll(TICK).unwrap();
        while let Some(event) = shard.io.next_event() {
            if matches!(event, Event::StreamFrame { conn: c, .. } if c == conn) {
                return shard.io.try_detach_event_data();
            }
        }
    }
}

#[test]
fn a_slow_worker_slows_its_own_connection_alone() {
    let mut shard = Shard::with(|c| {
        c.stream_buffer_count = 256;
        c.held_buffers_max = 4;
    });
    let (slow, mut to_slow) = shard.accepted();
    let (quick, mut to_quick) = shard.accepted();
    let mut kept = Vec::new();
    for n in 0..4 {
        kept.push(keep_one(&mut shard, slow, &mut to_slow, n).unwrap());
    }
    // It holds as many as it may: a few more, and it is no longer read.
    for _ in 0..200 {
        to_slow.write_all(&[9; 100]).unwrap();
    }
    let data = pattern(1, 4 << 20);
    let copy = data.clone();
    let sender = thread::spawn(move || to_quick.write_all(&copy).unwrap());
    let mut got = Vec::new();
    let start = Instant::now();
    let mut late = 0;
    while got.len() < data.len() {
        assert!(start.elapsed() < PATIENCE, "the other connection is starved");
        shard.io.poll(TICK).unwrap();
        loop {
            let is_slow = match shard.io.next_event() {
                Some(Event::StreamFrame { conn, data, .. }) if conn == quick => {
                    got.extend_from_slice(data);
                    false
                }
                Some(Event::StreamFrame { data, .. }) => {
                    late += data.len();
                    true
                }
                Some(_) => false,
                None => break,
            };
            if is_slow {
                kept.extend(shard.io.detach_event_data());
            }
        }
    }
    assert_same(&got, &data);
    sender.join().unwrap();
    let held = kept.len();
    assert!(held <= 16, "{held} buffers are held");
    // Everything that waited comes once the worker lets go.
    drop(kept);
    let missing = 20_000 - late;
    assert_eq!(shard.wait_bytes(slow, missing).len(), missing);
    shard.finish();
}

#[test]
fn detached_payloads_have_a_cap_and_are_copied_beyond_it() {
    let mut shard = Shard::with(|c| {
        c.stream_buffer_count = 64;
        c.detached_max_pct = 10;
        c.pool_slot_count = 128;
        c.handle_reserve_count = 0;
    });
    let mut clients: Vec<_> = (0..60).map(|_| shard.accepted()).collect();
    let mut kept = Vec::new();
    let mut refused = 0;
    for (n, (conn, peer)) in clients.iter_mut().enumerate() {
        match keep_one(&mut shard, *conn, peer, n as u8) {
            Ok(slot) => kept.push((n as u8, slot)),
            Err(error) => {
                assert_eq!(error, IoError::PoolExhausted { pool: PoolKind::Detached });
                refused += 1;
            }
        }
    }
    let copied = shard.io.io_stats().bytes_copied_rx;
    assert!(copied > 0, "a tenth of the buffers is out, the others are copied");
    assert!(refused > 0, "and copies have a cap too: {} kept", kept.len());
    for (n, slot) in &kept {
        assert_eq!(&slot[..], &[*n; 100]);
    }
    drop(kept);
    let (conn, peer) = &mut clients[0];
    let slot = keep_one(&mut shard, *conn, peer, 77).expect("there is room again");
    assert_eq!(slot[..], [77; 100]);
    drop(slot);
    assert_eq!(shard.io.io_stats().bytes_copied_rx, copied, "no copy was needed");
    shard.finish();
}
