//! Some nodes whose events are noted, on the real ring or on the simulated one.
//!
//! Role: poll, note, let time pass. Not role: what the nodes do. *Invariant*: every wait has a
//! limit.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use zero_io::sim::World;
use zero_io::{
    Config, ConnId, EndpointId, Event, Io, PeerAddr, Protocol, Readiness, SendOutcome, StreamId,
};

pub(crate) const STREAM: StreamId = StreamId::ZERO;
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const TURNS_MAX: usize = 100_000;

/// What a node was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Connected {
        conn: ConnId,
        by: Option<EndpointId>,
        protocol: Protocol,
    },
    /// Neighbouring pieces are joined, whatever guards were told between them.
    Data {
        conn: ConnId,
        bytes: Vec<u8>,
    },
    ReadClosed {
        conn: ConnId,
    },
    Done {
        conn: ConnId,
        token: u64,
        bytes: usize,
        outcome: SendOutcome,
    },
    Ended {
        conn: ConnId,
        code: u64,
        clean: bool,
    },
    Datagram {
        endpoint: EndpointId,
        from: SocketAddr,
        bytes: Vec<u8>,
        facts: String,
    },
    Timer {
        token: u64,
    },
    Ready {
        token: u64,
        readiness: Readiness,
    },
    User {
        token: u64,
        bytes: Vec<u8>,
    },
}

impl Seen {
    fn of(event: &Event<'_>) -> Option<Self> {
        Some(match *event {
            Event::Connected { conn, endpoint, protocol, .. } => {
                Self::Connected { conn, by: endpoint, protocol }
            }
            Event::StreamFrame { conn, data, .. } => Self::Data { conn, bytes: data.to_vec() },
            Event::ReadClosed { conn, .. } => Self::ReadClosed { conn },
            Event::SendDone { conn, token, bytes, outcome } => {
                Self::Done { conn, token, bytes, outcome }
            }
            Event::Disconnected { conn, error_code, clean, .. } => {
                Self::Ended { conn, code: error_code, clean }
            }
            Event::UdpRecv { endpoint, from, local, ecn, timestamp_ns, truncated, data } => {
                let has_time = timestamp_ns.is_some();
                let facts = format!("{local:?} ecn {ecn} time {has_time} cut {truncated}");
                Self::Datagram { endpoint, from, bytes: data.to_vec(), facts }
            }
            Event::Timer { token, .. } => Self::Timer { token },
            Event::FdReady { token, readiness, .. } => Self::Ready { token, readiness },
            Event::User { token, data } => Self::User { token, bytes: data.to_vec() },
            _ => return None,
        })
    }

    /// The connection that it is of.
    pub(crate) const fn conn(&self) -> Option<ConnId> {
        match *self {
            Self::Connected { conn, .. }
            | Self::Data { conn, .. }
            | Self::ReadClosed { conn }
            | Self::Done { conn, .. }
            | Self::Ended { conn, .. } => Some(conn),
            _ => None,
        }
    }
}

/// The nodes, and what each was told.
pub(crate) struct Stage {
    /// `None`: the nodes are on the real ring.
    pub(crate) world: Option<World>,
    pub(crate) ios: Vec<Io>,
    pub(crate) seen: Vec<Vec<Seen>>,
    /// Nodes that send back from where it lies what comes, and close when their peer does.
    pub(crate) echoes: Vec<bool>,
}

impl Stage {
    /// A node for each configuration.
    pub(crate) fn real(configs: &[Config]) -> Self {
        let io = |config: &Config| Io::new(config.clone()).expect("an Io on the real ring");
        Self::new(None, configs.iter().map(io).collect())
    }

    pub(crate) fn simulated(configs: &[Config], world: World) -> Self {
        let io = |config: &Config| Io::in_world(config.clone(), &world).expect("a node");
        let ios = configs.iter().map(io).collect();
        Self::new(Some(world), ios)
    }

    fn new(world: Option<World>, ios: Vec<Io>) -> Self {
        let seen = ios.iter().map(|_| Vec::new()).collect();
        let echoes = vec![false; ios.len()];
        Self { world, ios, seen, echoes }
    }

    /// A listener of a node, and its address.
    pub(crate) fn listen(&mut self, node: usize) -> (EndpointId, SocketAddr) {
        let any = "127.0.0.1:0".parse().expect("an address");
        let listener = self.ios[node].tcp_listen(any).expect("listen");
        (listener, self.addr(node, listener))
    }

    pub(crate) fn addr(&mut self, node: usize, endpoint: EndpointId) -> SocketAddr {
        match self.ios[node].local_addr(endpoint).expect("it is open") {
            PeerAddr::Inet(addr) => addr,
            other => panic!("{other:?} is no IP address"),
        }
    }

    /// A connection from the last node to the first one, as both name it: `[first, last]`.
    pub(crate) fn connect(&mut self, to: SocketAddr) -> [ConnId; 2] {
        let before = self.accepted(0).len();
        let last = self.ios.len() - 1;
        let conn = self.ios[last].tcp_connect(to).expect("room");
        self.until("a connection", |stage| {
            stage.accepted(0).len() > before && stage.is_connected(last, conn)
        });
        [self.accepted(0)[before], conn]
    }

    /// Everybody polls, and time passes.
    pub(crate) fn turn(&mut self) {
        let is_real = self.world.is_none();
        self.turn_for(if is_real { Duration::from_millis(1) } else { Duration::from_secs(1) });
    }

    /// The same, for so long at most.
    fn turn_for(&mut self, span: Duration) {
        // Twice, as a loop that does nothing else: what falls due is done before time passes.
        for node in (0..self.ios.len()).chain(0..self.ios.len()) {
            self.poll(node, span);
        }
        if let Some(world) = &self.world
            && !world.advance_to_next()
        {
            world.advance_by(Duration::from_millis(1));
        }
    }

    fn poll(&mut self, node: usize, span: Duration) {
        let (io, seen) = (&mut self.ios[node], &mut self.seen[node]);
        io.poll(span).expect("a tick");
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            if self.echoes[node] {
                match event {
                    Event::StreamFrame { conn, data, .. } => {
                        sender.forward(conn, STREAM, data).expect("room");
                    }
                    Event::ReadClosed { conn, .. } => {
                        sender.close_graceful(conn, PATIENCE).expect("open");
                    }
                    _ => {}
                }
            }
            if let Some(new) = Seen::of(&event) {
                note(seen, new);
            }
        }
    }

    pub(crate) fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        for _ in 0..TURNS_MAX {
            self.turn();
            if done(self) {
                return;
            }
            if self.world.is_none() && start.elapsed() > PATIENCE {
                break;
            }
        }
        let tails = self.seen.iter().map(|seen| &seen[seen.len().saturating_sub(10)..]);
        let tails = format!("{:?}", tails.collect::<Vec<_>>());
        panic!("waited in vain for {what}: {}", &tails[..tails.len().min(2_000)]);
    }

    /// Until nothing is open, queued or held anywhere but for what listens.
    pub(crate) fn until_idle(&mut self) {
        self.until("rest", |stage| stage.ios.iter().all(Io::is_idle));
    }

    /// Lets that much time pass in the world.
    pub(crate) fn pass(&mut self, span: Duration) {
        let until_ns = self.now_ns() + span.as_nanos() as u64;
        while let Some(left_ns) = until_ns.checked_sub(self.now_ns()).filter(|left| *left > 0) {
            self.turn_for(Duration::from_nanos(left_ns));
        }
    }

    fn now_ns(&self) -> u64 {
        self.world.as_ref().expect("a world").now_ns()
    }

    // ---- what was told

    pub(crate) fn accepted(&self, node: usize) -> Vec<ConnId> {
        let accepted = |seen: &Seen| match *seen {
            Seen::Connected { conn, by: Some(_), .. } => Some(conn),
            _ => None,
        };
        self.seen[node].iter().filter_map(accepted).collect()
    }

    pub(crate) fn is_connected(&self, node: usize, id: ConnId) -> bool {
        let of = |seen: &Seen| matches!(*seen, Seen::Connected { conn, .. } if conn == id);
        self.seen[node].iter().any(of)
    }

    pub(crate) fn is_read_closed(&self, node: usize, conn: ConnId) -> bool {
        self.seen[node].contains(&Seen::ReadClosed { conn })
    }

    /// The bytes that came on a connection.
    pub(crate) fn data(&self, node: usize, id: ConnId) -> Vec<u8> {
        let mut all = Vec::new();
        for seen in &self.seen[node] {
            if let Seen::Data { conn, bytes } = seen
                && *conn == id
            {
                all.extend_from_slice(bytes);
            }
        }
        all
    }

    /// How a connection ended, each time that it was told.
    pub(crate) fn ends(&self, node: usize, id: ConnId) -> Vec<(u64, bool)> {
        let of = |seen: &Seen| match *seen {
            Seen::Ended { conn, code, clean } if conn == id => Some((code, clean)),
            _ => None,
        };
        self.seen[node].iter().filter_map(of).collect()
    }

    /// The guard writes that were told as done.
    pub(crate) fn done(&self, node: usize) -> Vec<(ConnId, u64, usize, SendOutcome)> {
        let of = |seen: &Seen| match *seen {
            Seen::Done { conn, token, bytes, outcome } => Some((conn, token, bytes, outcome)),
            _ => None,
        };
        self.seen[node].iter().filter_map(of).collect()
    }
}

fn note(seen: &mut Vec<Seen>, new: Seen) {
    if let Seen::Data { conn, bytes } = &new {
        let is_of =
            |old: &&mut Seen| old.conn() == Some(*conn) && !matches!(old, Seen::Done { .. });
        let last = seen.iter_mut().rev().find(is_of);
        if let Some(Seen::Data { bytes: old, .. }) = last {
            old.extend_from_slice(bytes);
            return;
        }
    }
    seen.push(new);
}
