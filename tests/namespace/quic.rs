//! QUIC on the real kernel, where the network is: hosts whose addresses swallow what comes, links
//! that carry less, addresses that change.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use zero_io::{
    Config, ConnId, Event, Io, PeerAddr, QuicConnectConfig, QuicListenConfig, QuicStats, Roots,
    StreamDir, TlsClientConfig, TlsServerConfig, code,
};

use crate::net::{HERE_V4, Namespace, VOID_V4, VOID_V6, ip, ip_addr, slower, socket_count};

const DELAY: Duration = Duration::from_millis(250);
const SOON: Duration = Duration::from_millis(1_500);
const PATIENCE: Duration = Duration::from_secs(30);
const LEN: usize = 200_000;

/// A server and a client on one `Io`; the server counts what comes.
struct Pair {
    io: Io,
    pem: String,
    key: String,
    connected: Vec<(ConnId, bool, SocketAddr)>,
    ended: Vec<(ConnId, u64)>,
    moves: Vec<SocketAddr>,
    received: usize,
    closed: usize,
}

impl Pair {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["host".into()]).expect("a certificate");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self {
            io: Io::new(Config::default()).expect("an Io"),
            pem,
            key: key.serialize_pem(),
            connected: Vec::new(),
            ended: Vec::new(),
            moves: Vec::new(),
            received: 0,
            closed: 0,
        }
    }

    fn listen(&mut self, addr: &str, change: impl FnOnce(&mut QuicListenConfig)) -> SocketAddr {
        let tls = TlsServerConfig::from_pem_bytes(&self.pem, &self.key).build().expect("TLS");
        let addr = SocketAddr::new(ip_addr(addr), 4_711);
        let config = QuicListenConfig::new(addr, tls).with(change);
        self.io.quic_listen_with(config).expect("a listener");
        addr
    }

    /// Connects to the host.
    fn connect(&mut self, change: impl FnOnce(&mut QuicConnectConfig)) -> ConnId {
        let roots = Roots::from_pem_bytes(&self.pem);
        let tls = TlsClientConfig::with_roots(roots).build().expect("TLS");
        let config = QuicConnectConfig::new(("host", 4_711), tls).with(change);
        self.io.quic_connect_with(config).expect("a connection")
    }

    fn step(&mut self) {
        self.io.poll(Duration::from_millis(1)).expect("poll");
        while let Some(event) = self.io.next_event() {
            match event {
                Event::Connected { conn, endpoint, peer: PeerAddr::Inet(peer), .. } => {
                    self.connected.push((conn, endpoint.is_some(), peer));
                }
                Event::Disconnected { conn, error_code, .. } => {
                    self.ended.push((conn, error_code));
                }
                Event::PathMigration { new_peer, .. } => self.moves.push(new_peer),
                Event::StreamFrame { data, .. } => self.received += data.len(),
                Event::ReadClosed { .. } => self.closed += 1,
                _ => {}
            }
        }
        self.io.audit();
    }

    #[track_caller]
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            assert!(start.elapsed() < PATIENCE * slower(), "waited in vain for {what}");
            self.step();
        }
    }

    /// To whom the client is connected, and how long it took.
    #[track_caller]
    fn winner(&mut self, conn: ConnId) -> (String, Duration) {
        let start = Instant::now();
        let told = |pair: &Self| pair.connected.iter().find(|(c, ..)| *c == conn).map(|c| c.2);
        self.until("Connected", |pair| told(pair).is_some());
        let peer = told(self).expect("just seen");
        (peer.ip().to_string(), start.elapsed())
    }

    /// Sends so much to the server.
    #[track_caller]
    fn send(&mut self, conn: ConnId, len: usize) {
        let (received, closed) = (self.received, self.closed);
        let stream = self.io.stream_open(conn, StreamDir::Uni).expect("a stream");
        let data = vec![7; len];
        let mut done = 0;
        self.until("all to be written", |pair| {
            done += pair.io.stream_write(conn, stream, &data[done..]).expect("write");
            done == len
        });
        self.io.stream_finish(conn, stream).expect("the end");
        self.until("all to arrive", |pair| pair.closed > closed);
        assert_eq!(self.received - received, len);
    }

    fn quic(&mut self, conn: ConnId) -> QuicStats {
        self.io.conn_stats(conn).expect("figures").quic.expect("of QUIC")
    }

    /// Ends everything, and sees that nothing is left.
    fn finish(mut self, sockets: usize) {
        for (conn, ..) in self.connected.clone() {
            self.io.close(conn).ok();
        }
        self.until("everything to be home", |pair| pair.io.is_idle());
        drop(self);
        assert_eq!(socket_count(), sockets);
    }
}

#[test]
fn quic_an_address_that_does_not_answer_costs_one_delay() {
    let _net = Namespace::enter(&[("host", &[VOID_V6, HERE_V4])]);
    let sockets = socket_count();
    let mut pair = Pair::new();
    pair.listen(HERE_V4, |_| ());
    let conn = pair.connect(|_| ());
    let (peer, took) = pair.winner(conn);
    assert_eq!(peer, HERE_V4);
    assert!(took >= DELAY && took < DELAY + SOON * slower(), "{took:?}");
    pair.send(conn, LEN);
    assert_eq!(pair.connected.len(), 2, "each end is told once");
    pair.finish(sockets);
}

#[test]
fn quic_an_address_without_a_route_costs_nothing() {
    let _net = Namespace::enter(&[("host", &["fd99::1", "fd98::1", HERE_V4])]);
    let sockets = socket_count();
    let mut pair = Pair::new();
    pair.listen(HERE_V4, |_| ());
    let conn = pair.connect(|c| c.attempt_delay = Duration::from_secs(2));
    let (peer, took) = pair.winner(conn);
    assert_eq!(peer, HERE_V4);
    assert!(took < SOON * slower(), "{took:?}");
    pair.finish(sockets);
}

#[test]
fn quic_when_nobody_answers_it_is_told_once() {
    let _net = Namespace::enter(&[("host", &[VOID_V6, VOID_V4])]);
    let sockets = socket_count();
    let mut pair = Pair::new();
    let conn = pair.connect(|c| c.connect_timeout = Duration::from_millis(700));
    pair.until("the end", |pair| !pair.ended.is_empty());
    assert_eq!(pair.ended, [(conn, code::CONNECT_TIMEOUT)]);
    // Without any route at all, the kernel's own reason.
    let _ = ip("link set near down");
    let conn = pair.connect(|_| ());
    pair.until("the end", |pair| pair.ended.len() == 2);
    assert_eq!(pair.ended[1], (conn, libc::ENETUNREACH as u64));
    pair.finish(sockets);
}

#[test]
fn quic_a_link_that_carries_less_is_found_to() {
    let _net = Namespace::enter(&[("host", &[HERE_V4])]);
    let sockets = socket_count();
    // Packets to oneself go over the loopback, whatever the address is.
    ip("link set lo mtu 1328");
    let mut pair = Pair::new();
    pair.listen(HERE_V4, |_| ());
    let conn = pair.connect(|_| ());
    pair.winner(conn);
    pair.send(conn, LEN);
    pair.send(conn, LEN);
    // 1328 less the headers of IPv4 and UDP; the search ends within 20 bytes of it.
    let mtu = pair.quic(conn).mtu;
    assert!((1280..=1300).contains(&mtu), "{mtu}");
    // It becomes narrower still: packets that were fine are refused by the kernel, singly and in
    // trains, until the shorter ones are found to be all that goes.
    ip("link set lo mtu 1268");
    pair.send(conn, LEN);
    let mtu = pair.quic(conn).mtu;
    assert!((1200..=1240).contains(&mtu), "{mtu}");
    assert_eq!(pair.ended, []);
    pair.finish(sockets);
}

#[test]
fn quic_a_client_moves_between_addresses() {
    let _net = Namespace::enter(&[("host", &[HERE_V4])]);
    ip("address add 10.77.0.2/24 dev near");
    let sockets = socket_count();
    let mut pair = Pair::new();
    pair.listen(HERE_V4, |_| ());
    let conn = pair.connect(|_| ());
    pair.winner(conn);
    pair.send(conn, LEN);
    let bind = SocketAddr::new(ip_addr("10.77.0.2"), 0);
    pair.io.quic_rebind(conn, bind).expect("to move");
    pair.send(conn, LEN);
    assert_eq!(pair.moves.len(), 1);
    assert_eq!(pair.moves[0].ip(), bind.ip());
    assert_eq!(pair.io.conn_local_addr(conn).unwrap(), PeerAddr::Inet(pair.moves[0]));
    // An address that is not there: it stays where it is.
    pair.io.quic_rebind(conn, "10.77.0.77:0".parse().unwrap()).unwrap_err();
    pair.send(conn, LEN);
    pair.finish(sockets);
}

#[test]
fn quic_an_address_that_goes_away_is_no_end() {
    let _net = Namespace::enter(&[("host", &[HERE_V4])]);
    ip("address add 10.77.0.2/24 dev near");
    let sockets = socket_count();
    let mut pair = Pair::new();
    pair.listen(HERE_V4, |_| ());
    let own = SocketAddr::new(ip_addr("10.77.0.2"), 0);
    let conn = pair.connect(|c| c.bind = Some(own));
    pair.winner(conn);
    pair.send(conn, LEN);
    ip("address del 10.77.0.2/24 dev near");
    pair.io.quic_rebind(conn, SocketAddr::new(ip_addr(HERE_V4), 0)).expect("to move");
    pair.send(conn, LEN);
    assert_eq!((pair.moves.len(), pair.ended.len()), (1, 0));
    pair.finish(sockets);
}
