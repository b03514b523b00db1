//! What was largest and smallest of late: delivery rates, round trips, acknowledgements in a bunch.

use std::time::{Duration, Instant};

/// The largest rate of this cycle of probing and the one before: `MaxBwFilter` of
/// draft-ietf-ccwg-bbr §2.10.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MaxRate {
    before: f64,
    now: f64,
}

impl MaxRate {
    pub(super) const fn update(&mut self, rate: f64) {
        self.now = self.now.max(rate);
    }

    pub(super) const fn get(&self) -> f64 {
        self.before.max(self.now)
    }

    /// The next cycle begins. One in which nothing was seen goes on.
    pub(super) fn advance(&mut self) {
        if self.now > 0.0 {
            (self.before, self.now) = (self.now, 0.0);
        }
    }
}

/// The shortest round trip of the last ten seconds, and whether it is time to look for it anew
/// (§5.3.4.3).
#[derive(Debug, Clone, Copy)]
pub(super) struct MinRtt {
    min: Duration,
    min_at: Instant,
    /// The same of the last five seconds.
    probed: Duration,
    probed_at: Instant,
}

const MIN_RTT_LIFETIME: Duration = Duration::from_secs(10);
const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);

impl MinRtt {
    pub(super) const fn new(now: Instant) -> Self {
        Self { min: Duration::MAX, min_at: now, probed: Duration::MAX, probed_at: now }
    }

    /// `None` before the first one.
    pub(super) fn get(&self) -> Option<Duration> {
        (self.min < Duration::MAX).then_some(self.min)
    }

    /// Takes one in; whether none as short was seen for so long that one is to be looked for.
    pub(super) fn update(&mut self, now: Instant, rtt: Duration) -> bool {
        let is_old = now.saturating_duration_since(self.probed_at) > PROBE_RTT_INTERVAL;
        if rtt < self.probed || is_old {
            (self.probed, self.probed_at) = (rtt, now);
        }
        let is_gone = now.saturating_duration_since(self.min_at) > MIN_RTT_LIFETIME;
        if self.probed < self.min || is_gone {
            (self.min, self.min_at) = (self.probed, self.probed_at);
        }
        is_old
    }

    /// It was looked for.
    pub(super) const fn probed(&mut self, now: Instant) {
        self.probed_at = now;
    }
}

/// How many more bytes are acknowledged at once than the rate says: `extra_acked` of §5.5.9, the
/// most of the last five to ten rounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extra {
    since: Instant,
    acked: u64,
    rounds: u32,
    before: u64,
    now: u64,
}

const EXTRA_ROUNDS: u32 = 5;

impl Extra {
    pub(super) const fn new(now: Instant) -> Self {
        Self { since: now, acked: 0, rounds: 0, before: 0, now: 0 }
    }

    pub(super) fn get(&self) -> u64 {
        self.before.max(self.now)
    }

    pub(super) fn restart(&mut self, now: Instant) {
        (self.since, self.acked) = (now, 0);
    }

    pub(super) fn update(
        &mut self,
        now: Instant,
        rate: f64,
        acked: u64,
        cwnd: u64,
        is_round: bool,
    ) {
        if is_round {
            self.rounds += 1;
            if self.rounds >= EXTRA_ROUNDS {
                (self.rounds, self.before, self.now) = (0, self.now, 0);
            }
        }
        let expected = rate * now.saturating_duration_since(self.since).as_secs_f64();
        if self.acked as f64 <= expected {
            (self.since, self.acked) = (now, 0);
            self.acked += acked;
            self.now = self.now.max(self.acked.min(cwnd));
            return;
        }
        self.acked += acked;
        let extra = (self.acked as f64 - expected).max(0.0) as u64;
        self.now = self.now.max(extra.min(cwnd));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEC: Duration = Duration::from_secs(1);

    #[test]
    fn a_rate_lasts_two_cycles() {
        let mut max = MaxRate::default();
        max.update(5.0);
        max.update(3.0);
        assert!((max.get() - 5.0).abs() < 1e-9);
        max.advance();
        max.advance();
        assert!((max.get() - 5.0).abs() < 1e-9, "an empty cycle is none");
        max.update(2.0);
        max.advance();
        assert!((max.get() - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_round_trip_lasts_ten_seconds() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut min = MinRtt::new(start);
        assert_eq!(min.get(), None);
        assert!(!min.update(start, ms(40)));
        assert!(!min.update(start + SEC, ms(50)));
        assert_eq!(min.get(), Some(ms(40)));
        assert!(min.update(start + SEC * 6, ms(60)), "time to look");
        assert_eq!(min.get(), Some(ms(40)));
        min.probed(start + SEC * 6);
        min.update(start + SEC * 11, ms(70));
        assert_eq!(min.get(), Some(ms(60)));
    }

    #[test]
    fn a_bunch_of_acknowledgements_is_extra() {
        let start = Instant::now();
        let mut extra = Extra::new(start);
        extra.update(start + SEC, 1000.0, 500, 10_000, false);
        extra.update(start + SEC, 1000.0, 4000, 10_000, false);
        assert!((4000..=4500).contains(&extra.get()), "{extra:?}");
        (0..12).for_each(|i| extra.update(start + SEC * (i + 20), 1000.0, 1, 10_000, true));
        assert!(extra.get() < 10);
    }
}
