//! BBR as draft-ietf-ccwg-bbr describes it ("BBRv3"): a model of the path, its rate and its round
//! trip, and sending by it; not a reaction to loss.
//!
//! ```text
//! Startup ─ rate grows no more, or loss ─▶ Drain ─▶ ProbeBW: Down ─▶ Cruise ─▶ Refill ─▶ Up ─┐
//!                                                       ▲ ▲───────────────────────────────┘
//!                        every 5 s without a shorter RTT: ProbeRTT ┘
//! ```
//!
//! Role: the window and the rate, from what the machine tells of packets. Not role: keeping to the
//! rate (`pacer`).
//!
//! What differs from the draft, because the machine tells no more: losses are known by their sum,
//! and by when the last of them was sent, not packet by packet; a window counts as the limit when
//! what is in flight came near it in the last round; CE marks count as loss of a round (the draft
//! leaves them open). The window is not saved over recovery but over persistent congestion and
//! `ProbeRTT`.

mod bounds;
mod filter;
mod phase;
mod rate;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

use super::pacer::Reins;
use crate::rng::Rng;
use bounds::Bounds;
use filter::{Extra, MaxRate, MinRtt};
use phase::{Cycle, Full, State};
use rate::{Sample, Sampler};

/// §2.5: "the pacing rate is a bit below the estimated bandwidth".
const PACING_MARGIN: f64 = 0.99;
/// §2.7: packets that are in flight at the least, but for `ProbeRTT`.
const PIPE_PACKETS_MIN: u64 = 4;
/// The rate of a path of which nothing is known yet: its first window in such a round trip.
const FIRST_RTT: Duration = Duration::from_millis(1);

/// Makes a controller for each path of a connection.
#[derive(Debug)]
pub(super) struct Factory {
    window: u64,
    /// Of the waits between probes, which must not be the same everywhere.
    seeds: AtomicU64,
    reins: Arc<Reins>,
}

impl Factory {
    pub(super) const fn new(window: u64, seed: u64, reins: Arc<Reins>) -> Self {
        Self { window, seeds: AtomicU64::new(seed), reins }
    }
}

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let seed = self.seeds.fetch_add(1, Ordering::Relaxed);
        let reins = Arc::clone(&self.reins);
        Box::new(Bbr::new(now, self.window, current_mtu, seed, reins))
    }
}

/// The controller of one path.
#[derive(Debug, Clone)]
pub(super) struct Bbr {
    mtu: u64,
    initial_window: u64,
    cwnd: u64,
    /// Bytes per second.
    pacing_rate: f64,
    sampler: Sampler,
    max_rate: MaxRate,
    min_rtt: MinRtt,
    extra: Extra,
    bounds: Bounds,
    rounds: Rounds,
    state: State,
    cycle: Cycle,
    full: Full,
    probe_rtt: ProbeRtt,
    /// Nothing was in flight when it went on: round trips are short for want of a queue.
    is_restart: bool,
    rng: Rng,
    reins: Arc<Reins>,
}

/// Round trips, by what is delivered: §5.5.1.
#[derive(Debug, Clone, Copy, Default)]
struct Rounds {
    /// The round ends when what is sent from here on is delivered.
    next_delivered: u64,
    count: u64,
    is_start: bool,
    /// The most that was in flight, in this round and the one before.
    in_flight: u64,
    in_flight_before: u64,
}

/// Looking for the round trip of an empty path: §5.3.4.
#[derive(Debug, Clone, Copy, Default)]
struct ProbeRtt {
    done_at: Option<Instant>,
    is_round_done: bool,
    /// The window to go back to.
    cwnd: u64,
}

impl Bbr {
    fn new(now: Instant, initial_window: u64, mtu: u16, seed: u64, reins: Arc<Reins>) -> Self {
        let mut rng = Rng::from_seed(seed);
        Self {
            mtu: mtu.into(),
            initial_window,
            cwnd: initial_window,
            pacing_rate: 0.0,
            sampler: Sampler::new(),
            max_rate: MaxRate::default(),
            min_rtt: MinRtt::new(now),
            extra: Extra::new(now),
            bounds: Bounds::default(),
            rounds: Rounds::default(),
            state: State::Startup,
            cycle: Cycle::new(now, &mut rng),
            full: Full::default(),
            probe_rtt: ProbeRtt::default(),
            is_restart: false,
            rng,
            reins,
        }
    }

    /// Takes back what was sent and is not in flight: acknowledgements.
    fn recount(&mut self) {
        self.sampler.take_back(self.reins.take_uncounted());
    }

    /// The rate that the path is believed to have now: `BBR.bw`.
    fn rate(&self) -> f64 {
        self.max_rate.get().min(self.bounds.rate_short)
    }

    /// What the path holds at its rate, times `gain`.
    fn bdp(&self, gain: f64) -> u64 {
        match self.min_rtt.get() {
            Some(rtt) => (gain * self.rate() * rtt.as_secs_f64()) as u64,
            None => self.initial_window,
        }
    }

    /// What is to be in flight: §5.6.4.2, with room for what is sent in one go.
    fn in_flight_for(&self, gain: f64) -> u64 {
        let budget = (3.0 * self.rate() * 0.001).min(3.0 * 65_536.0) as u64;
        let wanted = self.bdp(gain).max(budget).max(PIPE_PACKETS_MIN * self.mtu);
        if self.state == State::ProbeUp { wanted.saturating_add(2 * self.mtu) } else { wanted }
    }

    /// Whether the window, not the application, was the limit of late.
    fn is_cwnd_limited(&self) -> bool {
        let most = self.rounds.in_flight.max(self.rounds.in_flight_before);
        most + 3 * self.mtu >= self.cwnd
    }

    // ---- the model

    fn on_sample(&mut self, now: Instant, sample: &Sample) {
        self.count_round(sample);
        let is_loss_round = self.bounds.on_sample(sample, self.sampler.delivered);
        if let Some(rate) = sample.rate
            && (rate >= self.max_rate.get() || !sample.is_app_limited)
        {
            self.max_rate.update(rate);
        }
        if is_loss_round {
            self.adapt_to_loss();
        }
        let (rate, is_round) = (self.rate(), self.rounds.is_start);
        self.extra.update(now, rate, sample.newly_acked, self.cwnd, is_round);
        self.check_full(sample);
        self.check_startup_loss(is_loss_round);
        self.step(now, sample);
        let is_due = self.min_rtt.update(now, sample.rtt);
        self.check_probe_rtt(now, is_due);
        self.bounds.end_sample(sample, is_loss_round);
    }

    fn count_round(&mut self, sample: &Sample) {
        self.rounds.is_start = sample.prior_delivered >= self.rounds.next_delivered;
        if self.rounds.is_start {
            self.rounds.count += 1;
            self.rounds.next_delivered = self.sampler.delivered;
            self.cycle.rounds += 1;
            self.rounds.in_flight_before = self.rounds.in_flight;
            self.rounds.in_flight = self.sampler.in_flight;
        }
    }

    /// What is sent from here on is of a new round.
    const fn start_round(&mut self) {
        self.rounds.next_delivered = self.sampler.delivered;
    }

    // ---- the controls

    fn set_pacing_rate(&mut self, gain: f64, rtt: Duration) {
        if self.pacing_rate <= 0.0 {
            // The first round trip says how fast the first window is to go.
            let rtt = rtt.max(FIRST_RTT).as_secs_f64();
            self.pacing_rate = gain * self.cwnd as f64 / rtt;
        }
        let rate = gain * self.rate() * PACING_MARGIN;
        if rate > 0.0 && (self.full.is_full || rate > self.pacing_rate) {
            self.pacing_rate = rate;
        }
    }

    /// §5.6.4.6.
    fn set_cwnd(&mut self, newly_acked: u64) {
        let max = self.in_flight_for(self.state.cwnd_gain()).saturating_add(self.extra.get());
        if self.full.is_full {
            self.cwnd = (self.cwnd + newly_acked).min(max);
        } else if self.cwnd < max || self.sampler.delivered < self.initial_window {
            self.cwnd += newly_acked;
        }
        let least = PIPE_PACKETS_MIN * self.mtu;
        self.cwnd = self.cwnd.max(least);
        if self.state == State::ProbeRtt {
            self.cwnd = self.cwnd.min(self.probe_rtt_cwnd());
        }
        self.cwnd = self.cwnd.min(self.bounds.cap(self.state).max(least));
    }

    fn probe_rtt_cwnd(&self) -> u64 {
        self.bdp(self.state.cwnd_gain()).max(PIPE_PACKETS_MIN * self.mtu)
    }
}

#[cfg(test)]
impl Bbr {
    pub(super) fn in_flight(&self) -> u64 {
        self.sampler.in_flight.saturating_sub(self.reins.uncounted())
    }
}

impl Controller for Bbr {
    fn on_sent(&mut self, now: Instant, bytes: u64, _: u64) {
        self.recount();
        let is_restart = self.sampler.on_sent(now, bytes);
        self.rounds.in_flight = self.rounds.in_flight.max(self.sampler.in_flight);
        if is_restart && self.sampler.delivered > 0 {
            // §5.4.1: after a rest the queue is empty, and sending goes on at the rate.
            self.is_restart = true;
            self.extra.restart(now);
            if self.state.is_probing_rate() {
                self.pacing_rate = self.rate() * PACING_MARGIN;
            } else if self.state == State::ProbeRtt {
                self.check_probe_rtt_done(now);
            }
        }
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, _: bool, _: &RttEstimator) {
        self.recount();
        self.sampler.on_ack(now, sent, bytes);
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, _: Option<u64>) {
        self.recount();
        let Some(sample) = self.sampler.on_end(now, in_flight, app_limited) else { return };
        self.on_sample(now, &sample);
        self.is_restart = false;
        self.set_pacing_rate(self.state.pacing_gain(), sample.rtt);
        self.set_cwnd(sample.newly_acked);
    }

    fn on_congestion_event(&mut self, now: Instant, sent: Instant, persistent: bool, lost: u64) {
        self.recount();
        let found = self.sampler.on_lost(sent, lost);
        self.bounds.on_loss(lost, self.mtu);
        if persistent {
            // RFC 9002 §7.6.2: the window is the least there is; the model is kept.
            self.cwnd = PIPE_PACKETS_MIN * self.mtu;
        }
        if let Some((record, lost_since)) = found {
            self.check_too_high(now, record.in_flight, lost_since, lost == 0);
        }
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.mtu = new_mtu.into();
        self.cwnd = self.cwnd.max(PIPE_PACKETS_MIN * self.mtu);
    }

    /// None while the pacer holds: then the machine sends acknowledgements and probes alone.
    fn window(&self) -> u64 {
        if self.reins.is_held() { 0 } else { self.cwnd }
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = self.cwnd;
        metrics.pacing_rate = (self.pacing_rate > 0.0).then_some((self.pacing_rate * 8.0) as u64);
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        self.initial_window
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
