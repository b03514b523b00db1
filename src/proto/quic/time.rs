//! Time in the machine's terms.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use quinn_proto::TimeSource;
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

use crate::time::Time;

/// A hundred years: later than any deadline that is meant.
const FAR: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The `Instant` at which [`Time`] is zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base(Instant);

impl Base {
    pub(crate) const fn new(origin: Instant) -> Self {
        Self(origin)
    }

    /// The moment in the machine's terms.
    pub(crate) fn instant(self, time: Time) -> Instant {
        let since = Duration::from_nanos(time.as_nanos()).min(FAR);
        self.0.checked_add(since).unwrap_or(self.0)
    }

    /// The machine's moment in ours.
    pub(crate) fn time(self, instant: Instant) -> Time {
        Time::ZERO.saturating_add(instant.saturating_duration_since(self.0))
    }
}

/// The time of day, to the second, by which tokens, tickets and certificates expire. Set by whoever
/// knows it.
#[derive(Debug, Default)]
pub(crate) struct Wall(AtomicU64);

impl Wall {
    pub(crate) fn new(secs: u64) -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(secs)))
    }

    /// Seconds since 1970.
    pub(crate) fn set(&self, secs: u64) {
        self.0.store(secs, Ordering::Relaxed);
    }

    fn since_1970(&self) -> Duration {
        Duration::from_secs(self.0.load(Ordering::Relaxed)).min(FAR)
    }
}

impl TimeSource for Wall {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH.checked_add(self.since_1970()).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl TimeProvider for Wall {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.since_1970()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_is_exact() {
        let base = Base::new(Instant::now());
        for nanos in [0, 1, 999_999_999, 1_000_000_001, u64::MAX / 1000] {
            let time = Time::from_nanos(nanos);
            assert_eq!(base.time(base.instant(time)), time);
        }
        assert!(base.time(base.instant(Time::MAX)) > Time::from_nanos(u64::MAX / 10));
        let Some(before) = base.instant(Time::ZERO).checked_sub(Duration::from_secs(1)) else {
            return;
        };
        assert_eq!(base.time(before), Time::ZERO);
    }

    #[test]
    fn the_wall_clock_is_what_was_set() {
        let wall = Wall::new(7);
        assert_eq!(wall.now(), SystemTime::UNIX_EPOCH + Duration::from_secs(7));
        wall.set(u64::MAX);
        assert!(wall.now() > SystemTime::UNIX_EPOCH);
    }
}
