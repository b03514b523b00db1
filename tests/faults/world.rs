//! An `Io` with a log of what it said, and clients from the standard library.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use zero_io::{
    Config, ConnId, EndpointId, Event, Io, OwnedSlot, SendOutcome, StreamId, TcpListenConfig,
};

pub(crate) use crate::linger::linger_zero;

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const S0: StreamId = StreamId::ZERO;
pub(crate) const ECONNREFUSED: u64 = libc::ECONNREFUSED as u64;

/// How many times slower than a usual machine this one is: a guest with translated code says so.
pub(crate) fn slower() -> u32 {
    std::env::var("ZERO_IO_SLOWER").map_or(1, |times| times.parse().expect("a number"))
}

/// An event, without what it borrows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ev {
    Connected(ConnId),
    Data(ConnId, Vec<u8>),
    ReadClosed(ConnId),
    Writable(ConnId),
    SendDone(ConnId, u64, usize, SendOutcome),
    Disconnected(ConnId, u64, bool),
    Timer(u64),
    User(u64),
    Udp(EndpointId, SocketAddr, Vec<u8>),
    Other,
}

/// What is done with a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Copied into the log.
    Log,
    /// Counted.
    Count,
    /// Sent back from where it lies.
    Forward,
    /// Detached and kept.
    Keep,
}

pub(crate) struct World {
    pub(crate) io: Io,
    pub(crate) log: Vec<Ev>,
    pub(crate) payload: Payload,
    /// Payload bytes by connection.
    pub(crate) bytes: HashMap<ConnId, usize>,
    pub(crate) kept: Vec<(ConnId, OwnedSlot)>,
    /// Where each of them begins among the bytes of its connection.
    pub(crate) kept_at: Vec<usize>,
    /// Payloads that could not be kept.
    pub(crate) refused: usize,
}

/// Every check on, and small pools so that the checks are cheap.
pub(crate) fn strict() -> Config {
    Config::default().with(|c| {
        c.pool_slot_count = 256;
        c.handle_reserve_count = 16;
        c.stream_buffer_count = 128;
        c.max_connections = 128;
        c.debug.poison_freed = true;
        c.debug.audit_every_tick = true;
        c.debug.trace_completions = 64;
    })
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            io: Io::new(config).unwrap(),
            log: Vec::new(),
            payload: Payload::Log,
            bytes: HashMap::new(),
            kept: Vec::new(),
            kept_at: Vec::new(),
            refused: 0,
        }
    }

    pub(crate) fn with_payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    pub(crate) fn listen(&mut self) -> SocketAddr {
        self.listen_with(|_| ())
    }

    pub(crate) fn listen_with(&mut self, change: impl FnOnce(&mut TcpListenConfig)) -> SocketAddr {
        let config = TcpListenConfig::new("127.0.0.1:0".parse().unwrap()).with(change);
        let endpoint = self.io.tcp_listen_with(config).unwrap();
        self.io.local_addr(endpoint).unwrap().inet().unwrap()
    }

    /// A listener, a client, and its connection here.
    pub(crate) fn pair(&mut self) -> (ConnId, TcpStream) {
        let addr = self.listen();
        self.join(addr)
    }

    /// One more client.
    pub(crate) fn join(&mut self, addr: SocketAddr) -> (ConnId, TcpStream) {
        let client = connect(addr);
        let before = self.log.len();
        self.until("a connection", |w| {
            w.log[before..].iter().any(|e| matches!(e, Ev::Connected(_)))
        });
        let conn = self.log[before..].iter().find_map(|e| match e {
            Ev::Connected(conn) => Some(*conn),
            _ => None,
        });
        (conn.unwrap(), client)
    }

    /// A connection from here, and its other end.
    pub(crate) fn reach(&mut self) -> (ConnId, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let conn = self.io.tcp_connect(listener.local_addr().unwrap()).unwrap();
        self.until("a connection", |w| w.has(&Ev::Connected(conn)));
        let (peer, _) = listener.accept().unwrap();
        peer.set_nodelay(true).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.set_write_timeout(Some(PATIENCE)).unwrap();
        (conn, peer)
    }

    /// One poll, and all of its events.
    pub(crate) fn turn(&mut self, timeout: Duration) {
        self.io.poll(timeout).unwrap();
        while self.take_event() {}
    }

    /// Handles one event. Whether there was one.
    pub(crate) fn take_event(&mut self) -> bool {
        let (mut events, mut sender) = self.io.split();
        let Some(event) = events.next_event() else { return false };
        let logged = match event {
            Event::Connected { conn, .. } => Ev::Connected(conn),
            Event::ReadClosed { conn, .. } => Ev::ReadClosed(conn),
            Event::Writable { conn, .. } => Ev::Writable(conn),
            Event::SendDone { conn, token, bytes, outcome } => {
                Ev::SendDone(conn, token, bytes, outcome)
            }
            Event::Disconnected { conn, error_code, clean, .. } => {
                Ev::Disconnected(conn, error_code, clean)
            }
            Event::Timer { token, .. } => Ev::Timer(token),
            Event::User { token, .. } => Ev::User(token),
            Event::UdpRecv { endpoint, from, data, .. } => Ev::Udp(endpoint, from, data.to_vec()),
            Event::StreamFrame { conn, data, .. } => {
                let bytes = self.bytes.entry(conn).or_default();
                let at = *bytes;
                *bytes += data.len();
                match self.payload {
                    Payload::Log => {
                        self.log.push(Ev::Data(conn, data.to_vec()));
                    }
                    Payload::Count => {}
                    // The connection may have ended: its `Disconnected` says so.
                    Payload::Forward => drop(sender.forward(conn, S0, data).is_ok()),
                    Payload::Keep => match events.detach_event_data() {
                        Some(slot) => {
                            self.kept.push((conn, slot));
                            self.kept_at.push(at);
                        }
                        None => self.refused += 1,
                    },
                }
                return true;
            }
            _ => Ev::Other,
        };
        self.log.push(logged);
        true
    }

    /// Polls until `done`, for so long at most.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        while !done(self) {
            let tail = &self.log[self.log.len().saturating_sub(10)..];
            assert!(
                start.elapsed() < PATIENCE,
                "no {what}; {:?}; {:?}; the last events: {tail:?}",
                self.io.pool_stats(),
                self.io.io_stats()
            );
            self.turn(Duration::from_millis(5));
        }
    }

    /// Polls for a while.
    pub(crate) fn run_for(&mut self, span: Duration) {
        let start = Instant::now();
        while start.elapsed() < span {
            self.turn(Duration::from_millis(5));
        }
    }

    /// Waits for the end of a connection; its code, and whether it was clean.
    pub(crate) fn end_of(&mut self, conn: ConnId) -> (u64, bool) {
        self.until("Disconnected", |w| w.ends(conn).len() == 1);
        self.ends(conn)[0]
    }

    /// The ends of a connection that were told: one at most.
    pub(crate) fn ends(&self, conn: ConnId) -> Vec<(u64, bool)> {
        let ends = self.log.iter().filter_map(|e| match e {
            Ev::Disconnected(c, code, clean) if *c == conn => Some((*code, *clean)),
            _ => None,
        });
        ends.collect()
    }

    /// All that a connection received, in order; under `Payload::Log`.
    pub(crate) fn received(&self, conn: ConnId) -> Vec<u8> {
        let pieces = self.log.iter().filter_map(|e| match e {
            Ev::Data(c, data) if *c == conn => Some(&data[..]),
            _ => None,
        });
        pieces.collect::<Vec<_>>().concat()
    }

    pub(crate) fn has(&self, event: &Ev) -> bool {
        self.log.contains(event)
    }

    /// Nothing is held or under way any more, and no connection was told to end twice.
    pub(crate) fn must_be_idle(&mut self) {
        self.until("idle shard", |w| w.io.is_idle());
        self.io.audit();
        let mut ends = HashMap::new();
        for event in &self.log {
            if let Ev::Disconnected(conn, ..) = event {
                *ends.entry(*conn).or_insert(0) += 1;
            }
        }
        assert!(ends.values().all(|n| *n == 1), "a connection ended twice: {ends:?}");
    }
}

// ---- clients

pub(crate) fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What a read that does not wait finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    Bytes(Vec<u8>),
    End,
    Reset,
}

pub(crate) fn look(mut stream: &TcpStream) -> Found {
    let mut bytes = vec![0; 1 << 16];
    stream.set_nonblocking(true).unwrap();
    let result = stream.read(&mut bytes);
    stream.set_nonblocking(false).unwrap();
    match result {
        Ok(0) => Found::End,
        Ok(n) => {
            bytes.truncate(n);
            Found::Bytes(bytes)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Found::Nothing,
        Err(_) => Found::Reset,
    }
}

/// Writes what the kernel takes at once; how much.
pub(crate) fn push(mut stream: &TcpStream, data: &[u8]) -> usize {
    stream.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while sent < data.len() {
        match stream.write(&data[sent..]) {
            Ok(n) => sent += n,
            Err(_) => break,
        }
    }
    stream.set_nonblocking(false).unwrap();
    sent
}

/// Ends a client with RST.
pub(crate) fn reset(stream: TcpStream) {
    linger_zero(&stream);
    drop(stream);
}

/// Bytes that differ at every place that a mix-up could reach, by `seed`.
pub(crate) fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    (0..len).map(|_| rng.next() as u8).collect()
}

/// Marsaglia's xorshift: enough for tests.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

// ---- the process

pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// CPU time of the calling thread.
pub(crate) fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the time is a local that outlives the call.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(answer, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

const MARK: &str = "ZERO_IO_FAULTS_PROCESS";

/// Whether this is the process that `in_a_process` or `peer_process` made for that test.
pub(crate) fn is_child_of(test: &str) -> bool {
    std::env::var_os(MARK).is_some_and(|name| name == test)
}

pub(crate) fn this_test(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(MARK, test);
    command
}

/// Runs the body in a process that runs the test of that name alone.
pub(crate) fn in_a_process(test: &str, body: impl FnOnce()) {
    if is_child_of(test) {
        return body();
    }
    let output = this_test(test).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let passed = output.status.success() && text.contains("1 passed");
    assert!(passed, "{test}: {text}{errors}");
}

/// Starts the test of that name anew, with an argument for the role that it plays there.
pub(crate) fn peer_process(test: &str, argument: &str) -> std::process::Child {
    this_test(test).env("ZERO_IO_FAULTS_ARGUMENT", argument).spawn().unwrap()
}

pub(crate) fn peer_argument() -> String {
    std::env::var("ZERO_IO_FAULTS_ARGUMENT").unwrap()
}
