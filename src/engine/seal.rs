//! Sealing: what is written to a TLS connection becomes records in its send queue.
//!
//! Role: where records are written, and in what order. Not role: the cipher (`proto::tls`).
//!
//! ```text
//! &[u8], received payload    ── cipher ─▶  slot or stream buffer   (out of place, no copy)
//! SendBuffer of one record   ── cipher ─▶  where it lies, header and tag in the room around
//! SendBuffer of several,     ─▶ waits, held ── cipher ─▶  as &[u8], when the queue is below the
//! guard, forward beyond the                            high-water mark
//! high-water mark
//! ```
//!
//! *Invariants*: records are queued in the order in which they were sealed, and what the machine
//! has to send itself (flights, key updates, alerts) before what is sealed after it. Nothing is
//! sealed that cannot be queued. While payload waits, nothing that comes later is sealed before it.

use super::Engine;
use super::send::release;
use crate::conn::Flags;
use crate::conn::guard::WriteGuard;
use crate::conn::tx::{Segment, Source};
use crate::error::{IoError, PoolKind, Result};
use crate::ids::ConnId;
use crate::pool::{BufId, Class, HEADROOM, RawSend, TAILROOM, Use};
use crate::proto::tls::{HEAD_MAX, TAIL_MAX, TRANSMIT_LEN_MIN};

const _: () = assert!(HEAD_MAX <= HEADROOM && TAIL_MAX <= TAILROOM);
/// A record is appended to a buffer that has room for so much of it at least: small pieces at the
/// end of each buffer would cost a record's overhead every time.
const PIECE_MIN: usize = 1024;
/// The end of a connection that cannot send any more: internal_error (RFC 8446 §6.2).
const CANNOT_SEAL: u64 = crate::code::TLS_ALERT_SENT | 80;

impl Engine {
    /// Seals and queues as much of `data` as there are buffers for; how much.
    pub(super) fn write_sealed(&mut self, index: u32, data: &[u8]) -> usize {
        let mut done = 0;
        while done < data.len() {
            match self.seal_piece(index, &data[done..]) {
                0 => break,
                n => done += n,
            }
        }
        if done > 0 {
            self.mark_dirty(index);
        }
        done
    }

    /// Seals one record; how much of `data` is in it.
    fn seal_piece(&mut self, index: u32, data: &[u8]) -> usize {
        if !self.transmit(index) {
            return 0;
        }
        let Some(secure) = &self.conns.at(index).secure else { return 0 };
        let (head, tail) = secure.tls.overhead();
        let wanted = data.len().min(secure.tls.plain_max());
        let whole = head + wanted + tail;
        let least = head + wanted.min(PIECE_MIN) + tail;
        let Some((buf, end)) = self.place_for(index, whole, least, Use::TxBulk) else { return 0 };
        let Some(secure) = &mut self.conns.at(index).secure else { return 0 };
        let out = &mut self.pool.room_mut(buf)[HEADROOM + end..];
        let n = wanted.min(out.len() - head - tail);
        // The phase, the length and the room were looked at before: it refuses for a key that
        // sealed as much as it may, and that has no next one (TLS 1.2).
        let sealed = secure.tls.seal_into(&data[..n], out).unwrap_or(0);
        self.queue_piece(index, (buf, end), sealed, true);
        if sealed > 0 {
            return n;
        }
        self.begin_end(index, CANNOT_SEAL, false);
        0
    }

    /// Queues what the machine has to send; false when there was no room for all of it, which is
    /// then tried again.
    pub(super) fn transmit(&mut self, index: u32) -> bool {
        loop {
            let Some(secure) = &self.conns.at(index).secure else { return true };
            let len = secure.tls.transmit_len();
            if len == 0 {
                return true;
            }
            let whole = len.max(TRANSMIT_LEN_MIN);
            let place = self.place_for(index, whole, TRANSMIT_LEN_MIN, Use::TxCritical);
            let Some((buf, end)) = place else {
                self.send_again_later(index);
                return false;
            };
            let Some(secure) = &mut self.conns.at(index).secure else { return true };
            let n = secure.tls.transmit(&mut self.pool.room_mut(buf)[HEADROOM + end..]);
            self.queue_piece(index, (buf, end), n, false);
            self.mark_dirty(index);
            if n == 0 {
                return true;
            }
        }
    }

    /// Where to write: the end of the last buffer if it has room for `least` bytes, or a new one,
    /// if possible with room for `whole`. A buffer's tail room counts.
    fn place_for(
        &mut self,
        index: u32,
        whole: usize,
        least: usize,
        usage: Use,
    ) -> Option<(BufId, usize)> {
        let conn = self.conns.at(index);
        if let Some((buf, end)) = self.segments.appendable(&mut conn.tx, &self.pool)
            && self.pool.size_of(buf) + TAILROOM >= end + least
        {
            return Some((buf, end));
        }
        if !self.takes_segment(index) {
            return None;
        }
        let classes = match whole <= self.pool.class_size(Class::Slots) + TAILROOM {
            true => [Class::Slots, Class::Stream],
            false => [Class::Stream, Class::Slots],
        };
        let buf = classes.into_iter().find_map(|class| self.pool.take(class, usage))?;
        Some((buf, 0))
    }

    /// Whether the send queue takes one more: the first has a place of its own.
    fn takes_segment(&mut self, index: u32) -> bool {
        self.segments.room() > 0 || self.conns.at(index).tx.is_empty()
    }

    /// Queues what was written at `end` of a buffer of `place_for`.
    fn queue_piece(&mut self, index: u32, (buf, end): (BufId, usize), len: usize, own: bool) {
        if end > 0 {
            self.segments.grow_last(&mut self.conns.at(index).tx, len as u32);
        } else if len == 0 {
            self.pool.release(buf);
        } else {
            let ptr = self.pool.ptr(buf);
            self.append(index, ptr, Source::Buf { buf, own }, len as u32);
        }
    }

    /// As `write_raw`: a buffer that the shard holds once.
    pub(super) fn write_raw_sealed(&mut self, conn: ConnId, raw: RawSend) -> Result<()> {
        let index = conn.index();
        let entry = self.conns.at(index);
        let waits = entry.has(Flags::UNSEALED);
        let Some(secure) = &entry.secure else { return Ok(()) };
        let is_one = raw.len as usize <= secure.tls.plain_max();
        if is_one && !waits && self.transmit(index) && self.takes_segment(index) {
            return self.seal_here(index, raw);
        }
        let ptr = self.pool.ptr(raw.buf).wrapping_add(raw.start as usize);
        let source = Source::Buf { buf: raw.buf, own: false };
        self.queue_unsealed(conn, Segment { ptr, source, len: raw.len })
    }

    /// One record, where it lies.
    fn seal_here(&mut self, index: u32, raw: RawSend) -> Result<()> {
        let conn = self.conns.at(index);
        let id = conn.id(index);
        let Some(secure) = &mut conn.secure else { return Ok(()) };
        let start = HEADROOM + raw.start as usize;
        let payload = start..start + raw.len as usize;
        let sealed = secure.tls.seal_in_place(self.pool.room_mut(raw.buf), payload);
        let Ok(record) = sealed else {
            self.pool.release(raw.buf);
            return Err(IoError::WriteClosed { conn: id });
        };
        let ptr = self.pool.ptr(raw.buf).wrapping_sub(HEADROOM).wrapping_add(record.start);
        let source = Source::Buf { buf: raw.buf, own: false };
        self.append(index, ptr, source, record.len() as u32);
        self.mark_dirty(index);
        Ok(())
    }

    /// A guard write: it is sealed piece by piece, as the peer takes it.
    pub(super) fn queue_guard(
        &mut self,
        conn: ConnId,
        memory: WriteGuard,
        token: Option<u64>,
    ) -> Result<()> {
        let (ptr, len) = (memory.bytes().as_ptr(), memory.bytes().len() as u32);
        if self.segments.room() == 0 {
            return Err(IoError::exhausted(PoolKind::SendQueue));
        }
        let guard = self.guards.insert(conn, token, memory);
        let guard = guard.ok_or(IoError::exhausted(PoolKind::Guards))?;
        if len == 0 {
            self.guards.release(guard);
            return Ok(());
        }
        let source = Source::Guard { guard };
        self.queue_unsealed(conn, Segment { ptr, source, len })
    }

    /// `forward`: sealed at once below the high-water mark. Beyond it the receive buffer waits, and
    /// counts as its source's, which is what slows that down.
    pub(super) fn forward_sealed(&mut self, conn: ConnId, buf: BufId, data: &[u8]) -> Result<()> {
        let index = conn.index();
        let high = self.config.send_high_water;
        let entry = self.conns.at(index);
        let is_open = !entry.has(Flags::UNSEALED) && (entry.tx.bytes as usize) < high;
        self.start_write_clock(index);
        if is_open && self.can_seal_all(index, data.len()) {
            return self.write_all_sealed(conn, data);
        }
        self.pool.hold(buf);
        let source = Source::Buf { buf, own: false };
        self.queue_unsealed(conn, Segment { ptr: data.as_ptr(), source, len: data.len() as u32 })
    }

    // ---- payload that waits to be sealed

    /// Queues payload to be sealed when there is room; its hold is consumed.
    fn queue_unsealed(&mut self, conn: ConnId, segment: Segment) -> Result<()> {
        let index = conn.index();
        self.start_write_clock(index);
        let entry = self.conns.at(index);
        let Some(secure) = &mut entry.secure else { return Ok(()) };
        let fits = secure.unsealed.bytes.checked_add(segment.len).is_some();
        if !fits || !self.segments.push(&mut secure.unsealed, segment) {
            release(&mut self.pool, &mut self.guards, segment.source);
            return Err(IoError::exhausted(PoolKind::SendQueue));
        }
        entry.set(Flags::UNSEALED);
        self.seal_waiting(index);
        self.mark_dirty(index);
        Ok(())
    }

    /// Seals what waits, up to the high-water mark; then says goodbye, if that is due.
    pub(super) fn seal_waiting(&mut self, index: u32) {
        if !self.transmit(index) {
            // Its place is before what is sealed later; it is tried again.
            return;
        }
        let high = self.config.send_high_water;
        loop {
            let conn = self.conns.at(index);
            if !conn.has(Flags::UNSEALED) || conn.tx.bytes as usize >= high {
                return;
            }
            let Some(secure) = &conn.secure else { return };
            let Segment { ptr, len, .. } = *secure.unsealed.first();
            // SAFETY: K5, the segment holds its memory, which nobody writes.
            let data = unsafe { std::slice::from_raw_parts(ptr, len as usize) };
            match self.seal_piece(index, data) {
                0 if self.conns.at(index).tx.is_empty() => return self.send_again_later(index),
                0 => return,
                n => self.sealed(index, n as u32),
            }
        }
    }

    /// Takes what was sealed off what waits.
    fn sealed(&mut self, index: u32, len: u32) {
        let conn = self.conns.at(index);
        let Some(secure) = &mut conn.secure else { return };
        let (pool, guards) = (&mut self.pool, &mut self.guards);
        self.segments.advance(&mut secure.unsealed, len, |source, len, ends| {
            if let Source::Guard { guard } = source {
                guards.sent(guard, len);
            }
            if ends {
                release(pool, guards, source);
            }
        });
        if secure.unsealed.is_empty() {
            let is_due = std::mem::take(&mut secure.goodbye_due);
            conn.unset(Flags::UNSEALED);
            if is_due {
                self.say_goodbye(index);
            }
        }
        self.settle_credits();
    }

    /// Seals all of `data` or nothing.
    pub(super) fn write_all_sealed(&mut self, conn: ConnId, data: &[u8]) -> Result<()> {
        if !self.can_seal_all(conn.index(), data.len()) {
            return Err(IoError::exhausted(PoolKind::StreamBuffers));
        }
        let done = self.write_sealed(conn.index(), data);
        if done < data.len() {
            return Err(IoError::WriteClosed { conn });
        }
        Ok(())
    }

    /// Whether there are buffers and entries for all records of so many bytes.
    fn can_seal_all(&mut self, index: u32, len: usize) -> bool {
        let Some(secure) = &self.conns.at(index).secure else { return true };
        let record = secure.tls.plain_max();
        let size = self.pool.class_size(Class::Stream);
        let per_buffer = (size / (record + HEAD_MAX + TAIL_MAX)).max(1) * record.min(size);
        // One more for what the machine has to send.
        let buffers = len.div_ceil(per_buffer) + 1;
        let free = self.pool.free_for(Class::Stream, Use::TxBulk) as usize;
        let small = len + HEAD_MAX <= self.pool.class_size(Class::Slots);
        let slot = small && self.pool.has_for(Class::Slots, Use::TxBulk);
        (free >= buffers || slot) && self.segments.room() > buffers
    }

    /// Whether what is written to the connection is sealed.
    #[inline]
    pub(super) fn is_sealed(&mut self, index: u32) -> bool {
        self.conns.at(index).has(Flags::TLS)
    }
}
