//! Addresses that change, ECN, the MTU, timers.

use std::time::Duration;

use super::pair::{Pair, addr, connect_config, heard, listen_config, next_of};
use crate::ids::StreamDir;
use crate::proto::quic::signal::Signal;
use crate::stats::EcnState;

const SHORT: Duration = Duration::from_millis(100);

#[test]
fn a_client_behind_another_address_is_followed() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    let (old, new) = (pair.client.addr, addr(7, 7777));
    pair.nat = Some(new);
    let id = pair.say(StreamDir::Bidi, b"from elsewhere");
    pair.run(Duration::from_secs(1));
    let told = pair.server.take(0);
    assert_eq!(told.iter().filter(|s| matches!(s, Signal::Migrated { .. })).count(), 1);
    assert_eq!(told[0], Signal::Migrated { old, new });
    assert_eq!(heard(&told, id).0, b"from elsewhere");
    assert_eq!(pair.server.session(0).peer(), new);
    pair.server.session(0).write(id, &mut [bytes::Bytes::from_static(b"found")]).unwrap();
    pair.run(SHORT);
    assert_eq!(heard(&pair.client.take(0), id).0, b"found");
}

/// RFC 9000 §9.4: "because port-only changes are commonly the result of NAT rebinding or other
/// middlebox activity, the endpoint MAY instead retain its congestion control state and round-trip
/// estimate in those cases".
#[test]
fn another_port_is_the_same_path_and_another_address_is_not() {
    for (host, port, is_same) in [(1, 7777, true), (7, 7777, false)] {
        let mut pair = Pair::connected(listen_config(), connect_config());
        pair.run(Duration::from_secs(1));
        let before = pair.server.session(0).stats();
        assert!(before.rtt_us < 60_000, "{before:?}");
        pair.nat = Some(addr(host, port));
        pair.say(StreamDir::Uni, b"from elsewhere");
        pair.until("it to be heard", |pair| !pair.server.told.is_empty());
        let stats = pair.server.session(0).stats();
        assert_eq!((stats.rtt_us == before.rtt_us, stats.rtt_min_us > 0), (is_same, is_same));
        assert!(is_same || stats.rtt_us == 333_000, "{stats:?}");
    }
}

#[test]
fn rebind_and_failed_validation() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    let (old, new) = (pair.client.addr, addr(7, 7777));
    // One packet comes from elsewhere: somebody has copied it, or forged the sender.
    pair.say(StreamDir::Uni, b"x");
    pair.round();
    pair.net.iter_mut().for_each(|datagram| datagram.from = new);
    pair.run(Duration::from_secs(10));
    let moves: Vec<_> = pair.server.take(0);
    let moves: Vec<_> = moves.iter().filter(|s| matches!(s, Signal::Migrated { .. })).collect();
    // It did not answer there, so the old one is believed again.
    let there_and_back = [&Signal::Migrated { old, new }, &Signal::Migrated { old: new, new: old }];
    assert_eq!(moves, there_and_back);
    assert_eq!(pair.server.session(0).peer(), old);
    let id = pair.say(StreamDir::Uni, b"still here");
    pair.run(SHORT);
    assert_eq!(heard(&pair.server.take(0), id).0, b"still here");
}

#[test]
fn without_migration_another_address_is_not_heard() {
    let listen = listen_config().with(|c| c.migration = false);
    let mut pair = Pair::connected(listen, connect_config());
    pair.nat = Some(addr(7, 7777));
    pair.say(StreamDir::Bidi, b"from elsewhere");
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.server.take(0), []);
    assert_eq!(pair.server.session(0).peer(), pair.client.addr);
}

#[test]
fn ecn_off_sends_no_marks() {
    for ecn in [true, false] {
        let mut pair =
            Pair::with(listen_config(), connect_config().with(|c| c.transport.ecn = ecn));
        pair.connect();
        pair.round();
        assert!(pair.net.iter().all(|datagram| (datagram.ecn == 0b10) == ecn));
        pair.run(SHORT);
        let expected = if ecn { EcnState::On } else { EcnState::Off };
        assert_eq!(pair.client.session(0).stats().quic.unwrap().ecn, expected);
    }
}

#[test]
fn a_path_that_wipes_the_marks_is_noticed() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    for _ in 0..20 {
        pair.say(StreamDir::Uni, &[1; 3000]);
        for _ in 0..20 {
            let next = pair.round();
            pair.net.iter_mut().for_each(|datagram| datagram.ecn = 0);
            pair.now = pair.now.max(next.min(pair.now.saturating_add(SHORT)));
        }
    }
    pair.say(StreamDir::Uni, &[1; 3000]);
    pair.round();
    assert_eq!(pair.client.session(0).stats().quic.unwrap().ecn, EcnState::Failed);
}

#[test]
fn the_mtu_grows_to_what_arrives() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.client.session(0).mtu(), 1452);
    let connect = connect_config().with(|c| c.transport.mtu_discovery = None);
    let mut pair = Pair::connected(listen_config(), connect);
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.client.session(0).mtu(), 1200);
}

#[test]
fn figures_are_those_of_the_path() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    pair.say(StreamDir::Uni, &[1; 100_000]);
    pair.run(Duration::from_secs(1));
    let (client, server) = (pair.client.session(0).stats(), pair.server.session(0).stats());
    assert!((10_000..12_000).contains(&client.rtt_us), "{client:?}");
    assert!((10_000..11_000).contains(&client.rtt_min_us), "{client:?}");
    // The machine does not count the datagram that made the connection.
    let first = 1200;
    assert!(client.bytes_sent > 100_000);
    assert_eq!(server.bytes_received + first, client.bytes_sent);
    assert!(client.cwnd >= 12_000 && client.packets_lost == 0, "{client:?}");
    let (sent, received) = (client.quic.unwrap(), server.quic.unwrap());
    assert_eq!(
        (sent.udp_sent, received.udp_received + 1),
        (pair.client.datagrams as u64, sent.udp_sent)
    );
}

#[test]
fn a_timeout_before_its_time_is_nothing() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    pair.run(SHORT);
    let now = pair.now;
    let client = pair.client.session(0);
    let deadline = client.deadline();
    assert!(deadline > now && !deadline.is_never());
    (0..100).for_each(|_| client.on_timeout(now));
    assert_eq!((client.deadline(), next_of(client)), (deadline, None));
}

/// Says `len` bytes over a path that swallows what is longer than `carried`, and goes on until they
/// arrived.
#[track_caller]
fn say_through(pair: &mut Pair, len: usize, carried: usize) {
    let id = pair.say(StreamDir::Uni, &vec![1; len]);
    pair.client.session(0).finish(id).unwrap();
    let end = pair.now.saturating_add(Duration::from_secs(120));
    let mut got = 0;
    while got < len {
        assert!(pair.now < end, "{got} of {len} through {carried}");
        for _ in 0..2 {
            let next = pair.round();
            pair.net.retain(|datagram| datagram.data.len() <= carried);
            pair.now = pair.now.max(next.min(pair.now.saturating_add(SHORT)));
        }
        got += heard(&pair.server.take(0), id).0.len();
    }
}

#[test]
fn a_path_that_becomes_narrow_is_noticed_and_one_that_widens_too() {
    let cooldown = Duration::from_secs(1);
    let discovery =
        crate::config::MtuDiscovery { black_hole_cooldown: cooldown, ..Default::default() };
    let connect = connect_config().with(|c| {
        c.transport.mtu_discovery = Some(discovery);
        c.transport.idle_timeout = None;
    });
    let mut pair = Pair::connected(listen_config(), connect);
    pair.run(Duration::from_secs(2));
    assert_eq!(pair.client.session(0).mtu(), 1452);
    // From here on nothing longer than 1300 arrives, and nobody says so.
    say_through(&mut pair, 60_000, 1300);
    assert_eq!(pair.client.session(0).mtu(), 1200, "what every path takes");
    pair.run(cooldown);
    for _ in 0..20 {
        say_through(&mut pair, 5000, 1300);
    }
    let mtu = pair.client.session(0).mtu();
    assert!((1261..=1300).contains(&mtu), "{mtu}");
    assert_eq!(usize::from(pair.client.session(0).stats().quic.unwrap().mtu), mtu);
}

#[test]
fn a_narrow_path_is_found_to_be_one() {
    for carried in [1200, 1250, 1400] {
        let mut pair = Pair::with(listen_config(), connect_config());
        pair.connect();
        while pair.client.session(0).is_handshaking() {
            let next = pair.round();
            pair.net.retain(|datagram| datagram.data.len() <= carried);
            pair.now = pair.now.max(next.min(pair.now.saturating_add(SHORT)));
        }
        // Each length that is too long is tried three times.
        for _ in 0..60 {
            say_through(&mut pair, 5000, carried);
        }
        let mtu = pair.client.session(0).mtu();
        assert!(mtu <= carried && mtu + 40 >= carried, "{mtu} of {carried}");
    }
}

#[test]
fn a_path_that_changes_is_asked_anew_for_its_marks_and_trains() {
    let mut pair = Pair::connected(listen_config(), connect_config());
    pair.run(Duration::from_secs(1));
    pair.client.session(0).no_gso = true;
    pair.client.session(0).on_moved();
    assert!(!pair.client.session(0).no_gso, "another device may take trains");
    pair.nat = Some(addr(7, 7777));
    let id = pair.say(StreamDir::Uni, b"from elsewhere");
    pair.run(Duration::from_secs(1));
    assert_eq!(heard(&pair.server.take(0), id).0, b"from elsewhere");
    assert_eq!(pair.server.session(0).stats().quic.unwrap().ecn, EcnState::On);
}
