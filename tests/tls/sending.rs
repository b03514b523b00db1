//! Every way of writing, over TLS: copies, send buffers, guards, other threads.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use zero_io::{ConnId, IoError, SendOutcome, TlsVersion};

use super::certs::World;
use super::common::{STREAM, Seen, Shard, assert_same, pattern};
use super::kit::{ClientPeer, VERSIONS, close_in_order, listen, part};
use super::peers::close_pair;

/// A pair of ours: the client's end, and the server's.
fn pair(world: &World, shard: &mut Shard, version: TlsVersion) -> (ConnId, ConnId) {
    let tls = world.server.server().versions(version, version).build().unwrap();
    let (endpoint, addr) = listen(shard, tls);
    let conn = shard.io.tls_connect(addr, world.ca.client().build().unwrap()).unwrap();
    let served = shard.wait_connected(Some(endpoint));
    shard.wait_connected(None);
    (conn, served)
}

const BOTH: [TlsVersion; 2] = [TlsVersion::Tls12, TlsVersion::Tls13];
const LENGTHS: [usize; 12] =
    [1, 15, 16, 1000, 4096, 16_383, 16_384, 16_385, 32_768, 65_536, 300_000, 1 << 20];

#[test]
fn send_buffers_of_every_length() {
    let world = World::new();
    for version in BOTH {
        let mut shard = Shard::new();
        let (conn, served) = pair(&world, &mut shard, version);
        for (i, len) in LENGTHS.into_iter().enumerate() {
            let data = pattern(i as u64, len);
            let mut buffer = shard.io.send_buffer_for(conn, len).unwrap();
            buffer.copy_from_slice(&data);
            shard.io.stream_write_buffer(conn, STREAM, buffer).unwrap();
            shard.seen.clear();
            let got = shard.wait_bytes(served, len);
            assert_same(&got, &data);
        }
        close_pair(&mut shard, conn, served);
        shard.finish();
    }
}

#[test]
fn many_small_writes_of_all_kinds_stay_in_order() {
    let world = World::new();
    for version in BOTH {
        let mut shard = Shard::new();
        let (conn, served) = pair(&world, &mut shard, version);
        let mut wanted = Vec::new();
        for i in 0..300_u64 {
            let data = pattern(i, 1 + (i as usize * 37) % 700);
            wanted.extend_from_slice(&data);
            match i % 4 {
                0 => assert_eq!(shard.io.stream_write(conn, STREAM, &data), Ok(data.len())),
                1 => {
                    let mut buffer = shard.io.send_buffer(data.len()).unwrap();
                    buffer.copy_from_slice(&data);
                    shard.io.stream_write_buffer(conn, STREAM, buffer).unwrap();
                }
                2 => {
                    let memory: Arc<[u8]> = Arc::from(&data[..]);
                    shard.io.stream_write_guard(conn, STREAM, memory, i).unwrap();
                }
                _ => {
                    let (one, two) = data.split_at(data.len() / 3);
                    let parts = [IoSlice::new(one), IoSlice::new(&[]), IoSlice::new(two)];
                    assert_eq!(shard.io.stream_writev(conn, STREAM, &parts), Ok(data.len()));
                }
            }
            if i % 10 == 0 {
                shard.step(Duration::ZERO);
            }
        }
        shard.until("all of it", |s| s.bytes_of(served).len() >= wanted.len());
        assert_same(&shard.bytes_of(served), &wanted);
        let done = shard.count(|seen| matches!(seen, Seen::SendDone { .. }));
        assert_eq!(done, 75);
        close_pair(&mut shard, conn, served);
        shard.finish();
    }
}

/// Waits for `SendDone` of that token.
#[track_caller]
fn wait_done(shard: &mut Shard, wanted: u64) -> (usize, SendOutcome) {
    shard.wait("SendDone", |seen| match seen {
        Seen::SendDone { token, bytes, outcome, .. } if *token == wanted => {
            Some((*bytes, *outcome))
        }
        _ => None,
    })
}

#[test]
fn guards_of_every_length_are_sent_and_released() {
    let world = World::new();
    for version in BOTH {
        let mut shard = Shard::new();
        let (conn, served) = pair(&world, &mut shard, version);
        for (i, len) in [0].into_iter().chain(LENGTHS).enumerate() {
            let data: Arc<[u8]> = Arc::from(pattern(i as u64, len));
            shard.seen.clear();
            let sent = Arc::clone(&data);
            shard.io.stream_write_guard(conn, STREAM, sent, i as u64).unwrap();
            assert_eq!(wait_done(&mut shard, i as u64), (len, SendOutcome::Sent));
            assert_eq!(Arc::strong_count(&data), 1, "the memory is the application's again");
            shard.until("the bytes", |s| s.bytes_of(served).len() >= len);
            assert_same(&shard.bytes_of(served), &data);
        }
        close_pair(&mut shard, conn, served);
        shard.finish();
    }
}

/// A guard that is larger than all buffers together.
#[test]
fn a_guard_of_64_mib_is_sent() {
    const LEN: usize = 64 << 20;
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
    let data: Arc<[u8]> = Arc::from(pattern(1, LEN));
    let wanted = Arc::clone(&data);
    let mut peer = ClientPeer::dial(&world.ca, VERSIONS[1], addr);
    let thread = std::thread::spawn(move || {
        peer.shake();
        let mut at = 0;
        while at < LEN {
            let piece = peer.read_exact((1 << 20).min(LEN - at));
            assert!(piece == wanted[at..at + piece.len()], "changed after {at} bytes");
            at += piece.len();
        }
        drop(wanted);
        peer.close_notify();
    });
    let conn = shard.wait_connected(Some(endpoint));
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&data), 5).unwrap();
    shard.until("the guard", |s| s.count(|seen| matches!(seen, Seen::SendDone { .. })) > 0);
    assert_eq!(wait_done(&mut shard, 5), (LEN, SendOutcome::Sent));
    part(&mut shard, conn, thread);
    shard.finish();
}

#[test]
fn a_guard_write_ends_as_aborted_with_its_connection() {
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
    let mut peer = ClientPeer::dial(&world.ca, VERSIONS[1], addr);
    let thread = std::thread::spawn(move || {
        peer.shake();
        peer
    });
    let conn = shard.wait_connected(Some(endpoint));
    let peer = shard.join(thread);
    let data: Arc<[u8]> = Arc::from(pattern(2, 16 << 20));
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&data), 9).unwrap();
    shard.run_for(Duration::from_millis(50));
    shard.io.close(conn).unwrap();
    let (bytes, outcome) = wait_done(&mut shard, 9);
    assert_eq!(outcome, SendOutcome::Aborted);
    assert!(bytes < data.len());
    shard.wait_end(conn);
    assert_eq!(Arc::strong_count(&data), 1);
    drop(peer);
    shard.finish();
}

#[test]
fn handles_write_small_and_large() {
    let world = World::new();
    for version in BOTH {
        let mut shard = Shard::new();
        let (conn, served) = pair(&world, &mut shard, version);
        let handle = shard.io.handle();
        let mut wanted = Vec::new();
        let pieces: Vec<Vec<u8>> = (0..60)
            .map(|i| pattern(i, [10, 2000, 17_000, 100_000][i as usize % 4]))
            .chain([pattern(99, 3_000_000)])
            .collect();
        pieces.iter().for_each(|piece| wanted.extend_from_slice(piece));
        let writer = std::thread::spawn(move || {
            for (i, piece) in pieces.iter().enumerate() {
                let write = || match i % 3 {
                    0 => {
                        let memory: Arc<[u8]> = Arc::from(&piece[..]);
                        handle.stream_write_guard(conn, STREAM, memory, i as u64)
                    }
                    _ => handle.stream_write(conn, STREAM, piece),
                };
                loop {
                    match write() {
                        Ok(()) => break,
                        Err(IoError::QueueFull { .. } | IoError::PoolExhausted { .. }) => {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            handle.shutdown_write(conn, STREAM).unwrap();
        });
        shard.wait_read_closed(served);
        assert_same(&shard.bytes_of(served), &wanted);
        assert_eq!(shard.io.io_stats().commands_refused, 0);
        shard.join(writer);
        shard.io.close_graceful(served, Duration::from_secs(10)).unwrap();
        for conn in [conn, served] {
            assert_eq!(shard.wait_end(conn), (zero_io::code::NONE, true));
        }
        shard.finish();
    }
}

/// What is asked for before the handshake is done is sent after it, in order.
#[test]
fn handles_write_before_the_handshake_is_done() {
    let world = World::new();
    for version in BOTH {
        let mut shard = Shard::new();
        let tls = world.server.server().versions(version, version).build().unwrap();
        let (endpoint, addr) = listen(&mut shard, tls);
        let conn = shard.io.tls_connect(addr, world.ca.client().build().unwrap()).unwrap();
        let handle = shard.io.handle();
        let long = pattern(4, 50_000);
        handle.stream_write(conn, STREAM, b"header ").unwrap();
        shard.step(Duration::ZERO);
        handle.stream_write(conn, STREAM, &long).unwrap();
        handle.stream_write_guard(conn, STREAM, "guard ", 1).unwrap();
        let served = shard.wait_connected(Some(endpoint));
        handle.stream_write(conn, STREAM, b"body").unwrap();
        let wanted = [b"header ", &long[..], b"guard body"].concat();
        assert_eq!(wait_done(&mut shard, 1), (6, SendOutcome::Sent));
        shard.until("all of it", |shard| shard.bytes_of(served).len() >= wanted.len());
        assert_same(&shard.bytes_of(served), &wanted);
        assert_eq!(shard.io.io_stats().commands_refused, 0);
        for conn in [conn, served] {
            handle.close(conn).unwrap();
            shard.wait_end(conn);
        }
        shard.finish();
    }
}

/// What a handle was promised is not lost because buffers are few for the moment.
#[test]
fn handles_lose_nothing_when_buffers_are_few() {
    let world = World::new();
    let mut shard = Shard::with(|c| c.stream_buffer_count = 64);
    let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
    let data = pattern(3, 2_000_000);
    let mut peer = ClientPeer::dial(&world.ca, VERSIONS[1], addr);
    let len = data.len();
    let thread = std::thread::spawn(move || {
        peer.shake();
        std::thread::sleep(Duration::from_millis(200));
        let all = peer.read_exact(len);
        peer.close_notify();
        all
    });
    let conn = shard.wait_connected(Some(endpoint));
    let handle = shard.io.handle();
    let pieces = data.clone();
    let writer = std::thread::spawn(move || {
        for piece in pieces.chunks(50_000) {
            while let Err(error) = handle.stream_write(conn, STREAM, piece) {
                let full =
                    matches!(error, IoError::QueueFull { .. } | IoError::PoolExhausted { .. });
                assert!(full, "{error}");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    assert_same(&shard.join(thread), &data);
    shard.join(writer);
    assert_eq!(shard.io.io_stats().commands_refused, 0);
    close_in_order(&mut shard, conn);
    shard.finish();
}
