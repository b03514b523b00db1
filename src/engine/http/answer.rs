//! Answers: from a [`ZeroResponse`] to bytes in the send queue, in the order of the requests.
//!
//! *Invariant*: an answer is queued whole, or nothing of it is.

use super::write::Answer;
use super::{Engine, machine, peer_addr};
use crate::code;
use crate::config::HttpAccess;
use crate::conn::{Flags, Phase};
use crate::error::{IoError, Result};
use crate::http::HttpMethod;
use crate::ids::{ConnId, RequestId};
use crate::pool::HEADROOM;
use crate::proto::App;
use crate::proto::http::{BodyLen, Coding, Head, Parts, Reply, ZeroResponse};
use crate::proto::http1::{HeadFlags, Http1, Pending, Waited, Writing};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Engine {
    /// Answers a request: now if it is its turn, else when the answers before it were given. For
    /// what [`respond_short`](Self::respond_short) leaves.
    pub(crate) fn respond_any(
        &mut self,
        conn: ConnId,
        request: u64,
        mut response: ZeroResponse<'_>,
    ) -> Result<()> {
        response.check()?;
        if response.status == 101 {
            return Err(IoError::InvalidArgument {
                what: "status code of an answer",
                why: "101 makes another protocol of the connection: use http_upgrade",
            });
        }
        let index = conn.index();
        if self.http_place(conn, request, response.status)? > 0 {
            let reply = Reply::new(&mut response, |len| self.pool.send_buffer(len).ok())?;
            if let Some(http) = machine(self.conns.at(index)) {
                http.keep(request, reply);
            }
            return Ok(());
        }
        let ZeroResponse { status, close, content_type, fields, content, .. } = response;
        let parts = Parts::Fields { content_type, fields: &fields };
        let coding = Coding::Same;
        self.write_answer(index, Answer { status, close, parts, content, coding })?;
        self.http_settle(index);
        Ok(())
    }

    /// The same for an answer that was written down on another thread.
    pub(crate) fn http_reply(&mut self, conn: ConnId, request: u64, reply: Reply) -> Result<()> {
        let index = conn.index();
        if self.http_place(conn, request, reply.status)? > 0 {
            if let Some(http) = machine(self.conns.at(index)) {
                http.keep(request, reply);
            }
            return Ok(());
        }
        if let Some(http) = machine(self.conns.at(index)) {
            // It was accepted: without room for it now, it waits.
            http.keep(request, reply);
        }
        self.http_settle(index);
        Ok(())
    }

    /// How many answers are due before that of the request.
    fn http_place(&mut self, conn: ConnId, request: u64, status: u16) -> Result<u32> {
        let entry = self.conns.get(conn)?;
        let takes_writes = entry.takes_writes();
        let none = IoError::NoSuchRequest { conn, request };
        let http = machine(entry).ok_or(none)?;
        let place = http.place_of(request).ok_or(none)?;
        if http.pending(request as u32).method == HttpMethod::Connect && status / 100 == 2 {
            return Err(TUNNEL);
        }
        if takes_writes { Ok(place) } else { Err(IoError::WriteClosed { conn }) }
    }

    /// Answers that were given before their turn.
    pub(super) fn write_early(&mut self, index: u32) {
        loop {
            let conn = self.conns.at(index);
            if !conn.takes_writes() {
                return;
            }
            let Some(http) = machine(conn).filter(|http| http.writing == Writing::Nothing) else {
                return;
            };
            let Some(at) = http.early_at() else { return };
            let reply = http.take_early(at);
            if !self.has_room_for_reply(index, &reply) {
                let Some(http) = machine(self.conns.at(index)) else { return };
                http.put_back_early(reply);
                if !std::mem::replace(&mut http.tries_again, true) {
                    let id = self.conns.at(index).id(index);
                    self.lists.unanswered.push(id);
                    self.look_again_later();
                }
                return;
            }
            if self.write_reply(index, reply).is_err() {
                // It was accepted, and cannot be sent in its place.
                return self.begin_end(index, code::HTTP_ANSWER_CUT, false);
            }
        }
    }

    fn write_reply(&mut self, index: u32, reply: Reply) -> Result<()> {
        let (status, close) = (reply.status, reply.close);
        reply.with(|parts, content| {
            self.write_answer(index, Answer { status, close, parts, content, coding: Coding::Same })
        })
    }

    /// Makes another protocol of the connection: 101 is sent (or what CONNECT is answered with),
    /// and what follows the request are bytes of a stream.
    pub(crate) fn http_upgrade(
        &mut self,
        conn: ConnId,
        request: u64,
        response: ZeroResponse<'_>,
    ) -> Result<()> {
        response.check()?;
        let index = conn.index();
        let place = self.http_place(conn, request, 101)?;
        let Some(http) = machine(self.conns.at(index)) else {
            return Err(IoError::NoSuchRequest { conn, request });
        };
        let pending = http.pending(request as u32);
        let connects = pending.method == HttpMethod::Connect && response.status / 100 == 2;
        let upgrades = pending.flags.contains(HeadFlags::UPGRADE) && response.status == 101;
        if place > 0 || !(connects || upgrades) {
            return Err(IoError::InvalidArgument {
                what: "upgrade",
                why: "the request must ask for it (Upgrade with 101, or CONNECT with 2xx), and \
                      those before it must have been answered",
            });
        }
        let ZeroResponse { status, fields, .. } = response;
        let parts = Parts::Fields { content_type: "", fields: &fields };
        http.status = status;
        let head = Head {
            status,
            parts,
            body: BodyLen::None,
            coding: Coding::Same,
            range: None,
            close: false,
            keep_alive: false,
        };
        self.put_head(index, &head, &[])?;
        self.become_raw(index);
        Ok(())
    }

    /// From now on the connection is a stream of bytes.
    fn become_raw(&mut self, index: u32) {
        let now = self.now;
        let conn = self.conns.at(index);
        let Some(http) = machine(conn) else { return };
        http.finish(now);
        http.server.counters.answered(http.status, Waited::ZERO);
        http.become_tunnel();
        self.cut_upload(index, code::HTTP_BODY_UNWANTED);
        // In the next tick, which looks for room in the event queue.
        self.http_go_on(index);
    }

    /// Nothing is parked any more on a connection that is a stream of bytes: it needs no machine.
    /// There is room for an event.
    pub(super) fn leave_http(&mut self, index: u32) {
        let conn = self.conns.at(index);
        let (is_tls, is_eof) = (conn.has(Flags::TLS), conn.has(Flags::EOF));
        conn.app = App::Raw;
        conn.flags.set(Flags::COOKED, is_tls);
        if is_eof {
            self.end_of_data(index);
        }
        if self.conns.at(index).phase == Phase::Open {
            self.arm_conn_timer(index);
        }
    }

    // ---- the end of an answer

    /// The answer whose turn it was is written.
    pub(super) fn answered(&mut self, index: u32) {
        let now = self.now;
        let conn = self.conns.at(index);
        let id = conn.id(index);
        let has_partial = !conn.carry.is_empty();
        let App::Http1(http) = &mut conn.app else { return };
        let request = http.turn();
        let Pending { method, flags, .. } = http.pending(request);
        let waited = http.finish(now);
        let (status, body_bytes, closes) = (http.status, http.body_bytes, http.closes);
        http.server.counters.answered(status, waited);
        if let Some(log) = http.server.access_log() {
            let request = RequestId::from_u64(request.into());
            let latency = waited.duration();
            let peer = peer_addr(&conn.peer);
            log.call(&HttpAccess { conn: id, peer, request, method, status, body_bytes, latency });
        }
        // It may have come while this one was written, when the next one was not waited for.
        let wants_timer = http.lacks_timer() || http.wants_timer(now, has_partial);
        let is_asked_for = flags.contains(HeadFlags::CLOSE) && !http.closes_by_limit;
        if http.is_reading_body_of(request.into()) {
            self.cut_upload(index, code::HTTP_BODY_UNWANTED);
        }
        if closes {
            // What was asked behind it is not answered any more.
            let Some(http) = machine(self.conns.at(index)) else { return };
            let is_read = http.parked.is_empty() && !http.is_mid_request(false);
            let is_all = http.due() == 0 && is_read && !http.is_followed();
            http.drop_early();
            // What TLS says behind the last request may be on its way still.
            if is_asked_for && is_all && !self.conns.at(index).has(Flags::TLS) {
                self.end_when_sent(index);
            } else {
                self.end_gracefully(index);
            }
        } else if wants_timer && self.conns.at(index).phase == Phase::Open {
            self.arm_conn_timer(index);
        }
    }

    /// Sends `100 Continue` (RFC 9110 §10.1.1).
    pub(super) fn http_continue_now(&mut self, index: u32) {
        if self.conns.at(index).phase != Phase::Open || !self.conns.at(index).takes_writes() {
            return;
        }
        let sealed = self.is_sealed(index);
        // Without room it is not sent: the client goes on by itself after a while.
        let Some((buf, end)) = self.http_room(index, CONTINUE.len(), sealed) else { return };
        let room = &mut self.pool.room_mut(buf)[HEADROOM + end..];
        room[..CONTINUE.len()].copy_from_slice(CONTINUE);
        self.count_sent(index, CONTINUE.len());
        self.queue_written(index, (buf, end), CONTINUE.len(), sealed);
    }

    /// The application wants the body of a request that expects to be told so.
    pub(crate) fn http_continue(&mut self, conn: ConnId, request: u64) -> Result<()> {
        let index = conn.index();
        let none = IoError::NoSuchRequest { conn, request };
        let http: &mut Http1 = machine(self.conns.get(conn)?).ok_or(none)?;
        if !http.is_reading_body_of(request) || http.place_of(request).is_none() {
            return Err(none);
        }
        http.ask_continue(request as u32);
        if http.take_continue() {
            self.http_continue_now(index);
        }
        Ok(())
    }
}

/// RFC 9110 §9.3.6: a 2xx answer to CONNECT makes a tunnel of the connection.
const TUNNEL: IoError = IoError::InvalidArgument {
    what: "answer to CONNECT",
    why: "a 2xx makes a tunnel of the connection: use http_upgrade, or refuse with another code",
};
