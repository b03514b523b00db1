//! How TCP connections end on the real kernel: half-close, close, graceful close, reset, time
//! limits.

mod common;
#[path = "common/linger.rs"]
mod linger;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use common::{
    PATIENCE, STREAM, Seen, Shard, TICK, assert_same, dial, pattern, plain_listener, read_to_end,
};
use linger::linger_zero;
use zero_io::{ConnTimeouts, IoError, TcpConnectConfig, code};

fn timeouts(change: impl FnOnce(&mut ConnTimeouts)) -> ConnTimeouts {
    let mut timeouts = ConnTimeouts::default();
    change(&mut timeouts);
    timeouts
}

/// Makes the coming close of a plain socket a reset.
fn reset(stream: TcpStream) {
    linger_zero(&stream);
    drop(stream);
}

// ---- halves

#[test]
fn the_peer_may_stop_sending_and_still_be_answered() {
    let mut shard = Shard::new();
    let (conn, mut peer) = shard.accepted();
    peer.write_all(b"request").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    shard.wait_read_closed(conn);
    assert_same(&shard.bytes_of(conn), b"request");
    let answer = pattern(1, 2 << 20);
    let reader = thread::spawn(move || read_to_end(peer));
    shard.write_all(conn, &answer);
    shard.io.shutdown_write(conn, STREAM).unwrap();
    assert_eq!(shard.wait_end(conn), (code::NONE, true));
    assert_same(&reader.join().unwrap(), &answer);
    shard.finish();
}

#[test]
fn a_peer_that_stopped_sending_stays_open() {
    let mut shard = Shard::new();
    let (conn, peer) = shard.accepted();
    peer.shutdown(Shutdown::Write).unwrap();
    shard.wait_read_closed(conn);
    shard.run_for(Duration::from_millis(100));
    assert_eq!(shard.seen, [], "FIN is not the end");
    shard.write_all(conn, b"x");
    shard.step(TICK);
    let mut peer = peer;
    peer.read_exact(&mut [0; 1]).unwrap();
    shard.finish();
}

#[test]
fn this_side_may_stop_sending_and_still_receive() {
    let mut shard = Shard::new();
    let (conn, mut peer) = shard.accepted();
    let data = pattern(2, 4 << 20);
    let mut done = 0;
    let copy = data.clone();
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert_same(&got, &copy);
        peer.write_all(b"after your FIN").unwrap();
        peer
    });
    shard.until("all to be written", |shard| {
        done += shard.io.stream_write(conn, STREAM, &data[done..]).unwrap();
        done == data.len()
    });
    // Much of it is still queued: the FIN has to wait for it.
    shard.io.shutdown_write(conn, STREAM).unwrap();
    let error = shard.io.stream_write(conn, STREAM, b"more").unwrap_err();
    assert_eq!(error, IoError::WriteClosed { conn });
    shard.io.shutdown_write(conn, STREAM).expect("again is nothing new");
    let got = shard.wait_bytes(conn, 14);
    assert_same(&got, b"after your FIN");
    drop(reader.join().unwrap());
    assert_eq!(shard.wait_end(conn), (code::NONE, true));
    shard.finish();
}

// ---- close

#[test]
fn close_is_at_once() {
    let mut shard = Shard::new();
    let (conn, mut peer) = shard.accepted();
    shard.io.close(conn).unwrap();
    assert_eq!(shard.io.close(conn), Err(IoError::StaleConn { conn }));
    let write = shard.io.stream_write(conn, STREAM, b"x");
    assert_eq!(write, Err(IoError::StaleConn { conn }));
    assert_eq!(shard.wait_end(conn), (code::LOCAL_CLOSE, false));
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "FIN");
    shard.run_for(Duration::from_millis(30));
    assert_eq!(shard.seen, [], "one Disconnected");
    shard.finish();
}

#[test]
fn what_the_kernel_took_before_a_close_is_delivered() {
    let mut shard = Shard::new();
    let (conn, peer) = shard.accepted();
    shard.write_all(conn, b"last words");
    shard.step(TICK);
    shard.io.close(conn).unwrap();
    assert_eq!(shard.wait_end(conn), (code::LOCAL_CLOSE, false));
    assert_same(&read_to_end(peer), b"last words");
    shard.finish();
}

#[test]
fn a_close_with_a_send_that_waits_ends_all_the_same() {
    let mut shard = Shard::with(|c| c.send_high_water = 64 << 20);
    let (conn, peer) = shard.accepted();
    let data = vec![7; 32 << 20];
    let taken = shard.io.stream_write(conn, STREAM, &data).unwrap();
    assert!(taken > 1 << 20, "{taken}");
    shard.run_for(Duration::from_millis(50));
    let start = Instant::now();
    shard.io.close(conn).unwrap();
    assert_eq!(shard.wait_end(conn), (code::LOCAL_CLOSE, false));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    drop(peer);
    shard.finish();
}

#[test]
fn close_graceful_delivers_all_and_says_fin() {
    let mut shard = Shard::with(|c| c.send_high_water = 16 << 20);
    let (conn, mut peer) = shard.accepted();
    let data = pattern(4, 6 << 20);
    shard.write_all(conn, &data);
    shard.io.close_graceful(conn, Duration::ZERO).unwrap();
    let write = shard.io.stream_write(conn, STREAM, b"x");
    assert_eq!(write, Err(IoError::WriteClosed { conn }));
    let peer = thread::spawn(move || {
        // Sent after the close was asked for, and received all the same.
        peer.write_all(b"meanwhile").unwrap();
        let got = read_to_end(&peer);
        drop(peer);
        got
    });
    assert_eq!(shard.wait_end(conn), (code::NONE, true));
    assert_same(&shard.bytes_of(conn), b"meanwhile");
    assert_same(&peer.join().unwrap(), &data);
    shard.finish();
}

#[test]
fn close_graceful_does_not_wait_for_ever() {
    let mut shard = Shard::with(|c| c.close_timeout = Duration::from_millis(150));
    for limit in [Duration::from_millis(150), Duration::ZERO] {
        let (conn, mut peer) = shard.accepted();
        let start = Instant::now();
        shard.io.close_graceful(conn, limit).unwrap();
        assert_eq!(shard.wait_end(conn), (code::CLOSE_TIMEOUT, false));
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(149), "{took:?}");
        assert!(took < Duration::from_secs(3), "{took:?}");
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    }
    shard.finish();
}

#[test]
fn close_graceful_twice_takes_the_shorter_limit() {
    let mut shard = Shard::new();
    let (conn, _peer) = shard.accepted();
    shard.io.close_graceful(conn, PATIENCE).unwrap();
    shard.run_for(Duration::from_millis(20));
    shard.io.close_graceful(conn, Duration::from_millis(50)).unwrap();
    assert_eq!(shard.wait_end(conn), (code::CLOSE_TIMEOUT, false));
    shard.finish();
}

#[test]
fn close_after_close_graceful_cuts_it_short() {
    let mut shard = Shard::new();
    let (conn, _peer) = shard.accepted();
    shard.io.close_graceful(conn, PATIENCE).unwrap();
    shard.run_for(Duration::from_millis(20));
    shard.io.close(conn).unwrap();
    assert_eq!(shard.wait_end(conn), (code::LOCAL_CLOSE, false));
    shard.finish();
}

#[test]
fn a_connect_may_be_closed_before_it_is_done() {
    let mut shard = Shard::new();
    let (_listener, addr) = plain_listener();
    for graceful in [false, true] {
        let conn = shard.io.tcp_connect(addr).unwrap();
        if graceful {
            shard.io.close_graceful(conn, PATIENCE).unwrap();
        } else {
            shard.io.close(conn).unwrap();
        }
        assert_eq!(shard.wait_end(conn), (code::LOCAL_CLOSE, false));
        assert_eq!(shard.seen, [], "no Connected");
    }
    shard.finish();
}

#[test]
fn reset_on_close_resets() {
    let mut shard = Shard::new();
    let (conn, mut peer) = shard.accepted();
    shard.io.reset_on_close(conn).unwrap();
    shard.io.close(conn).unwrap();
    shard.wait_end(conn);
    let error = peer.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    shard.finish();
}

#[test]
fn a_reset_by_the_peer_is_told_after_its_data() {
    let mut shard = Shard::new();
    let (conn, mut peer) = shard.accepted();
    peer.write_all(b"data").unwrap();
    shard.wait_bytes(conn, 4);
    reset(peer);
    let reason = shard.wait("Disconnected", |seen| match seen {
        Seen::Disconnected { conn: c, code: 104, reason, clean: false } if *c == conn => {
            Some(reason.clone())
        }
        _ => None,
    });
    assert!(reason.contains("ECONNRESET"), "{reason}");
    shard.finish();
}

#[test]
fn a_reset_while_a_send_waits_is_told_once() {
    let mut shard = Shard::with(|c| c.send_high_water = 64 << 20);
    let (conn, peer) = shard.accepted();
    let taken = shard.io.stream_write(conn, STREAM, &vec![1; 24 << 20]).unwrap();
    assert!(taken > 0);
    shard.run_for(Duration::from_millis(50));
    reset(peer);
    let (code, clean) = shard.wait_end(conn);
    assert!(matches!(code, 104 | 32), "{code}");
    assert!(!clean);
    shard.run_for(Duration::from_millis(20));
    assert_eq!(shard.count(|seen| matches!(seen, Seen::Disconnected { .. })), 0);
    shard.finish();
}

#[test]
fn a_write_to_a_peer_that_is_gone_ends_the_connection() {
    let mut shard = Shard::new();
    let (conn, peer) = shard.accepted();
    drop(peer);
    shard.wait_read_closed(conn);
    // The first write is answered by a reset, the second one by EPIPE.
    shard.until("the end", |shard| {
        let _ = shard.io.stream_write(conn, STREAM, b"anybody there?");
        shard.count(|seen| matches!(seen, Seen::Disconnected { .. })) > 0
    });
    let (code, clean) = shard.wait_end(conn);
    assert!(matches!(code, 104 | 32), "{code}");
    assert!(!clean);
    shard.finish();
}

#[test]
fn close_with_events_still_queued() {
    let mut shard = Shard::new();
    let (conn, mut peer) = shard.accepted();
    peer.write_all(&[1; 1000]).unwrap();
    // Received, and not looked at.
    thread::sleep(Duration::from_millis(20));
    shard.io.poll(TICK).unwrap();
    shard.io.poll(TICK).unwrap();
    shard.io.close(conn).unwrap();
    assert_eq!(shard.wait_end(conn), (code::LOCAL_CLOSE, false));
    let last = shard.seen.last();
    assert!(!matches!(last, Some(Seen::Connected { .. })), "{last:?}");
    shard.finish();
}

#[test]
fn dropping_the_io_closes_everything() {
    let mut shard = Shard::new();
    let (endpoint, addr) = shard.listen();
    let mut peer = dial(addr);
    shard.wait_connected(Some(endpoint));
    let handle = shard.io.handle();
    drop(shard);
    let start = Instant::now();
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "FIN");
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    assert!(TcpStream::connect(addr).is_err());
    assert_eq!(handle.wake(), Err(IoError::IoGone));
}

// ---- time limits

#[test]
fn a_connect_has_its_time() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    // SAFETY: shortens the backlog of an open socket.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let limit = Duration::from_millis(300);
    // The backlog of 0 takes one or two; the kernel does not answer the others.
    let config = TcpConnectConfig::new(addr).with(|c| c.connect_timeout = limit);
    let start = Instant::now();
    let conns: Vec<_> =
        (0..8).map(|_| shard.io.tcp_connect_with(config.clone()).unwrap()).collect();
    let ended = |shard: &mut Shard| shard.count(|seen| matches!(seen, Seen::Disconnected { .. }));
    let made = |shard: &mut Shard| shard.count(|seen| matches!(seen, Seen::Connected { .. }));
    shard.until("all to be told", |shard| ended(shard) + made(shard) == conns.len());
    assert!(ended(&mut shard) >= 4, "{:?}", shard.seen);
    for seen in &shard.seen {
        if let Seen::Disconnected { code, clean, .. } = seen {
            assert_eq!((*code, *clean), (code::CONNECT_TIMEOUT, false));
        }
    }
    assert!(start.elapsed() >= limit - Duration::from_millis(1));
    shard.finish();
}

#[test]
fn an_idle_connection_is_ended_and_a_busy_one_is_not() {
    let limit = Duration::from_secs(1);
    let mut shard = Shard::new();
    let (conn, mut peer) = shard.accepted_with(|c| c.timeouts = timeouts(|t| t.idle = Some(limit)));
    for _ in 0..6 {
        peer.write_all(b"x").unwrap();
        shard.run_for(limit / 4);
    }
    assert_eq!(shard.bytes_of(conn).len(), 6);
    // Writing counts as well.
    for _ in 0..6 {
        shard.write_all(conn, b"y");
        shard.run_for(limit / 4);
    }
    let start = Instant::now();
    assert_eq!(shard.wait_end(conn), (code::IDLE_TIMEOUT, false));
    let took = start.elapsed();
    assert!(took >= limit / 2 && took < limit * 5, "{took:?}");
    shard.finish();
}

#[test]
fn the_read_limit_counts_what_is_received_alone() {
    let limit = Duration::from_millis(200);
    let mut shard = Shard::new();
    let (conn, _peer) = shard.accepted_with(|c| c.timeouts = timeouts(|t| t.read = Some(limit)));
    let start = Instant::now();
    shard.until("the end", |shard| {
        let _ = shard.io.stream_write(conn, STREAM, b"y");
        shard.count(|seen| matches!(seen, Seen::Disconnected { .. })) > 0
    });
    assert!(start.elapsed() >= limit - Duration::from_millis(2), "{:?}", start.elapsed());
    assert_eq!(shard.wait_end(conn), (code::READ_TIMEOUT, false));
    shard.finish();
}

#[test]
fn the_read_limit_rests_while_receiving_is_paused() {
    let limit = Duration::from_millis(100);
    let mut shard = Shard::new();
    let (conn, _peer) = shard.accepted_with(|c| c.timeouts = timeouts(|t| t.read = Some(limit)));
    shard.io.pause_recv(conn).unwrap();
    shard.run_for(limit * 4);
    assert_eq!(shard.seen, []);
    shard.io.resume_recv(conn).unwrap();
    let start = Instant::now();
    assert_eq!(shard.wait_end(conn), (code::READ_TIMEOUT, false));
    assert!(start.elapsed() >= limit / 2, "it starts anew: {:?}", start.elapsed());
    shard.finish();
}

#[test]
fn a_peer_that_never_reads_costs_a_bounded_amount_and_is_ended() {
    let limit = Duration::from_millis(300);
    let mut shard = Shard::new();
    let (conn, _peer) = shard.accepted_with(|c| c.timeouts = timeouts(|t| t.write = Some(limit)));
    let data = vec![3; 1 << 20];
    let mut taken = 0;
    let mut queued = 0;
    shard.until("the end", |shard| {
        if let Ok(n) = shard.io.stream_write(conn, STREAM, &data) {
            taken += n;
            queued = shard.io.conn_stats(conn).unwrap().bytes_queued.max(queued);
        }
        shard.count(|seen| matches!(seen, Seen::Disconnected { .. })) > 0
    });
    assert!(queued <= 256 * 1024, "{queued}");
    assert!(taken > 256 * 1024, "{taken}");
    assert_eq!(shard.wait_end(conn), (code::WRITE_TIMEOUT, false));
    shard.finish();
}

#[test]
fn the_write_limit_does_not_run_while_nothing_is_queued() {
    let limit = Duration::from_millis(100);
    let mut shard = Shard::new();
    let (conn, mut peer) =
        shard.accepted_with(|c| c.timeouts = timeouts(|t| t.write = Some(limit)));
    for _ in 0..4 {
        shard.run_for(limit * 2);
        shard.write_all(conn, b"z");
        shard.step(TICK);
        peer.read_exact(&mut [0; 1]).unwrap();
    }
    assert_eq!(shard.seen, []);
    shard.finish();
}

#[test]
fn an_outgoing_connection_has_limits_too() {
    let mut shard = Shard::new();
    let (_listener, addr) = plain_listener();
    let limit = Duration::from_millis(100);
    let config =
        TcpConnectConfig::new(addr).with(|c| c.timeouts = timeouts(|t| t.idle = Some(limit)));
    let conn = shard.io.tcp_connect_with(config).unwrap();
    shard.wait_connected(None);
    assert_eq!(shard.wait_end(conn), (code::IDLE_TIMEOUT, false));
    shard.finish();
}

/// Taking a file out of the ring's table may wait for what others have under way by that table
/// (Linux before 6.13).
#[test]
fn a_close_reaches_its_peer_while_other_connections_are_idle() {
    let mut shard = Shard::new();
    let (idle, _idle_peer) = shard.accepted();
    let (conn, mut peer) = shard.accepted();
    shard.run_for(Duration::from_millis(20));
    // The first receive may name the descriptor; one that is armed later names the table.
    shard.io.pause_recv(idle).unwrap();
    shard.run_for(Duration::from_millis(20));
    shard.io.resume_recv(idle).unwrap();
    shard.run_for(Duration::from_millis(20));
    shard.io.close(conn).unwrap();
    assert_eq!(shard.wait_end(conn), (code::LOCAL_CLOSE, false));
    let reader = std::thread::spawn(move || peer.read(&mut [0; 1]));
    let end = shard.join(reader);
    assert!(matches!(end, Ok(0)), "{end:?}");
    shard.finish();
}

/// K29: a reset right behind the last bytes, before the receive has run, and nothing is sent.
#[test]
fn a_reset_right_behind_the_last_bytes_is_told() {
    let mut shard = Shard::new();
    let (endpoint, addr) = shard.listen();
    for round in 0..600 {
        let mut peer = dial(addr);
        let conn = shard.wait_connected(Some(endpoint));
        shard.step(Duration::ZERO);
        let ends = thread::spawn(move || {
            peer.write_all(&[7; 8]).unwrap();
            reset(peer);
        });
        if round % 2 == 0 {
            ends.join().unwrap();
        } else {
            shard.join(ends);
        }
        let (code, clean) = shard.wait_end(conn);
        assert_eq!((code as i32, clean), (libc::ECONNRESET, false));
        shard.seen.clear();
    }
    shard.finish();
}
