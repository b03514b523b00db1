//! Connections to names: hosts with several addresses, of which some are dead, which race (RFC
//! 8305); and hosts that nobody knows.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use zero_io::sim::Fault;
use zero_io::{HostOrAddr, QuicConnectConfig, QuicListenConfig, code};

use super::Cx;
use super::model::End;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);
/// Addresses at which nobody is.
const DEAD: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::new(10, 9, 9, 9)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x99)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x98)),
];
const ADDRESSES_MAX: usize = 5;
/// The first number that is not an errno.
const ERRNO_END: u64 = 4096;

/// Where an end of a client went.
#[derive(Debug, Default, Clone)]
pub(super) struct Route {
    pub(super) is_by_name: bool,
    /// The server's address: that of a host is known in the end.
    pub(super) to: Option<SocketAddr>,
    /// What the name stands for.
    addrs: Vec<IpAddr>,
    /// That may have been missed.
    may_miss: bool,
}

impl Route {
    /// To an address.
    pub(super) fn to(addr: SocketAddr) -> Self {
        Self { to: Some(addr), ..Self::default() }
    }

    /// Somebody answered at that address.
    pub(super) fn arrived(&mut self, peer: SocketAddr) {
        let is_meant = match self.is_by_name {
            true => self.addrs.contains(&peer.ip()),
            false => self.to == Some(peer),
        };
        assert!(is_meant, "{peer} of {self:?}");
        self.to = Some(peer);
    }

    /// Whether a race may end so.
    pub(super) fn may_fail_with(&self, code: u64) -> bool {
        match code {
            code::RESOLVE_FAILED => self.is_by_name && (self.addrs.is_empty() || self.may_miss),
            // No packet left, or there was no room for another attempt.
            _ => self.is_by_name && code > 0 && code < ERRNO_END,
        }
    }
}

/// What a socket that is bound to that address is to others on the same machine.
pub(super) const fn loopback(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(if addr.is_ipv4() { V4 } else { V6 }, addr.port())
}

/// Some listeners are reached over IPv6, at a port that another one may have over IPv4.
pub(super) fn listen(config: &mut QuicListenConfig, cx: &mut Cx) {
    if cx.chance.once_in(3) {
        let shared = cx.chance.once_in(2) && !cx.places.is_empty();
        let port = match shared {
            true => cx.places[cx.chance.below(cx.places.len())].port(),
            false => 0,
        };
        config.addr = SocketAddr::new(V6, port);
    }
}

/// Has a connection go to a host instead, which has the address among others; or none at all.
pub(super) fn choose(config: &mut QuicConnectConfig, to: SocketAddr, cx: &mut Cx) -> Route {
    let is_sure = cx.is_liveness;
    if cx.chance.once_in(3) {
        return Route::to(to);
    }
    let chance = &mut cx.chance;
    let mut addrs = Vec::new();
    for _ in 0..chance.below(ADDRESSES_MAX) {
        let is_dead = is_sure || chance.once_in(3);
        addrs.push(if is_dead { chance.pick(&DEAD) } else { chance.pick(&[V4, V6]) });
    }
    if is_sure {
        addrs.insert(chance.below(addrs.len() + 1), to.ip());
    }
    config.attempt_delay = Duration::from_millis(chance.pick(&[10, 50, 250, 2_000]));
    if chance.once_in(4) {
        config.bind = Some(SocketAddr::new(to.ip(), 0));
    }
    let host = format!("host-{}.example", cx.host_count);
    cx.host_count += 1;
    if !addrs.is_empty() || chance.once_in(2) {
        cx.world.name_host(&host, &addrs);
    }
    config.target = HostOrAddr::Host(host, to.port());
    let may_miss = cx.world.faults().rate_ppm(Fault::ResolveFails) > 0;
    Route { is_by_name: true, to: None, addrs, may_miss }
}

/// Whether a host was given up for want of room: the one address at which somebody is may have been
/// refused, and then how the last dead one failed is told.
pub(super) fn was_refused(end: &End, has_refused: bool) -> bool {
    let ended = end.ended.map_or(0, |ended| ended.code);
    let is_of_dead = ended == code::CONNECT_TIMEOUT || end.route.may_fail_with(ended);
    end.route.is_by_name && has_refused && is_of_dead
}
