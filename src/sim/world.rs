//! A simulated world, as a test holds it.
//!
//! Role: make nodes, move the clock, look inside. Not role: any behaviour of the model.
//!
//! *Invariant*: the clock moves here and nowhere else, except for what reading it costs.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use super::fault::{Faults, PPM};
use super::file::Kind;
use super::kernel::Kernel;
use super::node::Node;
use super::ports::SimPorts;
use super::ring::SimRing;

/// A network and the kernels of its nodes, shared by the `Io`s of one thread.
#[derive(Clone)]
pub struct World {
    kernel: Rc<RefCell<Kernel>>,
    seed: u64,
}

impl World {
    /// A world in which everything follows from the seed and the table.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self { kernel: Rc::new(RefCell::new(Kernel::new(seed, faults))), seed }
    }

    /// The seed.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// The fault table, as it is now.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.kernel.borrow().faults.clone()
    }

    /// The ring of a new node; nodes are numbered from 0 in the order of these calls.
    pub(crate) fn ring(&self) -> SimRing {
        let kernel = &mut *self.kernel.borrow_mut();
        let node = Node::new(&kernel.faults.shape);
        kernel.nodes.push(node);
        SimRing::new(Rc::clone(&self.kernel), kernel.nodes.len() - 1, self.seed)
    }

    /// The ports of a cluster, which is a new node without a ring.
    pub(crate) fn ports(&self) -> SimPorts {
        let node = self.nodes();
        drop(self.ring());
        SimPorts::new(&self.kernel, node, self.seed)
    }

    /// Nodes so far.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.kernel.borrow().nodes.len()
    }

    // ---- time

    /// Nanoseconds on the virtual clock.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.kernel.borrow().now_ns
    }

    /// Moves the clock to the next thing that happens or that a node wants to be polled for, and
    /// lets it happen. While a node has work it was not polled for, that is a microsecond. False:
    /// nothing is to come.
    #[must_use]
    pub fn advance_to_next(&self) -> bool {
        self.kernel.borrow_mut().advance_to_next()
    }

    /// Moves the clock by `span` and lets happen what falls into it.
    pub fn advance_by(&self, span: Duration) {
        let kernel = &mut *self.kernel.borrow_mut();
        let end_ns = kernel.now_ns.saturating_add(crate::time::nanos(span));
        while let Some(at_ns) = kernel.next_event_ns().filter(|at_ns| *at_ns <= end_ns) {
            kernel.now_ns = at_ns.max(kernel.now_ns);
            kernel.run_due();
        }
        kernel.now_ns = end_ns.max(kernel.now_ns);
    }

    /// Switches all faults off: the liveness phase.
    pub fn heal(&self) {
        let kernel = &mut *self.kernel.borrow_mut();
        kernel.faults.heal();
        kernel.noise.clear();
        kernel.holes.clear();
    }

    /// Lets a bit change now and then in what streams to and from a port carry: so many times in a
    /// million pieces. TCP's checksum would miss it; whoever speaks there must not.
    pub fn corrupt(&self, port: u16, rate_ppm: u32) {
        self.kernel.borrow_mut().noise.insert(port, rate_ppm.min(PPM));
    }

    /// What a NAT does that lost its state: from now on the datagrams of the UDP socket at `inside`
    /// seem to come from another port, which is returned, and only what is sent there reaches it.
    pub fn rebind(&self, inside: SocketAddr) -> SocketAddr {
        let kernel = &mut *self.kernel.borrow_mut();
        let outside = SocketAddr::new(inside.ip(), kernel.ephemeral_port());
        kernel.translated.insert(inside, outside);
        outside
    }

    /// Whether datagrams from and to a port are all lost.
    pub fn blackhole(&self, port: u16, is_on: bool) {
        let holes = &mut self.kernel.borrow_mut().holes;
        if is_on {
            holes.insert(port)
        } else {
            holes.remove(&port)
        };
    }

    /// Replaces the fault table. Sizes of what exists do not change.
    pub fn set_faults(&self, faults: Faults) {
        self.kernel.borrow_mut().faults = faults;
    }

    /// Gives a host its addresses, in the resolver's order; every node knows it.
    pub fn name_host(&self, host: &str, addrs: &[IpAddr]) {
        self.kernel.borrow_mut().hosts.insert(host.to_owned(), addrs.to_vec());
    }

    // ---- what a test does to a node

    /// A descriptor for `watch_fd`, ready for nothing yet. It does not count against the node's
    /// limit.
    #[must_use]
    pub fn pollable(&self, node: usize) -> i32 {
        let kernel = &mut *self.kernel.borrow_mut();
        let file = kernel.files.insert(node, Kind::Pollable(0));
        kernel.nodes[node].fd_insert(file)
    }

    /// Changes the readiness (`POLLIN`, ...) of a descriptor made by [`World::pollable`].
    pub fn set_readiness(&self, node: usize, fd: i32, ready: u32) {
        let kernel = &mut *self.kernel.borrow_mut();
        let Some(file) = kernel.nodes[node].fd_file(fd) else { return };
        if let Some(Kind::Pollable(state)) = kernel.files.get_mut(file).map(|file| &mut file.kind) {
            *state = ready;
        }
        kernel.wake(file);
    }

    /// Closes a descriptor behind the engine's back.
    pub fn close_fd(&self, node: usize, fd: i32) {
        let kernel = &mut *self.kernel.borrow_mut();
        if let Some(file) = kernel.nodes[node].fd_remove(fd) {
            kernel.release(file);
        }
    }

    /// Ends a node as SIGKILL does: all of its descriptors close, its ring answers nothing any
    /// more.
    pub fn kill(&self, node: usize) {
        let kernel = &mut *self.kernel.borrow_mut();
        kernel.close_ring(node);
        let fds: Vec<_> = kernel.nodes[node].fds.iter_mut().filter_map(Option::take).collect();
        fds.into_iter().for_each(|file| kernel.release(file));
    }

    // ---- what a test sees

    /// Operations so far that can fail: the range of [`Faults::fail_nth`].
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.kernel.borrow().operation_count
    }

    /// What the `n`-th of them was (from 1): the call, or the ring's opcode. `None` when there was
    /// none, or too many before.
    #[must_use]
    pub fn operation_name(&self, n: u64) -> Option<&'static str> {
        let at = usize::try_from(n).ok()?.checked_sub(1)?;
        self.kernel.borrow().operation_names.get(at).copied()
    }

    /// A number that follows from every byte on the network so far, in order.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.kernel.borrow().carried
    }

    /// Breaches of the contract, oldest first.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.kernel.borrow().violations.clone()
    }

    /// The last things that happened: submissions (`>`), completions (`<`), calls (`=`) and the
    /// network (`~`).
    #[must_use]
    pub fn trace(&self) -> String {
        self.kernel.borrow().trace.to_string()
    }

    /// Descriptors that a node has open.
    #[must_use]
    pub fn open_fds(&self, node: usize) -> usize {
        self.kernel.borrow().nodes[node].fd_count()
    }

    /// Occupied places of a node's fixed file table.
    #[must_use]
    pub fn open_slots(&self, node: usize) -> usize {
        self.kernel.borrow().nodes[node].slots.len()
    }

    /// Buffers of a group that the node has provided and not got back.
    #[must_use]
    pub fn kernel_held(&self, node: usize, group: u16) -> usize {
        let kernel = self.kernel.borrow();
        kernel.nodes[node].groups.get(&group).map_or(0, |group| group.held.len())
    }

    /// Operations under way and completions not taken.
    #[must_use]
    pub fn pending_ops(&self, node: usize) -> usize {
        let kernel = self.kernel.borrow();
        kernel.nodes[node].pending.len() + kernel.nodes[node].unreaped_count()
    }

    /// How often a multishot of a node ended because the completion queue was full.
    #[must_use]
    pub fn overflows(&self, node: usize) -> u64 {
        self.kernel.borrow().nodes[node].overflow_count
    }

    /// Files in the whole world, those included that only finish sending.
    #[must_use]
    pub fn files(&self) -> usize {
        self.kernel.borrow().files.count()
    }

    /// Every file in a line, for a failing run.
    #[must_use]
    pub fn describe_files(&self) -> String {
        self.kernel.borrow().files.describe()
    }
}
