//! What the application writes to streams, on its way into the machine.
//!
//! ```text
//! small writes ─▶ tail ─┐ when a packet is asked for, or something else is written
//! large writes ─────────┼─▶ machine ─▶ packets
//! buffers, guards ──────┘
//!                 └▶ waits: accepted, and the windows are closed
//! ```
//!
//! *Invariants*
//! - The bytes of a stream reach the machine in the order in which they were accepted: its tail is
//!   handed over before anything else, and nothing is while something waits.
//! - What was copied was accepted. A large write is asked about before it is copied; a tail that
//!   finds its window closed waits, and with it the stream takes no more.
//! - The machine is asked again only after it said that it takes something.

use bytes::Bytes;
use quinn_proto::{FinishError, VarInt, WriteError};

use super::{Phase, Session, Signal, wire_id};
use crate::error::Result;
use crate::ids::StreamId;
use crate::pool::quic::cells::Cells;
use crate::proto::quic::halves::SendHalf;

/// Bytes of small writes that are kept together at most: a few packets, so that many small writes
/// are few pieces to the machine, which looks through them for every packet.
const TAIL_LEN_MAX: usize = 4096;

/// Small writes to one stream that follow each other.
#[derive(Debug, Default)]
pub(super) struct Tail {
    stream: StreamId,
    bytes: Bytes,
}

impl Session {
    /// Copies as much of `data` as is taken; how much. When that is not all, `Writable` follows.
    pub(crate) fn write_copy(
        &mut self,
        id: StreamId,
        data: &[u8],
        cells: &mut Cells,
    ) -> Result<usize> {
        if self.sends_early() {
            return self.write_early(id, data, cells);
        }
        self.write_now(id, data, cells)
    }

    /// The same once everything may be sent.
    pub(super) fn write_now(
        &mut self,
        id: StreamId,
        data: &[u8],
        cells: &mut Cells,
    ) -> Result<usize> {
        let mut done = self.extend_tail(id, data, cells);
        if done == data.len() && done > 0 {
            return Ok(done);
        }
        self.require_writable(id)?;
        (self.wants_send, self.has_used_streams) = (true, true);
        while done < data.len() {
            self.flush_tail();
            if self.is_cut(id) {
                break;
            }
            let rest = data.get(done..).unwrap_or_default();
            if rest.len() <= TAIL_LEN_MAX {
                self.tail = Tail { stream: id, bytes: cells.write(rest) };
                done += self.tail.bytes.len();
            } else {
                done += cells.write_taken(rest, |mut bytes| self.push(id, &mut bytes))?;
            }
        }
        Ok(done)
    }

    /// Appends to the tail, if that is of this stream and nothing lies behind it; how many bytes.
    fn extend_tail(&mut self, id: StreamId, data: &[u8], cells: &mut Cells) -> usize {
        let fits = self.tail.bytes.len() + data.len() <= TAIL_LEN_MAX;
        if !fits || self.tail.stream != id || self.tail.bytes.is_empty() {
            return 0;
        }
        cells.extend(&mut self.tail.bytes, data)
    }

    /// Hands the tail to the machine.
    pub(super) fn flush_tail(&mut self) {
        if !self.tail.bytes.is_empty() {
            let Tail { stream, bytes } = std::mem::take(&mut self.tail);
            self.send_on(stream, bytes);
        }
    }

    /// Whether a write to the stream is cut: then `Writable` is owed.
    fn is_cut(&mut self, id: StreamId) -> bool {
        self.streams.half(id).is_some_and(|half| {
            half.is_waiting |= half.is_closed;
            half.is_closed
        })
    }

    /// Accepts all of `bytes`, whatever the windows say.
    ///
    /// Not before the handshake is done: what was sent early may be thrown away, which looks as if
    /// it had been acknowledged.
    pub(crate) fn write_bytes(&mut self, id: StreamId, bytes: Bytes) -> Result<()> {
        self.require_open()?;
        self.require_writable(id)?;
        (self.wants_send, self.has_used_streams) = (true, true);
        self.flush_tail();
        self.send_on(id, bytes);
        Ok(())
    }

    /// Whether so many bytes wait at the stream that no more are to be accepted; then `Writable` is
    /// owed.
    pub(crate) fn is_full(&mut self, id: StreamId, waiting_max: usize) -> Result<bool> {
        self.require_open()?;
        self.require_writable(id)?;
        self.flush_tail();
        let Some(half) = self.streams.half(id) else { return Ok(false) };
        let is_full = half.waiting >= waiting_max;
        half.is_waiting |= is_full;
        Ok(is_full)
    }

    /// The same for who is owed nothing, before the handshake is done too.
    pub(crate) fn must_wait(&self, id: StreamId, waiting_max: usize) -> bool {
        let half = self.streams.peek(id).filter(|half| !half.is_ended);
        match self.phase {
            Phase::Handshaking => true,
            Phase::Open => half.is_some_and(|half| half.waiting >= waiting_max),
            Phase::Lost | Phase::Closed => false,
        }
    }

    /// Hands accepted bytes to the machine, or has them wait.
    fn send_on(&mut self, id: StreamId, mut bytes: Bytes) {
        let is_closed = self.streams.half(id).is_some_and(|half| half.is_closed);
        if !is_closed && self.push(id, &mut bytes).is_err() {
            // The peer does not want them, which it says.
            return;
        }
        if let Some(half) = self.streams.half(id)
            && !bytes.is_empty()
        {
            half.push(bytes);
        }
    }

    /// Hands bytes to the machine; how many it took. The others are left.
    fn push(&mut self, id: StreamId, bytes: &mut Bytes) -> Result<usize> {
        let mut taken = 0;
        let mut is_closed = false;
        while !bytes.is_empty() && !is_closed {
            // Only a write that is refused makes the machine tell when there is room.
            match self.conn.send_stream(wire_id(id)).write_chunks(std::slice::from_mut(bytes)) {
                Ok(written) => taken += written.bytes,
                Err(WriteError::Blocked) => is_closed = true,
                Err(WriteError::Stopped(code)) => return Err(self.stopped(code)),
                Err(WriteError::ClosedStream) => return Err(self.write_closed()),
            }
        }
        #[cfg(test)]
        {
            self.pieces += usize::from(taken > 0);
        }
        if let Some(half) = self.streams.half(id) {
            half.is_closed |= is_closed;
            half.is_used |= taken > 0;
        }
        Ok(taken)
    }

    /// The machine takes bytes of the stream again: first what waits, then its end, then more.
    pub(super) fn on_room(&mut self, id: StreamId) {
        let Some(half) = self.streams.half(id) else { return };
        half.is_closed = false;
        while let Some(half) = self.streams.half(id)
            && let Some(mut first) = half.waits.pop_front()
        {
            self.wants_send = true;
            // An error is the end of the stream, and with it of what waits.
            let taken = self.push(id, &mut first).unwrap_or_default();
            let Some(half) = self.streams.half(id) else { return };
            half.waiting -= taken;
            if !first.is_empty() {
                half.waits.push_front(first);
                return;
            }
        }
        let Some(SendHalf { is_waiting, is_ended, .. }) = self.streams.half(id) else { return };
        if *is_ended {
            let _ = self.finish_now(id);
        } else if std::mem::take(is_waiting) {
            self.notes.push_back(Signal::Writable(id));
        }
    }

    /// Ends a stream behind what was written.
    pub(crate) fn finish(&mut self, id: StreamId) -> Result<()> {
        self.require_writable(id)?;
        self.wants_send = true;
        self.flush_tail();
        let Some(half) = self.streams.half(id) else { return Err(self.write_closed()) };
        half.is_ended = true;
        half.is_waiting = false;
        if half.waits.is_empty() { self.finish_now(id) } else { Ok(()) }
    }

    fn finish_now(&mut self, id: StreamId) -> Result<()> {
        if let Some(half) = self.streams.half(id) {
            half.is_used = true;
        }
        match self.conn.send_stream(wire_id(id)).finish() {
            Ok(()) => Ok(()),
            Err(FinishError::Stopped(code)) => Err(self.stopped(code)),
            Err(FinishError::ClosedStream) => Err(self.write_closed()),
        }
    }

    /// Ends every stream behind what was written to it, also those that the peer opens from now on.
    pub(crate) fn finish_all(&mut self) {
        for id in self.streams.finish_all() {
            let _ = self.finish(id);
        }
    }

    /// Whether all streams that were written to are ended, and all of them arrived.
    pub(crate) fn is_all_acked(&mut self) -> bool {
        self.conn.streams().send_streams() == 0
    }

    /// Nothing more is sent on a stream, of which the machine has nothing any more.
    pub(super) fn drop_writes(&mut self, id: StreamId) {
        if self.tail.stream == id {
            self.tail = Tail::default();
        }
        self.streams.on_over(id);
    }

    /// The machine has forgotten our streams.
    pub(super) fn forget_writes(&mut self) {
        self.tail = Tail::default();
    }

    /// Nothing more is sent on any stream: the machine lets go of what it has.
    pub(super) fn drop_all_writes(&mut self) {
        self.tail = Tail::default();
        for (id, half) in self.streams.give_up() {
            if half.is_used {
                let _ = self.conn.send_stream(wire_id(id)).reset(VarInt::from_u32(0));
            }
            // What waits goes behind what the machine had, so that guards are told of in order.
            drop(half);
        }
    }

    /// A stream that takes writes. One that was stopped, reset or acknowledged has no half here.
    #[inline]
    fn require_writable(&mut self, id: StreamId) -> Result<()> {
        let takes = self.streams.half(id).is_some_and(|half| !half.is_ended);
        if takes && self.require_streams().is_ok() { Ok(()) } else { self.refuse_write(id) }
    }

    /// Why a stream takes no writes.
    #[cold]
    fn refuse_write(&mut self, id: StreamId) -> Result<()> {
        self.require_send(id)?;
        Err(self.write_closed())
    }

    /// Takes as much of `pieces` as the windows allow; how many bytes. When that is not all,
    /// `Writable` follows.
    #[cfg(test)]
    pub(crate) fn write(&mut self, id: StreamId, pieces: &mut [Bytes]) -> Result<usize> {
        self.require_writable(id)?;
        self.wants_send = true;
        let mut done = 0;
        for piece in pieces {
            self.flush_tail();
            if self.is_cut(id) {
                break;
            }
            done += self.push(id, piece)?;
            if !piece.is_empty() {
                self.is_cut(id);
                break;
            }
        }
        Ok(done)
    }
}
