//! Target `quic_io`: two `Io`s in a world, which connect, speak and close in whatever order the
//! input says, over a network that the input makes bad.
//!
//! Each byte is a step: of one of the nodes, of the network, or of time. Held: no panic, whatever
//! the order; what is read of a stream is what was written to it, in order; nothing follows the end
//! of a stream or of a connection; then every connection ends once, and everything comes home. The
//! keys are random: what is held does not depend on them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use zero_io::sim::{Fault, Faults, World};
use zero_io::{ConnId, EndpointId, Event, Io, QuicConnectConfig, QuicListenConfig, StreamDir};
use zero_io::{RetryPolicy, StreamId};

use crate::input::Input;
use crate::quic_kit::{PORT, config, tls};

/// Steps that are taken.
const STEPS_MAX: usize = 600;
/// Rounds in which the world must come to rest.
const REST_ROUNDS_MAX: usize = 60_000;
const CONNS_MAX: usize = 4;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let world = World::new(1, faults(&mut input));
    let mut nodes = [0, 1].map(|_| Node::new(&world));
    let how = input.byte();
    let listener = listen(&mut nodes[0], how);
    for _ in 0..STEPS_MAX {
        if input.rest().is_empty() {
            break;
        }
        step(&world, &mut nodes, &mut input, how);
        let violations = world.violations();
        assert!(violations.is_empty(), "{violations:?}\n{}", world.trace());
    }
    rest(&world, &mut nodes, listener);
}

fn faults(input: &mut Input<'_>) -> Faults {
    let rate = |byte: u8| u32::from(byte & 7) * 30_000;
    let (first, second) = (input.byte(), input.byte());
    Faults::none()
        .with(Fault::UdpLoss, rate(first))
        .with(Fault::UdpReorder, rate(first >> 3))
        .with(Fault::UdpDuplicate, rate(first >> 5))
        .with(Fault::UdpCorrupt, rate(second))
        .with(Fault::UdpTrainError, rate(second >> 3))
        .with(Fault::UdpSendAgain, rate(second >> 5))
}

fn listen(node: &mut Node, how: u8) -> EndpointId {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let config = QuicListenConfig::new(at, tls().0).with(|l| {
        l.retry = [RetryPolicy::Never, RetryPolicy::Always][usize::from(how & 1)];
        l.migration = how & 2 == 0;
        l.transport.max_bidi_streams = 1 + u32::from(how >> 2 & 3);
        l.transport.stream_window = 4_096 << (how >> 4 & 3);
        l.transport.conn_window = l.transport.stream_window * 2;
        l.transport.idle_timeout = Some(Duration::from_secs(5));
    });
    node.io.quic_listen_with(config).expect("a listener")
}

/// One end of a connection.
#[derive(Default, Debug)]
struct Conn {
    is_connected: bool,
    is_closed: bool,
    is_paused: bool,
    ours: Vec<StreamId>,
    /// Bytes that were written to each stream.
    written: BTreeMap<StreamId, u64>,
    /// Bytes that were read, and whether that is all.
    read: BTreeMap<StreamId, (u64, bool)>,
}

struct Node {
    io: Io,
    conns: BTreeMap<ConnId, Conn>,
}

/// Byte `at` of any stream: what comes is in its place, or it is not.
const fn byte(stream: StreamId, at: u64) -> u8 {
    (at % 251) as u8 ^ (stream.as_u64() as u8).wrapping_mul(17)
}

impl Node {
    fn new(world: &World) -> Self {
        Self { io: Io::in_world(config(), world).expect("a node"), conns: BTreeMap::new() }
    }

    fn tick(&mut self) {
        self.io.poll(Duration::ZERO).expect("a tick");
        while let Some(event) = self.io.next_event() {
            on_event(&mut self.conns, &event);
        }
        self.io.audit();
    }

    fn connect(&mut self, how: u8) {
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        let config = QuicConnectConfig::new(to, tls().1).with(|c| {
            c.connect_timeout = Duration::from_secs(3);
            c.transport.stream_window = 4_096 << (how >> 6);
            c.transport.conn_window = c.transport.stream_window;
            c.transport.idle_timeout = Some(Duration::from_secs(5));
        });
        let live = self.conns.len();
        if live < CONNS_MAX
            && let Ok(conn) = self.io.quic_connect_with(config)
        {
            assert!(self.conns.insert(conn, Conn::default()).is_none(), "{conn} is in use");
        }
    }

    /// A step of one of its connections. What is refused is refused.
    fn act(&mut self, what: u8, which: u8, number: u64) {
        let count = self.conns.len().max(1);
        let found = self.conns.iter_mut().nth(usize::from(which) % count);
        let Some((id, conn)) = found else { return };
        let io = &mut self.io;
        let known: Vec<StreamId> = conn.written.keys().chain(conn.read.keys()).copied().collect();
        let stream = known.get(number as usize % known.len().max(1));
        let stream = stream.copied().unwrap_or(StreamId::from_u64(number));
        match what {
            0 | 1 => {
                let dir = [StreamDir::Bidi, StreamDir::Uni][usize::from(what)];
                if let Ok(stream) = io.stream_open(*id, dir) {
                    conn.ours.push(stream);
                    conn.written.insert(stream, 0);
                }
            }
            2..=4 => {
                let from = conn.written.get(&stream).copied().unwrap_or_default();
                let len = number % (1 << (5 * u64::from(what - 1)));
                let data: Vec<u8> = (from..from + len).map(|at| byte(stream, at)).collect();
                if let Ok(taken) = io.stream_write(*id, stream, &data) {
                    *conn.written.entry(stream).or_default() += taken as u64;
                }
            }
            5 => drop(io.stream_finish(*id, stream)),
            6 => drop(io.stream_reset(*id, stream, number)),
            7 => drop(io.stop_sending(*id, stream, number)),
            8 => drop(io.send_datagram(*id, &vec![7; number as usize % 2_000])),
            9 => drop(io.stream_priority(*id, stream, number as i32)),
            10 => {
                conn.is_paused = !conn.is_paused;
                let _ = if conn.is_paused { io.pause_recv(*id) } else { io.resume_recv(*id) };
            }
            11 => conn.is_closed |= io.close_with(*id, number, b"enough").is_ok(),
            12 => drop(io.close_graceful(*id, Duration::from_millis(number % 2_000))),
            _ => drop((io.conn_stats(*id), io.max_datagram_size(*id), io.peer_addr(*id))),
        }
    }
}

fn on_event(conns: &mut BTreeMap<ConnId, Conn>, event: &Event<'_>) {
    let (Event::StreamFrame { conn, .. }
    | Event::ReadClosed { conn, .. }
    | Event::StreamReset { conn, .. }
    | Event::StopSending { conn, .. }
    | Event::StreamFinished { conn, .. }
    | Event::StreamsAvailable { conn, .. }
    | Event::Writable { conn, .. }
    | Event::Datagram { conn, .. }
    | Event::PathMigration { conn, .. }) = event
    else {
        return on_end(conns, event);
    };
    let conn = conns.get_mut(conn).unwrap_or_else(|| panic!("no such connection: {event:?}"));
    assert!(conn.is_connected && !conn.is_closed, "out of order: {event:?}");
    match *event {
        Event::StreamFrame { stream, data, .. } => {
            let (read, is_over) = conn.read.entry(stream).or_default();
            assert!(!*is_over && !data.is_empty(), "behind the end: {event:?}");
            let is_right = |(at, got): (u64, &u8)| byte(stream, *read + at) == *got;
            assert!((0..).zip(data).all(is_right), "other bytes than were written to {stream:?}");
            *read += data.len() as u64;
        }
        Event::ReadClosed { stream, .. } | Event::StreamReset { stream, .. } => {
            let (_, is_over) = conn.read.entry(stream).or_default();
            assert!(!std::mem::replace(is_over, true), "two ends: {event:?}");
        }
        Event::Datagram { data, .. } => assert!(data.iter().all(|byte| *byte == 7)),
        _ => {}
    }
}

fn on_end(conns: &mut BTreeMap<ConnId, Conn>, event: &Event<'_>) {
    match *event {
        Event::Connected { conn, .. } => {
            let conn = conns.entry(conn).or_default();
            assert!(!std::mem::replace(&mut conn.is_connected, true), "two Connected");
        }
        // Of one that was accepted, nothing was told before.
        Event::Disconnected { conn, .. } => drop(conns.remove(&conn)),
        Event::PoolPressure { .. } => {}
        _ => panic!("{event:?}"),
    }
}

fn step(world: &World, nodes: &mut [Node; 2], input: &mut Input<'_>, how: u8) {
    let word = input.byte();
    let at = usize::from(word & 1);
    match word >> 1 & 0x1F {
        what @ 0..=13 => {
            let which = input.byte();
            nodes[at].act(what, which, input.number());
        }
        14 | 15 => nodes[at].connect(how),
        16 => {
            // The first port that is given out is the first client's.
            world.rebind(SocketAddr::from((Ipv4Addr::LOCALHOST, 32_768)));
        }
        17 => world.blackhole(PORT, word & 1 == 0),
        18 => world.advance_by(Duration::from_millis(u64::from(input.byte()) * 20)),
        19..=21 => nodes[at].tick(),
        _ => {
            nodes.iter_mut().for_each(Node::tick);
            if !world.advance_to_next() {
                world.advance_by(Duration::from_millis(1));
            }
        }
    }
}

/// All is well: every connection is closed, and everything comes home.
fn rest(world: &World, nodes: &mut [Node; 2], listener: EndpointId) {
    world.heal();
    nodes[0].io.endpoint_close(listener).expect("it is open");
    for round in 0.. {
        assert!(round < REST_ROUNDS_MAX, "the world does not come to rest\n{}", world.trace());
        for node in &mut *nodes {
            for (id, conn) in &mut node.conns {
                if !std::mem::replace(&mut conn.is_closed, true) {
                    // One that is ending is told of.
                    let _ = node.io.close(*id);
                }
            }
            node.tick();
        }
        let is_closed = (0..2).all(|node| world.open_fds(node) == 0);
        let is_over = nodes.iter().all(|node| node.io.is_idle() && node.conns.is_empty());
        if is_closed && is_over {
            return;
        }
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(1));
        }
    }
}
