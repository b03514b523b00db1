//! The state machine alone; how it does on a path is in `tests/link.rs`.

use super::*;

const MTU: u16 = 1200;
const RTT: Duration = Duration::from_millis(40);

/// A path of so many bytes per second, without a queue's limit.
struct Path {
    bbr: Bbr,
    now: Instant,
    rate: f64,
    /// When what is in flight arrives: sent, acknowledged.
    flight: std::collections::VecDeque<(Instant, Instant)>,
    free_at: Instant,
    next_at: Instant,
    sent: u64,
    seen: Vec<State>,
}

impl Path {
    fn new(rate: f64) -> Self {
        let now = Instant::now();
        let bbr = Bbr::new(now, 12_000, MTU, 1, Arc::default());
        let flight = std::collections::VecDeque::new();
        Self { bbr, now, rate, flight, free_at: now, next_at: now, sent: 0, seen: Vec::new() }
    }

    /// Sends as the controller says, for so long, at most so many bytes per second.
    fn run(&mut self, span: Duration, app_rate: Option<f64>) {
        let end = self.now + span;
        let size = u64::from(MTU);
        let mut app = self.now;
        while self.now < end {
            while self.flight.front().is_some_and(|(_, acked)| *acked <= self.now) {
                let (sent, _) = self.flight.pop_front().unwrap();
                let left = self.flight.len() as u64 * size;
                let idle = app_rate.is_some() && left + 2 * size < self.bbr.window();
                self.bbr.sampler.on_ack(self.now, sent, size);
                self.bbr.on_end_acks(self.now, left, idle, None);
                if self.seen.last() != Some(&self.bbr.state) {
                    self.seen.push(self.bbr.state);
                }
            }
            let fits = (self.flight.len() as u64 + 1) * size < self.bbr.window();
            if fits && self.next_at <= self.now && app <= self.now {
                let pacing = self.bbr.metrics().pacing_rate.map_or(1e12, |bits| bits as f64 / 8.0);
                // Time goes in steps: who is late catches up.
                let since = self.next_at.max(self.now - Duration::from_millis(1));
                self.next_at = since + Duration::from_secs_f64(size as f64 / pacing);
                if let Some(rate) = app_rate {
                    app += Duration::from_secs_f64(size as f64 / rate);
                }
                let spent = Duration::from_secs_f64(size as f64 / self.rate);
                self.free_at = self.free_at.max(self.now) + spent;
                self.bbr.on_sent(self.now, size, 0);
                self.sent += size;
                self.flight.push_back((self.now, self.free_at + RTT));
                continue;
            }
            self.now += Duration::from_micros(100);
        }
    }

    fn queue(&self) -> Duration {
        self.free_at.saturating_duration_since(self.now)
    }
}

#[test]
fn startup_finds_the_rate_and_drains_its_queue() {
    let mut path = Path::new(1_250_000.0);
    path.run(Duration::from_secs(2), None);
    // The queue may be empty by then, and `ProbeDown` over when it begins.
    assert_eq!(path.seen[..2], [State::Startup, State::Drain]);
    assert!(matches!(path.seen[2], State::ProbeDown | State::ProbeCruise), "{:?}", path.seen);
    let rate = path.bbr.max_rate.get();
    assert!((1_200_000.0..1_350_000.0).contains(&rate), "{rate}");
    let rtt = path.bbr.min_rtt.get().unwrap();
    assert!(rtt < RTT + Duration::from_millis(3), "{rtt:?}");
    assert!(path.queue() < Duration::from_millis(20), "{:?}", path.queue());
}

#[test]
fn the_cycle_and_the_round_trip_are_probed() {
    let mut path = Path::new(1_250_000.0);
    path.run(Duration::from_secs(16), None);
    for state in [State::ProbeRefill, State::ProbeUp, State::ProbeDown, State::ProbeCruise] {
        assert!(path.seen.iter().filter(|seen| **seen == state).count() >= 3, "{:?}", path.seen);
    }
    assert!(path.seen.contains(&State::ProbeRtt), "{:?}", path.seen);
    let used = path.sent as f64 / (16.0 * 1_250_000.0);
    assert!(used > 0.9, "{used}");
}

#[test]
fn a_faster_path_is_noticed_and_a_slower_one_too() {
    let mut path = Path::new(1_250_000.0);
    path.run(Duration::from_secs(5), None);
    path.rate = 5_000_000.0;
    path.run(Duration::from_secs(15), None);
    assert!(path.bbr.rate() > 4_000_000.0, "{}", path.bbr.rate());
    path.rate = 1_000_000.0;
    path.run(Duration::from_secs(15), None);
    assert!(path.bbr.rate() < 1_300_000.0, "{}", path.bbr.rate());
}

#[test]
fn an_application_that_says_little_makes_no_rate() {
    let mut path = Path::new(12_500_000.0);
    path.run(Duration::from_secs(10), Some(125_000.0));
    let bbr = &path.bbr;
    // Neither more than the path has, nor a window that was never used.
    assert!(bbr.max_rate.get() <= 12_600_000.0, "{}", bbr.max_rate.get());
    assert!(bbr.window() < 1_500_000, "{}", bbr.window());
    // When it says more, the path is found.
    path.run(Duration::from_secs(10), None);
    assert!(path.bbr.rate() > 11_000_000.0, "{}", path.bbr.rate());
}

#[test]
fn the_same_seed_gives_the_same_waits_and_another_others() {
    let now = Instant::now();
    let waits = |seed| {
        let mut bbr = Bbr::new(now, 12_000, MTU, seed, Arc::default());
        let waits = (0..8).map(|_| {
            bbr.start_down(now);
            format!("{:?}", bbr.cycle)
        });
        waits.collect::<Vec<_>>()
    };
    assert_eq!(waits(1), waits(1));
    assert_ne!(waits(1), waits(2));
}

#[test]
fn persistent_congestion_keeps_the_model() {
    let mut path = Path::new(1_250_000.0);
    path.run(Duration::from_secs(3), None);
    let (rate, now) = (path.bbr.max_rate.get(), path.now);
    path.bbr.on_congestion_event(now, now, true, 5000);
    assert_eq!(path.bbr.window(), 4 * u64::from(MTU));
    assert!((path.bbr.max_rate.get() - rate).abs() < 1.0);
    path.run(Duration::from_secs(3), None);
    assert!(path.bbr.window() > 50_000, "{}", path.bbr.window());
}
