//! What headers say, and what becomes of those that say nothing.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};

use zero_io::{
    Frame, Framing, MessageKind, PeerAddr, Protocol, ProxyProtocol, UdsListenConfig, code,
};

use crate::common::{Seen, Shard, dial};
use crate::kit::{
    CLIENT, DESTINATION, V1, inet, listen, local, loopback, v2, v2_of, wait_peer, wait_unknown_end,
};
use crate::linger::linger_zero;

#[test]
fn the_peer_is_who_the_proxy_says() {
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, loopback());
    for header in [V1.to_vec(), v2(&[])] {
        let mut proxy = dial(addr);
        proxy.write_all(&[&header, &b"hello"[..]].concat()).unwrap();
        let (conn, peer) = wait_peer(&mut shard, endpoint);
        assert_eq!(peer, inet(CLIENT));
        assert_eq!(shard.io.peer_addr(conn).unwrap(), inet(CLIENT));
        let via = shard.io.proxied_by(conn).unwrap().expect("it was proxied");
        assert_eq!(via.proxy, PeerAddr::Inet(proxy.local_addr().unwrap()));
        assert_eq!(via.destination, Some(DESTINATION.parse().unwrap()));
        assert_eq!((via.authority, via.unique_id, via.tls), (None, None, false));
        assert_eq!(shard.wait_bytes(conn, 5), b"hello");
        shard.write_all(conn, b"world");
        shard.step(Duration::ZERO);
        let mut answer = [0; 5];
        proxy.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"world");
        proxy.shutdown(Shutdown::Write).unwrap();
        shard.wait_read_closed(conn);
        shard.io.close_graceful(conn, Duration::ZERO).unwrap();
        drop(proxy);
        assert_eq!(shard.wait_end(conn), (code::NONE, true));
        assert!(shard.io.proxied_by(conn).is_err(), "its id is gone");
    }
    let stats = shard.io.io_stats();
    assert_eq!((stats.proxied, stats.proxy_refused), (2, 0));
    shard.finish();
}

#[test]
fn what_else_a_header_says_is_kept() {
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, loopback());
    let values: [(u8, &[u8]); 4] =
        [(0x02, b"a.example"), (0x05, &[7; 128]), (0x20, &[1, 0, 0, 0, 0]), (0x04, &[0; 1800])];
    let mut proxy = dial(addr);
    proxy.write_all(&v2(&values)).unwrap();
    let (conn, peer) = wait_peer(&mut shard, endpoint);
    assert_eq!(peer, inet(CLIENT));
    let (_, sender) = &mut shard.io.split();
    let via = sender.proxied_by(conn).unwrap().expect("it was proxied");
    assert_eq!((via.authority, via.tls), (Some("a.example"), true));
    assert_eq!(via.unique_id, Some(&[7; 128][..]));
    shard.finish();
}

#[test]
fn who_speaks_for_itself_or_for_nobody_is_the_peer() {
    // One place: what was said of who had it before is forgotten.
    let mut shard = Shard::with(|c| c.max_connections = 1);
    let (endpoint, addr) = listen(&mut shard, loopback());
    let rows: [(&[u8], bool, bool); 6] = [
        (V1, true, true),
        (&local(), false, false),
        (b"PROXY UNKNOWN\r\n", false, true),
        (V1, true, true),
        (&v2_of(0x21, 0x00, &[]), false, true),
        (&v2_of(0x20, 0x11, &[9; 12]), false, false),
    ];
    for (header, is_told, is_proxied) in rows {
        let mut proxy = dial(addr);
        proxy.write_all(header).unwrap();
        let (conn, peer) = wait_peer(&mut shard, endpoint);
        let own = PeerAddr::Inet(proxy.local_addr().unwrap());
        assert_eq!(peer, if is_told { inet(CLIENT) } else { own });
        assert_eq!(shard.io.proxied_by(conn).unwrap().is_some(), is_proxied);
        shard.io.close(conn).unwrap();
        shard.wait_end(conn);
    }
    shard.finish();
}

#[test]
fn unix_sockets_have_proxies_too() {
    let mut shard = Shard::new();
    let path = format!("@zio-proxy-{}", std::process::id());
    // Nobody has to be named: who may connect is the file's to say.
    let config = UdsListenConfig::new(&path).with(|c| c.proxy = Some(ProxyProtocol::new([])));
    let endpoint = shard.io.uds_listen_with(config).unwrap();
    let unix = v2_of(0x21, 0x31, &[b'x'; 216]);
    for (header, expected) in [(V1, inet(CLIENT)), (&unix[..], PeerAddr::Unix)] {
        let name = SocketAddr::from_abstract_name(&path[1..]).unwrap();
        let mut proxy = UnixStream::connect_addr(&name).unwrap();
        proxy.write_all(&[header, b"x"].concat()).unwrap();
        let (conn, peer, protocol) = shard.wait("Connected", |seen| match seen {
            Seen::Connected { conn, endpoint: Some(e), peer, protocol, .. } if *e == endpoint => {
                Some((*conn, *peer, *protocol))
            }
            _ => None,
        });
        assert_eq!((peer, protocol), (expected, Protocol::Uds));
        assert_eq!(shard.io.proxied_by(conn).unwrap().unwrap().proxy, PeerAddr::Unix);
        assert_eq!(shard.wait_bytes(conn, 1), b"x");
    }
    shard.finish();
}

#[test]
fn messages_follow_the_header() {
    fn by_line(input: &[u8]) -> Frame {
        match input.iter().position(|byte| *byte == b'\n') {
            Some(at) => Frame::Ready(at + 1),
            None => Frame::Need(input.len() + 1),
        }
    }
    let mut shard = Shard::new();
    let (endpoint, addr) = shard.listen_with(|c| {
        c.proxy = Some(loopback());
        c.framing = Some(Framing::new(MessageKind::User(1), by_line));
    });
    let mut proxy = dial(addr);
    proxy.write_all(&[V1, b"one\ntwo\nthr"].concat()).unwrap();
    let (conn, _) = wait_peer(&mut shard, endpoint);
    shard.wait_bytes(conn, 8);
    proxy.write_all(b"ee\n").unwrap();
    assert_eq!(shard.wait_bytes(conn, 14), b"one\ntwo\nthree\n");
    assert_eq!(shard.count(|seen| matches!(seen, Seen::Frame { .. })), 3);
    shard.finish();
}

#[test]
fn what_is_no_header_ends_the_connection() {
    let mut shard = Shard::new();
    let (_, addr) = listen(&mut shard, loopback());
    let rows: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 99999\r\nsecret",
        &v2_of(0x21, 0x41, &[0; 12]),
        &v2_of(0x22, 0x11, &[0; 12]),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xFF\xFF",
        &[b'P'; 4000],
    ];
    for header in rows {
        let mut proxy = dial(addr);
        proxy.write_all(header).unwrap();
        assert_eq!(wait_unknown_end(&mut shard), code::PROXY_HEADER);
        let mut rest = Vec::new();
        let _ = proxy.read_to_end(&mut rest);
        assert!(rest.is_empty());
    }
    let stats = shard.io.io_stats();
    assert_eq!((stats.proxied, stats.proxy_refused), (0, rows.len() as u64));
    assert_eq!(shard.count(|seen| matches!(seen, Seen::Frame { .. })), 0);
    shard.finish();
}

#[test]
fn a_header_that_is_cut_or_late_ends_the_connection() {
    let mut shard = Shard::new();
    let patience = Duration::from_millis(60);
    let (_, addr) = listen(&mut shard, loopback().with(|p| p.timeout = patience));
    for sent in [&b""[..], &V1[..1], &V1[..V1.len() - 1], &v2(&[])[..15], &v2(&[])[..27]] {
        let mut proxy = dial(addr);
        proxy.write_all(sent).unwrap();
        proxy.shutdown(Shutdown::Write).unwrap();
        assert_eq!(wait_unknown_end(&mut shard), code::PROXY_HEADER, "cut: {sent:?}");

        let begin = Instant::now();
        let mut proxy = dial(addr);
        proxy.write_all(sent).unwrap();
        assert_eq!(wait_unknown_end(&mut shard), code::PROXY_HEADER, "late: {sent:?}");
        assert!(begin.elapsed() >= patience);
    }
    // A drop at a time does not make it younger.
    let mut proxy = dial(addr);
    let begin = Instant::now();
    for byte in V1 {
        let _ = proxy.write_all(&[*byte]);
        shard.run_for(Duration::from_millis(3));
    }
    assert_eq!(wait_unknown_end(&mut shard), code::PROXY_HEADER);
    assert!(begin.elapsed() >= patience);
    assert_eq!(shard.io.io_stats().proxy_refused, 11);
    shard.finish();
}

#[test]
fn limits_of_the_connection_begin_behind_the_header() {
    let mut shard = Shard::new();
    let idle = Duration::from_millis(80);
    let (endpoint, addr) = shard.listen_with(|c| {
        c.proxy = Some(loopback());
        c.timeouts.idle = Some(idle);
    });
    let mut proxy = dial(addr);
    shard.run_for(2 * idle);
    assert_eq!(shard.seen, []);
    proxy.write_all(V1).unwrap();
    let (conn, _) = wait_peer(&mut shard, endpoint);
    let begin = Instant::now();
    assert_eq!(shard.wait_end(conn).0, code::IDLE_TIMEOUT);
    assert!(begin.elapsed() + Duration::from_millis(10) >= idle);
    shard.finish();
}

#[test]
fn a_reset_before_the_header_is_one() {
    let mut shard = Shard::new();
    let (_, addr) = listen(&mut shard, loopback());
    let proxy = dial(addr);
    shard.run_for(Duration::from_millis(20));
    linger_zero(&proxy);
    drop(proxy);
    assert_eq!(wait_unknown_end(&mut shard), 104);
    assert_eq!(shard.io.io_stats().proxy_refused, 1);
    shard.finish();
}
