//! When something falls due on a client connection, and when its timer has to come.
//!
//! *Invariant*: the timer is never later than what it is for; it may be earlier, and is then set
//! anew, so that it is seldom moved.

use std::time::Duration;

use super::{HttpClient, Reading, Writing};
use crate::code;
use crate::time::Time;

/// How long a request body waits for `100 Continue`. RFC 9110 §10.1.1: a client "is not required to
/// wait for any specific length of time".
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

impl HttpClient {
    /// The last request's body waits for `100 Continue`.
    pub(crate) const fn wait_for_continue(&mut self, now: Time) {
        self.continue_until = now.saturating_add(CONTINUE_WAIT);
    }

    /// Whether the body waited for `100 Continue`, and need not any more.
    pub(crate) const fn end_continue(&mut self) -> bool {
        !std::mem::replace(&mut self.continue_until, Time::MAX).is_never()
    }

    /// Whether it was waited long enough for `100 Continue`.
    pub(crate) fn is_continue_late(&self, now: Time) -> bool {
        now >= self.continue_until
    }

    /// From now on the response is waited for: all of its request was queued, or the one before it
    /// ended.
    pub(crate) const fn wait_from(&mut self, now: Time) {
        self.since = now;
    }

    /// When something falls due: the response, or the next piece of its body. `last` is when
    /// something was last received, and when the socket last took something; `is_held`: nothing is
    /// read for now.
    pub(crate) fn next_deadline(&self, now: Time, last: (Time, Time), is_held: bool) -> Time {
        let (last_rx, last_tx) = last;
        let after = |from: Time, limit: Option<Duration>| {
            limit.map_or(Time::MAX, |limit| from.saturating_add(limit))
        };
        let due = match self.reading {
            Reading::Closed | Reading::Tunnel => return Time::MAX,
            Reading::Head if self.asked.is_empty() => return Time::MAX,
            Reading::Head if self.asks_proxy() => return self.tunnel_until,
            // The application has the word. It is looked at again.
            Reading::Head if self.writing != Writing::Nothing => {
                after(now, self.shared.first_byte_timeout)
            }
            Reading::Head => after(self.since.max(last_tx), self.shared.first_byte_timeout),
            _ if is_held => after(now, self.shared.body_timeout),
            _ => after(last_rx, self.shared.body_timeout),
        };
        due.min(self.continue_until)
    }

    /// What took too long, when something did.
    pub(crate) fn late_code(&self) -> u64 {
        match self.reading {
            Reading::Head if self.asks_proxy() => code::CONNECT_TIMEOUT,
            Reading::Head => code::HTTP_FIRST_BYTE_TIMEOUT,
            _ => code::HTTP_BODY_TIMEOUT,
        }
    }

    /// Whether it is a tunnel that is waited for: that is part of being connected.
    fn asks_proxy(&self) -> bool {
        self.asked.front().is_some_and(|asked| asked.is_tunnel)
    }

    /// Whether the connection's timer comes too late for what waits now.
    pub(crate) fn wants_timer(&self, now: Time, last: (Time, Time)) -> bool {
        self.next_deadline(now, last, false) < self.armed_at
    }

    /// The connection's timer comes then.
    pub(crate) const fn timer_armed(&mut self, due: Time) {
        self.armed_at = due;
    }
}
