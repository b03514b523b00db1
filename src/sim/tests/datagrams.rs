//! Datagrams: whole or marked, lost or doubled, coalesced, refused.

use super::*;
use crate::config::{MulticastGroup, UdpEndpointConfig};
use crate::sim::Fault;
use crate::sys::batch::{Arrival, Received, RecvBatch, SendBatch, Transmit};
use std::time::Duration;

fn bind(host: &mut Host, change: impl FnOnce(&mut UdpEndpointConfig)) -> (Fd, SocketAddr) {
    let fd = host.ring.udp_bind(&UdpEndpointConfig::new(any_port()).with(change)).unwrap();
    let addr = host.ring.local_addr(fd).unwrap().ip().unwrap();
    (fd, addr)
}

fn send(host: &mut Host, fd: Fd, to: Option<SocketAddr>, bytes: &[u8], segment: u16) -> usize {
    let mut batch = SendBatch::new();
    let to = to.map(SockAddr::from);
    let how = Transmit { segment, tos: Some(2), from: None };
    batch.push(to.as_ref(), bytes.as_ptr(), bytes.len(), how);
    host.ring.udp_send(fd, &mut batch).unwrap()
}

/// Everything that is there, received into buffers of `len` bytes.
fn receive(host: &mut Host, fd: Fd, len: usize) -> Vec<(Received, Vec<u8>)> {
    let mut buffers = vec![vec![0; len]; 8];
    let mut batch = RecvBatch::new(buffers.len());
    for (key, buffer) in buffers.iter_mut().enumerate() {
        batch.push(buffer.as_mut_ptr(), len, key as u32);
    }
    batch.want(buffers.len(), true);
    let count = host.ring.udp_recv(fd, &mut batch).unwrap();
    let bytes = |at: Arrival| buffers[at.key as usize][..at.len as usize].to_vec();
    batch.arrivals(count).map(|(at, note)| (*note, bytes(at))).collect()
}

fn pass(world: &World) {
    world.advance_by(Duration::from_millis(10));
}

#[test]
fn a_datagram_arrives_with_its_sender_and_extras() {
    let world = World::new(1, Faults::none());
    let (mut a, mut b) = (Host::new(&world, 0), Host::new(&world, 0));
    let (from, from_addr) = bind(&mut a, |_| {});
    let (to, to_addr) = bind(&mut b, |c| {
        c.local_addr = true;
        c.ecn = true;
        c.timestamps = true;
    });
    for bytes in [&b"hello"[..], b""] {
        assert_eq!(send(&mut a, from, Some(to_addr), bytes, 0), 1);
        pass(&world);
        let got = receive(&mut b, to, 100);
        assert_eq!((got.len(), &got[0].1[..]), (1, bytes));
        let (received, _) = &got[0];
        assert_eq!(received.from.ip(), Some(from_addr));
        assert_eq!((received.local, received.ecn), (Some(to_addr.ip()), 2));
        assert!(received.timestamp_ns > 1 << 60 && !received.truncated);
    }
    assert_eq!(receive(&mut b, to, 100).len(), 0);
}

#[test]
fn what_does_not_fit_is_cut_and_marked() {
    let world = World::new(1, Faults::none());
    let mut a = Host::new(&world, 0);
    let (fd, addr) = bind(&mut a, |_| {});
    send(&mut a, fd, Some(addr), &[7; 100], 0);
    pass(&world);
    let got = receive(&mut a, fd, 60);
    assert!(got[0].0.truncated && got[0].1 == [7; 60]);
}

#[test]
fn hazard_103_trains_are_split_and_coalesced() {
    for (gro, expected) in
        [(true, vec![(2_500, 1_000)]), (false, vec![(1_000, 0), (1_000, 0), (500, 0)])]
    {
        let world = World::new(1, Faults::none());
        let mut a = Host::new(&world, 0);
        let (from, _) = bind(&mut a, |_| {});
        let (to, to_addr) = bind(&mut a, |c| c.gro = gro);
        send(&mut a, from, Some(to_addr), &[1; 2_500], 1_000);
        pass(&world);
        let got = receive(&mut a, to, 65_536);
        let shape: Vec<_> = got.iter().map(|(r, bytes)| (bytes.len(), r.segment)).collect();
        assert_eq!(shape, expected);
    }
}

#[test]
fn the_network_loses_doubles_and_reorders() {
    let count = |faults: Faults| {
        let world = World::new(3, faults);
        let mut a = Host::new(&world, 0);
        let (fd, addr) = bind(&mut a, |_| {});
        (0..8_u8).for_each(|i| assert_eq!(send(&mut a, fd, Some(addr), &[i], 0), 1));
        pass(&world);
        let mut got = receive(&mut a, fd, 10);
        got.extend(receive(&mut a, fd, 10));
        got.iter().map(|(_, bytes)| bytes[0]).collect::<Vec<_>>()
    };
    assert_eq!(count(Faults::none()).len(), 8);
    assert_eq!(count(Faults::none().with(Fault::UdpLoss, 1_000_000)).len(), 0);
    assert_eq!(count(Faults::none().with(Fault::UdpDuplicate, 1_000_000)).len(), 16);
    assert!(!count(Faults::none().with(Fault::UdpReorder, 500_000)).is_sorted());
}

#[test]
fn a_connected_socket_hears_its_peer_and_the_lack_of_one() {
    let world = World::new(1, Faults::none());
    let mut a = Host::new(&world, 0);
    let nobody: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let (fd, addr) = bind(&mut a, |c| c.connect = Some(nobody));
    send(&mut a, fd, None, b"anyone?", 0);
    pass(&world);
    let mut batch = RecvBatch::new(1);
    let mut buffer = [0; 10];
    batch.push(buffer.as_mut_ptr(), 10, 0);
    batch.want(1, false);
    let error = a.ring.udp_recv(fd, &mut batch).unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(a.ring.udp_recv(fd, &mut batch), Ok(0));
    // A stranger is not heard.
    let (other, _) = bind(&mut a, |_| {});
    send(&mut a, other, Some(addr), b"psst", 0);
    pass(&world);
    assert_eq!(a.ring.udp_recv(fd, &mut batch), Ok(0));
}

#[test]
fn a_full_socket_becomes_writable_again() {
    let world = World::new(1, Faults::none().with(Fault::UdpSendAgain, 1_000_000));
    let mut a = Host::new(&world, 0);
    let (fd, addr) = bind(&mut a, |_| {});
    assert_eq!(send(&mut a, fd, Some(addr), b"x", 0), 0);
    let op = Op::Poll { sock: Sock::plain(fd), mask: libc::POLLOUT as u32, multi: false };
    a.ring.push(op, Token::new(Tag::UdpWritable, 0, 0));
    assert_eq!(a.poll().len(), 0);
    world.heal();
    let seen = settle(&world, &mut [&mut a]);
    assert_eq!(results(&seen[0], Tag::UdpWritable), [i32::from(libc::POLLOUT)]);
    assert_eq!(send(&mut a, fd, Some(addr), b"x", 0), 1);
}

#[test]
fn groups_are_heard_by_their_members_and_source() {
    let world = World::new(1, Faults::none());
    let (mut a, mut b) = (Host::new(&world, 0), Host::new(&world, 0));
    let any: SocketAddr = "0.0.0.0:5353".parse().unwrap();
    let group = std::net::Ipv4Addr::new(224, 0, 0, 251);
    let bind_any = |host: &mut Host| {
        let config = UdpEndpointConfig::new(any).with(|c| c.reuseaddr = true);
        host.ring.udp_bind(&config).unwrap()
    };
    let (sender, member, stranger) = (bind_any(&mut a), bind_any(&mut b), bind_any(&mut b));
    let everyone = MulticastGroup::AnySource { group, interface: std::net::Ipv4Addr::UNSPECIFIED };
    b.ring.multicast(member, &everyone, true).unwrap();
    assert!(b.ring.multicast(member, &everyone, true).is_err());
    let to = Some(SocketAddr::from((group, 5353)));
    send(&mut a, sender, to, b"hi", 0);
    pass(&world);
    assert_eq!(receive(&mut b, member, 10).len(), 1);
    assert_eq!(receive(&mut b, stranger, 10).len(), 0);
    let other_source = MulticastGroup::SourceSpecific {
        group: group.into(),
        source: [10, 9, 9, 9].into(),
        interface_v4: std::net::Ipv4Addr::UNSPECIFIED,
        interface_v6: 0,
    };
    b.ring.multicast(stranger, &other_source, true).unwrap();
    b.ring.multicast(member, &everyone, false).unwrap();
    send(&mut a, sender, to, b"hi", 0);
    pass(&world);
    assert_eq!(receive(&mut b, member, 10).len() + receive(&mut b, stranger, 10).len(), 0);
}
