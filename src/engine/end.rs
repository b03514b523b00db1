//! How a connection ends: cancel what is under way, wait for it, close, tell.
//!
//! ```text
//! Open ─ begin_end ─▶ Ending ─ last completion ─▶ Closing ─ closed ─▶ Ended ─ Disconnected ─▶ free
//! ```
//!
//! *Invariants*: the descriptor is closed only when nothing is under way on it (61 of the hazards:
//! an armed receive keeps the socket open, and no FIN is sent). Queued memory is released only
//! when no send is under way (2, 5). Each step is safe to repeat.

use super::Engine;
use crate::code;
use crate::conn::{Flags, Phase, Span};
use crate::error::Result;
use crate::ids::{ConnId, Protocol};
use crate::pool::BufId;
use crate::proto::quic::signal::Signal;
use crate::ring::{Completion, Op, Tag, Token};
use crate::sys::SHUT_RDWR;
use crate::time::Time;

impl Engine {
    /// The application's `close`: at once, without waiting for what is queued.
    pub(crate) fn close(&mut self, conn: ConnId) -> Result<()> {
        if self.is_quic(conn) {
            return self.quic_close(conn, 0, b"");
        }
        let entry = self.conns.get(conn)?;
        entry.set(Flags::MUTED);
        self.lists.muted += 1;
        self.begin_end(conn.index(), code::LOCAL_CLOSE, false);
        Ok(())
    }

    /// Sends what is queued, says FIN, and waits for the peer's until `deadline`.
    pub(crate) fn close_graceful(&mut self, conn: ConnId, deadline: Time) -> Result<()> {
        if self.is_quic(conn) {
            return self.quic_close_graceful(conn, deadline);
        }
        let entry = self.conns.get(conn)?;
        let was_told = entry.is_announced || !entry.has(Flags::SHAKING);
        if entry.phase != Phase::Open || !was_told {
            return self.close(conn);
        }
        let index = conn.index();
        if entry.has(Flags::SHAKING) {
            self.abandon_handshake(index);
        }
        let entry = self.conns.at(index);
        entry.set(Flags::GRACEFUL | Flags::SHUT_WANTED);
        entry.unset(Flags::PAUSED | Flags::WANT_WRITABLE);
        entry.deadline = entry.deadline.min(deadline);
        self.arm_conn_timer(index);
        self.settle_recv(index);
        self.mark_dirty(index);
        Ok(())
    }

    /// Starts the end of a connection. The first reason is the one that is told.
    pub(super) fn begin_end(&mut self, index: u32, code: u64, clean: bool) {
        if self.conns.at(index).phase >= Phase::Ending {
            return;
        }
        self.note_preface_end(index);
        let goodbye_alone = self.is_goodbye_alone(index);
        let (code, clean) = self.http_ending(index, code, clean);
        let conn = self.conns.at(index);
        let planned = conn.phase < Phase::Open;
        conn.enter(Phase::Ending);
        let failed = conn.has(Flags::SEND_FAILED | Flags::TLS_FAILED);
        conn.code =
            if failed && conn.code != 0 && code != code::LOCAL_CLOSE { conn.code } else { code };
        let is_sent = conn.tx.is_empty() || goodbye_alone;
        if clean && !failed && is_sent && !conn.has(Flags::UNSEALED) {
            conn.is_clean = true;
        }
        if conn.has(Flags::HOLDING) {
            self.lists.holding -= 1;
        }
        conn.unset(Flags::WANT_WRITABLE | Flags::STALLED | Flags::HOLDING);
        let stalled = std::mem::replace(&mut conn.stalled, Span::NONE);
        let timer = conn.timer.take();
        conn.carry.clear(&mut self.pool);
        self.drop_cipher(index);
        if stalled.buf != BufId::NONE {
            self.pool.release(stalled.buf);
        }
        if let Some(timer) = timer {
            self.conn_timers.cancel(timer);
        }
        if planned {
            let id = self.conns.at(index).id(index);
            self.drop_plan(id);
        }
        self.let_go_of_pinned(index);
        self.cancel_all(index);
        self.advance_end(index);
    }

    /// A peer that did not take zero-copy sends in time gets a reset: the kernel would hold their
    /// memory for as long as it goes on trying.
    fn let_go_of_pinned(&mut self, index: u32) {
        let conn = self.conns.at(index);
        if conn.pinned > 0 && matches!(conn.code, code::WRITE_TIMEOUT | code::CLOSE_TIMEOUT) {
            let fd = conn.sock.fd;
            let _ = self.ring.linger_zero(fd);
        }
    }

    /// Makes every operation that is under way complete.
    fn cancel_all(&mut self, index: u32) {
        let conn = self.conns.at(index);
        let sock = conn.sock;
        if conn.has(Flags::CONNECT_BUSY) {
            let target = conn.token(Tag::Connect, index);
            self.ring.push(Op::Cancel { target }, Token::IGNORE);
        }
        let conn = self.conns.at(index);
        if conn.has(Flags::SEND_BUSY) && !conn.has(Flags::SHUTDOWN_BUSY) {
            // A send that waits for the peer's window ends with EPIPE; what the kernel has taken is
            // still delivered.
            conn.set(Flags::SHUTDOWN_BUSY);
            let token = conn.token(Tag::Shutdown, index);
            self.ring.push(Op::Shutdown { sock, how: SHUT_RDWR }, token);
        }
        self.settle_recv(index);
    }

    /// Goes on with the end once nothing is under way.
    pub(super) fn advance_end(&mut self, index: u32) {
        let conn = self.conns.at(index);
        if conn.phase != Phase::Ending || conn.is_busy() {
            return;
        }
        if conn.sock.fd < 0 {
            return self.finish_end(index);
        }
        conn.enter(Phase::Closing);
        let (sock, token) = (conn.sock, conn.token(Tag::Close, index));
        // A peer that takes nothing: without a reset the kernel would go on offering it what it has
        // for minutes, out of memory that zero-copy sends lent it.
        let is_given_up = conn.code == code::WRITE_TIMEOUT
            || (conn.code == code::CLOSE_TIMEOUT && !conn.tx.is_empty());
        if is_given_up && conn.protocol == Protocol::Tcp {
            let _ = self.ring.linger_zero(sock.fd);
        }
        self.drop_queue(index);
        if sock.is_fixed() {
            let close = Op::CloseSlot { slot: sock.slot, or_nothing: false };
            self.ring.push(close, Token::IGNORE);
        }
        self.ring.push(Op::CloseFd { fd: sock.fd }, token);
    }

    pub(super) fn on_closed(&mut self, completion: Completion) {
        let Some(conn) = self.conns.of_token(completion.token) else { return };
        if conn.phase != Phase::Closing {
            return;
        }
        conn.sock.fd = -1;
        self.finish_end(completion.token.index());
    }

    fn finish_end(&mut self, index: u32) {
        self.drop_queue(index);
        let conn = self.conns.at(index);
        conn.enter(Phase::Ended);
        let id = conn.id(index);
        if !self.client_ended(index) {
            self.lists.notices.push_back(id);
        }
    }

    /// The next `Writable` or `Disconnected`, or what a connection of QUIC tells.
    pub(super) fn pop_notice(&mut self) -> Option<Notice> {
        while let Some(id) = self.lists.notices.pop_front() {
            let index = id.index();
            let high = self.config.send_high_water;
            let Some(conn) = self.conns.find(id) else { continue };
            if conn.phase == Phase::Ended && self.is_client(index) {
                // What was to be told of it was noted before it ended, and is of no use any more.
                continue;
            }
            let conn = self.conns.at(index);
            if conn.phase == Phase::Ended {
                let (error_code, clean, user_data) = (conn.code, conn.is_clean, conn.user_data);
                let notice = Notice::Disconnected { conn: id, error_code, clean, user_data };
                crate::trace::conn_ended(id, conn.code, conn.is_clean);
                if conn.has(Flags::MUTED) {
                    self.lists.muted -= 1;
                }
                self.conns.remove(index);
                self.forget_proxy(index);
                self.lists.endpoint_work = true;
                return Some(notice);
            }
            if conn.protocol == Protocol::Quic {
                if let Some(notice) = self.quic_notice(id) {
                    return Some(notice);
                }
                continue;
            }
            if conn.has(Flags::ANNOUNCE_DUE) && !conn.is_announced && conn.phase == Phase::Open {
                conn.unset(Flags::ANNOUNCE_DUE);
                conn.is_announced = true;
                self.settle_recv(index);
                return Some(Notice::Connected { conn: id });
            }
            if conn.has(Flags::WRITABLE_QUEUED) {
                conn.unset(Flags::WRITABLE_QUEUED);
                let credit = high.saturating_sub(conn.tx.bytes as usize);
                if conn.takes_writes() && credit == 0 {
                    // What was forwarded since took the room: later, then.
                    conn.set(Flags::WANT_WRITABLE);
                } else if conn.takes_writes() {
                    self.http_told(index);
                    return Some(Notice::Writable { conn: id, credit });
                }
            }
        }
        None
    }
}

/// An event that is not queued but noted at its connection, so that there is always room for it.
pub(super) enum Notice {
    Connected { conn: ConnId },
    Writable { conn: ConnId, credit: usize },
    Disconnected { conn: ConnId, error_code: u64, clean: bool, user_data: u64 },
    Quic { conn: ConnId, signal: Signal },
}
