//! Datagrams: RFC 9221.

use std::time::Duration;

use zero_io::{DatagramsFull, IoError, QuicDatagrams, QuicTransport};

use super::kit::{BOTH, CLIENT, Net, SERVER, pattern};

#[test]
fn datagrams_come_back() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        net.nodes[SERVER].echoes = true;
        let (conn, _) = net.pair(|_| (), |_| ());
        let max = net.nodes[CLIENT].io.max_datagram_size(conn).unwrap();
        assert!(max > 1000 && max < 1500, "{max}");
        let mut sent = vec![Vec::new(), pattern(1), pattern(500), pattern(max)];
        for data in &sent {
            net.nodes[CLIENT].io.send_datagram(conn, data).unwrap();
        }
        net.until("all of them", |net| net.nodes[CLIENT].datagrams().len() == sent.len());
        let mut got = net.nodes[CLIENT].datagrams();
        got.sort();
        sent.sort();
        assert_eq!(got, sent);
        let stats = net.nodes[CLIENT].io.conn_stats(conn).unwrap().quic.unwrap();
        assert_eq!((stats.datagrams_sent, stats.datagrams_received), (4, 4));
        net.all_home();
    }
}

#[test]
fn a_datagram_that_is_too_long_is_named() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, _) = net.pair(|_| (), |_| ());
        let client = &mut net.nodes[CLIENT].io;
        let max = client.max_datagram_size(conn).unwrap();
        let error = client.send_datagram(conn, &pattern(max + 1)).unwrap_err();
        assert_eq!(error, IoError::DatagramTooLarge { len: max + 1, max });
        net.all_home();
    }
}

#[test]
fn who_takes_none_is_sent_none() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, accepted) = net.pair(|l| l.transport.datagrams = None, |_| ());
        let none = |conn| Err(IoError::DatagramsUnsupported { conn });
        assert_eq!(net.nodes[CLIENT].io.send_datagram(conn, b"x"), none(conn));
        assert_eq!(net.nodes[SERVER].io.send_datagram(accepted, b"x"), none(accepted));
        net.all_home();
    }
}

#[test]
fn a_full_queue_drops_the_oldest_or_refuses() {
    for backend in BOTH {
        for when_full in [DatagramsFull::DropOldest, DatagramsFull::Refuse] {
            let mut net = Net::new(backend);
            let mut datagrams = QuicDatagrams::default();
            (datagrams.send_bytes, datagrams.when_full) = (2048, when_full);
            let (conn, _) = net.pair(|_| (), |c| c.transport.datagrams = Some(datagrams));
            net.nodes[SERVER].echoes = false;
            let client = &mut net.nodes[CLIENT].io;
            let results: Vec<_> = (0..10).map(|i| client.send_datagram(conn, &[i; 500])).collect();
            let refused = results.iter().filter(|r| r.is_err()).count();
            net.until("those that were left", |net| net.nodes[SERVER].datagrams().len() >= 3);
            let first: Vec<u8> = net.nodes[SERVER].datagrams().iter().map(|d| d[0]).collect();
            match when_full {
                DatagramsFull::DropOldest => {
                    assert_eq!(refused, 0);
                    assert_eq!(first.last(), Some(&9), "the newest one: {first:?}");
                    net.round();
                    let stats = net.nodes[CLIENT].io.conn_stats(conn).unwrap().quic.unwrap();
                    assert_eq!(stats.datagrams_dropped_tx as usize, 10 - first.len());
                }
                _ => {
                    assert_eq!(first[0], 0, "the oldest one: {first:?}");
                    assert_eq!(refused, 10 - first.len());
                    let full = results.into_iter().find_map(Result::err);
                    assert!(matches!(full, Some(IoError::QueueFull { .. })), "{full:?}");
                }
            }
            net.all_home();
        }
    }
}

/// A peer is not to wait for the end of a tick in which very many datagrams are answered; few wait
/// for each other, since they share packets.
#[test]
fn answers_beyond_some_packets_leave_before_the_next_poll() {
    const MANY: usize = 1000;
    const FEW: usize = 100;
    let wide = |transport: &mut QuicTransport| transport.initial_window = Some(1 << 20);
    for backend in BOTH {
        let mut net = Net::new(backend);
        net.pair(|l| wide(&mut l.transport), |c| wide(&mut c.transport));
        let conn = net.nodes[CLIENT].open[0];
        net.nodes[SERVER].echoes = true;
        for (count, leave) in [(FEW, false), (MANY, true)] {
            net.run_for(Duration::from_millis(20));
            net.nodes.iter_mut().for_each(|node| node.seen.clear());
            for _ in 0..count {
                net.nodes[CLIENT].io.send_datagram(conn, &pattern(64)).unwrap();
            }
            net.round_of(CLIENT);
            on_the_way(&net);
            net.round_of(SERVER);
            assert_eq!(net.nodes[SERVER].datagrams().len(), count, "{backend:?}: in one tick");
            on_the_way(&net);
            for _ in 0..4 {
                net.round_of(CLIENT);
            }
            let early = net.nodes[CLIENT].datagrams().len();
            assert_eq!(early > 0, leave, "{backend:?}: {early} of {count}");
            net.until("the others", |net| net.nodes[CLIENT].datagrams().len() == count);
        }
        net.all_home();
    }
}

/// Lets what was sent arrive, without anybody looking.
fn on_the_way(net: &Net) {
    if let Some(world) = &net.world {
        world.advance_by(Duration::from_millis(5));
    }
}
