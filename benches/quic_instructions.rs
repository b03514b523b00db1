//! User-space instructions of our own code per QUIC datagram and per packet of a stream, counted by
//! callgrind on the simulated ring: `cargo bench --features _sim,quic --bench quic_instructions`.
//!
//! Two shards, one connection. Datagrams of 64 bytes go to and fro, 64 of them at a time; a stream
//! is sent as far as the windows let it. Both sides are counted, and divided by what was sent: for
//! a datagram, sending and receiving it once; for a packet, writing, sending, receiving and
//! reading its share of the stream, and acknowledgements. Counted is what lies in the engine's own
//! files, with what the compiler inlined into it of the standard library and of `bytes`;
//! quinn-proto, TLS, copies of payload in libc and the simulated kernel are not.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod callgrind;

use std::time::Duration;

use rcgen::generate_simple_self_signed;
use zero_io::sim::{Faults, World};
use zero_io::{
    Config, ConnId, Event, Io, QuicConnectConfig, QuicListenConfig, Roots, Sender, StreamDir,
    StreamId, TlsClientConfig, TlsServerConfig, Toggle,
};

const DATAGRAM: [u8; 64] = [42; 64];
/// In flight.
const DATAGRAMS: usize = 64;
static CHUNK: [u8; 64 << 10] = [42; 64 << 10];
/// The payload of a stream's packet at the largest MTU that is looked for by default.
const PACKET: usize = 1400;
/// Runs above these have lost ground and fail.
const LIMITS: [(&str, f64); 2] = [("--datagrams", 480.0), ("--packets", 960.0)];
const SHORT: u64 = 10_000;
const LONG: u64 = 30_000;
const ROUNDS_MAX: u64 = 10_000_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    for (kind, _) in LIMITS {
        if let Some(at) = args.iter().position(|arg| arg == kind) {
            let enough = args[at + 1].parse().expect("a number");
            return run(enough, kind == "--packets");
        }
    }
    let mut lost = Vec::new();
    for (kind, limit) in LIMITS {
        let [short, long] =
            [SHORT, LONG].map(|count| callgrind::count(&[kind, &count.to_string()]));
        let parts = callgrind::difference(&short, &long, (LONG - SHORT) as f64);
        let total: f64 = parts.values().sum();
        println!("| QUIC, {} | {total:.0} instructions each, both sides |", &kind[2..]);
        callgrind::print(parts);
        if total > limit {
            lost.push(format!("{kind}: {total:.0}, at most {limit} are allowed"));
        }
    }
    assert!(lost.is_empty(), "{lost:?}");
}

/// One of the two shards.
struct Side {
    io: Io,
    /// What came, in the run's unit.
    done: u64,
    bytes: usize,
}

fn run(enough: u64, streams: bool) {
    let world = World::new(1, Faults::none());
    let config = Config::default().with(|c| c.huge_pages = Toggle::Off);
    let [mut server, mut client] = [(), ()].map(|()| {
        let io = Io::in_world(config.clone(), &world).expect("a shard");
        Side { io, done: 0, bytes: 0 }
    });
    let made = generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let key = made.signing_key.serialize_pem();
    let tls = TlsServerConfig::from_pem_bytes(made.cert.pem(), key).build().expect("a key");
    let addr = "127.0.0.1:4433".parse().expect("an address");
    server.io.quic_listen_with(QuicListenConfig::new(addr, tls)).expect("a listener");
    let roots = Roots::from_pem_bytes(made.cert.pem());
    let tls = TlsClientConfig::with_roots(roots).server_name("localhost").build().expect("roots");
    client.io.quic_connect_with(QuicConnectConfig::new(addr, tls)).expect("a connection");
    for _ in 0..ROUNDS_MAX {
        server.turn(streams);
        client.turn(streams);
        if server.done + client.done >= enough {
            return;
        }
        assert!(world.advance_to_next(), "the conversation stopped");
    }
    panic!("too many rounds");
}

impl Side {
    fn turn(&mut self, streams: bool) {
        let Self { io, done, bytes } = self;
        io.poll(Duration::from_secs(1)).expect("poll");
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::Datagram { conn, data } => {
                    *done += 1;
                    sender.send_datagram(conn, data).expect("room");
                }
                Event::StreamFrame { data, .. } => {
                    *bytes += data.len();
                    *done += (*bytes / PACKET) as u64;
                    *bytes %= PACKET;
                }
                Event::Writable { conn, stream, .. } => fill(&mut sender, conn, stream),
                Event::Connected { conn, endpoint: None, .. } if streams => {
                    let stream = sender.stream_open(conn, StreamDir::Uni).expect("the first");
                    fill(&mut sender, conn, stream);
                }
                Event::Connected { conn, endpoint: None, .. } => {
                    for _ in 0..DATAGRAMS {
                        sender.send_datagram(conn, &DATAGRAM).expect("room");
                    }
                }
                _ => {}
            }
        }
    }
}

/// Writes as much as the windows take.
fn fill(sender: &mut Sender<'_>, conn: ConnId, stream: StreamId) {
    while sender.stream_write(conn, stream, &CHUNK).expect("open") == CHUNK.len() {}
}
