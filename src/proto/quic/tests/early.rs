//! Early data on networks that lose, repeat and reorder.

use std::time::Duration;

use bytes::Bytes;

use super::pair::{Faults, Pair, connect_config, heard, listen_config, server_tls};
use crate::code;
use crate::config::{QuicConnectConfig, QuicListenConfig};
use crate::error::IoError;
use crate::ids::{StreamDir, StreamId};
use crate::pool::quic::cells::Cells;
use crate::proto::quic::signal::Signal;
use crate::rng::Rng;

const CELLS: usize = 64;
/// Until everything that is over is drained.
const LONG: Duration = Duration::from_secs(60);

fn listen() -> QuicListenConfig {
    listen_config().with(|c| c.early_data = true)
}

fn connect() -> QuicConnectConfig {
    connect_config().with(|c| c.early_data = true)
}

/// A pair whose client has tickets of the server, and no connection.
fn acquainted(listen: QuicListenConfig) -> Pair {
    let mut pair = Pair::connected(listen, connect());
    pair.run(Duration::from_millis(50));
    pair.client.session(0).close(pair.now, 0, b"").unwrap();
    pair.run(LONG);
    assert!(pair.client.sessions[0].is_none() && pair.server.sessions[0].is_none());
    pair.server.told.clear();
    pair
}

/// Opens streams before the handshake is done, and writes so many bytes to each.
fn send_early(pair: &mut Pair, index: usize, lens: &[usize]) -> Vec<StreamId> {
    let mut cells = Cells::new(CELLS);
    let session = pair.client.session(index);
    let send = |len: &usize| {
        let id = session.open_early().unwrap();
        assert_eq!(session.write_copy(id, &vec![7; *len], &mut cells), Ok(*len));
        session.finish(id).unwrap();
        id
    };
    lens.iter().map(send).collect()
}

fn is_connected(pair: &Pair, index: usize) -> bool {
    let client = pair.client.told.iter().any(|told| *told == (index, Signal::Connected));
    client && !pair.client.sessions[index].as_ref().unwrap().is_handshaking()
}

fn schedule(seed: u64) {
    let mut rng = Rng::from_seed(seed);
    let mut pair = acquainted(listen());
    let is_known = rng.chance(2, 3);
    if !is_known {
        let (tls, mut other) = (server_tls(), listen());
        other.tls = tls;
        pair.replace_server(&other);
    }
    pair.rng = Rng::from_seed(seed ^ 0xabcd);
    pair.faults = Faults {
        loss: rng.below(20),
        duplicate: rng.below(20),
        reorder: rng.below(60),
        ..Faults::default()
    };
    let index = pair.connect();
    let lens: Vec<_> = (0..=rng.below(3)).map(|_| rng.below(700) as usize).collect();
    let ids = send_early(&mut pair, index, &lens);
    pair.until("connected or lost", |pair| {
        let is_lost = pair.client.told.iter().any(|told| matches!(told.1, Signal::Lost { .. }));
        is_lost || is_connected(pair, index)
    });
    assert!(is_connected(&pair, index), "{seed}: {is_known} {lens:?} {:?}", pair.client.told);
    pair.run(Duration::from_secs(30));
    let told = pair.client.take(index);
    assert_eq!(told[..2], [Signal::EarlyData(is_known), Signal::Connected], "{seed}");
    let told = pair.server.take(usize::from(is_known));
    assert_eq!(told.first(), Some(&Signal::Connected), "{seed}: {told:?}");
    let secured = told.iter().filter(|signal| **signal == Signal::Secured).count();
    assert!(secured <= 1 && (is_known || secured == 0), "{seed}");
    for (id, len) in ids.iter().zip(&lens) {
        let expected = if is_known { (vec![7; *len], true) } else { (Vec::new(), false) };
        assert!(heard(&told, *id) == expected, "{seed}: {id:?}");
    }
    assert!(told.iter().all(|signal| !matches!(signal, Signal::Lost { .. })), "{seed}");
    let session = pair.client.session(index);
    let next = session.open(StreamDir::Bidi).unwrap();
    assert_eq!(next.index(), if is_known { lens.len() as u64 } else { 0 });
}

#[test]
fn early_data_arrives_once_or_not_at_all() {
    (0..150).for_each(schedule);
}

/// The machine would not send a lost ClientHello again while early data fills the window.
#[test]
fn early_data_leaves_room_for_the_handshake() {
    let mut pair = acquainted(listen());
    let index = pair.connect();
    let mut cells = Cells::new(CELLS);
    let session = pair.client.session(index);
    let id = session.open_early().unwrap();
    let text = [&[1; 1000][..], &[2; 9000]].concat();
    let taken = session.write_copy(id, &text, &mut cells);
    assert_eq!(taken, Ok(3000), "a quarter of the window");
    assert_eq!(session.write_copy(id, &text[3000..], &mut cells), Ok(0));
    let other = session.open_early().unwrap();
    let taken = session.write_copy(other, &text, &mut cells);
    assert_eq!(taken, Ok(0), "of all streams together");
    pair.run(Duration::from_secs(1));
    let told = pair.client.take(index);
    assert_eq!(told[..2], [Signal::EarlyData(true), Signal::Connected]);
    assert!(told.contains(&Signal::Writable(id)) && told.contains(&Signal::Writable(other)));
    let session = pair.client.session(index);
    assert_eq!(session.write_copy(id, &text[3000..], &mut cells), Ok(7000));
    session.finish(id).unwrap();
    pair.run(Duration::from_secs(1));
    assert!(heard(&pair.server.take(1), id) == (text, true));
}

#[test]
fn what_never_gets_an_answer_is_lost_without_a_word() {
    let mut pair = acquainted(listen());
    pair.faults.loss = 100;
    let index = pair.connect();
    send_early(&mut pair, index, &[10]);
    pair.run(LONG);
    let told = pair.client.take(index);
    assert!(matches!(told[..], [Signal::Lost { .. }]), "{told:?}");
}

#[test]
fn a_group_that_the_server_had_to_ask_for_is_remembered() {
    let tls = {
        let (cert, key) = super::pair::identity_pem();
        let tls = crate::config::TlsServerConfig::from_pem_bytes(cert, key).alpn(["test"]);
        tls.key_exchange(["secp384r1"]).build().unwrap()
    };
    let mut pair = acquainted(listen().with(|c| c.tls = tls));
    let index = pair.connect();
    send_early(&mut pair, index, &[10]);
    pair.run(Duration::from_secs(1));
    // After a HelloRetryRequest there would be none: RFC 8446 §4.2.10.
    assert_eq!(pair.client.take(index)[..2], [Signal::EarlyData(true), Signal::Connected]);
}

#[test]
fn what_is_ended_before_it_is_rejected_stays_ended() {
    let mut pair = acquainted(listen());
    let (tls, mut other) = (server_tls(), listen());
    other.tls = tls;
    pair.replace_server(&other);
    let index = pair.connect();
    let session = pair.client.session(index);
    let ids: Vec<_> = (0..4).map(|_| session.open_early().unwrap()).collect();
    session.write(ids[0], &mut [Bytes::from_static(b"x")]).unwrap();
    session.reset(ids[0], 1).unwrap();
    session.stop(ids[0], 1).unwrap();
    session.stop(ids[1], 1).unwrap();
    session.reset(ids[2], 1).unwrap();
    session.set_priority(ids[3], 1).unwrap();
    session.finish(ids[3]).unwrap();
    pair.run(Duration::from_secs(1));
    let told = pair.client.take(index);
    assert_eq!(told, [Signal::EarlyData(false), Signal::Connected]);
    let session = pair.client.session(index);
    for id in ids {
        assert!(matches!(session.finish(id), Err(IoError::NoSuchStream { .. })));
    }
}

#[test]
fn room_for_early_data_is_no_news_of_a_connection_that_is_lost() {
    let transport = |c: &mut QuicConnectConfig| {
        (c.transport.initial_window, c.transport.send_window) = (Some(100_000), 16 << 10);
    };
    let mut pair = Pair::connected(listen(), connect().with(transport));
    pair.run(Duration::from_millis(50));
    pair.client.session(0).close(pair.now, 0, b"").unwrap();
    pair.run(LONG);
    pair.faults.loss = 100;
    let index = pair.connect();
    let mut cells = Cells::new(CELLS);
    let session = pair.client.session(index);
    let [first, second] = [(); 2].map(|()| session.open_early().unwrap());
    assert_eq!(session.write_copy(first, &[7; 24_000], &mut cells), Ok(16 << 10));
    assert_eq!(session.write_copy(second, &[7; 5000], &mut cells), Ok(0), "it waits");
    pair.run(Duration::from_millis(10));
    pair.client.session(index).reset(first, 1).unwrap();
    pair.run(LONG);
    let told = pair.client.take(index);
    assert!(matches!(told[..], [Signal::Lost { .. }]), "{told:?}");
}

/// A client that sent early, to a server that refuses that and lets less be sent than was known.
fn refused_with_less(initial_window: u32) -> Pair {
    let window = |c: &mut QuicConnectConfig| c.transport.initial_window = Some(initial_window);
    let mut pair = Pair::connected(listen(), connect().with(window));
    pair.run(Duration::from_millis(50));
    pair.client.session(0).close(pair.now, 0, b"").unwrap();
    pair.run(LONG);
    let small = |c: &mut QuicListenConfig| {
        c.tls = server_tls();
        (c.transport.stream_window, c.transport.conn_window) = (4096, 4096);
    };
    pair.replace_server(&listen().with(small));
    let index = pair.connect();
    assert_eq!(index, 1);
    send_early(&mut pair, index, &[1000]);
    pair.run(Duration::from_secs(1));
    pair
}

#[test]
fn after_a_refusal_the_servers_new_limits_hold() {
    let mut pair = refused_with_less(12_000);
    let told = pair.client.take(1);
    assert_eq!(told[..2], [Signal::EarlyData(false), Signal::Connected]);
    let session = pair.client.session(1);
    let ids = [(); 8].map(|()| session.open(StreamDir::Bidi).unwrap());
    let mut cells = Cells::new(CELLS);
    let taken = ids.map(|id| session.write_copy(id, &[7; 4000], &mut cells).unwrap());
    assert!(taken.iter().sum::<usize>() >= 4096);
    ids.into_iter().for_each(|id| session.finish(id).unwrap());
    pair.run(Duration::from_secs(1));
    let told = pair.client.take(1);
    assert!(told.iter().all(|signal| !matches!(signal, Signal::Lost { .. })), "{told:?}");
    let told = pair.server.take(0);
    for (id, len) in ids.into_iter().zip(taken) {
        assert!(heard(&told, id) == (vec![7; len], true), "{id:?}");
    }
}

#[test]
fn limits_below_what_was_allowed_early_end_the_connection() {
    let mut pair = refused_with_less(100_000);
    let told = pair.client.take(1);
    let [Signal::Lost { code, reason, clean: false }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*code, code::QUIC_OWN_TRANSPORT | 1);
    assert!(reason.starts_with(b"early data was refused"), "{reason:?}");
    let told = pair.server.take(0);
    let [Signal::Lost { code, .. }] = &told[..] else { panic!("{told:?}") };
    assert_eq!(*code, code::QUIC_PEER_TRANSPORT | 1);
}

#[test]
fn what_came_early_of_a_connection_that_is_over_is_not_told() {
    let mut pair = acquainted(listen());
    let index = pair.connect();
    send_early(&mut pair, index, &[10]);
    pair.round();
    // It goes out behind what was sent early, and arrives with it.
    pair.client.session(index).close(pair.now, 3, b"never mind").unwrap();
    pair.run(LONG);
    let told: Vec<_> = pair.server.told.drain(..).map(|(_, signal)| signal).collect();
    assert!(matches!(told[..], [Signal::Lost { .. }]), "{told:?}");
}

#[test]
fn a_client_that_closes_early_says_so() {
    let mut pair = acquainted(listen());
    let index = pair.connect();
    send_early(&mut pair, index, &[10]);
    pair.client.session(index).close(pair.now, 3, b"never mind").unwrap();
    pair.run(LONG);
    assert!(pair.client.take(index).is_empty());
    assert!(pair.client.sessions[index].is_none());
    assert_eq!(pair.server.endpoint.open_connections(), 0);
}
