//! The short path of an answer: to the request whose turn it is, with a short body, on a
//! connection with nothing special under way. What it writes is what the long path would.

use super::Engine;
use super::write::COPY_MAX;
use crate::conn::Flags;
use crate::conn::tx::{Segment, Source};
use crate::ids::ConnId;
use crate::pool::{BufId, Class, HEADROOM, Pool, Use};
use crate::proto::App;
use crate::proto::gzip::Gzip;

impl Engine {
    /// Whether the answer was given. Its parts come in registers: what is put into memory to be
    /// read again at once is waited for.
    pub(crate) fn respond_short(
        &mut self,
        id: ConnId,
        request: u64,
        status: u16,
        media: &str,
        is_own_media: bool,
        body: &[u8],
    ) -> bool {
        if self.now >= self.http.clock_until || body.len() > COPY_MAX {
            return false;
        }
        let Some(conn) = self.conns.place(id) else { return false };
        let is_plain = conn.is_plain(Flags::TLS | Flags::WRITE_LIMIT);
        let App::Http1(http) = &mut conn.app else { return false };
        let may_code = Gzip::IS_ON && body.len() >= http.server.compression_min;
        if !is_plain || may_code || !http.is_simple(request) {
            return false;
        }
        let hub = &mut self.http;
        let media = (media, is_own_media);
        let Some(head) = hub.short_head.of(status, media, body.len(), &hub.clock) else {
            return false;
        };
        let whole = head.len() + body.len();
        let place = if conn.tx.is_empty() {
            first_room(&mut self.pool, whole, http.due() == 1)
        } else {
            self.segments
                .appendable(&mut conn.tx, &self.pool)
                .filter(|(buf, end)| self.pool.size_of(*buf) >= end + whole)
        };
        let Some((buf, end)) = place else { return false };
        let room = &mut self.pool.room_mut(buf)[HEADROOM + end..][..whole];
        let (front, behind) = room.split_at_mut(head.len());
        front.copy_from_slice(head);
        behind.copy_from_slice(body);
        let len = whole as u32;
        if end == 0 {
            let ptr = self.pool.ptr(buf).cast_const();
            conn.tx.push_first(Segment { ptr, source: Source::Buf { buf, own: true }, len });
        } else {
            self.segments.grow_last(&mut conn.tx, len);
        }
        let waited = http.finish(self.now);
        http.server.counters.bytes_sent.add(len.into());
        http.server.counters.answered(status, waited);
        self.stats.bytes_copied_tx += body.len() as u64;
        self.lists.mark_dirty(conn, id);
        true
    }
}

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
