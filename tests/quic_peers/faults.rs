//! Paths that lose, change, delay and swallow datagrams, each alone and named as the QUIC interop
//! runner names it, with every peer in both roles.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use zero_io::TlsServerConfig;

use super::kit::{self, Backend, Net, PATIENCE, Seen, pattern};
use super::program::{Certificate, Peer};
use super::relay::{CLIENTS, Path, Relay, SERVER};
use super::servers::Served;

const SEED: u64 = 5;

/// What happens on a path, and what is done there.
#[derive(Debug, Clone, Copy)]
struct Case {
    path: Path,
    does: Does,
    hole: Option<Hole>,
    /// The server's certificate takes some 10 KB, and with that more than three times what comes
    /// with the first packet of a client.
    is_long: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// So many connections, one after the other, each with a short echo.
    Handshakes(usize),
    /// One, and some MB there and back.
    Transfer,
}

/// Everything from there is lost for a while.
#[derive(Debug, Clone, Copy)]
struct Hole {
    from: [bool; 2],
    /// It begins when so many datagrams came from clients.
    after: u64,
    lasts: Duration,
}

const GOOD: Case = Case { path: Path::CLEAR, does: Does::Transfer, hole: None, is_long: false };

const HANDSHAKELOSS: Case =
    Case { path: Path { loss: 200, ..Path::CLEAR }, does: Does::Handshakes(5), ..GOOD };

const TRANSFERLOSS: Case = Case { path: Path { loss: 20, ..Path::CLEAR }, ..GOOD };

const HANDSHAKECORRUPTION: Case =
    Case { path: Path { corrupt: 200, ..Path::CLEAR }, does: Does::Handshakes(5), ..GOOD };

const TRANSFERCORRUPTION: Case = Case { path: Path { corrupt: 20, ..Path::CLEAR }, ..GOOD };

const LONGRTT: Case = Case {
    path: Path { delay: Duration::from_millis(750), ..Path::CLEAR },
    does: Does::Handshakes(1),
    ..GOOD
};

const BLACKHOLE: Case = Case {
    hole: Some(Hole { from: [true; 2], after: 200, lasts: Duration::from_secs(2) }),
    ..GOOD
};

/// Only the client's first packet arrives at first. The server sends three times as much and may
/// send no more, though it has more to say, until it hears from the client again: which so has to
/// send a probe, though nothing of its own is missing (RFC 9002 §6.2.2.1).
const AMPLIFICATIONLIMIT: Case = Case {
    does: Does::Handshakes(1),
    hole: Some(Hole { from: [true, false], after: 1, lasts: Duration::from_millis(500) }),
    is_long: true,
    ..GOOD
};

/// A relay on which that happens.
struct Way {
    relay: Arc<Relay>,
    digger: Option<JoinHandle<()>>,
}

impl Way {
    fn to(server: std::net::SocketAddr, case: &Case) -> Self {
        let relay = Arc::new(Relay::new(server, SEED, case.path));
        let (digs, path) = (Arc::clone(&relay), case.path);
        let digger = case.hole.map(|hole| thread::spawn(move || dig(&digs, path, hole)));
        Self { relay, digger }
    }

    /// Checks that it was used both ways, and that what was to happen did.
    fn finish(self, case: &Case) {
        self.digger.map(JoinHandle::join).transpose().expect("the hole was dug");
        let least = match case.does {
            Does::Handshakes(count) => 2 * count as u64,
            Does::Transfer => 500,
        };
        let counts = [CLIENTS, SERVER].map(|from| self.relay.datagrams(from));
        assert!(counts.iter().all(|count| *count > least), "{counts:?}");
        let len = self.relay.bytes(SERVER);
        assert!(!case.is_long || len > 8_000, "{len} bytes are no long handshake");
    }
}

fn dig(relay: &Relay, path: Path, hole: Hole) {
    let end = Instant::now() + PATIENCE;
    while relay.datagrams(CLIENTS) < hole.after {
        assert!(Instant::now() < end, "nothing comes");
        thread::yield_now();
    }
    relay.set(Path { holes: hole.from, ..path });
    thread::sleep(hole.lasts);
    relay.set(path);
}

/// Certificate and key of `localhost`, in PEM.
fn identity(is_long: bool) -> (String, String) {
    let others = (0..if is_long { 400 } else { 0 }).map(|i| format!("other-name-{i}.example"));
    let names: Vec<String> = std::iter::once("localhost".to_owned()).chain(others).collect();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// Of a shard, which waits for handshakes as long as they may take there.
fn as_client(peer: Peer, case: &Case) {
    let (cert, key) = identity(case.is_long);
    let certificate = Certificate::new((&cert, &key));
    let mut net = Net::with(Backend::Uring, 1, |_| ());
    net.nodes[kit::SERVER].echoes = true;
    let tls = TlsServerConfig::from_pem_bytes(&cert, &key).alpn(["echo"]).build().unwrap();
    let addr = net.listen(|l| {
        l.tls = tls;
        l.handshake_timeout = PATIENCE;
        l.transport.initial_rtt = Duration::from_millis(50);
    });
    let way = Way::to(addr, case);
    let cases = match case.does {
        Does::Handshakes(count) => vec!["handshake"; count],
        Does::Transfer => vec!["transfer"],
    };
    let mut client = peer.client(way.relay.addr, &certificate, &cases);
    let end = Instant::now() + 2 * PATIENCE;
    while client.ended().is_none() && Instant::now() < end {
        net.run_for(Duration::from_millis(2));
    }
    client.finish(&cases);
    way.finish(case);
}

/// A NAT gives it another port, of which it knows nothing.
fn rebound(peer: Peer) {
    let mut net = Net::with(Backend::Uring, 1, |_| ());
    net.nodes[kit::SERVER].echoes = true;
    let certificate = Certificate::new(net.certificate());
    let relay = Relay::new(net.listen(|_| ()), SEED, Path::CLEAR);
    let mut client = peer.client(relay.addr, &certificate, &["transfer"]);
    net.until("the midst of a transfer", |_| relay.datagrams(CLIENTS) > 300);
    relay.rebind();
    net.until("the client's end", |_| client.ended().is_some());
    client.finish(&["transfer"]);
    let seen = &net.nodes[kit::SERVER].seen;
    assert!(seen.iter().any(|seen| matches!(seen, Seen::Migrated(..))), "{seen:?}");
}

#[test]
fn s2n_behind_a_nat_that_forgets() {
    rebound(Peer::S2n);
}

/// Of a shard.
fn as_server(peer: Peer, case: &Case) {
    let (mut way, identity) = (None, identity(case.is_long));
    let net = Net::new(Backend::Uring);
    let mut served = Served::certified(net, &identity, peer, &[], |addr| {
        way.insert(Way::to(addr, case)).relay.addr
    });
    match case.does {
        Does::Handshakes(count) => {
            for _ in 1..count {
                served.echo(b"hello");
                served.again(&identity.0);
            }
            served.echo(b"hello");
        }
        Does::Transfer => served.echo(&pattern(3_000_000)),
    }
    way.unwrap().finish(case);
}

macro_rules! with_every_peer {
    ($($name:ident: $case:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn quinn_as_client() {
                as_client(Peer::Quinn, &$case);
            }

            #[test]
            fn s2n_as_client() {
                as_client(Peer::S2n, &$case);
            }

            #[test]
            fn quiche_as_client() {
                as_client(Peer::Quiche, &$case);
            }

            #[test]
            fn aioquic_as_client() {
                as_client(Peer::Aioquic, &$case);
            }

            #[test]
            fn quinn_as_server() {
                as_server(Peer::Quinn, &$case);
            }

            #[test]
            fn s2n_as_server() {
                as_server(Peer::S2n, &$case);
            }

            #[test]
            fn quiche_as_server() {
                as_server(Peer::Quiche, &$case);
            }

            #[test]
            fn aioquic_as_server() {
                as_server(Peer::Aioquic, &$case);
            }
        }
    )*};
}

with_every_peer! {
    handshakeloss: HANDSHAKELOSS;
    transferloss: TRANSFERLOSS;
    handshakecorruption: HANDSHAKECORRUPTION;
    transfercorruption: TRANSFERCORRUPTION;
    longrtt: LONGRTT;
    blackhole: BLACKHOLE;
    amplificationlimit: AMPLIFICATIONLIMIT;
}
