//! [`Stall`]: what goes although the congestion window has no room.
//!
//! RFC 9002 §7: "packets containing only ACK frames do not count toward bytes in flight and are not
//! congestion controlled", and §6.2.4: when the probe timeout expires, "the sender SHOULD send
//! ack-eliciting packets from other packet number spaces with in-flight data". The machine does
//! neither while data waits for the window: it makes no packet of an acknowledgement alone, and
//! probes one packet number space. Two sides that both wait for the other's acknowledgements, or a
//! client without Handshake keys and a server that sends it Handshake packets, come to a stop.
//!
//! So one packet, of what waits and of what is owed, goes in spite of the window:
//! - when an acknowledgement is owed and nothing went for [`ACK_DELAY_MAX`];
//! - when a timer fires and all that it is for waits, which may be an acknowledgement, or in the
//!   handshake what is of another packet number space than the probes.

use std::sync::Arc;
use std::time::Duration;

use quinn_proto::FrameStats;

use super::meter::Gate;
use super::pacer::eliciting;
use crate::time::Time;

/// RFC 9000 §13.2.1: "an endpoint MUST acknowledge all ack-eliciting 0-RTT and 1-RTT packets within
/// its advertised max_ack_delay", which is this.
const ACK_DELAY_MAX: Duration = Duration::from_millis(25);

pub(super) struct Stall {
    gate: Arc<Gate>,
    /// Frames to be acknowledged that had come when it was last looked at.
    heard: u64,
    /// When an acknowledgement is overdue; never, if none is known to be owed.
    overdue_at: Time,
    /// Something went since.
    has_sent: bool,
    /// A timer has fired, and what it is for may wait.
    is_timer_due: bool,
}

impl Stall {
    pub(super) const fn new(gate: Arc<Gate>) -> Self {
        let (has_sent, is_timer_due) = (false, false);
        Self { gate, heard: 0, overdue_at: Time::MAX, has_sent, is_timer_due }
    }

    /// A deadline has passed, of the machine's or this one. It is not kept in the past: what is to
    /// be sent may have to wait for other reasons.
    pub(super) fn on_timeout(&mut self, now: Time, is_machines: bool) {
        if is_machines || self.overdue_at <= now {
            (self.overdue_at, self.is_timer_due) = (Time::MAX, true);
        }
    }

    /// The machine is about to be asked for packets.
    pub(super) fn begin(&self) {
        self.gate.reset();
    }

    /// It made some: with them went what was owed, and probes of one packet number space, of which
    /// a handshake has several.
    pub(super) const fn on_sent(&mut self, is_handshaking: bool) {
        self.overdue_at = Time::MAX;
        self.has_sent = true;
        self.is_timer_due &= is_handshaking;
    }

    /// It made none. Whether something waits for the window.
    pub(super) fn is_blocked(&mut self) -> bool {
        let is_blocked = self.gate.was_asked();
        if !is_blocked {
            (self.overdue_at, self.is_timer_due) = (Time::MAX, false);
        }
        is_blocked
    }

    /// The gate to be opened for one packet, if there is cause. `received` came so far.
    pub(super) fn cause(&mut self, now: Time, received: &FrameStats) -> Option<Arc<Gate>> {
        let heard = eliciting(received);
        if heard != self.heard && !self.has_sent && self.overdue_at.is_never() {
            self.overdue_at = now.saturating_add(ACK_DELAY_MAX);
        }
        (self.heard, self.has_sent) = (heard, false);
        std::mem::take(&mut self.is_timer_due).then(|| Arc::clone(&self.gate))
    }

    /// When to ask again.
    pub(super) const fn deadline(&self) -> Time {
        self.overdue_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_nanos(1 << 40);

    fn received(pings: u64) -> FrameStats {
        let mut frames = FrameStats::default();
        frames.ping = pings;
        frames
    }

    fn new() -> Stall {
        Stall::new(Arc::default())
    }

    #[test]
    fn an_acknowledgement_that_is_owed_goes_in_time_and_once() {
        let mut stall = new();
        assert!(stall.cause(NOW, &received(0)).is_none() && stall.deadline().is_never());
        assert!(stall.cause(NOW, &received(1)).is_none());
        let due = NOW.saturating_add(ACK_DELAY_MAX);
        assert_eq!(stall.deadline(), due);
        // More of it does not put it off.
        let later = NOW.saturating_add(Duration::from_millis(9));
        assert!(stall.cause(later, &received(5)).is_none());
        assert_eq!(stall.deadline(), due);
        stall.on_timeout(later, false);
        assert!(stall.cause(later, &received(5)).is_none());
        stall.on_timeout(due, false);
        assert!(stall.deadline().is_never(), "also if nothing can go for now");
        assert!(stall.cause(due, &received(5)).is_some());
        stall.on_sent(false);
        assert!(stall.cause(due, &received(5)).is_none() && stall.deadline().is_never());
    }

    #[test]
    fn what_went_took_the_acknowledgement_with_it() {
        let mut stall = new();
        assert!(stall.cause(NOW, &received(1)).is_none());
        stall.on_sent(false);
        assert!(stall.deadline().is_never());
        // It came before that, or it would have been looked at.
        assert!(stall.cause(NOW, &received(2)).is_none());
        assert!(stall.deadline().is_never());
    }

    #[test]
    fn a_timer_lets_one_packet_pass_beside_the_probes_of_a_handshake() {
        for is_handshaking in [true, false] {
            let mut stall = new();
            stall.on_timeout(NOW, true);
            stall.on_sent(is_handshaking);
            assert_eq!(stall.cause(NOW, &received(0)).is_some(), is_handshaking);
            assert!(stall.cause(NOW, &received(0)).is_none());
            stall.on_timeout(NOW, true);
            assert!(stall.cause(NOW, &received(0)).is_some(), "nothing else went");
        }
    }

    #[test]
    fn nothing_passes_where_nothing_waits() {
        let mut stall = new();
        stall.on_timeout(NOW, true);
        stall.begin();
        assert!(!stall.is_blocked());
        assert!(stall.cause(NOW, &received(0)).is_none());
    }
}
