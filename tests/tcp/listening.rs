//! Listeners and sockets from outside, and what becomes of the backlog.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use zero_io::{ConnTimeouts, IoError, PoolKind, code};

use crate::common::{Seen, Shard, TICK, assert_same, dial, localhost, plain_listener};

#[test]
fn an_adopted_listener_accepts_also_what_waited() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    let early = dial(addr);
    let timeouts = ConnTimeouts::default();
    let endpoint = shard.io.adopt_listener(OwnedFd::from(listener), timeouts, None).unwrap();
    let conn = shard.wait_connected(Some(endpoint));
    assert_eq!(shard.io.peer_addr(conn).unwrap().inet(), Some(early.local_addr().unwrap()));
    let late = dial(addr);
    let conn = shard.wait_connected(Some(endpoint));
    assert_eq!(shard.io.peer_addr(conn).unwrap().inet(), Some(late.local_addr().unwrap()));
    shard.finish();
}

#[test]
fn an_adopted_stream_works() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    let mut peer = dial(addr);
    let (socket, _) = listener.accept().unwrap();
    peer.write_all(b"sent before it was adopted").unwrap();
    let asked = shard.io.adopt_stream(OwnedFd::from(socket), None).unwrap();
    assert_eq!(shard.wait_connected(None), asked);
    assert_same(&shard.wait_bytes(asked, 26), b"sent before it was adopted");
    shard.write_all(asked, b"answer");
    shard.step(TICK);
    let mut got = [0; 6];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"answer");
    shard.finish();
}

#[test]
fn an_adopted_stream_has_the_time_limits_that_it_is_given() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    let _peer = dial(addr);
    let (socket, _) = listener.accept().unwrap();
    let mut timeouts = ConnTimeouts::default();
    timeouts.idle = Some(Duration::from_millis(50));
    let conn = shard.io.adopt_stream_with(OwnedFd::from(socket), timeouts, None).unwrap();
    assert_eq!(shard.wait_end(conn), (code::IDLE_TIMEOUT, false));
    shard.finish();
}

#[test]
fn what_cannot_be_adopted_is_refused_and_closed() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    let mut peer = dial(addr);
    let (socket, _) = listener.accept().unwrap();
    let timeouts = ConnTimeouts::default();
    let error = shard.io.adopt_listener(OwnedFd::from(socket), timeouts, None).unwrap_err();
    assert!(matches!(error, IoError::InvalidArgument { what: "descriptor", .. }), "{error}");
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "the descriptor was closed");
    let error = shard.io.adopt_stream(OwnedFd::from(listener), None).unwrap_err();
    assert!(matches!(error, IoError::InvalidArgument { what: "descriptor", .. }), "{error}");
    let udp = std::net::UdpSocket::bind(localhost()).unwrap();
    let error = shard.io.adopt_stream(OwnedFd::from(udp), None).unwrap_err();
    assert!(matches!(error, IoError::InvalidArgument { what: "descriptor", .. }), "{error}");
    let file = std::fs::File::open("/dev/null").unwrap();
    let error = shard.io.adopt_stream(OwnedFd::from(file), None).unwrap_err();
    assert!(matches!(error, IoError::InvalidArgument { .. } | IoError::Os { .. }), "{error}");
    shard.finish();
}

#[test]
fn a_closed_listener_refuses_and_its_connections_go_on() {
    let mut shard = Shard::new();
    let (endpoint, addr) = shard.listen();
    let mut client = dial(addr);
    let conn = shard.wait_connected(Some(endpoint));
    shard.io.endpoint_close(endpoint).unwrap();
    let again = shard.io.endpoint_close(endpoint);
    assert_eq!(again, Err(IoError::StaleEndpoint { endpoint }));
    shard.run_for(Duration::from_millis(20));
    let error = TcpStream::connect(addr).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    client.write_all(b"still here").unwrap();
    assert_same(&shard.wait_bytes(conn, 10), b"still here");
    shard.finish();
}

#[test]
fn a_full_table_leaves_the_rest_in_the_backlog() {
    let mut shard = Shard::with(|c| c.max_connections = 4);
    let (endpoint, addr) = shard.listen();
    let _clients: Vec<_> = (0..10).map(|_| dial(addr)).collect();
    let is_connected = |seen: &Seen| matches!(seen, Seen::Connected { .. });
    shard.until("four connections", |shard| shard.count(is_connected) == 4);
    let full = shard.io.tcp_connect(addr);
    assert_eq!(full, Err(IoError::PoolExhausted { pool: PoolKind::Connections }));
    shard.run_for(Duration::from_millis(30));
    assert_eq!(shard.count(is_connected), 4);
    for _ in 0..10 {
        let conn = shard.wait_connected(Some(endpoint));
        shard.io.close(conn).unwrap();
        shard.wait_end(conn);
    }
    shard.finish();
}
