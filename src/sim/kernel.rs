//! The state of a simulated world: clock, chance, schedule, files, nodes, records.
//!
//! Role: what every part of the model shares. Not role: the behaviour of sockets (`stream`,
//! `listen`,
//! `udp`) and of rings (`submit`, `complete`).
//!
//! *Invariants*: nothing here depends on an address, a hash order or a real clock; time moves
//! forward.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;

use super::fault::{Fault, Faults, PPM};
use super::file::{FileId, Files, Kind};
use super::hosts::Lookup;
use super::node::{Node, OpRef};
use super::trace::{Trace, What};
use super::udp::Datagram;
use crate::error::IoError;
use crate::ring::op::Fd;
use crate::rng::Rng;

/// Violations that are kept; the first ones tell the most.
const VIOLATION_COUNT_MAX: usize = 32;
/// What a look at the clock costs: a loop that waits for a moment ends.
const CLOCK_READ_NS: u64 = 20;
/// Operations whose names are kept: more than a test lets fail one by one.
const OPERATION_NAME_COUNT_MAX: usize = 4_096;
/// How far the clock moves while some node has work that it was not polled for.
const BUSY_STEP_NS: u64 = 1_000;

/// Something that will happen on its own.
#[derive(Debug)]
pub(super) enum Event {
    /// Nothing but the passing of time: something became due.
    Nudge,
    /// The network carries on with what this stream has to send.
    Pump(FileId),
    /// A connection attempt reaches the other side.
    Syn { client: FileId, attempt: u32 },
    /// It is answered.
    SynAck { client: FileId, child: FileId, listener: FileId },
    /// The handshake is complete on the listener's side.
    Established { child: FileId, listener: FileId },
    /// It failed.
    ConnectFailed { client: FileId, errno: i32 },
    /// A reset reaches this stream.
    Reset(FileId),
    /// A datagram reaches this socket.
    Datagram(FileId, Datagram),
    /// "Port unreachable" reaches this socket.
    Unreachable(FileId),
    /// A listener is reported ready again.
    Announce(FileId),
    /// A UDP socket takes datagrams again.
    UdpWritable(FileId),
    /// An operation is tried.
    Run(OpRef),
    /// The memory of a zero-copy send is free.
    Notify(OpRef),
    /// A cancellation takes effect.
    CancelNow(OpRef),
    /// The resolver answers.
    Answer(u64),
}

struct Scheduled {
    at_ns: u64,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at_ns, self.order) == (other.at_ns, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ns, self.order).cmp(&(other.at_ns, other.order))
    }
}

/// All of it.
pub(super) struct Kernel {
    pub(super) now_ns: u64,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) files: Files,
    pub(super) nodes: Vec<Node>,
    /// Who listens and who is bound, oldest first.
    pub(super) bindings: Vec<super::net::Binding>,
    /// Those among them that share their address by `SO_REUSEPORT`.
    pub(super) groups: Vec<super::groups::Group>,
    pub(super) unix_names: BTreeMap<Vec<u8>, FileId>,
    /// Names and their addresses, and who waits for some.
    pub(super) hosts: BTreeMap<String, Vec<std::net::IpAddr>>,
    pub(super) lookups: BTreeMap<u64, Lookup>,
    /// Ports whose streams are changed on their way, and how often, in parts per million.
    pub(super) noise: BTreeMap<u16, u32>,
    /// Addresses of sockets, and those that their datagrams seem to come from.
    pub(super) translated: BTreeMap<SocketAddr, SocketAddr>,
    /// Ports whose datagrams are lost, both ways.
    pub(super) holes: BTreeSet<u16>,
    pub(super) next_port: u16,
    pub(super) trace: Trace,
    pub(super) violations: Vec<String>,
    pub(super) operation_count: u64,
    pub(super) operation_names: Vec<&'static str>,
    /// Follows from every byte on the network, in order.
    pub(super) carried: u64,
    /// What its thread knows it by, once something is passed between its nodes.
    pub(super) number: Option<u64>,
    schedule: BinaryHeap<Reverse<Scheduled>>,
    next_serial: u64,
}

impl Kernel {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        Self {
            now_ns: 1_000_000_000,
            rng: Rng::from_seed(seed),
            faults,
            files: Files::default(),
            nodes: Vec::new(),
            bindings: Vec::new(),
            groups: Vec::new(),
            unix_names: BTreeMap::new(),
            hosts: BTreeMap::new(),
            lookups: BTreeMap::new(),
            noise: BTreeMap::new(),
            translated: BTreeMap::new(),
            holes: BTreeSet::new(),
            next_port: super::net::FIRST_EPHEMERAL_PORT,
            trace: Trace::default(),
            violations: Vec::new(),
            operation_count: 0,
            operation_names: Vec::new(),
            carried: 0,
            number: None,
            schedule: BinaryHeap::new(),
            next_serial: 0,
        }
    }

    /// Bytes went onto the network.
    pub(super) fn note_carried(&mut self, bytes: &[u8]) {
        let start = self.carried ^ bytes.len() as u64;
        self.carried = bytes
            .iter()
            .fold(start, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    }

    // ---- chance

    /// Whether a fault of that kind strikes now.
    pub(super) fn hit(&mut self, kind: Fault) -> bool {
        let rate = self.faults.rate_ppm(kind);
        rate > 0 && self.rng.below(u64::from(PPM)) < u64::from(rate)
    }

    /// A number in `low..=high`.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.rng.below(high.saturating_sub(low).saturating_add(1).max(1))
    }

    /// One of several.
    pub(super) fn pick(&mut self, of: &[i32]) -> i32 {
        of[self.rng.below(of.len() as u64) as usize]
    }

    /// How long a packet takes this time.
    pub(super) fn latency_ns(&mut self) -> u64 {
        let shape = self.faults.shape;
        shape.latency_min_ns + self.between(0, shape.latency_jitter_ns)
    }

    /// A delay that is mostly short and sometimes not.
    pub(super) fn delay_ns(&mut self) -> u64 {
        let longest = match self.rng.below(10) {
            0..6 => 20_000,
            6..9 => 2_000_000,
            _ => 200_000_000,
        };
        self.between(1, longest)
    }

    /// Counts an operation that can fail; the errno with which this one must.
    pub(super) fn forced_failure(&mut self, name: &'static str) -> Option<i32> {
        self.operation_count += 1;
        if self.operation_names.len() < OPERATION_NAME_COUNT_MAX {
            self.operation_names.push(name);
        }
        self.faults.forced(self.operation_count)
    }

    pub(super) fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    // ---- records

    pub(super) fn violation(&mut self, node: usize, text: String) {
        if self.violations.len() < VIOLATION_COUNT_MAX {
            self.violations.push(format!("{} ns, node {node}: {text}", self.now_ns));
        }
    }

    pub(super) fn trace(&mut self, node: usize, what: What) {
        self.trace.push(self.now_ns, node, what);
    }

    /// Records a cold call and gives its result back.
    pub(super) fn called<T>(
        &mut self,
        node: usize,
        name: &'static str,
        result: Result<T, i32>,
        shown: impl FnOnce(&T) -> i64,
    ) -> crate::error::Result<T> {
        let number = result.as_ref().map_or_else(|errno| -i64::from(*errno), shown);
        self.trace(node, What::Call(name, number));
        result.map_err(|errno| self.error(name, errno))
    }

    /// The crate's error for an errno.
    pub(super) fn error(&self, syscall: &'static str, errno: i32) -> IoError {
        match errno {
            libc::EMFILE | libc::ENFILE => {
                let limit = u64::from(self.faults.shape.fd_count_max);
                IoError::NofileLimit { syscall, limit }
            }
            _ => IoError::os(syscall, errno),
        }
    }

    // ---- time

    pub(super) fn clock_ns(&mut self) -> u64 {
        self.now_ns += CLOCK_READ_NS;
        self.now_ns
    }

    pub(super) fn schedule(&mut self, delay_ns: u64, event: Event) {
        let order = self.serial();
        let at_ns = self.now_ns.saturating_add(delay_ns);
        self.schedule.push(Reverse(Scheduled { at_ns, order, event }));
    }

    /// Lets happen what is due.
    pub(super) fn run_due(&mut self) {
        while let Some(Reverse(next)) = self.schedule.peek() {
            if next.at_ns > self.now_ns {
                return;
            }
            let Some(Reverse(next)) = self.schedule.pop() else { return };
            self.happen(next.event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Nudge => {}
            Event::Pump(file) => self.pump(file),
            Event::Syn { client, attempt } => self.syn_arrives(client, attempt),
            Event::SynAck { client, child, listener } => {
                self.syn_ack_arrives(client, child, listener);
            }
            Event::Established { child, listener } => self.established(child, listener),
            Event::ConnectFailed { client, errno } => self.connect_failed(client, errno),
            Event::Reset(file) => self.reset_arrives(file),
            Event::Datagram(file, datagram) => self.datagram_arrives(file, datagram),
            Event::Unreachable(file) => self.unreachable_arrives(file),
            Event::Announce(file) => self.wake(file),
            Event::UdpWritable(file) => self.udp_writable(file),
            Event::Run(op) => self.queue_op(op),
            Event::Notify(op) => self.notify(op),
            Event::CancelNow(op) => self.cancel_now(op),
            Event::Answer(lookup) => self.answer_arrives(lookup),
        }
    }

    /// The moment of the next thing that happens on its own.
    pub(super) fn next_event_ns(&self) -> Option<u64> {
        self.schedule.peek().map(|Reverse(next)| next.at_ns)
    }

    /// The moment of the next thing that happens on its own or that a node wants to be polled for.
    pub(super) fn next_moment_ns(&self) -> Option<u64> {
        let event = self.next_event_ns().map(|at_ns| at_ns.max(self.now_ns));
        let wants = self
            .nodes
            .iter()
            .filter(|node| node.alive)
            .filter_map(|node| node.wants_wake_at_ns.filter(|at_ns| *at_ns > self.now_ns));
        wants.chain(event).min()
    }

    /// Moves the clock to that moment; false when there is none.
    pub(super) fn advance_to_next(&mut self) -> bool {
        if (0..self.nodes.len()).any(|node| self.is_busy(node)) {
            self.now_ns += BUSY_STEP_NS;
        } else {
            let Some(at_ns) = self.next_moment_ns() else { return false };
            self.now_ns = at_ns;
        }
        self.run_due();
        true
    }

    // ---- files

    /// Another reference.
    pub(super) fn hold(&mut self, file: FileId) {
        if let Some(file) = self.files.get_mut(file) {
            file.refs += 1;
        }
    }

    /// One reference less; the last one closes: K10.
    pub(super) fn release(&mut self, id: FileId) {
        let Some(file) = self.files.get_mut(id) else { return };
        file.refs -= 1;
        if file.refs > 0 {
            return;
        }
        match file.kind {
            Kind::Stream(_) => self.stream_closed(id),
            Kind::Listener(_) => self.listener_closed(id),
            Kind::Udp(_) | Kind::Pollable(_) => {
                self.leave_group(id);
                self.bindings.retain(|binding| binding.file != id);
                self.files.remove(id);
            }
        }
    }

    /// A new descriptor for a new file.
    pub(super) fn open(&mut self, node: usize, kind: Kind) -> Result<Fd, i32> {
        if self.nodes[node].fd_count() >= self.faults.shape.fd_count_max as usize {
            return Err(libc::EMFILE);
        }
        let file = self.files.insert(node, kind);
        Ok(self.nodes[node].fd_insert(file))
    }

    /// The file of a descriptor; a closed one is a violation: K11.
    pub(super) fn fd_file(&mut self, node: usize, fd: Fd, who: &str) -> Result<FileId, i32> {
        self.nodes[node].fd_file(fd).ok_or_else(|| {
            self.violation(node, format!("K11: {who} names descriptor {fd}, which is closed"));
            libc::EBADF
        })
    }

    /// Something changed at this file: whoever waits for it looks again at the next `enter`.
    pub(super) fn wake(&mut self, id: FileId) {
        let Some(file) = self.files.get_mut(id) else { return };
        let waiters = std::mem::take(&mut file.waiters);
        for op in &waiters {
            self.queue_op(*op);
        }
        if let Some(file) = self.files.get_mut(id) {
            file.waiters = waiters;
        }
    }
}
