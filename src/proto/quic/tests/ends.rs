//! How connections end, on both sides, in every state.

use std::time::Duration;

use bytes::Bytes;

use super::pair::{Pair, connect_config, heard, listen_config, next_of};
use crate::code;
use crate::error::IoError;
use crate::ids::{ConnId, StreamDir};
use crate::proto::quic::endpoint::Route;
use crate::proto::quic::signal::Signal;

const SHORT: Duration = Duration::from_millis(100);
/// Longer than three PTOs, after which a closed connection is forgotten.
const DRAINED: Duration = Duration::from_secs(5);

fn lost(code: u64, reason: &'static [u8], clean: bool) -> Signal<Bytes> {
    Signal::Lost { code, reason: Bytes::from_static(reason), clean }
}

#[test]
fn the_peer_learns_code_and_reason() {
    for (code, clean) in [(0, true), (9, false), ((1 << 62) - 1, false)] {
        let mut pair = Pair::connected(listen_config(), connect_config());
        let now = pair.now;
        pair.client.session(0).close(now, code, b"bye").unwrap();
        pair.run(SHORT);
        assert_eq!(pair.server.take(0), [lost(code::QUIC_APP | code, b"bye", clean)]);
        assert_eq!(pair.client.take(0), [], "who closes is told nothing");
        pair.run(DRAINED);
        assert_eq!((pair.client.drained, pair.server.drained), (1, 1));
        assert_eq!(pair.client.endpoint.open_connections(), 0);
        assert_eq!(pair.server.endpoint.open_connections(), 0);
        // The handle is used again.
        let index = pair.connect();
        pair.run(SHORT);
        assert_eq!(pair.client.take(index), [Signal::Connected]);
        assert_eq!(pair.client.session(index).handle(), pair.server.session(1).handle());
    }
}

#[test]
fn a_code_beyond_62_bits_is_refused_and_a_long_reason_cut() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    let now = pair.now;
    let client = pair.client.session(0);
    assert!(matches!(client.close(now, 1 << 62, b""), Err(IoError::InvalidArgument { .. })));
    client.close(now, 1, &[b'x'; 5000]).unwrap();
    pair.run(SHORT);
    assert_eq!(pair.server.take(0), [lost(code::QUIC_APP | 1, &[b'x'; 256], false)]);
}

#[test]
fn data_before_close_is_delivered() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    pair.server.is_deaf = true;
    let id = pair.say(StreamDir::Uni, &[5; 5000]);
    pair.client.session(0).finish(id).unwrap();
    pair.client.session(0).send_datagram(Bytes::from_static(b"last words")).unwrap();
    pair.run(SHORT);
    let now = pair.now;
    pair.client.session(0).close(now, 4, b"").unwrap();
    pair.run(SHORT);
    pair.server.is_deaf = false;
    pair.run(SHORT);
    let told = pair.server.take(0);
    assert_eq!(heard(&told, id), (vec![5; 5000], true));
    assert!(told.contains(&Signal::Datagram(Bytes::from_static(b"last words"))));
    assert_eq!(told.last(), Some(&lost(code::QUIC_APP | 4, b"", false)));
}

#[test]
fn lost_while_paused() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    pair.server.session(0).pause();
    pair.say(StreamDir::Uni, b"unread");
    pair.run(SHORT);
    let now = pair.now;
    pair.client.session(0).close(now, 0, b"").unwrap();
    pair.run(SHORT);
    assert_eq!(pair.server.take(0), [lost(code::QUIC_APP, b"", true)]);
}

#[test]
fn closed_means_closed() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    let id = pair.say(StreamDir::Bidi, b"x");
    pair.run(SHORT);
    pair.server.take(0);
    let now = pair.now;
    pair.client.session(0).close(now, 0, b"").unwrap();
    let closed = IoError::WriteClosed { conn: ConnId::new(0, 1) };
    for node in [&mut pair.client, &mut pair.server] {
        let session = node.session(0);
        // A second close changes nothing.
        session.close(now, 5, b"again").unwrap();
        assert_eq!(session.write(id, &mut [Bytes::from_static(b"x")]), Err(closed));
        assert_eq!(session.open(StreamDir::Bidi), Err(closed));
        assert_eq!(session.finish(id), Err(closed));
        assert_eq!(session.reset(id, 0), Err(closed));
        assert_eq!(session.stop(id, 0), Err(closed));
        assert_eq!(session.send_datagram(Bytes::new()), Err(closed));
        assert_eq!(session.datagram_max(), Err(closed));
        assert_eq!(next_of(session), None);
        session.finish_all();
    }
    pair.run(DRAINED);
    assert_eq!((pair.client.take(0), pair.server.take(0)), (vec![], vec![]));
    assert_eq!((pair.client.drained, pair.server.drained), (1, 1));
}

#[test]
fn close_in_the_handshake() {
    for rounds in 0..4 {
        let mut pair = Pair::new();
        pair.connect();
        pair.run(Duration::from_millis(5 * rounds));
        let now = pair.now;
        pair.client.session(0).close(now, 3, b"never mind").unwrap();
        pair.run(Duration::from_secs(40));
        assert_eq!(pair.client.endpoint.open_connections(), 0, "{rounds}");
        assert_eq!(pair.server.endpoint.open_connections(), 0, "{rounds}");
        let told = pair.server.take(0);
        assert!(told.len() <= 2, "{told:?}");
    }
}

#[test]
fn a_client_whose_first_packet_is_its_last_is_forgotten() {
    let mut pair = Pair::new();
    pair.connect();
    let now = pair.now;
    pair.client.session(0).close(now, 3, b"never mind").unwrap();
    pair.run(SHORT);
    // Nobody is there to whom anything would be said: not when the idle timeout has passed.
    assert_eq!(pair.server.take(0).len(), 1, "its end is told");
    assert_eq!(pair.server.endpoint.open_connections(), 0);
    pair.run(Duration::from_secs(10));
    assert_eq!(pair.client.endpoint.open_connections(), 0);
}

#[test]
fn the_server_closes_in_the_handshake() {
    let mut pair = Pair::new();
    pair.connect();
    pair.run(Duration::from_millis(5));
    let now = pair.now;
    pair.server.session(0).close(now, 3, b"hidden").unwrap();
    pair.run(SHORT);
    // RFC 9000 §10.2.3: an application's close is replaced in packets that are not protected.
    let told = pair.client.take(0);
    let Some(Signal::Lost { code, clean: false, .. }) = told.last() else { panic!("{told:?}") };
    assert!([code::QUIC_PEER_TRANSPORT | 0xC, code::QUIC_APP | 3].contains(code), "{code:#x}");
}

#[test]
fn close_lost_once() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    pair.faults.loss = 100;
    let now = pair.now;
    pair.client.session(0).close(now, 1, b"").unwrap();
    pair.round();
    pair.faults.loss = 0;
    // The server goes on, and is told again.
    let server = pair.server.session(0);
    let id = server.open(StreamDir::Uni).unwrap();
    server.write(id, &mut [Bytes::from_static(b"anybody there?")]).unwrap();
    pair.run(SHORT);
    assert_eq!(pair.server.take(0), [lost(code::QUIC_APP | 1, b"", false)]);
}

#[test]
fn silence_ends_a_connection_and_keep_alive_does_not() {
    let idle = |c: &mut crate::config::QuicTransport| c.idle_timeout = Some(SHORT * 10);
    let listen = listen_config().with(|c| idle(&mut c.transport));
    let mut pair = Pair::connected(listen.clone(), connect_config());
    pair.run(Duration::from_secs(2));
    let timed_out = lost(code::IDLE_TIMEOUT, b"", false);
    assert_eq!(pair.client.take(0), std::slice::from_ref(&timed_out));
    assert_eq!(pair.server.take(0), [timed_out]);

    let connect = connect_config().with(|c| c.transport.keep_alive = Some(SHORT * 3));
    let mut pair = Pair::connected(listen, connect);
    pair.run(Duration::from_secs(20));
    assert_eq!((pair.client.take(0), pair.server.take(0)), (vec![], vec![]));
    assert_eq!((pair.client.drained, pair.server.drained), (0, 0));
}

#[test]
fn a_peer_that_is_gone_is_told_by_a_reset() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    // The server starts anew, with the same keys and nothing else.
    let fresh = Pair::new();
    pair.server = fresh.server;
    pair.say(StreamDir::Uni, &[1; 500]);
    pair.run(SHORT);
    assert_eq!(pair.client.take(0), [lost(code::QUIC_STATELESS_RESET, b"", false)]);
    assert!(pair.server.told.is_empty());
}

#[test]
fn forgetting_frees_the_handle_before_it_is_drained() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    pair.server.sessions[0].take().unwrap().forget(&mut pair.server.endpoint);
    assert_eq!(pair.server.endpoint.open_connections(), 0);
    pair.say(StreamDir::Uni, &[1; 500]);
    pair.run(SHORT);
    assert_eq!(pair.client.take(0), [lost(code::QUIC_STATELESS_RESET, b"", false)]);
}

#[test]
fn a_handle_is_its_next_owners_alone() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    pair.server.is_deaf = true;
    let now = pair.now;
    pair.client.session(0).close(now, 0, b"").unwrap();
    pair.run(DRAINED);
    // The server's side is drained, and has something to tell still; its handle is taken again.
    assert_eq!(pair.server.endpoint.open_connections(), 0);
    pair.connect();
    pair.run(SHORT);
    let mut old = pair.server.sessions[0].take().unwrap();
    assert!(old.is_drained() && old.handle() == pair.server.session(1).handle());
    old.reroute(&mut pair.server.endpoint, Route::Drain(7));
    assert_eq!(next_of(&mut old), Some(lost(code::QUIC_APP, b"", true)));
    old.forget(&mut pair.server.endpoint);
    pair.server.is_deaf = false;
    assert_eq!(pair.server.endpoint.open_connections(), 1);
    let client = pair.client.session(1);
    let id = client.open(StreamDir::Uni).unwrap();
    client.write(id, &mut [Bytes::from_static(b"here")]).unwrap();
    pair.run(SHORT);
    assert_eq!(heard(&pair.server.take(1), id).0, b"here");
}

#[test]
fn of_what_both_know_to_be_over_a_place_is_left() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    pair.say(StreamDir::Uni, &[1; 500]);
    pair.round();
    let late = pair.net.first().expect("it is on its way").clone();
    pair.run(SHORT);
    let now = pair.now;
    pair.client.session(0).close(now, 0, b"").unwrap();
    assert!(!pair.client.session(0).is_spent() && !pair.server.session(0).is_spent());
    pair.run(Duration::from_millis(15));
    assert!(pair.client.session(0).is_spent() && pair.server.session(0).is_spent());

    let mut session = pair.server.sessions[0].take().unwrap();
    assert!(!session.is_drained());
    let husk = session.husk();
    session.reroute(&mut pair.server.endpoint, Route::Drain(0));
    drop(session);
    assert_eq!(pair.server.on_datagram(now, &late), None, "silence, as of one that drains");
    husk.forget(&mut pair.server.endpoint);
    assert_eq!(pair.server.endpoint.open_connections(), 0);
    assert!(pair.server.on_datagram(now, &late).is_some(), "a stateless reset");
}

#[test]
fn who_closes_answers_until_the_peer_knows() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    let now = pair.now;
    pair.client.session(0).close(now, 0, b"").unwrap();
    pair.faults.loss = 100;
    pair.run(Duration::from_millis(15));
    pair.faults.loss = 0;
    assert!(!pair.client.session(0).is_spent());
    let server = pair.server.session(0);
    let id = server.open(StreamDir::Uni).unwrap();
    server.write(id, &mut [Bytes::from_static(b"are you there?")]).unwrap();
    pair.run(Duration::from_millis(25));
    assert_eq!(pair.server.take(0), [lost(code::QUIC_APP, b"", true)]);
    assert!(pair.client.session(0).is_spent() && pair.server.session(0).is_spent());
}
