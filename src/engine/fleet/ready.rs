//! [`ClusterReadiness`]: where a shard, or the whole cluster, is in its life.
//!
//! ```text
//! Starting ── grown ──▶ Ready ── asked to drain ──▶ Draining ── gone ──▶ Stopped
//!    ▲                                                                     │
//!    └──────────────────────── begins anew ────────────────────────────────┘
//! ```
//!
//! *Invariant*: who changes it says what it was, so that of two that ask one is told.

use crate::sync::atomic::{AtomicU8, Ordering};

/// How ready a cluster is, or one of its shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClusterReadiness {
    /// It does not serve yet: some shard was never grown, or none is at present.
    Starting,
    /// It serves.
    Ready,
    /// It is about to end: what is under way goes on, and nothing new is to be sent here.
    Draining,
    /// It serves no more.
    Stopped,
}

use ClusterReadiness::{Draining, Ready, Starting, Stopped};

/// A readiness that several threads see.
pub(crate) struct Readiness(AtomicU8);

impl Readiness {
    pub(crate) fn new(readiness: ClusterReadiness) -> Self {
        Self(AtomicU8::new(readiness as u8))
    }

    pub(crate) fn get(&self) -> ClusterReadiness {
        of(self.0.load(Ordering::Acquire))
    }

    pub(crate) fn set(&self, to: ClusterReadiness) {
        self.0.store(to as u8, Ordering::Release);
    }

    /// Changes it from what it is thought to be; otherwise what it is.
    pub(crate) fn change(
        &self,
        from: ClusterReadiness,
        to: ClusterReadiness,
    ) -> Result<(), ClusterReadiness> {
        let (from, to) = (from as u8, to as u8);
        let changed = self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        changed.map(drop).map_err(of)
    }
}

const fn of(byte: u8) -> ClusterReadiness {
    match byte {
        0 => Starting,
        1 => Ready,
        2 => Draining,
        _ => Stopped,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn of_two_that_ask_one_is_told() {
        let readiness = Readiness::new(Starting);
        for state in [Ready, Draining, Stopped, Starting] {
            readiness.set(state);
            assert_eq!(readiness.get(), state);
        }
        assert_eq!(readiness.change(Starting, Ready), Ok(()));
        assert_eq!(readiness.change(Ready, Draining), Ok(()));
        assert_eq!(readiness.change(Ready, Draining), Err(Draining));
    }
}
