//! The short path of an answer: to the request whose turn it is, with a short body, on a
//! connection with nothing special under way. What it writes is what the long path would.

use super::write::COPY_MAX;
use super::{Engine, machine};
use crate::conn::Flags;
use crate::conn::tx::{Segment, Source};
use crate::ids::ConnId;
use crate::pool::{BufId, Class, HEADROOM, Pool, Use};
use crate::proto::gzip::Gzip;
use crate::proto::http::{Content, Out, ZeroResponse};

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
        let is_short = body.len() <= COPY_MAX && response.is_short();
        if self.now >= self.http.clock_until || !is_short {
            return false;
        }
        let Some(conn) = self.conns.place(id) else { return false };
        let is_plain = conn.is_plain(Flags::TLS | Flags::WRITE_LIMIT);
        let Some(http) = machine(conn) else { return false };
        let may_code = Gzip::IS_ON && body.len() >= http.server.compression_min;
        if !is_plain || may_code || !http.is_simple(request) {
            return false;
        }
        let is_last = http.due() == 1;
        let hub = &mut self.http;
        let head = hub.short_head.of(response.status, response.content_type, &hub.clock);
        let Some(head) = head else { return false };
        let whole = head.len() + Out::NUMBER_LEN_MAX + END.len() + body.len();
        let conn = self.conns.at(id.index());
        let place = if conn.tx.is_empty() {
            first_room(&mut self.pool, whole, is_last)
        } else {
            self.segments
                .appendable(&mut conn.tx, &self.pool)
                .filter(|(buf, end)| self.pool.size_of(*buf) >= end + whole)
        };
        let Some((buf, end)) = place else { return false };
        let mut out = Out::new(&mut self.pool.room_mut(buf)[HEADROOM + end..]);
        out.put(head);
        out.number(body.len() as u64);
        out.put(END);
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
}

const END: &[u8] = b"\r\n\r\n";

/// Room in a buffer that nothing was written to: a large one where more answers are to follow, so
/// that one send takes them all.
#[inline]
fn first_room(pool: &mut Pool, whole: usize, is_last: bool) -> Option<(BufId, usize)> {
    let fits = whole <= pool.class_size(Class::Stream);
    let large = (fits && !is_last).then(|| pool.take(Class::Stream, Use::TxBulk)).flatten();
    let buf = match large {
        Some(buf) => buf,
        None if whole > pool.class_size(Class::Slots) => return None,
        None => pool.take(Class::Slots, Use::TxBulk)?,
    };
    Some((buf, 0))
}
