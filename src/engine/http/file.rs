//! Answers out of files: sent by the system, or read into the records of TLS.
//!
//! ```text
//! plain:  head ── with MSG_MORE ─▶ socket     file ── sendfile ─▶ socket, a turn's bytes per tick
//!         the queue is empty ───────────────────────────┘  └── poll for room ── goes on
//! TLS:    file ── pread ─▶ buffers of the pool, sealed there, up to the high-water mark
//!         the same as plain where the kernel seals, which it is asked to for a long file
//! ```
//!
//! Role: when a file goes on, and what becomes of one that is too short. Not role: what of a file a
//! request gets (`http::file`).
//!
//! *Invariants*: a file is sent when all that was queued before it was sent, and nothing is queued
//! behind it before it is: the answers behind it wait. While its poll is under way the connection
//! counts as one that sends. No memory is held on account of a file's length.

use super::{Engine, machine};
use crate::code;
use crate::conn::{Flags, Phase};
use crate::error::{IoError, PoolKind, Result};
use crate::http::FileSpan;
use crate::pool::{Class, HEADROOM, Use};
use crate::proto::http::{Head, Out};
use crate::proto::http1::Writing;
use crate::ring::{Op, Ring, Tag};
use crate::sys::file::is_of_the_file;
use crate::sys::{POLLOUT, errno};

/// A file up to this length is read behind its head, into the same buffer, if it fits there: that
/// costs less than two system calls of its own (ADR 0008).
pub(super) const READ_MAX: u64 = 16 * 1024;

impl Engine {
    /// Whether a file is so short that it is read.
    pub(super) fn is_read(&self, head: &Head<'_>, span: &FileSpan) -> bool {
        let room = self.pool.class_size(Class::Stream);
        span.len <= READ_MAX && head.len_max() + span.len as usize <= room
    }

    /// Queues a head and a short file behind it. False: the file is too short by now, and the
    /// connection ends.
    pub(super) fn put_read_file(
        &mut self,
        index: u32,
        head: &Head<'_>,
        span: &FileSpan,
    ) -> Result<bool> {
        self.refresh_clock();
        let file_len = span.len as usize;
        let sealed = self.is_sealed(index);
        let whole = head.len_max() + file_len;
        let place = self.http_room(index, whole, sealed);
        let (buf, end) = place.ok_or(IoError::exhausted(PoolKind::Slots))?;
        let room = &mut self.pool.room_mut(buf)[HEADROOM + end..];
        let mut out = Out::new(room);
        head.write(&mut out, &self.http.clock);
        let head_len = out.len();
        let is_whole = match room.get_mut(head_len..head_len + file_len) {
            Some(into) => read_whole(&mut self.ring, span, into),
            None => false,
        };
        let len = if is_whole { head_len + file_len } else { head_len };
        self.stats.bytes_copied_tx += (len - head_len) as u64;
        self.count_sent(index, len);
        self.queue_written(index, (buf, end), len, sealed);
        if !is_whole {
            self.cut(index);
        }
        Ok(is_whole)
    }

    /// Queues a head; the file follows when it was sent.
    pub(super) fn begin_file(&mut self, index: u32, head: &Head<'_>, span: FileSpan) -> Result<()> {
        // Before the head, so that both go in one record.
        self.offer_tx(index, span.len);
        self.put_head(index, head, &[])?;
        let conn = self.conns.at(index);
        // Off the short paths, which know of no files.
        conn.set(Flags::WANT_WRITABLE);
        let Some(http) = machine(conn) else { return Ok(()) };
        (http.status, http.closes, http.writing) = (head.status, head.close, Writing::File);
        http.body_bytes = 0;
        http.file = Some(span);
        Ok(())
    }

    /// Whether a file is being sent.
    pub(in crate::engine) fn http_has_file(&mut self, index: u32) -> bool {
        machine(self.conns.at(index)).is_some_and(|http| http.has_file())
    }

    /// It will not be sent.
    pub(in crate::engine) fn http_drop_file(&mut self, index: u32) {
        if let Some(http) = machine(self.conns.at(index)) {
            http.file = None;
        }
    }

    /// Sends a head that is all of the queue right before its file, at once and in the same packet.
    /// Whether the file may follow. There is no send under way.
    pub(in crate::engine) fn http_send_head(&mut self, index: u32) -> bool {
        let is_single = self.conns.at(index).tx.is_single();
        if !is_single || self.is_sealed(index) || self.file_bytes_now(index) == 0 {
            return false;
        }
        let conn = self.conns.at(index);
        let (first, fd) = (*conn.tx.first(), conn.sock.fd);
        // SAFETY: the segment holds its memory, which nobody writes.
        let data = unsafe { std::slice::from_raw_parts(first.ptr, first.len as usize) };
        let sent = self.ring.send_before_file(fd, data);
        // What it takes no more of now, and what it refuses, is left to the ring.
        if sent > 0 {
            self.advance(index, sent as u32, None);
        }
        self.conns.at(index).tx.is_empty()
    }

    /// Bytes of its file that the connection may send in this tick; 0 also when there is none.
    fn file_bytes_now(&mut self, index: u32) -> u64 {
        let tick = self.stats.polls;
        let Some(http) = machine(self.conns.at(index)) else { return 0 };
        let left = http.file_turn.left(tick);
        http.file.as_ref().map_or(0, |span| span.len.min(left))
    }

    /// Goes on with a file. Whether there is one that is not sent yet; what precedes it was sent,
    /// and there is no send under way.
    pub(in crate::engine) fn http_send_file(&mut self, index: u32) -> bool {
        let is_sealed = self.is_sealed(index);
        let len = self.file_bytes_now(index) as usize;
        let conn = self.conns.at(index);
        let sock = conn.sock;
        let Some(span) = machine(conn).and_then(|http| http.file.as_ref()) else { return false };
        if is_sealed {
            return true;
        }
        if len == 0 {
            // Its turn comes again in the next tick.
            self.poll_for_room(index);
            return true;
        }
        let (file, at) = (span.fd(), span.at);
        match self.ring.sendfile(sock.fd, file, at, len) {
            0 => self.cut(index),
            sent @ 1.. => self.file_sent(index, sent as u64),
            failed => self.file_not_sent(index, -failed),
        }
        true
    }

    fn file_sent(&mut self, index: u32, sent: u64) {
        let is_all = self.file_advanced(index, sent);
        let conn = self.conns.at(index);
        (conn.last_tx, conn.bytes_sent) = (self.now, conn.bytes_sent + sent);
        self.stats.bytes_sent += sent;
        if let Some(secure) = &mut conn.secure {
            secure.had_room = false;
        }
        if let Some(http) = machine(conn) {
            http.file_turn.took(sent);
        }
        match is_all {
            true => self.file_done(index),
            false => self.poll_for_room(index),
        }
    }

    fn file_not_sent(&mut self, index: u32, error: i32) {
        match error {
            // A kernel that seals may lack other room than the socket's.
            errno::EAGAIN if self.conns.at(index).has(Flags::TLS) => self.wait_for_room(index),
            errno::EAGAIN | errno::EINTR => self.poll_for_room(index),
            errno::ENOBUFS | errno::ENOMEM => self.send_again_later(index),
            errno::EIO => self.cut(index),
            // What the kernel could not open is told to whoever sends, as in `after_send`.
            error if self.on_kernel_error(index, error) => self.mark_dirty(index),
            error if is_of_the_file(error) => self.cut(index),
            error => self.on_send_error(index, error),
        }
    }

    fn poll_for_room(&mut self, index: u32) {
        let conn = self.conns.at(index);
        conn.set(Flags::SEND_BUSY);
        let (sock, token) = (conn.sock, conn.token(Tag::Room, index));
        self.ring.push(Op::Poll { sock, mask: POLLOUT, multi: false }, token);
    }

    /// Reads as much of a file into records as may wait to be sent, unless it is for the kernel.
    pub(in crate::engine) fn http_seal_file(&mut self, index: u32) {
        let file = machine(self.conns.at(index)).and_then(|http| http.file.as_ref());
        let Some(len) = file.map(|span| span.len) else { return };
        if self.waits_for_kernel(index, len) {
            return;
        }
        self.offer_tx(index, len);
        while self.is_sealed(index)
            && self.http_has_file(index)
            && self.conns.at(index).phase == Phase::Open
        {
            if self.queued_bytes(index) >= self.config.send_high_water {
                return;
            }
            if !self.seal_file_piece(index) {
                // What is sent makes room; and if nothing is, others make some.
                let conn = self.conns.at(index);
                if conn.tx.is_empty() && !conn.has(Flags::UNSEALED) {
                    self.send_again_later(index);
                }
                return;
            }
        }
    }

    /// Reads one record's worth. False: there was no room.
    fn seal_file_piece(&mut self, index: u32) -> bool {
        let conn = self.conns.at(index);
        let Some(plain_max) = conn.secure.as_ref().map(|secure| secure.tls.plain_max()) else {
            return false;
        };
        let Some(span) = machine(conn).and_then(|http| http.file.as_ref()) else { return false };
        let (file, at) = (span.fd(), span.at);
        let len = span.len.min(plain_max as u64) as usize;
        if self.segments.room() == 0 {
            return false;
        }
        let Some(buf) = self.pool.take(Class::Stream, Use::TxBulk) else { return false };
        let len = len.min(self.pool.size_of(buf));
        let into = &mut self.pool.room_mut(buf)[HEADROOM..HEADROOM + len];
        let read = self.ring.read_file(file, at, into);
        let Some(read) = usize::try_from(read).ok().filter(|read| *read > 0) else {
            self.pool.release(buf);
            if -read != errno::EINTR {
                self.cut(index);
            }
            return true;
        };
        self.stats.bytes_copied_tx += read as u64;
        self.queue_written(index, (buf, 0), read, true);
        if self.file_advanced(index, read as u64) {
            self.file_done(index);
        }
        true
    }

    /// So many bytes of the file are on their way. Whether that was all.
    fn file_advanced(&mut self, index: u32, len: u64) -> bool {
        let Some(http) = machine(self.conns.at(index)) else { return true };
        http.body_bytes += len;
        http.server.counters.bytes_sent.add(len);
        http.file.as_mut().is_none_or(|span| span.advance(len))
    }

    /// The answers behind it go on.
    fn file_done(&mut self, index: u32) {
        let conn = self.conns.at(index);
        conn.unset(Flags::WANT_WRITABLE);
        if let Some(http) = machine(conn) {
            http.file = None;
        }
        self.answered(index);
        self.http_settle(index);
        self.mark_dirty_if_due(index);
    }

    /// RFC 9112 §8: there is less of it than was promised, and the client can tell by the end of
    /// the connection alone.
    fn cut(&mut self, index: u32) {
        self.begin_end(index, code::HTTP_ANSWER_CUT, false);
    }
}

/// Fills `into` from the front of a stretch. False: so much is not there.
fn read_whole(ring: &mut Ring, span: &FileSpan, into: &mut [u8]) -> bool {
    let mut done = 0;
    while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match ring.read_file(span.fd(), span.at + done as u64, rest) {
            read @ 1.. => done += read as usize,
            failed if -failed == errno::EINTR => {}
            _ => return false,
        }
    }
    true
}
