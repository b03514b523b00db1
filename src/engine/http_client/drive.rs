//! Driving a pool: what its book says is done, and what happens is told to it.
//!
//! *Invariant*: the book is asked again until it has nothing to say.

use super::book::Todo;
use super::requests::State;
use super::send::Sent;
use super::client;
use crate::code;
use crate::engine::Engine;
use crate::engine::race::errno_of;
use crate::error::IoError;
use crate::event::{HttpFailure, HttpPhase};
use crate::ids::ConnId;
use crate::sys::errno;

/// How long a pool rests that found no room for a request.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(1);

impl Engine {
    /// Does what there is to do for a pool.
    pub(super) fn drive(&mut self, pool: u32) {
        let now = self.now;
        while let Some(found) = self.clients.pools.get(pool)
            && let Some(todo) = found.book.next(now)
        {
            match todo {
                Todo::Assign { request, conn } => {
                    if !self.assign(pool, request, conn) {
                        break;
                    }
                }
                Todo::Dial { host } => {
                    if !self.dial(pool, host) {
                        break;
                    }
                }
                Todo::Close { conn } => self.close_client(conn),
            }
        }
        self.settle_pool(pool);
    }

    /// Sends a request on the connection that the book chose. Whether there was room.
    fn assign(&mut self, pool: u32, key: u64, index: u32) -> bool {
        let conn = self.conns.at(index);
        let id = conn.id(index);
        let was_used = client(conn).is_some_and(|machine| machine.answered_ever() > 0);
        let sent = self.client_send(key, id);
        let now = self.now;
        let Some(found) = self.clients.pools.get(pool) else { return false };
        match sent {
            Sent::Yes => found.stats.reuses += u64::from(was_used),
            Sent::NoRoom => {
                found.book.released(index, now);
                found.retry_at = found.retry_at.min(now.saturating_add(PAUSE));
                self.book_again(key);
                return false;
            }
            Sent::Gone => {
                self.book_again(key);
                self.close_client(index);
            }
            Sent::Never => {
                found.book.released(index, now);
                let code = errno::EINVAL as u64;
                self.fail(key, HttpFailure { code, phase: HttpPhase::Waiting, was_sent: false });
            }
        }
        true
    }

    /// Begins a connection. Whether there was a place for it.
    fn dial(&mut self, pool: u32, host: u32) -> bool {
        let now = self.now;
        match self.client_dial(pool, host) {
            Ok(id) => {
                let Some(found) = self.clients.pools.get(pool) else { return false };
                found.book.dialed(host, id.index());
                self.told_at_once(id);
                true
            }
            Err(IoError::PoolExhausted { .. } | IoError::QueueFull { .. }) => {
                let Some(found) = self.clients.pools.get(pool) else { return false };
                found.retry_at = found.retry_at.min(now.saturating_add(PAUSE));
                false
            }
            Err(error) => {
                self.host_failed(pool, host, errno_of(&error) as u64);
                true
            }
        }
    }

    /// What happened to a connection before the book knew of it: a Unix socket is connected at
    /// once, and a host that is known not to exist fails at once.
    fn told_at_once(&mut self, id: ConnId) {
        let index = id.index();
        if self.conns.get(id).is_err() {
            let code = self.conns.at(index).code;
            self.dial_failed(index, code);
        } else if !self.is_dialing(index) {
            self.client_opened(index);
        }
    }

    /// A connection was not established: the request that has waited longest fails with it.
    pub(super) fn dial_failed(&mut self, index: u32, code: u64) {
        let Some(machine) = client(self.conns.at(index)) else { return };
        let (pool, host) = (machine.pool, machine.host);
        // One that ended before the call that made it returned is told of there.
        if !self.clients.pools.get(pool).is_some_and(|pool| pool.book.knows(index)) {
            return;
        }
        self.book_forget(index);
        if code != code::LOCAL_CLOSE && code != code::NONE {
            self.host_failed(pool, host, code);
        }
    }

    fn host_failed(&mut self, pool: u32, host: u32, code: u64) {
        let Some(found) = self.clients.pools.get(pool) else { return };
        let Some(key) = found.book.oldest(host) else { return };
        found.book.withdraw(key);
        self.fail(key, HttpFailure { code, phase: HttpPhase::Connecting, was_sent: false });
        self.clients.pools.set_due(pool);
    }

    // ---- what the book is told

    /// A connection is open.
    pub(super) fn book_opened(&mut self, index: u32) {
        let now = self.now;
        let Some(machine) = client(self.conns.at(index)) else { return };
        let pool = machine.pool;
        if let Some(found) = self.clients.pools.get(pool) {
            found.book.opened(index, now);
            self.clients.pools.set_due(pool);
        }
    }

    /// A connection is gone, or is not to be used any more.
    pub(super) fn book_forget(&mut self, index: u32) {
        let Some(machine) = client(self.conns.at(index)) else { return };
        let pool = machine.pool;
        if let Some(found) = self.clients.pools.get(pool) {
            found.book.gone(index);
            self.clients.pools.set_due(pool);
        }
    }

    /// A request on a connection has had its last event.
    pub(super) fn book_released(&mut self, index: u32) {
        let now = self.now;
        let Some(machine) = client(self.conns.at(index)) else { return };
        let pool = machine.pool;
        if let Some(found) = self.clients.pools.get(pool) {
            found.book.released(index, now);
            self.clients.pools.set_due(pool);
        }
    }

    /// A request waits again, before the others.
    pub(super) fn book_again(&mut self, key: u64) {
        let Some(request) = self.clients.requests.get(key) else { return };
        request.state = State::Waiting;
        let (pool, host) = (request.pool, request.host);
        if let Some(found) = self.clients.pools.get(pool) {
            found.book.push_front(host, key);
            self.clients.pools.set_due(pool);
        }
    }

    /// A request waits no longer.
    pub(super) fn book_withdraw(&mut self, key: u64) {
        let Some(request) = self.clients.requests.get(key) else { return };
        let pool = request.pool;
        if let Some(found) = self.clients.pools.get(pool) {
            found.book.withdraw(key);
            self.clients.pools.set_due(pool);
        }
    }
}
