//! Handing events out: records become borrowed views, one at a time.
//!
//! *Invariants*: the payload of the event that was handed out is held by `inbox.current`, and only
//! [`Engine::next_event`] and [`Engine::detach_current`] let go of it. Nothing that the sending
//! half of a split can call releases or writes it.

use super::Engine;
use super::end::Notice;
use crate::conn::Flags;
use crate::conn::guard::Done;
use crate::error::{IoError, PoolKind, Result};
use crate::event::record::{Kind, Record};
use crate::event::{Event, PeerAddr, Readiness, reason_bytes};
use crate::ids::{ConnId, EndpointId, StreamId, WatchId};
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
        while let Some(record) = self.pop_record() {
            self.inbox.current = Some(record);
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

    fn release_current(&mut self) {
        if let Some(record) = self.inbox.current.take()
            && record.buf != BufId::NONE
        {
            self.pool.release(record.buf);
        }
    }

    /// The next record; a train of datagrams gives one at a time.
    fn pop_record(&mut self) -> Option<Record> {
        let front = self.inbox.front_mut()?;
        let segment = front.extra as u32;
        if front.kind == Kind::UdpRecv && segment > 0 && segment < front.len {
            let first = Record { len: segment, ..*front };
            front.offset += segment;
            front.len -= segment;
            self.pool.hold(first.buf);
            return Some(first);
        }
        self.inbox.pop()
    }

    /// Events that are noted elsewhere, so that there is always room for them.
    fn next_unqueued<'a>(&mut self) -> Option<Event<'a>> {
        if let Some(Done { conn, token: Some(token), bytes, outcome }) = self.guards.pop_done() {
            return Some(Event::SendDone { conn, token, bytes: bytes as usize, outcome });
        }
        if let Some((timer, token)) = self.pop_timer() {
            return Some(Event::Timer { timer, token });
        }
        if std::mem::take(&mut self.pressure_due) {
            return Some(Event::PoolPressure { info: self.cascade.info() });
        }
        Some(match self.pop_notice()? {
            Notice::Connected { conn } => self.connected(conn, u64::MAX)?,
            Notice::Writable { conn, credit } => {
                Event::Writable { conn, stream: StreamId::ZERO, credit }
            }
            Notice::Disconnected { conn, error_code, clean } => {
                Event::Disconnected { conn, error_code, reason: reason_bytes(error_code), clean }
            }
        })
    }

    #[inline]
    fn resolve<'a>(&mut self, record: Record) -> Option<Event<'a>> {
        let conn = ConnId::from_u64(record.id);
        if self.lists.muted > 0 && self.is_muted(record) {
            return None;
        }
        Some(match record.kind {
            Kind::StreamFrame(kind) => {
                let data = self.payload(record);
                Event::StreamFrame { conn, stream: StreamId::ZERO, kind, data }
            }
            Kind::ReadClosed => Event::ReadClosed { conn, stream: StreamId::ZERO },
            Kind::Connected => self.connected(conn, record.extra)?,
            Kind::UdpRecv => self.datagram(record)?,
            Kind::FdReady => {
                let watch = WatchId::from_u64(record.id);
                if !self.watches.is_live(watch) {
                    return None;
                }
                let readiness = Readiness::from_bits_truncate(record.len);
                Event::FdReady { watch, token: record.extra, readiness }
            }
            Kind::User => Event::User { token: record.extra, data: self.payload(record) },
        })
    }

    /// The application closed the connection: what had arrived before is not handed out any more.
    fn is_muted(&mut self, record: Record) -> bool {
        matches!(record.kind, Kind::StreamFrame(_) | Kind::ReadClosed | Kind::Connected)
            && self.conns.find(ConnId::from_u64(record.id)).is_none_or(|c| c.has(Flags::MUTED))
    }

    #[inline]
    fn payload<'a>(&self, record: Record) -> &'a [u8] {
        if record.buf == BufId::NONE {
            return &[];
        }
        // SAFETY: `inbox.current` holds the frozen buffer until the next event is asked for, which
        // the caller's borrow excludes while the slice lives.
        unsafe { self.pool.slice(record.buf, record.offset, record.len) }
    }

    fn connected<'a>(&mut self, conn: ConnId, endpoint: u64) -> Option<Event<'a>> {
        let found = self.conns.find(conn)?;
        let (peer, protocol) = (peer_addr(&found.peer), found.protocol);
        let endpoint = (endpoint != u64::MAX).then(|| EndpointId::from_u64(endpoint));
        Some(Event::Connected { conn, endpoint, peer, protocol })
    }

    fn datagram<'a>(&mut self, record: Record) -> Option<Event<'a>> {
        let endpoint = EndpointId::from_u64(record.id);
        // Of a closed endpoint nothing more is told.
        let timestamps = self.endpoints.udp(endpoint).ok()?.timestamps;
        let data = self.payload(record);
        let note = self.notes.of(record.buf);
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
        let Some(record) = self.inbox.current.filter(|r| r.buf != BufId::NONE) else {
            return Err(IoError::InvalidArgument {
                what: "detach",
                why: "the current event has no payload, or it was detached already",
            });
        };
        if self.pressure() < PressureState::Critical
            && let Ok(owned) = self.pool.detach(record.buf, record.offset, record.len)
        {
            self.inbox.current = None;
            return Ok(owned);
        }
        let exhausted = IoError::exhausted(PoolKind::Detached);
        let class = self.pool.class_for(record.len as usize)?;
        let copy = self.pool.take(class, Use::Scratch).ok_or(exhausted)?;
        self.pool.write(copy, 0, self.payload(record));
        self.stats.bytes_copied_rx += u64::from(record.len);
        match self.pool.detach(copy, 0, record.len) {
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
        let record = self.inbox.current.filter(|r| r.buf != BufId::NONE)?;
        let base = self.pool.ptr(record.buf) as usize;
        let start = (data.as_ptr() as usize).checked_sub(base + record.offset as usize)?;
        let fits = start + data.len() <= record.len as usize;
        fits.then_some((record.buf, record.offset + start as u32))
    }
}

pub(crate) fn peer_addr(addr: &SockAddr) -> PeerAddr {
    addr.ip().map_or(PeerAddr::Unix, PeerAddr::Inet)
}
