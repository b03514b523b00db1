//! Clients whose first packet waits: taken, asked to come again, or sent away.
//!
//! A handshake costs half a millisecond of this core, at once: few are begun in a tick, so that
//! established connections are served in between.

use super::socket_of;
use crate::conn::Phase;
use crate::engine::Engine;
use crate::ids::{ConnId, Protocol};
use crate::proto::App;
use crate::proto::quic::admission::{Load, Verdict};
use crate::proto::quic::endpoint::{Incoming, Route};
use crate::sys::addr::SockAddr;

/// Handshakes that are begun in a tick at most.
const ACCEPTS_PER_TICK_MAX: usize = 8;
/// Clients that are looked at in a tick at most: those sent away cost little.
const LOOKS_PER_TICK_MAX: usize = 256;

impl Engine {
    /// Looks at those who wait; whether some still do.
    pub(super) fn quic_admit(&mut self, socket: u32) -> bool {
        let mut accepts = 0;
        for _ in 0..LOOKS_PER_TICK_MAX {
            if accepts == ACCEPTS_PER_TICK_MAX {
                break;
            }
            let Some(load) = self.quic_load(socket) else { return false };
            let Some(udp) = self.endpoints.quic(socket) else { return false };
            let Some(incoming) = udp.waiting.pop_front() else { return false };
            match load.verdict(incoming.may_retry()) {
                Verdict::Accept => {
                    accepts += 1;
                    self.quic_accept(socket, incoming);
                }
                Verdict::Retry => {
                    self.stats.quic_retried += 1;
                    if let Some(out) = udp.endpoint.retry(incoming) {
                        udp.stage_reply(&out);
                    }
                }
                Verdict::Refuse => {
                    self.stats.quic_refused += 1;
                    let out = udp.endpoint.refuse(incoming);
                    udp.stage_reply(&out);
                }
            }
            self.quic_list(socket);
        }
        self.endpoints.quic(socket).is_some_and(|udp| !udp.waiting.is_empty())
    }

    /// What there is to do; `None` where nobody is taken.
    fn quic_load(&mut self, socket: u32) -> Option<Load> {
        let pressure = self.quic_pressure();
        let (connections, connections_max) = (self.conns.used(), self.conns.max());
        let handshaking = self.quic.handshaking;
        let udp = self.endpoints.quic(socket)?;
        let listening = udp.listening.as_ref()?;
        Some(Load {
            policy: listening.retry,
            waiting: udp.waiting.len(),
            waiting_max: listening.waiting_max,
            handshaking,
            connections,
            connections_max,
            pressure,
        })
    }

    fn quic_accept(&mut self, socket: u32, incoming: Incoming) {
        let now = self.now;
        let peer = SockAddr::from(incoming.from());
        let Some(endpoint) = self.endpoints.id(socket) else { return };
        let Some(udp) = self.endpoints.quic(socket) else { return };
        let Ok(index) = self.conns.insert(Phase::Connecting, Protocol::Quic, now) else {
            return udp.endpoint.ignore(incoming);
        };
        let id = self.conns.at(index).id(index);
        let timeout = udp.listening.as_ref().map(|l| l.handshake_timeout);
        match udp.endpoint.accept(incoming, now, id) {
            Ok(session) => {
                let conn = self.conns.at(index);
                conn.app = App::Quic(session);
                conn.peer = peer;
                conn.endpoint = endpoint.as_u64();
                conn.deadline = now.saturating_add(timeout.unwrap_or_default());
                self.stats.accepted += 1;
                self.quic.handshaking += 1;
                self.quic_adopted(id);
            }
            Err(answer) => {
                if let Some(out) = answer {
                    udp.stage_reply(&out);
                }
                self.conns.remove(index);
            }
        }
    }

    /// A connection was begun: its socket has one more, and it has something to send.
    pub(super) fn quic_adopted(&mut self, id: ConnId) {
        let Some(conn) = self.conns.find(id) else { return };
        let socket = socket_of(conn);
        if let Some(udp) = self.endpoints.quic(socket) {
            udp.users += 1;
            self.quic.users += 1;
        }
        self.quic_touch(socket, Route::Conn(id));
    }

    /// Sends all who wait away.
    pub(super) fn quic_refuse_all(&mut self, socket: u32) {
        let Some(udp) = self.endpoints.quic(socket) else { return };
        while let Some(incoming) = udp.waiting.pop_front() {
            let out = udp.endpoint.refuse(incoming);
            udp.stage_reply(&out);
        }
    }
}
