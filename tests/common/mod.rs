//! What the integration tests share: a shard that keeps what it saw, connected pairs, bytes that
//! can be told apart, and patience that has an end.
//!
//! *Invariant*: no helper waits longer than [`PATIENCE`]; a wait in vain panics with what was seen.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zero_io::{
    Config, ConnId, EndpointId, Event, Io, MessageKind, PeerAddr, PoolPressureInfo, Protocol,
    Readiness, SendOutcome, StreamId, TcpListenConfig, TimerId, WatchId,
};

/// How long anything may take, debug builds on a busy machine included.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The longest sleep of one poll.
pub(crate) const TICK: Duration = Duration::from_millis(5);
pub(crate) const STREAM: StreamId = StreamId::ZERO;

/// An event that owns its parts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Connected {
        conn: ConnId,
        endpoint: Option<EndpointId>,
        peer: PeerAddr,
        protocol: Protocol,
        alpn: Option<Vec<u8>>,
    },
    Secured {
        conn: ConnId,
        alpn: Option<Vec<u8>>,
    },
    Disconnected {
        conn: ConnId,
        code: u64,
        reason: String,
        clean: bool,
    },
    Frame {
        conn: ConnId,
        kind: MessageKind,
        data: Vec<u8>,
    },
    ReadClosed {
        conn: ConnId,
    },
    Writable {
        conn: ConnId,
        credit: usize,
    },
    SendDone {
        conn: ConnId,
        token: u64,
        bytes: usize,
        outcome: SendOutcome,
    },
    Timer {
        timer: TimerId,
        token: u64,
    },
    FdReady {
        watch: WatchId,
        token: u64,
        readiness: Readiness,
    },
    User {
        token: u64,
        data: Vec<u8>,
    },
    Udp(Datagram),
    Pressure(PoolPressureInfo),
    Other(String),
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Datagram {
    pub(crate) endpoint: EndpointId,
    pub(crate) from: SocketAddr,
    pub(crate) local: Option<IpAddr>,
    pub(crate) ecn: u8,
    pub(crate) timestamp_ns: Option<u64>,
    pub(crate) truncated: bool,
    pub(crate) data: Vec<u8>,
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Connected { conn, endpoint, peer, protocol, alpn } => {
                let alpn = alpn.map(<[u8]>::to_vec);
                Self::Connected { conn, endpoint, peer, protocol, alpn }
            }
            Event::Secured { conn, alpn } => Self::Secured { conn, alpn: alpn.map(<[u8]>::to_vec) },
            Event::Disconnected { conn, error_code: code, reason, clean, .. } => {
                let reason = String::from_utf8_lossy(reason).into_owned();
                Self::Disconnected { conn, code, reason, clean }
            }
            Event::StreamFrame { conn, stream, kind, data, .. } => {
                assert_eq!(stream, STREAM);
                Self::Frame { conn, kind, data: data.to_vec() }
            }
            Event::ReadClosed { conn, .. } => Self::ReadClosed { conn },
            Event::Writable { conn, credit, .. } => Self::Writable { conn, credit },
            Event::SendDone { conn, token, bytes, outcome } => {
                Self::SendDone { conn, token, bytes, outcome }
            }
            Event::Timer { timer, token } => Self::Timer { timer, token },
            Event::FdReady { watch, token, readiness } => Self::FdReady { watch, token, readiness },
            Event::User { token, data } => Self::User { token, data: data.to_vec() },
            Event::UdpRecv { endpoint, from, local, ecn, timestamp_ns, truncated, data } => {
                let data = data.to_vec();
                Self::Udp(Datagram { endpoint, from, local, ecn, timestamp_ns, truncated, data })
            }
            Event::PoolPressure { info } => Self::Pressure(info),
            other => Self::Other(format!("{other:?}")),
        }
    }
}

/// An `Io` and what it told.
pub(crate) struct Shard {
    pub(crate) io: Io,
    pub(crate) seen: Vec<Seen>,
    open: BTreeSet<ConnId>,
}

impl Shard {
    pub(crate) fn new() -> Self {
        Self::with(|_| ())
    }

    /// The defaults after `change`, with every check of the engine on.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let config = Config::default().with(|c| {
            c.debug.audit_every_tick = true;
            c.debug.poison_freed = true;
        });
        Self::of(config.with(change))
    }

    pub(crate) fn of(config: Config) -> Self {
        let io = Io::new(config).expect("an Io");
        Self { io, seen: Vec::new(), open: BTreeSet::new() }
    }

    /// One poll, and all its events.
    pub(crate) fn step(&mut self, timeout: Duration) {
        self.io.poll(timeout).expect("poll");
        while let Some(event) = self.io.next_event() {
            let seen = Seen::from(event);
            match seen {
                Seen::Connected { conn, .. } => {
                    assert!(self.open.insert(conn), "{conn} connected twice");
                }
                Seen::Disconnected { conn, .. } => {
                    self.open.remove(&conn);
                }
                _ => {}
            }
            self.seen.push(seen);
        }
    }

    /// Polls until `done`.
    ///
    /// # Panics
    /// When it never is.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            if start.elapsed() > PATIENCE {
                let list = self.list();
                panic!("waited in vain for {what}; {:?}\n{list}", self.io.io_stats());
            }
            self.step(TICK);
        }
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.step(TICK);
        }
    }

    /// The first event for which `pick` has an answer, waited for and taken off the list.
    #[track_caller]
    pub(crate) fn wait<T>(&mut self, what: &str, pick: impl Fn(&Seen) -> Option<T>) -> T {
        let mut found = None;
        self.until(what, |shard| {
            let at = shard.seen.iter().position(|seen| pick(seen).is_some());
            found = at.and_then(|at| pick(&shard.seen.remove(at)));
            found.is_some()
        });
        found.expect("`until` returned")
    }

    pub(crate) fn count(&self, is_it: impl Fn(&Seen) -> bool) -> usize {
        self.seen.iter().filter(|seen| is_it(seen)).count()
    }

    /// All bytes that came on a connection so far.
    pub(crate) fn bytes_of(&self, conn: ConnId) -> Vec<u8> {
        let mut all = Vec::new();
        for seen in &self.seen {
            if let Seen::Frame { conn: c, data, .. } = seen
                && *c == conn
            {
                all.extend_from_slice(data);
            }
        }
        all
    }

    /// Waits for so many bytes; all that came.
    #[track_caller]
    pub(crate) fn wait_bytes(&mut self, conn: ConnId, len: usize) -> Vec<u8> {
        let mut at = 0;
        let mut all = Vec::new();
        self.until("bytes", |shard| {
            for seen in &shard.seen[at..] {
                if let Seen::Frame { conn: c, data, .. } = seen
                    && *c == conn
                {
                    all.extend_from_slice(data);
                }
            }
            at = shard.seen.len();
            all.len() >= len
        });
        all
    }

    /// Waits for the next connection of that listener (`None`: of a connect call).
    #[track_caller]
    pub(crate) fn wait_connected(&mut self, of: Option<EndpointId>) -> ConnId {
        self.wait("Connected", |seen| match seen {
            Seen::Connected { conn, endpoint, .. } if *endpoint == of => Some(*conn),
            _ => None,
        })
    }

    /// Waits for the end of a connection: its code, and whether it was clean.
    #[track_caller]
    pub(crate) fn wait_end(&mut self, conn: ConnId) -> (u64, bool) {
        self.wait("Disconnected", |seen| match seen {
            Seen::Disconnected { conn: c, code, clean, .. } if *c == conn => Some((*code, *clean)),
            _ => None,
        })
    }

    #[track_caller]
    pub(crate) fn wait_read_closed(&mut self, conn: ConnId) {
        self.wait("ReadClosed", |seen| (*seen == Seen::ReadClosed { conn }).then_some(()));
    }

    #[track_caller]
    pub(crate) fn wait_datagram(&mut self, endpoint: EndpointId) -> Datagram {
        self.wait("a datagram", |seen| match seen {
            Seen::Udp(datagram) if datagram.endpoint == endpoint => Some(datagram.clone()),
            _ => None,
        })
    }

    /// A listener on a port of the system's choice.
    pub(crate) fn listen(&mut self) -> (EndpointId, SocketAddr) {
        self.listen_with(|_| ())
    }

    pub(crate) fn listen_with(
        &mut self,
        change: impl FnOnce(&mut TcpListenConfig),
    ) -> (EndpointId, SocketAddr) {
        let config = TcpListenConfig::new(localhost()).with(change);
        let endpoint = self.io.tcp_listen_with(config).expect("listen");
        (endpoint, self.addr_of(endpoint))
    }

    pub(crate) fn addr_of(&mut self, endpoint: EndpointId) -> SocketAddr {
        self.io.local_addr(endpoint).expect("an address").inet().expect("an IP address")
    }

    /// A connection of this shard whose peer is a blocking socket.
    pub(crate) fn accepted(&mut self) -> (ConnId, TcpStream) {
        self.accepted_with(|_| ())
    }

    pub(crate) fn accepted_with(
        &mut self,
        change: impl FnOnce(&mut TcpListenConfig),
    ) -> (ConnId, TcpStream) {
        let (endpoint, addr) = self.listen_with(change);
        let peer = dial(addr);
        let conn = self.wait_connected(Some(endpoint));
        self.io.endpoint_close(endpoint).expect("close the listener");
        (conn, peer)
    }

    /// Writes all of it, as the connection takes it.
    #[track_caller]
    pub(crate) fn write_all(&mut self, conn: ConnId, data: &[u8]) {
        let mut done = 0;
        self.until("room to write", |shard| {
            done += shard.io.stream_write(conn, STREAM, &data[done..]).expect("write");
            done == data.len()
        });
    }

    /// Polls until a peer's thread has ended; what it gave.
    #[track_caller]
    pub(crate) fn join<T>(&mut self, thread: JoinHandle<T>) -> T {
        self.until("a peer's thread to end", |_| thread.is_finished());
        thread.join().expect("the peer is content")
    }

    /// Closes what is open and checks that nothing is left behind.
    #[track_caller]
    pub(crate) fn finish(mut self) {
        for conn in self.open.clone() {
            let _ = self.io.close(conn);
        }
        self.until("nothing to be left", |shard| shard.open.is_empty() && shard.io.is_idle());
        self.io.audit();
    }

    fn list(&self) -> String {
        const SHOWN: usize = 60;
        let skipped = self.seen.len().saturating_sub(SHOWN);
        let mut out = format!("{} events, the last ones:\n", self.seen.len());
        for seen in &self.seen[skipped..] {
            let line: String = format!("{seen:?}").chars().take(160).collect();
            let _ = writeln!(out, "  {line}");
        }
        out
    }
}

pub(crate) fn localhost() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// A blocking client that does not wait for ever.
pub(crate) fn dial(addr: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(addr).expect("connect"))
}

pub(crate) fn patient(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENCE)).expect("timeout");
    stream.set_write_timeout(Some(PATIENCE)).expect("timeout");
    stream.set_nodelay(true).expect("nodelay");
    stream
}

/// A blocking listener.
pub(crate) fn plain_listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind(localhost()).expect("bind");
    let addr = listener.local_addr().expect("an address");
    (listener, addr)
}

/// Bytes that repeat only after a long while, another sequence for each seed.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Compares without printing megabytes.
#[track_caller]
pub(crate) fn assert_same(got: &[u8], wanted: &[u8]) {
    let at = got.iter().zip(wanted).position(|(a, b)| a != b);
    assert!(at.is_none(), "the first difference is at {at:?} of {}", wanted.len());
    assert_eq!(got.len(), wanted.len(), "the lengths differ");
}

/// All bytes until the end of the stream.
pub(crate) fn read_to_end(mut stream: impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("read to the end");
    all
}

/// Each test binary uses a part of the above; this uses all of it, and is never called.
const _: fn(&Shard) = |shard| {
    let _ = (Shard::new, Shard::of, Shard::run_for, Shard::bytes_of, Shard::wait_bytes);
    let _ = (Shard::wait_end, Shard::wait_read_closed, Shard::wait_datagram, Shard::accepted);
    let _ = (Shard::write_all, Shard::finish, Shard::listen, shard.count(|_| true));
    let _ = Shard::join::<()>;
    let _ = (plain_listener, pattern, assert_same, read_to_end(&[][..]), TICK, STREAM);
};
