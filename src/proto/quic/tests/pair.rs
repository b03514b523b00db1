//! [`Pair`]: a client and a server, the datagrams between them, and the time.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::config::{QuicConnectConfig, QuicListenConfig, Roots, TlsClientConfig, TlsServerConfig};
use crate::ids::{ConnId, StreamDir, StreamId};
use crate::proto::quic::endpoint::{Arrival, Endpoint, Route};
use crate::proto::quic::parts::{ClientParts, EndpointParts, Secrets};
use crate::proto::quic::resume::Past;
use crate::proto::quic::session::Session;
use crate::proto::quic::signal::{Outgoing, Signal};
use crate::proto::quic::time::{Base, Wall};
use crate::rng::Rng;
use crate::time::Time;

pub(super) const NAME: &str = "host.example";
/// The time of day at the beginning.
pub(super) const NOON: u64 = 1 << 30;
/// One way.
const DELAY: Duration = Duration::from_millis(5);
/// Rounds of one run at most.
const ROUNDS_MAX: usize = 200_000;

/// Certificate and key of the server, in PEM.
fn identity() -> &'static (String, String) {
    static IDENTITY: OnceLock<(String, String)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        // So many names that the certificate fills more than a datagram.
        let others = (0..60).map(|i| format!("other-name-{i}.example"));
        let names = std::iter::once(NAME.to_owned()).chain(others).collect::<Vec<_>>();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, NAME);
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    })
}

pub(super) fn identity_pem() -> (&'static str, &'static str) {
    let (cert, key) = identity();
    (cert, key)
}

pub(super) fn cert_pem() -> &'static str {
    &identity().0
}

pub(in crate::proto::quic) fn server_tls() -> TlsServerConfig {
    let (cert, key) = identity();
    TlsServerConfig::from_pem_bytes(cert, key).alpn(["test", "other"]).build().unwrap()
}

pub(super) fn client_tls() -> TlsClientConfig {
    let roots = Roots::from_pem_bytes(&identity().0);
    TlsClientConfig::with_roots(roots).server_name(NAME).alpn(["test"]).build().unwrap()
}

pub(super) fn addr(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, host), port))
}

pub(in crate::proto::quic) fn listen_config() -> QuicListenConfig {
    QuicListenConfig::new(addr(2, 443), server_tls())
}

pub(super) fn connect_config() -> QuicConnectConfig {
    QuicConnectConfig::new(addr(2, 443), client_tls())
}

/// Secrets that follow from a number.
pub(super) fn secrets(seed: u64) -> Secrets {
    let mut rng = Rng::from_seed(seed);
    Secrets::draw(None, |out| {
        out.iter_mut().for_each(|byte| *byte = rng.u64() as u8);
        Ok(())
    })
    .unwrap()
}

/// What happens to datagrams, in percent.
#[derive(Clone, Copy, Default)]
pub(super) struct Faults {
    pub(super) loss: u64,
    pub(super) duplicate: u64,
    pub(super) reorder: u64,
    pub(super) corrupt: u64,
}

/// A datagram on its way.
#[derive(Clone)]
pub(super) struct Datagram {
    pub(super) at: Time,
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    pub(super) ecn: u8,
    pub(super) data: Vec<u8>,
}

/// What a server does with clients.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    Accept,
    Retry,
    Refuse,
    Ignore,
}

/// One side: an endpoint with its connections.
pub(super) struct Node {
    pub(super) addr: SocketAddr,
    pub(super) endpoint: Endpoint,
    pub(super) sessions: Vec<Option<Box<Session>>>,
    /// What was told, by connection.
    pub(super) told: Vec<(usize, Signal<Bytes>)>,
    pub(super) door: Door,
    /// Nothing is asked for, so that it stays where it is.
    pub(super) is_deaf: bool,
    /// Trains and datagrams that were sent.
    pub(super) trains: usize,
    pub(super) datagrams: usize,
    pub(super) drained: usize,
}

impl Node {
    pub(super) fn new(addr: SocketAddr, parts: EndpointParts, base: Base) -> Self {
        Self {
            addr,
            endpoint: Endpoint::new(parts, base),
            sessions: Vec::new(),
            told: Vec::new(),
            door: Door::Accept,
            is_deaf: false,
            trains: 0,
            datagrams: 0,
            drained: 0,
        }
    }

    pub(super) fn vacant(&mut self) -> (usize, ConnId) {
        self.sessions.push(None);
        let index = self.sessions.len() - 1;
        (index, ConnId::new(index as u32, 1))
    }

    pub(super) fn on_datagram(
        &mut self,
        now: Time,
        datagram: &Datagram,
    ) -> Option<(Outgoing, Vec<u8>)> {
        let Datagram { from, to, ecn, data, .. } = datagram;
        let data = BytesMut::from(&data[..]);
        let reply = match self.endpoint.on_datagram(now, *from, Some(to.ip()), *ecn, data) {
            Arrival::Nothing | Arrival::For(Route::Free | Route::Drain(_), _) => None,
            Arrival::For(Route::Conn(id), input) => {
                self.sessions[id.index() as usize].as_mut()?.on_input(input);
                None
            }
            Arrival::Reply(out) => Some(out),
            Arrival::New(incoming) => match self.door {
                Door::Accept => {
                    let (index, id) = self.vacant();
                    match self.endpoint.accept(incoming, now, id) {
                        Ok(session) => {
                            self.sessions[index] = Some(session);
                            None
                        }
                        Err(reply) => reply,
                    }
                }
                Door::Retry if incoming.may_retry() => self.endpoint.retry(incoming),
                Door::Retry => {
                    assert!(incoming.is_validated());
                    self.door = Door::Accept;
                    let (index, id) = self.vacant();
                    self.sessions[index] = Some(self.endpoint.accept(incoming, now, id).unwrap());
                    None
                }
                Door::Refuse => Some(self.endpoint.refuse(incoming)),
                Door::Ignore => {
                    self.endpoint.ignore(incoming);
                    None
                }
            },
        };
        reply.map(|out| (out, self.endpoint.reply().to_vec()))
    }

    /// Settles, listens, sends; the next deadline.
    pub(super) fn turn(&mut self, now: Time, sent: &mut Vec<(Outgoing, Vec<u8>)>) -> Time {
        let mut next = Time::MAX;
        for (index, place) in self.sessions.iter_mut().enumerate() {
            let Some(session) = place else { continue };
            if session.deadline() <= now {
                session.on_timeout(now);
            }
            session.settle(&mut self.endpoint);
            while !self.is_deaf
                && let Some(told) = next_of(session)
            {
                self.told.push((index, told));
            }
            let mut settled = session.settle(&mut self.endpoint);
            let mut buf = Vec::new();
            while session.wants_send {
                while let Some(out) = session.transmit(now, 10, &mut buf) {
                    assert_eq!(out.len, buf.len());
                    sent.push((out, buf.clone()));
                }
                settled = session.settle(&mut self.endpoint);
            }
            next = next.min(settled.deadline);
            // What is not told yet must not be dropped.
            if settled.drained
                && !settled.ready
                && let Some(session) = place.take()
            {
                session.forget(&mut self.endpoint);
                self.drained += 1;
            }
        }
        next
    }

    pub(super) fn session(&mut self, index: usize) -> &mut Session {
        self.sessions[index].as_mut().expect("it is drained")
    }

    /// Takes what was told of a connection, since the last time.
    pub(super) fn take(&mut self, index: usize) -> Vec<Signal<Bytes>> {
        let (mine, others) = std::mem::take(&mut self.told).into_iter().partition(|t| t.0 == index);
        self.told = others;
        let mine: Vec<(usize, Signal<Bytes>)> = mine;
        mine.into_iter().map(|(_, signal)| signal).collect()
    }
}

pub(super) struct Pair {
    pub(super) now: Time,
    pub(super) client: Node,
    pub(super) server: Node,
    pub(super) net: Vec<Datagram>,
    pub(super) faults: Faults,
    /// Where the server sees the client, when that is not where it is.
    pub(super) nat: Option<SocketAddr>,
    pub(super) rng: Rng,
    pub(super) wall: Arc<Wall>,
    pub(super) past: Past,
    connect: QuicConnectConfig,
}

impl Pair {
    pub(super) fn new() -> Self {
        Self::with(listen_config(), connect_config())
    }

    pub(super) fn with(listen: QuicListenConfig, connect: QuicConnectConfig) -> Self {
        listen.validate().unwrap();
        connect.validate().unwrap();
        let base = Base::new(Instant::now());
        let wall = Wall::new(NOON);
        let server = EndpointParts::listen(&listen, &secrets(1), &wall).unwrap();
        let client = EndpointParts::connect(&secrets(2)).unwrap();
        Self {
            now: Time::from_nanos(1_000_000_000),
            client: Node::new(addr(1, 1000), client, base),
            server: Node::new(addr(2, 443), server, base),
            net: Vec::new(),
            faults: Faults::default(),
            nat: None,
            rng: Rng::from_seed(3),
            past: Past::new(Arc::clone(&wall)),
            wall,
            connect,
        }
    }

    /// Another server in the place of the one that was there, which is gone with no word.
    pub(super) fn replace_server(&mut self, listen: &QuicListenConfig) {
        let parts = EndpointParts::listen(listen, &secrets(4), &self.wall).unwrap();
        let (addr, base) = (self.server.addr, Base::new(Instant::now()));
        self.server = Node::new(addr, parts, base);
    }

    /// Begins a connection.
    pub(super) fn connect(&mut self) -> usize {
        let (index, id) = self.client.vacant();
        let parts = ClientParts::new(&self.connect, &self.client.endpoint, &mut self.past).unwrap();
        let to = self.server.addr;
        let session = self.client.endpoint.connect(self.now, parts, to, id).unwrap();
        self.client.sessions[index] = Some(session);
        index
    }

    /// A pair with one connection, both sides of which are number 0, and nothing told.
    pub(super) fn connected(listen: QuicListenConfig, connect: QuicConnectConfig) -> Self {
        let mut pair = Self::with(listen, connect);
        pair.connect();
        pair.run(Duration::from_millis(200));
        assert_eq!(pair.client.take(0).first(), Some(&Signal::Connected));
        assert_eq!(pair.server.take(0).first(), Some(&Signal::Connected));
        pair
    }

    /// Puts what a node sent onto the network.
    fn post(&mut self, is_client: bool, sent: Vec<(Outgoing, Vec<u8>)>) {
        for (out, bytes) in sent {
            let node = if is_client { &mut self.client } else { &mut self.server };
            node.trains += 1;
            let own = if is_client { self.nat.unwrap_or(node.addr) } else { node.addr };
            let segment = if out.segment == 0 { bytes.len() } else { usize::from(out.segment) };
            for data in bytes.chunks(segment.max(1)) {
                node.datagrams += 1;
                let copies = 1 + usize::from(self.rng.chance(self.faults.duplicate, 100));
                for _ in 0..copies {
                    if self.rng.chance(self.faults.loss, 100) {
                        continue;
                    }
                    let late = match self.rng.chance(self.faults.reorder, 100) {
                        true => Duration::from_micros(self.rng.below(20_000)),
                        false => Duration::ZERO,
                    };
                    let at = self.now.saturating_add(DELAY + late);
                    let mut data = data.to_vec();
                    if self.rng.chance(self.faults.corrupt, 100) {
                        let at = self.rng.below(data.len() as u64) as usize;
                        data[at] ^= 1 << self.rng.below(8);
                    }
                    self.net.push(Datagram { at, from: own, to: out.to, ecn: out.ecn, data });
                }
            }
        }
    }

    /// One round: what is due arrives, both sides take their turn. When the next is due.
    pub(super) fn round(&mut self) -> Time {
        let now = self.now;
        let due: Vec<_> = self.net.extract_if(.., |datagram| datagram.at <= now).collect();
        for datagram in due {
            let is_client = datagram.to != self.server.addr;
            if is_client && datagram.to != self.nat.unwrap_or(self.client.addr) {
                continue;
            }
            let node = if is_client { &mut self.client } else { &mut self.server };
            if let Some(reply) = node.on_datagram(now, &datagram) {
                self.post(is_client, vec![reply]);
            }
        }
        let mut next = Time::MAX;
        for is_client in [true, false] {
            let node = if is_client { &mut self.client } else { &mut self.server };
            let mut sent = Vec::new();
            next = next.min(node.turn(now, &mut sent));
            self.post(is_client, sent);
        }
        self.net.iter().map(|datagram| datagram.at).fold(next, Time::min)
    }

    /// Lets `span` pass.
    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now.saturating_add(span);
        self.run_until(end, |_| false);
        self.now = end;
    }

    /// Goes on until `done`, or `end`, or until nothing is to come. Whether it is done.
    pub(super) fn run_until(&mut self, end: Time, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        for _ in 0..ROUNDS_MAX {
            self.round();
            if done(self) {
                return true;
            }
            // What it did has consequences, before time goes on.
            let next = self.round();
            if next > end {
                return false;
            }
            // A deadline that has passed is one of the next round.
            self.now = self.now.max(next);
        }
        panic!("it goes round and round");
    }

    /// Goes on for at most an hour until `done`.
    pub(super) fn until(&mut self, what: &str, done: impl FnMut(&mut Self) -> bool) {
        let end = self.now.saturating_add(Duration::from_secs(3600));
        assert!(self.run_until(end, done), "never: {what}");
    }

    /// Opens a stream at the client and writes to it, which must be taken at once.
    pub(super) fn say(&mut self, dir: StreamDir, data: &[u8]) -> StreamId {
        let session = self.client.session(0);
        let id = session.open(dir).unwrap();
        assert_eq!(session.write(id, &mut [Bytes::copy_from_slice(data)]), Ok(data.len()));
        id
    }
}

/// The next thing to tell, with its payload.
pub(super) fn next_of(session: &mut Session) -> Option<Signal<Bytes>> {
    let mut payload = Bytes::new();
    Some(match session.next(&mut payload)? {
        Signal::Frame { stream, fin, .. } => Signal::Frame { stream, data: payload, fin },
        Signal::Datagram(()) => Signal::Datagram(payload),
        Signal::Lost { code, clean, .. } => Signal::Lost { code, reason: payload, clean },
        Signal::EarlyData(is_taken) => Signal::EarlyData(is_taken),
        Signal::Connected => Signal::Connected,
        Signal::Secured => Signal::Secured,
        Signal::Readable(stream) => Signal::Readable(stream),
        Signal::ReadClosed(stream) => Signal::ReadClosed(stream),
        Signal::Writable(stream) => Signal::Writable(stream),
        Signal::Finished(stream) => Signal::Finished(stream),
        Signal::Reset { stream, error_code } => Signal::Reset { stream, error_code },
        Signal::Stop { stream, error_code } => Signal::Stop { stream, error_code },
        Signal::Available(dir) => Signal::Available(dir),
        Signal::Migrated { old, new } => Signal::Migrated { old, new },
    })
}

/// The bytes that were told of a stream, and whether its end was.
pub(super) fn heard(told: &[Signal<Bytes>], id: StreamId) -> (Vec<u8>, bool) {
    let (mut bytes, mut ended) = (Vec::new(), false);
    for signal in told {
        match signal {
            Signal::Frame { stream, data, .. } if *stream == id => {
                assert!(!ended && !data.is_empty(), "{signal:?}");
                bytes.extend_from_slice(data);
            }
            Signal::ReadClosed(stream) if *stream == id => {
                assert!(!ended, "twice");
                ended = true;
            }
            _ => {}
        }
    }
    (bytes, ended)
}
