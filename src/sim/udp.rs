//! UDP: datagrams that get lost, doubled and overtaken; trains; groups.
//!
//! Role: bind, send, route, receive. Not role: deciding when (`kernel`).
//!
//! *Invariant*: a datagram arrives whole, or cut and marked; never mixed with another.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use super::fault::Fault;
use super::file::{FileId, Kind};
use super::kernel::{Event, Kernel};
use super::mem;
use super::net::Binding;
use super::trace::What;
use crate::config::{MulticastGroup, UdpEndpointConfig};
use crate::ring::op::Fd;
use crate::sys::addr::SockAddr;
use crate::sys::batch::{Received, RecvBatch, SendBatch, SendEntry};

/// The longest payload over IPv4, RFC 768 and RFC 791.
const PAYLOAD_LEN_MAX: usize = 65_507;
/// `igmp_max_memberships`.
const GROUP_COUNT_MAX: usize = 20;
/// The most datagrams of one train, either way.
const TRAIN_COUNT_MAX: usize = 64;
/// 2026-01-01, where the wall clock of the simulation starts.
const EPOCH_NS: u64 = 1_767_225_600_000_000_000;

/// A datagram on its way or in a receive buffer.
#[derive(Debug, Clone)]
pub(super) struct Datagram {
    from: SocketAddr,
    to: SocketAddr,
    ecn: u8,
    arrived_ns: u64,
    bytes: Vec<u8>,
}

/// A UDP socket.
pub(super) struct Udp {
    pub(super) local: SocketAddr,
    config: UdpEndpointConfig,
    inbound: VecDeque<Datagram>,
    groups: Vec<MulticastGroup>,
    error: i32,
    blocked: bool,
}

impl Udp {
    pub(super) fn connected_to(&self) -> Option<SocketAddr> {
        self.config.connect
    }

    pub(super) fn readiness(&self) -> u32 {
        let mut ready = 0;
        if !self.inbound.is_empty() || self.error != 0 {
            ready |= libc::POLLIN;
        }
        if !self.blocked {
            ready |= libc::POLLOUT;
        }
        if self.error != 0 {
            ready |= libc::POLLERR;
        }
        ready as u32
    }

    /// Whether this socket is a member of the group, for that source.
    fn hears(&self, group: IpAddr, source: IpAddr) -> bool {
        self.groups.iter().any(|own| match *own {
            MulticastGroup::AnySource { group: g, .. } => group == IpAddr::V4(g),
            MulticastGroup::AnySourceV6 { group: g, .. } => group == IpAddr::V6(g),
            MulticastGroup::SourceSpecific { group: g, source: s, .. } => group == g && source == s,
        })
    }
}

impl Kernel {
    pub(super) fn udp_bind(&mut self, node: usize, config: &UdpEndpointConfig) -> Result<Fd, i32> {
        let shared = config.reuseport || config.reuseaddr;
        let mut addr = self.free_addr(config.bind, true, shared)?;
        let bound = addr;
        if let Some(peer) = config.connect
            && addr.ip().is_unspecified()
        {
            addr.set_ip(Self::source_ip(node, peer.ip()));
        }
        let udp = Udp {
            local: addr,
            config: config.clone(),
            inbound: VecDeque::new(),
            groups: Vec::new(),
            error: 0,
            blocked: false,
        };
        let fd = self.open(node, Kind::Udp(udp))?;
        let file = self.fd_file(node, fd, "bind")?;
        let dual = config.dual_stack;
        let binding = Binding { file, is_udp: true, addr: bound, shared, dual };
        self.bindings.push(binding);
        if config.reuseport {
            self.join_group(&binding);
        }
        Ok(fd)
    }

    pub(super) fn udp_member(
        &mut self,
        id: FileId,
        group: &MulticastGroup,
        join: bool,
    ) -> Result<(), i32> {
        let Some(udp) = self.files.udp_mut(id) else { return Err(libc::ENOTSOCK) };
        let place = udp.groups.iter().position(|own| own == group);
        match (place, join) {
            (Some(_), true) => return Err(libc::EADDRINUSE),
            (None, false) => return Err(libc::EADDRNOTAVAIL),
            (None, true) if udp.groups.len() == GROUP_COUNT_MAX => return Err(libc::ENOBUFS),
            (None, true) => udp.groups.push(*group),
            (Some(place), false) => drop(udp.groups.remove(place)),
        }
        Ok(())
    }

    // ---- sending

    /// Takes staged datagrams in order; how many. An error counts only when it is the first's.
    pub(super) fn udp_send(&mut self, id: FileId, batch: &SendBatch) -> Result<usize, i32> {
        let node = self.files.get(id).map_or(0, |file| file.node);
        for i in 0..batch.len() {
            let Some(udp) = self.files.udp_mut(id) else { return Err(libc::ENOTSOCK) };
            let outcome = if udp.error != 0 {
                Err(std::mem::take(&mut udp.error))
            } else if udp.blocked {
                return Ok(i);
            } else if self.hit(Fault::UdpSendAgain) {
                self.udp_block(id);
                return Ok(i);
            } else {
                self.udp_send_one(node, id, &batch.entry(i))
            };
            match outcome {
                Ok(()) => {}
                Err(errno) if i == 0 => return Err(errno),
                Err(_) => return Ok(i),
            }
        }
        Ok(batch.len())
    }

    fn udp_block(&mut self, id: FileId) {
        if let Some(udp) = self.files.udp_mut(id) {
            udp.blocked = true;
        }
        let delay_ns = self.delay_ns();
        self.schedule(delay_ns, Event::UdpWritable(id));
    }

    pub(super) fn udp_writable(&mut self, id: FileId) {
        if let Some(udp) = self.files.udp_mut(id) {
            udp.blocked = false;
        }
        self.wake(id);
    }

    fn udp_send_one(&mut self, node: usize, id: FileId, entry: &SendEntry) -> Result<(), i32> {
        let Some(udp) = self.files.udp_mut(id) else { return Err(libc::ENOTSOCK) };
        let named = (!entry.to.is_null()).then(|| mem::address(entry.to));
        let to = match (named, udp.config.connect) {
            (Some(to), _) => to.ip().ok_or(libc::EINVAL)?,
            (None, Some(peer)) => peer,
            (None, None) => return Err(libc::EDESTADDRREQ),
        };
        let how = entry.how;
        let segment = if how.segment == 0 { entry.len.max(1) } else { how.segment.into() };
        let len_max = PAYLOAD_LEN_MAX.min(self.faults.shape.datagram_len_max as usize);
        if entry.len > PAYLOAD_LEN_MAX || segment > len_max {
            return Err(libc::EMSGSIZE);
        }
        if entry.len.div_ceil(segment) > 2 * TRAIN_COUNT_MAX {
            return Err(libc::EINVAL);
        }
        let (mut from, tos) = (udp.local, how.tos.unwrap_or(udp.config.tos));
        if self.hit(Fault::UdpSendError) {
            return Err(self.pick(&[libc::ENETUNREACH, libc::EPERM]));
        }
        if segment < entry.len && self.hit(Fault::UdpTrainError) {
            return Err(libc::EIO);
        }
        let to = Self::canonical(to);
        if let Some(ip) = how.from {
            from.set_ip(ip);
        }
        if from.ip().is_unspecified() || from.is_ipv4() != to.is_ipv4() {
            from.set_ip(Self::source_ip(node, to.ip()));
        }
        let Some((from, to)) = self.translate(from, to) else { return Ok(()) };
        let bytes = mem::to_vec(entry.ptr, entry.len);
        self.note_carried(&bytes);
        let mut pieces: Vec<&[u8]> = bytes.chunks(segment).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        for piece in pieces {
            let datagram =
                Datagram { from, to, ecn: tos & 3, arrived_ns: 0, bytes: piece.to_vec() };
            self.trace(node, What::Net("datagram", id, piece.len()));
            self.route(id, datagram);
        }
        Ok(())
    }

    /// Where a datagram seems to come from, and where it really goes; `None`: nowhere.
    fn translate(&self, from: SocketAddr, to: SocketAddr) -> Option<(SocketAddr, SocketAddr)> {
        let is_hole = |addr: SocketAddr| self.holes.contains(&addr.port());
        if is_hole(from) || is_hole(to) || self.translated.contains_key(&to) {
            return None;
        }
        let behind = self.translated.iter().find(|(_, outside)| **outside == to);
        let to = behind.map_or(to, |(inside, _)| *inside);
        Some((self.translated.get(&from).copied().unwrap_or(from), to))
    }

    /// Changes a bit among the last 16 bytes: the packet is no longer what it says, while its head
    /// is the same in each run of a seed.
    fn flip_bit(&mut self, bytes: &mut [u8]) {
        let at = self.between(1, bytes.len().min(16) as u64) as usize;
        let bit = self.between(0, 7);
        let len = bytes.len();
        if let Some(byte) = bytes.get_mut(len - at) {
            *byte ^= 1 << bit;
        }
    }

    /// Sends one datagram to everyone it is for.
    fn route(&mut self, sender: FileId, datagram: Datagram) {
        if datagram.bytes.len() > self.faults.shape.datagram_len_carried as usize {
            return;
        }
        let receivers = self.receivers(sender, &datagram);
        if receivers.is_empty() && !datagram.to.ip().is_multicast() {
            let connected = self.files.udp_mut(sender).is_some_and(|u| u.config.connect.is_some());
            if connected {
                let delay_ns = self.latency_ns();
                self.schedule(delay_ns, Event::Unreachable(sender));
            }
        }
        for receiver in receivers {
            if self.hit(Fault::UdpLoss) {
                continue;
            }
            let copies = if self.hit(Fault::UdpDuplicate) { 2 } else { 1 };
            for _ in 0..copies {
                let mut delay_ns = self.faults.shape.latency_min_ns;
                if self.hit(Fault::UdpReorder) {
                    delay_ns += self.between(0, 5_000_000);
                }
                let mut datagram = datagram.clone();
                if !datagram.bytes.is_empty() && self.hit(Fault::UdpCorrupt) {
                    self.flip_bit(&mut datagram.bytes);
                }
                self.schedule(delay_ns, Event::Datagram(receiver, datagram));
            }
        }
    }

    fn receivers(&mut self, sender: FileId, datagram: &Datagram) -> Vec<FileId> {
        let (from, to) = (datagram.from, datagram.to);
        if to.ip().is_multicast() {
            let looped = self.files.udp_mut(sender).is_some_and(|u| u.config.multicast_loop);
            let own_node = self.files.get(sender).map(|file| file.node);
            let bound: Vec<FileId> = self
                .bindings
                .iter()
                .filter(|b| b.is_udp && b.addr.port() == to.port())
                .map(|b| b.file)
                .collect();
            return bound
                .into_iter()
                .filter(|id| {
                    let elsewhere = self.files.get(*id).map(|file| file.node) != own_node;
                    let udp = self.files.udp_mut(*id);
                    (looped || elsewhere) && udp.is_some_and(|u| u.hears(to.ip(), from.ip()))
                })
                .collect();
        }
        let mut found: Vec<FileId> = self.best_at(to, true).iter().map(|b| b.file).collect();
        let matches = |kernel: &mut Self, id: FileId| {
            kernel.files.udp_mut(id).and_then(|udp| udp.connected_to()).map(|peer| peer == from)
        };
        // A connected socket takes its peer's datagrams alone, and before the others.
        found.retain(|id| matches(self, *id) != Some(false));
        if let Some(exact) = found.iter().copied().find(|id| matches(self, *id) == Some(true)) {
            return vec![exact];
        }
        if let Some(chosen) = self.steered(&found, from, &datagram.bytes) {
            return vec![chosen];
        }
        let pick = if found.len() > 1 { usize::from(from.port()) % found.len() } else { 0 };
        found.get(pick).copied().into_iter().collect()
    }

    // ---- receiving

    pub(super) fn datagram_arrives(&mut self, id: FileId, mut datagram: Datagram) {
        datagram.arrived_ns = self.now_ns;
        let room = self.faults.shape.datagram_count_max as usize;
        let Some(udp) = self.files.udp_mut(id) else { return };
        if udp.inbound.len() < room {
            udp.inbound.push_back(datagram);
            self.wake(id);
        }
    }

    pub(super) fn unreachable_arrives(&mut self, id: FileId) {
        if let Some(udp) = self.files.udp_mut(id) {
            udp.error = libc::ECONNREFUSED;
            self.wake(id);
        }
    }

    /// Fills wanted buffers; how many. A pending error comes first, as in the kernel.
    pub(super) fn udp_recv(&mut self, id: FileId, batch: &mut RecvBatch) -> Result<usize, i32> {
        let Some(udp) = self.files.udp_mut(id) else { return Err(libc::ENOTSOCK) };
        if udp.error != 0 && batch.wanted() > 0 {
            return Err(std::mem::take(&mut udp.error));
        }
        let buffers: Vec<(*mut u8, usize)> = batch.iter().collect();
        let mut count = 0;
        for (ptr, len) in buffers {
            let Some((received, bytes)) = udp.take_train(len) else { break };
            let bytes = &bytes[..bytes.len().min(len)];
            mem::write(ptr, bytes);
            batch.fill(count, bytes.len() as u32, received);
            count += 1;
        }
        Ok(count)
    }
}

impl Udp {
    /// The next datagram, with GRO also those that continue its train.
    fn take_train(&mut self, buffer_len: usize) -> Option<(Received, Vec<u8>)> {
        let first = self.inbound.pop_front()?;
        let mut bytes = first.bytes;
        let segment_len = bytes.len();
        let mut count = 1;
        while self.config.gro && segment_len > 0 && count < TRAIN_COUNT_MAX {
            let Some(next) = self.inbound.front() else { break };
            let fits = next.from == first.from
                && next.ecn == first.ecn
                && next.to == first.to
                && !next.bytes.is_empty()
                && next.bytes.len() <= segment_len
                && bytes.len() + next.bytes.len() <= buffer_len.min(PAYLOAD_LEN_MAX);
            if !fits {
                break;
            }
            let last = next.bytes.len() < segment_len;
            bytes.extend(&next.bytes);
            self.inbound.pop_front();
            count += 1;
            if last {
                break;
            }
        }
        let family = if self.local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
        let received = Received {
            from: SockAddr::from(first.from).for_family(family),
            local: self.config.local_addr.then_some(first.to.ip()),
            ecn: if self.config.ecn { first.ecn } else { 0 },
            timestamp_ns: if self.config.timestamps { EPOCH_NS + first.arrived_ns } else { 0 },
            segment: if count > 1 { segment_len as u16 } else { 0 },
            truncated: bytes.len() > buffer_len,
        };
        Some((received, bytes))
    }
}
