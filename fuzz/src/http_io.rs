//! Target `http_io`: an `Io` whose HTTP listener is sent whatever the input has, in one piece and
//! cut as the input says, and an application that answers by rules.
//!
//! Held: no panic, whatever comes; the same requests are handed out, and the same bytes answered,
//! however they arrive (but for `100 Continue`, which is for those who wait); each connection has
//! one end, and then every buffer and descriptor comes home.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use zero_io::sim::{Faults, World};
use zero_io::{
    ConnId, EndpointId, Event, HostOrAddr, HttpListenConfig, HttpMethod, Io, IoError, RequestId,
    Sender, StreamId, TcpConnectConfig, TcpListenConfig, ZeroResponse,
};

use crate::input::Input;
use crate::node::small;

const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 80);
/// Rounds in which everything must have been said and ended.
const ROUNDS_MAX: usize = 40_000;
/// Bytes of a conversation: more would only be slow.
const LEN_MAX: usize = 40_000;
const CONNECTIONS_MAX: usize = 2;
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What is seen from outside.
#[derive(Debug, Default)]
struct Outcome {
    /// What was handed out, but for how it was cut.
    requests: Vec<String>,
    bodies: Vec<u8>,
    answered: Vec<u8>,
    /// The client said more than it had announced, and lost what it had not read.
    was_reset: bool,
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (seed, inline) = (input.byte(), usize::from(input.byte()) * 16);
    let pipelined = 1 + usize::from(input.byte() % 32);
    let said = &input.rest()[..input.rest().len().min(LEN_MAX)];
    // A line that has no end is looked at when others come with it, and not alone.
    let said = &[said, b"\r\n\r\n"].concat()[..];
    let limits = (inline, pipelined);
    let whole = converse(said, limits, || usize::MAX);
    let mut cut = usize::from(seed);
    let pieces = converse(said, limits, || {
        cut = (cut * 5 + 3) % 97;
        1 + cut
    });
    assert_eq!(whole.requests, pieces.requests, "in pieces");
    assert_eq!(whole.bodies, pieces.bodies, "in pieces");
    if whole.was_reset || pieces.was_reset {
        let len = whole.answered.len().min(pieces.answered.len());
        assert_eq!(whole.answered[..len], pieces.answered[..len], "in pieces");
    } else {
        let [one, other] = [&whole, &pieces].map(|o| String::from_utf8_lossy(&o.answered));
        assert_eq!(one, other, "in pieces");
    }
}

/// A client says that, and then that it sends no more.
fn converse(said: &[u8], limits: (usize, usize), mut piece_len: impl FnMut() -> usize) -> Outcome {
    let world = World::new(1, Faults::none());
    let mut server = Io::in_world(small(CONNECTIONS_MAX), &world).expect("a node");
    let mut client = Io::in_world(small(CONNECTIONS_MAX), &world).expect("a node");
    let address = SocketAddr::from(ADDRESS);
    let listen = HttpListenConfig::new(TcpListenConfig::new(address)).with(|c| {
        (c.max_body_inline, c.max_pipelined) = limits;
        c.max_header_size = 2_048;
        // Time is not what is looked at here.
        (c.request_timeout_ms, c.receive_timeout_ms, c.keep_alive_timeout_ms) = (0, 0, 0);
        c.max_body_size = 20_000;
    });
    let listener = server.http_listen_with(listen).expect("a listener");
    let peer = TcpConnectConfig::new(HostOrAddr::Addr(address));
    let conn = client.tcp_connect_with(peer).expect("a connection");
    let mut talk = Talk { said, conn, sent: 0, may_send: false, is_over: false, was_reset: false };
    let mut outcome = Outcome::default();
    let mut app = App::default();
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "it does not end: {outcome:?}\n{}", world.trace());
        talk.tick(&mut client, &mut outcome, &mut piece_len);
        app.tick(&mut server, &mut outcome);
        let violations = world.violations();
        assert!(violations.is_empty(), "{violations:?}\n{}", world.trace());
        if talk.is_over && app.open.is_empty() {
            break;
        }
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(1));
        }
    }
    rest(&world, server, client, listener);
    outcome.answered = normal(&outcome.answered);
    outcome.was_reset = talk.was_reset;
    outcome
}

/// The listener goes, and everything comes home.
fn rest(world: &World, mut server: Io, mut client: Io, listener: EndpointId) {
    server.endpoint_close(listener).expect("it is open");
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "it does not come to rest\n{}", world.trace());
        for io in [&mut server, &mut client] {
            io.poll(Duration::ZERO).expect("a tick");
            while io.next_event().is_some() {}
            io.audit();
        }
        let is_closed = (0..2).all(|node| world.open_fds(node) == 0 && world.open_slots(node) == 0);
        if is_closed && server.is_idle() && client.is_idle() {
            return;
        }
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(1));
        }
    }
}

/// The client.
struct Talk<'a> {
    said: &'a [u8],
    conn: ConnId,
    sent: usize,
    may_send: bool,
    is_over: bool,
    was_reset: bool,
}

impl Talk<'_> {
    fn tick(&mut self, io: &mut Io, outcome: &mut Outcome, piece_len: &mut dyn FnMut() -> usize) {
        io.poll(Duration::ZERO).expect("a tick");
        while let Some(event) = io.next_event() {
            match event {
                Event::Connected { .. } => self.may_send = true,
                Event::StreamFrame { data, .. } => outcome.answered.extend_from_slice(data),
                Event::Disconnected { error_code, .. } => {
                    (self.is_over, self.may_send) = (true, false);
                    self.was_reset = error_code != 0;
                }
                _ => {}
            }
        }
        if self.may_send {
            let rest = &self.said[self.sent..];
            let piece = &rest[..rest.len().min(piece_len())];
            // It may have ended, which is told next.
            self.sent += io.stream_write(self.conn, StreamId::ZERO, piece).unwrap_or(0);
            if self.sent == self.said.len() {
                self.may_send = false;
                let _ = io.shutdown_write(self.conn, StreamId::ZERO);
            }
        }
        io.audit();
    }
}

/// The application: what it answers follows from the request alone.
#[derive(Default)]
struct App {
    open: Vec<ConnId>,
    /// Requests to be answered in the next tick.
    later: Vec<(ConnId, RequestId, Rule)>,
    /// The request whose body is coming.
    awaits: Option<Rule>,
    tunnel: Vec<u8>,
    is_tunnel: bool,
    count: u64,
    /// It ends the connection: how much more is handed out by then is a matter of time.
    closes: bool,
}

#[derive(Clone, Copy)]
enum Rule {
    /// A body of so many bytes.
    Text(usize),
    Empty,
    Close,
    Upgrade(u16),
}

/// What answers are cut from.
const TEXT: &str = "0123456789abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";

impl App {
    fn tick(&mut self, io: &mut Io, outcome: &mut Outcome) {
        io.poll(Duration::ZERO).expect("a tick");
        let (mut events, mut sender) = io.split();
        for (conn, id, rule) in std::mem::take(&mut self.later) {
            self.answer(&mut sender, (conn, id), rule);
        }
        while let Some(event) = events.next_event() {
            self.on_event(event, &mut sender, outcome);
        }
        if let Some(conn) = self.open.first().filter(|_| !self.tunnel.is_empty()) {
            let sent = sender.stream_write(*conn, StreamId::ZERO, &self.tunnel);
            self.tunnel.drain(..sent.unwrap_or(0));
        }
        io.audit();
    }

    fn on_event(&mut self, event: Event<'_>, sender: &mut Sender<'_>, outcome: &mut Outcome) {
        match event {
            Event::Connected { conn, .. } => self.open.push(conn),
            Event::HttpRequest { conn, id, request } => {
                assert!(self.open.contains(&conn) && !self.is_tunnel, "nobody expects a request");
                assert!(self.awaits.is_none(), "a request in the middle of a body");
                assert_eq!(id.as_u64(), self.count, "requests are numbered");
                self.count += 1;
                if !self.closes {
                    outcome.requests.push(format!("{request:?}"));
                    outcome.bodies.extend_from_slice(request.body());
                }
                let rule = match request.target().len() % 7 {
                    _ if request.method() == HttpMethod::Connect => Rule::Upgrade(200),
                    _ if request.wants_upgrade() => Rule::Upgrade(101),
                    0 => Rule::Empty,
                    6 => Rule::Close,
                    n => Rule::Text(n * n * 2),
                };
                // With a body that does not come whole it is never said.
                self.closes |= matches!(rule, Rule::Close) && !request.body_follows();
                match request.body_follows() {
                    true => self.awaits = Some(rule),
                    false if id.as_u64() % 2 == 1 => self.later.push((conn, id, rule)),
                    false => self.answer(sender, (conn, id), rule),
                }
            }
            Event::HttpBodyChunk { conn, id, data, last } => {
                if !self.closes {
                    outcome.bodies.extend_from_slice(data);
                }
                let rule = self.awaits.expect("a body that is due");
                assert_eq!(id.as_u64() + 1, self.count, "another body");
                if last {
                    self.awaits = None;
                    self.closes |= matches!(rule, Rule::Close);
                    self.answer(sender, (conn, id), rule);
                }
            }
            Event::StreamFrame { data, .. } => {
                assert!(self.is_tunnel, "bytes of a tunnel that is none");
                self.tunnel.extend_from_slice(data);
            }
            Event::ReadClosed { conn, .. } => {
                assert!(self.is_tunnel, "told of tunnels alone");
                let sent = sender.stream_write(conn, StreamId::ZERO, &self.tunnel);
                self.tunnel.drain(..sent.unwrap_or(0));
                let _ = sender.shutdown_write(conn, StreamId::ZERO);
            }
            Event::Disconnected { conn, .. } => {
                let found = self.open.iter().position(|open| *open == conn);
                self.open.swap_remove(found.expect("one end behind Connected"));
                self.later.clear();
            }
            _ => {}
        }
    }

    fn answer(&mut self, sender: &mut Sender<'_>, (conn, id): (ConnId, RequestId), rule: Rule) {
        let response = match rule {
            Rule::Text(len) => ZeroResponse::ok().text(&TEXT[..len]),
            Rule::Empty => ZeroResponse::no_content(),
            Rule::Close => ZeroResponse::ok().text("the last one").close(),
            Rule::Upgrade(status) => {
                let response = ZeroResponse::status(status).header("upgrade", "echo");
                match sender.http_upgrade(conn, id, response) {
                    Ok(()) => self.is_tunnel = true,
                    // Others are due before it.
                    Err(IoError::InvalidArgument { .. }) => self.later.push((conn, id, rule)),
                    Err(_) => {}
                }
                return;
            }
        };
        // It may be refused or over.
        let _ = sender.http_respond(conn, id, response);
    }
}

/// Without what depends on time.
fn normal(answered: &[u8]) -> Vec<u8> {
    const DATE_LEN: usize = "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n".len();
    let mut out = Vec::new();
    let mut rest = answered;
    while let Some(byte) = rest.first() {
        let skip = match rest {
            _ if rest.starts_with(CONTINUE) => CONTINUE.len(),
            _ if rest.starts_with(b"Date: ") => DATE_LEN.min(rest.len()),
            _ => 0,
        };
        if skip == 0 {
            out.push(*byte);
        }
        rest = &rest[skip.max(1)..];
    }
    out
}
