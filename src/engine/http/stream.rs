//! Bodies of answers that are written piece by piece.

use super::{Engine, machine};
use crate::code;
use crate::conn::Flags;
use crate::conn::tx::{Segment, Source};
use crate::error::{IoError, PoolKind, Result};
use crate::ids::ConnId;
use crate::pool::{HEADROOM, SendBuffer};
use crate::proto::http::{
    CHUNK_HEAD_LEN_MAX, Fields, OF_ANSWERS, Out, Parts, chunk_head, parts_len_max,
};
use crate::proto::http1::Writing;

const LINE: &[u8] = b"\r\n";
/// What a chunk has around its data.
const AROUND: usize = CHUNK_HEAD_LEN_MAX + LINE.len();
/// A chunk is not begun for less, if there is more to write: it costs the client as much as a long
/// one.
const PIECE_MIN: usize = 256;
/// Places in the send queue that a piece and the lines around it take at most, sealed or not.
const AROUND_PIECE: usize = 8;

impl Engine {
    /// How the body ends, if that of an answer to that request, or of that request of a client, is
    /// being written.
    fn http_writing(&mut self, conn: ConnId, request: u64) -> Result<Writing> {
        let entry = self.conns.get(conn)?;
        if !entry.takes_writes() {
            return Err(IoError::WriteClosed { conn });
        }
        let writing = match machine(entry) {
            Some(http) => http.is_writing(request).then_some(http.writing),
            None => self.client_writing(conn, request),
        };
        writing.ok_or(IoError::NoSuchRequest { conn, request })
    }

    /// Writes a piece of a body; how much was accepted.
    pub(crate) fn http_write(&mut self, conn: ConnId, request: u64, data: &[u8]) -> Result<usize> {
        let high = self.config.send_high_water;
        let writing = self.http_writing(conn, request)?;
        let index = conn.index();
        let data = match writing {
            Writing::Headless => return Ok(data.len()),
            Writing::Known { left } if data.len() as u64 > left => return Err(TOO_LONG),
            _ => data,
        };
        self.start_write_clock(index);
        let mut done = 0;
        while done < data.len() {
            let queued = self.queued_bytes(index);
            if queued >= high {
                self.want_writable(conn, false);
                break;
            }
            let piece = &data[done..data.len().min(done + (high - queued))];
            match self.write_body_piece(index, piece, writing == Writing::Chunked) {
                0 => {
                    self.want_writable(conn, true);
                    break;
                }
                n => done += n,
            }
        }
        self.stats.bytes_copied_tx += done as u64;
        self.body_written(index, done);
        Ok(done)
    }

    pub(super) fn queued_bytes(&mut self, index: u32) -> usize {
        let conn = self.conns.at(index);
        let unsealed = conn.secure.as_ref().map_or(0, |secure| secure.unsealed.bytes);
        conn.tx.bytes as usize + unsealed as usize
    }

    /// Queues one piece; how much of it.
    fn write_body_piece(&mut self, index: u32, data: &[u8], chunked: bool) -> usize {
        let sealed = self.is_sealed(index);
        let around = if chunked { AROUND } else { 0 };
        let Some((buf, end)) = self.http_room(index, around + data.len().min(PIECE_MIN), sealed)
        else {
            return 0;
        };
        let room = self.pool.size_of(buf) - end - around;
        let n = data.len().min(room);
        let mut out = Out::new(&mut self.pool.room_mut(buf)[HEADROOM + end..]);
        if chunked {
            out.put(chunk_head(n, &mut [0; CHUNK_HEAD_LEN_MAX]));
        }
        out.put(&data[..n]);
        if chunked {
            out.put(LINE);
        }
        let len = out.len();
        self.count_sent(index, len - n);
        self.queue_written(index, (buf, end), len, sealed);
        n
    }

    /// Writes a piece of a body from where it lies. All or nothing.
    pub(crate) fn http_write_buffer(
        &mut self,
        conn: ConnId,
        request: u64,
        buffer: SendBuffer,
    ) -> Result<()> {
        let writing = self.http_writing(conn, request)?;
        let (index, len) = (conn.index(), buffer.len());
        match writing {
            Writing::Headless => return Ok(()),
            Writing::Known { left } if len as u64 > left => return Err(TOO_LONG),
            _ if len == 0 => return Ok(()),
            _ => {}
        }
        if self.queued_bytes(index) >= self.config.send_high_water {
            self.want_writable(conn, false);
            let capacity = self.config.send_high_water;
            return Err(IoError::QueueFull { queue: "connection send", capacity });
        }
        // The line before it, the data, the line behind it.
        if self.segments.room() < AROUND_PIECE {
            self.want_writable(conn, true);
            return Err(IoError::exhausted(PoolKind::SendQueue));
        }
        let raw = self.pool.adopt(buffer)?;
        if writing == Writing::Chunked && !self.write_line(index, Some(len)) {
            self.pool.release(raw.buf);
            self.want_writable(conn, true);
            return Err(IoError::exhausted(PoolKind::Slots));
        }
        self.write_raw(conn, raw)?;
        self.body_written(index, len);
        if writing == Writing::Chunked && !self.write_line(index, None) {
            // The chunk cannot be ended, and its data cannot be taken back.
            self.cut_body(index);
        }
        Ok(())
    }

    /// Sends (a part of) the current event's payload on as a piece of a body, from where it lies.
    /// As `forward`, it may exceed the high-water mark.
    pub(crate) fn http_forward(&mut self, conn: ConnId, request: u64, data: &[u8]) -> Result<()> {
        let writing = self.http_writing(conn, request)?;
        match writing {
            Writing::Headless => return Ok(()),
            Writing::Known { left } if data.len() as u64 > left => return Err(TOO_LONG),
            _ if data.is_empty() => return Ok(()),
            _ => {}
        }
        let (buf, _) = self.place_in_current(data).ok_or(NOT_CURRENT)?;
        let index = conn.index();
        if self.segments.room() < AROUND_PIECE {
            return Err(IoError::exhausted(PoolKind::SendQueue));
        }
        self.start_write_clock(index);
        if writing == Writing::Chunked && !self.write_line(index, Some(data.len())) {
            return Err(IoError::exhausted(PoolKind::Slots));
        }
        self.pool.hold(buf);
        let source = Source::Buf { buf, own: false };
        self.enqueue(index, Segment { ptr: data.as_ptr(), source, len: data.len() as u32 });
        self.body_written(index, data.len());
        if writing == Writing::Chunked && !self.write_line(index, None) {
            self.cut_body(index);
        }
        Ok(())
    }

    /// Ends a connection in the middle of a body, by which its peer can tell (RFC 9112 §8).
    fn cut_body(&mut self, index: u32) {
        let code = match machine(self.conns.at(index)) {
            Some(http) => {
                http.code = code::HTTP_ANSWER_CUT;
                http.code
            }
            None => code::HTTP_REQUEST_CUT,
        };
        self.begin_end(index, code, false);
    }

    /// The line before a chunk of that length, or the one behind it.
    fn write_line(&mut self, index: u32, len: Option<usize>) -> bool {
        let sealed = self.is_sealed(index);
        let Some((buf, end)) = self.http_room(index, AROUND, sealed) else { return false };
        let mut out = Out::new(&mut self.pool.room_mut(buf)[HEADROOM + end..]);
        match len {
            Some(len) => out.put(chunk_head(len, &mut [0; CHUNK_HEAD_LEN_MAX])),
            None => out.put(LINE),
        }
        let len = out.len();
        self.count_sent(index, len);
        self.queue_written(index, (buf, end), len, sealed);
        true
    }

    fn body_written(&mut self, index: u32, len: usize) {
        let Some(http) = machine(self.conns.at(index)) else {
            return self.client_wrote(index, len);
        };
        http.body_bytes += len as u64;
        http.server.counters.bytes_sent.add(len as u64);
        if let Writing::Known { left } = &mut http.writing {
            *left -= len as u64;
        }
    }

    /// Ends a body that was written piece by piece.
    pub(crate) fn http_finish(
        &mut self,
        conn: ConnId,
        request: u64,
        trailers: &[(&str, &str)],
    ) -> Result<()> {
        let index = conn.index();
        match self.http_writing(conn, request)? {
            Writing::Known { left } if left > 0 => {
                self.cut_body(index);
                return Err(TOO_SHORT);
            }
            Writing::Chunked => self.write_last_chunk(index, trailers)?,
            _ => {}
        }
        self.conns.at(index).unset(Flags::WANT_WRITABLE);
        if self.client_wrote_all(index) {
            return Ok(());
        }
        self.answered(index);
        self.http_settle(index);
        Ok(())
    }

    /// RFC 9112 §7.1: the last chunk, the trailer fields, and an empty line.
    fn write_last_chunk(&mut self, index: u32, trailers: &[(&str, &str)]) -> Result<()> {
        let mut fields = Fields::new();
        for (name, value) in trailers {
            fields.push(name, (*value).into());
        }
        fields.check(&OF_ANSWERS)?;
        let parts = Parts::Fields { content_type: "", fields: &fields };
        let sealed = self.is_sealed(index);
        let whole = "0\r\n".len() + parts_len_max(&parts) + LINE.len();
        let room = self.http_room(index, whole, sealed);
        let (buf, end) = room.ok_or(IoError::exhausted(PoolKind::Slots))?;
        let mut out = Out::new(&mut self.pool.room_mut(buf)[HEADROOM + end..]);
        out.put(b"0\r\n");
        parts.write(&mut out);
        out.put(LINE);
        let len = out.len();
        self.count_sent(index, len);
        self.queue_written(index, (buf, end), len, sealed);
        Ok(())
    }
}

const TOO_LONG: IoError = IoError::InvalidArgument {
    what: "body of a message",
    why: "it is longer than the length given to stream_of; nothing of this piece was accepted",
};
const TOO_SHORT: IoError = IoError::InvalidArgument {
    what: "body of a message",
    why: "it is shorter than the length given to stream_of; the connection is closed",
};
const NOT_CURRENT: IoError = IoError::InvalidArgument {
    what: "data to forward",
    why: "it is not of the current event; use http_write for other bytes",
};
