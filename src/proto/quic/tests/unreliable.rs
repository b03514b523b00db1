//! Datagrams: RFC 9221.

use std::time::Duration;

use bytes::Bytes;

use super::pair::{Pair, connect_config, listen_config, next_of};
use crate::config::{DatagramsFull, QuicDatagrams};
use crate::error::IoError;
use crate::ids::{ConnId, StreamDir};
use crate::proto::quic::signal::Signal;

const SHORT: Duration = Duration::from_millis(100);
const ID: ConnId = ConnId::new(0, 1);

/// The numbers in datagrams that were told.
fn numbers(told: Vec<Signal<Bytes>>) -> Vec<u32> {
    let number = |signal: Signal<Bytes>| match signal {
        Signal::Datagram(data) => u32::from_le_bytes(data[..4].try_into().unwrap()),
        other => panic!("{other:?}"),
    };
    told.into_iter().map(number).collect()
}

fn numbered(number: u32) -> Bytes {
    number.to_le_bytes().repeat(25).into()
}

#[test]
fn they_arrive_in_order_when_nothing_is_lost() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    pair.client.session(0).send_datagram(Bytes::new()).unwrap();
    pair.run(SHORT);
    assert_eq!(pair.server.take(0), [Signal::Datagram(Bytes::new())]);
    for number in 0..100 {
        pair.client.session(0).send_datagram(numbered(number)).unwrap();
    }
    pair.run(SHORT);
    assert_eq!(numbers(pair.server.take(0)), (0..100).collect::<Vec<_>>());
    let client = pair.client.session(0).stats().quic.unwrap();
    let server = pair.server.session(0).stats().quic.unwrap();
    assert_eq!((client.datagrams_sent, client.datagrams_dropped_tx), (101, 0));
    assert_eq!(server.datagrams_received, 101);
}

#[test]
fn the_longest_one_fits_and_one_byte_more_does_not() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    pair.run(Duration::from_secs(1));
    let client = pair.client.session(0);
    let max = client.datagram_max().unwrap();
    assert!(max > 1100 && max < client.mtu(), "{max}");
    let too_long = client.send_datagram(vec![1; max + 1].into());
    assert_eq!(too_long, Err(IoError::DatagramTooLarge { len: max + 1, max }));
    client.send_datagram(vec![1; max].into()).unwrap();
    pair.run(SHORT);
    assert_eq!(pair.server.take(0), [Signal::Datagram(vec![1; max].into())]);
}

#[test]
fn a_full_queue_drops_the_oldest_or_refuses() {
    let small = |when_full| {
        connect_config().with(|c| {
            c.transport.datagrams =
                Some(QuicDatagrams { send_bytes: 2048, when_full, ..QuicDatagrams::default() });
        })
    };
    let mut pair = Pair::connected(listen_config(), small(DatagramsFull::DropOldest));
    (0..50).for_each(|n| pair.client.session(0).send_datagram(numbered(n)).unwrap());
    pair.run(SHORT);
    let arrived = numbers(pair.server.take(0));
    assert_eq!(arrived, (50 - arrived.len() as u32..50).collect::<Vec<_>>());
    let stats = pair.client.session(0).stats().quic.unwrap();
    assert_eq!(stats.datagrams_sent, arrived.len() as u64);
    assert_eq!(stats.datagrams_dropped_tx, 50 - arrived.len() as u64);

    let mut pair = Pair::connected(listen_config(), small(DatagramsFull::Refuse));
    let taken = (0..50).take_while(|n| match pair.client.session(0).send_datagram(numbered(*n)) {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(error, IoError::QueueFull { queue: "QUIC datagram", capacity: 2048 });
            false
        }
    });
    let taken = taken.count();
    pair.run(SHORT);
    assert_eq!(numbers(pair.server.take(0)), (0..taken as u32).collect::<Vec<_>>());
    let stats = pair.client.session(0).stats().quic.unwrap();
    assert_eq!((stats.datagrams_sent, stats.datagrams_dropped_tx), (taken as u64, 0));
    pair.client.session(0).send_datagram(numbered(1)).unwrap();
}

#[test]
fn either_side_may_have_none() {
    let none = Err(IoError::DatagramsUnsupported { conn: ID });
    for ours in [true, false] {
        let (mut listen, mut connect) = (listen_config(), connect_config());
        match ours {
            true => connect.transport.datagrams = None,
            false => listen.transport.datagrams = None,
        }
        let mut pair = Pair::connected(listen, connect);
        for node in [&mut pair.client, &mut pair.server] {
            assert_eq!(node.session(0).datagram_max().map(drop), none);
            assert_eq!(node.session(0).send_datagram(Bytes::new()), none);
        }
    }
}

#[test]
fn streams_and_datagrams_take_turns() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    pair.server.is_deaf = true;
    pair.say(StreamDir::Uni, &[7; 20_000]);
    (0..20).for_each(|n| pair.client.session(0).send_datagram(numbered(n)).unwrap());
    pair.run(SHORT);
    let server = pair.server.session(0);
    let firsts: Vec<_> = std::iter::from_fn(|| next_of(server)).take(8).collect();
    let datagrams = firsts.iter().filter(|s| matches!(s, Signal::Datagram(_))).count();
    assert_eq!(datagrams, 4, "{firsts:?}");
}

#[test]
fn unread_ones_make_room_and_memory_is_bounded() {
    let datagrams = QuicDatagrams { recv_bytes: 66 << 10, ..QuicDatagrams::default() };
    let listen = listen_config().with(|c| c.transport.datagrams = Some(datagrams));
    let mut pair = Pair::connected(listen, connect_config());
    pair.server.session(0).pause();
    for round in 0..100 {
        (0..10).for_each(|n| {
            pair.client.session(0).send_datagram(numbered(round * 10 + n)).unwrap();
        });
        pair.run(SHORT);
    }
    pair.server.session(0).resume();
    pair.run(SHORT);
    let kept = numbers(pair.server.take(0));
    assert!(kept.len() <= 676 && kept.last() == Some(&999), "{kept:?}");
}
