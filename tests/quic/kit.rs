//! What the tests of QUIC share: shards on either backend, what they told, and a service that
//! echoes.
//!
//! *Invariant*: no wait is longer than [`Net::patience`], of the clock that the backend has; one in
//! vain panics with what was seen.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use zero_io::sim::{Faults, World};
use zero_io::{
    Config, ConnId, EndpointId, Event, Io, IoError, PeerAddr, Protocol, QuicConnectConfig,
    QuicListenConfig, Roots, SendOutcome, StreamDir, StreamId, TlsClientBuilder, TlsClientConfig,
    TlsServerBuilder, TlsServerConfig,
};

/// How long anything may take, debug builds on a busy machine included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(1);
pub(crate) const SERVER: usize = 0;
pub(crate) const CLIENT: usize = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Uring,
    Sim,
}

pub(crate) const BOTH: [Backend; 2] = [Backend::Uring, Backend::Sim];

/// An event that owns its parts. What streams bring is in [`Node::got`] besides.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Seen {
    Connected {
        conn: ConnId,
        endpoint: Option<EndpointId>,
        peer: SocketAddr,
        alpn: Vec<u8>,
    },
    Disconnected {
        conn: ConnId,
        code: u64,
        reason: String,
        clean: bool,
    },
    ReadClosed(ConnId, StreamId),
    Writable(ConnId, StreamId),
    Finished(ConnId, StreamId),
    Reset(ConnId, StreamId, u64),
    Stop(ConnId, StreamId, u64),
    Available(ConnId, StreamDir),
    Datagram(ConnId, Vec<u8>),
    Migrated(ConnId, SocketAddr, SocketAddr),
    EarlyData(ConnId, bool),
    Secured(ConnId),
    Readable(ConnId, StreamId),
    SendDone(ConnId, u64, usize, SendOutcome),
    /// Of a plain UDP socket.
    Udp(Vec<u8>),
    Pressure,
}

/// What came on one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) data: Vec<u8>,
    /// A frame said that it is the last.
    pub(crate) fin: bool,
    /// `ReadClosed` came.
    pub(crate) closed: bool,
    pub(crate) frames: usize,
}

/// A stream that is echoed.
#[derive(Debug, Default)]
struct Echo {
    to: Option<StreamId>,
    waiting: Vec<u8>,
    at: usize,
    ended: bool,
}

/// One shard.
pub(crate) struct Node {
    pub(crate) io: Io,
    pub(crate) seen: Vec<Seen>,
    pub(crate) got: HashMap<(ConnId, StreamId), Got>,
    /// Everything that comes is sent back.
    pub(crate) echoes: bool,
    echo: HashMap<(ConnId, StreamId), Echo>,
    /// Connections that are open, as far as was told.
    pub(crate) open: Vec<ConnId>,
}

impl Node {
    fn new(world: Option<&World>, change: impl Fn(&mut Config)) -> Self {
        let config = Config::default().with(|c| {
            c.debug.audit_every_tick = true;
            c.debug.poison_freed = true;
        });
        let config = config.with(change);
        let io = match world {
            Some(world) => Io::in_world(config, world),
            None => Io::new(config),
        };
        Self {
            io: io.expect("an Io"),
            seen: Vec::new(),
            got: HashMap::new(),
            echoes: false,
            echo: HashMap::new(),
            open: Vec::new(),
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.io.next_event() {
            let seen = match event {
                Event::StreamFrame { conn, stream, data, fin, .. } => {
                    assert!(self.open.contains(&conn), "a frame outside of a connection");
                    assert!(!data.is_empty(), "a frame has bytes");
                    let got = self.got.entry((conn, stream)).or_default();
                    assert!(!got.closed && !got.fin, "nothing follows the end");
                    got.data.extend_from_slice(data);
                    got.fin |= fin;
                    got.frames += 1;
                    if self.echoes {
                        let echo = self.echo.entry((conn, stream)).or_default();
                        echo.waiting.extend_from_slice(data);
                    }
                    continue;
                }
                other => own(other),
            };
            self.note(&seen);
            self.seen.push(seen);
        }
        self.send_echoes();
    }

    fn note(&mut self, seen: &Seen) {
        match seen {
            Seen::Connected { conn, .. } => self.open.push(*conn),
            Seen::Disconnected { conn, .. } => self.open.retain(|c| c != conn),
            Seen::ReadClosed(conn, stream) => {
                let got = self.got.entry((*conn, *stream)).or_default();
                assert!(!std::mem::replace(&mut got.closed, true), "told once");
                if self.echoes {
                    self.echo.entry((*conn, *stream)).or_default().ended = true;
                }
            }
            Seen::Datagram(conn, data) if self.echoes => {
                self.io.send_datagram(*conn, data).expect("the echo of a datagram");
            }
            _ => {}
        }
    }

    /// Streams of one direction are echoed on new ones.
    fn send_echoes(&mut self) {
        let Self { io, echo, open, .. } = self;
        echo.retain(|(conn, stream), echo| {
            if !open.contains(conn) {
                return false;
            }
            let to = match (echo.to, stream.dir()) {
                (Some(to), _) => to,
                (None, StreamDir::Bidi) => *stream,
                (None, StreamDir::Uni) => match io.stream_open(*conn, StreamDir::Uni) {
                    Ok(to) => to,
                    Err(IoError::StreamLimit { .. }) => return true,
                    Err(error) => panic!("{error}"),
                },
            };
            echo.to = Some(to);
            if echo.at < echo.waiting.len() {
                match io.stream_write(*conn, to, &echo.waiting[echo.at..]) {
                    Ok(taken) => echo.at += taken,
                    Err(IoError::StreamStopped { .. } | IoError::WriteClosed { .. }) => {
                        return false;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            if echo.at == echo.waiting.len() && echo.ended {
                io.stream_finish(*conn, to).expect("the end of an echo");
                return false;
            }
            true
        });
    }

    /// What came on a stream.
    pub(crate) fn got(&self, conn: ConnId, stream: StreamId) -> Got {
        self.got.get(&(conn, stream)).cloned().unwrap_or_default()
    }

    /// How a connection ended, if it has.
    pub(crate) fn end(&self, of: ConnId) -> Option<(u64, String, bool)> {
        self.seen.iter().find_map(|seen| match seen {
            Seen::Disconnected { conn, code, reason, clean } if *conn == of => {
                Some((*code, reason.clone(), *clean))
            }
            _ => None,
        })
    }

    pub(crate) fn has(&self, wanted: &Seen) -> bool {
        self.seen.contains(wanted)
    }

    /// Connections that it was told of so far.
    pub(crate) fn accepted(&self) -> usize {
        self.seen.iter().filter(|seen| matches!(seen, Seen::Connected { .. })).count()
    }

    pub(crate) fn datagrams(&self) -> Vec<Vec<u8>> {
        let datagrams = self.seen.iter().filter_map(|seen| match seen {
            Seen::Datagram(_, data) => Some(data.clone()),
            _ => None,
        });
        datagrams.collect()
    }
}

fn own(event: Event<'_>) -> Seen {
    match event {
        Event::Connected { conn, endpoint, peer, protocol, alpn } => {
            assert_eq!(protocol, Protocol::Quic);
            let PeerAddr::Inet(peer) = peer else { panic!("{peer:?}") };
            Seen::Connected { conn, endpoint, peer, alpn: alpn.unwrap_or_default().to_vec() }
        }
        Event::Disconnected { conn, error_code, reason, clean, .. } => {
            let reason = String::from_utf8_lossy(reason).into_owned();
            Seen::Disconnected { conn, code: error_code, reason, clean }
        }
        Event::ReadClosed { conn, stream } => Seen::ReadClosed(conn, stream),
        Event::Writable { conn, stream, credit } => {
            assert!(credit > 0);
            Seen::Writable(conn, stream)
        }
        Event::StreamFinished { conn, stream } => Seen::Finished(conn, stream),
        Event::StreamReset { conn, stream, error_code } => Seen::Reset(conn, stream, error_code),
        Event::StopSending { conn, stream, error_code } => Seen::Stop(conn, stream, error_code),
        Event::StreamsAvailable { conn, dir } => Seen::Available(conn, dir),
        Event::Datagram { conn, data } => Seen::Datagram(conn, data.to_vec()),
        Event::PathMigration { conn, old_peer, new_peer } => {
            Seen::Migrated(conn, old_peer, new_peer)
        }
        Event::EarlyData { conn, accepted } => Seen::EarlyData(conn, accepted),
        Event::Secured { conn, .. } => Seen::Secured(conn),
        Event::Readable { conn, stream } => Seen::Readable(conn, stream),
        Event::SendDone { conn, token, bytes, outcome } => {
            Seen::SendDone(conn, token, bytes, outcome)
        }
        Event::UdpRecv { data, .. } => Seen::Udp(data.to_vec()),
        Event::PoolPressure { .. } => Seen::Pressure,
        other => panic!("{other:?}"),
    }
}

/// Shards that can reach each other.
pub(crate) struct Net {
    pub(crate) backend: Backend,
    pub(crate) world: Option<World>,
    pub(crate) nodes: Vec<Node>,
    /// How long a wait may be.
    pub(crate) patience: Duration,
    certificate: (String, String),
}

impl Net {
    /// A server and a client.
    pub(crate) fn new(backend: Backend) -> Self {
        Self::with(backend, 2, |_| ())
    }

    /// So many shards, of the defaults after `change`, with every check of the engine on.
    pub(crate) fn with(backend: Backend, count: usize, change: impl Fn(&mut Config)) -> Self {
        let world = (backend == Backend::Sim).then(|| World::new(7, Faults::none()));
        Self::in_world(world, count, change)
    }

    pub(crate) fn in_world(
        world: Option<World>,
        count: usize,
        change: impl Fn(&mut Config),
    ) -> Self {
        let backend = if world.is_some() { Backend::Sim } else { Backend::Uring };
        let nodes = (0..count).map(|_| Node::new(world.as_ref(), &change)).collect();
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".into()]).expect("a certificate");
        let certificate = params.self_signed(&key).expect("a certificate");
        let certificate = (certificate.pem(), key.serialize_pem());
        Self { backend, world, nodes, patience: PATIENCE, certificate }
    }

    /// Ends a shard, and its connections with no word to anybody, and begins another one.
    pub(crate) fn restart(&mut self, at: usize) {
        self.nodes[at] = Node::new(self.world.as_ref(), |_| ());
    }

    /// Of the servers: certificate and key, in PEM.
    pub(crate) fn certificate(&self) -> (&str, &str) {
        (&self.certificate.0, &self.certificate.1)
    }

    pub(crate) fn server_builder(&self, alpn: &[&str]) -> TlsServerBuilder {
        let (cert, key) = &self.certificate;
        TlsServerConfig::from_pem_bytes(cert, key).alpn(alpn.to_vec())
    }

    pub(crate) fn server_tls(&self, alpn: &[&str]) -> TlsServerConfig {
        self.server_builder(alpn).build().expect("TLS")
    }

    pub(crate) fn client_builder(&self, alpn: &[&str]) -> TlsClientBuilder {
        let roots = Roots::from_pem_bytes(&self.certificate.0);
        TlsClientConfig::with_roots(roots).server_name("localhost").alpn(alpn.to_vec())
    }

    pub(crate) fn client_tls(&self, alpn: &[&str]) -> TlsClientConfig {
        self.client_builder(alpn).build().expect("TLS")
    }

    pub(crate) fn listen(&mut self, change: impl FnOnce(&mut QuicListenConfig)) -> SocketAddr {
        self.listen_at(SERVER, "127.0.0.1:0", change).1
    }

    pub(crate) fn listen_at(
        &mut self,
        node: usize,
        addr: &str,
        change: impl FnOnce(&mut QuicListenConfig),
    ) -> (EndpointId, SocketAddr) {
        let addr = addr.parse().expect("an address");
        let config = QuicListenConfig::new(addr, self.server_tls(&["echo"])).with(change);
        let io = &mut self.nodes[node].io;
        let endpoint = io.quic_listen_with(config).expect("a listener");
        let PeerAddr::Inet(addr) = io.local_addr(endpoint).expect("an address") else { panic!() };
        (endpoint, addr)
    }

    /// Begins a connection of the client.
    pub(crate) fn dial(
        &mut self,
        addr: SocketAddr,
        change: impl FnOnce(&mut QuicConnectConfig),
    ) -> ConnId {
        let config = QuicConnectConfig::new(addr, self.client_tls(&["echo"])).with(change);
        self.nodes[CLIENT].io.quic_connect_with(config).expect("a connection")
    }

    /// A connection of the client to the server, and its other end.
    #[track_caller]
    pub(crate) fn pair(
        &mut self,
        listen: impl FnOnce(&mut QuicListenConfig),
        connect: impl FnOnce(&mut QuicConnectConfig),
    ) -> (ConnId, ConnId) {
        let addr = self.listen(listen);
        let conn = self.dial(addr, connect);
        self.connected(conn)
    }

    /// Waits until a connection is known on both sides; its ends, the client's first.
    #[track_caller]
    pub(crate) fn connected(&mut self, conn: ConnId) -> (ConnId, ConnId) {
        let before = self.nodes[SERVER].accepted();
        self.until("both to be connected", |net| {
            net.nodes[CLIENT].open.contains(&conn) && net.nodes[SERVER].accepted() > before
        });
        (conn, *self.nodes[SERVER].open.last().expect("a connection"))
    }

    /// Waits until the client may move.
    #[track_caller]
    pub(crate) fn confirmed(&mut self, conn: ConnId) {
        self.until("the confirmation", |net| is_confirmed(net, CLIENT, conn));
    }

    /// Polls everyone once.
    pub(crate) fn round(&mut self) {
        for node in &mut self.nodes {
            node.io.poll(Duration::ZERO).expect("poll");
            node.take_events();
            node.io.audit();
        }
    }

    /// Polls one once.
    pub(crate) fn round_of(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.io.poll(Duration::ZERO).expect("poll");
        node.take_events();
        node.io.audit();
    }

    /// As `until`, for a `done` that polls.
    #[track_caller]
    pub(crate) fn until_custom(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now() + self.patience;
        while !done(self) {
            assert!(self.now() < end, "{:?}: waited in vain for {what}", self.backend);
            match &self.world {
                Some(world) => {
                    if !world.advance_to_next() {
                        world.advance_by(TICK);
                    }
                }
                None => std::thread::yield_now(),
            }
        }
    }

    /// Lets time pass until something may happen.
    fn pass(&mut self) {
        match &self.world {
            Some(world) => {
                if !world.advance_to_next() {
                    world.advance_by(TICK);
                }
                assert_eq!(world.violations(), [""; 0], "the contract");
            }
            None => {
                self.nodes[SERVER].io.poll(TICK / 4).expect("poll");
                self.nodes[SERVER].take_events();
            }
        }
    }

    /// The clock of the backend.
    pub(crate) fn now(&self) -> Duration {
        thread_local!(static START: Instant = Instant::now());
        match &self.world {
            Some(world) => Duration::from_nanos(world.now_ns()),
            None => START.with(Instant::elapsed),
        }
    }

    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = self.now() + self.patience;
        loop {
            self.round();
            if done(self) {
                return;
            }
            if self.now() >= end {
                let mut text = format!("{:?}: waited in vain for {what}; seen", self.backend);
                for (i, node) in self.nodes.iter().enumerate() {
                    let last = node.seen.len().saturating_sub(20);
                    text += &format!("\n{i}: {:?}", &node.seen[last..]);
                }
                panic!("{text}");
            }
            self.pass();
        }
    }

    /// Polls everyone for a while.
    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = self.now() + span;
        while self.now() < end {
            self.round();
            self.pass();
        }
    }

    /// Closes listeners, waits for all to be over, and checks that everything came home.
    #[track_caller]
    pub(crate) fn all_home(&mut self) {
        for at in 0..self.nodes.len() {
            for conn in self.nodes[at].open.clone() {
                self.nodes[at].io.close(conn).ok();
            }
        }
        self.until("everything to be home", |net| {
            net.nodes.iter().all(|node| node.io.is_idle() && node.open.is_empty())
        });
    }

    /// Writes all of `data` to a stream, as there is room, and ends it.
    #[track_caller]
    pub(crate) fn send_all(&mut self, at: usize, conn: ConnId, stream: StreamId, data: &[u8]) {
        let mut done = 0;
        self.until("all to be written", |net| {
            done += net.nodes[at].io.stream_write(conn, stream, &data[done..]).expect("write");
            done == data.len()
        });
        self.nodes[at].io.stream_finish(conn, stream).expect("the end");
    }

    /// The end of a connection at that node.
    #[track_caller]
    pub(crate) fn end_of(&mut self, at: usize, conn: ConnId) -> (u64, String, bool) {
        self.until("Disconnected", |net| net.nodes[at].end(conn).is_some());
        self.nodes[at].end(conn).expect("just seen")
    }
}

/// Whether the handshake of a connection is confirmed at that node.
pub(crate) fn is_confirmed(net: &mut Net, at: usize, conn: ConnId) -> bool {
    let stats = net.nodes[at].io.conn_stats(conn).expect("a connection");
    stats.quic.expect("of QUIC").is_confirmed
}

/// Bytes that differ from each other and from zero.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8 + 1).collect()
}
