//! Time: of connections, by their own timers; of requests as a whole, by those of their pool.

use super::client;
use super::ends::phase_of;
use super::requests::State;
use crate::code;
use crate::conn::{Conn, Flags, Phase};
use crate::engine::Engine;
use crate::event::{HttpFailure, HttpPhase};
use crate::ids::ConnId;
use crate::time::Time;

impl Engine {
    /// When something of the connection falls due; the timer is being armed.
    pub(in crate::engine) fn client_deadline(conn: &mut Conn, now: Time) -> Time {
        let last = (conn.last_rx, conn.last_tx);
        let is_held = conn.has(Flags::PAUSED | Flags::HOLDING | Flags::STALLED);
        let is_over = conn.has(Flags::GRACEFUL | Flags::SHUT_WANTED | Flags::SHAKING);
        client(conn)
            .filter(|_| !is_over)
            .map_or(Time::MAX, |machine| machine.next_deadline(now, last, is_held))
    }

    /// The timer was armed.
    pub(in crate::engine) fn client_armed(conn: &mut Conn, due: Time) {
        if let Some(machine) = client(conn) {
            machine.timer_armed(due);
        }
    }

    /// Ends what took too long.
    pub(in crate::engine) fn client_overdue(&mut self, id: ConnId) {
        let now = self.now;
        let Some(conn) = self.conns.find(id).filter(|conn| conn.phase == Phase::Open) else {
            return;
        };
        if Self::client_deadline(conn, now) > now {
            return;
        }
        let Some(machine) = client(conn) else { return };
        if machine.is_continue_late(now) {
            machine.end_continue();
            machine.wait_from(now);
            return self.body_is_wanted(id.index());
        }
        let code = machine.late_code();
        self.begin_end(id.index(), code, false);
    }

    /// Ends requests whose time as a whole has passed.
    pub(super) fn run_client_timers(&mut self) {
        let now = self.now;
        while let Some(key) = self.clients.pools.pop_due(now) {
            let Some(request) = self.clients.requests.get(key) else { continue };
            request.timer = None;
            let (state, conn) = (request.state, request.conn);
            let (phase, was_sent) = match state {
                State::Free | State::Failed(_) => continue,
                State::Waiting => {
                    self.book_withdraw(key);
                    (HttpPhase::Waiting, false)
                }
                State::Asked => {
                    let Some(found) = self.phase_on(conn, key) else { continue };
                    found
                }
            };
            self.fail(key, HttpFailure { code: code::HTTP_DEADLINE, phase, was_sent });
            self.abandon(conn, key);
        }
    }

    /// What a request does on its connection, and whether something of it may have been sent;
    /// `None` when its response is whole, and waits to be handed out.
    fn phase_on(&mut self, id: ConnId, key: u64) -> Option<(HttpPhase, bool)> {
        let machine = self.conns.find(id).and_then(client)?;
        let at = machine.asked().position(|asked| asked.key == key)?;
        let asked = *machine.asked().nth(at)?;
        let phase = if at == 0 { phase_of(machine) } else { HttpPhase::Sending };
        // With others behind or before it the connection stays, and it still goes out.
        let stays = machine.asked().len() > 1;
        Some((phase, stays || self.handed(id.index()) > asked.from))
    }
}
