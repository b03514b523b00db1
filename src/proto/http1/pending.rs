//! Requests whose answers are due, and how long they have waited.

use std::time::Duration;

use super::HeadFlags;
use crate::config::PIPELINED_MAX;
use crate::http::HttpMethod;
use crate::time::Time;

/// A request whose answer is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pending {
    /// When it came, in microseconds that wrap around.
    pub(super) since_us: u32,
    pub(crate) method: HttpMethod,
    pub(crate) flags: HeadFlags,
}

impl Pending {
    pub(super) const NONE: Self =
        Self { since_us: 0, method: HttpMethod::Get, flags: HeadFlags::empty() };

    pub(super) const fn waited(self, now: Time) -> Waited {
        Waited::since(now, self.since_us)
    }
}

/// The last requests of a connection, by number.
#[derive(Debug)]
pub(super) struct PendingRing([Pending; PIPELINED_MAX]);

impl PendingRing {
    pub(super) const EMPTY: Self = Self([Pending::NONE; PIPELINED_MAX]);

    #[inline]
    pub(super) fn get(&self, id: u32) -> Pending {
        self.0.get(id as usize % PIPELINED_MAX).copied().unwrap_or(Pending::NONE)
    }

    #[inline]
    pub(super) fn set(&mut self, id: u32, pending: Pending) {
        if let Some(place) = self.0.get_mut(id as usize % PIPELINED_MAX) {
            *place = pending;
        }
    }
}

/// A moment in microseconds (of 1,024 ns) that wrap around.
pub(super) const fn micros(now: Time) -> u32 {
    (now.as_nanos() >> 10) as u32
}

/// How long a request has waited, in microseconds of 1,024 ns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited(u32);

impl Waited {
    pub(crate) const ZERO: Self = Self(0);

    pub(super) const fn since(now: Time, then_us: u32) -> Self {
        Self(micros(now).wrapping_sub(then_us))
    }

    pub(crate) const fn duration(self) -> Duration {
        Duration::from_nanos((self.0 as u64) << 10)
    }

    /// In microseconds proper.
    pub(super) const fn micros(self) -> u64 {
        ((self.0 as u64) << 10) / 1_000
    }
}
