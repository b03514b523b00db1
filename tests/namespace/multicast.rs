//! IPv6 multicast, RFC 4291 §2.7 and RFC 4607: what is sent is heard by those who joined.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use zero_io::{EndpointId, MulticastGroup, UdpEndpointConfig};

use crate::common::{Shard, assert_same};
use crate::net::{HERE_V6, Namespace, ip_addr};

const QUIET: Duration = Duration::from_millis(50);

fn bind(
    shard: &mut Shard,
    addr: IpAddr,
    change: impl FnOnce(&mut UdpEndpointConfig),
) -> (EndpointId, SocketAddr) {
    let config = UdpEndpointConfig::new(SocketAddr::new(addr, 0)).with(change);
    let endpoint = shard.io.udp_bind_with(config).expect("bind");
    let addr = shard.addr_of(endpoint);
    (endpoint, addr)
}

/// Two receivers on one port, and a sender on the interface.
fn receivers_and_sender(
    shard: &mut Shard,
    interface: u32,
) -> ([EndpointId; 2], u16, (EndpointId, SocketAddr)) {
    let any = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let (a, addr) = bind(shard, any, |c| c.reuseaddr = true);
    let config = UdpEndpointConfig::new(SocketAddr::new(any, addr.port()));
    let b = shard.io.udp_bind_with(config.with(|c| c.reuseaddr = true)).expect("bind");
    let here = ip_addr(HERE_V6);
    let sender = bind(shard, here, |c| c.multicast_interface_v6 = Some(interface));
    ([a, b], addr.port(), sender)
}

#[test]
fn an_ipv6_group_is_heard_while_it_is_joined() {
    let net = Namespace::enter(&[]);
    let interface = net.interface();
    let mut shard = Shard::new();
    let ([a, b], port, (sender, from)) = receivers_and_sender(&mut shard, interface);
    let group: Ipv6Addr = "ff15::77".parse().unwrap();
    let to = SocketAddr::from((group, port));
    shard.io.udp_send_bytes(sender, to, b"before").unwrap();
    shard.run_for(QUIET);
    assert_eq!(shard.seen, [], "nobody joined yet");
    let join = MulticastGroup::AnySourceV6 { group, interface };
    for endpoint in [a, b] {
        shard.io.multicast_join(endpoint, join).unwrap();
    }
    shard.io.udp_send_bytes(sender, to, b"to both").unwrap();
    for endpoint in [a, b] {
        let got = shard.wait_datagram(endpoint);
        assert_eq!((got.data.as_slice(), got.from.ip()), (&b"to both"[..], from.ip()));
    }
    // A socket that has left hears on while another one of the machine is in the group, unless it
    // asked for its own groups alone: so both leave.
    for endpoint in [a, b] {
        shard.io.multicast_leave(endpoint, join).unwrap();
    }
    shard.io.udp_send_bytes(sender, to, b"after").unwrap();
    shard.run_for(QUIET);
    assert_eq!(shard.seen, [], "both left");
    shard.finish();
}

#[test]
fn an_ipv6_source_specific_group_hears_its_source_alone() {
    let net = Namespace::enter(&[]);
    let interface = net.interface();
    let mut shard = Shard::new();
    let ([a, b], port, (sender, from)) = receivers_and_sender(&mut shard, interface);
    let group: Ipv6Addr = "ff35::8000:77".parse().unwrap();
    let join = |source| MulticastGroup::SourceSpecific {
        group: group.into(),
        source,
        interface_v4: Ipv4Addr::UNSPECIFIED,
        interface_v6: interface,
    };
    shard.io.multicast_join(a, join(from.ip())).unwrap();
    shard.io.multicast_join(b, join(ip_addr("fd77::5"))).unwrap();
    let to = SocketAddr::from((group, port));
    shard.io.udp_send_bytes(sender, to, b"from one").unwrap();
    assert_same(&shard.wait_datagram(a).data, b"from one");
    shard.run_for(QUIET);
    assert_eq!(shard.seen, [], "the other one waits for another source");
    shard.finish();
}
