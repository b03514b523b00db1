//! Allocations and copies of QUIC, once warm, by a counting allocator. Two shards of one thread
//! talk to each other, and what each call of each of them allocates is counted on its own account.
//!
//! The simulator's network allocates for every datagram, so that the figures are those of the real
//! ring; copies are counted on both (`tests/quic/copies.rs`). Run with `--nocapture` to see them.
//!
//! What allocates is the machine (quinn-proto 0.11), at these places:
//! - a node of the tree of packets under way (`sent_packets`), for every six of them;
//! - the queue of a stream's unacknowledged pieces, which shrinks when it empties;
//!   So many small pieces cost more of them than few large ones;
//! - a packet that opens a window or carries another control frame: a box of what to repeat;
//! - a new stream: its sending half.

#[path = "common/counting.rs"]
mod counting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use counting::so_far;
use rcgen::{CertificateParams, KeyPair};
use zero_io::{
    Config, ConnId, Event, Io, PeerAddr, QuicConnectConfig, QuicListenConfig, Roots, StreamDir,
    StreamId, TlsClientConfig, TlsServerConfig,
};

const PATIENCE: Duration = Duration::from_secs(30);
const WARM: u64 = 2000;
const COUNTED: u64 = 8000;
const DATAGRAM: usize = 1000;
/// Packets of a stream that are under way together.
const IN_FLIGHT: usize = 100;
/// Bytes of a stream in a packet of 1200 bytes.
const PACKET_PAYLOAD: usize = 1160;

/// A shard, and what it allocated in its calls.
struct Node {
    io: Io,
    conn: ConnId,
    /// Allocations while it was asked to send, while it was polled to send, and while it was polled
    /// and asked for events after the other one had sent.
    asked: u64,
    sent: u64,
    took: u64,
    streams: Vec<StreamId>,
    /// Payload that came.
    datagrams: u64,
    bytes: u64,
    copied: (u64, u64),
    writable: bool,
}

fn counted<T>(sum: &mut u64, work: impl FnOnce() -> T) -> T {
    let before = so_far().0;
    let result = work();
    *sum += so_far().0 - before;
    result
}

impl Node {
    /// Sends what is to be sent.
    fn flush(&mut self) {
        counted(&mut self.sent, || self.io.poll(Duration::ZERO).unwrap());
    }

    /// Takes what arrived.
    fn take(&mut self) {
        let Self { io, took, streams, datagrams, bytes, writable, .. } = self;
        counted(took, || {
            io.poll(Duration::ZERO).unwrap();
            while let Some(event) = io.next_event() {
                match event {
                    Event::Datagram { data, .. } => {
                        *datagrams += 1;
                        *bytes += data.len() as u64;
                    }
                    Event::StreamFrame { stream, data, .. } => {
                        if !streams.contains(&stream) {
                            streams.push(stream);
                        }
                        *bytes += data.len() as u64;
                    }
                    Event::Writable { .. } => *writable = true,
                    Event::Disconnected { .. } => panic!("{event:?}"),
                    _ => {}
                }
            }
        });
    }

    fn packets(&mut self) -> u64 {
        u64::from(self.io.conn_stats(self.conn).unwrap().packets_sent)
    }

    fn clear(&mut self) {
        (self.asked, self.sent, self.took) = (0, 0, 0);
        (self.datagrams, self.bytes) = (0, 0);
        self.copied = self.copied_so_far();
    }

    fn copied_so_far(&self) -> (u64, u64) {
        let stats = self.io.io_stats();
        assert_eq!(stats.quic_rx_copied, 0, "no packet is copied");
        (stats.bytes_copied_tx, stats.bytes_copied_rx)
    }

    /// Bytes that were copied since `clear`, for each of payload: to send, and received.
    fn copies(&self, payload: u64) -> (f64, f64) {
        let ((tx, rx), before) = (self.copied_so_far(), self.copied);
        let per = |bytes: u64| bytes as f64 / payload as f64;
        (per(tx - before.0), per(rx - before.1))
    }
}

/// A client and a server, connected.
fn pair() -> (Node, Node) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    let cert = params.self_signed(&key).unwrap();
    let tls = TlsServerConfig::from_pem_bytes(cert.pem(), key.serialize_pem()).build().unwrap();
    let mut server = Io::new(Config::default()).unwrap();
    let listen = QuicListenConfig::new("127.0.0.1:0".parse().unwrap(), tls);
    let endpoint = server.quic_listen_with(listen).unwrap();
    let PeerAddr::Inet(addr) = server.local_addr(endpoint).unwrap() else { panic!() };
    let roots = Roots::from_pem_bytes(cert.pem());
    let tls = TlsClientConfig::with_roots(roots).server_name("localhost").build().unwrap();
    let mut client = Io::new(Config::default()).unwrap();
    let config = QuicConnectConfig::new(addr, tls).with(|c| c.transport.mtu_discovery = None);
    let conn = client.quic_connect_with(config).unwrap();
    let start = Instant::now();
    let mut ends = [None, None];
    while ends.contains(&None) {
        assert!(start.elapsed() < PATIENCE);
        for (io, end) in [(&mut client, 0), (&mut server, 1)] {
            io.poll(Duration::from_micros(100)).unwrap();
            while let Some(event) = io.next_event() {
                if let Event::Connected { conn, .. } = event {
                    ends[end] = Some(conn);
                }
            }
        }
    }
    let node = |io, conn| Node {
        io,
        conn,
        asked: 0,
        sent: 0,
        took: 0,
        streams: Vec::with_capacity(16),
        datagrams: 0,
        bytes: 0,
        copied: (0, 0),
        writable: true,
    };
    (node(client, conn), node(server, ends[1].unwrap()))
}

/// Lets what is under way arrive, there and back.
fn exchange(client: &mut Node, server: &mut Node) {
    client.flush();
    server.take();
    server.flush();
    client.take();
}

/// Warms up, then counts while `round` is called until so many datagrams or packets were sent.
fn run(
    client: &mut Node,
    server: &mut Node,
    mut round: impl FnMut(&mut Node, &mut Node),
) -> (u64, u64) {
    let start = Instant::now();
    let mut go = |client: &mut Node, server: &mut Node, packets: u64| {
        let before = client.packets();
        while client.packets() - before < packets {
            assert!(start.elapsed() < PATIENCE);
            round(client, server);
        }
    };
    go(client, server, WARM);
    client.clear();
    server.clear();
    let (sent, answered) = (client.packets(), server.packets());
    go(client, server, COUNTED);
    (client.packets() - sent, server.packets() - answered)
}

#[test]
fn datagrams_allocate_nothing() {
    let (mut client, mut server) = pair();
    let data = [7; DATAGRAM];
    let (packets, acks) = run(&mut client, &mut server, |client, server| {
        let Node { io, conn, asked, .. } = client;
        counted(asked, || {
            for _ in 0..4 {
                io.send_datagram(*conn, &data).unwrap();
            }
        });
        exchange(client, server);
    });
    eprintln!(
        "datagrams, 4 at a time: {packets} packets one way, {acks} back; allocations: \
         asked {}, sent {}, ACKs received {}; datagrams received {}, ACKs sent {}",
        client.asked, client.sent, client.took, server.took, server.sent
    );
    let (out, into) = (client.copies(server.bytes).0, server.copies(server.bytes).1);
    eprintln!("datagrams: {out:.3} B copied per byte of payload to send, {into:.3} B received");
    assert!((out - 1.0).abs() < 0.01 && into == 0.0);
    assert!(server.datagrams * 100 > packets * 99 && acks > 0);
    assert_eq!((client.asked, client.sent), (0, 0), "a datagram sent");
    assert_eq!(client.took, 0, "an ACK received");
    assert_eq!((server.took, server.sent), (0, 0), "a datagram received");
}

#[test]
fn stream_packets_allocate_little() {
    let (mut client, mut server) = pair();
    let stream = client.io.stream_open(client.conn, StreamDir::Uni).unwrap();
    let data = vec![7; IN_FLIGHT * PACKET_PAYLOAD];
    let mut at_once = 0;
    let (packets, acks) = run(&mut client, &mut server, |client, server| {
        let before = client.packets();
        let Node { io, conn, asked, writable, .. } = client;
        if *writable {
            let taken = counted(asked, || io.stream_write(*conn, stream, &data).unwrap());
            *writable = taken == data.len();
        }
        client.flush();
        at_once = at_once.max(client.packets() - before);
        server.take();
        server.flush();
        client.take();
    });
    let per = |n: u64| n as f64 / packets as f64;
    eprintln!(
        "a stream, up to {at_once} packets under way: {packets} packets one way, {acks} back; \
         allocations per packet: asked {:.3}, sent {:.3}, ACKs received {:.3}; received {:.3}, \
         ACKs and windows sent {:.3}",
        per(client.asked),
        per(client.sent),
        per(client.took),
        per(server.took),
        per(server.sent)
    );
    let (out, into) = (client.copies(server.bytes).0, server.copies(server.bytes).1);
    eprintln!("a stream: {out:.3} B copied per byte of payload to send, {into:.3} B received");
    assert!((out - 1.0).abs() < 0.01 && into == 0.0);
    assert!(at_once >= IN_FLIGHT as u64);
    assert!(per(client.asked + client.sent + client.took) <= 0.2, "sent");
    assert!(per(server.took + server.sent) <= 0.2, "received");
}

/// Sends a piece of a stream.
type Send = fn(&mut Io, ConnId, StreamId, &Arc<[u8]>);

fn by_slice(io: &mut Io, conn: ConnId, stream: StreamId, data: &Arc<[u8]>) {
    assert_eq!(io.stream_write(conn, stream, data), Ok(data.len()));
}

fn by_cell(io: &mut Io, conn: ConnId, stream: StreamId, data: &Arc<[u8]>) {
    let buffer = io.send_buffer_for(conn, data.len()).unwrap();
    io.stream_write_buffer(conn, stream, buffer).unwrap();
}

fn by_pool(io: &mut Io, conn: ConnId, stream: StreamId, data: &Arc<[u8]>) {
    let buffer = io.send_buffer(data.len()).unwrap();
    io.stream_write_buffer(conn, stream, buffer).unwrap();
}

fn by_guard(io: &mut Io, conn: ConnId, stream: StreamId, data: &Arc<[u8]>) {
    io.stream_write_guard(conn, stream, Arc::clone(data), 1).unwrap();
}

#[test]
fn a_buffer_of_the_connection_allocates_nothing_of_its_own() {
    const PIECES: u64 = 4;
    let data: Arc<[u8]> = vec![7; 10_000].into();
    let mut figures = Vec::new();
    // What counts the references to memory that is not QUIC's is an allocation for each piece.
    let rows: [(&str, Send, u64); 4] = [
        ("stream_write", by_slice, 0),
        ("send_buffer_for", by_cell, 0),
        ("send_buffer", by_pool, PIECES),
        ("stream_write_guard", by_guard, PIECES),
    ];
    for (what, send, own) in rows {
        let (mut client, mut server) = pair();
        let stream = client.io.stream_open(client.conn, StreamDir::Uni).unwrap();
        let mut rounds = 0_u64;
        let (packets, _) = run(&mut client, &mut server, |client, server| {
            let Node { io, conn, asked, .. } = client;
            counted(asked, || (0..PIECES).for_each(|_| send(io, *conn, stream, &data)));
            let wanted = server.bytes + PIECES * data.len() as u64;
            while server.bytes < wanted {
                exchange(client, server);
            }
            rounds = server.bytes / (PIECES * data.len() as u64);
        });
        let per = |n: u64| n as f64 / rounds as f64;
        eprintln!(
            "{what}: per burst of {PIECES} pieces, {:.1} packets: asked {:.2}, sent {:.2}, ACKs \
             received {:.2}",
            per(packets),
            per(client.asked),
            per(client.sent),
            per(client.took)
        );
        figures.push((what, per(client.asked) - own as f64));
    }
    for (what, asked) in figures {
        // The queue of the machine, which grew again after it had shrunk.
        assert!(asked <= 2.0, "{what}: {asked} more");
    }
}

#[test]
fn an_echo_by_forward_allocates_what_its_packets_do() {
    let (mut client, mut server) = pair();
    let stream = client.io.stream_open(client.conn, StreamDir::Bidi).unwrap();
    let data = [7; 1000];
    let mut messages = 0_u64;
    let (packets, back) = run(&mut client, &mut server, |client, server| {
        let Node { io, conn, asked, .. } = client;
        counted(asked, || assert_eq!(io.stream_write(*conn, stream, &data), Ok(data.len())));
        client.flush();
        counted(&mut server.took, || {
            server.io.poll(Duration::ZERO).unwrap();
            let (mut events, mut sender) = server.io.split();
            while let Some(event) = events.next_event() {
                if let Event::StreamFrame { conn, stream, data, .. } = event {
                    sender.forward(conn, stream, data).unwrap();
                }
            }
        });
        server.flush();
        client.take();
        messages = client.bytes / data.len() as u64;
    });
    let per = |n: u64| n as f64 / messages as f64;
    eprintln!(
        "echo of one message: {:.2} and {:.2} packets; allocations: client {:.2}, server {:.2}",
        per(packets),
        per(back),
        per(client.asked + client.sent + client.took),
        per(server.sent + server.took)
    );
    let copies = (client.copies(client.bytes), server.copies(client.bytes));
    assert!((copies.0.0 - 1.0).abs() < 0.01 && copies.0.1 == 0.0 && copies.1 == (0.0, 0.0));
    assert!(per(server.sent + server.took) <= 1.1 && per(client.asked + client.sent) <= 1.1);
}
