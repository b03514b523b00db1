//! [`Stall`]: what goes although the congestion window has no room.
//!
//! RFC 9002 §7: "packets containing only ACK frames do not count toward bytes in flight and are not
//! congestion controlled", and §6.2.4: when the probe timeout expires, "the sender SHOULD send
//! ack-eliciting packets from other packet number spaces with in-flight data". The machine does
//! neither while data waits for the window: it makes no packet of an acknowledgement alone, and
//! probes one packet number space. Two sides that both wait for the other's acknowledgements, or a
//! client without Handshake keys and a server that sends it Handshake packets, come to a stop.
//!
//! So one packet, of what waits and of what is owed, goes in spite of the window or of pacing:
//! - when an acknowledgement is owed and did not go for [`ACK_DELAY_MAX`]; for twice as long each
//!   time, as long as nothing goes otherwise, since data that goes so is not congestion controlled;
//! - when a timer fires and the handshake is not confirmed: what is of another packet number space
//!   than the probes.

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::ConnectionStats;

use super::meter::Gate;
use super::pacer::eliciting;
use crate::time::Time;

/// What we advertise as max_ack_delay, within which 0-RTT and 1-RTT packets are to be acknowledged
/// (RFC 9000 §13.2.1); those of a handshake, at once.
const ACK_DELAY_MAX: Duration = Duration::from_millis(25);
/// It is doubled so many times at most.
const DOUBLINGS_MAX: u32 = 6;

/// Why a packet may have to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Nothing,
    /// An acknowledgement is owed, and due then.
    AckAt(Time),
    /// It is overdue.
    Ack,
    /// A timer has fired, and what it is for may wait.
    Probe,
}

pub(super) struct Stall {
    gate: Arc<Gate>,
    due: Due,
    /// As of the last look at what was blocked: frames that came and are to be acknowledged, and
    /// acknowledgements that went.
    heard: u64,
    acks: u64,
    /// Something came since something went.
    has_heard: bool,
    /// Packets that went in spite of the window, since one went otherwise.
    forced: u32,
}

impl Stall {
    pub(super) const fn new(gate: Arc<Gate>) -> Self {
        Self { gate, due: Due::Nothing, heard: 0, acks: 0, has_heard: true, forced: 0 }
    }

    pub(super) const fn on_input(&mut self) {
        self.has_heard = true;
    }

    /// A deadline has passed. It is not kept in the past: what is to be sent may have to wait for
    /// other reasons.
    pub(super) fn on_timeout(&mut self, now: Time, is_probe: bool) {
        match self.due {
            _ if is_probe => self.due = Due::Probe,
            Due::AckAt(at) if at <= now => self.due = Due::Ack,
            _ => {}
        }
    }

    /// The machine is about to be asked for packets.
    pub(super) fn begin(&self) {
        self.gate.reset();
    }

    /// It made some, which may be probes, and have an acknowledgement, or not.
    pub(super) const fn on_sent(&mut self) {
        (self.has_heard, self.forced) = (false, 0);
    }

    /// It made none. Whether something waits.
    pub(super) fn is_blocked(&mut self) -> bool {
        let is_blocked = self.gate.was_asked();
        if !is_blocked {
            self.due = Due::Nothing;
        }
        is_blocked
    }

    /// The gate to be opened for one packet, if there is cause. `so_far` are the machine's counts.
    pub(super) fn cause(&mut self, now: Time, so_far: &ConnectionStats) -> Option<Arc<Gate>> {
        let (heard, acks) = (eliciting(&so_far.frame_rx), so_far.frame_tx.acks);
        let is_acked = acks != self.acks;
        if is_acked && self.due != Due::Probe {
            self.due = Due::Nothing;
        }
        let is_owed = heard != self.heard && (self.has_heard || !is_acked);
        if is_owed && self.due == Due::Nothing {
            let delay = ACK_DELAY_MAX * (1 << self.forced.min(DOUBLINGS_MAX));
            self.due = Due::AckAt(now.saturating_add(delay));
        }
        (self.heard, self.acks) = (heard, acks);
        if !matches!(self.due, Due::Ack | Due::Probe) {
            return None;
        }
        self.due = Due::Nothing;
        self.forced = self.forced.saturating_add(1);
        Some(Arc::clone(&self.gate))
    }

    /// When to ask again.
    pub(super) const fn deadline(&self) -> Time {
        match self.due {
            Due::AckAt(at) => at,
            _ => Time::MAX,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_nanos(1 << 40);

    fn counts(pings: u64, acks: u64) -> ConnectionStats {
        let mut stats = ConnectionStats::default();
        stats.frame_rx.ping = pings;
        stats.frame_tx.acks = acks;
        stats
    }

    fn later(millis: u64) -> Time {
        NOW.saturating_add(Duration::from_millis(millis))
    }

    fn new() -> Stall {
        Stall::new(Arc::default())
    }

    /// Something came, and the machine has nothing to send: is there cause?
    fn hears(stall: &mut Stall, at: Time, pings: u64, acks: u64) -> bool {
        stall.on_input();
        stall.cause(at, &counts(pings, acks)).is_some()
    }

    #[test]
    fn an_acknowledgement_that_is_owed_goes_in_time_and_once() {
        let mut stall = new();
        assert!(stall.cause(NOW, &counts(0, 0)).is_none() && stall.deadline().is_never());
        assert!(!hears(&mut stall, NOW, 1, 0));
        assert_eq!(stall.deadline(), later(25));
        // More of it does not put it off.
        assert!(!hears(&mut stall, later(9), 5, 0));
        assert_eq!(stall.deadline(), later(25));
        stall.on_timeout(later(24), false);
        assert!(stall.cause(later(24), &counts(5, 0)).is_none());
        stall.on_timeout(later(25), false);
        assert!(stall.deadline().is_never(), "also if nothing can go for now");
        assert!(stall.cause(later(25), &counts(5, 0)).is_some());
        assert!(stall.cause(later(25), &counts(5, 1)).is_none() && stall.deadline().is_never());
    }

    #[test]
    fn each_waits_for_twice_as_long_while_nothing_goes_otherwise() {
        let mut stall = new();
        let mut at = NOW;
        for round in 1..20_u64 {
            assert!(!hears(&mut stall, at, round, round - 1));
            let span = stall.deadline().saturating_since(at);
            assert_eq!(span, ACK_DELAY_MAX * (1 << (round - 1).min(6)));
            at = stall.deadline();
            stall.on_timeout(at, false);
            assert!(stall.cause(at, &counts(round, round - 1)).is_some());
        }
        stall.on_sent();
        assert!(!hears(&mut stall, at, 20, 20));
        assert_eq!(stall.deadline(), at.saturating_add(ACK_DELAY_MAX));
    }

    #[test]
    fn what_took_the_acknowledgement_with_it_pays_the_debt_and_what_did_not_does_not() {
        let mut stall = new();
        assert!(!hears(&mut stall, NOW, 1, 0));
        // Probes of the path's MTU have none.
        stall.on_sent();
        assert!(stall.cause(NOW, &counts(1, 0)).is_none());
        assert_eq!(stall.deadline(), later(25));
        stall.on_sent();
        assert!(stall.cause(NOW, &counts(1, 1)).is_none());
        assert!(stall.deadline().is_never());
        // What came before the packet went with it, and what came since did not.
        stall.on_sent();
        assert!(stall.cause(NOW, &counts(2, 2)).is_none() && stall.deadline().is_never());
        stall.on_sent();
        assert!(!hears(&mut stall, NOW, 4, 3));
        assert_eq!(stall.deadline(), later(25));
    }

    #[test]
    fn a_timer_lets_one_packet_pass_beside_the_probes_of_a_handshake() {
        let mut stall = new();
        stall.on_timeout(NOW, true);
        stall.on_sent();
        assert!(stall.cause(NOW, &counts(0, 1)).is_some());
        assert!(stall.cause(NOW, &counts(0, 1)).is_none());
        stall.on_timeout(NOW, false);
        assert!(stall.cause(NOW, &counts(0, 1)).is_none(), "it is another one's");
    }

    #[test]
    fn nothing_passes_where_nothing_waits() {
        let mut stall = new();
        stall.on_timeout(NOW, true);
        stall.begin();
        assert!(!stall.is_blocked());
        assert!(stall.cause(NOW, &counts(0, 0)).is_none());
    }
}
