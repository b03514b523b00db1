//! How requests end without a (whole) response: failed, cancelled, or sent once more.
//!
//! *Invariant*: a request is sent again only when the server cannot have acted on it: nothing of it
//! was sent, or the server said that it would read no further (RFC 9112 §9.6). With
//! `retry_idempotent`, also when acting twice is no harm (RFC 9110 §9.2.2).

use std::rc::Rc;

use super::client;
use super::requests::{State, Traits, key_of};
use crate::code;
use crate::conn::{Flags, Phase};
use crate::engine::Engine;
use crate::event::{HttpFailure, HttpPhase};
use crate::ids::ConnId;
use crate::proto::App;
use crate::proto::http::Order;
use crate::proto::http_client::{Asked, HttpClient};

/// How a connection ended, as its requests see it.
struct End {
    code: u64,
    /// The server said that it would read no further requests.
    is_announced: bool,
    /// A response had come on it before.
    was_used: bool,
    /// Not one byte of the response whose turn it was came.
    is_silent: bool,
    phase: HttpPhase,
}

impl Engine {
    /// A connection is ending: why, for itself; and what becomes of its requests.
    pub(in crate::engine) fn client_ending(
        &mut self,
        index: u32,
        code: u64,
        clean: bool,
    ) -> (u64, bool) {
        let conn = self.conns.at(index);
        let id = conn.id(index);
        // What went wrong first says why.
        let has_failed = conn.has(Flags::TLS_FAILED | Flags::SEND_FAILED) && conn.code != 0;
        let own = if has_failed && code != code::LOCAL_CLOSE { conn.code } else { code };
        let Some(machine) = client(conn) else { return (code, clean) };
        let end = End {
            code: own,
            is_announced: machine.is_closed(),
            was_used: machine.answered_ever() > 0,
            is_silent: machine.has_no_response(),
            phase: phase_of(machine),
        };
        let is_first_whole = machine.is_closed();
        let asked = machine.take_asked();
        let was_open = machine.is_open;
        let handed = self.handed(index);
        for (at, asked) in asked.iter().enumerate() {
            let was_sent = handed > asked.from;
            let is_turn = at == 0 && !is_first_whole;
            self.lose(id, asked, &end, is_turn, was_sent);
        }
        if was_open {
            self.book_forget(index);
        } else {
            self.dial_failed(index, own);
        }
        (code, clean)
    }

    /// Bytes that may have left, of all that was ever queued: what the socket took, and what the
    /// send under way names.
    pub(super) fn handed(&mut self, index: u32) -> u64 {
        let conn = self.conns.at(index);
        let (sent, busy) = (conn.bytes_sent, conn.tx.busy as usize);
        let named = self.segments.iter(&conn.tx).take(busy);
        sent + named.map(|segment| u64::from(segment.len)).sum::<u64>()
    }

    /// The connection of a request is gone.
    fn lose(&mut self, conn: ConnId, asked: &Asked, end: &End, is_turn: bool, was_sent: bool) {
        let Some(request) = self.clients.requests.get(asked.key) else { return };
        if request.conn != conn || request.hop != asked.hop || request.state != State::Asked {
            return;
        }
        let retries = self.clients.pools.get(request.pool).is_some_and(|p| p.retries_idempotent());
        // A buffer of the pool was given away with the first try; what is streamed comes again.
        let has_body =
            |order: &Order| order.is_whole() || request.traits.contains(Traits::STREAMED);
        let is_clean = !request.has(Traits::RETRIED | Traits::READY)
            && request.order.as_ref().is_some_and(has_body);
        let is_lost = matches!(
            end.code,
            code::NONE | code::HTTP_NO_RESPONSE | ECONNRESET | EPIPE | code::HTTP_UNSOLICITED
        );
        let is_harmless = retries
            && end.was_used
            && is_lost
            && (end.is_silent || !is_turn)
            && request.method.is_idempotent()
            && !request.has(Traits::STREAMED);
        let is_unread = !was_sent || (end.is_announced && !is_turn);
        if is_clean && (is_unread || is_harmless) && end.code != code::LOCAL_CLOSE {
            return self.send_again(asked.key, was_sent);
        }
        let own_reason = is_turn || end.code < code::FIRST_OWN || end.code == code::LOCAL_CLOSE;
        let code = match end.code {
            code::NONE => code::HTTP_NO_RESPONSE,
            code if own_reason => code,
            _ => code::HTTP_NO_RESPONSE,
        };
        let phase = if is_turn { end.phase } else { HttpPhase::Sending };
        self.fail(asked.key, HttpFailure { code, phase, was_sent });
    }

    /// Puts a request into its queue again, before the others.
    fn send_again(&mut self, key: u64, was_sent: bool) {
        let Some(request) = self.clients.requests.get(key) else { return };
        request.traits |= Traits::RETRIED;
        request.traits.set(Traits::SENT, was_sent || request.has(Traits::SENT));
        request.traits.remove(Traits::READY_DUE);
        request.state = State::Waiting;
        request.conn = ConnId::from_u64(0);
        request.hop = request.hop.wrapping_add(1);
        let pool = request.pool;
        if let Some(pool) = self.clients.pools.get(pool) {
            pool.stats.retries += 1;
        }
        self.book_again(key);
    }

    /// Ends a request with an event.
    pub(super) fn fail(&mut self, key: u64, mut failure: HttpFailure) {
        let Some(request) = self.clients.requests.get(key) else { return };
        // `failure` is of the last try.
        failure.was_sent |= request.has(Traits::SENT);
        request.state = State::Failed(failure);
        let (order, timer, pool) = (request.order.take(), request.timer.take(), request.pool);
        drop(order);
        if let Some(pool) = self.clients.pools.get(pool) {
            pool.stats.failures += 1;
            if let Some(timer) = timer {
                pool.timers.cancel(timer);
            }
        }
        self.clients.notices.push_back(key);
    }

    /// Forgets a request: it has had its last event, or is to have none.
    pub(super) fn forget(&mut self, key: u64) {
        let Some(pool) = self.clients.requests.get(key).map(|request| request.pool) else { return };
        let Some((order, timer)) = self.clients.requests.remove(key) else { return };
        drop(order);
        if let Some(pool) = self.clients.pools.get(pool) {
            pool.live -= 1;
            if let Some(timer) = timer {
                pool.timers.cancel(timer);
            }
        }
        self.settle_pool(pool);
    }

    /// No further events of a request. Whether there would have been some.
    pub(crate) fn http_cancel(&mut self, id: u64) -> bool {
        self.now = self.ring.now();
        let Some(key) = key_of(id) else { return false };
        let Some(request) = self.clients.requests.get(key) else { return false };
        let (state, conn, pool) = (request.state, request.conn, request.pool);
        if state == State::Waiting {
            self.book_withdraw(key);
        }
        if state == State::Asked {
            self.drop_stream(pool, conn);
        }
        self.forget(key);
        if state == State::Asked {
            self.abandon(conn, key);
        }
        true
    }

    /// The connection of a request that is being cancelled left its pool, of which the application
    /// was not told yet, nor will be: it ends as one of the pool's.
    fn drop_stream(&mut self, pool: u32, id: ConnId) {
        let Some(pool_shared) = self.clients.pools.get(pool).map(|p| Rc::clone(&p.shared)) else {
            return;
        };
        let Some(conn) = self.conns.find(id).filter(|conn| matches!(conn.app, App::Raw)) else {
            return;
        };
        let mut machine = HttpClient::new(pool_shared, pool, NO_MEMBER);
        machine.is_open = true;
        machine.close_input();
        conn.app = App::HttpClient(Box::new(machine));
        conn.set(Flags::MUTED);
        let is_over = conn.phase == Phase::Ended;
        self.lists.muted += 1;
        if is_over {
            self.clients.ended.push(id);
            return self.free_ended();
        }
        self.begin_end(id.index(), code::LOCAL_CLOSE, false);
    }

    /// A request is not waited for any more: its connection is closed, unless others wait for it
    /// too; then what comes for the request is thrown away.
    pub(super) fn abandon(&mut self, conn: ConnId, key: u64) {
        let Some(machine) = self.conns.find(conn).and_then(client) else { return };
        let is_alone = machine.asked().len() == 1;
        if is_alone && machine.asked().any(|asked| asked.key == key) {
            self.begin_end(conn.index(), code::LOCAL_CLOSE, false);
        }
    }
}

/// What no pool's book has.
const NO_MEMBER: u32 = u32::MAX;
// As `code::errno_name` has them.
const EPIPE: u64 = 32;
const ECONNRESET: u64 = 104;

/// What the request whose turn it is was doing.
pub(super) fn phase_of(machine: &HttpClient) -> HttpPhase {
    match machine.has_no_response() {
        true => HttpPhase::Sending,
        false if machine.is_reading_body() => HttpPhase::Body,
        false => HttpPhase::Head,
    }
}
