//! Driving a pool: what its book says is done, and what happens is told to it.
//!
//! *Invariant*: the book is asked again until it has nothing to say, or there was no room for what
//! it said.

use super::client;
use super::requests::{State, index_of};
use super::send::Sent;
use crate::code;
use crate::engine::Engine;
use crate::engine::race::errno_of;
use crate::error::IoError;
use crate::event::{HttpFailure, HttpPhase};
use crate::ids::ConnId;
use crate::proto::http::Route;
use crate::proto::http::pool::Action;
use crate::sys::errno;

/// How long a pool rests that found no room for a request.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(1);

impl Engine {
    /// Does what there is to do for a pool.
    pub(super) fn drive(&mut self, pool: u32) {
        let now = self.now;
        while let Some(found) = self.clients.pools.get(pool)
            && let Some(action) = found.book.next(now)
        {
            match action {
                Action::Assign { request, member, is_reused, is_last } => {
                    let Some(key) = self.clients.requests.key_at(request) else { continue };
                    if !self.assign(pool, key, (member, is_last), is_reused) {
                        break;
                    }
                }
                Action::Dial { host, member } => self.dial(pool, host, member),
                Action::Close { member } => {
                    let conn = found.conn_of(member);
                    self.close_member(pool, member, conn);
                }
                Action::Fail { request, code } => {
                    let Some(key) = self.clients.requests.key_at(request) else { continue };
                    let phase = HttpPhase::Connecting;
                    self.fail(key, HttpFailure { code, phase, was_sent: false });
                }
            }
        }
        self.settle_pool(pool);
    }

    /// Sends a request on the connection that the book chose. Whether there was room.
    fn assign(&mut self, pool: u32, key: u64, on: (u32, bool), is_reused: bool) -> bool {
        let (member, is_last) = on;
        let Some(found) = self.clients.pools.get(pool) else { return false };
        let conn = found.conn_of(member);
        let sent = self.client_send(key, conn, is_last);
        let now = self.now;
        let Some(found) = self.clients.pools.get(pool) else { return false };
        match sent {
            Sent::Yes => found.stats.reuses += u64::from(is_reused),
            Sent::NoRoom => {
                found.book.answered(member, true, false, now);
                found.retry_at = found.retry_at.min(now.saturating_add(PAUSE));
                self.requeue(key);
                return false;
            }
            Sent::Gone => {
                self.close_member(pool, member, conn);
                self.book_again(key);
            }
            Sent::Never => {
                found.book.answered(member, true, false, now);
                let code = errno::EINVAL as u64;
                self.fail(key, HttpFailure { code, phase: HttpPhase::Waiting, was_sent: false });
            }
        }
        true
    }

    /// Begins a connection.
    fn dial(&mut self, pool: u32, host: u32, member: u32) {
        let now = self.now;
        let dialed = self.client_dial(pool, host, member);
        let Some(found) = self.clients.pools.get(pool) else { return };
        let id = match dialed {
            Ok(id) => id,
            Err(error) => {
                let code = match error {
                    IoError::PoolExhausted { .. } | IoError::QueueFull { .. } => {
                        code::HTTP_NO_CONNECTION
                    }
                    error => errno_of(&error) as u64,
                };
                return found.book.dial_failed(member, code, now);
            }
        };
        found.set_conn(member, id);
        // A Unix socket is connected at once, and a host that is known not to exist fails at once:
        // then nobody was told yet.
        let index = id.index();
        if self.conns.get(id).is_err() {
            let code = self.conns.at(index).code;
            self.dial_failed(index, code);
        } else if !self.is_dialing(index) {
            self.client_opened(index);
        }
    }

    /// The book gives a connection up.
    fn close_member(&mut self, pool: u32, member: u32, conn: ConnId) {
        let is_there = self.conns.find(conn).is_some_and(|conn| client(conn).is_some());
        if is_there {
            self.close_client(conn.index());
        }
        if let Some(found) = self.clients.pools.get(pool) {
            found.book.closed(member);
        }
    }

    // ---- what the book is told

    /// The pool and the number in its book of a connection that it has and knows of.
    fn member_of(&mut self, index: u32) -> Option<(u32, u32)> {
        let conn = self.conns.at(index);
        let id = conn.id(index);
        let machine = client(conn)?;
        let (pool, member) = (machine.pool, machine.member);
        let is_known = self.clients.pools.get(pool)?.conn_of(member) == id;
        is_known.then_some((pool, member))
    }

    /// A connection is open.
    pub(super) fn book_opened(&mut self, index: u32) {
        let now = self.now;
        let Some((pool, member)) = self.member_of(index) else { return };
        if let Some(machine) = client(self.conns.at(index)) {
            machine.is_open = true;
        }
        if let Some(found) = self.clients.pools.get(pool) {
            found.book.connected(member, now);
            self.clients.pools.set_due(pool);
        }
    }

    /// A connection was not established.
    pub(super) fn dial_failed(&mut self, index: u32, code: u64) {
        let now = self.now;
        let Some((pool, member)) = self.member_of(index) else { return };
        let Some(found) = self.clients.pools.get(pool) else { return };
        found.set_conn(member, ConnId::from_u64(0));
        match code {
            code::NONE => found.book.closed(member),
            code => found.book.dial_failed(member, code, now),
        }
        self.clients.pools.set_due(pool);
    }

    /// A connection is gone, or is not to be used any more.
    pub(super) fn book_forget(&mut self, index: u32) {
        let Some((pool, member)) = self.member_of(index) else { return };
        if let Some(found) = self.clients.pools.get(pool) {
            found.set_conn(member, ConnId::from_u64(0));
            found.book.closed(member);
            self.clients.pools.set_due(pool);
        }
    }

    /// A request on a connection has had its last event.
    pub(super) fn book_released(&mut self, index: u32) {
        let now = self.now;
        let Some((pool, member)) = self.member_of(index) else { return };
        let Some(machine) = client(self.conns.at(index)) else { return };
        let (keeps, pipelines) = (!machine.is_closed(), machine.is_version_11);
        if let Some(found) = self.clients.pools.get(pool) {
            found.book.answered(member, keeps, pipelines, now);
            self.clients.pools.set_due(pool);
        }
    }

    /// A request waits again, before the others.
    pub(super) fn book_again(&mut self, key: u64) {
        if let Some(pool) = self.requeue(key) {
            self.clients.pools.set_due(pool);
        }
    }

    /// The same without looking at once for who could have it; its pool.
    fn requeue(&mut self, key: u64) -> Option<u32> {
        let request = self.clients.requests.get(key)?;
        request.state = State::Waiting;
        let pool = request.pool;
        let order = request.order.as_ref()?;
        let found = self.clients.pools.get(pool)?;
        let (url, is_safe) = (order.url(), order.method.is_safe() && !order.is_upgrade());
        let route = Route::of(found.config.proxy.as_ref(), &url, order.is_upgrade());
        found.book.requeue(index_of(key), &route.key(url), is_safe);
        Some(pool)
    }

    /// A request waits no longer.
    pub(super) fn book_withdraw(&mut self, key: u64) {
        let Some(request) = self.clients.requests.get(key) else { return };
        let pool = request.pool;
        if let Some(found) = self.clients.pools.get(pool) {
            found.book.cancel(index_of(key));
            self.clients.pools.set_due(pool);
        }
    }
}
