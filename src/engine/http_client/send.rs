//! Sending: an order becomes bytes in the send queue of a connection.
//!
//! *Invariant*: a request is queued whole, or nothing of it is. Its order is kept until its
//! response is handed out: it may have to be sent again, or be redirected.

use super::client;
use super::requests::{State, Traits};
use std::rc::Rc;

use crate::code;
use crate::engine::Engine;
use crate::engine::http::write::{Behind, COPY_MAX};
use crate::error::{IoError, PoolKind, Result};
use crate::ids::{ConnId, StreamId};
use crate::pool::{Class, HEADROOM};
use crate::proto::http::{BodyLen, Content, Order, Out, RequestHead, Route};
use crate::proto::http_client::Asked;
use crate::proto::http1::Writing;

/// What became of sending a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sent {
    Yes,
    /// There is no room for it now.
    NoRoom,
    /// The connection takes nothing.
    Gone,
    /// It can never be sent.
    Never,
}

impl Engine {
    /// Sends a request on a connection.
    pub(super) fn client_send(&mut self, key: u64, id: ConnId, is_last: bool) -> Sent {
        if !self.conns.find(id).is_some_and(|conn| conn.takes_writes()) {
            return Sent::Gone;
        }
        let Some(request) = self.clients.requests.get(key) else { return Sent::Never };
        let (pool, hop) = (request.pool, request.hop);
        let waits = request.has(Traits::EXPECTS);
        let Some(mut order) = request.order.take() else { return Sent::Never };
        let index = id.index();
        let conn = self.conns.at(index);
        let from = conn.bytes_sent + u64::from(conn.tx.bytes);
        let result = self.put_order(index, pool, (is_last, waits), &mut order);
        let (method, body, upgrades) = (order.method, order.body(), order.is_upgrade());
        let Some(request) = self.clients.requests.get(key) else { return Sent::Never };
        request.order = Some(order);
        let len = match result {
            Ok(len) => len,
            Err(IoError::PoolExhausted { .. }) => return Sent::NoRoom,
            Err(_) => return Sent::Never,
        };
        (request.state, request.conn) = (State::Asked, id);
        let traits = request.traits;
        let asked = Asked { key, hop, method, upgrades, is_tunnel: false, from };
        if let Some(machine) = client(self.conns.at(index)) {
            machine.says_close = is_last;
        }
        self.asked(index, asked, traits, body);
        if let Some(pool) = self.clients.pools.get(pool) {
            pool.stats.bytes_sent += len as u64;
        }
        Sent::Yes
    }

    /// The request is queued: its response is due.
    fn asked(&mut self, index: u32, asked: Asked, traits: Traits, body: BodyLen) {
        let now = self.now;
        let conn = self.conns.at(index);
        let last = (conn.last_rx, conn.last_tx);
        let Some(machine) = client(conn) else { return };
        machine.ask(asked, now);
        let waits = traits.contains(Traits::EXPECTS);
        let is_written = traits.contains(Traits::STREAMED) || waits;
        if is_written {
            machine.writing = match body {
                BodyLen::Known(left) => Writing::Known { left },
                _ => Writing::Chunked,
            };
        }
        if waits {
            machine.wait_for_continue(now);
        }
        let wants_timer = machine.wants_timer(now, last);
        if is_written && !waits {
            self.body_is_wanted(index);
        }
        if wants_timer {
            self.arm_conn_timer(index);
        }
    }

    /// Queues head and body, or the head alone where the body waits for `100 Continue`; how many
    /// bytes.
    fn put_order(
        &mut self,
        index: u32,
        pool: u32,
        (close, waits): (bool, bool),
        order: &mut Order,
    ) -> Result<usize> {
        let (len, is_copied) = order.sizes();
        let behind = match (len, is_copied) {
            (None, _) => Behind::Buffer,
            (Some(len), _) if len <= COPY_MAX => Behind::Nothing,
            (Some(_), true) => Behind::Copied,
            (Some(_), false) => Behind::Kept,
        };
        self.check_room(behind)?;
        self.start_write_clock(index);
        let sealed = self.is_sealed(index);
        let Some(pool) = self.clients.pools.get(pool) else { return Ok(0) };
        let config = Rc::clone(&pool.config);
        let route = Route::of(config.proxy.as_ref(), &order.url(), order.is_upgrade());
        let head = route.apply(RequestHead { close, ..order.head() });
        // What is copied without guards lies in one buffer with its head.
        let is_one = |len: &usize| *len <= COPY_MAX || self.guards.are_none();
        let short = len.filter(|len| !waits && is_one(len)).unwrap_or(0);
        let whole = head.len_max() + short;
        let max = self.pool.class_size(Class::Stream);
        if whole > max {
            return Err(IoError::BufferTooLarge { len: whole, max });
        }
        let place = self.http_room(index, whole, sealed);
        let (buf, end) = place.ok_or(IoError::exhausted(PoolKind::Slots))?;
        let mut out = Out::new(&mut self.pool.room_mut(buf)[HEADROOM + end..]);
        head.write(&mut out);
        let rest = match waits {
            true => Content::None,
            false => order.content(),
        };
        let rest = match rest {
            Content::Copied(bytes) if bytes.len() <= short => {
                out.put(bytes);
                Content::None
            }
            Content::Kept(memory) if memory.bytes().len() <= short => {
                out.put(memory.bytes());
                Content::None
            }
            rest => rest,
        };
        let len = out.len();
        self.queue_written(index, (buf, end), len, sealed);
        Ok(len + self.put_rest(index, rest)?)
    }

    /// `100 Continue` came, or was waited for long enough: the body goes out. Without room for it
    /// now, that is tried again.
    pub(super) fn send_rest(&mut self, index: u32, key: u64) {
        let now = self.now;
        let Some(request) = self.clients.requests.get(key) else { return };
        let Some(mut order) = request.order.take() else { return };
        let (len, is_copied) = order.sizes();
        let behind = match (len, is_copied) {
            (None, _) => Behind::Buffer,
            (Some(_), true) => Behind::Copied,
            (Some(_), false) => Behind::Kept,
        };
        let has_room = self.check_room(behind).is_ok();
        let sent = has_room && self.put_body(index, order.content()).is_ok();
        if let Some(request) = self.clients.requests.get(key) {
            request.order = Some(order);
        }
        let Some(machine) = client(self.conns.at(index)) else { return };
        if !has_room {
            machine.wait_for_continue(now);
            return self.arm_conn_timer(index);
        }
        machine.writing = Writing::Nothing;
        machine.wait_from(now);
        if !sent {
            // The head is on its way, and promised a body.
            self.begin_end(index, code::HTTP_REQUEST_CUT, false);
        }
    }

    /// Queues a body behind its head; there is room for it.
    fn put_body(&mut self, index: u32, content: Content<'_>) -> Result<usize> {
        match content {
            Content::Kept(memory) if self.guards.are_none() => {
                self.put_pieces(index, memory.bytes())?;
                Ok(memory.bytes().len())
            }
            content => self.put_rest(index, content),
        }
    }

    /// Queues what follows the head from where it lies, or in pieces; there is room for it.
    fn put_rest(&mut self, index: u32, content: Content<'_>) -> Result<usize> {
        let conn = self.conns.at(index).id(index);
        Ok(match content {
            Content::Kept(memory) => {
                let len = memory.bytes().len();
                self.append_guard(conn, StreamId::ZERO, memory, None)?;
                len
            }
            Content::Buffer(buffer) => {
                let raw = self.pool.adopt(buffer)?;
                self.write_raw(conn, raw)?;
                raw.len as usize
            }
            Content::Copied(bytes) => {
                self.put_pieces(index, bytes)?;
                bytes.len()
            }
            // What there is besides is of answers.
            _ => 0,
        })
    }
}
