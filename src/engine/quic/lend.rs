//! Payload that is sent from where it lies, and received payload that is kept.
//!
//! ```text
//! QUIC  -> QUIC   the packet that it came in, counted once more
//! QUIC  -> TCP    the same, as a guard write of which nothing is told
//! others -> QUIC  the receive buffer, detached
//! buffers, guards -> QUIC   lent to the machine until the peer acknowledged them
//! ```
//!
//! *Invariant*: a guard's memory is the machine's alone. When it lets go of it, the guard is done:
//! in a call that gives something up (a stream's reset, the end of a connection) it was aborted,
//! otherwise acknowledged.

use super::ops::DATAGRAMS;
use super::{Hub, session};
use crate::conn::tx::{Segment, Source};
use crate::engine::Engine;
use crate::engine::events::NOTHING_TO_DETACH;
use crate::engine::ops::NOT_OF_THIS_EVENT;
use crate::error::{IoError, PoolKind, Result};
use crate::event::SendOutcome;
use crate::ids::{ConnId, StreamId};
use crate::pool::quic::held::Payload;
use crate::pool::quic::loans;
use crate::pool::{OwnedSlot, PressureState, RawSend, SendBuffer, Use, WriteGuard};
use crate::proto::quic::session::Session;

impl Engine {
    /// Whether a stream takes something to be sent from where it lies. `waiting_max`: bytes that
    /// may wait there already, which is no bound for what a handle was promised.
    fn quic_takes(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        waiting_max: usize,
        error: IoError,
    ) -> Result<&mut Session> {
        let session = session(self.conns.get(conn)?).ok_or(error)?;
        if session.is_full(stream, waiting_max)? {
            return Err(IoError::QueueFull { queue: "QUIC stream", capacity: waiting_max });
        }
        Ok(session)
    }

    /// Sends a buffer from where it lies. `error` is what a connection of another protocol says.
    pub(in crate::engine) fn quic_write_buffer(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        buffer: SendBuffer,
        waiting_max: usize,
        error: IoError,
    ) -> Result<()> {
        self.quic_takes(conn, stream, waiting_max, error)?;
        self.pool.check_own(&buffer)?;
        let session = session(self.conns.get(conn)?).ok_or(error)?;
        session.write_bytes(stream, self.pool.lend_buffer(buffer))?;
        self.quic_dirty_conn(conn);
        Ok(())
    }

    /// Sends memory of the application, which is kept alive until the peer acknowledged all of it.
    /// Without a token nothing is told.
    pub(in crate::engine) fn quic_write_guard(
        &mut self,
        (conn, stream): (ConnId, StreamId),
        memory: WriteGuard,
        token: Option<u64>,
        waiting_max: usize,
        error: IoError,
    ) -> Result<()> {
        self.quic_takes(conn, stream, waiting_max, error)?;
        let len = memory.bytes().len();
        let guard = self.guards.insert_lent(conn, token, len);
        let guard = guard.ok_or(IoError::exhausted(PoolKind::Guards))?;
        let Self { conns, quic: Hub { memory: Some(own), .. }, .. } = self else {
            return Err(error);
        };
        let bytes = own.loans.lend(memory, guard);
        let session = session(conns.get(conn)?).ok_or(error)?;
        session.write_bytes(stream, bytes)?;
        self.quic_dirty_conn(conn);
        // One that is empty is done.
        self.quic_done(SendOutcome::Sent);
        Ok(())
    }

    /// Tells of the guards that the machine let go of.
    pub(super) fn quic_done(&mut self, outcome: SendOutcome) {
        let Self { guards, quic: Hub { memory: Some(memory), .. }, .. } = self else { return };
        while let Some(guard) = memory.loans.pop() {
            if outcome == SendOutcome::Aborted {
                guards.abort_lent(guard);
            }
            guards.release(guard);
        }
    }

    /// Does something by which the machine gives up what it was to send.
    pub(super) fn quic_giving_up<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        self.quic_done(SendOutcome::Sent);
        let result = work(self);
        self.quic_done(SendOutcome::Aborted);
        result
    }

    /// Sends a buffer as a datagram, from where it lies.
    pub(crate) fn quic_send_datagram_buffer(
        &mut self,
        conn: ConnId,
        buffer: SendBuffer,
    ) -> Result<()> {
        let max = self.quic_datagram_max(conn)?;
        if buffer.len() > max {
            return Err(IoError::DatagramTooLarge { len: buffer.len(), max });
        }
        self.pool.check_own(&buffer)?;
        let data = self.pool.lend_buffer(buffer);
        self.quic_session(conn, DATAGRAMS)?.send_datagram(data)?;
        self.quic_dirty_conn(conn);
        Ok(())
    }

    /// A buffer for a connection: of a cell for one of QUIC, otherwise the pool's.
    pub(crate) fn send_buffer_for(&mut self, conn: ConnId, min: usize) -> Result<SendBuffer> {
        self.conns.get(conn)?;
        if self.is_quic(conn)
            && self.pool.takes_region()
            && let Some(memory) = &mut self.quic.memory
            && let Some(region) = memory.cells.lend(min)
            && let Some(buffer) = self.pool.region(region)
        {
            return Ok(buffer);
        }
        self.pool.send_buffer(min)
    }

    // ---- payload of events

    /// Sends the payload of the current event on a stream, from where it was received. `error` is
    /// what a connection of another protocol says.
    pub(in crate::engine) fn quic_forward_to(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        data: &[u8],
        error: IoError,
    ) -> Result<()> {
        self.quic_takes(conn, stream, self.config.send_high_water, error)?;
        let bytes = match self.quic.current(self.stats.events) {
            Some(shown) => {
                let part = shown.share_part(data).ok_or(NOT_OF_THIS_EVENT)?;
                // A packet is kept for however few bytes, and a peer may send many such.
                let may_keep = self.quic.memory.as_ref().is_some_and(|m| m.packets.may_keep());
                may_keep.then_some(part)
            }
            None => self.detach_part(data)?.map(loans::payload),
        };
        let Some(bytes) = bytes else {
            return self.quic_forward_copy(conn, stream, data, error);
        };
        let session = session(self.conns.get(conn)?).ok_or(error)?;
        session.write_bytes(stream, bytes)?;
        self.quic_dirty_conn(conn);
        Ok(())
    }

    /// A part of the current event's payload, which the pool holds, to be kept. `None` when the
    /// caps forbid that.
    fn detach_part(&mut self, data: &[u8]) -> Result<Option<OwnedSlot>> {
        let (buf, offset) = self.place_in_current(data).ok_or(NOT_OF_THIS_EVENT)?;
        if self.pressure() >= PressureState::Critical {
            return Ok(None);
        }
        self.pool.hold(buf);
        let owned = self.pool.detach(buf, offset, data.len() as u32);
        if owned.is_err() {
            self.pool.release(buf);
        }
        Ok(owned.ok())
    }

    /// The same by a copy, where the caps of detached buffers forbid anything else.
    fn quic_forward_copy(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        data: &[u8],
        error: IoError,
    ) -> Result<()> {
        let Self { conns, quic: Hub { memory: Some(memory), .. }, .. } = self else {
            return Err(error);
        };
        let session = session(conns.get(conn)?).ok_or(error)?;
        let mut rest = data;
        while !rest.is_empty() {
            let piece = memory.cells.write(rest);
            rest = &rest[piece.len()..];
            session.write_bytes(stream, piece)?;
        }
        self.stats.bytes_copied_tx += data.len() as u64;
        self.quic_dirty_conn(conn);
        Ok(())
    }

    /// Sends the payload of the current event, which is QUIC's, on another connection.
    pub(in crate::engine) fn quic_forward(&mut self, conn: ConnId, data: &[u8]) -> Result<()> {
        let shown = self.quic.current(self.stats.events).ok_or(NOT_OF_THIS_EVENT)?;
        let part = shown.share_part(data).ok_or(NOT_OF_THIS_EVENT)?;
        if data.is_empty() {
            return Ok(());
        }
        if self.segments.room() == 0 {
            return Err(IoError::exhausted(PoolKind::SendQueue));
        }
        let Some(guard) = self.guards.insert_payload(conn, Payload::new(part)) else {
            return self.quic_forward_out(conn, data);
        };
        self.start_write_clock(conn.index());
        let source = Source::Guard { guard };
        let segment = Segment { ptr: data.as_ptr(), source, len: data.len() as u32 };
        self.enqueue(conn.index(), segment);
        Ok(())
    }

    /// The same by a copy, while payload may have no guard.
    fn quic_forward_out(&mut self, conn: ConnId, data: &[u8]) -> Result<()> {
        let class = self.pool.class_for(data.len())?;
        let taken = self.pool.take_filled(class, Use::TxBulk, data);
        let (buf, _) = taken.ok_or_else(|| IoError::exhausted(class.kind()))?;
        self.stats.bytes_copied_tx += data.len() as u64;
        self.write_raw(conn, RawSend { buf, start: 0, len: data.len() as u32 })
    }

    /// The payload of the current event, to be kept: the packet that it came in while there are
    /// many of them, otherwise a copy in the pool, of which there is a bound.
    pub(in crate::engine) fn quic_detach(&mut self) -> Result<OwnedSlot> {
        let Hub { memory: Some(memory), .. } = &self.quic else { return Err(NOTHING_TO_DETACH) };
        let shown = self.quic.current(self.stats.events).ok_or(NOTHING_TO_DETACH)?;
        let may_keep = memory.packets.may_keep();
        let kept = may_keep.then(|| self.pool.keep(shown.share())).flatten();
        let owned = match kept {
            Some(owned) => owned,
            None => self.quic_detach_copy()?,
        };
        // As with any payload: it is detached once.
        self.quic.shown_at = 0;
        Ok(owned)
    }

    fn quic_detach_copy(&mut self) -> Result<OwnedSlot> {
        let data = self.quic.shown.payload();
        let len = data.len() as u32;
        let class = self.pool.class_for(data.len())?;
        let exhausted = IoError::exhausted(PoolKind::Detached);
        let (buf, _) = self.pool.take_filled(class, Use::Scratch, data).ok_or(exhausted)?;
        self.stats.bytes_copied_rx += u64::from(len);
        let owned = self.pool.detach(buf, 0, len);
        if owned.is_err() {
            self.pool.release(buf);
        }
        owned
    }
}
