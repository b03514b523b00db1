//! [`Pacer`]: a bucket of tokens, filled at a rate that a congestion controller names.
//!
//! The machine has a pacer of its own, whose rate follows from the window: for a controller whose
//! window is twice what the path holds that is no limit. This one is in front of it.

use std::time::Duration;

use crate::time::Time;

/// What is sent in one go: so much time's worth, as draft-ietf-ccwg-bbr §5.6.3 has it.
const QUANTUM: Duration = Duration::from_millis(1);
const QUANTUM_BYTES_MAX: f64 = 65_536.0;
/// Quanta that a caller who was late may catch up with.
const LATE_MAX: f64 = 4.0;
/// What is not charged for: acknowledgements, which congestion control does not hold back
/// (RFC 9002 §7). Whoever only receives is never out of tokens.
const FREE_LEN: usize = 128;
/// Packets of a quantum at the least.
const QUANTUM_PACKETS_MIN: f64 = 2.0;

#[derive(Debug)]
pub(super) struct Pacer {
    /// Bytes that may go; below zero after the last train was longer.
    tokens: f64,
    filled_at: Time,
    /// When there is enough again.
    blocked_until: Time,
}

impl Pacer {
    pub(super) const fn new() -> Self {
        Self { tokens: 0.0, filled_at: Time::ZERO, blocked_until: Time::MAX }
    }

    /// Packets of `mtu` bytes that may go now, at so many bytes per second. 0: see
    /// [`blocked_until`](Self::blocked_until).
    pub(super) fn allowance(&mut self, now: Time, rate: f64, mtu: usize) -> usize {
        let mtu = mtu.max(1) as f64;
        let rate = rate.max(1.0);
        let least = QUANTUM_PACKETS_MIN * mtu;
        let quantum = (rate * QUANTUM.as_secs_f64()).clamp(least, QUANTUM_BYTES_MAX.max(least));
        let passed = now.saturating_since(self.filled_at);
        self.filled_at = now;
        self.tokens = (self.tokens + rate * passed.as_secs_f64()).min(quantum * LATE_MAX);
        self.blocked_until = Time::MAX;
        if self.tokens >= mtu {
            return (self.tokens / mtu) as usize;
        }
        let missing = Duration::from_secs_f64(((quantum - self.tokens) / rate).clamp(0.0, 10.0));
        self.blocked_until = now.saturating_add(missing.max(Duration::from_micros(1)));
        0
    }

    /// What was waited for may be over; it is asked for again by whoever has something to send.
    pub(super) fn release(&mut self, now: Time) {
        if self.blocked_until <= now {
            self.blocked_until = Time::MAX;
        }
    }

    /// So many bytes went.
    pub(super) fn on_sent(&mut self, bytes: usize) {
        if bytes > FREE_LEN {
            self.tokens -= bytes as f64;
        }
    }

    /// When to ask again; never, unless there was too little.
    pub(super) const fn blocked_until(&self) -> Time {
        self.blocked_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_a_second_is_the_rate() {
        for rate in [20_000.0, 1_250_000.0, 500_000_000.0] {
            let (mut pacer, start) = (Pacer::new(), Time::from_nanos(1 << 40));
            let (mut now, mut bytes, mut wakes) = (start, 0_usize, 0);
            let end = start.saturating_add(Duration::from_secs(1));
            while now < end {
                match pacer.allowance(now, rate, 1200) {
                    0 => {
                        assert!(pacer.blocked_until() > now);
                        now = pacer.blocked_until();
                        wakes += 1;
                    }
                    packets => {
                        assert!(packets <= 300 && pacer.blocked_until().is_never());
                        pacer.on_sent(packets * 1200);
                        bytes += packets * 1200;
                    }
                }
            }
            let ratio = bytes as f64 / rate;
            assert!((0.85..1.5).contains(&ratio), "{rate}: {ratio}, {wakes}");
            assert!(wakes < 20_000);
        }
    }

    #[test]
    fn acknowledgements_are_free() {
        let (mut pacer, now) = (Pacer::new(), Time::from_nanos(1 << 40));
        for _ in 0..10_000 {
            assert!(pacer.allowance(now, 1000.0, 1200) > 0);
            pacer.on_sent(50);
        }
    }

    #[test]
    fn who_is_late_catches_up_a_little() {
        let (mut pacer, start) = (Pacer::new(), Time::from_nanos(1 << 40));
        assert!(pacer.allowance(start, 12_000_000.0, 1200) <= 40);
        pacer.on_sent(40 * 1200);
        let later = start.saturating_add(Duration::from_secs(9));
        assert_eq!(pacer.allowance(later, 12_000_000.0, 1200), 40);
    }
}
