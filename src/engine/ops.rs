//! What the application asks of connections: write, shut down, pause, look up.

use super::Engine;
use super::ktls::unpassed;
use super::lists::list_living;
use super::send::release;
use crate::conn::tx::{Appended, Segment, Source};
use crate::conn::{Conn, Flags, Phase};
use crate::error::{IoError, PoolKind, Result};
use crate::event::inbox::Payload;
use crate::ids::{ConnId, Protocol, StreamId};
use crate::pool::WriteGuard;
use crate::pool::{Class, RawSend, SendBuffer, Use};

/// The longest guard: 4 GiB without the last 4096 bytes, whose lengths are the numbers of errors.
const GUARD_LEN_MAX: u32 = u32::MAX - 4096;

impl Engine {
    /// A connection that takes writes.
    #[inline]
    fn writable(&mut self, conn: ConnId, stream: StreamId) -> Result<&mut Conn> {
        let entry = self.conns.get(conn)?;
        if stream != StreamId::ZERO || !entry.takes_writes() {
            return Err(refusal(entry, conn, stream));
        }
        Ok(entry)
    }

    /// Bytes that fit below the high-water mark.
    #[inline]
    fn send_room(&mut self, conn: ConnId) -> usize {
        let high = self.config.send_high_water;
        let conn = self.conns.at(conn.index());
        let unsealed = conn.secure.as_ref().map_or(0, |secure| secure.unsealed.bytes);
        high.saturating_sub(conn.tx.bytes as usize + unsealed as usize)
    }

    /// What a queue that was empty gets its first byte: the write limit starts to run.
    #[inline]
    pub(super) fn start_write_clock(&mut self, index: u32) {
        let conn = self.conns.at(index);
        if conn.timeouts.write.is_some() && !conn.has_unsent() {
            let now = self.ring.now();
            self.conns.at(index).last_tx = now;
        }
    }

    /// Copies as much as fits; how much. What did not fit is asked for again by `Writable`.
    #[inline]
    pub(crate) fn stream_write(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        data: &[u8],
    ) -> Result<usize> {
        if self.write_short(conn, stream, data) {
            return Ok(data.len());
        }
        self.stream_write_any(conn, stream, data)
    }

    /// The short path: something that fits a slot, to a plain connection with an empty queue.
    #[expect(clippy::inline_always, reason = "a sixth of its cost is the call")]
    #[inline(always)]
    fn write_short(&mut self, id: ConnId, stream: StreamId, data: &[u8]) -> bool {
        let fits = data.len().wrapping_sub(1) < self.pool.class_size(Class::Slots);
        let Some(conn) = self.conns.place(id) else { return false };
        let plain = conn.is_plain(Flags::WRITE_LIMIT | Flags::TLS) && conn.tx.is_empty();
        if !(fits && plain && stream == StreamId::ZERO) {
            return false;
        }
        let taken = self.pool.take_filled(Class::Slots, Use::TxBulk, data);
        let Some((buf, ptr)) = taken else { return false };
        let source = Source::Buf { buf, own: true };
        conn.tx.push_first(Segment { ptr, source, len: data.len() as u32 });
        self.lists.mark_dirty(conn, id);
        self.stats.bytes_copied_tx += data.len() as u64;
        true
    }

    /// The same in every other case.
    fn stream_write_any(&mut self, conn: ConnId, stream: StreamId, data: &[u8]) -> Result<usize> {
        if let Err(error) = self.writable(conn, stream) {
            return self.quic_write(conn, stream, data, error);
        }
        let index = conn.index();
        let wanted = data.len().min(self.send_room(conn));
        self.start_write_clock(index);
        self.offer_tx(index, 0);
        if self.is_sealed(index) {
            let done = self.write_sealed(index, &data[..wanted]);
            if done < data.len() {
                self.want_writable(conn, done < wanted);
            }
            return Ok(done);
        }
        let mut done = 0;
        while done < wanted {
            match self.write_piece(index, &data[done..wanted]) {
                0 => break,
                n => done += n,
            }
        }
        self.stats.bytes_copied_tx += done as u64;
        if done > 0 {
            self.mark_dirty(index);
        }
        if done < data.len() {
            self.want_writable(conn, done < wanted);
        }
        Ok(done)
    }

    /// Appends to the last segment, or starts a new one; how many bytes.
    fn write_piece(&mut self, index: u32, data: &[u8]) -> usize {
        let conn = self.conns.at(index);
        if let Some((buf, end)) = self.segments.appendable(&mut conn.tx, &self.pool) {
            let room = self.pool.size_of(buf) - end;
            if room > 0 {
                let n = room.min(data.len());
                self.pool.write(buf, end, &data[..n]);
                self.segments.grow_last(&mut conn.tx, n as u32);
                return n;
            }
        }
        if self.segments.room() == 0 {
            return 0;
        }
        let small = data.len() <= self.pool.class_size(Class::Slots);
        let classes =
            if small { [Class::Slots, Class::Stream] } else { [Class::Stream, Class::Slots] };
        for class in classes {
            let n = data.len().min(self.pool.class_size(class));
            let taken = self.pool.take_filled(class, Use::TxBulk, &data[..n]);
            let Some((buf, ptr)) = taken else { continue };
            self.append(index, ptr, Source::Buf { buf, own: true }, n as u32);
            return n;
        }
        0
    }

    /// Queues what is sent from where it lies, or what is sealed from there where there is TLS; the
    /// caller made sure that there is room.
    pub(super) fn enqueue(&mut self, index: u32, segment: Segment) {
        self.offer_tx(index, unpassed(&segment));
        if self.is_sealed(index) {
            self.enqueue_sealed(index, segment);
        } else {
            self.append(index, segment.ptr, segment.source, segment.len);
        }
        self.mark_dirty(index);
    }

    /// Queues a segment; the caller made sure that there is room.
    pub(super) fn append(&mut self, index: u32, ptr: *const u8, source: Source, len: u32) {
        let conn = self.conns.at(index);
        let appended = self.segments.append(&mut conn.tx, Segment { ptr, source, len });
        debug_assert!(appended.is_some(), "the caller looked for room");
        if appended == Some(Appended::Joined) {
            release(&mut self.pool, &mut self.guards, source);
        }
    }

    pub(super) fn want_writable(&mut self, conn: ConnId, for_buffers: bool) {
        let entry = self.conns.at(conn.index());
        entry.set(Flags::WANT_WRITABLE);
        if for_buffers && !entry.has(Flags::WAITS_FOR_BUFFERS) {
            entry.set(Flags::WAITS_FOR_BUFFERS);
            list_living(&mut self.lists.buffer_waiters, &self.conns, conn);
        }
    }

    /// Whether a write would find a buffer. Looking at free ones alone would say `Writable` again
    /// and again while they are set aside for other uses.
    fn has_buffers_to_write(&self) -> bool {
        [Class::Slots, Class::Stream].into_iter().any(|class| self.pool.has_for(class, Use::TxBulk))
    }

    /// Whether there is room for those whose write waited for it.
    pub(super) fn can_serve_buffer_waiters(&self) -> bool {
        self.has_buffers_to_write() && self.segments.room() > 0
    }

    /// Those whose write waited for buffers are told when there are some again.
    pub(super) fn serve_buffer_waiters(&mut self) {
        while self.can_serve_buffer_waiters() {
            let Some(id) = self.lists.buffer_waiters.pop_front() else { return };
            let Some(conn) = self.conns.find(id) else { continue };
            conn.unset(Flags::WAITS_FOR_BUFFERS);
            self.offer_credit(id.index());
        }
    }

    /// Copies several slices in order; how much was accepted, as `stream_write`.
    pub(crate) fn stream_writev(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        parts: &[std::io::IoSlice<'_>],
    ) -> Result<usize> {
        let mut done = 0;
        for part in parts.iter().filter(|p| !p.is_empty()) {
            let n = self.stream_write(conn, stream, part)?;
            done += n;
            if n < part.len() {
                break;
            }
        }
        Ok(done)
    }

    /// Sends a buffer from where it lies. All or nothing: on an error the buffer is given back to
    /// the pool.
    pub(crate) fn stream_write_buffer(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        buffer: SendBuffer,
    ) -> Result<()> {
        if let Err(error) = self.writable(conn, stream) {
            let waiting_max = self.config.send_high_water;
            return self.quic_write_buffer(conn, stream, buffer, waiting_max, error);
        }
        self.check_segment(conn)?;
        let raw = self.pool.adopt(buffer)?;
        self.write_raw(conn, raw)
    }

    fn check_segment(&mut self, conn: ConnId) -> Result<()> {
        if self.segments.room() == 0 {
            self.want_writable(conn, true);
            return Err(IoError::exhausted(PoolKind::SendQueue));
        }
        if self.send_room(conn) == 0 {
            self.want_writable(conn, false);
            let capacity = self.config.send_high_water;
            return Err(IoError::QueueFull { queue: "connection send", capacity });
        }
        Ok(())
    }

    /// Queues a buffer that the shard holds once.
    pub(super) fn write_raw(&mut self, conn: ConnId, raw: RawSend) -> Result<()> {
        if raw.len == 0 {
            self.pool.release(raw.buf);
            return Ok(());
        }
        self.start_write_clock(conn.index());
        let source = Source::Buf { buf: raw.buf, own: false };
        let ptr = self.pool.ptr(raw.buf).wrapping_add(raw.start as usize);
        self.enqueue(conn.index(), Segment { ptr, source, len: raw.len });
        Ok(())
    }

    /// Queues a handle's buffer, for which there is room.
    pub(super) fn append_buffer(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        buffer: SendBuffer,
    ) -> Result<()> {
        if let Err(error) = self.writable(conn, stream) {
            return self.quic_write_buffer(conn, stream, buffer, usize::MAX, error);
        }
        let raw = self.pool.adopt(buffer)?;
        self.write_raw(conn, raw)
    }

    /// Sends (a part of) the current event's payload on, from where it lies. It may exceed the
    /// high-water mark: what bounds it is the number of receive buffers that its source may hold.
    #[inline]
    pub(crate) fn forward(&mut self, conn: ConnId, stream: StreamId, data: &[u8]) -> Result<()> {
        if self.forward_short(conn, stream, data) {
            return Ok(());
        }
        self.forward_any(conn, stream, data)
    }

    /// The short path: all of the current payload, to a plain connection with an empty queue.
    #[inline]
    fn forward_short(&mut self, id: ConnId, stream: StreamId, data: &[u8]) -> bool {
        let Some(Payload { buf, offset, len }) = self.inbox.current else { return false };
        let Some(conn) = self.conns.place(id) else { return false };
        let plain = conn.is_plain(Flags::WRITE_LIMIT | Flags::TLS) && conn.tx.is_empty();
        let ptr = data.as_ptr();
        let whole = ptr == self.pool.ptr(buf).wrapping_add(offset as usize)
            && data.len() == len as usize
            && len > 0;
        if !(whole && plain && stream == StreamId::ZERO) {
            return false;
        }
        self.pool.hold(buf);
        let source = Source::Buf { buf, own: false };
        conn.tx.push_first(Segment { ptr, source, len });
        self.lists.mark_dirty(conn, id);
        true
    }

    /// The same in every other case.
    fn forward_any(&mut self, conn: ConnId, stream: StreamId, data: &[u8]) -> Result<()> {
        if let Err(error) = self.writable(conn, stream) {
            return self.quic_forward_to(conn, stream, data, error);
        }
        let Some((buf, _)) = self.place_in_current(data) else {
            return self.quic_forward(conn, data);
        };
        if data.is_empty() {
            return Ok(());
        }
        let (entry, len) = (self.conns.at(conn.index()), data.len() as u32);
        let waiting = entry.secure.as_ref().map_or(&entry.tx, |secure| &secure.unsealed);
        let is_full = self.segments.room() == 0;
        if !self.segments.may_forward(waiting) || waiting.bytes.checked_add(len).is_none() {
            self.want_writable(conn, is_full);
            return Err(IoError::exhausted(PoolKind::SendQueue));
        }
        self.pool.hold(buf);
        self.start_write_clock(conn.index());
        let source = Source::Buf { buf, own: false };
        self.enqueue(conn.index(), Segment { ptr: data.as_ptr(), source, len });
        Ok(())
    }

    /// Sends memory of the application. It is kept alive until `SendDone` with this token.
    pub(crate) fn stream_write_guard(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        memory: WriteGuard,
        token: u64,
    ) -> Result<()> {
        if let Err(error) = self.writable(conn, stream) {
            let waiting_max = self.config.send_high_water;
            let to = (conn, stream);
            return self.quic_write_guard(to, memory, Some(token), waiting_max, error);
        }
        self.check_segment(conn)?;
        self.append_guard(conn, stream, memory, Some(token))
    }

    /// The same without regard to the high-water mark, for what a handle was promised. Without a
    /// token nothing is told.
    pub(super) fn append_guard(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        memory: WriteGuard,
        token: Option<u64>,
    ) -> Result<()> {
        if let Err(error) = self.writable(conn, stream) {
            return self.quic_write_guard((conn, stream), memory, token, usize::MAX, error);
        }
        let (ptr, len) = (memory.bytes().as_ptr(), memory.bytes().len());
        let Some(len) = u32::try_from(len).ok().filter(|len| *len <= GUARD_LEN_MAX) else {
            return Err(IoError::BufferTooLarge { len, max: GUARD_LEN_MAX as usize });
        };
        let entry = self.conns.at(conn.index());
        let unsealed = entry.secure.as_ref().map_or(0, |secure| secure.unsealed.bytes);
        let queued = entry.tx.bytes.max(unsealed);
        if queued.checked_add(len).is_none() {
            let capacity = u32::MAX as usize;
            return Err(IoError::QueueFull { queue: "connection send", capacity });
        }
        let guard = self.guards.insert(conn, token, memory);
        let guard = guard.ok_or(IoError::exhausted(PoolKind::Guards))?;
        if len == 0 {
            self.guards.release(guard);
            return Ok(());
        }
        self.start_write_clock(conn.index());
        self.enqueue(conn.index(), Segment { ptr, source: Source::Guard { guard }, len });
        Ok(())
    }

    /// FIN after what is queued.
    pub(crate) fn shutdown_write(&mut self, conn: ConnId, stream: StreamId) -> Result<()> {
        if self.is_quic(conn) {
            return self.quic_finish(conn, stream);
        }
        let entry = self.conns.get(conn)?;
        if stream != StreamId::ZERO {
            return Err(IoError::NoSuchStream { conn });
        }
        if !entry.has(Flags::OPEN) {
            return Err(IoError::NotConnected { conn });
        }
        if entry.has(Flags::SHAKING) {
            return Err(IoError::NotConnected { conn });
        }
        entry.set(Flags::SHUT_WANTED);
        entry.unset(Flags::WANT_WRITABLE);
        self.mark_dirty(conn.index());
        Ok(())
    }

    pub(crate) fn pause_recv(&mut self, conn: ConnId) -> Result<()> {
        if self.is_quic(conn) {
            return self.quic_pause(conn);
        }
        let entry = self.conns.get(conn)?;
        if entry.has(Flags::SEND_FAILED) {
            // Only what it still receives keeps it open.
            let code = entry.code;
            self.begin_end(conn.index(), code, false);
            return Ok(());
        }
        let is_over = entry.has(Flags::GRACEFUL) || self.rests_in_pool(conn.index());
        let entry = self.conns.get(conn)?;
        if !is_over {
            entry.set(Flags::PAUSED);
            if entry.phase == Phase::Open {
                self.settle_recv(conn.index());
            }
        }
        Ok(())
    }

    pub(crate) fn resume_recv(&mut self, conn: ConnId) -> Result<()> {
        if self.is_quic(conn) {
            return self.quic_resume(conn);
        }
        let now = self.ring.now();
        let entry = self.conns.get(conn)?;
        if entry.has(Flags::PAUSED) {
            entry.unset(Flags::PAUSED);
            // The peer could not send while it was paused: the read limit starts anew.
            entry.last_rx = now;
            if entry.phase == Phase::Open {
                self.settle_recv(conn.index());
            }
        }
        Ok(())
    }
}

/// Why a connection takes no write.
#[cold]
fn refusal(entry: &Conn, conn: ConnId, stream: StreamId) -> IoError {
    if entry.protocol == Protocol::Quic {
        if !matches!(entry.app, crate::proto::App::Quic(_)) {
            // The addresses of its host still race.
            return IoError::NotConnected { conn };
        }
        let what = "writes of other protocols";
        return IoError::NotForProtocol { protocol: Protocol::Quic, what };
    }
    if stream != StreamId::ZERO {
        return IoError::NoSuchStream { conn };
    }
    match entry.phase {
        Phase::Waiting | Phase::Connecting => IoError::NotConnected { conn },
        Phase::Open if entry.has(Flags::SHAKING) => IoError::NotConnected { conn },
        _ => IoError::WriteClosed { conn },
    }
}

/// Bytes that were to be forwarded are somebody else's.
pub(super) const NOT_OF_THIS_EVENT: IoError = IoError::InvalidArgument {
    what: "data to forward",
    why: "it is not of the current event; use stream_write for other bytes",
};
