//! UDP sockets: readiness from the ring, datagrams in batches by recvmmsg(2) and sendmmsg(2).
//!
//! Measured, receiving by ring operations loses to the batched system calls, and an always armed
//! poll costs 3 % (docs/adr/0003): so the ring only says when, and its poll is armed only after a
//! receive that found nothing.
//!
//! *Invariants*
//! - What a buffer's datagram note says is of the datagram that is in the buffer, for as long as
//!   somebody holds it: a queued send may go to the address in the note.
//! - Buffers stay staged between receives only while datagrams keep coming, and only where the pool
//!   has plenty: an endpoint that is quiet holds none.

use std::net::SocketAddr;

use super::Engine;
use super::lists::{FOR_PRESSURE, starved_bit};
use crate::config::{Config, GRO_BUFFER_SIZE, UdpEndpointConfig};
use crate::error::{IoError, PoolKind, Result};
use crate::event::record::{Kind, Record};
use crate::ids::{EndpointId, Protocol};
use crate::pool::{BufId, Class, Pool, PressureState, RawSend, SendBuffer, Use};
use crate::ring::{Completion, Fd, Op, Sock, Tag};
use crate::sys::addr::SockAddr;
use crate::sys::batch::{BATCH_MAX, Received, RecvBatch, Transmit};
use crate::sys::{POLLOUT, errno};
use crate::transport::udp::{Destination, TxDatagram, UdpSocket};
use crate::transport::{Endpoint, Kind as EndpointKind};

/// A class with so many buffers can leave a batch of them staged between receives.
const STAY_COUNT_MIN: u32 = 16 * BATCH_MAX as u32;

/// The buffers that wait for datagrams, and what arrived with the datagram in each buffer that can
/// hold one.
pub(super) struct Notes {
    batch: RecvBatch,
    /// What the staged buffers are of: their class, and the bytes asked for.
    staged: (Class, usize),
    slots: u32,
    gro_first: u32,
    gro: u32,
}

impl Notes {
    pub(super) fn new(pool: &Pool) -> Self {
        let (slots, gro) = (pool.count(Class::Slots), pool.count(Class::Gro));
        let gro_first = pool.shared().class(Class::Gro as usize).first;
        let batch = RecvBatch::new((slots + gro) as usize);
        Self { batch, staged: (Class::Slots, 0), slots, gro_first, gro }
    }

    #[inline]
    const fn key(&self, buf: BufId) -> u32 {
        if buf.0 < self.slots { buf.0 } else { buf.0 - self.gro_first + self.slots }
    }

    #[inline]
    const fn buf(&self, key: u32) -> BufId {
        BufId(if key < self.slots { key } else { key - self.slots + self.gro_first })
    }

    /// The note of a buffer that datagrams are received into.
    #[inline]
    pub(super) fn of(&self, buf: BufId) -> &Received {
        self.batch.note(self.key(buf))
    }

    /// Who sent what is in the buffer, if it is one for datagrams.
    #[inline]
    fn sender(&self, buf: BufId) -> Option<&SockAddr> {
        let has_note = buf.0 < self.slots || buf.0.wrapping_sub(self.gro_first) < self.gro;
        has_note.then(|| &self.of(buf).from)
    }

    /// Stages buffers for `wanted` datagrams, as far as the pool has them; how many there are.
    fn stage(&mut self, pool: &mut Pool, class: Class, max: usize, wanted: usize) -> usize {
        if self.staged != (class, max) {
            self.unstage(pool);
            self.staged = (class, max);
        }
        while self.batch.len() < wanted {
            let Some(buf) = pool.take(class, Use::Rx) else { break };
            let key = self.key(buf);
            if !self.batch.push(pool.ptr(buf), max, key) {
                pool.release(buf);
                break;
            }
        }
        self.batch.len().min(wanted)
    }

    /// Stages a buffer whose datagram is done with, with the hold that it has; false, and nothing
    /// is changed, when it cannot be.
    #[inline]
    fn restage(&mut self, pool: &Pool, buf: BufId) -> bool {
        let (class, max) = self.staged;
        pool.may_refill(buf, class) && self.batch.push(pool.ptr(buf), max, self.key(buf))
    }

    /// Gives the staged buffers back.
    pub(super) fn unstage(&mut self, pool: &mut Pool) {
        while let Some(key) = self.batch.pop() {
            pool.release(self.buf(key));
        }
    }
}

/// The buffers that a socket receives into, and how much it asks for.
pub(super) fn udp_class(shard: &Config, config: &UdpEndpointConfig) -> Result<(Class, usize)> {
    let slot = shard.pool_slot_size;
    let max = config.datagram_max.unwrap_or(slot);
    if !config.gro && max <= slot {
        return Ok((Class::Slots, max));
    }
    if shard.gro_buffer_count == 0 {
        return Err(IoError::exhausted(PoolKind::GroBuffers));
    }
    Ok((Class::Gro, if config.gro { GRO_BUFFER_SIZE } else { max }))
}

impl Engine {
    pub(crate) fn udp_bind(&mut self, config: &UdpEndpointConfig) -> Result<EndpointId> {
        self.endpoints.check_room()?;
        udp_class(&self.config, config)?;
        let fd = self.ring.udp_bind(config)?;
        self.add_udp(fd, config)
    }

    /// Takes a bound socket in.
    pub(super) fn add_udp(&mut self, fd: Fd, config: &UdpEndpointConfig) -> Result<EndpointId> {
        let (class, asked) = udp_class(&self.config, config)?;
        let socket = UdpSocket::new(class, asked, config);
        let index =
            self.endpoints.insert(fd, Protocol::Udp, EndpointKind::Udp(Box::new(socket)))?;
        if let Some(endpoint) = self.endpoints.at(index) {
            endpoint.ready = true;
        }
        self.lists.endpoint_work = true;
        let id = self.endpoints.id(index).ok_or(IoError::exhausted(PoolKind::Endpoints))?;
        crate::trace::endpoint_opened(id, Protocol::Udp);
        Ok(id)
    }

    // ---- receiving

    pub(super) fn on_udp_readable(&mut self, completion: Completion) {
        self.on_endpoint_ready(completion);
    }

    /// Receives one batch. A socket stays ready until a receive finds nothing; only then is its
    /// poll armed.
    pub(super) fn receive_from(&mut self, index: u32) {
        let room = self.inbox.room();
        let Some(endpoint) = self.endpoints.at(index) else { return };
        let fd = endpoint.fd;
        let id = EndpointId::new(index, endpoint.generation);
        let EndpointKind::Udp(udp) = &endpoint.kind else { return };
        let (class, max, ask) = (udp.class, udp.datagram_max, udp.ask.min(room));
        let has_control = udp.has_control;
        if room == 0 {
            self.lists.endpoint_work = true;
            return;
        }
        if self.pressure() >= PressureState::Drain {
            self.notes.unstage(&mut self.pool);
            self.lists.endpoint_starved |= FOR_PRESSURE;
            return;
        }
        let asked = self.notes.stage(&mut self.pool, class, max, ask);
        if asked == 0 {
            self.lists.endpoint_starved |= starved_bit(class);
            return;
        }
        self.notes.batch.want(asked, has_control);
        let result = self.ring.udp_recv(fd, &mut self.notes.batch);
        let got = *result.as_ref().unwrap_or(&0);
        self.push_datagrams(id, got);
        if got * 2 < asked || !self.may_stay(class) {
            self.notes.unstage(&mut self.pool);
        }
        if result.is_err() {
            // An ICMP error of a connected socket: reading goes on.
            self.stats.udp_errors += 1;
        }
        let Some(endpoint) = self.endpoints.at(index) else { return };
        let EndpointKind::Udp(udp) = &mut endpoint.kind else { return };
        udp.learn(asked, got);
        if got == 0 && result.is_ok() {
            endpoint.ready = false;
            self.arm_endpoint(index);
        } else {
            self.lists.endpoint_work = true;
        }
    }

    /// Whether the pool can spare a batch of buffers that stay staged between receives.
    fn may_stay(&self, class: Class) -> bool {
        self.pool.count(class) >= STAY_COUNT_MIN && self.pressure() == PressureState::Healthy
    }

    /// Queues what arrived in the first `count` buffers of the batch.
    fn push_datagrams(&mut self, id: EndpointId, count: usize) {
        for (arrival, note) in self.notes.batch.arrivals(count) {
            self.inbox.push(Record {
                kind: Kind::UdpRecv,
                buf: self.notes.buf(arrival.key),
                offset: 0,
                len: arrival.len,
                id: id.as_u64(),
                extra: u64::from(note.segment),
            });
        }
        self.notes.batch.consume(count);
        self.stats.datagrams_received += count as u64;
    }

    // ---- sending

    pub(crate) fn udp_send_bytes(
        &mut self,
        endpoint: EndpointId,
        to: Option<SocketAddr>,
        data: &[u8],
    ) -> Result<()> {
        let udp = self.endpoints.udp(endpoint)?;
        let to = udp.destination(to)?;
        udp.check(data.len(), 0)?;
        let class = self.pool.class_for(data.len())?;
        let buf =
            self.pool.take(class, Use::TxBulk).ok_or_else(|| IoError::exhausted(class.kind()))?;
        self.pool.write(buf, 0, data);
        self.stats.bytes_copied_tx += data.len() as u64;
        let len = data.len() as u32;
        let datagram = TxDatagram { buf, offset: 0, len, segment: 0, is_cut: false, tos: None, to };
        if udp.push(datagram) {
            self.lists.udp_dirty.push_back(endpoint.index());
        }
        Ok(())
    }

    pub(crate) fn udp_send(
        &mut self,
        endpoint: EndpointId,
        to: Option<SocketAddr>,
        buffer: SendBuffer,
        segment: u16,
        ecn: Option<u8>,
    ) -> Result<()> {
        let udp = self.endpoints.udp(endpoint)?;
        let to = udp.destination(to)?;
        udp.check(buffer.len(), segment)?;
        let tos = ecn.map(|ecn| udp.tos & !3 | (ecn & 3));
        let RawSend { buf, start, len } = self.pool.adopt(buffer)?;
        let segment = if u32::from(segment) >= len { 0 } else { segment };
        if udp.push(TxDatagram { buf, offset: start, len, segment, is_cut: false, tos, to }) {
            self.lists.udp_dirty.push_back(endpoint.index());
        }
        Ok(())
    }

    /// Sends the payload of the current event on, without a copy.
    #[inline]
    pub(crate) fn udp_forward(
        &mut self,
        endpoint: EndpointId,
        to: Option<&SocketAddr>,
        data: &[u8],
    ) -> Result<()> {
        let Some((buf, offset)) = self.place_in_current(data) else {
            return self.udp_send_bytes(endpoint, to.copied(), data);
        };
        let udp = self.endpoints.udp(endpoint)?;
        let to = match to {
            Some(to) if udp.goes_back(to, self.notes.sender(buf)) => Destination::Sender,
            _ => return self.udp_forward_elsewhere(endpoint, to, buf, offset, data.len()),
        };
        udp.check(data.len(), 0)?;
        self.pool.hold(buf);
        let len = data.len() as u32;
        if udp.push(TxDatagram { buf, offset, len, segment: 0, is_cut: false, tos: None, to }) {
            self.lists.udp_dirty.push_back(endpoint.index());
        }
        Ok(())
    }

    /// The same to anyone but the sender.
    #[inline(never)]
    fn udp_forward_elsewhere(
        &mut self,
        endpoint: EndpointId,
        to: Option<&SocketAddr>,
        buf: BufId,
        offset: u32,
        len: usize,
    ) -> Result<()> {
        let udp = self.endpoints.udp(endpoint)?;
        let to = udp.destination(to.copied())?;
        udp.check(len, 0)?;
        self.pool.hold(buf);
        let len = len as u32;
        if udp.push(TxDatagram { buf, offset, len, segment: 0, is_cut: false, tos: None, to }) {
            self.lists.udp_dirty.push_back(endpoint.index());
        }
        Ok(())
    }

    pub(super) fn flush_udp(&mut self) {
        // Once each: who has more after its share is listed again, behind the others.
        for _ in 0..self.lists.udp_dirty.len() {
            let Some(index) = self.lists.udp_dirty.pop_front() else { break };
            self.flush_socket(index);
        }
        // The next tick goes on, and this one does not sleep.
        self.lists.endpoint_work |= !self.lists.udp_dirty.is_empty();
    }

    /// Whether some socket of plain datagrams has something that was not sent.
    pub(super) fn has_unsent_datagrams(&mut self) -> bool {
        self.endpoints.place_of(has_unsent).is_some()
    }

    /// Lists those sockets again, whether the kernel has said that they can send or not.
    pub(super) fn list_unsent_datagrams(&mut self) {
        for index in self.endpoints.indices() {
            if self.endpoints.at(index).is_some_and(|endpoint| has_unsent(endpoint)) {
                self.lists.udp_dirty.push_back(index);
            }
        }
    }

    fn flush_socket(&mut self, index: u32) {
        loop {
            let Some(endpoint) = self.endpoints.at(index) else { return };
            let (fd, closing) = (endpoint.fd, endpoint.closing);
            let EndpointKind::Udp(udp) = &mut endpoint.kind else {
                return self.quic_flush_listed(index);
            };
            udp.dirty = false;
            self.send_batch.clear();
            for datagram in &udp.queue {
                let (len, segment) = udp.piece(datagram);
                let ptr = self.pool.ptr(datagram.buf).wrapping_add(datagram.offset as usize);
                let to = match &datagram.to {
                    Destination::Peer => None,
                    Destination::Sender => Some(&self.notes.of(datagram.buf).from),
                    Destination::To(to) => Some(to),
                };
                let how = Transmit { segment, tos: datagram.tos, from: None };
                if !self.send_batch.push(to, ptr, len as usize, how) || len < datagram.len {
                    break;
                }
            }
            let staged = self.send_batch.len();
            if staged == 0 {
                if closing {
                    self.finish_endpoint(index);
                }
                return;
            }
            match self.ring.udp_send(fd, &mut self.send_batch) {
                Ok(sent) => {
                    self.stats.datagrams_sent += sent as u64;
                    self.consume_datagrams(index, sent);
                    if sent < staged {
                        return self.await_writable(index);
                    }
                }
                Err(error) => self.on_udp_send_error(index, error),
            }
        }
    }

    /// The first staged datagram was refused: a train goes out singly, a single one is dropped.
    fn on_udp_send_error(&mut self, index: u32, error: IoError) {
        self.stats.udp_errors += 1;
        let Some(endpoint) = self.endpoints.at(index) else { return };
        let EndpointKind::Udp(udp) = &mut endpoint.kind else { return };
        if matches!(error, IoError::Os { errno, .. } if errno.0 == errno::ECONNREFUSED) {
            // An ICMP answer to an earlier datagram, told once: this one was not tried.
            return;
        }
        if let IoError::Os { errno, .. } = error {
            let is_of_all = matches!(errno.0, errno::EIO | errno::EOPNOTSUPP);
            // It is longer than what the path takes, say: that is of this one.
            let is_of_one = matches!(errno.0, errno::EINVAL | errno::EMSGSIZE);
            if (is_of_all || is_of_one) && udp.cut_front() {
                udp.no_gso |= is_of_all;
                return;
            }
        }
        self.stats.datagrams_dropped += 1;
        self.consume_datagrams(index, 1);
    }

    fn consume_datagrams(&mut self, index: u32, count: usize) {
        let Some(endpoint) = self.endpoints.at(index) else { return };
        let EndpointKind::Udp(udp) = &mut endpoint.kind else { return };
        // What is cut ends a batch.
        if count == udp.queue.len() && udp.is_last_whole() {
            return self.consume_queue(index);
        }
        for _ in 0..count {
            let Some(front) = udp.queue.front() else { return };
            let (len, _) = udp.piece(front);
            if len == front.len {
                let buf = front.buf;
                udp.queue.pop_front();
                self.pool.release(buf);
            } else if let Some(front) = udp.queue.front_mut() {
                front.offset += len;
                front.len -= len;
            }
        }
    }

    /// All that waited was sent. Buffers of received datagrams are received into again at once if
    /// the socket is about to be looked at.
    fn consume_queue(&mut self, index: u32) {
        let may_stay = self.may_stay(self.notes.staged.0);
        let Some(endpoint) = self.endpoints.at(index) else { return };
        let EndpointKind::Udp(udp) = &mut endpoint.kind else { return };
        let kind = (udp.class, udp.datagram_max);
        let stages = may_stay && endpoint.ready && self.notes.staged == kind;
        for datagram in &udp.queue {
            if !(stages && self.notes.restage(&self.pool, datagram.buf)) {
                self.pool.release(datagram.buf);
            }
        }
        // Also begins at the front again: the next ones find the same memory warm.
        udp.queue.clear();
    }

    pub(super) fn await_writable(&mut self, index: u32) {
        let Some(endpoint) = self.endpoints.at(index) else { return };
        let token = endpoint.token(Tag::UdpWritable, index);
        let sock = Sock::plain(endpoint.fd);
        let Some(out_armed) = endpoint.kind.out_armed() else { return };
        if !std::mem::replace(out_armed, true) {
            self.ring.push(Op::Poll { sock, mask: POLLOUT, multi: false }, token);
        }
    }

    pub(super) fn on_udp_writable(&mut self, completion: Completion) {
        let Some(endpoint) = self.endpoints.of_token(completion.token) else { return };
        let index = completion.token.index();
        if let Some(out_armed) = endpoint.kind.out_armed() {
            *out_armed = false;
        }
        if endpoint.closing && !has_unsent(endpoint) {
            return self.finish_endpoint(index);
        }
        let EndpointKind::Udp(udp) = &mut endpoint.kind else {
            return self.quic_list(index);
        };
        if !udp.dirty && !udp.queue.is_empty() {
            udp.dirty = true;
            self.lists.udp_dirty.push_back(index);
        }
    }

    /// Gives up what waits to be sent on a socket.
    pub(super) fn drop_datagrams(&mut self, index: u32) {
        let Some(endpoint) = self.endpoints.at(index) else { return };
        let EndpointKind::Udp(udp) = &mut endpoint.kind else { return };
        self.stats.datagrams_dropped += udp.queue.len() as u64;
        while let Some(datagram) = udp.queue.pop_front() {
            self.pool.release(datagram.buf);
        }
    }
}

fn has_unsent(endpoint: &Endpoint) -> bool {
    matches!(&endpoint.kind, EndpointKind::Udp(udp) if !udp.queue.is_empty())
}
