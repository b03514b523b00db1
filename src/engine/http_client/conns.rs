//! What happens on a pool's connection: it opens, something arrives, it ends.

use super::client;
use crate::code;
use crate::conn::{Flags, Phase};
use crate::engine::Engine;
use crate::event::http_client::ClientKind;
use crate::event::record::{Kind, Record};
use crate::proto::App;
use crate::proto::http_client::Eof;
use crate::proto::http1::Writing;

impl Engine {
    /// Something arrived that is looked at next. Whether it is held back: never.
    pub(in crate::engine) fn client_looks(&mut self, index: u32) -> bool {
        let is_due = client(self.conns.at(index)).is_some_and(|machine| machine.has_no_response());
        if !is_due {
            return false;
        }
        let handed = self.handed(index);
        if let Some(machine) = client(self.conns.at(index))
            && machine.asked().next().is_some_and(|asked| handed <= asked.from)
        {
            // A response to a request that the server cannot have seen.
            machine.note_unsent();
        }
        false
    }

    /// The machine was fed: what follows.
    pub(in crate::engine) fn client_fed(&mut self, index: u32) {
        let now = self.now;
        let conn = self.conns.at(index);
        if conn.phase != Phase::Open {
            return;
        }
        let last = (conn.last_rx, conn.last_tx);
        let Some(machine) = client(conn) else { return };
        if machine.is_tunnelled && !machine.has_tunnel {
            machine.has_tunnel = true;
            return self.client_opened_by_proxy(index);
        }
        let is_continued = machine.take_continued() && machine.end_continue();
        if machine.take_answered() > 0 {
            machine.wait_from(now);
        }
        let (is_tunnel, is_closed) = (machine.is_tunnel(), machine.is_closed());
        let (pool, bytes) = (machine.pool, machine.take_bytes());
        let wants_timer = machine.wants_timer(now, last);
        if let Some(pool) = self.clients.pools.get(pool) {
            pool.stats.bytes_received += bytes;
        }
        if is_continued {
            self.body_is_wanted(index);
        }
        if is_tunnel {
            self.leave_pool(index);
        } else if is_closed {
            self.close_client(index);
        } else if wants_timer {
            self.arm_conn_timer(index);
        }
    }

    /// Whether it is a pool's, and no request's: then it is read, so that its end is seen.
    pub(in crate::engine) fn rests_in_pool(&mut self, index: u32) -> bool {
        client(self.conns.at(index)).is_some_and(|machine| machine.asked().len() == 0)
    }

    /// The server sends no more. Whether it is a pool's connection.
    pub(in crate::engine) fn client_eof(&mut self, index: u32) -> bool {
        let conn = self.conns.at(index);
        let id = conn.id(index).as_u64();
        let has_failed = conn.has(Flags::SEND_FAILED);
        let code = conn.code;
        let Some(machine) = client(conn) else { return false };
        match machine.on_eof() {
            Eof::Tunnel => {
                self.leave_pool(index);
                return false;
            }
            Eof::Last(key) => {
                conn.set(Flags::EOF);
                let kind = Kind::HttpClient(ClientKind::Body { last: true });
                self.inbox.push(Record::bare(kind, id, key));
                self.begin_end(index, code::NONE, true);
            }
            Eof::Idle => self.begin_end(index, code::NONE, true),
            Eof::Truncated => self.begin_end(index, code::TRUNCATED, false),
            Eof::NoResponse if has_failed && code != code::NONE => {
                self.begin_end(index, code, false);
            }
            Eof::NoResponse => self.begin_end(index, code::HTTP_NO_RESPONSE, false),
        }
        true
    }

    /// Closes a connection that no response is waited for on: what is queued is still sent, with
    /// TLS's goodbye behind it.
    pub(super) fn close_client(&mut self, index: u32) {
        let now = self.now;
        self.book_forget(index);
        let conn = self.conns.at(index);
        if conn.phase != Phase::Open || conn.has(Flags::SHAKING) {
            return self.begin_end(index, code::NONE, true);
        }
        let is_sent = conn.tx.is_empty() && !conn.has(Flags::UNSEALED | Flags::SEND_FAILED);
        let Some(machine) = client(conn) else { return };
        machine.close_input();
        machine.writing = Writing::Nothing;
        conn.unset(Flags::PAUSED | Flags::WANT_WRITABLE);
        if !is_sent {
            // A request that was answered before it was sent: the rest of it is of no use.
            return self.begin_end(index, code::NONE, false);
        }
        conn.set(Flags::SHUT_WANTED);
        conn.deadline = conn.deadline.min(now.saturating_add(self.config.close_timeout));
        self.arm_conn_timer(index);
        self.settle_recv(index);
        self.mark_dirty(index);
    }

    /// The connection is a stream of the application's from now on.
    fn leave_pool(&mut self, index: u32) {
        self.book_forget(index);
        let conn = self.conns.at(index);
        let is_tls = conn.has(Flags::TLS);
        conn.app = App::Raw;
        conn.is_announced = true;
        conn.flags.set(Flags::COOKED, is_tls);
        self.arm_conn_timer(index);
    }

    /// The connection is over. Whether that is nobody's business but the pool's.
    pub(in crate::engine) fn client_ended(&mut self, index: u32) -> bool {
        let conn = self.conns.at(index);
        let id = conn.id(index);
        let is_ours = client(conn).is_some();
        if is_ours {
            self.clients.ended.push(id);
        }
        is_ours
    }
}
