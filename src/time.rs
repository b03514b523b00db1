//! Time as the engine sees it: nanoseconds since an origin that only the ring knows.
//!
//! Role: the value type of every `now` and every deadline, and conversions that cannot overflow
//! and that round up, so that a wait never ends before its deadline.
//! Not its role: reading a clock. One clock read per tick happens in the ring (or in the
//! simulator) and travels downward as a parameter.
//!
//! Invariants: arithmetic saturates; [`Time::MAX`] means never and stays never.

pub(crate) mod wheel;

use std::time::Duration;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A moment on a monotonic clock, in nanoseconds since an arbitrary origin (584 years of range).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Time(u64);

impl Time {
    /// The origin of the clock.
    pub(crate) const ZERO: Self = Self(0);
    /// Never: later than every moment that a clock can show.
    pub(crate) const MAX: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the origin.
    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// True for [`Time::MAX`].
    pub(crate) const fn is_never(self) -> bool {
        self.0 == u64::MAX
    }

    /// This moment plus `span`; what lies beyond the range of the clock is never.
    pub(crate) const fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// This moment less `span`; what lies before the origin is the origin. Never stays never.
    pub(crate) const fn saturating_sub(self, span: Duration) -> Self {
        if self.is_never() { self } else { Self(self.0.saturating_sub(nanos(span))) }
    }

    /// How long after `earlier` this moment is; zero when it is not after it.
    pub(crate) const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// `span` in nanoseconds, exact up to 584 years and `u64::MAX` beyond.
pub(crate) const fn nanos(span: Duration) -> u64 {
    span.as_secs().saturating_mul(NANOS_PER_SEC).saturating_add(span.subsec_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_saturates_at_never() {
        let start = Time::from_nanos(5);
        assert_eq!(start.saturating_add(Duration::from_nanos(7)).as_nanos(), 12);
        assert_eq!(start.saturating_add(Duration::MAX), Time::MAX);
        assert_eq!(Time::MAX.saturating_add(Duration::from_nanos(1)), Time::MAX);
        assert!(Time::MAX.is_never());
        assert!(!Time::ZERO.saturating_add(Duration::from_nanos(u64::MAX - 1)).is_never());
    }

    #[test]
    fn since_is_zero_backward() {
        let (early, late) = (Time::from_nanos(10), Time::from_nanos(25));
        assert_eq!(late.saturating_since(early), Duration::from_nanos(15));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
        assert_eq!(Time::MAX.saturating_since(Time::ZERO), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn hazard_143_timeouts_never_overflow() {
        let day = Duration::from_secs(86_400);
        let rows = [
            (Duration::ZERO, 0),
            (Duration::from_nanos(1), 1),
            (Duration::from_nanos(999_999_999), 999_999_999),
            (day * 25, 2_160_000_000_000_000),
            (Duration::MAX, u64::MAX),
        ];
        for (span, ns) in rows {
            assert_eq!(nanos(span), ns, "{span:?}");
        }
    }
}
