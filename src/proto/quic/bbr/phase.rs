//! The states, and what leads from one to the next: draft-ietf-ccwg-bbr §5.3.

use std::time::{Duration, Instant};

use super::bounds::NONE;
use super::rate::Sample;
use super::{Bbr, ProbeRtt};
use crate::rng::Rng;

/// §5.3.4: how long little is in flight.
const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);
/// Rounds without growth after which the path is full, and the growth that counts.
const FULL_ROUNDS: u32 = 3;
const FULL_GROWTH: f64 = 1.25;
/// §5.3.3.3: a flow of Reno in the same place would have probed after so many rounds.
const RENO_ROUNDS_MAX: u64 = 63;
/// The wait between two probes: so long, and up to so much longer.
const PROBE_WAIT: Duration = Duration::from_secs(2);
const PROBE_WAIT_MORE_MS: u64 = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Startup,
    Drain,
    ProbeDown,
    ProbeCruise,
    ProbeRefill,
    ProbeUp,
    ProbeRtt,
}

impl State {
    /// §5.6.1.
    pub(super) const fn pacing_gain(self) -> f64 {
        match self {
            // 4 ln 2: the rate doubles in a round.
            Self::Startup => 2.77,
            Self::Drain => 0.5,
            Self::ProbeDown => 0.9,
            Self::ProbeUp => 1.25,
            Self::ProbeCruise | Self::ProbeRefill | Self::ProbeRtt => 1.0,
        }
    }

    pub(super) const fn cwnd_gain(self) -> f64 {
        match self {
            Self::ProbeUp => 2.25,
            Self::ProbeRtt => 0.5,
            _ => 2.0,
        }
    }

    /// In the cycle that probes the rate.
    pub(super) const fn is_probing_rate(self) -> bool {
        matches!(self, Self::ProbeDown | Self::ProbeCruise | Self::ProbeRefill | Self::ProbeUp)
    }

    /// More is sent than the path is known to take, so that loss is no wonder.
    pub(super) const fn is_probing(self) -> bool {
        matches!(self, Self::Startup | Self::ProbeRefill | Self::ProbeUp)
    }
}

/// What the acknowledgements that come now are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acks {
    Other,
    Refilling,
    ProbeStarting,
    ProbeFeedback,
    ProbeStopping,
}

/// Where the cycle of probing is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cycle {
    since: Instant,
    wait: Duration,
    /// Rounds since the last probe.
    pub(super) rounds: u64,
    acks: Acks,
    /// What is lost now says how much may be in flight.
    pub(super) takes_samples: bool,
    /// Bytes to be acknowledged before the bound grows by a packet; how many were; and how often it
    /// grew faster.
    up_every: u64,
    up_acked: u64,
    up_rounds: u32,
}

impl Cycle {
    pub(super) fn new(now: Instant, rng: &mut Rng) -> Self {
        let mut cycle = Self {
            since: now,
            wait: PROBE_WAIT,
            rounds: 0,
            acks: Acks::Other,
            takes_samples: false,
            up_every: NONE,
            up_acked: 0,
            up_rounds: 0,
        };
        cycle.pick_wait(rng);
        cycle
    }

    /// §5.3.3.3: waits are random, so that flows do not probe in step.
    fn pick_wait(&mut self, rng: &mut Rng) {
        self.rounds = rng.below(2);
        self.wait = PROBE_WAIT + Duration::from_millis(rng.below(PROBE_WAIT_MORE_MS));
    }
}

/// Whether the rate has stopped growing: §5.3.1.2.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Full {
    rate: f64,
    count: u32,
    /// Now, and ever since startup.
    is_now: bool,
    pub(super) is_full: bool,
}

impl Full {
    const fn reset(&mut self, rate: f64) {
        (self.rate, self.count, self.is_now) = (rate, 0, false);
    }
}

impl Bbr {
    pub(super) fn check_full(&mut self, sample: &Sample) {
        if self.full.is_now || !self.rounds.is_start || sample.is_app_limited {
            return;
        }
        let rate = sample.rate.unwrap_or(0.0);
        if rate >= self.full.rate * FULL_GROWTH {
            return self.full.reset(rate);
        }
        self.full.count += 1;
        self.full.is_now = self.full.count >= FULL_ROUNDS;
        self.full.is_full |= self.full.is_now;
    }

    /// Goes from state to state, as far as the rate is concerned.
    pub(super) fn step(&mut self, now: Instant, sample: &Sample) {
        if self.state == State::Startup && self.full.is_full {
            self.state = State::Drain;
        }
        if self.state == State::Drain && self.sampler.in_flight <= self.in_flight_for(1.0) {
            self.start_down(now);
        }
        if !self.full.is_full {
            return;
        }
        self.adapt_upper_bounds(sample);
        match self.state {
            State::ProbeDown => self.step_down(now),
            State::ProbeCruise => {
                self.check_probe(now);
            }
            State::ProbeRefill if self.rounds.is_start => self.start_up(now, sample),
            State::ProbeUp => self.step_up(now, sample),
            _ => {}
        }
    }

    fn step_down(&mut self, now: Instant) {
        if !self.check_probe(now) && self.is_time_to_cruise(self.sampler.in_flight) {
            self.state = State::ProbeCruise;
        }
    }

    fn step_up(&mut self, now: Instant, sample: &Sample) {
        if self.is_time_to_go_down(sample) {
            self.start_down(now);
        }
    }

    fn is_time_to_cruise(&self, in_flight: u64) -> bool {
        in_flight <= self.bounds.with_headroom(self.mtu) && in_flight <= self.in_flight_for(1.0)
    }

    fn is_time_to_go_down(&mut self, sample: &Sample) -> bool {
        if self.is_cwnd_limited() && self.cwnd >= self.bounds.in_flight_long {
            // The bound keeps the rate from growing: it is to grow first.
            self.full.reset(sample.rate.unwrap_or(0.0));
            return false;
        }
        self.full.is_now
    }

    /// Whether it is time to probe; then that begins.
    fn check_probe(&mut self, now: Instant) -> bool {
        let packets = self.bdp(1.0).min(self.cwnd) / self.mtu.max(1);
        let is_over = now.saturating_duration_since(self.cycle.since) >= self.cycle.wait;
        if !is_over && self.cycle.rounds < packets.clamp(1, RENO_ROUNDS_MAX) {
            return false;
        }
        self.bounds.forget_short();
        (self.cycle.up_rounds, self.cycle.up_acked) = (0, 0);
        self.cycle.acks = Acks::Refilling;
        self.start_round();
        self.state = State::ProbeRefill;
        true
    }

    fn start_up(&mut self, now: Instant, sample: &Sample) {
        self.cycle.takes_samples = true;
        self.cycle.acks = Acks::ProbeStarting;
        self.start_round();
        self.full.reset(sample.rate.unwrap_or(0.0));
        self.cycle.since = now;
        self.state = State::ProbeUp;
        self.raise_slope();
    }

    pub(super) fn start_down(&mut self, now: Instant) {
        self.bounds.forget_latest();
        self.cycle.up_every = NONE;
        let rng = &mut self.rng;
        self.cycle.pick_wait(rng);
        self.cycle.since = now;
        self.cycle.acks = Acks::ProbeStopping;
        self.start_round();
        self.state = State::ProbeDown;
    }

    /// §5.5.10.3: the bound grows faster from round to round.
    fn raise_slope(&mut self) {
        let growth = 1_u64 << self.cycle.up_rounds.min(30);
        self.cycle.up_rounds += 1;
        self.cycle.up_every = (self.cwnd / growth).max(self.mtu);
    }

    fn adapt_upper_bounds(&mut self, sample: &Sample) {
        if self.rounds.is_start {
            match self.cycle.acks {
                Acks::ProbeStarting => self.cycle.acks = Acks::ProbeFeedback,
                Acks::ProbeStopping => {
                    self.cycle.acks = Acks::Other;
                    self.cycle.takes_samples = false;
                    if self.state.is_probing_rate() && !sample.is_app_limited {
                        self.max_rate.advance();
                    }
                }
                Acks::Other | Acks::Refilling | Acks::ProbeFeedback => {}
            }
        }
        if self.bounds.in_flight_long == NONE {
            return;
        }
        self.bounds.in_flight_long = self.bounds.in_flight_long.max(sample.tx_in_flight);
        if self.state == State::ProbeUp {
            self.probe_upward(sample.newly_acked);
        }
    }

    fn probe_upward(&mut self, newly_acked: u64) {
        if !self.is_cwnd_limited() || self.cwnd < self.bounds.in_flight_long {
            return;
        }
        self.cycle.up_acked += newly_acked;
        let packets = self.cycle.up_acked / self.cycle.up_every.max(1);
        self.cycle.up_acked -= packets * self.cycle.up_every;
        self.bounds.in_flight_long += packets * self.mtu;
        if self.rounds.is_start {
            self.raise_slope();
        }
    }

    // ---- the round trip

    pub(super) fn check_probe_rtt(&mut self, now: Instant, is_due: bool) {
        if self.state != State::ProbeRtt && is_due && !self.is_restart {
            self.probe_rtt = ProbeRtt { done_at: None, is_round_done: false, cwnd: self.cwnd };
            self.cycle.acks = Acks::ProbeStopping;
            self.start_round();
            self.state = State::ProbeRtt;
        }
        if self.state != State::ProbeRtt {
            return;
        }
        match self.probe_rtt.done_at {
            None if self.sampler.in_flight <= self.probe_rtt_cwnd() => {
                self.probe_rtt.done_at = Some(now + PROBE_RTT_DURATION);
                self.start_round();
            }
            None => {}
            Some(_) => {
                self.probe_rtt.is_round_done |= self.rounds.is_start;
                if self.probe_rtt.is_round_done {
                    self.check_probe_rtt_done(now);
                }
            }
        }
    }

    pub(super) fn check_probe_rtt_done(&mut self, now: Instant) {
        if self.probe_rtt.done_at.is_none_or(|done_at| now <= done_at) {
            return;
        }
        self.min_rtt.probed(now);
        self.cwnd = self.cwnd.max(self.probe_rtt.cwnd);
        self.bounds.forget_short();
        if self.full.is_full {
            self.start_down(now);
            self.state = State::ProbeCruise;
        } else {
            self.state = State::Startup;
        }
    }
}
