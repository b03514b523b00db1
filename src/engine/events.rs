//! Handing events out: records become borrowed views, one at a time.
//!
//! *Invariants*: the payload of the event that was handed out is held by `inbox.current`, and only
//! [`Engine::next_event`] and [`Engine::detach_current`] let go of it. Nothing that the sending
//! half of a split can call releases or writes it.

use std::time::Duration;

use super::Engine;
use super::end::Notice;
use crate::conn::Flags;
use crate::conn::guard::Done;
use crate::error::{IoError, PoolKind, Result};
use crate::event::inbox::Payload;
use crate::event::record::{Kind, Record};
use crate::event::{Event, Readiness, reason_bytes};
use crate::ids::{ConnId, EndpointId, PeerAddr, StreamId, WatchId};
use crate::pool::{BufId, OwnedSlot, PressureState, Use};
use crate::sys::addr::SockAddr;

impl Engine {
    /// The next event. The previous one's payload is released.
    ///
    /// The lifetime of the answer is chosen by the caller, who must bind it to an exclusive borrow
    /// of the source of events.
    #[inline]
    pub(crate) fn next_event<'a>(&mut self) -> Option<Event<'a>> {
        self.release_current();
        if let Some(&Record { kind: Kind::StreamFrame(kind), buf, offset, len, id, .. }) =
            self.inbox.first()
            && self.lists.muted == 0
        {
            self.inbox.drop_first();
            self.stats.events += 1;
            let data = self.hand_out(buf, offset, len);
            let conn = ConnId::from_u64(id);
            return Some(Event::StreamFrame {
                conn,
                stream: StreamId::ZERO,
                kind,
                data,
                fin: false,
            });
        }
        if let Some(&Record { kind: Kind::Http(kind), buf, offset, len, id, extra }) =
            self.inbox.first()
            && self.lists.muted == 0
        {
            self.inbox.drop_first();
            self.stats.events += 1;
            let data = self.hand_out(buf, offset, len);
            self.http.note(kind, id, extra);
            return Some(crate::event::http::event(kind, ConnId::from_u64(id), extra, data));
        }
        if let Some(&record @ Record { kind: Kind::UdpRecv, .. }) = self.inbox.first() {
            self.inbox.drop_first();
            if let Some(event) = self.next_datagram(record) {
                self.stats.events += 1;
                return Some(event);
            }
        }
        if self.inbox.is_empty()
            && let Some(event) = self.quic_next_of_turn()
        {
            self.stats.events += 1;
            return Some(event);
        }
        self.next_other()
    }

    /// The datagram of a record, or the first one of a train. Apart, since a loop of streams has no
    /// use for it.
    #[inline(never)]
    fn next_datagram<'a>(&mut self, record: Record) -> Option<Event<'a>> {
        let Record { buf, offset, len, id, .. } = self.split_train(record);
        let data = self.hand_out(buf, offset, len);
        let event = self.datagram(id, buf, data);
        if event.is_none() {
            self.release_current();
        }
        event
    }

    /// As `next_event`, for all but the most frequent event.
    fn next_other<'a>(&mut self) -> Option<Event<'a>> {
        while let Some(record) = self.inbox.pop() {
            if let Some(event) = self.resolve(record) {
                self.stats.events += 1;
                return Some(event);
            }
            self.release_current();
        }
        let event = self.next_unqueued();
        self.stats.events += u64::from(event.is_some());
        event
    }

    #[inline]
    fn release_current(&mut self) {
        if let Some(payload) = self.take_current() {
            self.let_go(payload.buf);
        }
    }

    /// The current event's payload, with its hold: the event is not known any more.
    #[inline]
    fn take_current(&mut self) -> Option<Payload> {
        let payload = self.inbox.current.take()?;
        self.http.forget();
        self.clients.forget();
        Some(payload)
    }

    /// Lends the payload out; its buffer stays held until the next event is asked for.
    #[inline]
    fn hand_out<'a>(&mut self, buf: BufId, offset: u32, len: u32) -> &'a [u8] {
        if buf == BufId::NONE {
            return &[];
        }
        self.inbox.current = Some(Payload { buf, offset, len });
        // SAFETY: `inbox.current` holds the frozen buffer until the next event is asked for, which
        // the caller's borrow excludes while the slice lives.
        unsafe { self.pool.slice(buf, offset, len) }
    }

    /// A train of datagrams gives its first one; what is left stays in front.
    fn split_train(&mut self, record: Record) -> Record {
        let segment = record.extra as u32;
        if segment == 0 || segment >= record.len {
            return record;
        }
        self.pool.hold(record.buf);
        let (offset, len) = (record.offset + segment, record.len - segment);
        self.inbox.unpop(Record { offset, len, ..record });
        Record { len: segment, ..record }
    }

    /// Events that are noted elsewhere, so that there is always room for them.
    fn next_unqueued<'a>(&mut self) -> Option<Event<'a>> {
        if let Some(Done { conn, token: Some(token), bytes, outcome }) = self.guards.pop_done() {
            return Some(Event::SendDone { conn, token, bytes: bytes as usize, outcome });
        }
        if let Some(event) = self.next_client_notice() {
            return Some(event);
        }
        if let Some((timer, token)) = self.pop_timer() {
            return Some(Event::Timer { timer, token });
        }
        if let Some(info) = self.cascade.tell() {
            return Some(Event::PoolPressure { info });
        }
        Some(match self.pop_notice()? {
            Notice::Connected { conn } => self.connected(conn, u64::MAX)?,
            Notice::Writable { conn, credit } => {
                Event::Writable { conn, stream: StreamId::ZERO, credit }
            }
            Notice::Disconnected { conn, error_code, clean, user_data } => {
                let reason = reason_bytes(error_code);
                Event::Disconnected { conn, error_code, reason, clean, user_data }
            }
            Notice::Quic { conn, signal } => self.quic_event(conn, signal),
        })
    }

    fn resolve<'a>(&mut self, record: Record) -> Option<Event<'a>> {
        let Record { kind, buf, offset, len, id, extra } = record;
        // Also what is not handed out must be released.
        let data = match kind {
            Kind::FdReady => &[],
            _ => self.hand_out(buf, offset, len),
        };
        let conn = ConnId::from_u64(id);
        if self.lists.muted > 0 && self.is_muted(record) {
            return None;
        }
        Some(match kind {
            Kind::StreamFrame(kind) => {
                Event::StreamFrame { conn, stream: StreamId::ZERO, kind, data, fin: false }
            }
            Kind::Http(kind) => {
                self.http.note(kind, id, extra);
                crate::event::http::event(kind, conn, extra, data)
            }
            Kind::HttpClient(kind) => self.client_event(kind, conn, extra, data)?,
            Kind::Secured => Event::Secured { conn, alpn: self.alpn(conn) },
            Kind::ReadClosed => Event::ReadClosed { conn, stream: StreamId::ZERO },
            Kind::Connected => self.connected(conn, extra)?,
            Kind::UdpRecv => self.next_datagram(record)?,
            Kind::FdReady => {
                let watch = WatchId::from_u64(id);
                if !self.watches.is_live(watch) {
                    return None;
                }
                let readiness = Readiness::from_bits_truncate(len);
                Event::FdReady { watch, token: extra, readiness }
            }
            Kind::User => Event::User { token: extra, data },
            Kind::HandOverFailed => Event::HandOverFailed { conn },
            Kind::ConnectFailed => {
                Event::ConnectFailed { token: extra, error: self.connect_error()? }
            }
            Kind::Draining => Event::Draining { deadline: Duration::from_nanos(extra) },
        })
    }

    /// The application closed the connection: what had arrived before is not handed out any more.
    fn is_muted(&mut self, record: Record) -> bool {
        matches!(
            record.kind,
            Kind::StreamFrame(_)
                | Kind::Http(_)
                | Kind::ReadClosed
                | Kind::Connected
                | Kind::Secured
                | Kind::HandOverFailed
        ) && self.conns.find(ConnId::from_u64(record.id)).is_none_or(|c| c.has(Flags::MUTED))
    }

    fn connected<'a>(&mut self, conn: ConnId, endpoint: u64) -> Option<Event<'a>> {
        let found = self.conns.find(conn)?;
        let (peer, protocol) = (peer_addr(&found.peer), found.protocol);
        let endpoint = (endpoint != u64::MAX).then(|| EndpointId::from_u64(endpoint));
        let alpn = self.alpn(conn);
        Some(Event::Connected { conn, endpoint, peer, protocol, alpn })
    }

    fn datagram<'a>(&mut self, id: u64, buf: BufId, data: &'a [u8]) -> Option<Event<'a>> {
        let endpoint = EndpointId::from_u64(id);
        // Of a closed endpoint nothing more is told.
        let timestamps = self.endpoints.udp(endpoint).ok()?.timestamps;
        let note = self.notes.of(buf);
        Some(Event::UdpRecv {
            endpoint,
            from: note.from.ip()?,
            local: note.local,
            ecn: note.ecn,
            timestamp_ns: (timestamps && note.timestamp_ns > 0).then_some(note.timestamp_ns),
            truncated: note.truncated,
            data,
        })
    }

    // ---- keeping a payload

    /// The current event's payload, to be kept. Without a copy while the caps allow, else copied
    /// into a slot.
    pub(crate) fn detach_current(&mut self) -> Result<OwnedSlot> {
        let Some(Payload { buf, offset, len }) = self.inbox.current else {
            return self.quic_detach();
        };
        if self.pressure() < PressureState::Critical
            && let Ok(owned) = self.pool.detach(buf, offset, len)
        {
            // Its hold is the detached one's now.
            self.take_current();
            return Ok(owned);
        }
        let exhausted = IoError::exhausted(PoolKind::Detached);
        let class = self.pool.class_for(len as usize)?;
        let copy = self.pool.take(class, Use::Scratch).ok_or(exhausted)?;
        // SAFETY: the payload is held by `inbox.current`, and the copy is another buffer.
        let data = unsafe { self.pool.slice(buf, offset, len) };
        self.pool.write(copy, 0, data);
        self.stats.bytes_copied_rx += u64::from(len);
        match self.pool.detach(copy, 0, len) {
            Ok(owned) => {
                self.release_current();
                Ok(owned)
            }
            Err(error) => {
                self.pool.release(copy);
                Err(error)
            }
        }
    }

    /// Where `data` lies, if it is (a part of) the current event's payload.
    pub(super) fn place_in_current(&self, data: &[u8]) -> Option<(BufId, u32)> {
        let record = self.inbox.current?;
        let base = self.pool.ptr(record.buf) as usize;
        let start = (data.as_ptr() as usize).checked_sub(base + record.offset as usize)?;
        let fits = start + data.len() <= record.len as usize;
        fits.then_some((record.buf, record.offset + start as u32))
    }
}

/// What `detach_current` says when there is nothing to detach.
pub(super) const NOTHING_TO_DETACH: IoError = IoError::InvalidArgument {
    what: "detach",
    why: "the current event has no payload, or it was detached already",
};

pub(crate) fn peer_addr(addr: &SockAddr) -> PeerAddr {
    addr.ip().map_or(PeerAddr::Unix, PeerAddr::Inet)
}
