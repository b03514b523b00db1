//! QUIC load generator on zero-io; drives all QUIC servers, like `quic-client`, and prints the same JSON line. It packs its
//! packets into GSO trains, so that it takes less of its core than most servers take of theirs.
//!
//! Usage: `quic-load [--port 7000] [--mode rr] [--conns 1] [--conc 32] [--size 64] [--warm 0.3] [--secs 2] [--count N]
//! [--hold S] [knob=value...]`
//!
//! MODE:
//! * `bulk` downloads an endless stream on each connection; the unit counted is 16 KiB
//! * `bulk-up` uploads one
//! * `rr` CONC bidirectional streams in flight on each connection, SIZE bytes each way, a new stream for each request
//! * `dgram` CONC datagrams of SIZE bytes in flight on each connection, echoed
//! * `dgram-down`, `dgram-up` datagrams in one direction, as many as go; those that arrive are counted
//! * `hs` CONC full handshakes in flight
//! * `idle` CONNS connections, one request each, held for S seconds
//!
//! The server's certificate is not checked.
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use zero_io::{
    Config, ConnId, Event, Io, IoError, QuicConnectConfig, QuicTransport, Roots, Sender, StreamDir,
    StreamId, TlsClientConfig, TlsVersion,
};

static CHUNK: [u8; 64 << 10] = [b'x'; 64 << 10];
/// `dgram-up`: those are counted and not echoed.
static COUNTED: [u8; 2048] = [b'S'; 2048];
const UNIT: u64 = 16 << 10;

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Bulk,
    Up,
    Rr,
    Dgram,
    DgramDown,
    DgramUp,
    Hs,
    Idle,
}

struct Args {
    port: u16,
    mode: Mode,
    conns: usize,
    conc: usize,
    size: usize,
    warm: f64,
    secs: f64,
    count: u64,
    hold: f64,
}

/// One connection of ours.
struct Peer {
    conn: ConnId,
    /// Requests or datagrams that should be in flight and are not.
    missing: usize,
    /// The stream that asks how many datagrams arrived.
    query: Option<StreamId>,
}

struct Load {
    args: Args,
    addr: SocketAddr,
    tls: TlsClientConfig,
    transport: QuicTransport,
    peers: Vec<Peer>,
    /// What was done so far, in the mode's unit; `bytes` is the part of one.
    done: u64,
    bytes: u64,
    lost: u64,
    errors: u64,
    connected: usize,
}

fn main() {
    peerkit::init();
    let mut transport = zero_quic::transport();
    let mut config = Config::default().with(|c| c.max_connections = 16_384);
    for arg in std::env::args().skip(1) {
        if let Some((knob, value)) = arg.split_once('=') {
            let is_known = zero_quic::knob(&mut transport, knob, value)
                || zero_quic::engine_knob(&mut config, knob, value)
                || zero_echo::set(&mut config, knob, value);
            assert!(is_known, "unknown argument {arg}");
        }
    }
    let args = args();
    let tls = TlsClientConfig::with_roots(Roots::from_pem_file(peerkit::cert("cert.pem")))
        .versions(TlsVersion::Tls13, TlsVersion::Tls13)
        .cipher_suites(["TLS_AES_128_GCM_SHA256"])
        .key_exchange(["x25519"])
        .alpn(["h3"])
        .server_name("localhost")
        .session_cache(0)
        .danger()
        .accept_any_certificate()
        .build()
        .expect("configuration");
    let addr = SocketAddr::from(([127, 0, 0, 1], args.port));
    let mut load = Load {
        args,
        addr,
        tls,
        transport,
        peers: Vec::new(),
        done: 0,
        bytes: 0,
        lost: 0,
        errors: 0,
        connected: 0,
    };
    let mut io = Io::new(config).expect("a ring");
    load.run(&mut io);
}

fn args() -> Args {
    let given: Vec<String> = std::env::args().collect();
    let get = |key: &str, default: &str| {
        let at = given.iter().position(|arg| arg == key);
        at.map_or(default.to_string(), |at| given[at + 1].clone())
    };
    let number = |key: &str, default: &str| get(key, default).parse::<f64>().expect("a number");
    Args {
        port: number("--port", "7000") as u16,
        mode: match &*get("--mode", "rr") {
            "bulk" => Mode::Bulk,
            "bulk-up" => Mode::Up,
            "rr" => Mode::Rr,
            "dgram" => Mode::Dgram,
            "dgram-down" => Mode::DgramDown,
            "dgram-up" => Mode::DgramUp,
            "hs" => Mode::Hs,
            "idle" => Mode::Idle,
            mode => panic!("mode {mode}?"),
        },
        conns: number("--conns", "1") as usize,
        conc: number("--conc", "32") as usize,
        size: number("--size", "64") as usize,
        warm: number("--warm", "0.3"),
        secs: number("--secs", "2"),
        count: number("--count", "0") as u64,
        hold: number("--hold", "0"),
    }
}

impl Load {
    fn run(&mut self, io: &mut Io) {
        self.connect_all(io);
        let begin = Instant::now();
        if self.args.mode == Mode::Idle {
            return self.idle(io);
        }
        if self.args.count > 0 {
            self.drive(io, |load| load.done >= load.args.count);
            return self.report(self.done, begin.elapsed().as_secs_f64(), 0.0);
        }
        self.drive_for(io, self.args.warm);
        let (before, begin, cpu_before) = (self.settled(io), Instant::now(), cpu());
        self.drive_for(io, self.args.secs);
        let (secs, busy) = (begin.elapsed().as_secs_f64(), cpu() - cpu_before);
        let after = self.settled(io);
        self.report(after - before, secs, busy / secs);
    }

    /// The units so far. Datagrams that only the server saw are asked for.
    fn settled(&mut self, io: &mut Io) -> u64 {
        if self.args.mode == Mode::DgramUp {
            self.done = 0;
            for peer in &mut self.peers {
                let stream = io.stream_open(peer.conn, StreamDir::Bidi).expect("a stream");
                io.stream_write(peer.conn, stream, b"C").expect("a query");
                io.stream_finish(peer.conn, stream).expect("its end");
                peer.query = Some(stream);
            }
            self.drive(io, |load| load.peers.iter().all(|peer| peer.query.is_none()));
        }
        self.done
    }

    fn connect_all(&mut self, io: &mut Io) {
        let count = if self.args.mode == Mode::Hs { self.args.conc } else { self.args.conns };
        let mut begun = 0;
        while self.connected < count && self.args.mode != Mode::Hs || begun < count {
            // As many as a server takes at a time.
            while begun < count && begun < self.connected + 64 {
                self.connect(&mut io.split().1);
                begun += 1;
            }
            self.turn(io);
        }
    }

    fn connect(&mut self, sender: &mut Sender<'_>) {
        let config = QuicConnectConfig::new(self.addr, self.tls.clone())
            .with(|c| c.transport = self.transport.clone());
        sender.quic_connect_with(config).expect("connect");
    }

    fn drive_for(&mut self, io: &mut Io, secs: f64) {
        let end = Instant::now() + Duration::from_secs_f64(secs);
        self.drive(io, |_| Instant::now() >= end);
    }

    fn drive(&mut self, io: &mut Io, is_over: impl Fn(&Self) -> bool) {
        let mut seen = (self.done, Instant::now());
        while !is_over(self) {
            self.turn(io);
            if seen.0 != self.done {
                seen = (self.done, Instant::now());
            } else if self.args.mode == Mode::Dgram
                && seen.1.elapsed() > Duration::from_millis(100)
            {
                self.lost += (self.args.conc * self.peers.len()) as u64;
                self.peers.iter_mut().for_each(|peer| peer.missing = self.args.conc);
                seen.1 = Instant::now();
            }
        }
    }

    fn turn(&mut self, io: &mut Io) {
        io.poll(Duration::from_millis(10)).expect("poll");
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            self.on_event(&mut sender, &event);
        }
        self.refill(&mut sender);
    }

    fn on_event(&mut self, sender: &mut Sender<'_>, event: &Event<'_>) {
        match *event {
            Event::Connected { conn, .. } => self.on_connected(sender, conn),
            Event::StreamFrame { conn, data, .. } => self.on_frame(conn, data),
            Event::ReadClosed { conn, stream } => {
                let mode = self.args.mode;
                let Some(peer) = self.peer(conn) else { return };
                if peer.query == Some(stream) {
                    peer.query = None;
                } else if mode == Mode::Rr {
                    peer.missing += 1;
                    self.done += 1;
                }
            }
            Event::Writable { conn, stream, .. } => self.write(sender, conn, stream),
            Event::Datagram { conn, .. } => {
                self.done += 1;
                if self.args.mode == Mode::Dgram {
                    let data = &CHUNK[..self.args.size];
                    if sender.send_datagram(conn, data).is_err()
                        && let Some(peer) = self.peer(conn)
                    {
                        peer.missing += 1;
                    }
                }
            }
            Event::Disconnected { conn, error_code, reason, .. } => {
                if self.args.mode != Mode::Hs {
                    panic!("{conn:?} lost: {error_code:#x} {}", String::from_utf8_lossy(reason));
                }
                if self.connected == 0 || error_code != zero_io::code::LOCAL_CLOSE {
                    self.errors += 1;
                    self.connect(sender);
                }
            }
            _ => {}
        }
    }

    fn on_connected(&mut self, sender: &mut Sender<'_>, conn: ConnId) {
        self.connected += 1;
        if self.args.mode == Mode::Hs {
            self.done += 1;
            let _ = sender.close(conn);
            return self.connect(sender);
        }
        let missing = self.args.conc;
        self.peers.push(Peer { conn, missing, query: None });
        let first: &[u8] = match self.args.mode {
            Mode::Bulk => b"B",
            Mode::Up => b"U",
            Mode::DgramDown => &[b'D', (self.args.size >> 8) as u8, self.args.size as u8],
            Mode::Idle => b"hello",
            _ => return,
        };
        let stream = sender.stream_open(conn, StreamDir::Bidi).expect("the first stream");
        sender.stream_write(conn, stream, first).expect("the first bytes");
        match self.args.mode {
            // So that it is a frame of its own.
            Mode::Up => self.peer(conn).expect("just made").query = Some(stream),
            Mode::Idle => sender.stream_finish(conn, stream).expect("its end"),
            _ => {}
        }
    }

    fn on_frame(&mut self, conn: ConnId, data: &[u8]) {
        match self.args.mode {
            Mode::Bulk => self.add(data.len()),
            Mode::DgramUp => {
                let count = data.try_into().map(u64::from_be_bytes).expect("eight bytes");
                assert!(self.peer(conn).is_some_and(|peer| peer.query.is_some()));
                self.done += count;
            }
            _ => {}
        }
    }

    fn add(&mut self, len: usize) {
        self.bytes += len as u64;
        self.done += self.bytes / UNIT;
        self.bytes %= UNIT;
    }

    fn write(&mut self, sender: &mut Sender<'_>, conn: ConnId, stream: StreamId) {
        while let Ok(len) = sender.stream_write(conn, stream, &CHUNK) {
            self.add(len);
            if len < CHUNK.len() {
                return;
            }
        }
    }

    /// Puts what is missing in flight.
    fn refill(&mut self, sender: &mut Sender<'_>) {
        let size = self.args.size;
        let mut uploads = Vec::new();
        for Peer { conn, missing, query } in &mut self.peers {
            match self.args.mode {
                Mode::Rr => {
                    while *missing > 0 && request(sender, *conn, &CHUNK[..size]) {
                        *missing -= 1;
                    }
                }
                Mode::Dgram => {
                    while *missing > 0 && sender.send_datagram(*conn, &CHUNK[..size]).is_ok() {
                        *missing -= 1;
                    }
                }
                Mode::DgramUp if query.is_none() => {
                    while sender.send_datagram(*conn, &COUNTED[..size]).is_ok() {}
                }
                Mode::Up => {
                    if let Some(stream) = query.take() {
                        uploads.push((*conn, stream));
                    }
                }
                _ => {}
            }
        }
        for (conn, stream) in uploads {
            self.write(sender, conn, stream);
        }
    }

    fn peer(&mut self, conn: ConnId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.conn == conn)
    }

    fn idle(&mut self, io: &mut Io) {
        let settled = Instant::now() + Duration::from_secs(1);
        self.drive(io, |_| Instant::now() > settled);
        println!("held {}", self.peers.len());
        self.drive_for(io, self.args.hold);
    }

    fn report(&self, done: u64, secs: f64, busy: f64) {
        let unit = match self.args.mode {
            Mode::Bulk | Mode::Up => UNIT,
            _ => self.args.size as u64,
        };
        println!(
            "{{\"rps\":{:.0},\"mbps\":{:.1},\"gen_cpu\":{busy:.3},\"n_total\":{},\"n\":{done},\"errors\":{},\"lost\":{}}}",
            done as f64 / secs,
            (done * unit) as f64 / secs / 1e6,
            self.done,
            self.errors,
            self.lost
        );
    }
}

/// A request on a stream of its own; false when there is none to be had now.
fn request(sender: &mut Sender<'_>, conn: ConnId, data: &[u8]) -> bool {
    let stream = match sender.stream_open(conn, StreamDir::Bidi) {
        Ok(stream) => stream,
        Err(IoError::StreamLimit { .. }) => return false,
        Err(error) => panic!("{error}"),
    };
    let taken = sender.stream_write(conn, stream, data).expect("a write");
    assert_eq!(taken, data.len(), "a request fits the windows");
    sender.stream_finish(conn, stream).expect("its end");
    true
}

/// Seconds of this process.
fn cpu() -> f64 {
    // SAFETY: a plain structure for the kernel to fill.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let secs = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
    secs(usage.ru_utime) + secs(usage.ru_stime)
}
