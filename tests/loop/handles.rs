//! Handles: what other threads ask of a shard.

use std::io::Read;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use zero_io::{
    Config, IoError, IoHandle, IoSeed, OwnedSlot, PoolKind, SendBuffer, SendOutcome,
    UdpEndpointConfig, code,
};

use crate::common::{
    PATIENCE, STREAM, Seen, Shard, TICK, assert_same, localhost, pattern, read_to_end,
};

#[test]
fn handles_are_send_sync_and_clone() {
    fn check<T: Send + Sync + Clone + 'static>() {}
    fn send<T: Send + 'static>() {}
    check::<IoHandle>();
    check::<OwnedSlot>();
    send::<SendBuffer>();
    send::<IoSeed>();
}

/// Offers until there is room: a full queue and an empty reserve pass.
pub(crate) fn insist(mut ask: impl FnMut() -> Result<(), IoError>) {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(()) => return,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        assert!(start.elapsed() < PATIENCE);
        thread::yield_now();
    }
}

#[test]
fn posts_of_many_threads_come_in_order_per_handle() {
    const THREADS: u64 = 4;
    const EACH: u64 = 5000;
    let mut shard = Shard::with(|c| c.handle_queue_entries = 64);
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let handle = shard.io.handle().clone();
            thread::spawn(move || {
                for n in 0..EACH {
                    let token = thread << 32 | n;
                    if n % 5 == 0 {
                        insist(|| handle.post_data(token, &token.to_le_bytes()));
                    } else {
                        insist(|| handle.post(token));
                    }
                }
            })
        })
        .collect();
    shard.until("all posts", |shard| shard.seen.len() == (THREADS * EACH) as usize);
    let mut next = [0; THREADS as usize];
    for seen in &shard.seen {
        let Seen::User { token, data } = seen else { panic!("{seen:?}") };
        let (thread, n) = ((token >> 32) as usize, token & 0xFFFF_FFFF);
        assert_eq!(n, next[thread], "in order");
        next[thread] += 1;
        let wanted: &[u8] = if n % 5 == 0 { &token.to_le_bytes() } else { &[] };
        assert_eq!(data, wanted);
    }
    for thread in threads {
        thread.join().unwrap();
    }
    shard.finish();
}

/// What was dropped elsewhere is taken in by one poll, and set aside again by the next.
fn home(shard: &mut Shard) {
    for _ in 0..3 {
        shard.step(TICK);
    }
}

#[test]
fn a_full_queue_is_named() {
    let mut shard = Shard::with(|c| {
        c.handle_queue_entries = 4;
        c.handle_reserve_count = 8;
    });
    let handle = shard.io.handle();
    let full = IoError::QueueFull { queue: "handle", capacity: 4 };
    for token in 0..4 {
        handle.post(token).unwrap();
    }
    assert_eq!(handle.post(9), Err(full));
    assert_eq!(handle.post_data(9, b"x"), Err(full));
    // The buffer of the refused one is on its way home: none is lost.
    shard.until("the four", |shard| shard.seen.len() == 4);
    home(&mut shard);
    let buffers: Vec<_> = (0..8).map(|_| handle.send_buffer(1).unwrap()).collect();
    let empty = handle.send_buffer(1).unwrap_err();
    assert_eq!(empty, IoError::PoolExhausted { pool: PoolKind::HandleReserve });
    drop(buffers);
    home(&mut shard);
    handle.post_data(5, b"again").unwrap();
    let long = handle.post_data(5, &[0; 2049]).unwrap_err();
    assert_eq!(long, IoError::BufferTooLarge { len: 2049, max: 2048 });
    shard.until("one more", |shard| shard.seen.len() == 5);
    shard.finish();
}

#[test]
fn a_shard_that_sleeps_long_makes_up_the_reserve() {
    let mut shard = Shard::with(|c| c.handle_reserve_count = 4);
    // Buffers that the loop lets go of after its poll.
    let handle = shard.io.handle();
    let poster = thread::spawn(move || {
        for n in 0..200 {
            insist(|| handle.post_data(n, &[1; 100]));
        }
    });
    let start = Instant::now();
    while shard.seen.len() < 200 {
        shard.step(PATIENCE);
        assert!(start.elapsed() < PATIENCE, "the loop slept with {} posts", shard.seen.len());
    }
    poster.join().unwrap();
    // Buffers that a thread drops unsent while the loop sleeps.
    let handle = shard.io.handle();
    let dropper = thread::spawn(move || {
        for _ in 0..200 {
            insist(|| handle.send_buffer(100).map(drop));
        }
        handle.post(1).unwrap();
    });
    while shard.seen.len() < 201 {
        shard.step(PATIENCE);
        assert!(start.elapsed() < PATIENCE, "the loop sleeps while a thread waits");
    }
    dropper.join().unwrap();
    shard.finish();
}

#[test]
fn threads_write_to_connections() {
    const ROUNDS: usize = 300;
    let mut shard = Shard::new();
    let (conn, peer) = shard.accepted();
    let reader = thread::spawn(move || read_to_end(peer));
    let handle = shard.io.handle();
    let (sent, wanted) = mpsc::channel();
    let writer = thread::spawn(move || {
        let mut all = Vec::new();
        for n in 0..ROUNDS {
            // Small ones come from the reserve, large ones are copied into memory of their own.
            let data = pattern(n as u64, [10, 2048, 2049, 100_000, 0][n % 5]);
            match n % 3 {
                0 => insist(|| handle.stream_write(conn, STREAM, &data)),
                1 if data.len() <= 2048 => insist(|| {
                    let mut buffer = handle.send_buffer(data.len())?;
                    buffer.as_mut_slice().copy_from_slice(&data);
                    handle.stream_write_buffer(conn, STREAM, buffer)
                }),
                _ => insist(|| {
                    let memory = std::sync::Arc::new(data.clone());
                    handle.stream_write_guard(conn, STREAM, memory, n as u64)
                }),
            }
            all.extend_from_slice(&data);
        }
        insist(|| handle.shutdown_write(conn, STREAM));
        sent.send(all).unwrap();
    });
    let got = shard.join(reader);
    assert_same(&got, &wanted.recv().unwrap());
    writer.join().unwrap();
    let guards = |shard: &mut Shard| {
        shard.count(|s| matches!(s, Seen::SendDone { outcome: SendOutcome::Sent, .. }))
    };
    let asked =
        (0..ROUNDS).filter(|n| n % 3 == 2 || n % 3 == 1 && [2, 3].contains(&(n % 5))).count();
    shard.until("the guard writes", |shard| guards(shard) == asked);
    assert_eq!(shard.io.io_stats().commands_refused, 0);
    shard.finish();
}

#[test]
fn threads_close_connections_and_send_datagrams() {
    let mut shard = Shard::new();
    let (one, mut peer_one) = shard.accepted();
    let (two, mut peer_two) = shard.accepted();
    let endpoint = shard.io.udp_bind_with(UdpEndpointConfig::new(localhost())).unwrap();
    let socket = std::net::UdpSocket::bind(localhost()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let to = socket.local_addr().unwrap();
    let handle = shard.io.handle();
    thread::spawn(move || {
        handle.udp_send_bytes(endpoint, to, b"a datagram").unwrap();
        handle.stream_write(one, STREAM, b"last words").unwrap();
        handle.close_graceful(one, Duration::from_secs(5)).unwrap();
        handle.close(two).unwrap();
        // It is taken, and comes too late.
        handle.stream_write(two, STREAM, b"too late").unwrap();
    })
    .join()
    .unwrap();
    assert_eq!(shard.wait_end(two), (code::LOCAL_CLOSE, false));
    let mut got = [0; 16];
    assert_eq!(socket.recv(&mut got).unwrap(), 10);
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        peer_one.read_to_end(&mut got).unwrap();
        got
    });
    assert_eq!(shard.wait_end(one), (code::NONE, true));
    assert_same(&shard.join(reader), b"last words");
    assert_eq!(peer_two.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(shard.io.io_stats().commands_refused, 1);
    shard.finish();
}

#[test]
fn wake_ends_a_sleep_without_an_event() {
    let mut shard = Shard::new();
    let handle = shard.io.handle();
    let (go, signal) = mpsc::channel();
    let waker = thread::spawn(move || {
        while signal.recv().is_ok() {
            thread::sleep(Duration::from_millis(30));
            handle.wake().unwrap();
        }
    });
    for _ in 0..3 {
        go.send(()).unwrap();
        let start = Instant::now();
        shard.step(PATIENCE);
        assert!(start.elapsed() < PATIENCE, "it slept on");
    }
    drop(go);
    assert_eq!(shard.seen, []);
    waker.join().unwrap();
    shard.finish();
}

#[test]
fn a_handle_outlives_its_io() {
    let mut shard = Shard::new();
    let (conn, _peer) = shard.accepted();
    let endpoint = shard.io.udp_bind(localhost()).unwrap();
    let handle = shard.io.handle();
    let mut buffer = handle.send_buffer(5).unwrap();
    let late = handle.send_buffer(5).unwrap();
    handle.post(1).unwrap();
    drop(shard);
    let gone = Err(IoError::IoGone);
    buffer.as_mut_slice().copy_from_slice(b"alive");
    assert_eq!(&buffer[..], b"alive", "its memory is still there");
    assert_eq!(handle.stream_write_buffer(conn, STREAM, buffer), gone);
    assert_eq!(handle.post(2), gone);
    assert_eq!(handle.post_data(2, b"x"), gone);
    assert_eq!(handle.wake(), gone);
    assert_eq!(handle.stream_write(conn, STREAM, b"x"), gone);
    assert_eq!(handle.stream_write(conn, STREAM, &[0; 100_000]), gone);
    assert_eq!(handle.stream_write_guard(conn, STREAM, "x", 1), gone);
    assert_eq!(handle.udp_send_bytes(endpoint, "127.0.0.1:9".parse().unwrap(), b"x"), gone);
    assert_eq!(handle.shutdown_write(conn, STREAM), gone);
    assert_eq!(handle.close(conn), gone);
    assert_eq!(handle.close_graceful(conn, PATIENCE), gone);
    assert!(matches!(handle.send_buffer(1), Err(IoError::IoGone)));
    drop(late);
    assert_eq!(handle.clone().post(3), gone);
}

#[test]
fn threads_that_race_with_the_end_of_an_io() {
    for round in 0..30 {
        let shard = Shard::of(Config::default());
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let handle = shard.io.handle();
                thread::spawn(move || {
                    let mut taken = 0_u64;
                    loop {
                        match handle.post_data(taken, b"racing") {
                            Ok(()) => taken += 1,
                            Err(IoError::IoGone) => return taken,
                            Err(error) => assert!(error.is_retryable(), "{error}"),
                        }
                    }
                })
            })
            .collect();
        thread::sleep(Duration::from_micros(200 * round));
        drop(shard);
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
