//! UDP against the real kernel, on loopback alone.

use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::Duration;

use super::super::batch::{BATCH_MAX, Received, Transmit};
use super::super::socket::{self, int_option};
use super::*;
use crate::sys::sockopt::Adopted;

const PLAIN: Transmit = Transmit { segment: 0, tos: None, from: None };

fn bound(addr: &str, change: impl FnOnce(&mut UdpEndpointConfig)) -> UdpSocket {
    let config = UdpEndpointConfig::new(addr.parse().unwrap()).with(change);
    // SAFETY: the descriptor was just made and has no other owner.
    unsafe { UdpSocket::from_raw_fd(bind(&config).unwrap()) }
}

/// Receives `count` datagrams or trains, as (payload, what came beside).
fn receive(socket: &UdpSocket, count: usize, len_max: usize) -> Vec<(Vec<u8>, Received)> {
    let mut memory = vec![vec![0_u8; len_max]; BATCH_MAX];
    let mut batch = RecvBatch::new(BATCH_MAX);
    let mut out = Vec::new();
    for _ in 0..2000 {
        batch.consume(BATCH_MAX);
        for (key, buffer) in memory.iter_mut().enumerate() {
            batch.push(buffer.as_mut_ptr(), buffer.len(), key as u32);
        }
        batch.want(BATCH_MAX, true);
        let got = recv(socket.as_raw_fd(), &mut batch).unwrap();
        for (arrival, note) in batch.arrivals(got) {
            let bytes = &memory[arrival.key as usize][..arrival.len as usize];
            out.push((bytes.to_vec(), *note));
        }
        if out.len() >= count {
            return out;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{} of {count} datagrams", out.len());
}

fn nothing_comes(socket: &UdpSocket) {
    std::thread::sleep(Duration::from_millis(20));
    let mut buffer = [0; 16];
    let mut batch = RecvBatch::new(1);
    batch.push(buffer.as_mut_ptr(), buffer.len(), 0);
    batch.want(1, false);
    assert_eq!(recv(socket.as_raw_fd(), &mut batch), Ok(0));
}

fn addr_of(socket: &UdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

#[test]
fn a_batch_goes_and_comes_with_all_that_is_beside_it() {
    let rx = bound("127.0.0.1:0", |c| {
        c.local_addr = true;
        c.ecn = true;
        c.timestamps = true;
    });
    let tx = bound("127.0.0.1:0", |_| {});
    assert_eq!(socket::adopt(rx.as_raw_fd()), Ok(Adopted::Datagram));
    nothing_comes(&rx);
    let to = Some(SockAddr::from(addr_of(&rx)));
    let mut batch = SendBatch::new();
    let payload: Vec<u8> = (0..BATCH_MAX as u8).collect();
    for (i, byte) in payload.iter().enumerate() {
        let tos = if i % 2 == 0 { Some(2) } else { None };
        assert!(batch.push(to.as_ref(), &raw const *byte, 1, Transmit { tos, ..PLAIN }));
    }
    assert!(!batch.push(to.as_ref(), payload.as_ptr(), 1, PLAIN));
    assert_eq!(send(tx.as_raw_fd(), &mut batch), Ok(BATCH_MAX));
    for (i, (bytes, beside)) in receive(&rx, BATCH_MAX, 64).into_iter().enumerate() {
        assert_eq!(bytes, [i as u8]);
        assert_eq!(beside.from.ip(), Some(addr_of(&tx)));
        assert_eq!(beside.local, Some("127.0.0.1".parse().unwrap()));
        assert_eq!(beside.ecn, if i % 2 == 0 { 2 } else { 0 });
        assert!(beside.timestamp_ns > 1_600_000_000_000_000_000 && beside.segment == 0);
        assert!(!beside.truncated);
    }
}

#[test]
fn a_train_is_sent_in_one_piece_and_received_in_one() {
    for (addr, ip) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1")] {
        let rx = bound(addr, |c| {
            c.gro = true;
            c.local_addr = true;
        });
        let tx = bound(addr, |_| {});
        let train: Vec<u8> = (0..50 * 1200 + 7).map(|i| (i / 1200) as u8).collect();
        let mut batch = SendBatch::new();
        let to = Some(SockAddr::from(addr_of(&rx)));
        let how = Transmit { segment: 1200, tos: Some(1), from: None };
        assert!(batch.push(to.as_ref(), train.as_ptr(), train.len(), how));
        assert_eq!(send(tx.as_raw_fd(), &mut batch), Ok(1));
        let got = receive(&rx, 1, 65_536);
        assert_eq!((got[0].1.segment, got[0].0.len()), (1200, train.len()), "{addr}");
        assert_eq!(got[0].0, train);
        assert_eq!(got[0].1.local, Some(ip.parse().unwrap()));
    }
}

#[test]
fn a_longer_datagram_is_cut_and_marked_and_an_empty_one_is_one() {
    let rx = bound("127.0.0.1:0", |_| {});
    let tx = bound("127.0.0.1:0", |_| {});
    tx.send_to(&[7; 100], addr_of(&rx)).unwrap();
    tx.send_to(&[], addr_of(&rx)).unwrap();
    let got = receive(&rx, 2, 64);
    assert_eq!((got[0].0.len(), got[0].1.truncated), (64, true));
    assert_eq!((got[1].0.len(), got[1].1.truncated), (0, false));
}

#[test]
fn a_dual_stack_socket_hears_and_marks_both_families() {
    let rx = bound("[::]:0", |c| {
        c.local_addr = true;
        c.ecn = true;
    });
    let tx = bound("[::]:0", |_| {});
    let port = addr_of(&rx).port();
    for ip in ["127.0.0.1", "::1"] {
        let to: SocketAddr = SocketAddr::new(ip.parse().unwrap(), port);
        let to = SockAddr::from(to).for_family(libc::AF_INET6);
        let mut batch = SendBatch::new();
        batch.push(Some(&to), b"x".as_ptr(), 1, Transmit { tos: Some(3), ..PLAIN });
        assert_eq!(send(tx.as_raw_fd(), &mut batch), Ok(1));
        let got = receive(&rx, 1, 64);
        assert_eq!((got[0].1.ecn, got[0].1.local), (3, Some(ip.parse().unwrap())), "{ip}");
        assert_eq!(got[0].1.from.ip().unwrap().ip().to_string(), ip);
    }
}

#[test]
fn a_connected_socket_reports_the_refusal_once() {
    // A port that is in use, and does not take this sender's datagrams.
    let other = bound("127.0.0.1:0", |_| {});
    let busy = bound("127.0.0.1:0", |c| c.connect = Some(addr_of(&other)));
    let peer = addr_of(&busy);
    let tx = bound("127.0.0.1:0", |c| c.connect = Some(peer));
    let mut batch = SendBatch::new();
    batch.push(None, b"x".as_ptr(), 1, Transmit { tos: Some(1), ..PLAIN });
    assert_eq!(send(tx.as_raw_fd(), &mut batch), Ok(1));
    let mut buffer = [0; 16];
    let mut into = RecvBatch::new(1);
    into.push(buffer.as_mut_ptr(), buffer.len(), 0);
    into.want(1, false);
    let refused = IoError::os("recvmmsg", libc::ECONNREFUSED);
    assert_eq!(recv(tx.as_raw_fd(), &mut into), Err(refused));
    assert_eq!(recv(tx.as_raw_fd(), &mut into), Ok(0));
}

#[test]
fn the_first_datagram_that_cannot_go_is_reported_and_those_before_it_go() {
    let rx = bound("127.0.0.1:0", |_| {});
    let tx = bound("127.0.0.1:0", |_| {});
    let to = Some(SockAddr::from(addr_of(&rx)));
    let long = vec![0_u8; 65_508];
    let mut batch = SendBatch::new();
    batch.push(to.as_ref(), b"a".as_ptr(), 1, PLAIN);
    batch.push(to.as_ref(), long.as_ptr(), long.len(), PLAIN);
    batch.push(to.as_ref(), b"b".as_ptr(), 1, PLAIN);
    assert_eq!(send(tx.as_raw_fd(), &mut batch), Ok(1));
    batch.consume(1);
    assert_eq!(send(tx.as_raw_fd(), &mut batch), Err(IoError::os("sendmmsg", libc::EMSGSIZE)));
    batch.consume(1);
    assert_eq!((batch.len(), batch.entry(0).len), (1, 1));
    assert_eq!(send(tx.as_raw_fd(), &mut batch), Ok(1));
    let got = receive(&rx, 2, 64);
    assert_eq!((&got[0].0[..], &got[1].0[..]), (&b"a"[..], &b"b"[..]));
}

#[test]
fn every_option_takes_effect() {
    let v4 = bound("127.0.0.1:0", |c| {
        c.tos = 0xb8;
        c.ttl = Some(9);
        c.multicast_ttl = Some(3);
        c.multicast_loop = false;
        c.multicast_interface_v4 = Some(Ipv4Addr::LOCALHOST);
        c.dont_fragment = true;
        c.broadcast = true;
        c.reuseport = true;
        c.reuseaddr = true;
        c.recv_buffer = Some(300_000);
        c.send_buffer = Some(200_000);
    });
    let sol = libc::SOL_SOCKET;
    let rows = [
        (V4, libc::IP_TOS, 0xb8),
        (V4, libc::IP_TTL, 9),
        (V4, libc::IP_MULTICAST_TTL, 3),
        (V4, libc::IP_MULTICAST_LOOP, 0),
        (V4, libc::IP_MULTICAST_ALL, 0),
        (V4, libc::IP_MULTICAST_IF, i32::from_ne_bytes([127, 0, 0, 1])),
        (V4, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE),
        (sol, libc::SO_BROADCAST, 1),
        (sol, libc::SO_REUSEPORT, 1),
        (sol, libc::SO_REUSEADDR, 1),
        (sol, libc::SO_RCVBUF, 600_000),
        (sol, libc::SO_SNDBUF, 400_000),
    ];
    for (level, option, value) in rows {
        let got = int_option(v4.as_raw_fd(), "test", level, option).unwrap();
        assert_eq!(got, value, "{level} {option}");
    }
    let v6 = bound("[::1]:0", |c| {
        c.tos = 2;
        c.ttl = Some(9);
        c.multicast_ttl = Some(3);
        c.multicast_loop = false;
        c.multicast_interface_v6 = Some(1);
        c.dont_fragment = true;
        c.dual_stack = false;
    });
    let rows = [
        (V6, libc::IPV6_V6ONLY, 1),
        (V6, libc::IPV6_TCLASS, 2),
        (V6, libc::IPV6_UNICAST_HOPS, 9),
        (V6, libc::IPV6_MULTICAST_HOPS, 3),
        (V6, libc::IPV6_MULTICAST_LOOP, 0),
        (V6, libc::IPV6_MULTICAST_ALL, 0),
        (V6, libc::IPV6_MULTICAST_IF, 1),
        (V6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE),
    ];
    for (level, option, value) in rows {
        let got = int_option(v6.as_raw_fd(), "test", level, option).unwrap();
        assert_eq!(got, value, "{level} {option}");
    }
}

#[test]
fn bad_values_and_mixed_families_are_refused() {
    let base = UdpEndpointConfig::new("127.0.0.1:0".parse().unwrap());
    let changes: [fn(&mut UdpEndpointConfig); 6] = [
        |c| c.datagram_max = Some(0),
        |c| c.datagram_max = Some(65_528),
        |c| c.send_queue = 0,
        |c| c.send_queue = 65_537,
        |c| c.ttl = Some(0),
        |c| c.recv_buffer = Some(0),
    ];
    for change in changes {
        let error = bind(&base.clone().with(change)).unwrap_err();
        assert!(matches!(error, IoError::InvalidConfig { .. }), "{error}");
    }
    let mixed = base.with(|c| c.connect = Some("[::1]:1".parse().unwrap()));
    assert!(matches!(bind(&mixed), Err(IoError::InvalidArgument { .. })));
    let taken = bound("127.0.0.1:0", |_| {});
    let addr = addr_of(&taken);
    assert_eq!(bind(&UdpEndpointConfig::new(addr)), Err(IoError::AddrInUse { addr }));
}

/// A receiver of groups on loopback, and a sender to them.
fn multicast_pair() -> (UdpSocket, UdpSocket) {
    let rx = bound("0.0.0.0:0", |c| c.reuseaddr = true);
    let tx = bound("127.0.0.1:0", |c| c.multicast_interface_v4 = Some(Ipv4Addr::LOCALHOST));
    (rx, tx)
}

#[test]
fn any_source_groups_are_heard_while_joined_and_no_others() {
    let (rx, tx) = multicast_pair();
    let other = bound("0.0.0.0:0", |_| {});
    let group = Ipv4Addr::new(239, 7, 7, 7);
    let joined = MulticastGroup::AnySource { group, interface: Ipv4Addr::LOCALHOST };
    multicast(rx.as_raw_fd(), &joined, true).unwrap();
    tx.send_to(b"in", (group, addr_of(&rx).port())).unwrap();
    assert_eq!(receive(&rx, 1, 64)[0].0, b"in");
    // IP_MULTICAST_ALL is off: another socket of the machine did not join.
    tx.send_to(b"no", (group, addr_of(&other).port())).unwrap();
    nothing_comes(&other);
    multicast(rx.as_raw_fd(), &joined, false).unwrap();
    tx.send_to(b"out", (group, addr_of(&rx).port())).unwrap();
    nothing_comes(&rx);
    let again = multicast(rx.as_raw_fd(), &joined, false);
    assert_eq!(again, Err(IoError::os("IP_DROP_MEMBERSHIP", libc::EADDRNOTAVAIL)));
}

#[test]
fn source_specific_groups_have_one_source() {
    let (rx, tx) = multicast_pair();
    let stranger = bound("127.0.0.2:0", |c| c.multicast_interface_v4 = Some(Ipv4Addr::LOCALHOST));
    let group = Ipv4Addr::new(232, 7, 7, 7);
    let joined = MulticastGroup::SourceSpecific {
        group: group.into(),
        source: Ipv4Addr::LOCALHOST.into(),
        interface_v4: Ipv4Addr::LOCALHOST,
        interface_v6: 0,
    };
    multicast(rx.as_raw_fd(), &joined, true).unwrap();
    let port = addr_of(&rx).port();
    stranger.send_to(b"stranger", (group, port)).unwrap();
    tx.send_to(b"source", (group, port)).unwrap();
    let got = receive(&rx, 1, 64);
    assert_eq!((got.len(), &got[0].0[..]), (1, &b"source"[..]));
    nothing_comes(&rx);
    multicast(rx.as_raw_fd(), &joined, false).unwrap();
    tx.send_to(b"source", (group, port)).unwrap();
    nothing_comes(&rx);
}

#[test]
fn v6_groups_are_joined_and_left_and_nonsense_is_refused() {
    let rx = bound("[::]:0", |_| {});
    let group: Ipv6Addr = "ff05::7:7".parse().unwrap();
    let specific = MulticastGroup::SourceSpecific {
        group: "ff35::7:7".parse().unwrap(),
        source: Ipv6Addr::LOCALHOST.into(),
        interface_v4: Ipv4Addr::UNSPECIFIED,
        interface_v6: 1,
    };
    for good in [MulticastGroup::AnySourceV6 { group, interface: 1 }, specific] {
        multicast(rx.as_raw_fd(), &good, true).unwrap();
        multicast(rx.as_raw_fd(), &good, false).unwrap();
    }
    let unicast = Ipv4Addr::new(10, 0, 0, 1);
    let mixed = MulticastGroup::SourceSpecific {
        group: group.into(),
        source: unicast.into(),
        interface_v4: Ipv4Addr::UNSPECIFIED,
        interface_v6: 0,
    };
    let no_group = MulticastGroup::AnySource { group: unicast, interface: Ipv4Addr::UNSPECIFIED };
    for bad in [mixed, no_group] {
        let error = multicast(rx.as_raw_fd(), &bad, true).unwrap_err();
        assert!(matches!(error, IoError::InvalidArgument { .. }), "{error}");
    }
}
