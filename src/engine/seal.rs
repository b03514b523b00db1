//! Sealing: what is written to a TLS connection becomes records in its send queue.
//!
//! Role: where records are written, and in what order. Not role: the cipher (`proto::tls`).
//!
//! ```text
//! &[u8]                            ── cipher ─▶  slot or stream buffer   (out of place, no copy)
//! received payload, guard ─ waits  ── cipher ─▶  the same
//! SendBuffer of one record         ── cipher ─▶  where it lies, header and tag in the room around
//! ```
//!
//! *Invariants*: records are queued in the order in which they were sealed, and what the machine
//! has to send itself (flights, key updates, alerts) before what is sealed after it. Nothing is
//! sealed that cannot be queued. What was accepted whole is sealed in the end, however large it is
//! and however few buffers there are: it waits, in order, and others behind it.

use super::Engine;
use super::ktls::unpassed;
use crate::code;
use crate::conn::secure::Goodbye;
use crate::conn::tx::{Segment, Source};
use crate::conn::{Flags, Phase};
use crate::pool::{BufId, Class, HEADROOM, TAILROOM, Use};
use crate::proto::tls::{HEAD_MAX, TAIL_MAX, TRANSMIT_LEN_MIN, TlsFailure};

const _: () = assert!(HEAD_MAX <= HEADROOM && TAIL_MAX <= TAILROOM);
/// A record is appended to a buffer that has room for so much of it at least: small pieces at the
/// end of each buffer would cost a record's overhead every time.
const PIECE_MIN: usize = 1024;

impl Engine {
    /// Seals and queues as much of `data` as there are buffers for; how much.
    pub(super) fn write_sealed(&mut self, index: u32, data: &[u8]) -> usize {
        let mut done = 0;
        // Not before what waits.
        while done < data.len() && !self.conns.at(index).has(Flags::UNSEALED) {
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
        let bulk = self.place_for(index, whole, least, Use::TxBulk);
        let is_bulk = bulk.is_some();
        let Some((buf, end)) = bulk.or_else(|| self.last_resort(index, whole, least)) else {
            return 0;
        };
        let Some(secure) = &mut self.conns.at(index).secure else { return 0 };
        let out = &mut self.pool.room_mut(buf)[HEADROOM + end..];
        let n = wanted.min(out.len() - head - tail);
        let sealed = secure.tls.seal_into(&data[..n], out).unwrap_or(0);
        let must_end = sealed == 0 && secure.tls.transmit_len() == 0;
        self.queue_piece(index, (buf, end), sealed, is_bulk);
        if must_end {
            self.key_exhausted(index);
        }
        if sealed > 0 { n } else { 0 }
    }

    /// Sealing what waits frees what holds it: that may not fail because others wait as well.
    fn last_resort(&mut self, index: u32, whole: usize, least: usize) -> Option<(BufId, usize)> {
        let conn = self.conns.at(index);
        let stuck = conn.has(Flags::UNSEALED) && conn.tx.is_empty();
        stuck.then(|| self.place_for(index, whole, least, Use::TxCritical)).flatten()
    }

    /// Nothing can be sealed any more: the phase, the length and the room were looked at before, so
    /// it is the key.
    pub(super) fn key_exhausted(&mut self, index: u32) {
        if let Some(secure) = &mut self.conns.at(index).secure {
            secure.tls.close_notify();
        }
        let reason = "the key sealed as many records as it may".into();
        self.tls_failed(index, &TlsFailure { code: code::TLS_KEY_EXHAUSTED, reason });
    }

    /// Queues what the machine has to send; false when there was no room for all of it, which is
    /// then tried again.
    pub(super) fn transmit(&mut self, index: u32) -> bool {
        loop {
            let conn = self.conns.at(index);
            let Some(secure) = conn.secure.as_ref().filter(|_| conn.phase == Phase::Open) else {
                return true;
            };
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
        // The first of a queue takes none of the shared room: whoever sends gets on.
        if self.segments.room() == 0 && !self.conns.at(index).tx.is_empty() {
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

    /// Queues what TLS and the application have to send, in that order, and close_notify behind all
    /// of it when no more is to come. Whether nothing is left that waits for room.
    pub(super) fn flush_tls(&mut self, index: u32) -> bool {
        self.http_seal_file(index);
        if !self.transmit(index) || !self.seal_waiting(index) {
            return false;
        }
        if self.conns.at(index).has(Flags::KERNEL_TX) {
            return true;
        }
        if self.http_has_file(index) {
            return false;
        }
        let conn = self.conns.at(index);
        match &mut conn.secure {
            Some(secure) if conn.flags.contains(Flags::SHUT_WANTED) => {
                let alone = conn.tx.is_empty();
                let goodbye = if alone { Goodbye::Alone } else { Goodbye::BehindData };
                secure.goodbye.get_or_insert(goodbye);
                secure.tls.close_notify();
            }
            _ => return true,
        }
        self.transmit(index)
    }

    /// Takes over what is to be sealed from where it lies. It is sealed at once as far as there is
    /// room, and the rest waits: what was accepted cannot be refused any more.
    pub(super) fn enqueue_sealed(&mut self, index: u32, segment: Segment) {
        let conn = self.conns.at(index);
        let Some(secure) = &mut conn.secure else { return };
        let pushed = self.segments.push(&mut secure.unsealed, segment);
        debug_assert!(pushed, "the caller looked for room");
        conn.set(Flags::UNSEALED);
        self.seal_waiting(index);
    }

    /// Seals what waits, up to the high-water mark. Whether that was all.
    fn seal_waiting(&mut self, index: u32) -> bool {
        loop {
            let conn = self.conns.at(index);
            let first = match &conn.secure {
                Some(secure) if conn.has(Flags::UNSEALED) => *secure.unsealed.first(),
                _ => return true,
            };
            if self.waits_for_kernel(index, unpassed(&first)) {
                return false;
            }
            self.offer_tx(index, unpassed(&first));
            if !self.is_sealed(index) {
                return true;
            }
            let conn = self.conns.at(index);
            // What is sent makes room, and this goes on.
            if conn.tx.bytes as usize >= self.config.send_high_water {
                return false;
            }
            if !self.seal_first(index, first) {
                if self.conns.at(index).tx.is_empty() {
                    self.send_again_later(index);
                }
                return false;
            }
        }
    }

    /// Seals one record of what waits. False: there is no room, or TLS is over.
    fn seal_first(&mut self, index: u32, first: Segment) -> bool {
        if self.seal_here(index, first) {
            self.advance_unsealed(index, first.len, true);
            return true;
        }
        // SAFETY: the segment holds its memory, which nobody writes.
        let data = unsafe { std::slice::from_raw_parts(first.ptr, first.len as usize) };
        let n = self.seal_piece(index, data);
        self.advance_unsealed(index, n as u32, false);
        n > 0
    }

    /// Seals where it lies, if it is one record in a buffer that is nobody else's.
    fn seal_here(&mut self, index: u32, first: Segment) -> bool {
        let Source::Buf { buf, .. } = first.source else { return false };
        if !self.pool.is_sole(buf) || !self.transmit(index) {
            return false;
        }
        let conn = self.conns.at(index);
        let Some(secure) = &mut conn.secure else { return false };
        let queueable = conn.tx.is_empty() || self.segments.room() > 0;
        if !queueable || first.len as usize > secure.tls.plain_max() {
            return false;
        }
        let base = self.pool.ptr(buf).wrapping_sub(HEADROOM);
        let start = first.ptr.addr() - base.addr();
        let payload = start..start + first.len as usize;
        if payload.end + TAIL_MAX > HEADROOM + self.pool.size_of(buf) + TAILROOM {
            return false;
        }
        let Ok(record) = secure.tls.seal_in_place(self.pool.room_mut(buf), payload) else {
            return false;
        };
        let source = Source::Buf { buf, own: false };
        self.append(index, base.wrapping_add(record.start), source, record.len() as u32);
        true
    }

    /// Whether what is written to the connection is sealed by us.
    #[inline]
    pub(super) fn is_sealed(&mut self, index: u32) -> bool {
        let sealed = self.conns.at(index).flags & (Flags::TLS | Flags::KERNEL_TX);
        sealed == Flags::TLS
    }
}
