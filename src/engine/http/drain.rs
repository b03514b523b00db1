//! What a shard that is about to end does with its HTTP connections.

use std::time::Duration;

use super::{Engine, machine};
use crate::conn::{Flags, Phase};

/// For so long a client that has just connected may be about to ask something.
const FIRST_REQUEST_MAX: Duration = Duration::from_secs(1);

impl Engine {
    /// Has the connection end behind the answers that are due; at once when there are none, as
    /// RFC 9112 §9.6 has it: what the client is just sending is read, and not answered.
    pub(in crate::engine) fn http_wind_down(&mut self, index: u32) {
        let now = self.now;
        let conn = self.conns.at(index);
        let is_ending = conn.has(Flags::GRACEFUL | Flags::SHUT_WANTED | Flags::SHAKING);
        if conn.phase != Phase::Open || is_ending {
            return;
        }
        let has_partial = !conn.carry.is_empty() || conn.has(Flags::STALLED);
        let is_fresh = now.saturating_since(conn.last_rx) < FIRST_REQUEST_MAX;
        let Some(http) = machine(conn) else { return };
        if http.wind_down(has_partial, is_fresh) {
            return self.end_gracefully(index);
        }
        if http.is_closed() {
            // The rest of what was begun does not come to anything.
            self.conns.at(index).carry.clear(&mut self.pool);
        }
    }
}
