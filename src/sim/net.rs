//! Addresses: who is bound where, and who is meant.
//!
//! Role: one flat address space for all nodes. Loopback is shared; each node has 10.0.0.(n+1) and
//! fd00::(n+1) besides. Not role: carrying anything.
//!
//! *Invariant*: two sockets share an address only if both asked for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::file::FileId;
use super::kernel::Kernel;

/// The first port that is given out to those who ask for any.
pub(super) const FIRST_EPHEMERAL_PORT: u16 = 32_768;
const LAST_EPHEMERAL_PORT: u16 = 60_999;

/// One bound socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Binding {
    pub(super) file: FileId,
    pub(super) is_udp: bool,
    pub(super) addr: SocketAddr,
    /// `SO_REUSEPORT` or, for UDP, `SO_REUSEADDR`.
    pub(super) shared: bool,
    /// An IPv6 wildcard that takes IPv4 too.
    pub(super) dual: bool,
}

impl Binding {
    fn takes(&self, ip: IpAddr) -> bool {
        match (self.addr.ip(), ip) {
            (own, ip) if own == ip => true,
            (IpAddr::V4(own), IpAddr::V4(_)) => own.is_unspecified(),
            (IpAddr::V6(own), IpAddr::V6(_)) => own.is_unspecified(),
            (IpAddr::V6(own), IpAddr::V4(_)) => own.is_unspecified() && self.dual,
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }

    fn overlaps(&self, ip: IpAddr) -> bool {
        self.takes(ip) || (ip.is_unspecified() && ip.is_ipv4() == self.addr.is_ipv4())
    }
}

impl Kernel {
    /// A free address for a socket that wants `wanted`.
    pub(super) fn free_addr(
        &mut self,
        wanted: SocketAddr,
        is_udp: bool,
        shared: bool,
    ) -> Result<SocketAddr, i32> {
        let taken = |kernel: &Self, addr: SocketAddr| {
            kernel.bindings.iter().any(|b| {
                b.is_udp == is_udp
                    && b.addr.port() == addr.port()
                    && b.overlaps(addr.ip())
                    && !(b.shared && shared)
            })
        };
        if wanted.port() != 0 {
            return if taken(self, wanted) { Err(libc::EADDRINUSE) } else { Ok(wanted) };
        }
        for _ in FIRST_EPHEMERAL_PORT..=LAST_EPHEMERAL_PORT {
            let addr = SocketAddr::new(wanted.ip(), self.ephemeral_port());
            if !taken(self, addr) {
                return Ok(addr);
            }
        }
        Err(libc::EADDRINUSE)
    }

    /// The next port in turn.
    pub(super) fn ephemeral_port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = if port == LAST_EPHEMERAL_PORT { FIRST_EPHEMERAL_PORT } else { port + 1 };
        port
    }

    /// The address from which `node` talks to `to`.
    pub(super) fn source_ip(node: usize, to: IpAddr) -> IpAddr {
        let last = node as u8 + 1;
        match to {
            IpAddr::V4(ip) if ip.is_loopback() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V4(_) => Ipv4Addr::new(10, 0, 0, last).into(),
            IpAddr::V6(ip) if ip.is_loopback() => Ipv6Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).into(),
        }
    }

    /// Where a connection to an unspecified address goes: the machine itself.
    pub(super) fn canonical(to: SocketAddr) -> SocketAddr {
        match to.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => (Ipv4Addr::LOCALHOST, to.port()).into(),
            IpAddr::V6(ip) if ip.is_unspecified() => (Ipv6Addr::LOCALHOST, to.port()).into(),
            _ => to,
        }
    }

    /// Those who are bound there, the exactly bound before the wildcards.
    pub(super) fn bound_at(&self, to: SocketAddr, is_udp: bool) -> Vec<Binding> {
        let matching =
            |b: &&Binding| b.is_udp == is_udp && b.addr.port() == to.port() && b.takes(to.ip());
        let mut found: Vec<Binding> = self.bindings.iter().filter(matching).copied().collect();
        found.sort_by_key(|b| b.addr.ip() != to.ip());
        found
    }

    /// The same among equals: those as exact as the first.
    pub(super) fn best_at(&self, to: SocketAddr, is_udp: bool) -> Vec<Binding> {
        let mut found = self.bound_at(to, is_udp);
        if let Some(first) = found.first().copied() {
            found.retain(|b| b.addr.ip() == first.addr.ip());
        }
        found
    }
}
