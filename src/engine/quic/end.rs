//! How connections end, and their sockets.
//!
//! ```text
//! close ─ timeout ─▶ Ended ─ Disconnected ─▶ free
//!                      └──▶ drained: CONNECTION_CLOSE, and answers to what comes late
//! the peer's end ─ all that arrived is told ─ Disconnected ─▶ free, drained
//! ```

use super::drains::{Drain, Rest};
use super::{session, socket_of};
use crate::code;
use crate::conn::{Flags, Phase};
use crate::engine::Engine;
use crate::error::Result;
use crate::ids::ConnId;
use crate::proto::App;
use crate::proto::quic::endpoint::Route;
use crate::time::Time;

impl Engine {
    /// The application's `close`, with what the peer is told.
    pub(crate) fn quic_close(&mut self, id: ConnId, error_code: u64, reason: &[u8]) -> Result<()> {
        let now = self.ring.now();
        if self.quic_races(id) {
            self.quic_ended(id, code::LOCAL_CLOSE, false);
            return Ok(());
        }
        self.quic_giving_up(|engine| {
            let session = engine.quic_session(id, "error code of their end")?;
            session.close(now, error_code, reason)
        })?;
        self.quic_ended(id, code::LOCAL_CLOSE, false);
        Ok(())
    }

    /// Ends every stream behind what was written, waits until all of it arrived, then closes.
    pub(in crate::engine) fn quic_close_graceful(
        &mut self,
        id: ConnId,
        deadline: Time,
    ) -> Result<()> {
        if self.quic_races(id) {
            return self.quic_close(id, 0, b"");
        }
        let conn = self.quic_conn(id, "streams")?;
        if conn.phase != Phase::Open {
            return self.quic_close(id, 0, b"");
        }
        conn.set(Flags::GRACEFUL);
        conn.deadline = conn.deadline.min(deadline);
        let socket = socket_of(conn);
        if let Some(session) = session(conn) {
            session.resume();
            session.finish_all();
        }
        self.quic_settle(socket, Route::Conn(id));
        Ok(())
    }

    /// Closes a connection that `close_graceful` was called for, once all that was written has
    /// arrived and all that came was told.
    pub(super) fn quic_finish_graceful(&mut self, id: ConnId) {
        let conn = self.conns.find(id).filter(|conn| conn.has(Flags::GRACEFUL));
        let Some(session) = conn.and_then(session) else { return };
        if !session.is_listed && session.is_all_acked() {
            self.quic_end(id, code::NONE, true);
        }
    }

    /// Ends a connection of our own accord.
    pub(super) fn quic_end(&mut self, id: ConnId, code: u64, is_clean: bool) {
        let now = self.ring.now();
        self.quic_giving_up(|engine| {
            if let Some(session) = engine.conns.find(id).and_then(session) {
                // Refused are codes of more than 62 bits alone.
                let _ = session.close(now, 0, b"");
            }
        });
        self.quic_ended(id, code, is_clean);
    }

    /// Ends a connection whose time is up.
    pub(in crate::engine) fn quic_cut(&mut self, id: ConnId, code: u64) {
        self.quic_end(id, code, false);
    }

    /// Whether peers may still have to be told of an end.
    pub(in crate::engine) fn quic_has_drains(&self) -> bool {
        self.quic.drains.len() > 0
    }

    /// The session is closed: `Disconnected` waits to be handed out.
    fn quic_ended(&mut self, id: ConnId, code: u64, is_clean: bool) {
        self.quic_end_race(id, None);
        self.quic_retire(id);
        let Some(conn) = self.conns.find(id) else { return };
        conn.code = code;
        conn.is_clean = is_clean;
        conn.enter(Phase::Ended);
        self.lists.notices.push_back(id);
    }

    /// Takes the session out of the table; what it owes its peer is done out of sight.
    pub(super) fn quic_retire(&mut self, id: ConnId) {
        self.quic_shaken(id);
        let Some(conn) = self.conns.find(id) else { return };
        let socket = socket_of(conn);
        let timer = conn.timer.take();
        let app = std::mem::replace(&mut conn.app, App::Raw);
        if let Some(timer) = timer {
            self.conn_timers.cancel(timer);
        }
        let App::Quic(mut session) = app else { return };
        if session.is_drained() {
            return self.quic_drop(Rest::Session(session), socket);
        }
        self.quic_make_room_to_drain();
        (session.is_dirty, session.is_touched, session.is_listed) = (false, false, false);
        let at = self.quic.drains.insert(Drain {
            rest: Rest::Session(session),
            socket,
            timer: None,
            races_for: None,
            refused: 0,
        });
        let route = Route::Drain(at);
        if let Some(udp) = self.endpoints.quic(socket)
            && let Some(session) = self.quic.drains.session(at)
        {
            session.reroute(&mut udp.endpoint, route);
        }
        self.quic_settle(socket, route);
    }

    /// Another one is about to drain: where as many do as may, the oldest goes.
    pub(super) fn quic_make_room_to_drain(&mut self) {
        if let Some(oldest) = self.quic.drains.next_to_go() {
            self.quic_drop_drain(oldest);
        }
    }

    /// One that was drained goes, or one that was not, to make room.
    pub(super) fn quic_drop_drain(&mut self, at: u32) {
        let Some(Drain { rest, socket, timer, .. }) = self.quic.drains.remove(at) else {
            return;
        };
        if let Some(timer) = timer {
            self.conn_timers.cancel(timer);
        }
        self.quic_drop(rest, socket);
    }

    /// One that drains and has nothing to say lets go of all but its place.
    pub(super) fn quic_shrink_drain(&mut self, at: u32) {
        if let Some(drain) = self.quic.drains.get(at) {
            drain.shrink();
        }
    }

    /// A session is over, and its socket has one less. Nobody knows a socket that was closed: it
    /// goes with its last connection.
    fn quic_drop(&mut self, rest: Rest, socket: u32) {
        self.quic.users -= 1;
        // A listener may have waited for the place.
        self.lists.endpoint_work = true;
        if let Some(udp) = self.endpoints.quic(socket) {
            rest.forget(&mut udp.endpoint);
            udp.users -= 1;
        }
        self.quic_let_go(socket);
    }

    /// Closes a socket that nobody uses nor knows, and takes memory home when nobody uses any.
    pub(super) fn quic_let_go(&mut self, socket: u32) {
        let is_unused = self.endpoints.quic(socket).is_some_and(|udp| udp.users == 0);
        if is_unused && self.endpoints.at(socket).is_some_and(|e| e.is_lame) {
            for client in &mut self.quic.clients {
                client.take_if(|client| *client == socket);
            }
            self.end_endpoint(socket);
        }
        self.quic_reclaim();
    }

    /// Takes memory home when there are no connections; the application may still keep some.
    pub(in crate::engine) fn quic_reclaim(&mut self) {
        if self.quic.users == 0
            && let Some(memory) = self.quic.memory.as_mut().filter(|memory| !memory.is_home())
        {
            memory.packets.is_home();
            memory.cells.is_home();
        }
    }

    /// The application closes an endpoint: whether that has to wait for connections on it. No new
    /// ones are taken.
    pub(in crate::engine) fn quic_lingers(&mut self, socket: u32) -> bool {
        let Some(udp) = self.endpoints.quic(socket) else { return false };
        if let Some(listening) = &mut udp.listening {
            listening.is_over = true;
        }
        let users = udp.users;
        self.quic_refuse_all(socket);
        self.quic_flush(socket);
        if let Some(endpoint) = self.endpoints.at(socket) {
            endpoint.is_lame = true;
        }
        users > 0
    }
}
