//! Deadlines: one entry of the timer wheel for each session.

use super::{session, socket_of};
use crate::code;
use crate::conn::{Flags, Phase};
use crate::engine::Engine;
use crate::ids::ConnId;
use crate::proto::quic::endpoint::Route;
use crate::time::Time;

/// The generation that no connection has: such an entry is of one that is over for the application.
const DRAIN: u32 = 0;

impl Engine {
    /// Arms a connection's timer at its machine's deadline, or its own.
    pub(super) fn quic_arm(&mut self, id: ConnId, deadline: Time) {
        let Some(conn) = self.conns.find(id) else { return };
        let due = deadline.min(conn.deadline);
        match conn.timer {
            Some(key) => {
                self.conn_timers.update(key, due);
            }
            None if due.is_never() => {}
            None => conn.timer = self.conn_timers.insert(due, id.as_u64()).ok(),
        }
    }

    /// A connection's deadline has passed, or another one's that it had before.
    pub(in crate::engine) fn quic_timeout(&mut self, id: ConnId) {
        self.quic.relax();
        let now = self.now;
        let Some(conn) = self.conns.find(id) else { return };
        let socket = socket_of(conn);
        let is_overdue = now >= conn.deadline;
        let is_closing = conn.has(Flags::GRACEFUL);
        let Some(session) = session(conn) else {
            return if self.quic_races(id) {
                self.quic_race_timeout(id, is_overdue)
            };
        };
        if is_overdue && (is_closing || session.is_handshaking()) {
            let code = if is_closing { code::CLOSE_TIMEOUT } else { code::CONNECT_TIMEOUT };
            return self.quic_end(id, code, false);
        }
        session.on_timeout(now);
        if is_overdue {
            // The handshake was done in time, and that is about to be told.
            conn.deadline = Time::MAX;
        }
        self.quic_settle(socket, Route::Conn(id));
    }

    pub(super) fn quic_arm_drain(&mut self, at: u32, deadline: Time) {
        let Some(drain) = self.quic.drains.get(at) else { return };
        match drain.timer {
            Some(key) => {
                self.conn_timers.update(key, deadline);
            }
            None => {
                let data = ConnId::new(at, DRAIN).as_u64();
                drain.timer = self.conn_timers.insert(deadline, data).ok();
            }
        }
    }

    /// A deadline that is no connection's.
    pub(in crate::engine) fn quic_drain_timeout(&mut self, id: ConnId) {
        if id.generation() != DRAIN {
            return;
        }
        self.quic.relax();
        let (now, at) = (self.now, id.index());
        let Some(drain) = self.quic.drains.get(at) else { return };
        drain.timer = None;
        let socket = drain.socket;
        match drain.session() {
            Some(session) => session.on_timeout(now),
            None => return self.quic_drop_drain(at),
        }
        self.quic_settle(socket, Route::Drain(at));
    }

    /// The handshake is done, and that is told.
    pub(super) fn quic_opened(&mut self, id: ConnId) {
        self.quic_shaken(id);
        let Some(conn) = self.conns.find(id) else { return };
        conn.enter(Phase::Open);
        conn.is_announced = true;
        if session(conn).is_none_or(|session| !session.is_handshaking()) {
            conn.deadline = Time::MAX;
        }
        crate::trace::conn_opened(id, conn.protocol);
        self.stats.quic_handshakes += 1;
    }

    /// An accepted connection no longer counts as one in the making.
    pub(super) fn quic_shaken(&mut self, id: ConnId) {
        let Some(conn) = self.conns.find(id).filter(|c| c.phase == Phase::Connecting) else {
            return;
        };
        let is_accepted = session(conn).is_some_and(|session| session.is_accepted());
        self.quic.handshaking -= usize::from(is_accepted);
    }
}
