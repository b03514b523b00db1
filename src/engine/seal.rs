//! Sealing: what is written to a TLS connection becomes records in its send queue.
//!
//! Role: where records are written, and in what order. Not role: the cipher (`proto::tls`).
//!
//! ```text
//! &[u8], received payload, guard   ── cipher ─▶  slot or stream buffer   (out of place, no copy)
//! SendBuffer of one record         ── cipher ─▶  where it lies, header and tag in the room around
//! SendBuffer of several            as &[u8]
//! ```
//!
//! *Invariants*: records are queued in the order in which they were sealed, and what the machine
//! has to send itself (flights, key updates, alerts) before what is sealed after it. Nothing is
//! sealed that cannot be queued.

use super::Engine;
use crate::conn::Flags;
use crate::conn::guard::WriteGuard;
use crate::conn::tx::Source;
use crate::error::{IoError, PoolKind, Result};
use crate::ids::ConnId;
use crate::pool::{BufId, Class, HEADROOM, RawSend, TAILROOM, Use};
use crate::proto::tls::{HEAD_MAX, TAIL_MAX, TRANSMIT_LEN_MIN};

const _: () = assert!(HEAD_MAX <= HEADROOM && TAIL_MAX <= TAILROOM);
/// A record is appended to a buffer that has room for so much of it at least: small pieces at the
/// end of each buffer would cost a record's overhead every time.
const PIECE_MIN: usize = 1024;

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
        // It refuses only what was looked at before: the phase, the length and the room.
        let sealed = secure.tls.seal_into(&data[..n], out).unwrap_or(0);
        self.queue_piece(index, (buf, end), sealed, true);
        if sealed > 0 { n } else { 0 }
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
        if self.segments.room() == 0 {
            return None;
        }
        let classes = match whole <= self.pool.class_size(Class::Slots) + TAILROOM {
            true => [Class::Slots, Class::Stream],
            false => [Class::Stream, Class::Slots],
        };
        let buf = classes.into_iter().find_map(|class| self.pool.take(class, usage))?;
        Some((buf, 0))
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

    /// As `write_raw`: a buffer that the shard holds once. All or nothing.
    pub(super) fn write_raw_sealed(&mut self, conn: ConnId, raw: RawSend) -> Result<()> {
        let index = conn.index();
        let Some(secure) = &self.conns.at(index).secure else { return Ok(()) };
        let sealed = match raw.len as usize > secure.tls.plain_max() {
            true => self.seal_all(conn, raw),
            false => self.seal_here(index, raw),
        };
        if sealed.is_err() {
            self.pool.release(raw.buf);
        }
        sealed
    }

    /// One record, where it lies.
    fn seal_here(&mut self, index: u32, raw: RawSend) -> Result<()> {
        if !self.transmit(index) || self.segments.room() == 0 {
            return Err(IoError::exhausted(PoolKind::SendQueue));
        }
        let conn = self.conns.at(index);
        let id = conn.id(index);
        let Some(secure) = &mut conn.secure else { return Ok(()) };
        let start = HEADROOM + raw.start as usize;
        let payload = start..start + raw.len as usize;
        let sealed = secure.tls.seal_in_place(self.pool.room_mut(raw.buf), payload);
        let Ok(record) = sealed else { return Err(IoError::WriteClosed { conn: id }) };
        let ptr = self.pool.ptr(raw.buf).wrapping_sub(HEADROOM).wrapping_add(record.start);
        let source = Source::Buf { buf: raw.buf, own: false };
        self.append(index, ptr, source, record.len() as u32);
        self.mark_dirty(index);
        Ok(())
    }

    /// Several records, each into a buffer of its own.
    fn seal_all(&mut self, conn: ConnId, raw: RawSend) -> Result<()> {
        // SAFETY: the shard holds the buffer once, and nobody writes it.
        let data = unsafe { self.pool.slice(raw.buf, raw.start, raw.len) };
        self.write_all_sealed(conn, data)?;
        self.pool.release(raw.buf);
        Ok(())
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

    /// A guard write: all of it is sealed at once, and the memory is free again.
    pub(super) fn seal_guard(
        &mut self,
        conn: ConnId,
        memory: WriteGuard,
        token: Option<u64>,
    ) -> Result<()> {
        let len = memory.bytes().len();
        if self.guards.is_full() {
            return Err(IoError::exhausted(PoolKind::Guards));
        }
        self.start_write_clock(conn.index());
        self.write_all_sealed(conn, memory.bytes())?;
        if let Some(guard) = self.guards.insert(conn, token, memory) {
            self.guards.sent(guard, len as u32);
            self.guards.release(guard);
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
