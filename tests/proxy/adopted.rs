//! Listeners that were there already, and expect headers.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::time::Duration;

use zero_io::{ConnTimeouts, IoError, TcpListenConfig, Untrusted, code};

use crate::common::{Shard, dial, localhost};
use crate::kit::{CLIENT, V1, elsewhere, inet, loopback, v2, wait_peer, wait_unknown_end};

fn listener() -> (OwnedFd, std::net::SocketAddr) {
    let listener = TcpListener::bind(localhost()).unwrap();
    let addr = listener.local_addr().unwrap();
    (listener.into(), addr)
}

#[test]
fn an_adopted_listener_reads_headers() {
    let mut shard = Shard::new();
    let (socket, addr) = listener();
    let config = TcpListenConfig::new(addr).with(|c| c.proxy = Some(loopback()));
    let endpoint = shard.io.adopt_listener_with(socket, config).unwrap();
    for header in [V1.to_vec(), v2(&[])] {
        let mut proxy = dial(addr);
        proxy.write_all(&[&header[..], b"payload"].concat()).unwrap();
        let (conn, peer) = wait_peer(&mut shard, endpoint);
        assert_eq!(peer, inet(CLIENT));
        assert_eq!(shard.wait_bytes(conn, 7), b"payload");
        let via = shard.io.proxied_by(conn).unwrap().unwrap();
        assert_eq!(via.proxy, zero_io::PeerAddr::Inet(proxy.local_addr().unwrap()));
    }
}

#[test]
fn whom_it_does_not_trust_it_refuses_or_takes_as_it_is() {
    for untrusted in [Untrusted::Refuse, Untrusted::Direct] {
        let mut shard = Shard::new();
        let (socket, addr) = listener();
        let config = TcpListenConfig::new(addr).with(|c| c.proxy = Some(elsewhere(untrusted)));
        let endpoint = shard.io.adopt_listener_with(socket, config).unwrap();
        let mut client = dial(addr);
        if untrusted == Untrusted::Direct {
            client.write_all(V1).unwrap();
            let (conn, peer) = wait_peer(&mut shard, endpoint);
            assert_eq!(peer, zero_io::PeerAddr::Inet(client.local_addr().unwrap()));
            assert_eq!(shard.wait_bytes(conn, V1.len()), V1);
        } else {
            shard.until("it is refused", |shard| shard.io.io_stats().proxy_refused == 1);
            // A FIN or a reset: it is closed unread.
            assert!(!matches!(client.read(&mut [0]), Ok(1..)));
        }
    }
}

#[test]
fn who_says_nothing_is_closed() {
    let mut shard = Shard::new();
    let (socket, addr) = listener();
    let brief = loopback().with(|p| p.timeout = Duration::from_millis(50));
    let config = TcpListenConfig::new(addr).with(|c| c.proxy = Some(brief));
    shard.io.adopt_listener_with(socket, config).unwrap();
    let _silent = dial(addr);
    assert_eq!(wait_unknown_end(&mut shard), code::PROXY_HEADER);
}

/// Nothing changes for who asks for none.
#[test]
fn without_the_option_a_header_is_payload() {
    let mut shard = Shard::new();
    let (socket, addr) = listener();
    let endpoint = shard.io.adopt_listener(socket, ConnTimeouts::default(), None).unwrap();
    let mut client = dial(addr);
    client.write_all(V1).unwrap();
    let (conn, _) = wait_peer(&mut shard, endpoint);
    assert_eq!(shard.wait_bytes(conn, V1.len()), V1);
}

#[test]
fn a_bad_option_is_named() {
    let mut shard = Shard::new();
    let (socket, addr) = listener();
    let never = loopback().with(|p| p.timeout = Duration::ZERO);
    let config = TcpListenConfig::new(addr).with(|c| c.proxy = Some(never));
    let refused = shard.io.adopt_listener_with(socket, config);
    assert!(matches!(refused, Err(IoError::InvalidConfig { .. })), "{refused:?}");
    assert!(std::net::TcpStream::connect(addr).is_err(), "the descriptor is closed");
}

#[cfg(feature = "http")]
#[test]
fn an_adopted_http_listener_reads_headers() {
    use zero_io::{Event, HttpListenConfig, ZeroResponse};
    let mut shard = Shard::new();
    let (socket, addr) = listener();
    let tcp = TcpListenConfig::new(addr).with(|c| c.proxy = Some(loopback()));
    shard.io.adopt_http_listener(socket, HttpListenConfig::new(tcp)).unwrap();
    let mut proxy = dial(addr);
    proxy
        .write_all(&[V1, b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"].concat())
        .unwrap();
    let asked = std::thread::spawn(move || {
        let mut answer = String::new();
        proxy.read_to_string(&mut answer).unwrap();
        answer
    });
    while !asked.is_finished() {
        shard.io.poll(Duration::from_millis(5)).unwrap();
        let (mut events, mut sender) = shard.io.split();
        while let Some(event) = events.next_event() {
            if let Event::HttpRequest { conn, id, .. } = event {
                let peer = sender.peer_addr(conn).unwrap().to_string();
                sender.http_respond(conn, id, ZeroResponse::ok().text(&peer)).unwrap();
            }
        }
    }
    assert!(asked.join().unwrap().ends_with(CLIENT));
}
