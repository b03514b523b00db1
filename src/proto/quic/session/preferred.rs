//! The address that a server would rather be talked to at (RFC 9000 §9.6).
//!
//! Role: which of our addresses a packet leaves from. The machine sends all of them from the one
//! where the connection began.
//!
//! *Invariant*: only what the client has sealed moves us: a forged datagram, or one whose
//! destination somebody changed and that does not open, does not.
//!
//! Not role: looking for the client from there. §9.6.2 has a server probe the way back from its
//! preferred address before it sends from it; the machine has no way to ask for such a probe. The
//! client's address is the one that was validated before.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use quinn_proto::FrameStats;

/// Of a connection that was offered another address.
#[derive(Debug, Default)]
pub(super) struct Preferred {
    v4: Option<Ipv4Addr>,
    v6: Option<Ipv6Addr>,
    /// The client has moved there, and does not go back.
    moved_to: Option<IpAddr>,
    /// It asked there whether we are there. The answer leaves from there; nothing else does yet.
    probed_at: Option<IpAddr>,
}

/// Frames so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frames {
    /// PATH_CHALLENGE
    probes: u64,
    /// PATH_RESPONSE
    answers: u64,
    /// Others than those that only probe (§9.1).
    others: u64,
}

impl Frames {
    pub(super) const fn of(all: &FrameStats) -> Self {
        let asked = all.data_blocked
            + all.stream_data_blocked
            + all.streams_blocked_bidi
            + all.streams_blocked_uni
            + all.max_data
            + all.max_stream_data
            + all.max_streams_bidi
            + all.max_streams_uni;
        let carried = all.crypto + all.stream + all.datagram + all.new_token;
        let ended = all.reset_stream + all.stop_sending + all.connection_close;
        let managed = all.acks
            + all.ack_frequency
            + all.immediate_ack
            + all.ping
            + all.retire_connection_id
            + all.handshake_done as u64;
        let others = asked + carried + ended + managed;
        Self { probes: all.path_challenge, answers: all.path_response, others }
    }
}

impl Preferred {
    /// `None` when none was offered.
    pub(super) fn new((v4, v6): (Option<Ipv4Addr>, Option<Ipv6Addr>)) -> Option<Self> {
        (v4.is_some() || v6.is_some()).then(|| Self { v4, v6, ..Self::default() })
    }

    /// Whether that is an address that was offered, and the client is not known to be at it.
    pub(super) fn is_new(&self, local: IpAddr) -> bool {
        let is_offered = match local.to_canonical() {
            IpAddr::V4(ip) => self.v4 == Some(ip),
            IpAddr::V6(ip) => self.v6 == Some(ip),
        };
        is_offered && self.moved_to != Some(local)
    }

    /// A datagram came to an address that [`is_new`](Self::is_new), and brought these frames.
    pub(super) fn on_arrival(&mut self, local: IpAddr, before: Frames, after: Frames) {
        if after.others != before.others {
            self.moved_to = Some(local);
        } else if after.probes != before.probes {
            self.probed_at = Some(local);
        }
    }

    /// Whether the next packet may be an answer to a probe.
    pub(super) const fn may_answer(&self) -> bool {
        self.probed_at.is_some()
    }

    /// Where a packet leaves from. `has_answer`: it answers a probe.
    pub(super) fn from(&mut self, has_answer: bool) -> Option<IpAddr> {
        let probed_at = if has_answer { self.probed_at.take() } else { None };
        self.moved_to.or(probed_at)
    }
}

impl Frames {
    pub(super) const fn has_answered_since(self, before: Self) -> bool {
        self.answers != before.answers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
    const HERE: IpAddr = IpAddr::V4(V4);

    fn frames(change: impl FnOnce(&mut FrameStats)) -> Frames {
        let mut all = FrameStats::default();
        change(&mut all);
        Frames::of(&all)
    }

    #[test]
    fn a_probe_is_answered_from_where_it_came_and_nothing_else() {
        let mut preferred = Preferred::new((Some(V4), None)).unwrap();
        assert!(preferred.is_new(HERE) && !preferred.is_new("10.0.0.2".parse().unwrap()));
        let none = frames(|_| {});
        let probe = frames(|f| (f.path_challenge, f.new_connection_id) = (1, 1));
        preferred.on_arrival(HERE, none, none);
        assert!(!preferred.may_answer(), "what does not open has no frames");
        preferred.on_arrival(HERE, none, probe);
        assert!(preferred.may_answer());
        assert_eq!(preferred.from(false), None);
        assert_eq!(preferred.from(true), Some(HERE));
        assert_eq!((preferred.may_answer(), preferred.from(false)), (false, None));
    }

    #[test]
    fn any_other_packet_moves_for_good() {
        let changes: [fn(&mut FrameStats); 4] =
            [|f| f.ping = 1, |f| f.acks = 1, |f| f.stream = 1, |f| f.retire_connection_id = 1];
        for change in changes {
            let mut preferred = Preferred::new((Some(V4), None)).unwrap();
            preferred.on_arrival(HERE, frames(|_| {}), frames(change));
            assert_eq!(preferred.from(false), Some(HERE));
            assert!(!preferred.is_new(HERE));
        }
        assert!(Preferred::new((None, None)).is_none());
    }

    #[test]
    fn mapped_addresses_are_those_of_ipv4() {
        let preferred = Preferred::new((Some(V4), None)).unwrap();
        assert!(preferred.is_new(IpAddr::V6(V4.to_ipv6_mapped())));
    }
}
