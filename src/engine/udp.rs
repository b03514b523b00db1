//! UDP sockets: readiness from the ring, datagrams in batches by recvmmsg(2) and sendmmsg(2).
//!
//! Measured, receiving by ring operations loses to the batched system calls, and an always armed
//! poll costs 3 % (docs/adr/0003): so the ring only says when, and its poll is armed only after a
//! receive that found nothing. *Invariant*: what a buffer's datagram note says is of the datagram
//! that is in the buffer.

use std::net::SocketAddr;

use super::Engine;
use crate::config::{GRO_BUFFER_SIZE, UdpEndpointConfig};
use crate::error::{IoError, PoolKind, Result};
use crate::event::record::{Kind, Record};
use crate::ids::{EndpointId, Protocol};
use crate::pool::{BufId, Class, Pool, PressureState, RawSend, SendBuffer, Use};
use crate::ring::{Completion, Op, Sock, Tag};
use crate::sys::addr::SockAddr;
use crate::sys::batch::Received;
use crate::sys::{POLLOUT, errno};
use crate::transport::Kind as EndpointKind;
use crate::transport::udp::{TxDatagram, UdpSocket};

/// The longest UDP payload over IPv4: 65,535 less the IP and UDP headers.
const DATAGRAM_LEN_MAX: usize = 65_507;

/// What arrived with the datagram in each buffer that can hold one.
pub(super) struct Notes {
    notes: Box<[Received]>,
    gro_first: u32,
    slots: u32,
}

impl Notes {
    pub(super) fn new(pool: &Pool) -> Self {
        let (slots, gro) = (pool.count(Class::Slots), pool.count(Class::Gro));
        let gro_first = pool.shared().class(Class::Gro as usize).first;
        let notes = vec![Received::EMPTY; (slots + gro) as usize].into_boxed_slice();
        Self { notes, gro_first, slots }
    }

    #[inline]
    pub(super) fn of(&mut self, buf: BufId) -> &mut Received {
        let at = if buf.0 < self.slots { buf.0 } else { buf.0 - self.gro_first + self.slots };
        &mut self.notes[at as usize]
    }
}

impl Engine {
    pub(crate) fn udp_bind(&mut self, config: &UdpEndpointConfig) -> Result<EndpointId> {
        self.endpoints.check_room()?;
        let slot = self.config.pool_slot_size;
        let max = config.datagram_max.unwrap_or(slot);
        let class = if config.gro || max > slot { Class::Gro } else { Class::Slots };
        if class == Class::Gro && self.pool.count(Class::Gro) == 0 {
            return Err(IoError::exhausted(PoolKind::GroBuffers));
        }
        let asked = if config.gro { GRO_BUFFER_SIZE } else { max };
        let fd = self.ring.udp_bind(config)?;
        let mut socket = UdpSocket::new(class, asked, config.send_queue);
        socket.connected = config.connect.is_some();
        socket.family = SockAddr::from(config.bind).family();
        (socket.timestamps, socket.tos) = (config.timestamps, config.tos);
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
        if room == 0 {
            self.lists.endpoint_work = true;
            return;
        }
        let drain = self.pressure() >= PressureState::Drain;
        let asked = if drain { 0 } else { self.stage_receive(class, max, ask) };
        if asked == 0 {
            self.lists.endpoint_starved = true;
            return;
        }
        let result = self.ring.udp_recv(fd, &mut self.recv_batch);
        let got = *result.as_ref().unwrap_or(&0);
        for i in 0..got {
            self.push_datagram(id, i);
        }
        for i in got..asked {
            self.pool.release(BufId(self.recv_batch.received(i).key));
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

    fn stage_receive(&mut self, class: Class, max: usize, ask: usize) -> usize {
        self.recv_batch.clear();
        for _ in 0..ask {
            let Some(buf) = self.pool.take(class, Use::Rx) else { break };
            if !self.recv_batch.push(self.pool.ptr(buf), max, buf.0) {
                self.pool.release(buf);
                break;
            }
        }
        self.recv_batch.len()
    }

    /// Queues what arrived in buffer `i` of the batch.
    fn push_datagram(&mut self, id: EndpointId, i: usize) {
        let received = self.recv_batch.received(i);
        let buf = BufId(received.key);
        *self.notes.of(buf) = *received;
        let (len, segment) = (received.len, received.segment);
        self.stats.datagrams_received += 1;
        self.inbox.push(Record {
            kind: Kind::UdpRecv,
            buf,
            offset: 0,
            len,
            id: id.as_u64(),
            extra: u64::from(segment),
        });
    }

    // ---- sending

    pub(crate) fn udp_send_bytes(
        &mut self,
        endpoint: EndpointId,
        to: Option<SocketAddr>,
        data: &[u8],
    ) -> Result<()> {
        self.udp_check(endpoint, to, data.len(), 0)?;
        let class = self.pool.class_for(data.len())?;
        let buf =
            self.pool.take(class, Use::TxBulk).ok_or_else(|| IoError::exhausted(class.kind()))?;
        self.pool.write(buf, 0, data);
        self.stats.bytes_copied_tx += data.len() as u64;
        let raw = RawSend { buf, start: 0, len: data.len() as u32 };
        self.udp_enqueue(endpoint, to, raw, 0, None);
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
        self.udp_check(endpoint, to, buffer.len(), segment)?;
        let tos = ecn.map(|ecn| self.endpoints.udp(endpoint).map_or(0, |u| u.tos) & !3 | (ecn & 3));
        let raw = self.pool.adopt(buffer)?;
        self.udp_enqueue(endpoint, to, raw, segment, tos);
        Ok(())
    }

    /// Sends the payload of the current event on, without a copy.
    pub(crate) fn udp_forward(
        &mut self,
        endpoint: EndpointId,
        to: Option<SocketAddr>,
        data: &[u8],
    ) -> Result<()> {
        let Some((buf, start)) = self.place_in_current(data) else {
            return self.udp_send_bytes(endpoint, to, data);
        };
        self.udp_check(endpoint, to, data.len(), 0)?;
        self.pool.hold(buf);
        let raw = RawSend { buf, start, len: data.len() as u32 };
        self.udp_enqueue(endpoint, to, raw, 0, None);
        Ok(())
    }

    fn udp_check(
        &mut self,
        endpoint: EndpointId,
        to: Option<SocketAddr>,
        len: usize,
        segment: u16,
    ) -> Result<()> {
        let udp = self.endpoints.udp(endpoint)?;
        if to.is_none() && !udp.connected {
            return Err(IoError::InvalidArgument {
                what: "destination",
                why: "the endpoint is not connected (UdpEndpointConfig::connect), so name a peer",
            });
        }
        if to.is_some_and(|to| to.port() == 0) {
            return Err(IoError::InvalidArgument {
                what: "destination",
                why: "port 0 cannot be sent to; use the peer's port",
            });
        }
        let family = udp.family;
        if to.is_some_and(|to| SockAddr::from(to).for_family(family).family() != family) {
            return Err(IoError::InvalidArgument {
                what: "destination",
                why: "the socket is an IPv4 one; bind an IPv6 address to reach IPv6",
            });
        }
        if len > DATAGRAM_LEN_MAX {
            return Err(IoError::DatagramTooLarge { len, max: DATAGRAM_LEN_MAX });
        }
        if segment > 0 && len.div_ceil(usize::from(segment)) > GSO_SEGMENTS_MAX {
            return Err(IoError::InvalidArgument {
                what: "segment length",
                why: "a train has at most 64 datagrams; send several trains",
            });
        }
        if udp.queue.len() >= udp.queue_max {
            return Err(IoError::QueueFull { queue: "UDP send", capacity: udp.queue_max });
        }
        Ok(())
    }

    fn udp_enqueue(
        &mut self,
        endpoint: EndpointId,
        to: Option<SocketAddr>,
        raw: RawSend,
        segment: u16,
        tos: Option<u8>,
    ) {
        let segment = if u32::from(segment) >= raw.len { 0 } else { segment };
        let Ok(udp) = self.endpoints.udp(endpoint) else {
            self.pool.release(raw.buf);
            return;
        };
        let to = to.map(|to| SockAddr::from(to).for_family(udp.family));
        let datagram =
            TxDatagram { buf: raw.buf, offset: raw.start, len: raw.len, segment, tos, to };
        udp.queue.push_back(datagram);
        if !udp.dirty && !udp.out_armed {
            udp.dirty = true;
            self.lists.udp_dirty.push(endpoint.index());
        }
    }

    pub(super) fn flush_udp(&mut self) {
        while let Some(index) = self.lists.udp_dirty.pop() {
            self.flush_socket(index);
        }
    }

    fn flush_socket(&mut self, index: u32) {
        loop {
            let Some(endpoint) = self.endpoints.at(index) else { return };
            let fd = endpoint.fd;
            let EndpointKind::Udp(udp) = &mut endpoint.kind else { return };
            udp.dirty = false;
            self.send_batch.clear();
            for datagram in &udp.queue {
                let (len, segment) = udp.piece(datagram);
                let ptr = self.pool.ptr(datagram.buf).wrapping_add(datagram.offset as usize);
                let whole = len == datagram.len;
                if !self.send_batch.push(datagram.to, ptr, len as usize, segment, datagram.tos)
                    || !whole
                {
                    break;
                }
            }
            let staged = self.send_batch.len();
            if staged == 0 {
                return;
            }
            match self.ring.udp_send(fd, &mut self.send_batch) {
                Ok(sent) => {
                    self.consume_datagrams(index, sent);
                    if sent < staged {
                        return self.await_writable(index);
                    }
                }
                Err(error) => self.on_udp_send_error(index, error),
            }
        }
    }

    /// The first staged datagram was refused: a train goes out singly from now on, a single one is
    /// dropped.
    fn on_udp_send_error(&mut self, index: u32, error: IoError) {
        self.stats.udp_errors += 1;
        let Some(endpoint) = self.endpoints.at(index) else { return };
        let EndpointKind::Udp(udp) = &mut endpoint.kind else { return };
        if matches!(error, IoError::Os { errno, .. } if errno.0 == errno::ECONNREFUSED) {
            // An ICMP answer to an earlier datagram, told once: this one was not tried.
            return;
        }
        let train = udp.queue.front().is_some_and(|d| d.segment > 0) && !udp.no_gso;
        let refused = matches!(error, IoError::Os { errno, .. }
            if matches!(errno.0, errno::EIO | errno::EINVAL | errno::EMSGSIZE | errno::EOPNOTSUPP));
        if train && refused {
            udp.no_gso = true;
            return;
        }
        udp.dropped += 1;
        self.stats.datagrams_dropped += 1;
        self.consume_datagrams(index, 1);
    }

    fn consume_datagrams(&mut self, index: u32, count: usize) {
        let Some(endpoint) = self.endpoints.at(index) else { return };
        let EndpointKind::Udp(udp) = &mut endpoint.kind else { return };
        for _ in 0..count {
            let Some(front) = udp.queue.front() else { return };
            let (len, _) = udp.piece(front);
            self.stats.datagrams_sent += 1;
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

    fn await_writable(&mut self, index: u32) {
        let Some(endpoint) = self.endpoints.at(index) else { return };
        let token = endpoint.token(Tag::UdpWritable, index);
        let sock = Sock::plain(endpoint.fd);
        let EndpointKind::Udp(udp) = &mut endpoint.kind else { return };
        if !udp.out_armed {
            udp.out_armed = true;
            self.ring.push(Op::Poll { sock, mask: POLLOUT, multi: false }, token);
        }
    }

    pub(super) fn on_udp_writable(&mut self, completion: Completion) {
        let Some(endpoint) = self.endpoints.of_token(completion.token) else { return };
        let index = completion.token.index();
        let closing = endpoint.closing;
        let EndpointKind::Udp(udp) = &mut endpoint.kind else { return };
        udp.out_armed = false;
        if closing {
            self.finish_endpoint(index);
        } else if !udp.dirty && !udp.queue.is_empty() {
            udp.dirty = true;
            self.lists.udp_dirty.push(index);
        }
    }

    /// Frees what waits to be sent on a socket that is being closed.
    pub(super) fn drop_datagrams(&mut self, index: u32) {
        let Some(endpoint) = self.endpoints.at(index) else { return };
        let EndpointKind::Udp(udp) = &mut endpoint.kind else { return };
        while let Some(datagram) = udp.queue.pop_front() {
            self.pool.release(datagram.buf);
        }
    }
}

/// Datagrams in one train: what every kernel from 4.18 on takes.
const GSO_SEGMENTS_MAX: usize = 64;
