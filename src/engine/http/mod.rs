//! HTTP/1.1 servers: requests that wait for their turn, the order of answers, and how a connection
//! ends.
//!
//! ```text
//! bytes ─▶ feed ─▶ machine ─▶ HttpRequest            http_respond ─▶ its turn? ─▶ send queue
//!            │ too many unanswered, or queue full        └─ no: kept until then
//!            └▶ parked, in order; gone on with when an answer makes room
//! ```
//!
//! Role: when the machine of a connection is fed, and what follows from its answers. Not role:
//! parsing and order (`proto::http1`), writing an answer (`answer`).
//!
//! *Invariants*: what arrived is read in order: nothing is fed past what is parked. A connection
//! with something parked and room for another request is on the list of those to go on with.

mod answer;
mod drain;
mod file;
mod short;
mod stream;
mod upload;
pub(super) mod write;

use std::rc::Rc;

use super::Engine;
use super::events::peer_addr;
use crate::code;
use crate::config::{HttpCounters, HttpListenConfig};
use crate::conn::{Conn, Flags, Phase, Span};
use crate::error::{IoError, Result};
use crate::event::HttpOwnedRequest;
use crate::event::http::{HttpKind, request};
use crate::http::RequestFlags;
use crate::ids::{ConnId, EndpointId, RequestId};
use crate::pool::BufId;
use crate::proto::gzip::Gzip;
use crate::proto::http::{Clock, ShortHead, ZeroResponse};
use crate::proto::http1::{Http1, HttpServer, Writing};
use crate::proto::{App, Speaks};
use crate::time::Time;
use crate::transport::Kind as EndpointKind;

/// Nothing is read, and the client is not to blame: the application pauses it, or others have its
/// buffers.
const UNREAD: Flags = Flags::PAUSED.union(Flags::HOLDING);

/// What a server is made of that a cluster has on each shard.
pub(crate) type HttpPlan = HttpListenConfig;

/// What the HTTP connections of a shard share.
pub(super) struct Hub {
    clock: Clock,
    short_head: ShortHead,
    /// When the clock's line is to be made anew.
    clock_until: Time,
    /// Connections to go on with.
    due: Vec<ConnId>,
    uploads: upload::Uploads,
    /// Where values are serialised.
    scratch: Vec<u8>,
    gzip: Gzip,
    /// What was handed out last, with its connection and its places.
    current: Option<(HttpKind, u64, u64)>,
}

impl Hub {
    pub(super) fn new() -> Self {
        Self {
            clock: Clock::at(0),
            short_head: ShortHead::new(),
            clock_until: Time::ZERO,
            due: Vec::new(),
            uploads: upload::Uploads::default(),
            scratch: Vec::new(),
            gzip: Gzip::new(),
            current: None,
        }
    }

    /// Remembers the event that is handed out.
    #[inline]
    pub(super) const fn note(&mut self, kind: HttpKind, conn: u64, extra: u64) {
        self.current = Some((kind, conn, extra));
    }

    /// What was handed out last is not current any more.
    #[inline]
    pub(super) const fn forget(&mut self) {
        self.current = None;
    }

    /// Whether there are connections to go on with, or bodies to look at.
    pub(super) fn has_work(&self) -> bool {
        !self.due.is_empty() || self.uploads.has_marks()
    }

    /// Whether a body waits for a buffer to come home.
    pub(super) fn is_starved(&self) -> bool {
        self.uploads.is_starved()
    }
}

/// The machine of an HTTP connection.
const fn machine(conn: &mut Conn) -> Option<&mut Http1> {
    match &mut conn.app {
        App::Http1(http) => Some(http),
        App::Raw | App::Framed(_) | App::HttpClient(_) | App::Quic(_) | App::Preface(_) => None,
    }
}

impl Engine {
    /// What is to speak on the connections of a server.
    pub(crate) fn http_speaks(&self, config: &HttpListenConfig) -> Speaks {
        Speaks::Http1(Rc::new(HttpServer::new(config, self.config.compression_threshold)))
    }

    // ---- what arrives

    /// Whether received bytes have to wait behind others. They are kept then.
    #[inline]
    pub(super) fn http_parks(&mut self, index: u32, span: Span) -> bool {
        match machine(self.conns.at(index)) {
            Some(http) if !http.parked.is_empty() => {
                http.parked.push_back(span);
                true
            }
            _ => false,
        }
    }

    /// Whether the connection reads no further for now. What is left of the bytes is kept then.
    #[inline]
    pub(super) fn http_holds(&mut self, index: u32, span: Span) -> bool {
        let high = self.config.send_high_water;
        let conn = self.conns.at(index);
        let is_backlogged = conn.tx.bytes as usize >= high;
        let is_over = conn.has(Flags::GRACEFUL | Flags::SHUT_WANTED);
        let Some(http) = machine(conn) else { return self.client_looks(index) };
        if is_over {
            http.close_input();
            let code = if http.code == code::NONE { code::LOCAL_CLOSE } else { http.code };
            self.cut_upload(index, code);
        }
        let conn = self.conns.at(index);
        let Some(http) = machine(conn) else { return false };
        if http.is_closed() {
            // The rest of what was begun does not come to anything.
            conn.carry.clear(&mut self.pool);
            return false;
        }
        let Some(http) = machine(conn) else { return false };
        if !(http.must_wait() || is_backlogged) {
            return false;
        }
        http.parked.push_front(span);
        if is_backlogged {
            conn.set(Flags::WANT_WRITABLE);
        }
        true
    }

    /// The machine was fed: it may have asked for something.
    #[inline]
    pub(super) fn http_fed(&mut self, index: u32) {
        let now = self.now;
        let conn = self.conns.at(index);
        let is_whole = conn.carry.is_empty();
        match &conn.app {
            App::Http1(http) if !(is_whole && http.is_calm(now)) => self.http_ask(index),
            App::HttpClient(_) => self.client_fed(index),
            _ => {}
        }
    }

    /// Does what the machine asks for.
    fn http_ask(&mut self, index: u32) {
        let now = self.now;
        let conn = self.conns.at(index);
        let has_partial = !conn.carry.is_empty();
        let Some(http) = machine(conn) else { return };
        let wants_timer = http.wants_timer(now, has_partial);
        if http.take_continue() {
            self.http_continue_now(index);
        }
        if wants_timer && self.conns.at(index).phase == Phase::Open {
            self.arm_conn_timer(index);
        }
    }

    /// Goes on with what was parked, where there is room for it now.
    pub(super) fn resume_http(&mut self) {
        while self.inbox.room() > 0 && self.lists.stalled.is_none() {
            let Some(id) = self.http.due.pop() else { return };
            let Some(http) = self.conns.find(id).and_then(machine) else { continue };
            http.is_due = false;
            self.read_parked(id.index());
            let conn = self.conns.at(id.index());
            if conn.phase == Phase::Open {
                let is_done = machine(conn).is_some_and(|h| h.is_tunnel() && h.parked.is_empty());
                if is_done && self.inbox.room() > 0 {
                    self.leave_http(id.index());
                }
                self.http_settle(id.index());
                self.settle_recv(id.index());
            }
        }
    }

    fn read_parked(&mut self, index: u32) {
        loop {
            let conn = self.conns.at(index);
            if conn.phase != Phase::Open || conn.has(Flags::STALLED) {
                return;
            }
            let Some(http) = machine(conn) else { return };
            if http.must_wait() && !http.is_closed() {
                return;
            }
            let Some(span) = http.parked.pop_front() else { return };
            let rest = http.parked.len();
            self.feed_now(index, span);
            let http = machine(self.conns.at(index));
            if http.is_some_and(|http| http.parked.len() > rest) {
                return;
            }
        }
    }

    /// Puts the connection on the list of those to go on with, if it has something to go on with.
    pub(super) fn http_go_on(&mut self, index: u32) {
        let conn = self.conns.at(index);
        let id = conn.id(index);
        let is_free = !conn.has(Flags::STALLED | Flags::WANT_WRITABLE);
        let Some(http) = machine(conn) else { return };
        let may = !http.must_wait() || http.is_closed();
        let has_more = !http.parked.is_empty() || http.is_tunnel();
        if is_free && may && has_more && !http.is_due {
            http.is_due = true;
            self.http.due.push(id);
        }
    }

    /// The send queue has room again: whether that was the machine's to hear.
    pub(super) fn http_offer(&mut self, index: u32) -> bool {
        let Some(http) = machine(self.conns.at(index)) else { return false };
        if http.has_file() {
            self.mark_dirty(index);
            return true;
        }
        let is_writing = http.writing != Writing::Nothing;
        self.conns.at(index).unset(Flags::WANT_WRITABLE);
        self.http_go_on(index);
        !is_writing
    }

    /// A while has passed since an answer found no room.
    pub(super) fn http_try_again(&mut self, index: u32) {
        let Some(http) = machine(self.conns.at(index)) else { return };
        if std::mem::take(&mut http.tries_again) {
            self.http_settle(index);
        }
    }

    /// `Writable` is handed out. What was parked for want of room in the meantime goes on with it:
    /// no send may be under way that would say so.
    pub(super) fn http_told(&mut self, index: u32) {
        let conn = self.conns.at(index);
        if conn.tx.is_empty() && !conn.has(Flags::WAITS_FOR_BUFFERS) && machine(conn).is_some() {
            self.conns.at(index).unset(Flags::WANT_WRITABLE);
            self.http_go_on(index);
        }
    }

    /// The peer sends no more; whether the connection is an HTTP one.
    pub(super) fn http_eof(&mut self, index: u32) -> bool {
        let conn = self.conns.at(index);
        if machine(conn).is_none() {
            return self.client_eof(index);
        }
        conn.set(Flags::EOF);
        let is_tunnel = machine(conn).is_some_and(|http| http.is_tunnel());
        if is_tunnel {
            return true;
        }
        let conn = self.conns.at(index);
        if conn.has(Flags::SEND_FAILED) {
            // No answer reaches it any more, and nothing else will come.
            let code = conn.code;
            self.begin_end(index, code, false);
        } else if conn.has(Flags::SHUT_DONE) {
            self.begin_end(index, code::NONE, true);
        } else {
            self.http_settle(index);
        }
        true
    }

    /// What follows when an answer was given, or something was read: answers whose turn has come,
    /// the end of the connection, or the next requests.
    pub(super) fn http_settle(&mut self, index: u32) {
        self.write_early(index);
        let conn = self.conns.at(index);
        if conn.phase != Phase::Open || conn.has(Flags::SHUT_WANTED) {
            return;
        }
        let is_eof = conn.has(Flags::EOF);
        let has_partial = !conn.carry.is_empty();
        let Some(http) = machine(conn) else { return };
        let continues = http.take_continue();
        if is_eof && http.parked.is_empty() && !http.is_tunnel() {
            let is_cut = http.is_mid_request(has_partial);
            if is_cut && http.due_before_what_is_read() == 0 {
                // What was asked before is answered.
                http.code = code::TRUNCATED;
                return self.end_when_sent(index);
            }
            if !is_cut && http.due() == 0 {
                return self.end_when_sent(index);
            }
            if is_cut {
                self.cut_upload(index, code::TRUNCATED);
            }
        }
        if continues {
            self.http_continue_now(index);
        }
        self.http_go_on(index);
    }

    // ---- the end

    /// Closes the connection as soon as everything was sent, without waiting for the peer: it said
    /// that it would send no more.
    fn end_when_sent(&mut self, index: u32) {
        let conn = self.conns.at(index);
        conn.set(Flags::SHUT_WANTED);
        if let Some(http) = machine(conn) {
            http.ends_when_sent = true;
        }
        self.mark_dirty(index);
    }

    /// Closes the connection when everything was sent and the peer has taken it: it may still be
    /// sending, and a close with bytes unread would be a reset, which takes the answer with it
    /// (RFC 9112 §9.6).
    fn end_gracefully(&mut self, index: u32) {
        let conn = self.conns.at(index);
        let id = conn.id(index);
        if let Some(http) = machine(conn) {
            http.close_input();
            let code = http.code;
            self.cut_upload(index, code);
        }
        let deadline = self.now.saturating_add(self.config.close_timeout);
        let closed = self.close_graceful(id, deadline);
        debug_assert!(closed.is_ok(), "it is open");
        self.http_go_on(index);
    }

    /// Whether reading on is of no use once nothing can be sent: no request can be answered.
    pub(super) fn http_must_send(&mut self, index: u32) -> bool {
        machine(self.conns.at(index)).is_some_and(|http| !http.is_tunnel())
    }

    /// Everything was sent: whether the connection is to be closed at once.
    pub(super) fn http_ends(&mut self, index: u32) -> bool {
        let conn = self.conns.at(index);
        let is_eof = conn.has(Flags::EOF);
        if self.is_client(index) {
            return true;
        }
        let conn = self.conns.at(index);
        let Some(http) = machine(conn).filter(|http| http.ends_when_sent) else { return false };
        if http.is_followed() && !is_eof {
            // It sent on in the meantime.
            http.ends_when_sent = false;
            self.end_gracefully(index);
            return false;
        }
        true
    }

    /// The connection is ending: why, as an HTTP connection sees it. What it keeps is let go of.
    pub(super) fn http_ending(&mut self, index: u32, code: u64, clean: bool) -> (u64, bool) {
        let Some(http) = machine(self.conns.at(index)) else {
            return self.client_ending(index, code, clean);
        };
        http.drop_early();
        http.file = None;
        let parked = std::mem::take(&mut http.parked);
        let own = http.code;
        for span in parked {
            if span.buf != BufId::NONE {
                self.pool.release(span.buf);
            }
        }
        let (code, clean) = match code {
            code::NONE | code::CLOSE_TIMEOUT if own == code::HTTP_IDLE => (own, true),
            code::NONE | code::CLOSE_TIMEOUT if own != code::NONE => (own, false),
            _ => (code, clean),
        };
        self.cut_upload(index, code);
        (code, clean)
    }

    // ---- time

    /// When something of the connection falls due; the timer is being armed.
    pub(super) fn http_deadline(conn: &mut Conn, now: Time) -> Time {
        let last = (conn.last_rx, conn.last_tx);
        let has_partial = !conn.carry.is_empty();
        let is_over = conn.has(Flags::GRACEFUL | Flags::SHUT_WANTED | Flags::SHAKING);
        let is_unread = conn.has(UNREAD);
        let Some(http) = machine(conn) else { return Self::client_deadline(conn, now) };
        if is_over {
            return Time::MAX;
        }
        http.next_deadline(now, last, has_partial, is_unread)
    }

    /// The timer was armed.
    pub(super) fn http_armed(conn: &mut Conn, due: Time) {
        match machine(conn) {
            Some(http) => http.timer_armed(due),
            None => Self::client_armed(conn, due),
        }
    }

    /// Ends what took too long.
    pub(super) fn http_overdue(&mut self, id: ConnId) {
        let now = self.now;
        let Some(conn) = self.conns.find(id).filter(|conn| conn.phase == Phase::Open) else {
            return;
        };
        if Self::http_deadline(conn, now) > now {
            return;
        }
        let (has_partial, is_unread) = (!conn.carry.is_empty(), conn.has(UNREAD));
        let Some(http) = machine(conn) else { return self.client_overdue(id) };
        let index = id.index();
        if http.is_answer_late(now) {
            http.server.counters.timeouts.add(1);
            http.code = code::HTTP_ANSWER_TIMEOUT;
            self.answer_ourselves(index, 503);
        } else if http.is_body_held() || (is_unread && http.is_mid_request(false)) {
            if self.upload_moved(index) {
                return;
            }
            let Some(http) = machine(self.conns.at(index)) else { return };
            http.server.counters.timeouts.add(1);
            http.code = code::HTTP_ANSWER_TIMEOUT;
            self.refuse_now(index, 503);
        } else if http.is_mid_request(has_partial) {
            http.server.counters.timeouts.add(1);
            http.code = code::HTTP_REQUEST_TIMEOUT;
            self.refuse_now(index, 408);
        } else {
            http.code = code::HTTP_IDLE;
            self.end_gracefully(index);
        }
    }

    // ---- refusals

    /// What the peer sent is refused: answered behind what is due before, and then the end.
    pub(super) fn http_refuse(&mut self, index: u32, status: u16, code: u64) {
        let conn = self.conns.at(index);
        conn.carry.clear(&mut self.pool);
        let Some(http) = machine(conn) else { return };
        http.server.counters.refused.add(1);
        http.code = code;
        self.refuse_now(index, status);
    }

    fn refuse_now(&mut self, index: u32, status: u16) {
        let now = self.now;
        let conn = self.conns.at(index);
        conn.carry.clear(&mut self.pool);
        let Some(http) = machine(conn) else { return };
        let (place, code) = (http.begin_refusal(now), http.code);
        self.cut_upload(index, code);
        match place {
            Some(id) => self.answer_with(index, id, status),
            // Its answer was given, or is being: there is no other.
            None => self.end_gracefully(index),
        }
    }

    /// Answers the request whose turn it is, in the application's place.
    fn answer_ourselves(&mut self, index: u32, status: u16) {
        let Some(http) = machine(self.conns.at(index)) else { return };
        let (id, code) = (u64::from(http.turn()), http.code);
        http.close_input();
        self.cut_upload(index, code);
        self.answer_with(index, id, status);
    }

    fn answer_with(&mut self, index: u32, id: u64, status: u16) {
        let conn = self.conns.at(index).id(index);
        let answered = self.respond_any(conn, id, ZeroResponse::status(status).close());
        if answered.is_err() {
            let code = machine(self.conns.at(index)).map_or(code::NONE, |http| http.code);
            self.begin_end(index, code, false);
        }
    }

    // ---- keeping a request

    /// The current event's request, to be kept.
    pub(crate) fn detach_http(&mut self) -> Result<HttpOwnedRequest> {
        const NOTHING: IoError = IoError::InvalidArgument {
            what: "detach",
            why: "the current event is no HttpRequest, or it was detached already",
        };
        let (kind, conn, extra) = self.http.current.ok_or(NOTHING)?;
        let (HttpKind::Request { method, flags }, Some(_)) = (kind, self.inbox.current) else {
            return Err(NOTHING);
        };
        let conn = ConnId::from_u64(conn);
        let peer = self.conns.find(conn).map(|conn| peer_addr(&conn.peer)).ok_or(NOTHING)?;
        let follows = flags.contains(RequestFlags::BODY_FOLLOWS);
        let upload = if follows { Some(self.open_upload()?) } else { None };
        let message = self.detach_current()?;
        let id = RequestId::from_u64(extra & u64::from(u32::MAX));
        let body = upload.map(|(place, stream)| {
            self.begin_upload(conn, extra as u32, place);
            stream
        });
        let places = request(method, flags, extra, &message).places();
        Ok(HttpOwnedRequest::new(message, (conn, id), peer, places, (method, flags), body))
    }

    // ---- figures

    /// What a listener has done so far.
    pub(crate) fn http_counters(&mut self, endpoint: EndpointId) -> Result<HttpCounters> {
        let found = self.endpoints.get(endpoint)?;
        let protocol = found.protocol;
        match &found.kind {
            EndpointKind::Listener(listener) => match &listener.speaks {
                Speaks::Http1(server) => Ok(server.counters.snapshot()),
                _ => Err(IoError::WrongEndpoint { endpoint, protocol }),
            },
            EndpointKind::Udp(_) | EndpointKind::Quic(_) => {
                Err(IoError::WrongEndpoint { endpoint, protocol })
            }
        }
    }
}
