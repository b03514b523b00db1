//! What `conn_stats` says, in worlds whose figures are known.

use std::time::Duration;

use bytes::Bytes;

use super::pair::{Faults, Pair, connect_config, listen_config};
use crate::config::{DatagramsFull, QuicDatagrams};
use crate::ids::StreamDir;
use crate::proto::quic::signal::Signal;

const SEC: Duration = Duration::from_secs(1);

#[test]
fn round_trips_are_those_of_the_path() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    for _ in 0..40 {
        pair.say(StreamDir::Uni, &[1; 5000]);
        pair.run(Duration::from_millis(100));
    }
    let stats = pair.client.session(0).stats();
    let quic = stats.quic.unwrap();
    // 5 ms each way, and nothing else takes time but the peer's delay of an acknowledgement.
    assert!((10_000..10_100).contains(&stats.rtt_min_us), "{stats:?}");
    assert!((10_000..12_000).contains(&stats.rtt_us), "{stats:?}");
    assert!((10_000..36_000).contains(&quic.rtt_latest_us), "{stats:?}");
    assert!(stats.rtt_var_us < 13_000, "{stats:?}");
    assert_eq!(quic.pacing_rate, 0, "CUBIC names none");
    assert_eq!((stats.packets_lost, quic.bytes_lost, quic.congestion_events), (0, 0, 0));
}

#[test]
fn before_the_first_round_trip_there_is_none() {
    let mut pair = Pair::with(listen_config(), connect_config());
    pair.connect();
    let stats = pair.client.session(0).stats();
    assert_eq!((stats.rtt_us, stats.rtt_min_us), (333_000, 0), "what is believed, and seen");
    assert_eq!((stats.rtt_var_us, stats.quic.unwrap().rtt_latest_us), (0, 0));
}

#[test]
fn losses_are_counted() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    // Whatever is being looked for is found.
    pair.run(SEC);
    let before = pair.client.session(0).stats();
    pair.say(StreamDir::Uni, &[1; 50_000]);
    pair.round();
    // Three in the middle of a flight get lost.
    let len: usize = pair.net[2..5].iter().map(|datagram| datagram.data.len()).sum();
    pair.net.drain(2..5);
    pair.run(SEC);
    let stats = pair.client.session(0).stats();
    let (quic, was) = (stats.quic.unwrap(), before.quic.unwrap());
    assert_eq!(stats.packets_lost - before.packets_lost, 3, "{stats:?}");
    assert_eq!(quic.bytes_lost - was.bytes_lost, len as u64);
    assert_eq!(quic.congestion_events - was.congestion_events, 1);
    let lossy = Faults { loss: 20, ..Faults::default() };
    pair.faults = lossy;
    pair.say(StreamDir::Uni, &[1; 50_000]);
    pair.run(SEC * 20);
    assert!(pair.client.session(0).stats().packets_lost > stats.packets_lost);
}

#[test]
fn streams_are_counted_while_they_are_open() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    let ids = [StreamDir::Bidi, StreamDir::Uni, StreamDir::Uni].map(|dir| pair.say(dir, b"hello"));
    let count = |pair: &mut Pair| {
        let client = pair.client.session(0).stats().quic.unwrap();
        let server = pair.server.session(0).stats().quic.unwrap();
        (client.streams_sending, server.streams_of_peer)
    };
    assert_eq!(count(&mut pair), (3, 0));
    pair.run(SEC);
    assert_eq!(count(&mut pair), (3, 3));
    for id in ids {
        pair.client.session(0).finish(id).unwrap();
    }
    pair.run(SEC);
    // The bidirectional one is open the other way.
    assert_eq!(count(&mut pair), (0, 1));
    pair.server.session(0).finish(ids[0]).unwrap();
    pair.run(SEC);
    assert_eq!(count(&mut pair), (0, 0));
}

#[test]
fn datagrams_are_counted_both_ways() {
    let few = QuicDatagrams { recv_bytes: 67_584, send_bytes: 4096, ..QuicDatagrams::default() };
    let full = QuicDatagrams { when_full: DatagramsFull::DropOldest, ..few };
    let mut pair = Pair::connected(
        listen_config().with(|c| c.transport.datagrams = Some(few)),
        connect_config().with(|c| c.transport.datagrams = Some(full)),
    );
    // 10 are said at once, and there is room for some.
    for _ in 0..10 {
        pair.client.session(0).send_datagram(Bytes::from_static(&[1; 1000])).unwrap();
    }
    pair.run(SEC);
    let sent = pair.client.session(0).stats().quic.unwrap();
    assert!(sent.datagrams_dropped_tx > 0);
    assert_eq!(sent.datagrams_sent + sent.datagrams_dropped_tx, 10);
    let told = |pair: &mut Pair| {
        let told = pair.server.take(0);
        told.iter().filter(|signal| matches!(signal, Signal::Datagram(_))).count() as u64
    };
    assert_eq!(told(&mut pair), sent.datagrams_sent);
    // The server does not listen for a while.
    pair.server.session(0).pause();
    for _ in 0..100 {
        pair.client.session(0).send_datagram(Bytes::from_static(&[2; 1000])).unwrap();
        pair.run(Duration::from_millis(50));
    }
    pair.server.session(0).resume();
    pair.run(SEC);
    let heard = told(&mut pair);
    let received = pair.server.session(0).stats().quic.unwrap();
    assert!((50..100).contains(&heard), "{heard}");
    assert_eq!(received.datagrams_received, sent.datagrams_sent + 100);
    assert_eq!(received.datagrams_dropped_rx, 100 - heard);
    assert_eq!(received.datagrams_dropped_tx, 0);
}
