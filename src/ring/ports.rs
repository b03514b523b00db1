//! The sockets of a cluster: made on one thread, taken in by the rings of others.
//!
//! Role: [`Ports`] makes sockets, and duplicates of them, that belong to no ring yet; [`Passed`] is
//! such a socket on its way. Not role: which sockets a cluster has, and who gets which.
//!
//! *Invariant*: a passed descriptor has one owner, who closes it by dropping it.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::Fd;
use super::worlds::{ELSEWHERE, SimPassed, SimPorts};
use crate::config::{TcpListenConfig, UdpEndpointConfig, UdsListenConfig};
use crate::error::Result;
use crate::ids::Protocol;
use crate::sys::addr::SockAddr;
use crate::sys::kernel::{fd_error, monotonic_ns};
use crate::sys::steer::{Plan, Router, probe_classic, probe_extended};
use crate::sys::{brake, entropy, socket, tcp, udp, uds};
use crate::time::Time;

/// A descriptor between two rings.
#[derive(Debug)]
pub(crate) enum Passed {
    /// The kernel's.
    Os(OwnedFd),
    /// The simulated kernel's.
    Sim(SimPassed),
}

impl Passed {
    /// What the kernel just gave out.
    pub(super) fn os(fd: Fd) -> Self {
        // SAFETY: the callers have the descriptor from a call that made it, or from the engine that
        // gives it up; nobody else closes it.
        Self::Os(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn os_fd(&self) -> Result<BorrowedFd<'_>> {
        match self {
            Self::Os(fd) => Ok(fd.as_fd()),
            Self::Sim(_) => Err(ELSEWHERE),
        }
    }

    const fn simulated(&self) -> Result<&SimPassed> {
        match self {
            Self::Sim(passed) => Ok(passed),
            Self::Os(_) => Err(ELSEWHERE),
        }
    }
}

/// Where sockets come from that no ring has made.
#[derive(Debug)]
pub(crate) enum Ports {
    /// The kernel.
    Os,
    /// The simulated kernel.
    Sim(SimPorts),
}

impl Ports {
    /// A listening TCP socket.
    pub(crate) fn tcp_listen(&mut self, config: &TcpListenConfig) -> Result<Passed> {
        match self {
            Self::Os => tcp::listen(config).map(Passed::os),
            Self::Sim(ports) => ports.tcp_listen(config).map(Passed::Sim),
        }
    }

    /// A listening Unix socket.
    pub(crate) fn uds_listen(&mut self, config: &UdsListenConfig) -> Result<Passed> {
        match self {
            Self::Os => uds::listen(config).map(Passed::os),
            Self::Sim(ports) => ports.uds_listen(config).map(Passed::Sim),
        }
    }

    /// A UDP socket, configured and bound.
    pub(crate) fn udp_bind(&mut self, config: &UdpEndpointConfig) -> Result<Passed> {
        match self {
            Self::Os => udp::bind(config).map(Passed::os),
            Self::Sim(ports) => ports.udp_bind(config).map(Passed::Sim),
        }
    }

    /// Another descriptor of the same socket.
    pub(crate) fn dup(&mut self, passed: &Passed) -> Result<Passed> {
        match self {
            Self::Os => {
                let failed = |error: std::io::Error| {
                    fd_error("fcntl(F_DUPFD_CLOEXEC)", error.raw_os_error().unwrap_or_default())
                };
                passed.os_fd()?.try_clone_to_owned().map(Passed::Os).map_err(failed)
            }
            Self::Sim(ports) => ports.dup(passed.simulated()?).map(Passed::Sim),
        }
    }

    /// Whether an address is free: sockets with `SO_REUSEPORT` would share it with whoever has such
    /// ones there too.
    pub(crate) fn is_free(&mut self, addr: SocketAddr, how: Transport) -> Result<()> {
        match self {
            Self::Os => socket::is_free(addr, how.is_datagram, how.dual_stack),
            Self::Sim(ports) => ports.is_free(addr, how),
        }
    }

    /// The clock that the rings have too.
    pub(crate) fn now(&mut self) -> Time {
        match self {
            Self::Os => Time::from_nanos(monotonic_ns()),
            Self::Sim(ports) => ports.now(),
        }
    }

    /// Fills `out` with what nobody can guess, as the rings do.
    pub(crate) fn entropy(&mut self, out: &mut [u8]) -> Result<()> {
        match self {
            Self::Os => entropy::fill(out),
            Self::Sim(ports) => ports.entropy(out),
        }
    }

    /// Accepts one connection, if there is one.
    pub(crate) fn accept(&mut self, listener: &Passed) -> Result<Option<(Passed, SockAddr)>> {
        match self {
            Self::Os => {
                let accepted = socket::accept(listener.os_fd()?.as_raw_fd())?;
                Ok(accepted.map(|(fd, peer)| (Passed::os(fd), peer)))
            }
            Self::Sim(ports) => {
                let accepted = ports.accept(listener.simulated()?)?;
                Ok(accepted.map(|(passed, peer)| (Passed::Sim(passed), peer)))
            }
        }
    }

    /// Whether the kernel takes the program of a plan: the classic one, or the extended one.
    pub(crate) fn probe(&mut self, plan: &Plan, is_extended: bool) -> Result<()> {
        match self {
            Self::Os if is_extended => probe_extended(plan),
            Self::Os => probe_classic(plan),
            Self::Sim(ports) => ports.probe(is_extended),
        }
    }

    /// Has the sockets of an address chosen among as planned. All of them are there.
    pub(crate) fn steer(
        &mut self,
        members: &[Passed],
        plan: &Plan,
        router: &mut Router,
        how: Steering,
    ) -> Result<()> {
        match self {
            Self::Os => {
                let members = members.iter().map(Passed::os_fd).collect::<Result<Vec<_>>>()?;
                match how {
                    Steering::Follow => router.steer(&members, plan),
                    Steering::Reload => router.reload(&members, plan),
                }
            }
            Self::Sim(ports) => {
                let members = members.iter().map(Passed::simulated).collect::<Result<Vec<_>>>()?;
                ports.steer(&members, plan, router)
            }
        }
    }

    /// A listener takes nothing new, and finishes what has begun; other sockets go on.
    pub(crate) fn brake(&mut self, listener: &Passed, protocol: Protocol) -> Result<()> {
        match (self, protocol) {
            (Self::Os, Protocol::Tcp) => brake::tcp(listener.os_fd()?.as_raw_fd()),
            (Self::Os, Protocol::Uds) => brake::uds(listener.os_fd()?.as_raw_fd()),
            (Self::Os, _) => Ok(()),
            (Self::Sim(ports), _) => ports.brake(listener.simulated()?, protocol),
        }
    }

    /// What says by poll(2) that there is something to accept.
    pub(crate) fn watched(&mut self, listener: &Passed) -> RawFd {
        // poll(2) passes over negative ones: nobody sleeps in a world.
        listener.os_fd().map_or(-1, |fd| fd.as_raw_fd())
    }

    /// The socket's own address.
    pub(crate) fn local_addr(&mut self, passed: &Passed) -> Result<SockAddr> {
        match self {
            Self::Os => socket::local_addr(passed.os_fd()?.as_raw_fd()),
            Self::Sim(ports) => ports.local_addr(passed.simulated()?),
        }
    }
}

/// How a plan takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Steering {
    /// By as little as that takes.
    Follow,
    /// By a program that is made anew.
    Reload,
}

/// What kind of socket an address is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transport {
    pub(crate) is_datagram: bool,
    /// An IPv6 wildcard takes IPv4 as well.
    pub(crate) dual_stack: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::IoError;

    const TCP: Transport = Transport { is_datagram: false, dual_stack: true };
    const UDP: Transport = Transport { is_datagram: true, dual_stack: true };

    fn addr_of(ports: &mut Ports, socket: &Passed) -> SocketAddr {
        ports.local_addr(socket).unwrap().ip().unwrap()
    }

    #[test]
    fn a_strangers_address_is_not_free_although_it_may_be_shared() {
        let mut ports = Ports::Os;
        for any in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let any = any.parse().unwrap();
            let config = TcpListenConfig::new(any).with(|c| c.reuseport = true);
            let stranger = ports.tcp_listen(&config).unwrap();
            let addr = addr_of(&mut ports, &stranger);
            assert_eq!(ports.is_free(addr, TCP), Err(IoError::AddrInUse { addr }));
            assert_eq!(ports.is_free(addr, UDP), Ok(()));
            drop(stranger);
            assert_eq!(ports.is_free(addr, TCP), Ok(()));

            let config = UdpEndpointConfig::new(any).with(|c| c.reuseport = true);
            let stranger = ports.udp_bind(&config).unwrap();
            let addr = addr_of(&mut ports, &stranger);
            assert_eq!(ports.is_free(addr, UDP), Err(IoError::AddrInUse { addr }));
        }
    }

    #[test]
    fn a_duplicate_keeps_the_socket_open() {
        let mut ports = Ports::Os;
        let any = "127.0.0.1:0".parse().unwrap();
        let socket = ports.tcp_listen(&TcpListenConfig::new(any)).unwrap();
        let addr = addr_of(&mut ports, &socket);
        let other = ports.dup(&socket).unwrap();
        drop(socket);
        std::net::TcpStream::connect(addr).unwrap();
        drop(other);
        std::net::TcpStream::connect(addr).unwrap_err();
    }
}
