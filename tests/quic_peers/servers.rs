//! Peers as servers: of a shard as the client, and of `quic_client`.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::Stdio;

use zero_io::TlsVersion;
use zero_io::code::{self, QuicClose, QuicCloser};
use zero_io::{ConnId, EcnState, IoError, Roots, StreamDir, StreamId, TlsClientConfig};

use super::kit::{Backend, CLIENT, Got, Net, Seen, pattern};
use super::program::{Certificate, NO_REASON, Peer, Program};

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
        let mut net = Net::new(Backend::Uring);
        let certificate = Certificate::new(net.certificate());
        let (server, addr) = peer.server(&certificate, args);
        let addr = way(addr);
        let tls = net.client_tls(&["echo"]);
        let conn = net.dial(addr, |c| c.tls = tls.clone());
        net.until("the handshake", |net| !net.nodes[CLIENT].seen.is_empty());
        let alpn = b"echo".to_vec();
        let connected = Seen::Connected { conn, endpoint: None, peer: addr, alpn };
        assert_eq!(net.nodes[CLIENT].seen, [connected]);
        Self { net, server, addr, tls, conn }
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

/// A second connection with the ticket of the first: once as a client that waits for the
/// handshake, once as one that does not.
fn resumption(peer: Peer) {
    let mut served = Served::new(peer, &[]);
    let tls = served.tls.clone();
    for is_early in [false, true] {
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
    }
}

#[test]
fn quinn_knows_us_again() {
    resumption(Peer::Quinn);
}

#[test]
fn quiche_knows_us_again() {
    resumption(Peer::Quiche);
}

#[test]
fn aioquic_knows_us_again() {
    resumption(Peer::Aioquic);
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

/// It is for ChaCha20 as we offer that first.
#[test]
fn chacha20_and_quinn() {
    let mut net = Net::new(Backend::Uring);
    let certificate = Certificate::new(net.certificate());
    let (_server, addr) = Peer::Quinn.server(&certificate, &[]);
    let roots = Roots::from_pem_bytes(net.certificate().0);
    let tls = TlsClientConfig::with_roots(roots).server_name("localhost").alpn(["echo"]);
    // The other one is what Initial packets are sealed with.
    let suites = ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"];
    let tls = tls.versions(TlsVersion::Tls13, TlsVersion::Tls13).cipher_suites(suites);
    let tls = tls.build().unwrap();
    let conn = net.dial(addr, |c| c.tls = tls);
    net.until("the handshake", |net| net.nodes[CLIENT].open.contains(&conn));
    let info = net.nodes[CLIENT].io.conn_tls_info(conn).unwrap();
    assert_eq!(info.cipher_suite, suites[0]);
    let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
    net.send_all(CLIENT, conn, stream, b"sealed");
    net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
    assert_eq!(net.nodes[CLIENT].got(conn, stream).data, b"sealed");
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
