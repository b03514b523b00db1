//! Target `quic_datagram`: a server and a client between which somebody sits who passes datagrams
//! on, and sends along whatever the input says: bytes as they are, and what passes with changes in
//! it, cut, doubled, sent back, or under another's name.
//!
//! Held: no panic, whatever arrives; a connection that is established lives as long as its own
//! packets get through, and its streams arrive as they were written (who sits in between can keep
//! one from being established); what is kept of strangers is bounded and comes home. The
//! keys are random: what is held does not depend on them.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use zero_io::sim::{Faults, World};
use zero_io::{
    ConnId, EndpointId, Event, Io, QuicConnectConfig, QuicListenConfig, RetryPolicy, StreamDir,
    StreamId, UdpEndpointConfig,
};

use crate::input::Input;
use crate::quic_kit::{PORT, config, tls};

/// Rounds in which the echo must be there, and then everything at home.
const ROUNDS_MAX: usize = 60_000;
/// What is echoed.
const TEXT: [u8; 4_000] = [0x5A; 4_000];
/// Datagrams that are sent along at most.
const EXTRAS_MAX: usize = 300;
/// Where the one in between is.
const BETWEEN: u16 = 4_433;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let how = input.byte();
    let world = World::new(1, Faults::none());
    let mut server = Server::new(&world, how);
    let mut client = Client::new(&world, how);
    let mut between = Between::new(&world);
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "it does not end: {client:?}\n{}", world.trace());
        client.tick();
        between.tick(&mut input);
        server.tick();
        let violations = world.violations();
        assert!(violations.is_empty(), "{violations:?}\n{}", world.trace());
        if client.is_done() {
            break;
        }
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(1));
        }
    }
    rest(&world, server, client, between);
}

fn rest(world: &World, mut server: Server, mut client: Client, mut between: Between) {
    // One that was never established is over.
    let _ = client.io.close(client.conn);
    server.io.endpoint_close(server.listener).expect("it is open");
    let mut nothing = Input::new(&[]);
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "it does not come to rest\n{}", world.trace());
        client.tick();
        between.tick(&mut nothing);
        server.tick();
        if client.io.is_idle() && server.io.is_idle() && world.open_fds(0) == 0 {
            break;
        }
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(1));
        }
    }
    assert_eq!(world.open_fds(1), 0, "the client's socket");
}

struct Server {
    io: Io,
    listener: EndpointId,
    echo: VecDeque<(ConnId, StreamId, Vec<u8>, bool)>,
}

impl Server {
    fn new(world: &World, how: u8) -> Self {
        let mut io = Io::in_world(config(), world).expect("a node");
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        let config = QuicListenConfig::new(at, tls().0).with(|l| {
            l.retry = [RetryPolicy::Never, RetryPolicy::Always][usize::from(how & 1)];
            l.incoming_max = 4;
            l.handshake_timeout = Duration::from_secs(2);
        });
        let listener = io.quic_listen_with(config).expect("a listener");
        Self { io, listener, echo: VecDeque::new() }
    }

    fn tick(&mut self) {
        self.io.poll(Duration::ZERO).expect("a tick");
        while let Some(event) = self.io.next_event() {
            match event {
                Event::StreamFrame { conn, stream, data, .. } => {
                    self.echo.push_back((conn, stream, data.to_vec(), false));
                }
                Event::ReadClosed { conn, stream } => {
                    self.echo.push_back((conn, stream, Vec::new(), true));
                }
                _ => {}
            }
        }
        while let Some((conn, stream, data, is_end)) = self.echo.pop_front() {
            // The client may have closed.
            let Ok(taken) = self.io.stream_write(conn, stream, &data) else { continue };
            assert_eq!(taken, data.len(), "the windows are wide");
            if is_end {
                let _ = self.io.stream_finish(conn, stream);
            }
        }
        self.io.audit();
    }
}

#[derive(Debug)]
struct Client {
    io: Io,
    conn: ConnId,
    got: usize,
    has_end: bool,
    is_connected: bool,
    is_closed: bool,
}

impl Client {
    fn new(world: &World, how: u8) -> Self {
        let mut io = Io::in_world(config(), world).expect("a node");
        let to = SocketAddr::from((Ipv4Addr::LOCALHOST, BETWEEN));
        let config = QuicConnectConfig::new(to, tls().1);
        let config = config.with(|c| c.transport.ecn = how & 2 == 0);
        let conn = io.quic_connect_with(config).expect("a connection");
        Self { io, conn, got: 0, has_end: false, is_connected: false, is_closed: false }
    }

    const fn is_done(&self) -> bool {
        self.is_closed || self.has_end && self.got == TEXT.len()
    }

    fn tick(&mut self) {
        self.io.poll(Duration::ZERO).expect("a tick");
        let (mut events, mut sender) = self.io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::Connected { conn, .. } => {
                    self.is_connected = true;
                    let stream = sender.stream_open(conn, StreamDir::Bidi).expect("a stream");
                    let taken = sender.stream_write(conn, stream, &TEXT);
                    assert_eq!(taken, Ok(TEXT.len()), "the windows are wide");
                    sender.stream_finish(conn, stream).expect("it is open");
                }
                Event::StreamFrame { data, .. } => {
                    assert!(data.iter().all(|byte| *byte == TEXT[0]), "other bytes");
                    self.got += data.len();
                }
                Event::ReadClosed { .. } => self.has_end = true,
                Event::StreamFinished { .. } | Event::PoolPressure { .. } => {}
                Event::Disconnected { error_code, .. } => {
                    let is_done = self.has_end && self.got == TEXT.len();
                    let is_fine = is_done || !self.is_connected;
                    assert!(is_fine && !self.is_closed, "it ended: {error_code:#x}");
                    self.is_closed = true;
                }
                other => panic!("{other:?}"),
            }
        }
        self.io.audit();
    }
}

/// Who passes datagrams on.
struct Between {
    io: Io,
    /// What the client sends to, and what sends to the server.
    sides: [EndpointId; 2],
    client: Option<SocketAddr>,
    extras: usize,
}

impl Between {
    fn new(world: &World) -> Self {
        // What comes in one tick goes on in it, with what is made up beside it: a slot each.
        let roomy = config().with(|c| c.pool_slot_count = 1_024);
        let mut io = Io::in_world(roomy, world).expect("a node");
        let sides = [BETWEEN, BETWEEN + 1].map(|port| {
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            io.udp_bind_with(UdpEndpointConfig::new(at)).expect("a socket")
        });
        Self { io, sides, client: None, extras: 0 }
    }

    /// Where what comes from a side goes on to.
    fn peer(&self, side: usize) -> Option<SocketAddr> {
        match side {
            0 => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))),
            _ => self.client,
        }
    }

    fn tick(&mut self, input: &mut Input<'_>) {
        self.io.poll(Duration::ZERO).expect("a tick");
        let mut arrived = Vec::new();
        while let Some(event) = self.io.next_event() {
            let Event::UdpRecv { endpoint, from, data, truncated, .. } = event else { continue };
            assert!(!truncated, "a datagram was cut");
            let side = usize::from(endpoint == self.sides[1]);
            if side == 0 {
                self.client = Some(from);
            }
            arrived.push((side, data.to_vec()));
        }
        for (side, data) in arrived {
            for (to, extra) in extras(side, &data, input) {
                self.extras += 1;
                if self.extras <= EXTRAS_MAX {
                    self.send(to, &extra);
                }
            }
            self.send(side, &data);
        }
    }

    /// Sends on what came from a side, or is to seem so.
    fn send(&mut self, side: usize, data: &[u8]) {
        let Some(to) = self.peer(side) else { return };
        let from = self.sides[1 - side];
        self.io.udp_send_bytes(from, to, data).expect("room");
    }
}

/// What is sent before a datagram that came from a side: as if from which side, and what.
fn extras(side: usize, data: &[u8], input: &mut Input<'_>) -> Vec<(usize, Vec<u8>)> {
    let word = input.byte();
    let mut extra = data.to_vec();
    let at = |input: &mut Input<'_>| {
        let at = usize::from(input.byte()) << 8 | usize::from(input.byte());
        at % data.len().max(1)
    };
    let side = if word & 0x80 == 0 { side } else { 1 - side };
    match word & 7 {
        1 => {}
        2 => {
            // Heads are what is looked at first.
            let at = usize::from(input.byte()) % extra.len().max(1);
            extra[at] ^= input.byte();
        }
        3 => {
            let at = at(input);
            extra[at] ^= input.byte();
        }
        4 => extra.truncate(at(input)),
        5 => {
            let len = 1 + usize::from(input.byte()) * 6;
            extra = input.repeated(len);
        }
        6 => {
            let len = usize::from(input.byte() & 63).min(extra.len());
            (0..len).for_each(|at| extra[at] = input.byte());
        }
        7 => {
            // A long header with a version and lengths of connection ids that are the input's.
            let mut head = vec![0xC0 | input.byte() & 0x3F];
            head.extend((0..4).map(|_| input.byte() & 1));
            let len = usize::from(input.byte() & 63);
            head.extend(input.repeated(len));
            head.extend(&data[head.len().min(data.len())..]);
            head.resize(head.len().max(1_200), 0);
            extra = head;
        }
        _ => return Vec::new(),
    }
    // An empty one would be none.
    let count = 1 + usize::from(word >> 4 & 3);
    vec![(side, extra); count]
}
