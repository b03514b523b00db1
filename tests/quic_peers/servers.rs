//! Peers as servers: of a shard as the client, and of `quic_client`.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use zero_io::TlsVersion;
use zero_io::code::{self, QuicClose, QuicCloser};
use zero_io::{ConnId, EcnState, IoError, Roots, StreamDir, StreamId, TlsClientConfig};

use super::kit::{Backend, CLIENT, Got, Net, Seen, pattern};
use super::program::{Certificate, NO_REASON, Peer, Program};
use super::relay::{Path, Relay};

/// A peer's server, and a connection of ours to it.
pub(super) struct Served {
    net: Net,
    server: Program,
    addr: SocketAddr,
    tls: TlsClientConfig,
    conn: ConnId,
}

impl Served {
    #[track_caller]
    fn new(peer: Peer, args: &[&str]) -> Self {
        Self::by(peer, args, |addr| addr)
    }

    /// By way of another address.
    #[track_caller]
    pub(super) fn by(
        peer: Peer,
        args: &[&str],
        way: impl FnOnce(SocketAddr) -> SocketAddr,
    ) -> Self {
        let net = Net::new(Backend::Uring);
        let (cert, key) = net.certificate();
        let identity = (cert.to_owned(), key.to_owned());
        Self::certified(net, &identity, peer, args, way)
    }

    /// With that certificate and its key, in PEM.
    #[track_caller]
    pub(super) fn certified(
        mut net: Net,
        (cert, key): &(String, String),
        peer: Peer,
        args: &[&str],
        way: impl FnOnce(SocketAddr) -> SocketAddr,
    ) -> Self {
        let certificate = Certificate::new((cert, key));
        let (server, addr) = peer.server(&certificate, args);
        let addr = way(addr);
        let tls = trusting(cert);
        let conn = dialled(&mut net, addr, &tls);
        assert_eq!(net.nodes[CLIENT].seen.len(), 1, "{:?}", net.nodes[CLIENT].seen);
        Self { net, server, addr, tls, conn }
    }

    /// Ends the connection and makes another one, of which the server knows nothing.
    #[track_caller]
    pub(super) fn again(&mut self, cert: &str) {
        self.net.nodes[CLIENT].io.close(self.conn).unwrap();
        self.conn = dialled(&mut self.net, self.addr, &trusting(cert));
    }

    #[track_caller]
    fn open(&mut self, dir: StreamDir) -> StreamId {
        let (conn, mut stream) = (self.conn, None);
        self.net.until("a stream", |net| {
            stream = match net.nodes[CLIENT].io.stream_open(conn, dir) {
                Err(IoError::StreamLimit { .. }) => None,
                opened => Some(opened.expect("a stream")),
            };
            stream.is_some()
        });
        stream.unwrap()
    }

    fn got(&self, stream: StreamId) -> Got {
        self.net.nodes[CLIENT].got(self.conn, stream)
    }

    /// Sends that on a stream of its own, and waits for it to come back.
    #[track_caller]
    pub(super) fn echo(&mut self, data: &[u8]) {
        let (conn, stream) = (self.conn, self.open(StreamDir::Bidi));
        self.net.send_all(CLIENT, conn, stream, data);
        self.net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
        assert!(self.got(stream).data == data, "{} bytes came back changed", data.len());
    }

    /// More streams than may be open at once.
    pub(super) fn many_streams(&mut self) {
        let conn = self.conn;
        let mut streams = Vec::new();
        for i in 0..200 {
            let stream = self.open(StreamDir::Bidi);
            let data = i.to_string().repeat(100);
            self.net.send_all(CLIENT, conn, stream, data.as_bytes());
            streams.push((stream, data));
        }
        self.net.until("all echoes", |net| {
            streams.iter().all(|(stream, _)| net.nodes[CLIENT].got(conn, *stream).closed)
        });
        for (stream, data) in streams {
            assert_eq!(self.got(stream).data, data.as_bytes());
        }
    }

    /// Asks for something other than an echo.
    #[track_caller]
    fn ask(&mut self, what: &[u8]) -> StreamId {
        let stream = self.open(StreamDir::Bidi);
        let taken = self.net.nodes[CLIENT].io.stream_write(self.conn, stream, what);
        assert_eq!(taken, Ok(what.len()));
        stream
    }

    #[track_caller]
    fn told(&mut self, wanted: &Seen) {
        self.net.until(&format!("{wanted:?}"), |net| net.nodes[CLIENT].has(wanted));
    }
}

fn trusting(cert: &str) -> TlsClientConfig {
    let tls = TlsClientConfig::with_roots(Roots::from_pem_bytes(cert)).server_name("localhost");
    tls.alpn(["echo"]).build().unwrap()
}

/// A connection, once it is known.
#[track_caller]
fn dialled(net: &mut Net, addr: SocketAddr, tls: &TlsClientConfig) -> ConnId {
    let conn = net.dial(addr, |c| c.tls = tls.clone());
    net.until("the handshake", |net| net.nodes[CLIENT].open.contains(&conn));
    let alpn = b"echo".to_vec();
    assert!(net.nodes[CLIENT].has(&Seen::Connected { conn, endpoint: None, peer: addr, alpn }));
    conn
}

fn everything(peer: Peer, reason: &str) {
    let mut served = Served::new(peer, &[]);
    for len in [0, 1, 1_200, 65_537, 3_000_000] {
        served.echo(&pattern(len));
    }
    served.many_streams();
    one_way(&mut served);
    let conn = served.conn;
    served.net.nodes[CLIENT].io.send_datagram(conn, b"a datagram").unwrap();
    served.told(&Seen::Datagram(conn, b"a datagram".to_vec()));
    let stream = served.ask(b"!reset");
    served.told(&Seen::Reset(conn, stream, 5));
    let stream = served.ask(b"!stop");
    served.told(&Seen::Stop(conn, stream, 6));
    served.echo(b"and all is well");
    served.ask(b"!close");
    let (ended, told, clean) = served.net.end_of(CLIENT, conn);
    let closed = QuicClose { by: QuicCloser::PeerApplication, code: 9 };
    assert_eq!((code::quic_close(ended), told.as_str(), clean), (Some(closed), reason, false));
    served.net.all_home();
}

/// The answer is on a stream that the server opens.
fn one_way(served: &mut Served) {
    let (conn, stream) = (served.conn, served.open(StreamDir::Uni));
    served.net.send_all(CLIENT, conn, stream, b"one way");
    served.net.until("the answer", |net| {
        let mut got = net.nodes[CLIENT].got.iter();
        got.any(|((of, s), got)| {
            let is_uni = *of == conn && s.dir() == StreamDir::Uni && !s.opened_by_client();
            is_uni && got.closed && got.data == b"one way"
        })
    });
}

#[test]
fn we_talk_to_quinn() {
    everything(Peer::Quinn, "as asked");
}

#[test]
fn we_talk_to_s2n() {
    everything(Peer::S2n, NO_REASON);
}

#[test]
fn we_talk_to_quiche() {
    everything(Peer::Quiche, "as asked");
}

#[test]
fn we_talk_to_aioquic() {
    everything(Peer::Aioquic, "as asked");
}

/// It asks us to show that we are where we say.
fn retry(peer: Peer) {
    let mut served = Served::new(peer, &["--retry"]);
    served.echo(b"from where I said");
    assert!(served.server.has_printed(|line| line == "retry"), "{}", served.server);
}

#[test]
fn quinn_asks_for_a_retry() {
    retry(Peer::Quinn);
}

#[test]
fn s2n_asks_for_a_retry() {
    retry(Peer::S2n);
}

#[test]
fn quiche_asks_for_a_retry() {
    retry(Peer::Quiche);
}

#[test]
fn aioquic_asks_for_a_retry() {
    retry(Peer::Aioquic);
}

/// Whether it counts the marks of what we send.
fn ecn(peer: Peer, expected: EcnState) {
    let mut served = Served::new(peer, &[]);
    served.echo(&pattern(1_000_000));
    let stats = served.net.nodes[CLIENT].io.conn_stats(served.conn).unwrap();
    assert_eq!(stats.quic.map(|quic| quic.ecn), Some(expected));
}

#[test]
fn quinn_counts_our_marks() {
    ecn(Peer::Quinn, EcnState::On);
}

#[test]
fn s2n_counts_our_marks() {
    ecn(Peer::S2n, EcnState::On);
}

#[test]
fn quiche_does_not_count_our_marks() {
    ecn(Peer::Quiche, EcnState::Failed);
}

#[test]
fn aioquic_does_not_count_our_marks() {
    ecn(Peer::Aioquic, EcnState::Failed);
}

/// A second connection with the ticket of the first: as a client that waits for the handshake, or
/// as one that does not.
fn resumption(peer: Peer, early: &[bool]) {
    let mut served = Served::new(peer, &[]);
    let tls = served.tls.clone();
    for is_early in early.iter().copied() {
        served.echo(b"hello");
        let (conn, mut ticket) = (served.conn, None);
        served.net.until("a ticket", |net| {
            ticket = net.nodes[CLIENT].io.session_ticket(conn).unwrap();
            ticket.is_some()
        });
        let conn = served.net.dial(served.addr, |c| {
            c.tls = tls.clone(); // a ticket is good for the same trust only
            c.ticket = ticket;
            c.early_data = is_early;
        });
        served.conn = conn;
        if is_early {
            let io = &mut served.net.nodes[CLIENT].io;
            let (stream, taken) = io.early_data_send(conn, b"early").unwrap();
            assert_eq!(taken, 5);
            io.stream_finish(conn, stream).unwrap();
            served.net.until("its echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
            assert_eq!(served.got(stream).data, b"early");
            served.told(&Seen::EarlyData(conn, true));
        }
        served.net.until("the handshake", |net| net.nodes[CLIENT].open.contains(&conn));
        let info = served.net.nodes[CLIENT].io.conn_tls_info(conn).unwrap();
        assert!(info.resumed, "{info:?}");
        served.echo(b"as ever");
    }
}

#[test]
fn quinn_knows_us_again() {
    resumption(Peer::Quinn, &[false, true]);
}

/// It takes no early data.
#[test]
fn s2n_knows_us_again() {
    resumption(Peer::S2n, &[false]);
}

#[test]
fn quiche_knows_us_again() {
    resumption(Peer::Quiche, &[false, true]);
}

#[test]
fn aioquic_knows_us_again() {
    resumption(Peer::Aioquic, &[false, true]);
}

/// We move, and the server follows: RFC 9000 §9.
fn rebind(peer: Peer) {
    for local in ["127.0.0.1:0", "127.0.0.2:0"] {
        let mut served = Served::new(peer, &[]);
        served.echo(b"from here");
        let io = &mut served.net.nodes[CLIENT].io;
        io.quic_rebind(served.conn, local.parse().unwrap()).unwrap();
        served.echo(&pattern(100_000));
        let server = &mut served.server;
        served.net.until("the server to follow", |_| {
            server.has_printed(|line| line.starts_with("migrated to 127.0.0."))
        });
    }
}

#[test]
fn quinn_follows_us() {
    rebind(Peer::Quinn);
}

#[test]
fn s2n_follows_us() {
    rebind(Peer::S2n);
}

#[test]
fn quiche_follows_us() {
    rebind(Peer::Quiche);
}

#[test]
fn aioquic_follows_us() {
    rebind(Peer::Aioquic);
}

/// Nothing else is offered. Initial packets are under AES-128 whatever there is: RFC 9001 §5.2.
fn chacha20(peer: Peer) {
    const SUITE: &str = "TLS_CHACHA20_POLY1305_SHA256";
    let mut served = Served::new(peer, &[]);
    let tls = served.net.client_builder(&["echo"]).versions(TlsVersion::Tls13, TlsVersion::Tls13);
    let tls = tls.cipher_suites([SUITE]).build().unwrap();
    served.conn = dialled(&mut served.net, served.addr, &tls);
    let info = served.net.nodes[CLIENT].io.conn_tls_info(served.conn).unwrap();
    assert_eq!(info.cipher_suite, SUITE);
    served.echo(&pattern(100_000));
}

#[test]
fn chacha20_and_quinn() {
    chacha20(Peer::Quinn);
}

#[test]
fn chacha20_and_s2n() {
    chacha20(Peer::S2n);
}

#[test]
fn chacha20_and_quiche() {
    chacha20(Peer::Quiche);
}

#[test]
fn chacha20_and_aioquic() {
    chacha20(Peer::Aioquic);
}

/// It updates its keys, and so do we: RFC 9001 §6.2.
fn keyupdate(peer: Peer) {
    let mut served = Served::new(peer, &[]);
    for _ in 0..3 {
        served.echo(b"!update");
        // The next one comes after this one was acknowledged.
        served.echo(&pattern(10_000));
    }
}

#[test]
fn quinn_updates_its_keys() {
    keyupdate(Peer::Quinn);
}

#[test]
fn aioquic_updates_its_keys() {
    keyupdate(Peer::Aioquic);
}

/// Another server with the same key, at the same place, knows nothing of the connection, and says
/// so: RFC 9000 §10.3. We are told at once, and not when the idle timeout has passed.
fn stateless_reset(peer: Peer) {
    let mut relay = None;
    let mut served =
        Served::by(peer, &[], |addr| relay.insert(Relay::new(addr, 1, Path::CLEAR)).addr);
    served.echo(b"hello");
    let certificate = Certificate::new(served.net.certificate());
    let (_other, addr) = peer.server(&certificate, &[]);
    let relay = relay.unwrap();
    relay.redirect(addr);
    let (conn, begun) = (served.conn, served.net.now());
    // What it answers has to be longer than its answer: RFC 9000 §10.3.3. Something of ours may
    // have been on its way, and be answered already.
    let io = &mut served.net.nodes[CLIENT].io;
    if let Ok(stream) = io.stream_open(conn, StreamDir::Bidi) {
        io.stream_write(conn, stream, &pattern(1_000)).unwrap();
    }
    let (ended, _, clean) = served.net.end_of(CLIENT, conn);
    assert_eq!((ended, clean), (code::QUIC_STATELESS_RESET, false), "{ended:#x}");
    assert!(served.net.now() - begun < Duration::from_secs(5));
    served.net.all_home();
}

#[test]
fn quinn_tells_us_that_the_state_is_lost() {
    stateless_reset(Peer::Quinn);
}

#[test]
fn s2n_tells_us_that_the_state_is_lost() {
    stateless_reset(Peer::S2n);
}

#[test]
fn quiche_tells_us_that_the_state_is_lost() {
    stateless_reset(Peer::Quiche);
}

/// `quic_client` sends its input there, and prints what comes back.
fn quic_client(peer: Peer) {
    let net = Net::with(Backend::Uring, 0, |_| ());
    let certificate = Certificate::new(net.certificate());
    let (_server, addr) = peer.server(&certificate, &[]);
    let mut client = certificate.quic_client(addr);
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let data = pattern(3_000_000);
    let mut came = Vec::new();
    let (mut input, mut output) = (client.stdin.take().unwrap(), client.stdout.take().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            input.write_all(&data).unwrap();
            drop(input);
        });
        output.read_to_end(&mut came).unwrap();
    });
    let status = client.wait().unwrap();
    assert!(status.success() && came == data, "{status}, {} bytes", came.len());
}

#[test]
fn quic_client_and_quinn() {
    quic_client(Peer::Quinn);
}

#[test]
fn quic_client_and_s2n() {
    quic_client(Peer::S2n);
}

#[test]
fn quic_client_and_quiche() {
    quic_client(Peer::Quiche);
}

#[test]
fn quic_client_and_aioquic() {
    quic_client(Peer::Aioquic);
}
