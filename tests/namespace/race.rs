//! Happy Eyeballs on the real kernel: hosts whose addresses answer, refuse, or swallow what comes.

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use zero_io::{ConnId, IoError, PeerAddr, TcpConnectConfig, code};

use crate::common::{STREAM, Seen, Shard, assert_same};
use crate::net::{HERE_V4, HERE_V6, Namespace, VOID_V4, VOID_V6, ip_addr, slower, socket_count};

const ECONNREFUSED: u64 = libc::ECONNREFUSED as u64;
const DELAY: Duration = Duration::from_millis(250);
/// What "at once" is allowed to take on a busy machine.
const SOON: Duration = Duration::from_millis(1_500);
const PORT: u16 = 4_711;

fn listen(addr: &str) -> TcpListener {
    TcpListener::bind(SocketAddr::new(ip_addr(addr), PORT)).expect("bind")
}

fn connect(shard: &mut Shard, change: impl FnOnce(&mut TcpConnectConfig)) -> ConnId {
    let config = TcpConnectConfig::new(("host", PORT)).with(change);
    shard.io.tcp_connect_with(config).expect("a connect")
}

/// Waits for `Connected`: to whom, and how long it took.
fn winner(shard: &mut Shard, conn: ConnId) -> (String, Duration) {
    let start = Instant::now();
    let peer = shard.wait("Connected", |seen| match seen {
        Seen::Connected { conn: c, peer: PeerAddr::Inet(peer), .. } if *c == conn => Some(*peer),
        _ => None,
    });
    (peer.ip().to_string(), start.elapsed())
}

/// Nothing but the connection's own socket is left, and it works.
fn check_winner(shard: &mut Shard, conn: ConnId, listener: &TcpListener, sockets: usize) {
    shard.until("the losers to be closed", |_| socket_count() == sockets + 1);
    let (mut peer, _) = listener.accept().expect("accept");
    shard.write_all(conn, b"for the winner");
    let mut got = [0; 14];
    shard.step(Duration::ZERO);
    std::io::Read::read_exact(&mut peer, &mut got).expect("bytes");
    assert_same(&got, b"for the winner");
    shard.run_for(Duration::from_millis(50));
    assert_eq!(shard.seen, [], "it is told once");
}

#[test]
fn the_first_address_wins_when_it_answers() {
    let _net = Namespace::enter(&[("host", &[HERE_V4, HERE_V6])]);
    let (listener, other) = (listen(HERE_V6), listen(HERE_V4));
    let mut shard = Shard::new();
    let sockets = socket_count();
    let conn = connect(&mut shard, |_| ());
    assert_eq!(winner(&mut shard, conn).0, HERE_V6, "RFC 6724 prefers it");
    check_winner(&mut shard, conn, &listener, sockets);
    other.set_nonblocking(true).unwrap();
    assert!(other.accept().is_err(), "the other family was not tried");
    shard.finish();
}

#[test]
fn an_address_that_does_not_answer_costs_one_delay() {
    let _net = Namespace::enter(&[("host", &[VOID_V6, HERE_V4])]);
    let listener = listen(HERE_V4);
    let mut shard = Shard::new();
    let sockets = socket_count();
    let conn = connect(&mut shard, |_| ());
    let (peer, took) = winner(&mut shard, conn);
    assert_eq!(peer, HERE_V4);
    assert!(took >= DELAY && took < DELAY + SOON, "{took:?}");
    check_winner(&mut shard, conn, &listener, sockets);
    shard.finish();
}

#[test]
fn an_address_that_refuses_costs_nothing() {
    // Only one of them has a listener, and it is the last.
    let _net = Namespace::enter(&[("host", &[HERE_V6, "127.0.0.7", "127.0.0.8", HERE_V4])]);
    let listener = listen(HERE_V4);
    let mut shard = Shard::new();
    let sockets = socket_count();
    let conn = connect(&mut shard, |c| c.attempt_delay = Duration::from_secs(2));
    let (peer, took) = winner(&mut shard, conn);
    assert_eq!(peer, HERE_V4);
    assert!(took < SOON, "{took:?}");
    check_winner(&mut shard, conn, &listener, sockets);
    shard.finish();
}

#[test]
fn when_all_refuse_it_is_told_once() {
    let _net = Namespace::enter(&[("host", &[HERE_V6, HERE_V4])]);
    let mut shard = Shard::new();
    let sockets = socket_count();
    let conn = connect(&mut shard, |_| ());
    assert_eq!(shard.wait_end(conn), (ECONNREFUSED, false));
    assert_eq!((shard.seen.len(), socket_count()), (0, sockets));
    shard.finish();
}

#[test]
fn the_time_limit_holds_for_all_attempts_together() {
    let _net = Namespace::enter(&[("host", &[VOID_V6, VOID_V4, "fd77::67", "10.77.0.67"])]);
    let mut shard = Shard::new();
    let sockets = socket_count();
    let limit = Duration::from_millis(400) * slower();
    let start = Instant::now();
    let conn = connect(&mut shard, |c| {
        c.connect_timeout = limit;
        c.attempt_delay = Duration::from_millis(50);
    });
    shard.until("four attempts", |_| socket_count() == sockets + 4);
    assert_eq!(shard.wait_end(conn), (code::CONNECT_TIMEOUT, false));
    let took = start.elapsed();
    assert!(took >= limit && took < limit + SOON, "{took:?}");
    shard.until("the attempts to be closed", |_| socket_count() == sockets);
    assert_eq!(shard.seen, []);
    shard.finish();
}

#[test]
fn a_close_ends_the_race() {
    let _net = Namespace::enter(&[("host", &[VOID_V6, VOID_V4, HERE_V4])]);
    let mut shard = Shard::new();
    let sockets = socket_count();
    for graceful in [false, true] {
        let conn = connect(&mut shard, |c| c.attempt_delay = Duration::from_millis(20));
        shard.until("two attempts", |_| socket_count() >= sockets + 2);
        let early = IoError::NotConnected { conn };
        assert_eq!(shard.io.peer_addr(conn), Err(early), "no address is chosen yet");
        assert_eq!(shard.io.conn_local_addr(conn), Err(early));
        assert_eq!(shard.io.reset_on_close(conn), Err(early));
        assert_eq!(shard.io.stream_write(conn, STREAM, b"x"), Err(early));
        if graceful {
            shard.io.close_graceful(conn, Duration::from_secs(5)).expect("it races");
        } else {
            shard.io.close(conn).expect("it races");
        }
        assert_eq!(shard.wait_end(conn), (code::LOCAL_CLOSE, false));
        shard.until("the attempts to be closed", |_| socket_count() == sockets);
        assert_eq!(shard.seen, [], "no Connected");
    }
    shard.finish();
}

#[test]
fn dropping_the_io_ends_the_race() {
    let _net = Namespace::enter(&[("host", &[VOID_V6, VOID_V4])]);
    let sockets = socket_count();
    let mut shard = Shard::new();
    let before = socket_count();
    connect(&mut shard, |c| c.attempt_delay = Duration::from_millis(20));
    shard.until("two attempts", |_| socket_count() == before + 2);
    drop(shard);
    assert_eq!(socket_count(), sockets);
}
