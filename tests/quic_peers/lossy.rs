//! Peers at the other end of a path that loses, doubles, delays and changes datagrams, in both
//! roles.

use std::time::Duration;

use super::kit::{Backend, Net, pattern};
use super::program::{Certificate, Peer};
use super::relay::{CLIENTS, Path, Relay, SERVER};
use super::servers::Served;

/// Of a thousand datagrams, each way.
const BAD: Path = Path {
    loss: 20,
    duplicate: 20,
    reorder: 20,
    corrupt: 5,
    delay: Duration::from_millis(1),
    ..Path::CLEAR
};
const SEED: u64 = 3;

fn as_client(peer: Peer) {
    let net = Net::with(Backend::Uring, 0, |_| ());
    let certificate = Certificate::new(net.certificate());
    let (_server, addr) = certificate.quic_echo(&[]);
    let relay = Relay::new(addr, SEED, BAD);
    let cases = ["handshake", "transfer", "multiplexing"];
    peer.client(relay.addr, &certificate, &cases).finish(&cases);
    assert_was_used(&relay);
}

fn as_server(peer: Peer) {
    let mut relay = None;
    let mut served = Served::by(peer, &[], |addr| relay.insert(Relay::new(addr, SEED, BAD)).addr);
    for len in [1, 65_537, 1_000_000] {
        served.echo(&pattern(len));
    }
    served.many_streams();
    assert_was_used(&relay.unwrap());
}

/// So that some of the datagrams met with each misfortune.
fn assert_was_used(relay: &Relay) {
    let counts = [CLIENTS, SERVER].map(|from| relay.datagrams(from));
    assert!(counts.iter().all(|count| *count > 500), "{counts:?}");
}

#[test]
fn quinn_as_client() {
    as_client(Peer::Quinn);
}

#[test]
fn s2n_as_client() {
    as_client(Peer::S2n);
}

#[test]
fn quiche_as_client() {
    as_client(Peer::Quiche);
}

#[test]
fn aioquic_as_client() {
    as_client(Peer::Aioquic);
}

#[test]
fn quinn_as_server() {
    as_server(Peer::Quinn);
}

#[test]
fn s2n_as_server() {
    as_server(Peer::S2n);
}

#[test]
fn quiche_as_server() {
    as_server(Peer::Quiche);
}

#[test]
fn aioquic_as_server() {
    as_server(Peer::Aioquic);
}
