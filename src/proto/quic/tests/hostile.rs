//! Peers, and strangers, that mean no good: no panic, no growth, no answer longer than what it
//! answers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::super::reader::RESETS_MAX;
use super::pair::{Door, Pair, addr, connect_config, heard, listen_config, next_of};
use crate::config::{Roots, TlsClientConfig};
use crate::ids::{ConnId, StreamDir};
use crate::proto::quic::endpoint::{Arrival, Endpoint, Incoming};
use crate::proto::quic::signal::Signal;
use crate::rng::Rng;

const SHORT: Duration = Duration::from_millis(100);

/// Gives an endpoint a datagram of a stranger's; the bytes that it answers.
fn answered(endpoint: &mut Endpoint, pair_now: crate::time::Time, data: &[u8]) -> usize {
    let from = addr(66, 666);
    match endpoint.on_datagram(pair_now, from, None, 0, BytesMut::from(data)) {
        Arrival::Reply(out) => {
            assert_eq!((out.to, out.len), (from, endpoint.reply().len()));
            out.len
        }
        Arrival::New(incoming) => {
            endpoint.ignore(incoming);
            0
        }
        Arrival::Nothing | Arrival::For(..) => 0,
    }
}

/// A Retry packet (RFC 9000 §17.2.5), or a Version Negotiation packet (§17.2.1), that names both
/// sides as somebody on the path sees them.
fn unprotected(dcid: &[u8], scid: &[u8], is_retry: bool) -> Vec<u8> {
    let (first, version) = if is_retry { (0xF0, 1) } else { (0xC0, 0) };
    let mut packet = vec![first, 0, 0, 0, version];
    for id in [dcid, scid] {
        packet.push(id.len() as u8);
        packet.extend_from_slice(id);
    }
    packet.extend_from_slice(&[0x0a; 40]);
    packet
}

/// Both connection ids of a packet with a long header.
fn ids_of(packet: &[u8]) -> [Vec<u8>; 2] {
    let len = usize::from(packet[5]);
    let (dcid, rest) = packet[6..].split_at(len);
    [dcid.to_vec(), rest[1..=usize::from(rest[0])].to_vec()]
}

/// Nothing shows who sent those, so whatever they say is no reason to end a connection, alone or
/// behind a packet that is true.
#[test]
fn packets_that_are_not_protected_end_no_handshake() {
    for (to_server, is_retry, is_behind) in [
        (true, true, false),
        (true, true, true),
        (true, false, false),
        (true, false, true),
        (false, true, false),
        (false, true, true),
        (false, false, false),
        (false, false, true),
    ] {
        let mut pair = Pair::new();
        pair.connect();
        // Everything that is sent to that side, until it has its keys, comes with one of them.
        for _ in 0..40 {
            let (client, server) = (pair.client.addr, pair.server.addr);
            let to = if to_server { server } else { client };
            let mut forged = Vec::new();
            for datagram in pair.net.iter_mut().filter(|d| d.to == to && d.data[0] & 0x80 != 0) {
                if datagram.data.ends_with(&[0x0a; 40]) {
                    continue;
                }
                let [dcid, scid] = ids_of(&datagram.data);
                let bad = unprotected(&dcid, &scid, is_retry);
                if is_behind {
                    datagram.data.extend_from_slice(&bad);
                } else {
                    let mut first = datagram.clone();
                    first.data = bad;
                    forged.push(first);
                }
            }
            pair.net.splice(0..0, forged);
            pair.run(Duration::from_millis(1));
        }
        let case = (to_server, is_retry, is_behind);
        for node in [&mut pair.client, &mut pair.server] {
            assert_eq!(node.take(0).first(), Some(&Signal::Connected), "{case:?}");
        }
    }
}

/// A client takes no Retry after one that it discards, nor after a Version Negotiation packet, so
/// neither may come to its machine before the true one does.
#[test]
fn a_client_asked_to_retry_is_not_put_off_by_what_was_spoiled() {
    for spoils in [
        |retry: &mut Vec<u8>| *retry.last_mut().unwrap() ^= 1,
        |retry: &mut Vec<u8>| retry[30] ^= 0x10,
        |retry: &mut Vec<u8>| {
            let [dcid, scid] = ids_of(retry);
            *retry = unprotected(&dcid, &scid, false);
            retry.truncate(7 + dcid.len() + scid.len());
            retry.extend_from_slice(&[0x0a, 0x0a, 0x0a, 0x0a, 0, 0, 0, 1]);
        },
    ] {
        let mut pair = Pair::new();
        pair.server.door = Door::Retry;
        pair.connect();
        pair.until("a Retry", |pair| pair.net.iter().any(|d| d.data[0] & 0xF0 == 0xF0));
        let at = pair.net.iter().position(|d| d.data[0] & 0xF0 == 0xF0).unwrap();
        let mut spoiled = pair.net[at].clone();
        spoils(&mut spoiled.data);
        pair.net.insert(at, spoiled);
        pair.run(SHORT);
        assert_eq!(pair.client.take(0).first(), Some(&Signal::Connected));
    }
}

#[test]
fn garbage_is_ignored() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    let mut rng = Rng::from_seed(1);
    for round in 0..20_000_u64 {
        let len = [0, 1, 4, 20, 40, 1200, 1500, 65_000][rng.below(8) as usize];
        let mut data: Vec<u8> = (0..len).map(|_| rng.u64() as u8).collect();
        // Most begin as a packet does: short, long of version 1, of another one, of none.
        if let Some(first) = data.first_mut() {
            *first |= [0x40, 0xC0, 0x80, 0][rng.below(4) as usize];
        }
        if rng.chance(1, 2)
            && let Some(version) = data.get_mut(1..5)
        {
            version.copy_from_slice(&[0, 0, 0, rng.below(2) as u8]);
        }
        let now = pair.now.saturating_add(Duration::from_millis(round));
        for node in [&mut pair.client, &mut pair.server] {
            let answer = answered(&mut node.endpoint, now, &data);
            assert!(answer == 0 || answer < data.len(), "{answer} for {}", data.len());
        }
    }
    let id = pair.say(StreamDir::Uni, b"unmoved");
    pair.run(SHORT);
    assert_eq!(heard(&pair.server.take(0), id).0, b"unmoved");
}

#[test]
fn packets_that_are_damaged_or_cut_are_lost() {
    let mut pair = Pair::new();
    let mut rng = Rng::from_seed(2);
    pair.connect();
    let id = std::cell::Cell::new(None);
    for round in 0..3000 {
        let next = pair.round();
        for datagram in &mut pair.net {
            let at = rng.below(datagram.data.len() as u64) as usize;
            match rng.below(12) {
                0 => datagram.data[at] ^= 1 << rng.below(8),
                1 => datagram.data.truncate(at),
                2 => datagram.data.extend_from_slice(&[0; 7]),
                _ => {}
            }
        }
        if id.get().is_none() && !pair.client.session(0).is_handshaking() {
            id.set(Some(pair.say(StreamDir::Uni, &[3; 30_000])));
        }
        pair.now = pair.now.max(next.min(pair.now.saturating_add(SHORT)));
        let told = &pair.server.told;
        let len: usize = told.iter().map(|t| frame_len(&t.1)).sum();
        if len == 30_000 {
            return;
        }
        assert!(round < 2999, "{len} bytes arrived");
    }
}

fn frame_len(signal: &Signal<Bytes>) -> usize {
    match signal {
        Signal::Frame { data, .. } => data.len(),
        _ => 0,
    }
}

#[test]
fn empty_frames_cost_nothing() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    let ids: Vec<_> = (0..10).map(|_| pair.say(StreamDir::Bidi, b"x")).collect();
    pair.run(SHORT);
    pair.server.take(0);
    pair.server.is_deaf = true;
    for _ in 0..100 {
        for id in &ids {
            // The machine sends an empty frame for each empty write.
            let machine = pair.client.session(0).machine();
            let mut stream = machine.send_stream(super::super::streams::wire_id(*id));
            (0..1000).for_each(|_| assert_eq!(stream.write(&[]), Ok(0)));
        }
        pair.run(Duration::from_millis(20));
        assert!(pair.server.session(0).backlog() <= ids.len());
    }
    pair.run(SHORT);
    let frames = pair.server.session(0).machine().stats().frame_rx.stream;
    assert!(frames > 500_000, "{frames} frames");
    pair.server.is_deaf = false;
    pair.run(SHORT);
    assert_eq!(pair.server.take(0), [], "of empty frames nothing is told");
}

#[test]
fn stops_and_resets_without_end_are_bounded() {
    let listen = listen_config().with(|c| c.transport.max_bidi_streams = 10);
    let mut pair = Pair::connected(listen, connect_config());
    pair.server.is_deaf = true;
    let mut opened = 0;
    for _ in 0..200 {
        let client = pair.client.session(0);
        while let Ok(id) = client.open(StreamDir::Bidi) {
            opened += 1;
            client.stop(id, 1).unwrap();
            client.reset(id, 2).unwrap();
        }
        pair.run(Duration::from_millis(20));
    }
    // The receiving halves were not asked for: beyond the resets that are kept no further stream is
    // allowed.
    assert!(opened <= 10 + RESETS_MAX, "{opened}");
    let backlog = pair.server.session(0).backlog();
    // Of each: the stop, the end of what we sent, the reset.
    assert!(backlog <= 3 * (10 + RESETS_MAX), "{backlog}");
}

#[test]
fn resets_that_are_told_slowly_are_bounded() {
    const STREAMS: usize = 100;
    let listen = listen_config().with(|c| c.transport.max_uni_streams = STREAMS as u32);
    let mut pair = Pair::connected(listen, connect_config());
    pair.server.is_deaf = true;
    for _ in 0..50 {
        let mut ids = Vec::new();
        while let Ok(id) = pair.client.session(0).open(StreamDir::Uni) {
            pair.client.session(0).write_bytes(id, b"x".as_slice().into()).unwrap();
            ids.push(id);
        }
        // There is something to read, and then it was reset.
        pair.run(Duration::from_millis(20));
        ids.iter().for_each(|id| pair.client.session(0).reset(*id, 2).unwrap());
        pair.run(Duration::from_millis(20));
        let server = pair.server.session(0);
        assert!((0..RESETS_MAX / 2).all(|_| next_of(server).is_some()));
        assert!(server.backlog() <= STREAMS + RESETS_MAX, "{}", server.backlog());
    }
}

/// The first packets of so many clients, held.
fn flood(pair: &mut Pair, count: usize) -> Vec<Incoming> {
    let mut held = Vec::new();
    for _ in 0..count {
        let index = pair.connect();
        let session = pair.client.sessions[index].as_mut().unwrap();
        let mut buf = Vec::new();
        session.transmit(pair.now, 1, &mut buf).unwrap();
        let from = addr(3, 1000 + index as u16);
        let data = BytesMut::from(&buf[..]);
        if let Arrival::New(incoming) =
            pair.server.endpoint.on_datagram(pair.now, from, None, 0, data)
        {
            held.push(incoming);
        }
    }
    held
}

#[test]
fn flood_leaves_nothing() {
    let listen = listen_config().with(|c| c.incoming_max = 20);
    let mut pair = Pair::with(listen, connect_config());
    for ends in 0..4 {
        let held = flood(&mut pair, 50);
        assert_eq!(held.len(), 20, "those beyond are ignored");
        for incoming in held {
            assert!(!incoming.is_validated() && incoming.may_retry());
            let from = incoming.from();
            let endpoint = &mut pair.server.endpoint;
            match ends {
                0 => endpoint.ignore(incoming),
                1 => assert_eq!(endpoint.retry(incoming).unwrap().to, from),
                2 => {
                    let out = endpoint.refuse(incoming);
                    assert!(out.to == from && out.len < 1200 && out.len == endpoint.reply().len());
                }
                _ => {
                    let session = endpoint.accept(incoming, pair.now, ConnId::new(0, 1)).unwrap();
                    session.forget(endpoint);
                }
            }
        }
        assert_eq!(pair.server.endpoint.open_connections(), 0);
    }
}

#[test]
fn before_it_is_validated_a_client_gets_three_times_what_it_sent() {
    // Its hello fits one datagram.
    let tls = TlsClientConfig::with_roots(Roots::from_pem_bytes(super::pair::cert_pem()))
        .server_name(super::pair::NAME)
        .alpn(["test"])
        .key_exchange(["x25519"])
        .build()
        .unwrap();
    let mut pair = Pair::with(listen_config(), connect_config().with(|c| c.tls = tls));
    let mut held = flood(&mut pair, 1);
    let (index, id) = (0, ConnId::new(0, 1));
    let session = pair.server.endpoint.accept(held.remove(0), pair.now, id).unwrap();
    pair.server.sessions.push(Some(session));
    // The client is nobody: it never answers.
    let mut sent = 0;
    for _ in 0..100 {
        let Some(session) = &mut pair.server.sessions[index] else { break };
        session.on_timeout(pair.now);
        session.settle(&mut pair.server.endpoint);
        let mut buf = Vec::new();
        while let Some(out) = session.transmit(pair.now, 10, &mut buf) {
            sent += out.len;
        }
        pair.now = session.deadline().min(pair.now.saturating_add(SHORT * 10));
    }
    // RFC 9000 §8.1: "MUST limit the amount of data it sends [...] to three times". The machine
    // sends a whole datagram where a byte of that is left, so less than one beyond.
    assert!((1200..3600 + 1200).contains(&sent), "{sent} bytes for 1200");
}

#[test]
fn reset_never_loops() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    pair.say(StreamDir::Uni, &[1; 600]);
    pair.round();
    let asks = pair.net.pop().unwrap().data;
    // Two that have the keys and none of the connections.
    let (mut one, mut other) = (Pair::new(), Pair::new());
    let (one, other) = (&mut one.server.endpoint, &mut other.server.endpoint);
    let reset_len = answered(one, pair.now, &asks);
    assert!(reset_len > 0 && reset_len < asks.len());
    let reset = one.reply().to_vec();
    assert_eq!(answered(other, pair.now, &reset), 0, "what looks like nobody's gets no answer");
    assert_eq!(answered(one, pair.now, &asks), 0, "not so soon again");
    let later = pair.now.saturating_add(Duration::from_millis(21));
    assert!(answered(one, later, &asks) > 0);
}

#[test]
fn another_version_is_answered_with_ours() {
    let mut pair = Pair::new();
    let mut packet = vec![0; 1200];
    packet[..7].copy_from_slice(&[0xC0, 0xFA, 0xCE, 0xB0, 0x0C, 8, 1]);
    let answer = answered(&mut pair.server.endpoint, pair.now, &packet);
    let reply = pair.server.endpoint.reply();
    // RFC 9000 §17.2.1: version 0, then the versions; one of them is none, so that nobody relies
    // on the list.
    assert_eq!((answer, &reply[1..5]), (reply.len(), [0, 0, 0, 0].as_slice()));
    assert_eq!(reply[reply.len() - 4..], [0, 0, 0, 1]);
    let short = answered(&mut pair.server.endpoint, pair.now, &packet[..1199]);
    assert_eq!(short, 0, "no amplification");
}

#[test]
fn a_peer_that_never_acknowledges_is_given_up() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    assert!(pair.server.door == Door::Accept);
    pair.say(StreamDir::Uni, &[1; 100_000]);
    let before = pair.client.datagrams;
    pair.faults.loss = 100;
    pair.run(Duration::from_secs(60));
    let told = pair.client.take(0);
    let [Signal::Lost { code, .. }] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(*code, crate::code::IDLE_TIMEOUT);
    assert!(pair.client.datagrams - before < 60, "a window, and probes that become rare");
}

#[test]
fn a_connection_at_rest_wants_nothing() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    pair.say(StreamDir::Uni, b"x");
    pair.run(Duration::from_secs(2));
    for node in [&mut pair.client, &mut pair.server] {
        let session = node.sessions[0].as_mut().unwrap();
        for _ in 0..3 {
            session.settle(&mut node.endpoint);
            assert!(!session.wants_send, "or the loop would never sleep");
        }
        let len = size_of_val::<crate::proto::quic::session::Session>(session);
        assert!(len < 8 << 10, "{len} bytes");
    }
}
