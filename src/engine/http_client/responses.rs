//! Handing out: responses and pieces of bodies become events, and what is told besides.
//!
//! *Invariant*: a piece of a body is handed out only when the response that it belongs to was, and
//! when it is of the try that the request is in.

use super::redirects::Followed;
use super::requests::{State, Traits, id_of};
use crate::conn::Flags;
use crate::engine::Engine;
use crate::error::{IoError, Result};
use crate::event::http_client::ClientKind;
use crate::event::{Event, HttpOwnedResponse};
use crate::http::{HttpResponse, ResponseFlags, ResponsePlaces};
use crate::ids::ConnId;
use crate::proto::http_client::KEY_BITS;

const KEY_MASK: u64 = (1 << KEY_BITS) - 1;

impl Engine {
    /// The event of a record; `None` when it is nobody's any more.
    pub(in crate::engine) fn client_event<'a>(
        &mut self,
        kind: ClientKind,
        conn: ConnId,
        extra: u64,
        data: &'a [u8],
    ) -> Option<Event<'a>> {
        let key = extra & KEY_MASK;
        match kind {
            ClientKind::Response { flags } => {
                let head_len = (extra >> KEY_BITS) as u16;
                self.response_event(conn, key, response(data, head_len, flags), flags)
            }
            ClientKind::Body { last } => self.body_event(conn, key, data, last),
        }
    }

    fn response_event<'a>(
        &mut self,
        conn: ConnId,
        key: u64,
        response: HttpResponse<'a>,
        flags: ResponseFlags,
    ) -> Option<Event<'a>> {
        let is_last = !flags.contains(ResponseFlags::BODY_FOLLOWS);
        if is_last && !flags.contains(ResponseFlags::UPGRADED) {
            self.release_conn(conn);
        }
        let request = self.clients.requests.get(key).filter(|r| r.conn == conn)?;
        request.traits.remove(Traits::DROPS_BODY);
        let pool = request.pool;
        if let Some(pool) = self.clients.pools.get(pool) {
            pool.count(response.status());
        }
        if self.follow(key, &response) != Followed::No {
            return None;
        }
        let request = self.clients.requests.get(key)?;
        request.traits |= Traits::ANSWERED;
        request.order = None;
        if is_last {
            self.forget(key);
        }
        let head_len = response.head_len();
        self.clients.current = Some((key, head_len, flags));
        Some(Event::HttpResponse { conn, id: id_of(key), response })
    }

    /// The current event's response, to be kept.
    pub(crate) fn detach_http_response(&mut self) -> Result<HttpOwnedResponse> {
        let (key, head_len, flags) = self.clients.current.ok_or(NOT_A_RESPONSE)?;
        let message = self.detach_current()?;
        let view = response(&message, head_len, flags);
        let (places, status) = (view.places(), view.status());
        Ok(HttpOwnedResponse::new(message, id_of(key), places, status, flags))
    }

    fn body_event<'a>(
        &mut self,
        conn: ConnId,
        key: u64,
        data: &'a [u8],
        last: bool,
    ) -> Option<Event<'a>> {
        if last {
            self.release_conn(conn);
        }
        let request = self.clients.requests.get(key)?;
        if request.conn != conn || request.has(Traits::DROPS_BODY) {
            return None;
        }
        if last {
            self.forget(key);
        }
        Some(Event::HttpBodyChunk { conn, id: id_of(key), data, last })
    }

    /// The last event of a request was handed out: its connection is free for the next.
    fn release_conn(&mut self, id: ConnId) {
        let Some(conn) = self.conns.find(id) else { return };
        if super::client(conn).is_none() {
            return;
        }
        if conn.has(Flags::PAUSED) {
            let now = self.now;
            let conn = self.conns.at(id.index());
            conn.unset(Flags::PAUSED);
            conn.last_rx = now;
            self.settle_recv(id.index());
        }
        self.book_released(id.index());
    }

    /// What is to be told of requests besides: how they failed, and whose body may be written.
    pub(in crate::engine) fn next_client_notice<'a>(&mut self) -> Option<Event<'a>> {
        while let Some(key) = self.clients.notices.pop_front() {
            let Some(request) = self.clients.requests.get(key) else { continue };
            let id = id_of(key);
            if let State::Failed(failure) = request.state {
                self.forget(key);
                return Some(Event::HttpFailed { id, failure });
            }
            if request.has(Traits::READY_DUE) && request.state == State::Asked {
                request.traits.remove(Traits::READY_DUE);
                request.traits |= Traits::READY;
                return Some(Event::HttpReady { conn: request.conn, id });
            }
        }
        None
    }

    /// The body of the request that was sent last on a connection may be written.
    pub(super) fn body_is_wanted(&mut self, index: u32) {
        let conn = self.conns.at(index);
        let Some(key) = super::client(conn).and_then(|m| m.asked().last().map(|asked| asked.key))
        else {
            return;
        };
        let Some(request) = self.clients.requests.get(key) else { return };
        if !request.has(Traits::STREAMED) {
            return self.send_rest(index, key);
        }
        request.traits |= Traits::READY_DUE;
        self.clients.notices.push_back(key);
    }
}

const NOT_A_RESPONSE: IoError = IoError::InvalidArgument {
    what: "detach",
    why: "the current event is no HttpResponse, or it was detached already",
};

/// The view of a response's message.
fn response(data: &[u8], head_len: u16, flags: ResponseFlags) -> HttpResponse<'_> {
    let line_len = data.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let digit = |at: usize| data.get(at).map_or(0, |byte| u16::from(byte.wrapping_sub(b'0')));
    // `HTTP/1.1 200`
    let status = digit(9) * 100 + digit(10) * 10 + digit(11);
    let places = ResponsePlaces { line_len: line_len as u16, head_len };
    HttpResponse::new(data, places, status, flags)
}
