//! Trains of datagrams (GSO) that the path does not take.

use std::net::SocketAddr;

use zero_io::{EndpointId, UdpEndpointConfig, UdpTransmit};

use crate::common::{Seen, Shard};
use crate::net::{Namespace, ip};

fn send(shard: &mut Shard, from: EndpointId, to: SocketAddr, count: usize, segment: u16) {
    let buffer = shard.io.send_buffer(count * usize::from(segment)).expect("a buffer");
    let how = UdpTransmit::to(to).with_segment(segment);
    shard.io.udp_send_with(from, buffer, how).expect("room");
}

/// One that is longer than the path goes out in fragments, one datagram after the other; that says
/// nothing of the trains that follow.
#[test]
fn a_train_that_does_not_fit_goes_alone() {
    let _net = Namespace::enter(&[]);
    ip("link set lo mtu 1500");
    let mut shard = Shard::new();
    let any = "127.0.0.1:0".parse().expect("an address");
    let gro = UdpEndpointConfig::new(any).with(|c| c.gro = true);
    let receiver = shard.io.udp_bind_with(gro).expect("bind");
    let sender = shard.io.udp_bind(any).expect("bind");
    let to = shard.addr_of(receiver);
    for (segment, receives) in [(1_200, 1), (2_000, 10), (1_200, 1), (2_000, 10), (1_200, 1)] {
        shard.seen.clear();
        let before = shard.io.io_stats().datagrams_received;
        send(&mut shard, sender, to, 10, segment);
        let is_of_train =
            |seen: &Seen| matches!(seen, Seen::Udp(d) if d.data.len() == usize::from(segment));
        shard.until("all of the train", |shard| shard.count(is_of_train) == 10);
        let now = shard.io.io_stats().datagrams_received;
        assert_eq!(now - before, receives, "receives of 10 datagrams of {segment} bytes");
    }
    assert_eq!(shard.io.io_stats().datagrams_dropped, 0);
    shard.finish();
}
