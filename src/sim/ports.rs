//! The sockets of a cluster, before and between the rings of its shards.
//!
//! Role: what [`Ports`](crate::ring::ports::Ports) does in a world. Not role: what sockets do.
//!
//! The cluster is a node without a ring: its descriptors are what it holds, and what is on its way
//! to a shard. What is passed can be sent to other threads, as the kernel's can, and means nothing
//! there: worlds have numbers, which their own thread knows.
//!
//! *Invariant*: who drops a passed descriptor closes it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU64, Ordering};

use super::SimRing;
use super::kernel::Kernel;
use crate::config::{TcpListenConfig, UdpEndpointConfig, UdsListenConfig};
use crate::error::{IoError, Result};
use crate::ids::Protocol;
use crate::ring::op::Fd;
use crate::ring::ports::Transport;
use crate::sys::addr::SockAddr;
use crate::sys::errno;
use crate::sys::steer::{Plan, Router, classic};
use crate::time::Time;

/// What a ring says to descriptors that are none of its world's.
pub(crate) const ELSEWHERE: IoError =
    IoError::NotSupportedOnBackend { backend: "sim", feature: "sockets of another world" };

/// What bpf(2) answers.
const NO_BPF: IoError = IoError::os("bpf(BPF_MAP_CREATE)", errno::EPERM);

/// One kernel of a thread.
pub(super) type World = Rc<RefCell<Kernel>>;

thread_local! {
    static WORLDS: RefCell<BTreeMap<u64, Weak<RefCell<Kernel>>>> =
        const { RefCell::new(BTreeMap::new()) };
}

/// The number under which this thread knows a world.
pub(super) fn number_of(world: &World) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let known = world.borrow().number;
    known.unwrap_or_else(|| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        world.borrow_mut().number = Some(number);
        WORLDS.with_borrow_mut(|worlds| {
            worlds.retain(|_, world| world.strong_count() > 0);
            worlds.insert(number, Rc::downgrade(world));
        });
        number
    })
}

fn world(number: u64) -> Option<World> {
    let found = WORLDS.try_with(|worlds| worlds.borrow().get(&number).and_then(Weak::upgrade));
    found.ok().flatten()
}

/// A descriptor of a node, on its way to another one.
#[derive(Debug)]
pub(crate) struct SimPassed {
    world: u64,
    node: usize,
    fd: Fd,
}

impl SimPassed {
    pub(super) fn new(world: &World, node: usize, fd: Fd) -> Self {
        Self { world: number_of(world), node, fd }
    }

    /// The descriptor becomes one of `node`.
    pub(super) fn arrive(self, at: &World, node: usize) -> Result<Fd> {
        if number_of(at) != self.world {
            return Err(ELSEWHERE);
        }
        let kernel = &mut *at.borrow_mut();
        let moved = std::mem::ManuallyDrop::new(self);
        let file = kernel.nodes[moved.node].fd_remove(moved.fd).ok_or(ELSEWHERE)?;
        if let Some(file) = kernel.files.get_mut(file) {
            file.node = node;
        }
        Ok(kernel.nodes[node].fd_insert(file))
    }
}

impl Drop for SimPassed {
    fn drop(&mut self) {
        if let Some(world) = world(self.world) {
            SimRing::new(world, self.node, 0).close_now(self.fd);
        }
    }
}

/// Where a cluster in a world has its sockets from.
#[derive(Debug)]
pub(crate) struct SimPorts {
    world: u64,
    node: usize,
    seed: u64,
}

impl SimPorts {
    pub(super) fn new(world: &World, node: usize, seed: u64) -> Self {
        Self { world: number_of(world), node, seed }
    }

    /// Does something as the cluster's node. No ring is entered there, so none has to be kept.
    fn call<R>(&self, run: impl FnOnce(&mut SimRing) -> Result<R>) -> Result<R> {
        let world = world(self.world).ok_or(ELSEWHERE)?;
        run(&mut SimRing::new(world, self.node, self.seed))
    }

    fn opened(&self, open: impl FnOnce(&mut SimRing) -> Result<Fd>) -> Result<SimPassed> {
        let fd = self.call(open)?;
        Ok(SimPassed { world: self.world, node: self.node, fd })
    }

    pub(crate) fn tcp_listen(&self, config: &TcpListenConfig) -> Result<SimPassed> {
        self.opened(|ring| ring.tcp_listen(config))
    }

    pub(crate) fn uds_listen(&self, config: &UdsListenConfig) -> Result<SimPassed> {
        self.opened(|ring| ring.uds_listen(config))
    }

    pub(crate) fn udp_bind(&self, config: &UdpEndpointConfig) -> Result<SimPassed> {
        self.opened(|ring| ring.udp_bind(config))
    }

    pub(crate) fn dup(&self, passed: &SimPassed) -> Result<SimPassed> {
        self.opened(|ring| ring.dup(passed.fd))
    }

    pub(crate) fn is_free(&self, addr: SocketAddr, how: Transport) -> Result<()> {
        self.call(|ring| ring.is_free(addr, how.is_datagram))
    }

    pub(crate) fn now(&self) -> Time {
        self.call(|ring| Ok(ring.now())).unwrap_or(Time::ZERO)
    }

    pub(crate) fn entropy(&self, out: &mut [u8]) -> Result<()> {
        self.call(|ring| ring.entropy(out))
    }

    pub(crate) fn accept(&self, listener: &SimPassed) -> Result<Option<(SimPassed, SockAddr)>> {
        let accepted = self.call(|ring| ring.accept(listener.fd))?;
        let passed = |fd| SimPassed { world: self.world, node: self.node, fd };
        Ok(accepted.map(|(fd, peer)| (passed(fd), peer)))
    }

    /// The simulated kernel knows classic programs alone.
    pub(crate) fn steer(&self, members: &[&SimPassed], plan: &Plan, by: &Router) -> Result<()> {
        match by {
            Router::Classic => self.call(|ring| ring.attach(members[0].fd, classic(plan).insns())),
            Router::Extended(_) => Err(NO_BPF),
        }
    }

    /// Whether the kernel takes classic programs, or extended ones.
    #[expect(clippy::unused_self, reason = "it is a question to this kernel")]
    pub(crate) const fn probe(&self, is_extended: bool) -> Result<()> {
        if is_extended { Err(NO_BPF) } else { Ok(()) }
    }

    pub(crate) fn brake(&self, listener: &SimPassed, protocol: Protocol) -> Result<()> {
        match protocol {
            Protocol::Tcp | Protocol::Uds => self.call(|ring| ring.brake(listener.fd)),
            _ => Ok(()),
        }
    }

    pub(crate) fn local_addr(&self, passed: &SimPassed) -> Result<SockAddr> {
        self.call(|ring| ring.local_addr(passed.fd))
    }
}
