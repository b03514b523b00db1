//! Target `engine`: the input is a world and a script of calls for two `Io`s in it.
//!
//! Held: no call panics whatever it is given; no breach of the contract with the kernel; every
//! stream is a prefix of what was sent; each connection has one `Disconnected` and nothing after
//! it; and once faults are off and everything is closed, every buffer and descriptor comes home.

use crate::input::Input;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use zero_io::sim::{Faults, World};
use zero_io::{
    Config, ConnId, EndpointId, Event, Frame, Framing, Io, MessageKind, OwnedSlot, StreamId,
    TcpConnectConfig, TcpListenConfig, TimerId, Toggle,
};

/// Calls of one script.
const CALLS_MAX: usize = 400;
/// Rounds in which the world must come to rest.
const REST_ROUNDS_MAX: usize = 60_000;
/// Bytes of one write at most.
const WRITE_LEN_MAX: u64 = 9_000;
const STREAM: StreamId = StreamId::ZERO;
const RAW_PORT: u16 = 1;
const FRAMED_PORT: u16 = 2;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let faults = if input.byte() < 64 { Faults::none() } else { Faults::from_seed(input.number()) };
    let world = World::new(input.number(), faults);
    let mut nodes: Vec<Node> = (0..2).map(|_| Node::new(&world, &mut input)).collect();
    for _ in 0..CALLS_MAX {
        if input.rest().is_empty() {
            break;
        }
        let node = &mut nodes[usize::from(input.byte() & 1)];
        node.call(&world, &mut input);
        check_contract(&world);
    }
    rest(&world, nodes);
}

/// Ends everything, and checks that nothing is left.
fn rest(world: &World, mut nodes: Vec<Node>) {
    world.heal();
    nodes.iter_mut().for_each(Node::end);
    for round in 0.. {
        assert!(round < REST_ROUNDS_MAX, "the world does not come to rest\n{}", world.trace());
        for node in &mut nodes {
            node.tick();
        }
        check_contract(world);
        let is_closed = |index| world.open_fds(index) == 0 && world.open_slots(index) == 0;
        if (0..nodes.len()).all(|index| is_closed(index) && nodes[index].io.is_idle()) {
            break;
        }
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(1));
        }
    }
    for node in &nodes {
        assert!(node.open.is_empty(), "without a Disconnected: {:?}", node.open.keys());
    }
    drop(nodes);
    // What was sent last may still be on its way.
    world.advance_by(Duration::from_secs(3_600));
    assert_eq!(world.files(), 0, "files");
    check_contract(world);
}

fn check_contract(world: &World) {
    let violations = world.violations();
    assert!(violations.is_empty(), "{violations:?}\n{}", world.trace());
}

/// What a node knows of a connection.
#[derive(Default)]
struct Conn {
    sent_len: u64,
    received_len: u64,
    framed: bool,
}

struct Node {
    io: Io,
    endpoints: Vec<EndpointId>,
    open: BTreeMap<ConnId, Conn>,
    ended: BTreeSet<ConnId>,
    framed_listener: Option<EndpointId>,
    held: Vec<(OwnedSlot, Vec<u8>)>,
    timers: Vec<TimerId>,
}

impl Node {
    fn new(world: &World, input: &mut Input<'_>) -> Self {
        let io = Io::in_world(config(input), world).expect("a node");
        let mut node = Self {
            io,
            endpoints: Vec::new(),
            open: BTreeMap::new(),
            ended: BTreeSet::new(),
            framed_listener: None,
            held: Vec::new(),
            timers: Vec::new(),
        };
        let raw = TcpListenConfig::new(address(RAW_PORT));
        node.endpoints.extend(node.io.tcp_listen_with(raw));
        let framed =
            TcpListenConfig::new(address(FRAMED_PORT)).with(|c| c.framing = Some(framing()));
        node.framed_listener = node.io.tcp_listen_with(framed).ok();
        node.endpoints.extend(node.framed_listener);
        node.endpoints.extend(node.io.udp_bind(address(FRAMED_PORT)));
        node
    }

    /// One call of the script. Errors are answers; panics are findings.
    fn call(&mut self, world: &World, input: &mut Input<'_>) {
        let conn = self.pick(input.byte());
        let call = input.byte() % 20;
        match (call, conn) {
            (2..=4, Some(conn)) => self.write(conn, input),
            (11, Some(conn)) => self.handle(conn, input),
            (12..=16, Some(conn)) => self.control(conn, call, input),
            (0 | 1, _) => self.connect(input),
            (5..=7, _) => self.tick(),
            (8, _) => world.advance_by(Duration::from_micros(input.number() % 50_000)),
            (9 | 10, _) => drop(world.advance_to_next()),
            (17, _) => self.timer(input),
            (18, _) => self.datagram(input),
            _ => self.let_go(input),
        }
    }

    fn control(&mut self, conn: ConnId, call: u8, input: &mut Input<'_>) {
        let _ = match call {
            12 => self.io.close(conn),
            13 => self.io.close_graceful(conn, Duration::from_millis(input.number() % 5_000)),
            14 => self.io.shutdown_write(conn, STREAM),
            15 => self.io.pause_recv(conn),
            _ => self.io.resume_recv(conn),
        };
    }

    /// A connection that is open, or one that was.
    fn pick(&self, choice: u8) -> Option<ConnId> {
        let nth = usize::from(choice >> 2);
        let open = self.open.keys().nth(nth % self.open.len().max(1));
        let ended = self.ended.iter().nth(nth % self.ended.len().max(1));
        let any = if choice & 3 == 3 { ended.or(open) } else { open.or(ended) };
        any.copied()
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        let framed = input.byte() < 80;
        let port = if framed { FRAMED_PORT } else { RAW_PORT };
        let config = TcpConnectConfig::new(address(port)).with(|c| {
            c.framing = framed.then(framing);
            c.connect_timeout = Duration::from_millis(1 + input.number() % 5_000);
        });
        if let Ok(conn) = self.io.tcp_connect_with(config) {
            self.open.insert(conn, Conn { framed, ..Conn::default() });
        }
    }

    /// The next bytes of the pattern; whatever the input has, where messages are cut.
    fn write(&mut self, conn: ConnId, input: &mut Input<'_>) {
        let len = input.number() % WRITE_LEN_MAX;
        let Some(state) = self.open.get_mut(&conn) else {
            assert!(self.io.stream_write(conn, STREAM, b"late").is_err(), "{conn} is gone");
            return;
        };
        let data: Vec<u8> = match state.framed {
            true => input.repeated(len as usize),
            false => (state.sent_len..state.sent_len + len).map(pattern).collect(),
        };
        if let Ok(accepted) = self.io.stream_write(conn, STREAM, &data) {
            assert!(accepted <= data.len());
            state.sent_len += accepted as u64;
        }
    }

    fn handle(&mut self, conn: ConnId, input: &mut Input<'_>) {
        let handle = self.io.handle();
        let _ = match input.byte() % 3 {
            0 => handle.post_data(1, &[7; 40][..usize::from(input.byte() % 41)]),
            1 => handle.close(conn),
            _ => handle.wake(),
        };
    }

    fn timer(&mut self, input: &mut Input<'_>) {
        if input.byte() < 128 {
            self.timers.extend(self.io.timer_set(Duration::from_nanos(input.number()), 3));
        } else if let Some(timer) = self.timers.pop() {
            self.io.timer_cancel(timer);
        }
    }

    fn datagram(&mut self, input: &mut Input<'_>) {
        let Some(endpoint) = self.endpoints.get(usize::from(input.byte() % 3)).copied() else {
            return;
        };
        let data: Vec<u8> = (0..input.number() % WRITE_LEN_MAX).map(pattern).collect();
        let _ = self.io.udp_send_bytes(endpoint, address(FRAMED_PORT), &data);
    }

    fn let_go(&mut self, input: &mut Input<'_>) {
        match input.byte() % 8 {
            0 => drop(self.endpoints.pop().map(|endpoint| self.io.endpoint_close(endpoint))),
            _ => self.check_held(),
        }
    }

    /// What was detached must still be what it was.
    fn check_held(&mut self) {
        for (slot, expected) in self.held.drain(..) {
            assert_eq!(&slot[..], expected, "a detached payload changed");
        }
    }

    fn tick(&mut self) {
        self.io.poll(Duration::ZERO).expect("a tick");
        while let Some(event) = self.io.next_event() {
            let payload = match event {
                Event::StreamFrame { conn, data, .. } => {
                    let state = self.open.get_mut(&conn).expect("a frame of an open connection");
                    check_bytes(state, data);
                    Some(data.to_vec())
                }
                Event::Connected { conn, endpoint, .. } => {
                    let framed = endpoint.is_some() && endpoint == self.framed_listener;
                    let known = self.open.contains_key(&conn);
                    assert_eq!(known, endpoint.is_none(), "{conn}");
                    self.open.entry(conn).or_insert(Conn { framed, ..Conn::default() });
                    None
                }
                Event::Disconnected { conn, .. } => {
                    assert!(self.open.remove(&conn).is_some(), "{conn} ended twice");
                    self.ended.insert(conn);
                    None
                }
                Event::ReadClosed { conn, .. } | Event::Writable { conn, .. } => {
                    assert!(self.open.contains_key(&conn), "{conn} is gone");
                    None
                }
                _ => None,
            };
            // Every fifth payload or so is kept.
            if let Some(expected) = payload.filter(|bytes| bytes.len() % 5 == 0) {
                let slot = self.io.detach_event_data();
                self.held.extend(slot.map(|slot| (slot, expected)));
            }
        }
        self.io.audit();
    }

    fn end(&mut self) {
        self.check_held();
        for endpoint in self.endpoints.drain(..) {
            let _ = self.io.endpoint_close(endpoint);
        }
        for timer in self.timers.drain(..) {
            self.io.timer_cancel(timer);
        }
        for conn in self.open.keys() {
            let _ = self.io.close(*conn);
        }
    }
}

fn check_bytes(conn: &mut Conn, data: &[u8]) {
    if conn.framed {
        assert!(!data.is_empty() && data.len() == 1 + usize::from(data[0]), "a whole message");
        return;
    }
    let end = conn.received_len + data.len() as u64;
    let expected: Vec<u8> = (conn.received_len..end).map(pattern).collect();
    assert_eq!(data, expected, "from byte {} of a stream on", conn.received_len);
    conn.received_len = end;
}

/// Byte `at` of every stream, so that any prefix can be told from anything else.
fn pattern(at: u64) -> u8 {
    ((at ^ at >> 8).wrapping_mul(0x9d) >> 1) as u8
}

/// A byte with the length, then so many bytes.
fn framing() -> Framing {
    Framing::new(MessageKind::User(1), |bytes| {
        let whole = 1 + bytes.first().map_or(0, |len| usize::from(*len));
        if bytes.len() < whole { Frame::Need(whole) } else { Frame::Ready(whole) }
    })
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Small everywhere, so that every bound is met.
fn config(input: &mut Input<'_>) -> Config {
    let mut pick = |choices: &[usize]| choices[usize::from(input.byte()) % choices.len()];
    Config::default().with(|c| {
        c.huge_pages = Toggle::Off;
        c.pool_slot_count = pick(&[16, 64]);
        c.handle_reserve_count = pick(&[0, 4]);
        c.stream_buffer_count = pick(&[8, 32]);
        c.stream_buffer_size = pick(&[2_048, 4_096]);
        c.gro_buffer_count = pick(&[0, 2]);
        c.jumbo_count = pick(&[0, 1]);
        c.jumbo_size = 65_536;
        c.max_connections = pick(&[1, 3, 16]);
        c.max_timers = pick(&[0, 4]);
        c.max_events_per_poll = pick(&[16, 64]);
        c.send_high_water = pick(&[4_096, 20_000]);
        c.held_buffers_max = pick(&[1, 4]);
        c.handle_queue_entries = pick(&[2, 16]);
        c.uring.zero_copy_min = 1_024;
        c.debug.poison_freed = true;
        c.debug.audit_every_tick = true;
    })
}
