//! Two shards on two processors against one: operations per second, and per second of the shards'
//! own time.
//!
//! One shard is on processor 0, and one thread of the generator on 1. Two shards are on 0 and 1,
//! and so are two threads of the generator, which has as many connections in either case. With s
//! and g the times that server and generator take for an operation, one shard does at most
//! 1 / max(s, g) per second and two at most 2 / (s + g): so the ratio is at most
//! 2 max(s, g) / (s + g).
//!
//! Two shards share their processors with the generator, and the one does not: that alone makes an
//! operation dearer, by switches and by cold caches. So there is a third run, of two clusters that
//! have one shard each and nothing in common, with half of each generator's connections. What the
//! two shards of one cluster cost beyond that is what they cost each other.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use zero_io::{
    ClusterConfig, ClusterHandle, ClusterReport, Config, CpuAffinity, DrainOptions, Event,
    HttpListenConfig, Io, IoCluster, Result, ShardIo, StreamDir, StreamId, TcpListenConfig,
    ZeroResponse, pin_current_thread,
};

use crate::quic::Keys;
use crate::{Quartiles, cpu};

const ANY: &str = "127.0.0.1:0";
const CONNECTIONS: usize = 64;
const WARM: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_millis(1500);
const ECHO: [u8; 256] = [42; 256];
const PLAIN: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
const GZIP: &[u8] = b"GET /text HTTP/1.1\r\nhost: localhost\r\naccept-encoding: gzip\r\n\r\n";

/// One measurement.
struct Figures {
    per_second: f64,
    /// Seconds of processor time for an operation.
    server: f64,
    generator: f64,
    /// How busy the generator's threads were.
    generator_busy: f64,
}

/// Who runs where: the shards of each cluster, and the generator's threads.
struct Layout {
    what: &'static str,
    clusters: &'static [&'static [usize]],
    generators: &'static [usize],
}

const LAYOUTS: [Layout; 3] = [
    Layout { what: "1", clusters: &[&[0]], generators: &[1] },
    Layout { what: "2", clusters: &[&[0, 1]], generators: &[1, 0] },
    Layout { what: "1 and 1, strangers", clusters: &[&[0], &[1]], generators: &[1, 0] },
];

pub(crate) fn run(load: &str, rounds: usize) {
    let load = Load::named(load);
    let (mut ratios, mut bounds) = (Vec::new(), Vec::new());
    let (mut to_alone, mut to_strangers) = (Vec::new(), Vec::new());
    println!("| {}: shards | operations/s | shards' CPU | generator's CPU | its load |", load.name);
    for _ in 0..rounds {
        let figures = LAYOUTS.map(|layout| {
            let figures = measure(&load, &layout);
            println!(
                "| {} | {:.0} | {:.2} us | {:.2} us | {:.0} % |",
                layout.what,
                figures.per_second,
                figures.server * 1e6,
                figures.generator * 1e6,
                figures.generator_busy * 100.0
            );
            figures
        });
        let [one, two, strangers] = figures;
        ratios.push(two.per_second / one.per_second);
        let slower = one.server.max(one.generator);
        bounds.push(2.0 * slower / (one.server + one.generator));
        to_alone.push(one.server / two.server);
        to_strangers.push(strangers.server / two.server);
    }
    println!("{}: median (quartiles) of {rounds} rounds", load.name);
    println!("  operations per second, 2 vs 1: {}", Quartiles::of(ratios));
    println!("  what two processors allow: {}", Quartiles::of(bounds));
    println!("  operations per CPU second of the shards, 2 vs 1: {}", Quartiles::of(to_alone));
    println!("  the same vs two clusters of 1: {}", Quartiles::of(to_strangers));
}

/// What is asked of the server, again as soon as it is answered.
#[derive(Clone)]
struct Load {
    name: &'static str,
    request: &'static [u8],
    /// Who asks by QUIC, and whom it trusts.
    quic: Option<Keys>,
}

impl Load {
    fn named(name: &str) -> Self {
        let (name, request): (_, &'static [u8]) = match name {
            "tcp" => ("tcp", &ECHO),
            "quic" => ("quic", &ECHO),
            "http" => ("http", PLAIN),
            "gzip" => ("gzip", GZIP),
            other => panic!("{other}: not tcp, http, gzip or quic"),
        };
        let quic = (name == "quic").then(Keys::new);
        Self { name, request, quic }
    }
}

fn measure(load: &Load, layout: &Layout) -> Figures {
    let servers: Vec<_> = layout.clusters.iter().map(|at| Server::start(load, at)).collect();
    let addrs = servers.iter().map(|server| server.addr).collect();
    let generator = Generator::start(addrs, load, layout.generators);
    sleep(WARM);
    let before = Sample::take(generator);
    sleep(MEASURED);
    let after = Sample::take(generator);
    generator.stop.store(true, Relaxed);
    generator.join();
    servers.into_iter().for_each(Server::stop);
    before.until(&after, layout.generators.len())
}

/// A cluster that runs.
struct Server {
    addr: SocketAddr,
    handle: ClusterHandle,
    thread: JoinHandle<Result<ClusterReport>>,
}

impl Server {
    fn start(load: &Load, processors: &[usize]) -> Self {
        let config = ClusterConfig::new(processors.len() as u16).with(|c| {
            c.cpu_affinity = CpuAffinity::List(processors.to_vec());
            c.io.max_connections = 1024;
        });
        let mut cluster = IoCluster::new(config).expect("a cluster");
        let listen = TcpListenConfig::new(ANY.parse().expect("an address"));
        let endpoint = match (load.name, &load.quic) {
            (_, Some(keys)) => keys.listen(&mut cluster),
            ("tcp", _) => cluster.tcp_listen_with(listen),
            _ => cluster.http_listen_with(HttpListenConfig::new(listen)),
        };
        let addr = cluster.local_addr(endpoint.expect("an endpoint")).expect("its address");
        let addr = addr.inet().expect("an address with a port");
        let handle = cluster.handle();
        Self { addr, handle, thread: std::thread::spawn(move || cluster.run(serve)) }
    }

    fn stop(self) {
        // Nobody waits for clients of QUIC, which left without a word.
        let at_once = DrainOptions::default().with(|drain| drain.deadline = Some(Duration::ZERO));
        self.handle.shutdown(at_once).expect("room in the mail");
        assert!(self.thread.join().expect("no panic").expect("a report").is_clean());
    }
}

struct Sample {
    at: Instant,
    operations: u64,
    server: u64,
    generator: u64,
}

impl Sample {
    fn take(generator: &Generator) -> Self {
        Self {
            at: Instant::now(),
            operations: generator.operations.iter().map(|line| line.0.load(Relaxed)).sum(),
            server: cpu::of_threads("shard-"),
            generator: cpu::of_threads("generator"),
        }
    }

    fn until(&self, after: &Self, threads: usize) -> Figures {
        let seconds = (after.at - self.at).as_secs_f64();
        let operations = (after.operations - self.operations) as f64;
        let generator = (after.generator - self.generator) as f64 / 1e9;
        Figures {
            per_second: operations / seconds,
            server: (after.server - self.server) as f64 / 1e9 / operations,
            generator: generator / operations,
            generator_busy: generator / seconds / threads as f64,
        }
    }
}

fn serve(shard: &mut ShardIo) -> Result<()> {
    let text: String = (0..16_384).map(|i| char::from(b'a' + (i * i % 251 % 26) as u8)).collect();
    while shard.is_running() {
        shard.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = shard.split();
        while let Some(event) = events.next_event() {
            // A client that is gone by now is no failure.
            let _ = match event {
                Event::StreamFrame { conn, stream, data, .. } => sender.forward(conn, stream, data),
                Event::ReadClosed { conn, .. } => sender.close(conn),
                Event::HttpRequest { conn, id, request } => {
                    let answer = match request.path() {
                        "/" => ZeroResponse::ok().text("Hello, World!"),
                        _ => ZeroResponse::ok().text(&text),
                    };
                    sender.http_respond(conn, id, answer)
                }
                _ => Ok(()),
            };
        }
    }
    Ok(())
}

#[derive(Default)]
#[repr(align(128))]
struct Line(AtomicU64);

/// Connections that ask again as soon as they are answered. It lives as long as the program.
struct Generator {
    /// Of each thread, on cache lines of its own.
    operations: Vec<Line>,
    stop: AtomicBool,
    threads: std::sync::Mutex<Vec<JoinHandle<()>>>,
}

impl Generator {
    fn start(addrs: Vec<SocketAddr>, load: &Load, processors: &'static [usize]) -> &'static Self {
        let this = Self {
            operations: processors.iter().map(|_| Line::default()).collect(),
            stop: AtomicBool::new(false),
            threads: std::sync::Mutex::default(),
        };
        let this: &'static Self = Box::leak(Box::new(this));
        let answer_len = match load.name {
            "tcp" | "quic" => load.request.len(),
            _ => answer_len(addrs[0], load.request),
        };
        for (number, processor) in processors.iter().copied().enumerate() {
            let (load, addrs) = (load.clone(), addrs.clone());
            let builder = Builder::new().name(format!("generator-{number}"));
            let thread = builder.spawn(move || {
                pin_current_thread(processor).expect("a processor");
                let mut conns = addrs.into_iter().cycle().take(CONNECTIONS / processors.len());
                this.run(number, &mut conns, &load, answer_len);
            });
            this.threads.lock().expect("no panic").push(thread.expect("a thread"));
        }
        this
    }

    fn run(
        &self,
        number: usize,
        to: &mut dyn Iterator<Item = SocketAddr>,
        load: &Load,
        answer_len: usize,
    ) {
        let request = load.request;
        let mut io = Io::new(Config::default().with(|c| c.max_connections = 256)).expect("an Io");
        for addr in to {
            let conn = match &load.quic {
                Some(keys) => keys.connect(&mut io, addr),
                None => io.tcp_connect(addr),
            };
            conn.expect("a connection");
        }
        while !self.stop.load(Relaxed) {
            io.poll(Duration::from_millis(50)).expect("a poll");
            let (mut events, mut sender) = io.split();
            let mut done = 0;
            while let Some(event) = events.next_event() {
                match event {
                    Event::Connected { conn, .. } => {
                        let stream = match load.quic {
                            Some(_) => sender.stream_open(conn, StreamDir::Bidi).expect("a stream"),
                            None => StreamId::ZERO,
                        };
                        sender.stream_write(conn, stream, request).expect("room");
                    }
                    Event::StreamFrame { conn, stream, data, .. } => {
                        let got =
                            sender.user_data(conn).expect("it is there") as usize + data.len();
                        if got >= answer_len {
                            done += 1;
                            sender.stream_write(conn, stream, request).expect("room");
                        }
                        let _ = sender.set_user_data(conn, (got % answer_len) as u64);
                    }
                    Event::Disconnected { reason, .. } => {
                        panic!("{}", String::from_utf8_lossy(reason));
                    }
                    _ => {}
                }
            }
            self.operations[number].0.fetch_add(done, Relaxed);
        }
    }

    fn join(&self) {
        for thread in self.threads.lock().expect("no panic").drain(..) {
            thread.join().expect("no panic");
        }
    }
}

/// How long answers are, by asking once: the connection is idle after it.
fn answer_len(addr: SocketAddr, request: &[u8]) -> usize {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(addr).expect("a connection");
    stream.write_all(request).expect("a request");
    stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    let (mut len, mut room) = (0, [0; 65_536]);
    while let Ok(n @ 1..) = stream.read(&mut room) {
        len += n;
    }
    assert!(len > 0, "no answer");
    len
}
