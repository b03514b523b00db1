//! Each knob of `QuicTransport` that has no test of its own elsewhere: what it changes on the wire.

use std::time::Duration;

use bytes::Bytes;

use super::pair::{Pair, connect_config, listen_config};
use crate::config::{AckFrequency, QuicTransport, Toggle};
use crate::ids::StreamDir;
use crate::proto::quic::signal::Signal;

const SEC: Duration = Duration::from_secs(1);

/// A client with that, and a server as ever.
fn client(change: impl FnOnce(&mut QuicTransport)) -> Pair {
    Pair::connected(listen_config(), connect_config().with(|c| change(&mut c.transport)))
}

#[test]
fn who_asks_for_fewer_acknowledgements_gets_them() {
    const COUNT: u32 = 200;
    let acks = |ack_frequency| {
        let mut pair = client(|t| t.ack_frequency = ack_frequency);
        pair.run(SEC);
        let before = pair.server.session(0).stats().packets_sent;
        for _ in 0..COUNT {
            pair.client.session(0).send_datagram(Bytes::from_static(&[1; 100])).unwrap();
            pair.run(Duration::from_millis(1));
        }
        pair.run(SEC);
        pair.server.session(0).stats().packets_sent - before
    };
    let asked = AckFrequency { threshold: 40, ..AckFrequency::default() };
    let (usual, few) = (acks(None), acks(Some(asked)));
    // Every second one is, or else after 25 ms.
    assert!((COUNT / 2..COUNT).contains(&usual), "{usual}");
    assert!(few < COUNT / 10, "{few} where {usual} are usual");
}

/// The longest delay of an acknowledgement is the peer's own, or what is asked for: a round trip is
/// as much longer when nothing follows.
#[test]
fn an_acknowledgement_may_be_asked_to_come_sooner() {
    let latest = |max_delay| {
        let asked = AckFrequency { max_delay, threshold: 10, ..AckFrequency::default() };
        let mut pair = client(|t| t.ack_frequency = Some(asked));
        pair.run(SEC);
        let begun = pair.now;
        let id = pair.say(StreamDir::Uni, b"alone");
        pair.client.session(0).finish(id).unwrap();
        pair.until("the acknowledgement", |pair| {
            let mut told = pair.client.told.iter();
            told.any(|(_, signal)| matches!(signal, Signal::Finished(of) if *of == id))
        });
        pair.now.saturating_since(begun)
    };
    // 5 ms each way, and 25 ms of the peer's.
    let (own, soon) = (latest(None), latest(Some(Duration::from_millis(2))));
    assert!(own >= Duration::from_millis(30), "{own:?}");
    assert!(soon <= Duration::from_millis(15), "{soon:?}");
}

#[test]
fn streams_take_turns_unless_the_first_is_to_go_first() {
    for fair in [true, false] {
        let mut pair = client(|t| t.fair = fair);
        let ids = [(); 2].map(|()| pair.say(StreamDir::Uni, &[1; 100_000]));
        pair.run(SEC * 5);
        let told = pair.server.take(0);
        let frames = told.iter().filter_map(|signal| match signal {
            Signal::Frame { stream, .. } => Some(*stream),
            _ => None,
        });
        let frames: Vec<_> = frames.collect();
        let changes = frames.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(ids.iter().all(|id| frames.contains(id)));
        assert_eq!(changes > 10, fair, "{changes} changes in {} frames", frames.len());
    }
}

#[test]
fn packets_are_as_long_as_is_said_until_longer_ones_were_tried() {
    for initial_mtu in [1200, 1400] {
        let mut pair = client(|t| (t.initial_mtu, t.mtu_discovery) = (initial_mtu, None));
        pair.say(StreamDir::Uni, &[1; 100_000]);
        let mut longest = 0;
        let end = pair.now.saturating_add(SEC);
        pair.run_until(end, |pair| {
            let to_server = pair.net.iter().filter(|datagram| datagram.to == pair.server.addr);
            longest = longest.max(to_server.map(|datagram| datagram.data.len()).max().unwrap_or(0));
            false
        });
        assert_eq!(longest, usize::from(initial_mtu));
        assert_eq!(pair.client.session(0).stats().quic.unwrap().mtu, initial_mtu);
    }
}

/// RFC 9002 §6.2.2: a first packet that is lost is sent again after the round-trip time that is
/// believed, and four times its variation, which is half of it.
#[test]
fn the_believed_round_trip_says_when_a_first_packet_is_sent_again() {
    for initial_rtt in [10, 100, 333].map(Duration::from_millis) {
        let connect = connect_config().with(|c| c.transport.initial_rtt = initial_rtt);
        let mut pair = Pair::with(listen_config(), connect);
        let begun = pair.now;
        pair.connect();
        pair.round();
        assert!(!pair.net.is_empty());
        pair.net.clear();
        pair.until("it is sent again", |pair| !pair.net.is_empty());
        let waited = pair.now.saturating_since(begun);
        assert!((initial_rtt * 3..initial_rtt * 3 + SEC / 500).contains(&waited), "{waited:?}");
    }
}

#[test]
fn no_more_than_the_initial_window_is_sent_at_once() {
    for initial_window in [None, Some(60_000)] {
        let mut pair = client(|t| (t.initial_window, t.mtu_discovery) = (initial_window, None));
        let before = pair.client.session(0).stats().bytes_sent;
        pair.say(StreamDir::Uni, &[1; 200_000]);
        // Paced, within a round trip.
        pair.run(Duration::from_millis(9));
        let sent = pair.client.session(0).stats().bytes_sent - before;
        let (least, most) = match initial_window {
            None => (8_000, 30_000),
            Some(_) => (35_000, 80_000),
        };
        assert!((least..most).contains(&sent), "{sent} of {initial_window:?}");
    }
}

#[test]
fn without_segmentation_offload_each_packet_goes_by_itself() {
    let mut pair = client(|t| t.gso = Toggle::Off);
    pair.say(StreamDir::Uni, &[1; 1 << 20]);
    pair.run(SEC * 2);
    let (trains, datagrams) = (pair.client.trains, pair.client.datagrams);
    assert!(datagrams > 700 && datagrams == trains, "{datagrams} datagrams in {trains} trains");
}
