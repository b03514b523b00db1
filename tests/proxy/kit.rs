//! Headers, and listeners that expect them.

use std::net::SocketAddr;

use zero_io::{ConnId, EndpointId, IpNet, PeerAddr, ProxyProtocol, Untrusted};

use crate::common::{Seen, Shard};

pub(crate) const CLIENT: &str = "192.0.2.1:56324";
pub(crate) const DESTINATION: &str = "198.51.100.2:443";

/// Of version 1, for [`CLIENT`].
pub(crate) const V1: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n";

/// Of version 2, with that command, family and whatever follows the length.
pub(crate) fn v2_of(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[command, family][..], &len, body].concat()
}

/// Of version 2, for [`CLIENT`], with those values.
pub(crate) fn v2(values: &[(u8, &[u8])]) -> Vec<u8> {
    let mut body = vec![192, 0, 2, 1, 198, 51, 100, 2, 0xDC, 0x04, 0x01, 0xBB];
    for (kind, value) in values {
        body.push(*kind);
        body.extend((value.len() as u16).to_be_bytes());
        body.extend(*value);
    }
    v2_of(0x21, 0x11, &body)
}

pub(crate) fn local() -> Vec<u8> {
    v2_of(0x20, 0x00, &[])
}

pub(crate) fn inet(addr: &str) -> PeerAddr {
    PeerAddr::Inet(addr.parse().unwrap())
}

pub(crate) fn nets(trusted: &[&str]) -> Vec<IpNet> {
    trusted.iter().map(|net| net.parse().unwrap()).collect()
}

/// Believes whoever is on this machine.
pub(crate) fn loopback() -> ProxyProtocol {
    ProxyProtocol::new(nets(&["127.0.0.0/8", "::1"]))
}

/// Believes a network that nobody here is of.
pub(crate) fn elsewhere(untrusted: Untrusted) -> ProxyProtocol {
    ProxyProtocol::new(nets(&["10.0.0.0/8"])).with(|p| p.untrusted = untrusted)
}

pub(crate) fn listen(shard: &mut Shard, proxy: ProxyProtocol) -> (EndpointId, SocketAddr) {
    shard.listen_with(|c| c.proxy = Some(proxy))
}

/// Waits for the next connection of that listener, and who its peer is said to be.
#[track_caller]
pub(crate) fn wait_peer(shard: &mut Shard, of: EndpointId) -> (ConnId, PeerAddr) {
    shard.wait("Connected", |seen| match seen {
        Seen::Connected { conn, endpoint, peer, .. } if *endpoint == Some(of) => {
            Some((*conn, *peer))
        }
        _ => None,
    })
}

/// Waits for the end of a connection that nobody was told of: its code.
#[track_caller]
pub(crate) fn wait_unknown_end(shard: &mut Shard) -> u64 {
    assert_eq!(shard.count(|seen| matches!(seen, Seen::Connected { .. })), 0);
    shard.wait("Disconnected", |seen| match seen {
        Seen::Disconnected { code, clean, .. } => {
            assert!(!clean);
            Some(*code)
        }
        _ => None,
    })
}
