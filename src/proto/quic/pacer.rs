//! [`Pacer`]: a bucket of tokens, filled at a rate that a congestion controller names.
//!
//! The machine has a pacer of its own, whose rate follows from the window: for a controller whose
//! window is twice what the path holds that is no limit. This one is in front of it.
//!
//! While there are too few tokens the machine is asked all the same, and finds the window closed
//! ([`Reins`]): what congestion control does not count goes, acknowledgements and probes. What goes
//! in spite of that (see [`Stall`](super::stall::Stall)) is paid for later, up to
//! [`DEBT_BYTES_MAX`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quinn_proto::FrameStats;

use crate::time::Time;

/// What is sent in one go: so much time's worth, as draft-ietf-ccwg-bbr §5.6.3 has it.
const QUANTUM: Duration = Duration::from_millis(1);
const QUANTUM_BYTES_MAX: f64 = 65_536.0;
/// Quanta that a caller who was late may catch up with.
const LATE_MAX: f64 = 4.0;
/// Packets of a quantum at the least.
const QUANTUM_PACKETS_MIN: f64 = 2.0;
/// What can be owed at most.
const DEBT_BYTES_MAX: f64 = 65_536.0;

/// What the congestion controllers of a connection are told in the middle of the machine's work:
/// they have it in common with its pacer. One thread alone has all of them.
#[derive(Debug, Default)]
pub(super) struct Reins {
    is_held: AtomicBool,
    uncounted: AtomicU64,
}

impl Reins {
    /// Whether nothing may go that counts as in flight.
    pub(super) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::Relaxed)
    }

    fn hold(&self, is_held: bool) {
        self.is_held.store(is_held, Ordering::Relaxed);
    }

    /// Bytes that a controller was told of and that do not count as in flight.
    pub(super) fn uncounted(&self) -> u64 {
        self.uncounted.load(Ordering::Relaxed)
    }

    /// The same, for the controller that takes them back.
    pub(super) fn take_uncounted(&self) -> u64 {
        match self.uncounted() {
            0 => 0,
            _ => self.uncounted.swap(0, Ordering::Relaxed),
        }
    }
}

/// Frames of packets that are to be acknowledged. RFC 9000 §1.2: those that have others than ACK,
/// PADDING and CONNECTION_CLOSE.
pub(super) fn eliciting(frames: &FrameStats) -> u64 {
    [
        frames.ack_frequency,
        frames.crypto,
        frames.data_blocked,
        frames.datagram,
        frames.handshake_done.into(),
        frames.immediate_ack,
        frames.max_data,
        frames.max_stream_data,
        frames.max_streams_bidi,
        frames.max_streams_uni,
        frames.new_connection_id,
        frames.new_token,
        frames.path_challenge,
        frames.path_response,
        frames.ping,
        frames.reset_stream,
        frames.retire_connection_id,
        frames.stream_data_blocked,
        frames.streams_blocked_bidi,
        frames.streams_blocked_uni,
        frames.stop_sending,
        frames.stream,
    ]
    .iter()
    .sum()
}

#[derive(Debug)]
pub(super) struct Pacer {
    /// Bytes that may go; below zero after more went.
    tokens: f64,
    filled_at: Time,
    /// When there is enough again.
    blocked_until: Time,
    reins: Arc<Reins>,
    /// Frames that count as in flight, sent so far.
    sent: u64,
}

impl Pacer {
    pub(super) fn new(reins: Arc<Reins>) -> Self {
        Self { tokens: 0.0, filled_at: Time::ZERO, blocked_until: Time::MAX, reins, sent: 0 }
    }

    /// The machine is about to be asked for packets of `mtu` bytes, at so many bytes per second:
    /// for how many. Without tokens that is one, of what does not count.
    pub(super) fn begin(&mut self, now: Time, rate: f64, mtu: usize) -> usize {
        let allowed = self.allowance(now, rate, mtu);
        self.reins.hold(allowed == 0);
        allowed.max(1)
    }

    /// It made so many bytes, if any; with them went so many frames in all.
    pub(super) fn end(&mut self, bytes: Option<usize>, sent: &FrameStats) {
        self.reins.hold(false);
        let sent = eliciting(sent);
        if let Some(bytes) = bytes {
            self.on_sent(bytes, sent != self.sent);
        }
        self.sent = sent;
    }

    /// Packets of `mtu` bytes that may go now. 0: see [`blocked_until`](Self::blocked_until).
    fn allowance(&mut self, now: Time, rate: f64, mtu: usize) -> usize {
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

    /// So many bytes went. RFC 9002 §7: "packets containing only ACK frames do not count toward
    /// bytes in flight and are not congestion controlled".
    fn on_sent(&mut self, bytes: usize, is_counted: bool) {
        if is_counted {
            self.tokens = (self.tokens - bytes as f64).max(-DEBT_BYTES_MAX);
        } else {
            self.reins.uncounted.fetch_add(bytes as u64, Ordering::Relaxed);
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

    fn new() -> Pacer {
        Pacer::new(Arc::default())
    }

    #[test]
    fn what_goes_in_a_second_is_the_rate() {
        for rate in [20_000.0, 1_250_000.0, 500_000_000.0] {
            let (mut pacer, start) = (new(), Time::from_nanos(1 << 40));
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
                        pacer.on_sent(packets * 1200, true);
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
    fn acknowledgements_are_free_and_small_packets_of_data_are_not() {
        let (mut pacer, now) = (new(), Time::from_nanos(1 << 40));
        for _ in 0..10_000 {
            assert!(pacer.allowance(now, 1000.0, 1200) > 0);
            pacer.on_sent(50, false);
        }
        assert_eq!(pacer.reins.take_uncounted(), 500_000);
        assert_eq!(pacer.reins.take_uncounted(), 0);
        let mut sent = 0;
        while pacer.allowance(now, 1000.0, 1200) > 0 {
            pacer.on_sent(50, true);
            sent += 50;
        }
        assert!((2400..=9600).contains(&sent), "{sent}");
    }

    #[test]
    fn who_is_late_catches_up_a_little() {
        let (mut pacer, start) = (new(), Time::from_nanos(1 << 40));
        assert!(pacer.allowance(start, 12_000_000.0, 1200) <= 40);
        pacer.on_sent(40 * 1200, true);
        let later = start.saturating_add(Duration::from_secs(9));
        assert_eq!(pacer.allowance(later, 12_000_000.0, 1200), 40);
    }
}
