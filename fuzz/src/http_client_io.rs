//! Target `http_client_io`: a pool of HTTP clients whose servers say whatever the input has, in one
//! piece and cut as the input says.
//!
//! The input: how the pool is, how pieces are cut, which requests there are, and behind these what
//! is said, a connection's share up to each `0xff`. Held: no panic, whatever comes; each request
//! has one end and nothing behind it; each upgraded connection has one end; then every buffer and
//! descriptor comes home.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use zero_io::sim::{Faults, World};
use zero_io::{
    ConnId, EndpointId, Event, HttpMethod, HttpPool, HttpPoolConfig, Io, RequestId, Sender,
    StreamId, TcpListenConfig, ZeroRequest,
};

use crate::input::Input;
use crate::node::small;

const ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 80);
const URL: &str = "http://127.0.0.1/";
/// Rounds in which every request must have ended.
const ROUNDS_MAX: usize = 60_000;
/// Bytes that are said: more would only be slow.
const LEN_MAX: usize = 20_000;
/// What is between the shares of two connections.
const BETWEEN: u8 = 0xff;
const REQUESTS: usize = 6;
const CONNECTIONS_MAX: usize = 16;
const BODY: &[u8] = b"abc";

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let plan = Plan { pool: input.byte(), inline: input.byte(), asks: input.byte() };
    let seed = input.byte();
    let said = &input.rest()[..input.rest().len().min(LEN_MAX)];
    converse(&plan, said, || usize::MAX);
    let mut cut = usize::from(seed);
    converse(&plan, said, || {
        cut = (cut * 5 + 3) % 97;
        1 + cut
    });
}

/// What the first bytes decide.
struct Plan {
    pool: u8,
    inline: u8,
    asks: u8,
}

impl Plan {
    fn config(&self) -> HttpPoolConfig {
        let bit = |n: u8| self.pool >> n & 1;
        HttpPoolConfig::default().with(|c| {
            c.pipeline = 1 + usize::from(self.pool & 3);
            c.max_connections_per_host = 1 + usize::from(bit(2));
            c.redirects = bit(3) * 2;
            c.retry_idempotent = bit(4) == 1;
            c.keep_alive_requests = u32::from(bit(5)) * 2;
            c.request_timeout_ms = u64::from(bit(6)) * 700;
            c.max_body_inline = usize::from(self.inline) * 8;
            c.max_body_size = 10_000;
            c.max_header_size = 1_024;
            c.max_header_count = 16;
            (c.first_byte_timeout_ms, c.body_timeout_ms) = (1_000, 1_000);
            (c.connect_timeout_ms, c.idle_timeout_ms) = (1_000, 500);
        })
    }

    /// The servers say that they send no more.
    const fn ends(&self) -> bool {
        self.pool >> 7 == 1
    }

    fn request(&self, n: usize) -> ZeroRequest<'static> {
        match (usize::from(self.asks) + n * (1 + usize::from(self.asks >> 5))) % 8 {
            0 => ZeroRequest::head(URL),
            1 => ZeroRequest::post(URL).bytes(BODY),
            2 => ZeroRequest::post(URL).stream_of(BODY.len() as u64).expect_continue(),
            3 => ZeroRequest::put(URL).stream(),
            4 => ZeroRequest::get(URL).upgrade("echo"),
            5 => ZeroRequest::method(HttpMethod::Put, URL).static_bytes(BODY).expect_continue(),
            _ => ZeroRequest::get(URL),
        }
    }
}

/// The pool asks, the servers say that.
fn converse(plan: &Plan, said: &[u8], mut piece_len: impl FnMut() -> usize) {
    let world = World::new(1, Faults::none());
    let mut server = Io::in_world(small(CONNECTIONS_MAX), &world).expect("a node");
    let mut client = Io::in_world(small(CONNECTIONS_MAX), &world).expect("a node");
    let listen = TcpListenConfig::new(SocketAddr::from(ADDRESS));
    let listener = server.tcp_listen_with(listen).expect("a listener");
    let pool = client.http_pool(plan.config()).expect("a pool");
    let mut peers = Peers { shares: said.split(|b| *b == BETWEEN).collect(), ..Peers::default() };
    let mut app = App::default();
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "it does not end: {app:?}\n{}", world.trace());
        if app.ends.len() < REQUESTS && round % 4 == 0 {
            let id = client.http_request(pool, plan.request(app.ends.len())).expect("room");
            assert!(app.ends.insert(id, None).is_none(), "an id twice");
        }
        app.tick(&mut client);
        peers.tick(&mut server, plan.ends(), &mut piece_len);
        let violations = world.violations();
        assert!(violations.is_empty(), "{violations:?}\n{}", world.trace());
        if app.ends.len() == REQUESTS && app.ends.values().all(|end| *end == Some(true)) {
            break;
        }
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(1));
        }
    }
    let nodes = (server, listener, client, pool);
    rest(&world, nodes, (&mut peers, &mut app));
}

/// Pool and listener go, and everything comes home.
fn rest(
    world: &World,
    (mut server, listener, mut client, pool): (Io, EndpointId, Io, HttpPool),
    (peers, app): (&mut Peers<'_>, &mut App),
) {
    client.http_pool_close(pool).expect("it is open");
    server.endpoint_close(listener).expect("it is open");
    for conn in &peers.open {
        let _ = server.close(conn.0);
    }
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "it does not come to rest\n{}", world.trace());
        app.tick(&mut client);
        peers.tick(&mut server, true, &mut || usize::MAX);
        let is_closed = (0..2).all(|node| world.open_fds(node) == 0 && world.open_slots(node) == 0);
        if is_closed && server.is_idle() && client.is_idle() {
            assert!(app.streams.is_empty(), "streams without an end: {:?}", app.streams);
            return;
        }
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(1));
        }
    }
}

/// The servers: each connection says its share, once it was asked something.
#[derive(Default)]
struct Peers<'a> {
    shares: Vec<&'a [u8]>,
    /// How much each has said; `None` before it was asked.
    open: Vec<(ConnId, &'a [u8], Option<usize>)>,
    count: usize,
}

impl Peers<'_> {
    fn tick(&mut self, io: &mut Io, ends: bool, piece_len: &mut dyn FnMut() -> usize) {
        io.poll(Duration::ZERO).expect("a tick");
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::Connected { conn, .. } => {
                    let share = self.shares[self.count % self.shares.len()];
                    self.count += 1;
                    // Some speak first.
                    let sent = share.starts_with(b" ").then_some(1);
                    self.open.push((conn, share, sent));
                }
                Event::StreamFrame { conn, .. } => {
                    let found = self.open.iter_mut().find(|open| open.0 == conn);
                    if let Some((.., sent)) = found {
                        *sent = sent.or(Some(0));
                    }
                }
                Event::ReadClosed { conn, .. } => drop(sender.close(conn)),
                Event::Disconnected { conn, .. } => self.open.retain(|open| open.0 != conn),
                _ => {}
            }
        }
        for (conn, share, sent) in &mut self.open {
            let Some(sent) = sent else { continue };
            let rest = &share[*sent..];
            let piece = &rest[..rest.len().min(piece_len())];
            // It may have ended, which is told next.
            *sent += sender.stream_write(*conn, StreamId::ZERO, piece).unwrap_or(0);
            if ends && *sent == share.len() {
                let _ = sender.shutdown_write(*conn, StreamId::ZERO);
            }
        }
        io.audit();
    }
}

/// The application: whether each request has an end.
#[derive(Default, Debug)]
struct App {
    /// `None` without a response, `Some(false)` with its head alone.
    ends: BTreeMap<RequestId, Option<bool>>,
    /// Connections that were upgraded.
    streams: Vec<ConnId>,
}

impl App {
    fn tick(&mut self, io: &mut Io) {
        io.poll(Duration::ZERO).expect("a tick");
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            self.on_event(event, &mut sender);
        }
        io.audit();
    }

    fn on_event(&mut self, event: Event<'_>, sender: &mut Sender<'_>) {
        match event {
            Event::HttpResponse { conn, id, response } => {
                let end = self.ends.get_mut(&id).expect("a request that was made");
                assert!(end.is_none(), "a second response");
                *end = Some(!response.body_follows());
                assert!((100..1_000).contains(&response.status()), "{response:?}");
                let _ = (response.reason(), response.headers().iter().count());
                if response.is_upgraded() {
                    assert!(!response.body_follows(), "a body of a tunnel");
                    self.streams.push(conn);
                    let _ = sender.shutdown_write(conn, StreamId::ZERO);
                }
            }
            Event::HttpBodyChunk { id, data, last, .. } => {
                let end = self.ends.get_mut(&id).expect("a request that was made");
                assert_eq!(*end, Some(false), "a chunk of no body");
                assert!(last || !data.is_empty(), "a chunk of nothing");
                *end = Some(last);
            }
            Event::HttpFailed { id, failure } => {
                let end = self.ends.get_mut(&id).expect("a request that was made");
                assert!(*end != Some(true) && failure.code != 0, "{end:?} {failure:?}");
                *end = Some(true);
            }
            Event::HttpReady { conn, id } => {
                assert_ne!(self.ends[&id], Some(true), "asked for the body of what is over");
                // It may have ended, which is told next.
                if sender.http_write(conn, id, BODY).is_ok() {
                    let _ = sender.http_finish(conn, id);
                }
            }
            Event::StreamFrame { conn, .. } | Event::ReadClosed { conn, .. } => {
                assert!(self.streams.contains(&conn), "{event:?}");
                let _ = sender.close(conn);
            }
            Event::Disconnected { conn, .. } => {
                let found = self.streams.iter().position(|open| *open == conn);
                self.streams.swap_remove(found.expect("a stream"));
            }
            _ => {}
        }
    }
}
