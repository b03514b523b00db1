//! The sockets of a cluster: made on one thread, taken in by the rings of others.
//!
//! Role: [`Ports`] makes sockets, and duplicates of them, that belong to no ring yet; [`Passed`] is
//! such a socket on its way. Not role: which sockets a cluster has, and who gets which.
//!
//! *Invariant*: a passed descriptor has one owner, who closes it by dropping it.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::Fd;
use crate::config::{TcpListenConfig, UdpEndpointConfig, UdsListenConfig};
use crate::error::{IoError, Result};
use crate::ids::Protocol;
use crate::sys::addr::SockAddr;
use crate::sys::kernel::{fd_error, monotonic_ns};
use crate::sys::steer::{Plan, Router};
use crate::sys::{brake, socket, tcp, udp, uds};
use crate::time::Time;

/// A descriptor between two rings.
#[derive(Debug)]
pub(crate) enum Passed {
    /// The kernel's.
    Os(OwnedFd),
}

impl Passed {
    /// What the kernel just gave out.
    pub(super) fn os(fd: Fd) -> Self {
        // SAFETY: the callers have the descriptor from a call that made it, or from the engine that
        // gives it up; nobody else closes it.
        Self::Os(unsafe { OwnedFd::from_raw_fd(fd) })
    }

    fn os_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Os(fd) => fd.as_fd(),
        }
    }
}

/// Where sockets come from that no ring has made.
#[derive(Debug)]
pub(crate) enum Ports {
    /// The kernel.
    Os,
}

impl Ports {
    /// A listening TCP socket.
    pub(crate) fn tcp_listen(&mut self, config: &TcpListenConfig) -> Result<Passed> {
        match self {
            Self::Os => tcp::listen(config).map(Passed::os),
        }
    }

    /// A listening Unix socket.
    pub(crate) fn uds_listen(&mut self, config: &UdsListenConfig) -> Result<Passed> {
        match self {
            Self::Os => uds::listen(config).map(Passed::os),
        }
    }

    /// A UDP socket, configured and bound.
    pub(crate) fn udp_bind(&mut self, config: &UdpEndpointConfig) -> Result<Passed> {
        match self {
            Self::Os => udp::bind(config).map(Passed::os),
        }
    }

    /// Another descriptor of the same socket.
    pub(crate) fn dup(&mut self, passed: &Passed) -> Result<Passed> {
        match (self, passed) {
            (Self::Os, Passed::Os(fd)) => {
                let failed = |error: std::io::Error| {
                    fd_error("fcntl(F_DUPFD_CLOEXEC)", error.raw_os_error().unwrap_or_default())
                };
                fd.try_clone().map(Passed::Os).map_err(failed)
            }
        }
    }

    /// Whether an address is free: sockets with `SO_REUSEPORT` would share it with whoever has such
    /// ones there too.
    pub(crate) fn is_free(&mut self, addr: SocketAddr, how: Transport) -> Result<()> {
        match self {
            Self::Os => socket::is_free(addr, how.is_datagram, how.dual_stack),
        }
    }

    /// The clock that the rings have too.
    pub(crate) fn now(&mut self) -> Time {
        match self {
            Self::Os => Time::from_nanos(monotonic_ns()),
        }
    }

    /// Accepts one connection, if there is one.
    pub(crate) fn accept(&mut self, listener: &Passed) -> Result<Option<(Passed, SockAddr)>> {
        match (self, listener) {
            (Self::Os, Passed::Os(fd)) => {
                let accepted = socket::accept(fd.as_raw_fd())?;
                Ok(accepted.map(|(fd, peer)| (Passed::os(fd), peer)))
            }
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
                let members = members.iter().map(Passed::os_fd).collect::<Vec<_>>();
                match how {
                    Steering::Follow => router.steer(&members, plan),
                    Steering::Reload => router.reload(&members, plan),
                }
            }
        }
    }

    /// A listener takes nothing new, and finishes what has begun; other sockets go on.
    pub(crate) fn brake(&mut self, listener: &Passed, protocol: Protocol) -> Result<()> {
        match (self, listener, protocol) {
            (Self::Os, Passed::Os(fd), Protocol::Tcp) => brake::tcp(fd.as_raw_fd()),
            (Self::Os, Passed::Os(fd), Protocol::Uds) => brake::uds(fd.as_raw_fd()),
            (Self::Os, Passed::Os(_), _) => Ok(()),
        }
    }

    /// What says by poll(2) that there is something to accept.
    pub(crate) fn watched(&mut self, listener: &Passed) -> RawFd {
        match (self, listener) {
            (Self::Os, Passed::Os(fd)) => fd.as_raw_fd(),
        }
    }

    /// The socket's own address.
    pub(crate) fn local_addr(&mut self, passed: &Passed) -> Result<SockAddr> {
        match (self, passed) {
            (Self::Os, Passed::Os(fd)) => socket::local_addr(fd.as_raw_fd()),
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

/// A ring that cannot take such descriptors in, nor give any away.
pub(crate) const NO_PORTS: IoError =
    IoError::NotSupportedOnBackend { backend: "sim", feature: "passing sockets between shards" };

#[cfg(test)]
mod tests {
    use super::*;

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
