//! A cluster that echoes the streams of its QUIC connections, and clients of it: all on one thread,
//! so that the test says who runs when.
//!
//! *Invariant*: no wait is longer than [`PATIENCE`]; one in vain panics with what it was for.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use zero_io::{
    ClusterConfig, ClusterEndpoint, Config, ConnId, CpuAffinity, Event, FleetStats, Io, IoCluster,
    PeerAddr, QuicConnectConfig, QuicListenConfig, Roots, RoutingStrategy, ShardIo, StreamDir,
    StreamId, TlsClientConfig, TlsServerConfig,
};

/// How long anything may take, debug builds on a busy machine included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A certificate and its key, in PEM.
pub(crate) fn certificate() -> (String, String) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".into()]).expect("a certificate");
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
}

/// Bytes that differ from each other.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

#[derive(Default)]
struct Echo {
    waiting: Vec<u8>,
    ended: bool,
}

/// One shard, and what it was told.
pub(crate) struct Shard {
    pub(crate) io: ShardIo,
    /// Connections that it accepted and that are open.
    pub(crate) conns: Vec<ConnId>,
    pub(crate) accepted: usize,
    /// From where to where connections moved.
    pub(crate) moves: Vec<(ConnId, SocketAddr, SocketAddr)>,
    echoes: HashMap<(ConnId, StreamId), Echo>,
}

impl Shard {
    pub(crate) fn new(io: ShardIo) -> Self {
        let (conns, moves, echoes) = (Vec::new(), Vec::new(), HashMap::new());
        Self { io, conns, accepted: 0, moves, echoes }
    }

    fn step(&mut self) {
        self.io.poll(Duration::ZERO).expect("poll");
        while let Some(event) = self.io.next_event() {
            match event {
                Event::Connected { conn, .. } => {
                    self.conns.push(conn);
                    self.accepted += 1;
                }
                Event::Disconnected { conn, .. } => {
                    self.conns.retain(|c| *c != conn);
                    self.echoes.retain(|(c, _), _| *c != conn);
                }
                Event::PathMigration { conn, old_peer, new_peer } => {
                    self.moves.push((conn, old_peer, new_peer));
                }
                Event::StreamFrame { conn, stream, data, .. } => {
                    let echo = self.echoes.entry((conn, stream)).or_default();
                    echo.waiting.extend_from_slice(data);
                }
                Event::ReadClosed { conn, stream } => {
                    self.echoes.entry((conn, stream)).or_default().ended = true;
                }
                _ => {}
            }
        }
        let io = &mut self.io;
        self.echoes.retain(|(conn, stream), echo| {
            if !echo.waiting.is_empty() {
                let taken = io.stream_write(*conn, *stream, &echo.waiting).expect("an echo");
                echo.waiting.drain(..taken);
            }
            let is_over = echo.waiting.is_empty() && echo.ended;
            if is_over {
                io.stream_finish(*conn, *stream).expect("the end of an echo");
            }
            !is_over
        });
        self.io.audit();
    }
}

/// A client with one connection.
pub(crate) struct Client {
    pub(crate) io: Io,
    pub(crate) conn: ConnId,
    pub(crate) is_connected: bool,
    /// How the connection ended.
    pub(crate) end: Option<u64>,
    pub(crate) got: HashMap<StreamId, Vec<u8>>,
    pub(crate) closed: HashSet<StreamId>,
}

impl Client {
    pub(crate) fn step(&mut self) {
        self.io.poll(Duration::ZERO).expect("poll");
        while let Some(event) = self.io.next_event() {
            match event {
                Event::Connected { .. } => self.is_connected = true,
                Event::Disconnected { conn, error_code, .. } if conn == self.conn => {
                    self.end = Some(error_code);
                }
                Event::StreamFrame { stream, data, .. } => {
                    self.got.entry(stream).or_default().extend_from_slice(data);
                }
                Event::ReadClosed { stream, .. } => {
                    self.closed.insert(stream);
                }
                _ => {}
            }
        }
        self.io.audit();
    }

    /// Whether it is connected, and its handshake confirmed.
    pub(crate) fn may_move(&mut self) -> bool {
        self.is_connected
            && self.io.conn_stats(self.conn).is_ok_and(|s| s.quic.is_some_and(|s| s.is_confirmed))
    }

    /// Goes on from another port of an address.
    pub(crate) fn rebind(&mut self, ip: &str) {
        let bind = SocketAddr::new(ip.parse().expect("an address"), 0);
        self.io.quic_rebind(self.conn, bind).expect("to move");
    }

    pub(crate) fn open(&mut self) -> StreamId {
        self.io.stream_open(self.conn, StreamDir::Bidi).expect("a stream")
    }
}

/// The cluster and its clients.
pub(crate) struct Site {
    pub(crate) cluster: IoCluster,
    pub(crate) endpoint: ClusterEndpoint,
    pub(crate) addr: SocketAddr,
    /// By number; those that are down are none.
    pub(crate) shards: Vec<Option<Shard>>,
    pub(crate) clients: Vec<Client>,
    pub(crate) pem: String,
    pub(crate) key: String,
}

/// Small shards, which find each other's packets by themselves: what is new is spread by addresses,
/// and so is what moved.
pub(crate) fn config(shards: u16) -> ClusterConfig {
    ClusterConfig::new(shards).with(|c| {
        c.routing = RoutingStrategy::DcidDispatch;
        c.cpu_affinity = CpuAffinity::Off;
        c.io = Config::default().with(|io| {
            io.pool_slot_count = 512;
            io.stream_buffer_count = 128;
            io.debug.audit_every_tick = true;
        });
    })
}

impl Site {
    pub(crate) fn new(shards: u16) -> Self {
        Self::with(config(shards), |_| ())
    }

    pub(crate) fn with(config: ClusterConfig, change: impl FnOnce(&mut QuicListenConfig)) -> Self {
        Self::at("127.0.0.1:0", config, change)
    }

    pub(crate) fn at(
        addr: &str,
        config: ClusterConfig,
        change: impl FnOnce(&mut QuicListenConfig),
    ) -> Self {
        let (pem, key) = certificate();
        let tls = TlsServerConfig::from_pem_bytes(&pem, &key).alpn(["echo"]);
        let tls = tls.build().expect("TLS");
        let mut cluster = IoCluster::new(config).expect("a cluster");
        let addr = addr.parse().expect("an address");
        let listen = QuicListenConfig::new(addr, tls).with(change);
        let endpoint = cluster.quic_listen_with(listen).expect("a listener");
        let addr = cluster.local_addr(endpoint).unwrap().inet().expect("an address");
        let seeds = cluster.seeds().expect("seeds").into_iter();
        let shards = seeds.map(|seed| Some(Shard::new(seed.grow().expect("a shard"))));
        let shards = shards.collect();
        Self { cluster, endpoint, addr, shards, clients: Vec::new(), pem, key }
    }

    pub(crate) fn client_tls(&self) -> TlsClientConfig {
        let roots = Roots::from_pem_bytes(&self.pem);
        let tls = TlsClientConfig::with_roots(roots).server_name("localhost").alpn(["echo"]);
        tls.build().expect("TLS")
    }

    /// A client that begins to connect there; its place.
    pub(crate) fn dial(
        &mut self,
        to: SocketAddr,
        tls: TlsClientConfig,
        change: impl FnOnce(&mut QuicConnectConfig),
    ) -> usize {
        let config = Config::default().with(|c| {
            c.pool_slot_count = 64;
            c.stream_buffer_count = 16;
            c.handle_reserve_count = 16;
        });
        let mut io = Io::new(config).expect("an Io");
        let config = QuicConnectConfig::new(to, tls).with(change);
        let conn = io.quic_connect_with(config).expect("a connection");
        let (got, closed) = (HashMap::new(), HashSet::new());
        self.clients.push(Client { io, conn, is_connected: false, end: None, got, closed });
        self.clients.len() - 1
    }

    /// A client that is connected: its place, the shard it is with, and the other end.
    #[track_caller]
    pub(crate) fn connect_with(
        &mut self,
        to: SocketAddr,
        change: impl FnOnce(&mut QuicConnectConfig),
    ) -> (usize, usize, ConnId) {
        let before = self.accepted();
        let tls = self.client_tls();
        let at = self.dial(to, tls, change);
        self.until("both to be connected", |site| {
            site.clients[at].may_move() && site.accepted() != before
        });
        let now = self.accepted();
        let shard = (0..now.len()).find(|i| now[*i] != before[*i]).expect("one of them");
        let conn = *self.shards[shard].as_ref().unwrap().conns.last().expect("a connection");
        (at, shard, conn)
    }

    #[track_caller]
    pub(crate) fn connect(&mut self) -> (usize, usize, ConnId) {
        self.connect_with(self.addr, |_| ())
    }

    /// A client whose connection is with that shard, of as many as it takes; its place.
    #[track_caller]
    pub(crate) fn connect_to(&mut self, wanted: usize) -> (usize, ConnId) {
        for _ in 0..200 {
            let (at, shard, conn) = self.connect();
            if shard == wanted {
                return (at, conn);
            }
            self.hang_up(at);
        }
        panic!("none of 200 connections came to shard {wanted}");
    }

    /// Ends the last client.
    #[track_caller]
    pub(crate) fn hang_up(&mut self, at: usize) {
        assert_eq!(at + 1, self.clients.len(), "the last one");
        let Client { io, conn, .. } = &mut self.clients[at];
        io.close(*conn).expect("to close");
        self.until("the end", |site| site.clients[at].end.is_some());
        self.clients.pop();
    }

    /// How many connections each shard has accepted, by its number.
    fn accepted(&self) -> Vec<usize> {
        let accepted = |shard: &Option<Shard>| shard.as_ref().map_or(0, |shard| shard.accepted);
        self.shards.iter().map(accepted).collect()
    }

    /// What each shard that is up says.
    pub(crate) fn each<T>(&self, of: impl Fn(&Shard) -> T) -> Vec<T> {
        self.shards.iter().flatten().map(of).collect()
    }

    /// The sum of what shards have had to do with each other.
    pub(crate) fn fleet(&self) -> FleetStats {
        let mut sum = FleetStats::default();
        self.each(|shard| shard.io.fleet_stats()).into_iter().for_each(|stats| sum += stats);
        sum
    }

    pub(crate) fn shard(&mut self, at: usize) -> &mut Shard {
        self.shards[at].as_mut().expect("it is up")
    }

    /// Polls everyone once.
    pub(crate) fn round(&mut self) {
        self.clients.iter_mut().for_each(Client::step);
        self.shards.iter_mut().flatten().for_each(Shard::step);
    }

    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < end, "waited in vain for {what}: {:?}", self.fleet());
            self.round();
        }
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.round();
        }
    }

    /// Sends so much on a new stream, which is to come back whole. `while_it_runs` is called with
    /// the bytes that were taken so far.
    #[track_caller]
    pub(crate) fn echo_while(
        &mut self,
        at: usize,
        len: usize,
        mut while_it_runs: impl FnMut(&mut Self, usize),
    ) {
        let data = pattern(len);
        let stream = self.clients[at].open();
        let mut done = 0;
        self.until("all to be written", |site| {
            let Client { io, conn, .. } = &mut site.clients[at];
            done += io.stream_write(*conn, stream, &data[done..]).expect("write");
            while_it_runs(site, done);
            done == len
        });
        let Client { io, conn, .. } = &mut self.clients[at];
        io.stream_finish(*conn, stream).expect("the end");
        self.until("the echo", |site| site.clients[at].closed.contains(&stream));
        assert!(self.clients[at].got.remove(&stream).unwrap_or_default() == data, "it is whole");
    }

    #[track_caller]
    pub(crate) fn echo(&mut self, at: usize, len: usize) {
        self.echo_while(at, len, |_, _| ());
    }

    /// How often that shard was told that the connection moved: from each place to the next, and at
    /// last to where its client is. A server that is slow to hear that a path is good goes back
    /// (RFC 9000 §9.3.2), and is moved again by what comes next: so there may be more moves than
    /// the client made, and none is told twice.
    #[track_caller]
    pub(crate) fn moves(&mut self, at: usize, shard: usize, conn: ConnId) -> usize {
        let to = local(&mut self.clients[at]);
        let all = self.shard(shard).moves.iter().filter(|(of, ..)| *of == conn);
        let (from, onto): (Vec<_>, Vec<_>) = all.map(|(_, from, onto)| (*from, *onto)).unzip();
        assert_eq!(from.get(1..).unwrap_or_default(), &onto[..onto.len().saturating_sub(1)]);
        assert!(from.iter().zip(&onto).all(|(from, onto)| from != onto), "told twice");
        assert_eq!(onto.last(), Some(&to));
        onto.len()
    }

    /// Moves a client from port to port until another shard than its own receives what it sends.
    #[track_caller]
    pub(crate) fn move_elsewhere(&mut self, at: usize) {
        for _ in 0..200 {
            let before = self.fleet().forwarded_out;
            self.clients[at].rebind("127.0.0.1");
            self.echo(at, 1000);
            if self.fleet().forwarded_out > before {
                return;
            }
        }
        panic!("the kernel's hash led 200 ports to one shard");
    }

    /// Closes all connections, and sees that nothing is left anywhere.
    #[track_caller]
    pub(crate) fn all_home(&mut self) {
        for Client { io, conn, end, .. } in &mut self.clients {
            if end.is_none() {
                io.close(*conn).expect("to close");
            }
        }
        self.until("everything to be home", |site| {
            site.shards.iter().flatten().all(|shard| shard.io.is_idle())
                && site.clients.iter().all(|client| client.io.is_idle())
        });
        let FleetStats { forwarded_in, forwarded_out, .. } = self.fleet();
        if self.shards.iter().all(Option::is_some) {
            assert_eq!(forwarded_in, forwarded_out, "each is passed on once, and taken");
        }
    }
}

/// The address of a client as its server sees it.
pub(crate) fn local(client: &mut Client) -> SocketAddr {
    match client.io.conn_local_addr(client.conn) {
        Ok(PeerAddr::Inet(addr)) => addr,
        other => panic!("{other:?}"),
    }
}
