//! Datagrams that are empty, too long, too many, or unwelcome.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use zero_io::{IoError, UdpEndpointConfig};

use crate::world::*;

fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn peer() -> UdpSocket {
    let socket = UdpSocket::bind(local()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn empty_ones_are_datagrams() {
    let mut world = World::new(strict());
    let endpoint = world.io.udp_bind(local()).unwrap();
    let addr = world.io.local_addr(endpoint).unwrap().inet().unwrap();
    let peer = peer();
    let from = peer.local_addr().unwrap();
    for data in [&b""[..], b"one", b"", b""] {
        peer.send_to(data, addr).unwrap();
    }
    world.until("four datagrams", |w| w.log.len() == 4);
    let expected = [&b""[..], b"one", b"", b""].map(|d| Ev::Udp(endpoint, from, d.to_vec()));
    assert_eq!(world.log, expected);
    // And the other way.
    world.io.udp_send_bytes(endpoint, from, b"").unwrap();
    let empty = world.io.send_buffer(0).unwrap();
    world.io.udp_send(endpoint, from, empty).unwrap();
    world.io.udp_send_bytes(endpoint, from, b"end").unwrap();
    world.turn(Duration::ZERO);
    let mut buffer = [0; 16];
    let lens: Vec<usize> = (0..3).map(|_| peer.recv(&mut buffer).unwrap()).collect();
    assert_eq!(lens, [0, 0, 3]);
    world.must_be_idle();
}

#[test]
fn one_that_is_too_long_is_cut_and_marked() {
    let mut world = World::new(strict());
    let endpoint = world.io.udp_bind(local()).unwrap();
    let addr = world.io.local_addr(endpoint).unwrap().inet().unwrap();
    let peer = peer();
    peer.send_to(&[7; 4000], addr).unwrap();
    let start = std::time::Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE);
        world.io.poll(Duration::from_millis(5)).unwrap();
        if let Some(zero_io::Event::UdpRecv { data, truncated, .. }) = world.io.next_event() {
            assert!(truncated && data.len() == 2048, "{} bytes", data.len());
            break;
        }
    }
    let long = vec![0; 65_508];
    let error = world.io.udp_send_bytes(endpoint, addr, &long).unwrap_err();
    assert!(matches!(error, IoError::DatagramTooLarge { len: 65_508, max: 65_507 }), "{error}");
}

#[test]
fn a_peer_that_is_gone_does_not_stop_a_connected_socket() {
    let mut world = World::new(strict());
    let absent = peer().local_addr().unwrap();
    let config = UdpEndpointConfig::new(local()).with(|c| c.connect = Some(absent));
    let endpoint = world.io.udp_bind_with(config).unwrap();
    let addr = world.io.local_addr(endpoint).unwrap().inet().unwrap();
    for _ in 0..20 {
        // Each is answered by an ICMP error, which the next call on the socket reports.
        world.io.udp_send_connected(endpoint, b"anybody?").unwrap();
        world.turn(Duration::from_millis(1));
    }
    assert!(world.io.io_stats().udp_errors > 0, "no ICMP error came");
    let back = UdpSocket::bind(absent).unwrap();
    back.send_to(b"here", addr).unwrap();
    world.until("a datagram", |w| w.has(&Ev::Udp(endpoint, absent, b"here".to_vec())));
    world.must_be_idle();
}

#[test]
fn a_flood_into_few_slots_is_bounded_and_ends() {
    let mut world = World::new(strict().with(|c| {
        c.pool_slot_count = 16;
        c.handle_reserve_count = 0;
    }));
    let endpoint = world.io.udp_bind(local()).unwrap();
    let addr = world.io.local_addr(endpoint).unwrap().inet().unwrap();
    let peer = peer();
    for n in 0..2000_u32 {
        peer.send_to(&n.to_ne_bytes(), addr).unwrap();
        if n % 50 == 0 {
            world.turn(Duration::ZERO);
        }
    }
    world.run_for(Duration::from_millis(100));
    let numbers: Vec<u32> = world
        .log
        .iter()
        .filter_map(|e| match e {
            Ev::Udp(_, _, data) => Some(u32::from_ne_bytes(data[..].try_into().unwrap())),
            _ => None,
        })
        .collect();
    assert!(numbers.len() > 100 && numbers.is_sorted(), "{} datagrams", numbers.len());
    peer.send_to(b"last", addr).unwrap();
    let from = peer.local_addr().unwrap();
    world.until("the last one", |w| w.has(&Ev::Udp(endpoint, from, b"last".to_vec())));
    world.must_be_idle();
}

#[test]
fn nothing_comes_from_a_closed_endpoint() {
    let mut world = World::new(strict());
    let endpoint = world.io.udp_bind(local()).unwrap();
    let addr = world.io.local_addr(endpoint).unwrap().inet().unwrap();
    let peer = peer();
    for _ in 0..10 {
        peer.send_to(b"late", addr).unwrap();
    }
    // Received, queued, and not handed out when the socket is closed.
    world.io.poll(PATIENCE).unwrap();
    world.io.endpoint_close(endpoint).unwrap();
    let error = world.io.udp_send_bytes(endpoint, addr, b"x").unwrap_err();
    assert_eq!(error, IoError::StaleEndpoint { endpoint });
    assert_eq!(world.io.endpoint_close(endpoint).unwrap_err(), IoError::StaleEndpoint { endpoint });
    world.run_for(Duration::from_millis(20));
    assert_eq!(world.log, []);
    world.must_be_idle();
    // The port is free again.
    UdpSocket::bind(addr).unwrap();
}
