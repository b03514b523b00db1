//! Writing: an answer becomes bytes in the send queue.
//!
//! Role: room in buffers, heads, and bodies of every kind. Not role: whose turn it is (`answer`).
//!
//! *Invariant*: an answer is queued whole, or nothing of it is.

use std::sync::Arc;

use super::file::READ_MAX;
use super::{Engine, machine};
use crate::conn::tx::{Segment, Source};
use crate::error::{IoError, PoolKind, Result};
use crate::http::{HttpMethod, status};
use crate::ids::StreamId;
use crate::pool::{BufId, Class, HEADROOM, Use, WriteGuard};
use crate::proto::gzip::Gzip;
use crate::proto::http::{
    BAD_JSON, BodyLen, Clock, Coding, Content, ContentRange, Head, Out, Parts, Reply, coding,
    head_len_max, is_compressible,
};
use crate::proto::http1::{HeadFlags, Pending, Writing};

/// A body up to this length is copied behind its head: that costs less than a segment of its own.
pub(in crate::engine) const COPY_MAX: usize = 1024;
/// The largest body that is copied into buffers of the pool; a longer one is copied into memory of
/// its own.
const POOLED_MAX: usize = 128 * 1024;
/// How long a `Date` line is good for.
const CLOCK_PERIOD: std::time::Duration = std::time::Duration::from_millis(500);

/// Places in the send queue that a head and a body in one piece take at most, sealed or not.
const AROUND_BODY: usize = 8;

/// What follows a head, apart from what is copied behind it.
#[derive(Clone, Copy)]
pub(in crate::engine) enum Behind {
    Nothing,
    Buffer,
    Kept,
    Copied,
}

/// What is to be written.
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) close: bool,
    pub(super) parts: Parts<'a>,
    pub(super) content: Content<'a>,
    pub(super) coding: Coding,
}

impl Engine {
    pub(super) fn write_answer(&mut self, index: u32, answer: Answer<'_>) -> Result<()> {
        if let Content::Json(value) = answer.content {
            let mut scratch = std::mem::take(&mut self.http.scratch);
            scratch.clear();
            let written = value.write_to(&mut scratch).map_err(|_| BAD_JSON);
            let content = Content::Copied(&scratch);
            let result =
                written.and_then(|()| self.write_coded(index, Answer { content, ..answer }));
            self.http.scratch = scratch;
            return result;
        }
        self.write_coded(index, answer)
    }

    /// Compresses what is worth it.
    fn write_coded(&mut self, index: u32, answer: Answer<'_>) -> Result<()> {
        let Some((bytes, accepts)) = self.worth_coding(index, &answer) else {
            return self.write_whole(index, answer);
        };
        if !accepts {
            return self.write_whole(index, Answer { coding: Coding::Varies, ..answer });
        }
        let mut gzip = std::mem::take(&mut self.http.gzip);
        let result = match gzip.compress(bytes, bytes.len().saturating_sub(Coding::COST)) {
            Some(small) => {
                let (content, coding) = (Content::Copied(small), Coding::Gzip);
                self.write_whole(index, Answer { content, coding, ..answer })
            }
            None => self.write_whole(index, Answer { coding: Coding::Varies, ..answer }),
        };
        self.http.gzip = gzip;
        result
    }

    /// The body, if it is one that is compressed, and whether this client accepts that.
    #[inline]
    fn worth_coding<'a>(&mut self, index: u32, answer: &'a Answer<'_>) -> Option<(&'a [u8], bool)> {
        if !Gzip::IS_ON {
            return None;
        }
        let bytes = match &answer.content {
            Content::Copied(bytes) => bytes,
            Content::Kept(memory) => memory.bytes(),
            _ => return None,
        };
        let http = machine(self.conns.at(index))?;
        if bytes.len() < http.server.compression_min || bytes.len() > coding::LEN_MAX {
            return None;
        }
        let is_worth_it = match &answer.parts {
            Parts::Lines { is_compressible, .. } => *is_compressible,
            Parts::Fields { content_type, fields } => {
                is_compressible(answer.status, content_type, fields)
            }
        };
        let pending = http.pending(http.turn());
        is_worth_it.then(|| (bytes, pending.flags.contains(HeadFlags::ACCEPTS_GZIP)))
    }

    fn write_whole(&mut self, index: u32, answer: Answer<'_>) -> Result<()> {
        let Answer { status, close, parts, content, coding } = answer;
        let Some(http) = machine(self.conns.at(index)) else { return Ok(()) };
        let pending = http.pending(http.turn());
        let len = content_len(&content);
        let range = content_range(status, &content);
        let body = body_len(status, &pending, len);
        let closes =
            close || pending.flags.contains(HeadFlags::CLOSE) || body == BodyLen::UntilClose;
        let keep_alive = !closes && pending.flags.contains(HeadFlags::KEEP_ALIVE_10);
        let head = Head { status, parts, body, coding, range, close: closes, keep_alive };
        let headless = pending.method == HttpMethod::Head || status::has_no_body(status);
        self.start_write_clock(index);
        match content {
            _ if headless => self.put_head(index, &head, &[])?,
            Content::None | Content::NotThere(_) => self.put_head(index, &head, &[])?,
            Content::File(span) if self.is_read(&head, &span) => {
                if !self.put_read_file(index, &head, &span)? {
                    return Ok(());
                }
            }
            Content::File(span) => return self.begin_file(index, &head, span),
            Content::Copied(bytes) if bytes.len() <= COPY_MAX => {
                self.put_head(index, &head, bytes)?;
            }
            Content::Kept(memory) if memory.bytes().len() <= COPY_MAX => {
                self.put_head(index, &head, memory.bytes())?;
            }
            Content::Copied(bytes) => self.put_copied(index, &head, bytes)?,
            Content::Kept(memory) if self.guards.are_none() => {
                self.put_copied(index, &head, memory.bytes())?;
            }
            Content::Kept(memory) => self.put_guard(index, &head, memory)?,
            Content::Buffer(buffer) => {
                self.check_room(Behind::Buffer)?;
                let raw = self.pool.adopt(buffer)?;
                if let Err(error) = self.put_head(index, &head, &[]) {
                    self.pool.release(raw.buf);
                    return Err(error);
                }
                let conn = self.conns.at(index).id(index);
                self.write_raw(conn, raw)?;
            }
            Content::Later(_) => self.put_head(index, &head, &[])?,
            Content::Json(_) => unreachable!("it was serialised"),
        }
        let writing = match (len, body) {
            (Len::Known(_), _) => Writing::Nothing,
            (Len::Later(_), _) if headless => Writing::Headless,
            (Len::Later(_), BodyLen::Known(left)) => Writing::Known { left },
            (Len::Later(_), BodyLen::Chunked) => Writing::Chunked,
            (Len::Later(_), _) => Writing::UntilClose,
        };
        let Some(http) = machine(self.conns.at(index)) else { return Ok(()) };
        (http.status, http.closes, http.writing) = (status, closes, writing);
        http.body_bytes = 0;
        if let Len::Known(len) = len {
            http.body_bytes = if headless { 0 } else { len };
            self.answered(index);
        }
        Ok(())
    }

    /// Queues a head and a short body behind it.
    #[inline]
    pub(super) fn put_head(&mut self, index: u32, head: &Head<'_>, body: &[u8]) -> Result<()> {
        self.refresh_clock();
        let whole = head.len_max() + body.len();
        let sealed = self.is_sealed(index);
        let place =
            self.http_room(index, whole, sealed).ok_or(IoError::exhausted(PoolKind::Slots))?;
        let (buf, end) = place;
        let mut out = Out::new(&mut self.pool.room_mut(buf)[HEADROOM + end..]);
        head.write(&mut out, &self.http.clock);
        out.put(body);
        let len = out.len();
        self.stats.bytes_copied_tx += body.len() as u64;
        self.count_sent(index, len);
        self.queue_written(index, place, len, sealed);
        Ok(())
    }

    /// Room for `whole` bytes: behind what was written last, or in a buffer of its own. What is
    /// sealed is sealed where it lies, and so each time in a buffer of its own.
    pub(in crate::engine) fn http_room(
        &mut self,
        index: u32,
        whole: usize,
        sealed: bool,
    ) -> Option<(BufId, usize)> {
        let conn = self.conns.at(index);
        if !sealed
            && let Some((buf, end)) = self.segments.appendable(&mut conn.tx, &self.pool)
            && self.pool.size_of(buf) >= end + whole
        {
            return Some((buf, end));
        }
        let is_first = if sealed { false } else { conn.tx.is_empty() };
        if self.segments.room() == 0 && !is_first {
            return None;
        }
        // Answers to pipelined requests go into one large buffer.
        let fits = whole <= self.pool.class_size(Class::Slots);
        let conn = self.conns.at(index);
        let is_last = machine(conn).is_none_or(|http| http.due() <= 1);
        let small = fits && (sealed || (conn.tx.is_empty() && is_last));
        if small && let Some(buf) = self.pool.take(Class::Slots, Use::TxBulk) {
            return Some((buf, 0));
        }
        if whole <= self.pool.class_size(Class::Stream)
            && let Some(buf) = self.pool.take(Class::Stream, Use::TxBulk)
        {
            return Some((buf, 0));
        }
        let last = if fits { self.pool.take(Class::Slots, Use::TxCritical) } else { None };
        last.map(|buf| (buf, 0))
    }

    /// Queues what was written to such room.
    pub(in crate::engine) fn queue_written(
        &mut self,
        index: u32,
        (buf, end): (BufId, usize),
        len: usize,
        sealed: bool,
    ) {
        let ptr = self.pool.ptr(buf).cast_const();
        let len = len as u32;
        if sealed {
            let source = Source::Buf { buf, own: false };
            self.enqueue_sealed(index, Segment { ptr, source, len });
        } else if end > 0 {
            self.segments.grow_last(&mut self.conns.at(index).tx, len);
        } else {
            // What was taken from the last resort is accounted for elsewhere.
            let own = self.pool.is_bulk(buf);
            self.append(index, ptr, Source::Buf { buf, own }, len);
        }
        self.mark_dirty(index);
    }

    /// Whether what follows a head finds room: an answer is queued whole, or nothing of it is.
    pub(in crate::engine) fn check_room(&self, behind: Behind) -> Result<()> {
        if matches!(behind, Behind::Nothing) {
            return Ok(());
        }
        if self.segments.room() < AROUND_BODY {
            return Err(IoError::exhausted(PoolKind::SendQueue));
        }
        // Without guard writes it lies in one buffer with its head.
        let is_needed = !matches!(behind, Behind::Buffer) && !self.guards.are_none();
        if is_needed && self.guards.is_full() {
            return Err(IoError::exhausted(PoolKind::Guards));
        }
        Ok(())
    }

    /// Whether an answer that was written down finds room, head and all.
    pub(super) fn has_room_for_reply(&mut self, index: u32, reply: &Reply) -> bool {
        let (parts, len, is_copied) = reply.sizes();
        let behind = match (len, is_copied) {
            (None, _) => Behind::Buffer,
            (Some(len), _) if len <= COPY_MAX => Behind::Nothing,
            (Some(_), true) => Behind::Copied,
            (Some(_), false) => Behind::Kept,
        };
        let read = reply.file_len().filter(|len| *len <= READ_MAX).unwrap_or(0) as usize;
        let is_one = |len: &usize| *len <= COPY_MAX || self.guards.are_none();
        let short = len.filter(is_one).unwrap_or(read);
        let whole = head_len_max(&parts) + short;
        if self.check_room(behind).is_err() {
            return false;
        }
        if whole > self.pool.class_size(Class::Stream) {
            // Waiting would not help.
            return true;
        }
        let sealed = self.is_sealed(index);
        match self.http_room(index, whole, sealed) {
            Some((buf, 0)) => {
                self.pool.release(buf);
                true
            }
            place => place.is_some(),
        }
    }

    fn put_guard(&mut self, index: u32, head: &Head<'_>, memory: WriteGuard) -> Result<()> {
        let conn = self.conns.at(index).id(index);
        let len = memory.bytes().len();
        self.check_room(Behind::Kept)?;
        self.put_head(index, head, &[])?;
        self.count_sent(index, len);
        self.append_guard(conn, StreamId::ZERO, memory, None)
    }

    /// A body that is copied: into buffers of the pool while there are some, the rest into memory
    /// of its own.
    fn put_copied(&mut self, index: u32, head: &Head<'_>, bytes: &[u8]) -> Result<()> {
        self.check_room(Behind::Copied)?;
        if self.guards.are_none() {
            let size = self.pool.class_size(Class::Stream);
            let max = size.saturating_sub(head_len_max(&head.parts));
            if bytes.len() > max {
                return Err(IoError::BufferTooLarge { len: bytes.len(), max });
            }
            return self.put_head(index, head, bytes);
        }
        self.put_head(index, head, &[])?;
        self.count_sent(index, bytes.len());
        self.put_pieces(index, bytes)
    }

    /// Queues copied bytes behind what is queued; there is room for them.
    pub(in crate::engine) fn put_pieces(&mut self, index: u32, bytes: &[u8]) -> Result<()> {
        self.stats.bytes_copied_tx += bytes.len() as u64;
        let sealed = self.is_sealed(index);
        // Sealing takes of the same room, and the rest needs some.
        let least = if sealed { AROUND_BODY } else { 1 };
        let mut rest = bytes;
        while !rest.is_empty() && bytes.len() <= POOLED_MAX && self.segments.room() > least {
            let n = self.put_piece(index, rest, sealed);
            if n == 0 {
                break;
            }
            rest = &rest[n..];
        }
        if rest.is_empty() {
            return Ok(());
        }
        let conn = self.conns.at(index).id(index);
        self.append_guard(conn, StreamId::ZERO, WriteGuard::Shared(Arc::from(rest)), None)
    }

    fn put_piece(&mut self, index: u32, data: &[u8], sealed: bool) -> usize {
        let n = data.len().min(self.pool.class_size(Class::Stream));
        let Some((buf, end)) = self.http_room(index, n, sealed) else { return 0 };
        let room = &mut self.pool.room_mut(buf)[HEADROOM + end..];
        room[..n].copy_from_slice(&data[..n]);
        self.queue_written(index, (buf, end), n, sealed);
        n
    }

    pub(super) fn count_sent(&mut self, index: u32, len: usize) {
        if let Some(http) = machine(self.conns.at(index)) {
            http.server.counters.bytes_sent.add(len as u64);
        }
    }

    #[inline]
    pub(super) fn refresh_clock(&mut self) {
        if self.now >= self.http.clock_until {
            self.http.clock = Clock::at(self.ring.wall_secs());
            self.http.short_head.clear();
            self.http.clock_until = self.now.saturating_add(CLOCK_PERIOD);
        }
    }
}

/// How long a body is.
#[derive(Clone, Copy)]
enum Len {
    Known(u64),
    /// It is written later.
    Later(Option<u64>),
}

fn content_len(content: &Content<'_>) -> Len {
    Len::Known(match content {
        Content::Later(len) => return Len::Later(*len),
        Content::None | Content::NotThere(_) | Content::Json(_) => 0,
        Content::Copied(bytes) => bytes.len() as u64,
        Content::Kept(memory) => memory.bytes().len() as u64,
        Content::Buffer(buffer) => buffer.len() as u64,
        Content::File(span) => span.len,
    })
}

/// What is said of the part that a body is.
fn content_range(status: u16, content: &Content<'_>) -> Option<ContentRange> {
    match content {
        Content::File(span) if status == 206 => {
            let last = span.at + span.len.saturating_sub(1);
            Some(ContentRange { part: Some((span.at, last)), of: span.whole_len() })
        }
        Content::NotThere(of) => Some(ContentRange { part: None, of: *of }),
        _ => None,
    }
}

/// How the client is to know where the body ends, RFC 9112 §6.
const fn body_len(status: u16, pending: &Pending, len: Len) -> BodyLen {
    match len {
        _ if status::has_no_body(status) => BodyLen::None,
        Len::Known(len) | Len::Later(Some(len)) => BodyLen::Known(len),
        Len::Later(None) if pending.flags.contains(HeadFlags::VERSION_10) => BodyLen::UntilClose,
        Len::Later(None) => BodyLen::Chunked,
    }
}
