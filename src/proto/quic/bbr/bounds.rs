//! [`Bounds`]: what loss says of the path, for long (how much it holds) and for now (who else is
//! there). draft-ietf-ccwg-bbr §5.5.10.

use super::phase::State;
use super::rate::Sample;
use super::{Bbr, PIPE_PACKETS_MIN};

/// §2.8: loss of more than that says that too much is in flight.
const LOSS_THRESHOLD: f64 = 0.02;
/// What is left after loss.
pub(super) const BETA: f64 = 0.7;
/// Left free for others while cruising.
const HEADROOM: f64 = 0.15;
/// §5.3.1.3: losses in a round that end startup.
const STARTUP_LOSSES: u64 = 6;

/// Nothing is known to limit it.
pub(super) const NONE: u64 = u64::MAX;

#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The most that may be in flight, as probing found: `inflight_longterm`.
    pub(super) in_flight_long: u64,
    /// Until the next probe: `inflight_shortterm` and `bw_shortterm`.
    in_flight_short: u64,
    pub(super) rate_short: f64,
    /// Of the last round: the most delivered, and how fast.
    delivered_latest: u64,
    rate_latest: f64,
    /// A round of losses ends when what is sent from here on is delivered.
    round_delivered: u64,
    /// Bytes lost and packets lost in this round, and whether some were marked.
    lost: u64,
    losses: u64,
    is_marked: bool,
    /// Bytes delivered when the round began.
    delivered_before: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            in_flight_long: NONE,
            in_flight_short: NONE,
            rate_short: f64::INFINITY,
            delivered_latest: 0,
            rate_latest: 0.0,
            round_delivered: 0,
            lost: 0,
            losses: 0,
            is_marked: false,
            delivered_before: 0,
        }
    }
}

impl Bounds {
    /// Bytes were lost; none: packets were marked.
    pub(super) const fn on_loss(&mut self, lost: u64, mtu: u64) {
        self.lost += lost;
        self.losses += lost.div_ceil(mtu);
        self.is_marked |= lost == 0;
    }

    /// Whether a round of losses ends with this sample.
    pub(super) fn on_sample(&mut self, sample: &Sample, delivered: u64) -> bool {
        self.rate_latest = self.rate_latest.max(sample.rate.unwrap_or(0.0));
        self.delivered_latest = self.delivered_latest.max(sample.delivered);
        let is_end = sample.prior_delivered >= self.round_delivered;
        if is_end {
            self.round_delivered = delivered;
        }
        is_end
    }

    pub(super) fn end_sample(&mut self, sample: &Sample, is_round: bool) {
        if is_round {
            self.rate_latest = sample.rate.unwrap_or(0.0);
            self.delivered_latest = sample.delivered;
            self.delivered_before = self.round_delivered;
            (self.lost, self.losses, self.is_marked) = (0, 0, false);
        }
    }

    /// What was learned of others is old.
    pub(super) const fn forget_short(&mut self) {
        self.in_flight_short = NONE;
        self.rate_short = f64::INFINITY;
    }

    pub(super) const fn forget_latest(&mut self) {
        (self.lost, self.losses, self.is_marked) = (0, 0, false);
        (self.rate_latest, self.delivered_latest) = (0.0, 0);
    }

    /// The longterm bound, less the headroom.
    pub(super) fn with_headroom(&self, mtu: u64) -> u64 {
        if self.in_flight_long == NONE {
            return NONE;
        }
        let headroom = ((self.in_flight_long as f64 * HEADROOM) as u64).max(mtu);
        self.in_flight_long.saturating_sub(headroom).max(PIPE_PACKETS_MIN * mtu)
    }

    /// The most that the window may be: §5.6.4.7.
    pub(super) fn cap(&self, state: State) -> u64 {
        let long = match state {
            State::ProbeDown | State::ProbeRefill | State::ProbeUp => self.in_flight_long,
            State::ProbeRtt | State::ProbeCruise if self.in_flight_long != NONE => {
                (self.in_flight_long as f64 * (1.0 - HEADROOM)) as u64
            }
            _ => NONE,
        };
        long.min(self.in_flight_short)
    }
}

impl Bbr {
    /// A round ended. If there was loss while nothing was probed, somebody else needs room.
    pub(super) fn adapt_to_loss(&mut self) {
        if self.state.is_probing() || (self.bounds.losses == 0 && !self.bounds.is_marked) {
            return;
        }
        let (max_rate, cwnd) = (self.max_rate.get(), self.cwnd);
        let bounds = &mut self.bounds;
        if bounds.rate_short.is_infinite() {
            bounds.rate_short = max_rate;
        }
        if bounds.in_flight_short == NONE {
            bounds.in_flight_short = cwnd;
        }
        bounds.rate_short = bounds.rate_latest.max(BETA * bounds.rate_short);
        let less = (BETA * bounds.in_flight_short as f64) as u64;
        bounds.in_flight_short = bounds.delivered_latest.max(less);
    }

    /// §5.3.1.3: startup ends when a round has lost too much, or was marked.
    pub(super) fn check_startup_loss(&mut self, is_loss_round: bool) {
        if self.state != State::Startup || self.full.is_full || !is_loss_round {
            return;
        }
        let bounds = &self.bounds;
        let delivered = self.sampler.delivered - bounds.delivered_before;
        let is_much = bounds.lost as f64 > LOSS_THRESHOLD * (delivered + bounds.lost) as f64;
        if (bounds.losses >= STARTUP_LOSSES && is_much) || bounds.is_marked {
            self.full.is_full = true;
            let bdp = self.bdp(1.0);
            self.bounds.in_flight_long = bdp.max(self.bounds.delivered_latest);
        }
    }

    /// Something was lost of what was sent while so much was in flight: `IsInflightTooHigh` of
    /// §5.5.10.2, while a probe goes on.
    pub(super) fn check_too_high(
        &mut self,
        now: std::time::Instant,
        tx_in_flight: u64,
        lost_since: u64,
        is_marked: bool,
    ) {
        let allowed = LOSS_THRESHOLD * tx_in_flight as f64;
        if !self.cycle.takes_samples || (!is_marked && lost_since as f64 <= allowed) {
            return;
        }
        self.cycle.takes_samples = false;
        // The prefix of the flight at which the loss came to the threshold.
        let over = ((lost_since as f64 - allowed) / (1.0 - LOSS_THRESHOLD)).max(0.0) as u64;
        let target = self.bdp(1.0).min(self.cwnd);
        let found = tx_in_flight.saturating_sub(over);
        self.bounds.in_flight_long = found.max((BETA * target as f64) as u64);
        if self.state == State::ProbeUp {
            self.start_down(now);
        }
    }
}
