//! Connecting: who is told, by address and by name, and what a socket is bound to.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use zero_io::{IoError, PeerAddr, Protocol, TcpConnectConfig, TcpListenConfig, code};

use crate::common::{STREAM, Seen, Shard, TICK, assert_same, dial, plain_listener};

#[test]
fn connected_says_who_and_how() {
    let mut shard = Shard::new();
    let (endpoint, addr) = shard.listen();
    let client = dial(addr);
    let conn = shard.wait("Connected", |seen| match seen {
        Seen::Connected { conn, endpoint: e, peer, protocol, .. } => {
            assert_eq!(*e, Some(endpoint));
            assert_eq!(*peer, PeerAddr::Inet(client.local_addr().unwrap()));
            assert_eq!(*protocol, Protocol::Tcp);
            Some(*conn)
        }
        _ => None,
    });
    assert_eq!(shard.io.peer_addr(conn).unwrap().inet(), Some(client.local_addr().unwrap()));
    assert_eq!(shard.io.conn_local_addr(conn).unwrap().inet(), Some(addr));
    shard.finish();
}

#[test]
fn an_outgoing_connection_has_no_endpoint() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    let asked = shard.io.tcp_connect(addr).unwrap();
    let early = shard.io.stream_write(asked, STREAM, b"too early");
    assert_eq!(early, Err(IoError::NotConnected { conn: asked }));
    shard.step(TICK);
    let (peer, _) = listener.accept().unwrap();
    let told = shard.wait("Connected", |seen| match seen {
        Seen::Connected { conn, endpoint: None, peer, protocol: Protocol::Tcp, .. } => {
            assert_eq!(*peer, PeerAddr::Inet(addr));
            Some(*conn)
        }
        _ => None,
    });
    assert_eq!(asked, told);
    assert_eq!(shard.io.conn_local_addr(told).unwrap().inet(), Some(peer.peer_addr().unwrap()));
    shard.finish();
}

#[test]
fn refused_is_one_disconnected() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    drop(listener);
    let conn = shard.io.tcp_connect(addr).unwrap();
    let reason = shard.wait("Disconnected", |seen| match seen {
        Seen::Disconnected { conn: c, code: 111, reason, clean: false } if *c == conn => {
            Some(reason.clone())
        }
        _ => None,
    });
    assert!(reason.contains("ECONNREFUSED"), "{reason}");
    shard.run_for(Duration::from_millis(50));
    assert_eq!(shard.seen, [], "nothing before and nothing after");
    shard.finish();
}

#[test]
fn a_host_name_is_resolved() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    let config = TcpConnectConfig::new(("localhost", addr.port()));
    let asked = shard.io.tcp_connect_with(config).unwrap();
    assert_eq!(shard.wait_connected(None), asked);
    let (mut peer, _) = listener.accept().unwrap();
    shard.write_all(asked, b"by name");
    shard.step(TICK);
    let mut got = [0; 7];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"by name");
    shard.finish();
}

#[test]
fn an_unknown_host_is_told() {
    let mut shard = Shard::new();
    // A label of more than 63 bytes is no name: the resolver need not ask anybody.
    let host = "a".repeat(70);
    let conn = shard.io.tcp_connect_with(TcpConnectConfig::new((host.as_str(), 80))).unwrap();
    assert_eq!(shard.wait_end(conn), (code::RESOLVE_FAILED, false));
    assert_eq!(shard.seen, []);
    shard.finish();
}

#[test]
fn a_connect_is_given_up_while_the_name_is_resolved() {
    let mut shard = Shard::new();
    let conn = shard.io.tcp_connect_with(TcpConnectConfig::new(("localhost", 9))).unwrap();
    shard.io.close(conn).unwrap();
    assert_eq!(shard.wait_end(conn), (code::LOCAL_CLOSE, false));
    shard.run_for(Duration::from_millis(100));
    assert_eq!(shard.seen, []);
    shard.finish();
}

#[test]
fn a_bind_address_is_used() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    let bind: SocketAddr = "127.0.0.2:0".parse().unwrap();
    let config = TcpConnectConfig::new(addr).with(|c| c.bind = Some(bind));
    let conn = shard.io.tcp_connect_with(config).unwrap();
    assert_eq!(shard.wait_connected(None), conn);
    let (_peer, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), bind.ip());
    assert_eq!(shard.io.conn_local_addr(conn).unwrap().inet(), Some(from));
    shard.finish();
}

#[test]
fn v6_and_dual_stack() {
    for dual in [true, false] {
        let mut shard = Shard::new();
        let any: SocketAddr = "[::]:0".parse().unwrap();
        let config = TcpListenConfig::new(any).with(|c| c.dual_stack = dual);
        let endpoint = shard.io.tcp_listen_with(config).unwrap();
        let port = shard.addr_of(endpoint).port();
        let six = TcpStream::connect(("::1", port)).unwrap();
        let conn = shard.wait_connected(Some(endpoint));
        let peer = shard.io.peer_addr(conn).unwrap().inet();
        assert_eq!(peer, Some(six.local_addr().unwrap()));
        let four = TcpStream::connect(("127.0.0.1", port));
        assert_eq!(four.is_ok(), dual);
        if let Ok(four) = four {
            let conn = shard.wait_connected(Some(endpoint));
            let peer = shard.io.peer_addr(conn).unwrap().inet();
            assert_eq!(peer, Some(four.local_addr().unwrap()), "as IPv4, not as a mapped address");
        }
        shard.finish();
    }
}

#[test]
fn two_shards_share_a_port() {
    let (mut a, mut b) = (Shard::new(), Shard::new());
    let (_, addr) = a.listen_with(|c| c.reuseport = true);
    let config = TcpListenConfig::new(addr).with(|c| c.reuseport = true);
    b.io.tcp_listen_with(config).unwrap();
    let clients: Vec<_> = (0..64).map(|_| dial(addr)).collect();
    let is_connected = |seen: &Seen| matches!(seen, Seen::Connected { .. });
    let mut counts = (0, 0);
    a.until("both to accept", |a| {
        b.step(TICK);
        counts = (a.count(is_connected), b.count(is_connected));
        counts.0 + counts.1 == clients.len()
    });
    assert!(counts.0 > 0 && counts.1 > 0, "{counts:?}");
    a.finish();
    b.finish();
}

#[test]
fn fast_open_is_taken() {
    let mut shard = Shard::new();
    let (endpoint, addr) = shard.listen_with(|c| c.fastopen_queue = 16);
    // The first connection may bring the cookie with which the second one sends at once.
    for _ in 0..3 {
        let config = TcpConnectConfig::new(addr).with(|c| c.fastopen = true);
        let client = shard.io.tcp_connect_with(config).unwrap();
        assert_eq!(shard.wait_connected(None), client);
        shard.write_all(client, b"with the SYN, perhaps");
        let server = shard.wait_connected(Some(endpoint));
        assert_same(&shard.wait_bytes(server, 21), b"with the SYN, perhaps");
        shard.io.close(client).unwrap();
        shard.wait_end(client);
        shard.io.close(server).unwrap();
        shard.wait_end(server);
    }
    shard.finish();
}

#[test]
fn fast_open_refused_is_told() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    drop(listener);
    let config = TcpConnectConfig::new(addr).with(|c| c.fastopen = true);
    let conn = shard.io.tcp_connect_with(config).unwrap();
    assert_eq!(shard.wait_end(conn).0, 111);
    shard.finish();
}
