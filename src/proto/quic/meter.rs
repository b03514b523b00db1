//! [`Meter`]: a congestion controller that notes on its way what the machine keeps to itself.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

/// What it notes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Noted {
    /// The last round trip; zero before there was one.
    pub(super) rtt_latest: Duration,
    /// The variation of RFC 9002 §5.3, of round trips as they were, the peer's delays included.
    pub(super) rtt_var: Duration,
}

/// No window is larger; the machine paces none of this size.
const WINDOW_MAX: u64 = u64::MAX / 2;

/// What the controllers of one configuration and their sessions have in common while the machine is
/// asked for packets. One thread alone has all of them.
#[derive(Debug, Default)]
pub(super) struct Gate {
    is_open: AtomicBool,
    was_asked: AtomicBool,
}

impl Gate {
    /// Nobody asked yet.
    pub(super) fn reset(&self) {
        self.was_asked.store(false, Ordering::Relaxed);
    }

    /// Somebody asked how large the window is: there is something to send that counts.
    pub(super) fn was_asked(&self) -> bool {
        self.was_asked.load(Ordering::Relaxed)
    }

    /// What `run` gives while there is room, whatever the controllers say.
    pub(super) fn opened<T>(&self, run: impl FnOnce() -> T) -> T {
        struct Opened<'a>(&'a Gate);
        impl Drop for Opened<'_> {
            fn drop(&mut self) {
                self.0.is_open.store(false, Ordering::Relaxed);
            }
        }
        self.is_open.store(true, Ordering::Relaxed);
        let _opened = Opened(self);
        run()
    }

    fn ask(&self) -> bool {
        self.was_asked.store(true, Ordering::Relaxed);
        self.is_open.load(Ordering::Relaxed)
    }
}

/// Makes meters around the controllers of another factory.
pub(super) struct Factory {
    inner: Arc<dyn ControllerFactory + Send + Sync>,
    gate: Arc<Gate>,
}

impl Factory {
    pub(super) fn new(inner: Arc<dyn ControllerFactory + Send + Sync>) -> Self {
        Self { inner, gate: Arc::default() }
    }
}

impl fmt::Debug for Factory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metered")
    }
}

impl ControllerFactory for Factory {
    fn build(self: Arc<Self>, now: Instant, current_mtu: u16) -> Box<dyn Controller> {
        let inner = Arc::clone(&self.inner).build(now, current_mtu);
        let gate = Arc::clone(&self.gate);
        Box::new(Meter { inner, noted: Noted::default(), sample: None, gate })
    }
}

pub(super) struct Meter {
    inner: Box<dyn Controller>,
    noted: Noted,
    /// Of the newest packet in the acknowledgement that is being taken in.
    sample: Option<(Duration, Duration)>,
    gate: Arc<Gate>,
}

impl Meter {
    /// The gate of a controller that one of these factories made. It copies the controller.
    pub(super) fn gate(of: &dyn Controller) -> Arc<Gate> {
        let meter = of.clone_box().into_any().downcast::<Self>();
        meter.map_or_else(|_| Arc::default(), |meter| meter.gate)
    }

    /// What a controller that one of these factories made has noted. It copies the controller: not
    /// for the hot path.
    pub(super) fn read(of: &dyn Controller) -> Noted {
        let meter = of.clone_box().into_any().downcast::<Self>();
        meter.map_or_else(|_| Noted::default(), |meter| meter.noted)
    }

    /// A copy of the controller within, which is BBR.
    #[cfg(test)]
    pub(super) fn of(of: &dyn Controller) -> super::bbr::Bbr {
        let meter = of.clone_box().into_any().downcast::<Self>().expect("one of ours");
        *meter.inner.into_any().downcast().expect("BBR")
    }
}

impl Controller for Meter {
    fn on_sent(&mut self, now: Instant, bytes: u64, last_packet_number: u64) {
        self.inner.on_sent(now, bytes, last_packet_number);
    }

    fn on_ack(
        &mut self,
        now: Instant,
        sent: Instant,
        bytes: u64,
        app_limited: bool,
        rtt: &RttEstimator,
    ) {
        self.sample = Some((now.saturating_duration_since(sent), rtt.get()));
        self.inner.on_ack(now, sent, bytes, app_limited, rtt);
    }

    fn on_end_acks(
        &mut self,
        now: Instant,
        in_flight: u64,
        app_limited: bool,
        largest_packet_num_acked: Option<u64>,
    ) {
        if let Some((latest, smoothed)) = self.sample.take() {
            let noted = &mut self.noted;
            noted.rtt_var = match noted.rtt_latest.is_zero() {
                true => latest / 2,
                false => (noted.rtt_var * 3 + smoothed.abs_diff(latest)) / 4,
            };
            noted.rtt_latest = latest;
        }
        self.inner.on_end_acks(now, in_flight, app_limited, largest_packet_num_acked);
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent_congestion: bool,
        lost_bytes: u64,
    ) {
        self.inner.on_congestion_event(now, sent, is_persistent_congestion, lost_bytes);
    }

    fn on_mtu_update(&mut self, new_mtu: u16) {
        self.inner.on_mtu_update(new_mtu);
    }

    fn window(&self) -> u64 {
        if self.gate.ask() { WINDOW_MAX } else { self.inner.window() }
    }

    fn metrics(&self) -> ControllerMetrics {
        self.inner.metrics()
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        let (inner, gate) = (self.inner.clone_box(), Arc::clone(&self.gate));
        Box::new(Self { inner, noted: self.noted, sample: self.sample, gate })
    }

    fn initial_window(&self) -> u64 {
        self.inner.initial_window()
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
