//! Peers as clients: of `quic_echo`, and of a shard that tells what it saw.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use zero_io::code::{self, QuicClose, QuicCloser};
use zero_io::{EcnState, QuicKeys, QuicListenConfig, TlsVersion};

use super::kit::{Backend, Net, Node, SERVER, Seen};
use super::program::{Certificate, NO_REASON, Peer};

/// What every peer does.
const CASES: [&str; 7] =
    ["handshake", "transfer", "multiplexing", "unidirectional", "datagram", "reset", "close"];

fn against_quic_echo(peer: Peer, args: &[&str], more: &[&str]) {
    let net = Net::with(Backend::Uring, 0, |_| ());
    let certificate = Certificate::new(net.certificate());
    let (_server, addr) = certificate.quic_echo(args);
    let cases = [&CASES, more].concat();
    peer.client(addr, &certificate, &cases).finish(&cases);
}

#[test]
fn quinn_and_quic_echo() {
    let more = ["keyupdate", "chacha20", "rebind-port", "rebind-addr", "versionnegotiation"];
    against_quic_echo(Peer::Quinn, &[], &[&more[..], &["zerortt"]].concat());
}

#[test]
fn quinn_and_quic_echo_with_retry() {
    against_quic_echo(Peer::Quinn, &["--retry"], &[]);
}

#[test]
fn quiche_and_quic_echo() {
    let more = ["connectionid", "rebind-port", "rebind-addr", "versionnegotiation"];
    against_quic_echo(Peer::Quiche, &[], &[&more[..], &["resumption", "zerortt"]].concat());
}

#[test]
fn quiche_and_quic_echo_with_retry() {
    against_quic_echo(Peer::Quiche, &["--retry"], &[]);
}

#[test]
fn aioquic_and_quic_echo() {
    let more = ["keyupdate", "connectionid", "chacha20", "rebind-port", "rebind-addr"];
    let last = ["versionnegotiation", "resumption", "zerortt"];
    against_quic_echo(Peer::Aioquic, &[], &[&more[..], &last].concat());
}

#[test]
fn aioquic_and_quic_echo_with_retry() {
    against_quic_echo(Peer::Aioquic, &["--retry"], &[]);
}

#[test]
fn s2n_and_quic_echo() {
    against_quic_echo(Peer::S2n, &[], &[]);
}

#[test]
fn s2n_and_quic_echo_with_retry() {
    against_quic_echo(Peer::S2n, &["--retry"], &[]);
}

/// A shard that echoes, and a peer that does one thing with it.
struct Watched {
    net: Net,
    certificate: Certificate,
    peer: Peer,
}

impl Watched {
    fn new(peer: Peer) -> Self {
        let mut net = Net::with(Backend::Uring, 1, |_| ());
        net.nodes[SERVER].echoes = true;
        let certificate = Certificate::new(net.certificate());
        Self { net, certificate, peer }
    }

    /// Lets the peer do that, until it ends.
    #[track_caller]
    fn run(&mut self, case: &str) {
        self.run_with(case, |_| ());
    }

    #[track_caller]
    fn run_with(&mut self, case: &str, listen: impl FnOnce(&mut QuicListenConfig)) {
        let addr = self.net.listen(listen);
        let mut client = self.peer.client(addr, &self.certificate, &[case]);
        self.net.until("the client's end", |_| client.ended().is_some());
        client.finish(&[case]);
    }
}

/// What it closes with arrives: RFC 9000 §19.19.
fn close(peer: Peer, reason: &str) {
    let mut watched = Watched::new(peer);
    watched.run("close");
    let seen = &watched.net.nodes[SERVER].seen;
    let ended = seen.iter().find_map(|seen| match seen {
        Seen::Disconnected { code, reason, clean, .. } => Some((*code, reason.as_str(), *clean)),
        _ => None,
    });
    let (ended, told, clean) = ended.unwrap_or_else(|| panic!("{seen:?}"));
    let left = QuicClose { by: QuicCloser::PeerApplication, code: 7 };
    assert_eq!((code::quic_close(ended), told, clean), (Some(left), reason, false));
}

#[test]
fn what_quinn_closes_with() {
    close(Peer::Quinn, "enough");
}

#[test]
fn what_s2n_closes_with() {
    close(Peer::S2n, NO_REASON);
}

#[test]
fn what_quiche_closes_with() {
    close(Peer::Quiche, "enough");
}

#[test]
fn what_aioquic_closes_with() {
    close(Peer::Aioquic, "enough");
}

/// A client that moves is followed, and told of.
fn rebind(peer: Peer) {
    moves(peer, &["rebind-port", "rebind-addr"]);
}

fn moves(peer: Peer, cases: &[&str]) {
    for case in cases {
        let mut watched = Watched::new(peer);
        watched.run(case);
        let seen = &watched.net.nodes[SERVER].seen;
        let moved = seen.iter().find_map(|seen| match seen {
            Seen::Migrated(_, from, to) => Some((from.ip() == to.ip(), from.port() == to.port())),
            _ => None,
        });
        assert_eq!(moved, Some((*case == "rebind-port", false)), "{seen:?}");
    }
}

#[test]
fn quinn_moves() {
    rebind(Peer::Quinn);
}

#[test]
fn quiche_moves() {
    rebind(Peer::Quiche);
}

#[test]
fn quiche_moves_on_purpose() {
    moves(Peer::Quiche, &["connectionmigration"]);
}

#[test]
fn aioquic_moves() {
    rebind(Peer::Aioquic);
}

/// We have nothing else: RFC 9001 §5.3.
fn chacha20(peer: Peer) {
    let mut watched = Watched::new(peer);
    let tls = watched.net.server_builder(&["echo"]).versions(TlsVersion::Tls13, TlsVersion::Tls13);
    let tls = tls.cipher_suites(["TLS_CHACHA20_POLY1305_SHA256"]).build().unwrap();
    watched.run_with("transfer", |l| l.tls = tls);
}

#[test]
fn chacha20_with_quinn() {
    chacha20(Peer::Quinn);
}

#[test]
fn chacha20_with_s2n() {
    chacha20(Peer::S2n);
}

#[test]
fn chacha20_with_quiche() {
    chacha20(Peer::Quiche);
}

#[test]
fn chacha20_with_aioquic() {
    chacha20(Peer::Aioquic);
}

/// A second connection with the ticket of the first.
fn resumption(peer: Peer) {
    let mut watched = Watched::new(peer);
    let addr = watched.net.listen(|_| ());
    let mut client = peer.client(addr, &watched.certificate, &["resumption"]);
    let mut resumed = HashSet::new();
    // Round by round, so that none is overlooked: between its begin and its end there is an echo.
    watched.net.until_custom("the client's end", |net| {
        net.round();
        let Node { io, open, .. } = &mut net.nodes[SERVER];
        resumed.extend(open.iter().copied().filter(|c| io.conn_tls_info(*c).unwrap().resumed));
        client.ended().is_some()
    });
    client.finish(&["resumption"]);
    assert_eq!((watched.net.nodes[SERVER].accepted(), resumed.len()), (2, 1));
}

#[test]
fn s2n_comes_again() {
    resumption(Peer::S2n);
}

#[test]
fn quiche_comes_again() {
    resumption(Peer::Quiche);
}

#[test]
fn aioquic_comes_again() {
    resumption(Peer::Aioquic);
}

/// It is offered another address, probes it, and goes there: RFC 9000 §9.6. The others, as we, stay
/// where they are.
#[test]
fn aioquic_goes_to_the_preferred_address() {
    let mut watched = Watched::new(Peer::Aioquic);
    let first = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap();
    let preferred = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2), first.port());
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, first.port())).to_string();
    watched.net.listen_at(SERVER, &any, |l| l.preferred_v4 = Some(preferred));
    let mut client = watched.peer.client(first, &watched.certificate, &["connectionmigration"]);
    watched.net.until("the client's end", |_| client.ended().is_some());
    client.finish(&[&format!("answered from {preferred}"), "connectionmigration"]);
    let moves = watched.net.nodes[SERVER].seen.iter();
    assert_eq!(moves.filter(|seen| matches!(seen, Seen::Migrated(..))).count(), 0, "we did");
}

/// The marks that we send are counted by the peer, or else it is seen that they are not.
fn ecn(peer: Peer, expected: EcnState) {
    let mut watched = Watched::new(peer);
    let addr = watched.net.listen(|_| ());
    let mut client = peer.client(addr, &watched.certificate, &["transfer"]);
    let mut state = EcnState::Off;
    watched.net.until("the client's end", |net| {
        let Some(conn) = net.nodes[SERVER].open.first().copied() else {
            return client.ended().is_some();
        };
        let stats = net.nodes[SERVER].io.conn_stats(conn).ok().and_then(|stats| stats.quic);
        // The first packets are acknowledged before 3 MB have gone both ways.
        state = stats.filter(|s| s.udp_sent > 1000).map_or(state, |stats| stats.ecn);
        false
    });
    client.finish(&["transfer"]);
    assert_eq!(state, expected);
}

#[test]
fn quinn_counts_marks() {
    ecn(Peer::Quinn, EcnState::On);
}

#[test]
fn s2n_counts_marks() {
    ecn(Peer::S2n, EcnState::On);
}

#[test]
fn quiche_counts_no_marks_and_gets_on_without() {
    ecn(Peer::Quiche, EcnState::Failed);
}

#[test]
fn aioquic_counts_no_marks_and_gets_on_without() {
    ecn(Peer::Aioquic, EcnState::Failed);
}

/// Another shard with the same keys, at the same place, knows nothing of the connection, and says
/// so in a way that the client believes: RFC 9000 §10.3.
fn stateless_reset(peer: Peer) {
    let keys = QuicKeys::from_bytes(&[1; QuicKeys::LEN]);
    let mut watched = Watched::new(peer);
    let addr = watched.net.listen(|c| c.keys = Some(keys.clone()));
    let mut client = peer.client(addr, &watched.certificate, &["statelessreset"]);
    watched.net.until("a connection", |_| client.has_printed(|line| line == "connected"));
    drop(watched.net);
    let mut net = Net::with(Backend::Uring, 1, |_| ());
    net.listen_at(SERVER, &addr.to_string(), |c| c.keys = Some(keys));
    net.until("the client's end", |_| client.ended().is_some());
    client.finish(&["statelessreset"]);
    assert!(net.nodes[SERVER].seen.is_empty(), "{:?}", net.nodes[SERVER].seen);
}

#[test]
fn quinn_is_told_that_the_state_is_lost() {
    stateless_reset(Peer::Quinn);
}

#[test]
fn s2n_is_told_that_the_state_is_lost() {
    stateless_reset(Peer::S2n);
}

#[test]
fn quiche_is_told_that_the_state_is_lost() {
    stateless_reset(Peer::Quiche);
}
