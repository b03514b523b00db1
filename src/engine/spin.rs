//! [`Spinner`]: whether it pays to look at the ring for a while before sleeping.
//!
//! Adaptive: a spin that finds something, or a sleep that turns out to have been short, sets the
//! budget to the maximum; each spin in vain halves it. So a busy shard never sleeps, and an idle
//! one soon stops spinning and costs nothing.

use super::Engine;
use crate::config::Spin;
use crate::ring::{Ring, Wait};
use crate::time::Time;

const NANOS_PER_MICRO: u64 = 1000;
/// A budget below this is none.
const BUDGET_MIN_NS: u64 = 1000;

pub(super) struct Spinner {
    max_ns: u64,
    budget_ns: u64,
    adaptive: bool,
}

impl Spinner {
    pub(super) fn new(spin: Spin) -> Self {
        let (max_us, adaptive) = match spin {
            Spin::Off | Spin::Default => (0, false),
            Spin::Auto { max_us } => (max_us, true),
            Spin::Always { max_us } => (max_us, false),
        };
        let max_ns = u64::from(max_us) * NANOS_PER_MICRO;
        Self { max_ns, budget_ns: max_ns, adaptive }
    }

    /// Whether it may ever spin: it needs to know how long sleeps are.
    pub(super) const fn is_wanted(&self) -> bool {
        self.max_ns > 0
    }

    pub(super) const fn is_on(&self) -> bool {
        self.budget_ns > 0
    }

    /// A spin ended.
    fn spun(&mut self, found: bool) {
        if !self.adaptive {
            return;
        }
        self.budget_ns = if found { self.max_ns } else { self.budget_ns / 2 };
        if self.budget_ns < BUDGET_MIN_NS {
            self.budget_ns = 0;
        }
    }

    /// A sleep that began at `start` ended. A short one says that spinning would have paid.
    pub(super) fn slept(&mut self, start: Time, wait: Wait, ring: &mut Ring) {
        if !self.adaptive || self.budget_ns > 0 || wait == Wait::None {
            return;
        }
        let slept = ring.now().saturating_since(start).as_nanos() as u64;
        if slept < self.max_ns {
            self.budget_ns = self.max_ns;
        }
    }
}

impl Engine {
    /// Looks at the ring and at what other threads queue until something is there, or the budget or
    /// the deadline is used up. Whether something is there.
    pub(super) fn spin(&mut self, deadline: Time) -> bool {
        // What was queued has to reach the kernel first.
        if self.ring.has_work() {
            return true;
        }
        let budget = std::time::Duration::from_nanos(self.spinner.budget_ns);
        let end = self.now.saturating_add(budget).min(deadline);
        let found = loop {
            if self.ring.has_work()
                || self.has_command_to_run()
                || self.gate.was_called()
                || self.http.has_work()
                || self.pool.shared().has_returned()
            {
                break true;
            }
            self.now = self.ring.now();
            if self.now >= end {
                break false;
            }
            std::hint::spin_loop();
        };
        self.spinner.spun(found);
        found
    }
}
