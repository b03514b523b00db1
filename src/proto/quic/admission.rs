//! Whether a client is taken, has to show where it is, or is sent away.

use crate::config::RetryPolicy;
use crate::pool::PressureState;

/// What a shard has to do at the moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) policy: RetryPolicy,
    /// Clients whose first packet waits, and how many may.
    pub(crate) waiting: usize,
    pub(crate) waiting_max: usize,
    /// Connections whose handshake is under way, all, and how many there may be.
    pub(crate) handshaking: usize,
    pub(crate) connections: usize,
    pub(crate) connections_max: usize,
    pub(crate) pressure: PressureState,
}

/// What becomes of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Retry,
    Refuse,
}

impl Load {
    /// `may_retry`: the client was not asked to show where it is, nor has it.
    pub(crate) fn verdict(&self, may_retry: bool) -> Verdict {
        if self.is_full() {
            // Who did not show where it is may be nobody: it is asked first, if at all.
            return match may_retry && self.policy != RetryPolicy::Never {
                true => Verdict::Retry,
                false => Verdict::Refuse,
            };
        }
        let asks = match self.policy {
            RetryPolicy::Always => true,
            RetryPolicy::UnderLoad => self.is_loaded(),
            RetryPolicy::Never => false,
        };
        if asks && may_retry { Verdict::Retry } else { Verdict::Accept }
    }

    fn is_full(&self) -> bool {
        self.connections >= self.connections_max || self.pressure >= PressureState::Critical
    }

    fn is_loaded(&self) -> bool {
        self.waiting > self.waiting_max / 4
            || self.handshaking > self.connections_max / 8
            || self.pressure >= PressureState::Warning
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_judged_by_load_and_policy() {
        use RetryPolicy::{Always, Never, UnderLoad};
        use Verdict::{Accept, Refuse, Retry};
        let calm = Load {
            policy: UnderLoad,
            waiting: 2,
            waiting_max: 8,
            handshaking: 1,
            connections: 10,
            connections_max: 16,
            pressure: PressureState::Healthy,
        };
        let full = Load { connections: 16, ..calm };
        let critical = Load { pressure: PressureState::Critical, ..calm };
        // For a client that may be asked, and for one that was.
        let rows = [
            (calm, Accept, Accept),
            (Load { policy: Always, ..calm }, Retry, Accept),
            (Load { waiting: 3, ..calm }, Retry, Accept),
            (Load { waiting: 3, policy: Never, ..calm }, Accept, Accept),
            (Load { handshaking: 3, ..calm }, Retry, Accept),
            (Load { pressure: PressureState::Warning, ..calm }, Retry, Accept),
            (full, Retry, Refuse),
            (critical, Retry, Refuse),
            (Load { policy: Never, ..full }, Refuse, Refuse),
            (Load { policy: Always, ..full }, Retry, Refuse),
        ];
        for (load, new, asked) in rows {
            assert_eq!((load.verdict(true), load.verdict(false)), (new, asked), "{load:?}");
        }
    }
}
