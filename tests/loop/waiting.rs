//! What handles ask of connections that cannot do it yet: it waits there, in order, and keeps
//! nobody else.

use std::io::Read;
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use zero_io::{
    ConnId, IoError, IoHandle, SendOutcome, TcpConnectConfig, Toggle, UdpEndpointConfig, code,
};

use crate::common::{
    PATIENCE, STREAM, Seen, Shard, TICK, assert_same, localhost, patient, pattern, plain_listener,
    read_to_end,
};

/// More than the kernel takes for a peer that does not read.
const MEMORY_LEN: usize = 32 << 20;

fn refused(shard: &Shard) -> u64 {
    shard.io.io_stats().commands_refused
}

/// The end of a guard write, if it was told.
fn done(seen: &Seen, wanted: u64) -> Option<(usize, SendOutcome)> {
    match seen {
        Seen::SendDone { token, bytes, outcome, .. } if *token == wanted => {
            Some((*bytes, *outcome))
        }
        _ => None,
    }
}

/// A connection whose peer does not read, with its send queue at the mark.
fn stuck(shard: &mut Shard) -> (ConnId, TcpStream) {
    let (conn, peer) = shard.accepted();
    let memory = Arc::new(pattern(1, MEMORY_LEN));
    shard.io.stream_write_guard(conn, STREAM, memory, 1).unwrap();
    shard.run_for(Duration::from_millis(50));
    (conn, peer)
}

fn sends(shard: &mut Shard, handle: &IoHandle, conn: ConnId, peer: &mut TcpStream) {
    handle.stream_write(conn, STREAM, b"goes on").unwrap();
    shard.run_for(Duration::from_millis(20));
    let mut got = [0; 7];
    peer.read_exact(&mut got).unwrap();
    assert_same(&got, b"goes on");
}

// ---- connections that are not established

/// Asks before and after `Connected`; what the peer is to get.
fn ask_early(shard: &mut Shard, conn: ConnId) -> Vec<u8> {
    let handle = shard.io.handle();
    let long = pattern(2, 5000);
    handle.stream_write(conn, STREAM, b"header ").unwrap();
    handle.stream_write(conn, STREAM, &long).unwrap();
    handle.stream_write_guard(conn, STREAM, "guard ", 7).unwrap();
    shard.step(Duration::ZERO);
    shard.wait("Connected", |seen| {
        matches!(seen, Seen::Connected { conn: c, .. } if *c == conn).then_some(())
    });
    handle.stream_write(conn, STREAM, b"body").unwrap();
    handle.shutdown_write(conn, STREAM).unwrap();
    let outcome = shard.wait("the guard's end", |seen| done(seen, 7));
    assert_eq!(outcome, (6, SendOutcome::Sent));
    [b"header ", &long[..], b"guard ", b"body"].concat()
}

#[test]
fn what_is_asked_before_connected_is_sent_first() {
    let (listener, addr) = plain_listener();
    for by_name in [false, true] {
        let mut shard = Shard::new();
        let conn = if by_name {
            let to = TcpConnectConfig::new(("localhost", addr.port()));
            shard.io.tcp_connect_with(to).unwrap()
        } else {
            shard.io.tcp_connect(addr).unwrap()
        };
        let wanted = ask_early(&mut shard, conn);
        let (peer, _) = listener.accept().unwrap();
        let reader = std::thread::spawn(move || read_to_end(patient(peer)));
        assert_same(&shard.join(reader), &wanted);
        assert_eq!(shard.wait_end(conn), (code::NONE, true));
        assert_eq!(refused(&shard), 0, "by name: {by_name}");
        shard.finish();
    }
}

#[test]
fn what_is_asked_of_a_unix_connection_before_connected_is_sent_first() {
    let name = format!("zero-io-waiting-{}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let listener = UnixListener::bind(&path).unwrap();
    let mut shard = Shard::new();
    let conn = shard.io.uds_connect(path.to_str().unwrap()).unwrap();
    let wanted = ask_early(&mut shard, conn);
    let (peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let reader = std::thread::spawn(move || read_to_end(peer));
    assert_same(&shard.join(reader), &wanted);
    std::fs::remove_file(path).unwrap();
    assert_eq!(refused(&shard), 0);
    shard.finish();
}

#[test]
fn what_waits_for_a_connection_that_fails_is_given_up() {
    let (listener, addr) = plain_listener();
    drop(listener);
    let mut shard = Shard::new();
    let handle = shard.io.handle();
    let conn = shard.io.tcp_connect(addr).unwrap();
    let memory: Arc<[u8]> = Arc::from(&b"never sent"[..]);
    handle.stream_write(conn, STREAM, b"never").unwrap();
    handle.stream_write_guard(conn, STREAM, Arc::clone(&memory), 7).unwrap();
    handle.shutdown_write(conn, STREAM).unwrap();
    assert!(!shard.wait_end(conn).1);
    let outcome = shard.wait("the guard's end", |seen| done(seen, 7));
    assert_eq!((outcome, Arc::strong_count(&memory)), ((0, SendOutcome::Aborted), 1));
    assert_eq!(refused(&shard), 3);
    shard.finish();
}

// ---- guard writes that come too late

#[test]
fn a_guard_write_that_comes_too_late_is_told() {
    let mut shard = Shard::with(|c| c.guard_count = 1);
    let (conn, peer) = shard.accepted();
    let handle = shard.io.handle();
    let memory: Arc<[u8]> = Arc::from(&b"not any more"[..]);
    handle.shutdown_write(conn, STREAM).unwrap();
    handle.stream_write_guard(conn, STREAM, Arc::clone(&memory), 7).unwrap();
    let outcome = shard.wait("its end", |seen| done(seen, 7));
    assert_eq!((outcome, Arc::strong_count(&memory)), ((0, SendOutcome::Aborted), 1));
    drop(peer);
    shard.wait_end(conn);
    // The table has one place: the second waits until the first was told.
    handle.stream_write_guard(conn, STREAM, Arc::clone(&memory), 8).unwrap();
    handle.stream_write_guard(conn, STREAM, Arc::clone(&memory), 9).unwrap();
    for token in [8, 9] {
        let outcome = shard.wait("its end", |seen| done(seen, token));
        assert_eq!(outcome, (0, SendOutcome::Aborted));
    }
    assert_eq!((refused(&shard), Arc::strong_count(&memory)), (3, 1));
    shard.finish();
}

// ---- datagrams

#[test]
fn datagrams_wait_for_room() {
    const COUNT: u8 = 100;
    let mut shard = Shard::new();
    let mut config = UdpEndpointConfig::new(localhost());
    config.send_queue = 8;
    let endpoint = shard.io.udp_bind_with(config).unwrap();
    let socket = UdpSocket::bind(localhost()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let (handle, to) = (shard.io.handle(), socket.local_addr().unwrap());
    for n in 0..COUNT {
        handle.udp_send_bytes(endpoint, to, &[n]).unwrap();
    }
    handle.post(3).unwrap();
    shard.wait("the post", |seen| matches!(seen, Seen::User { token: 3, .. }).then_some(()));
    shard.until("all", |shard| shard.io.io_stats().datagrams_sent == u64::from(COUNT));
    for n in 0..COUNT {
        let mut got = [0; 2];
        assert_eq!((socket.recv(&mut got).unwrap(), got[0]), (1, n), "in order");
    }
    assert_eq!((refused(&shard), shard.io.io_stats().datagrams_dropped), (0, 0));
    shard.finish();
}

// ---- peers that do not read

#[test]
fn a_stuck_connection_keeps_nobody_else() {
    let mut shard = Shard::with(|c| {
        c.guard_count = 2;
        c.uring.zero_copy_send = Toggle::Off;
    });
    let (one, peer_one) = stuck(&mut shard);
    let (two, mut peer_two) = shard.accepted();
    let handle = shard.io.handle();
    handle.stream_write(one, STREAM, b"waits").unwrap();
    let memory: Arc<[u8]> = Arc::from(&b"waits as well"[..]);
    handle.stream_write_guard(one, STREAM, Arc::clone(&memory), 2).unwrap();
    handle.close_graceful(one, PATIENCE * 2).unwrap();
    handle.post(3).unwrap();
    sends(&mut shard, &handle, two, &mut peer_two);
    shard.wait("the post", |seen| matches!(seen, Seen::User { token: 3, .. }).then_some(()));
    // Waiting is no work.
    let polls = shard.io.io_stats().polls;
    let start = Instant::now();
    shard.run_for(Duration::from_millis(300));
    let polls = shard.io.io_stats().polls - polls;
    assert!(polls < 200, "{polls} polls in {:?}", start.elapsed());
    // A close does not wait behind what waits.
    handle.close(one).unwrap();
    assert_eq!(shard.wait_end(one), (code::LOCAL_CLOSE, false));
    let outcome = shard.wait("the guard's end", |seen| done(seen, 2));
    assert_eq!((outcome, Arc::strong_count(&memory)), ((0, SendOutcome::Aborted), 1));
    assert_eq!(refused(&shard), 3, "what was dropped is counted");
    drop(peer_one);
    handle.close(two).unwrap();
    shard.finish();
}

#[test]
fn what_waits_is_sent_in_order_when_the_peer_reads() {
    let mut shard = Shard::with(|c| c.uring.zero_copy_send = Toggle::Off);
    let (conn, peer) = stuck(&mut shard);
    let handle = shard.io.handle();
    handle.stream_write(conn, STREAM, b"a copy, ").unwrap();
    handle.stream_write_guard(conn, STREAM, "a guard, ", 2).unwrap();
    handle.stream_write(conn, STREAM, b"the end").unwrap();
    handle.close_graceful(conn, PATIENCE * 2).unwrap();
    shard.run_for(Duration::from_millis(20));
    let reader = std::thread::spawn(move || read_to_end(peer));
    let got = shard.join(reader);
    let wanted = [&pattern(1, MEMORY_LEN)[..], b"a copy, a guard, the end"].concat();
    assert_same(&got, &wanted);
    assert_eq!(shard.wait_end(conn), (code::NONE, true));
    assert_eq!(refused(&shard), 0);
    shard.finish();
}

#[test]
fn a_graceful_close_behind_what_waits_keeps_its_time() {
    let mut shard = Shard::with(|c| c.uring.zero_copy_send = Toggle::Off);
    let (conn, peer) = stuck(&mut shard);
    let handle = shard.io.handle();
    handle.stream_write_guard(conn, STREAM, "waits", 2).unwrap();
    handle.close_graceful(conn, Duration::from_millis(300)).unwrap();
    let start = Instant::now();
    let (error_code, clean) = shard.wait("the end", |seen| match seen {
        Seen::Disconnected { conn: c, code, clean, .. } if *c == conn => Some((*code, *clean)),
        _ => None,
    });
    assert_eq!((error_code, clean), (code::CLOSE_TIMEOUT, false));
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    assert_eq!(shard.wait("the guard", |seen| done(seen, 2)), (0, SendOutcome::Aborted));
    drop(peer);
    shard.finish();
}

#[test]
fn one_stuck_connection_takes_a_part_of_the_queue_and_of_the_slots() {
    const ENTRIES: usize = 64;
    let mut shard = Shard::with(|c| {
        c.handle_queue_entries = ENTRIES;
        c.pool_slot_count = 512;
        c.handle_reserve_count = 64;
        c.send_high_water = 64 * 1024;
        c.uring.zero_copy_send = Toggle::Off;
    });
    let (one, peer_one) = stuck(&mut shard);
    let (two, mut peer_two) = shard.accepted();
    let handle = shard.io.handle();
    let full = IoError::QueueFull { queue: "handle", capacity: ENTRIES };
    let mut taken = 0;
    for _ in 0..1000 {
        match handle.stream_write(one, STREAM, b"small") {
            Ok(()) => taken += 1,
            Err(error) => {
                assert_eq!(error, full);
                shard.step(Duration::ZERO);
            }
        }
    }
    assert_eq!(taken, ENTRIES / 2, "as many as are left for others");
    let slots = shard.io.pool_stats().pools[0];
    assert!(slots.used as usize <= 64 + taken + 8, "{slots:?}");
    // Nobody else has less for it.
    sends(&mut shard, &handle, two, &mut peer_two);
    (0..10).for_each(|n| handle.post(n).unwrap());
    handle.shutdown_write(one, STREAM).unwrap();
    handle.close_graceful(one, PATIENCE).unwrap();
    shard.step(TICK);
    handle.close(one).unwrap();
    shard.wait_end(one);
    assert_eq!(refused(&shard), taken as u64 + 2);
    handle.stream_write(one, STREAM, b"its share is back").unwrap();
    drop(peer_one);
    shard.step(TICK);
    handle.close(two).unwrap();
    shard.finish();
}

/// A peer that is slow, rather than stuck: small writes hold whole slots, of which a queue takes a
/// mark's worth.
#[test]
fn small_writes_of_handles_hold_no_more_slots_than_the_mark() {
    let mut shard = Shard::with(|c| {
        c.pool_slot_count = 1024;
        c.handle_reserve_count = 128;
        c.send_high_water = 64 * 1024;
        c.uring.zero_copy_send = Toggle::Off;
    });
    let (conn, peer) = stuck(&mut shard);
    let handle = shard.io.handle();
    let mut wanted = pattern(1, MEMORY_LEN);
    let reader = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        read_to_end(peer)
    });
    for n in 0..3000_u32 {
        let piece = n.to_le_bytes();
        let start = Instant::now();
        while let Err(error) = handle.stream_write(conn, STREAM, &piece) {
            assert!(matches!(error, IoError::QueueFull { .. } | IoError::PoolExhausted { .. }));
            assert!(start.elapsed() < PATIENCE);
            shard.step(TICK);
        }
        wanted.extend_from_slice(&piece);
    }
    handle.shutdown_write(conn, STREAM).unwrap();
    assert_same(&shard.join(reader), &wanted);
    shard.wait_end(conn);
    assert_eq!(refused(&shard), 0);
    shard.finish();
}

// ---- wakes

#[test]
fn a_wake_while_the_loop_is_awake_costs_nothing_and_ends_the_next_sleep() {
    let mut shard = Shard::new();
    shard.run_for(Duration::from_millis(20));
    let handle = shard.io.handle();
    let before = shard.io.io_stats().completions;
    for _ in 0..100 {
        handle.wake().unwrap();
    }
    let start = Instant::now();
    shard.step(PATIENCE);
    assert!(start.elapsed() < PATIENCE, "it slept on");
    let start = Instant::now();
    shard.step(Duration::from_millis(50));
    assert!(start.elapsed() >= Duration::from_millis(50), "one sleep is ended, not two");
    assert_eq!(shard.io.io_stats().completions, before, "the eventfd was written");
    shard.finish();
}
