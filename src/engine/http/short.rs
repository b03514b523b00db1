//! The short path of an answer: to the request whose turn it is, with a short body, on a
//! connection with nothing special under way. What it writes is what the long path would.

use super::{Engine, machine};
use crate::conn::Flags;
use crate::conn::tx::{Segment, Source};
use crate::http::status;
use crate::ids::ConnId;
use crate::pool::{BufId, Class, HEADROOM, Use};
use crate::proto::gzip::Gzip;
use crate::proto::http::{Content, Out, SHORT_LEN_MAX, ZeroResponse};

impl Engine {
    /// Whether the answer was given.
    #[inline]
    pub(super) fn respond_short(
        &mut self,
        id: ConnId,
        request: u64,
        response: &ZeroResponse<'_>,
    ) -> bool {
        let body = match &response.content {
            Content::Copied(bytes) => *bytes,
            Content::None => &[],
            _ => return false,
        };
        let Some(line) = status::line(response.status) else { return false };
        if self.now >= self.http.clock_until || !response.is_short() {
            return false;
        }
        let whole = SHORT_LEN_MAX + response.content_type.len() + body.len();
        let Some(conn) = self.conns.place(id) else { return false };
        let is_plain = conn.is_plain(Flags::TLS | Flags::WRITE_LIMIT);
        let Some(http) = machine(conn) else { return false };
        let may_code = Gzip::IS_ON && body.len() >= http.server.compression_min;
        if !is_plain || may_code || !http.is_simple(request) {
            return false;
        }
        let conn = self.conns.at(id.index());
        let place = if conn.tx.is_empty() {
            self.first_room(whole)
        } else {
            self.segments
                .appendable(&mut conn.tx, &self.pool)
                .filter(|(buf, end)| self.pool.size_of(*buf) >= end + whole)
        };
        let Some((buf, end)) = place else { return false };
        let mut out = Out::new(&mut self.pool.room_mut(buf)[HEADROOM + end..]);
        out.put(line);
        self.http.clock.write(&mut out);
        if !response.content_type.is_empty() {
            out.put(b"Content-Type: ");
            out.put(response.content_type.as_bytes());
            out.put(b"\r\n");
        }
        out.put(b"Content-Length: ");
        out.number(body.len() as u64);
        out.put(b"\r\n\r\n");
        out.put(body);
        let len = out.len() as u32;
        let ptr = self.pool.ptr(buf).cast_const();
        let conn = self.conns.at(id.index());
        if end == 0 {
            conn.tx.push_first(Segment { ptr, source: Source::Buf { buf, own: true }, len });
        } else {
            self.segments.grow_last(&mut conn.tx, len);
        }
        self.lists.mark_dirty(conn, id);
        self.stats.bytes_copied_tx += body.len() as u64;
        if let Some(http) = machine(self.conns.at(id.index())) {
            let latency = http.finish(self.now);
            http.server.counters.bytes_sent.add(len.into());
            http.server.counters.answered(response.status, latency);
        }
        true
    }

    /// Room in a buffer that nothing was written to.
    #[inline]
    fn first_room(&mut self, whole: usize) -> Option<(BufId, usize)> {
        if whole > self.pool.class_size(Class::Slots) {
            return None;
        }
        self.pool.take(Class::Slots, Use::TxBulk).map(|buf| (buf, 0))
    }
}
