//! Uploads: bodies on their way to other threads, behind requests that were detached.
//!
//! ```text
//! chunk ─▶ waiting ─▶ ring ─▶ BodyStream          dropped, or room again
//!             │ ring full, or too many buffers out: the body is held,     │
//!             └▶ and the connection reads no further ◀──── marks ─────────┘
//! ```
//!
//! Role: the shard's end of each body. Not role: the ring, and the stream (`event::body`).
//!
//! *Invariants*: a chunk goes to the ring in its order, with the hold of its buffer; nothing waits
//! unless the body is held, or came before it was known to be an upload. A place is used again when
//! its stream is gone, and not before.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Engine, machine};
use crate::code;
use crate::conn::{Phase, Span};
use crate::error::{IoError, PoolKind, Result};
use crate::event::BodyStream;
use crate::event::body::{BodyEnd, BodyMarks, BodyRing};
use crate::event::http::HttpKind;
use crate::event::record::{Kind, Record};
use crate::ids::ConnId;
use crate::pool::{BufId, Pool};
use crate::proto::http1::BodyTo;

/// Pieces that wait without an allocation: there are more only before a request is detached.
const WAITING_MIN: usize = 16;

/// The uploads of a shard. Their places are kept for later ones.
#[derive(Default)]
pub(super) struct Uploads {
    places: Vec<Upload>,
    free: Vec<u32>,
    /// Those that wait for a buffer to come home, so that they may have one out.
    starved: VecDeque<u32>,
    /// Made with the first one.
    marks: Option<Arc<BodyMarks>>,
}

struct Upload {
    ring: BodyRing,
    state: State,
    waiting: VecDeque<Span>,
    is_starved: bool,
    /// Pieces that had been taken when the time was last up.
    taken: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// It is being read, on that connection.
    Coming(ConnId),
    /// All of it was read; some waits for room.
    Read,
    /// Its ring has ended, or not begun.
    Over,
    /// Nobody has its stream.
    Free,
}

impl Uploads {
    /// Whether a stream has something to say.
    pub(super) fn has_marks(&self) -> bool {
        self.marks.as_ref().is_some_and(|shared| !shared.marks.is_empty())
    }

    pub(super) fn is_starved(&self) -> bool {
        !self.starved.is_empty()
    }

    fn get(&mut self, place: u32) -> Option<&mut Upload> {
        self.places.get_mut(place as usize)
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        for upload in &mut self.places {
            if matches!(upload.state, State::Coming(_) | State::Read) {
                upload.ring.finish(BodyEnd::Cut { error_code: code::IO_GONE });
            }
        }
    }
}

impl Upload {
    /// Moves what waits to the ring. Whether the body is held.
    fn pump(&mut self, pool: &mut Pool) -> bool {
        loop {
            while let Some(&Span { buf, offset, len }) = self.waiting.front()
                && !self.ring.is_full()
            {
                let Ok(chunk) = pool.detach(buf, offset, len) else {
                    self.is_starved = true;
                    return true;
                };
                self.waiting.pop_front();
                self.ring.push(chunk);
            }
            let is_all = self.waiting.is_empty();
            if is_all && (self.state == State::Read || !self.ring.is_full()) {
                return false;
            }
            if self.ring.waits_for_room() {
                return true;
            }
        }
    }

    fn drop_waiting(&mut self, pool: &mut Pool) {
        self.is_starved = false;
        for span in self.waiting.drain(..) {
            pool.release(span.buf);
        }
    }
}

impl Engine {
    // ---- the beginning

    /// A place for a body, and its stream.
    ///
    /// # Errors
    /// `PoolExhausted`: there are as many streams as there may be connections.
    pub(super) fn open_upload(&mut self) -> Result<(u32, BodyStream)> {
        self.run_marks();
        let max = self.config.max_connections;
        let uploads = &mut self.http.uploads;
        let marks = uploads.marks.get_or_insert_with(|| {
            let (gate, pool) = (Arc::clone(&self.gate), Arc::clone(self.pool.shared()));
            Arc::new(BodyMarks::new(max, gate, pool))
        });
        if let Some(place) = uploads.free.pop() {
            let upload = &mut uploads.places[place as usize];
            let stream = upload.ring.renew().expect("a free one has no stream");
            upload.state = State::Over;
            return Ok((place, stream));
        }
        if uploads.places.len() == max {
            return Err(IoError::exhausted(PoolKind::Detached));
        }
        let place = uploads.places.len() as u32;
        let (ring, stream) = BodyRing::new(Arc::clone(marks), place);
        let waiting = VecDeque::with_capacity(WAITING_MIN);
        uploads.places.push(Upload {
            ring,
            state: State::Over,
            waiting,
            is_starved: false,
            taken: 0,
        });
        Ok((place, stream))
    }

    /// From now on the body of that request goes to the upload: what waits as events, and what is
    /// still to come.
    pub(super) fn begin_upload(&mut self, id: ConnId, request: u32, place: u32) {
        let Some(upload) = self.http.uploads.get(place) else { return };
        let mut is_whole = false;
        self.inbox.take_out(|&Record { kind, buf, offset, len, id: of, extra }| {
            let Kind::Http(HttpKind::Body { last }) = kind else { return false };
            if of != id.as_u64() || extra as u32 != request {
                return false;
            }
            if buf != BufId::NONE {
                upload.waiting.push_back(Span { buf, offset, len });
            }
            is_whole |= last;
            true
        });
        if is_whole {
            upload.state = State::Read;
            return self.pump_upload(place);
        }
        upload.state = State::Coming(id);
        let now = self.now;
        let conn = self.conns.at(id.index());
        let (is_open, code) = (conn.phase == Phase::Open, conn.code);
        let http = machine(conn).filter(|http| http.is_reading_body_of(request.into()));
        match http {
            Some(http) if is_open => {
                http.send_body(BodyTo::Upload { place }, now);
                self.pump_upload(place);
            }
            http => {
                let own = http.map_or(code, |http| http.code.max(code));
                self.end_upload(place, own);
            }
        }
    }

    // ---- what arrives

    /// Whether the record is a piece of a body that does not become an event. Then it was taken
    /// over.
    #[inline]
    pub(in crate::engine) fn http_diverts(&mut self, index: u32, record: &Record) -> bool {
        match record.kind {
            Kind::Http(HttpKind::Body { last }) => self.divert(index, record, last),
            _ => false,
        }
    }

    fn divert(&mut self, index: u32, record: &Record, last: bool) -> bool {
        let now = self.now;
        let Some(http) = machine(self.conns.at(index)) else { return false };
        let to = http.body_to();
        if to == BodyTo::Events {
            return false;
        }
        if last {
            http.send_body(BodyTo::Events, now);
        }
        let &Record { buf, offset, len, .. } = record;
        let upload = to.place().and_then(|place| self.http.uploads.get(place));
        let Some(upload) = upload else {
            if buf != BufId::NONE {
                self.pool.release(buf);
            }
            return true;
        };
        if buf != BufId::NONE {
            upload.waiting.push_back(Span { buf, offset, len });
        }
        if last {
            upload.state = State::Read;
        }
        if let Some(place) = to.place() {
            self.pump_upload(place);
        }
        true
    }

    /// Moves what waits to the ring, and says whether the connection may go on.
    fn pump_upload(&mut self, place: u32) {
        let uploads = &mut self.http.uploads;
        let Some(upload) = uploads.places.get_mut(place as usize) else { return };
        let was_starved = upload.is_starved;
        let is_held = match upload.state {
            State::Coming(_) | State::Read => upload.pump(&mut self.pool),
            State::Over | State::Free => return,
        };
        if upload.is_starved && !was_starved {
            uploads.starved.push_back(place);
        }
        match upload.state {
            State::Coming(conn) if is_held => self.redirect(conn, BodyTo::Held { place }),
            State::Coming(conn) => self.redirect(conn, BodyTo::Upload { place }),
            _ if is_held => {}
            _ => {
                upload.state = State::Over;
                upload.ring.finish(BodyEnd::Whole);
            }
        }
    }

    /// The body that is being read goes there from now on.
    fn redirect(&mut self, id: ConnId, to: BodyTo) {
        let now = self.now;
        let Some(http) = self.conns.find(id).and_then(machine) else { return };
        if http.body_to() != to {
            http.send_body(to, now);
            self.http_ask(id.index());
            self.http_go_on(id.index());
        }
    }

    // ---- what streams say

    /// Looks at the uploads whose streams took something, or are gone, and at those that may have
    /// another buffer out by now.
    #[inline]
    pub(in crate::engine) fn run_uploads(&mut self) {
        if self.http.uploads.has_marks() {
            self.run_marks();
        }
        if self.http.uploads.is_starved() {
            self.feed_starved();
        }
    }

    fn run_marks(&mut self) {
        let Some(shared) = self.http.uploads.marks.clone() else { return };
        for place in shared.marks.take_all() {
            let Some(upload) = self.http.uploads.get(place) else { continue };
            if upload.ring.is_alone() {
                self.give_up(place);
            } else {
                self.pump_upload(place);
            }
        }
    }

    fn feed_starved(&mut self) {
        for _ in 0..self.http.uploads.starved.len() {
            let Some(place) = self.http.uploads.starved.pop_front() else { return };
            let Some(upload) = self.http.uploads.get(place) else { continue };
            if !std::mem::take(&mut upload.is_starved) {
                continue;
            }
            self.pump_upload(place);
            if self.http.uploads.get(place).is_some_and(|upload| upload.is_starved) {
                return;
            }
        }
    }

    /// The stream is gone: what is still to come is thrown away, and the place is free.
    fn give_up(&mut self, place: u32) {
        let uploads = &mut self.http.uploads;
        let Some(upload) = uploads.places.get_mut(place as usize) else { return };
        if upload.state == State::Free {
            return;
        }
        upload.drop_waiting(&mut self.pool);
        let state = std::mem::replace(&mut upload.state, State::Free);
        uploads.free.push(place);
        if let State::Coming(conn) = state {
            self.redirect(conn, BodyTo::Nowhere);
        }
    }

    /// The time of the body that is being read is up, and the client is not to blame: whether some
    /// was taken since the last time. Then it begins anew.
    pub(super) fn upload_moved(&mut self, index: u32) -> bool {
        let now = self.now;
        let Some(http) = machine(self.conns.at(index)) else { return false };
        let to = http.body_to();
        let upload = to.place().and_then(|place| self.http.uploads.get(place));
        let Some(upload) = upload else { return false };
        let taken = upload.ring.taken();
        let has_moved = std::mem::replace(&mut upload.taken, taken) != taken;
        if has_moved {
            http.send_body(to, now);
        }
        has_moved
    }

    // ---- the end

    /// No more of the body that is being read will be wanted, or come: its stream says why. What
    /// does come is thrown away.
    pub(super) fn cut_upload(&mut self, index: u32, error_code: u64) {
        let conn = self.conns.at(index);
        let id = conn.id(index);
        let Some(place) = machine(conn).and_then(|http| http.body_to().place()) else { return };
        self.redirect(id, BodyTo::Nowhere);
        self.end_upload(place, error_code);
    }

    fn end_upload(&mut self, place: u32, error_code: u64) {
        let Some(upload) = self.http.uploads.get(place) else { return };
        upload.drop_waiting(&mut self.pool);
        upload.state = State::Over;
        let error_code = if error_code == code::NONE { code::TRUNCATED } else { error_code };
        upload.ring.finish(BodyEnd::Cut { error_code });
    }
}
