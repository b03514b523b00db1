//! One `Io` of the target, what it was asked for, and what it must still say.

use super::extras::Extras;
use super::pattern;
use crate::input::Input;
use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;
use zero_io::sim::World;
use zero_io::{
    Config, ConnId, ConnTimeouts, EndpointId, Event, Frame, Framing, Io, MessageKind, OwnedSlot,
    Sender, StreamId, TcpConnectConfig, TcpListenConfig, Toggle, UdpEndpointConfig,
    UdsConnectConfig,
};

/// Bytes of one write at most.
const WRITE_LEN_MAX: u64 = 9_000;
const STREAM: StreamId = StreamId::ZERO;
/// Ports of the first node; those of the second are one higher.
const RAW_PORT: u16 = 10;
const FRAMED_PORT: u16 = 20;
const DATAGRAM_PORT: u16 = 30;
/// Where two connected sockets sit, one on each node.
const PAIRED_PORT: u16 = 40;

/// What a node knows of a connection.
#[derive(Default)]
struct Conn {
    sent_len: u64,
    received_len: u64,
    framed: bool,
}

pub(super) struct Node {
    index: u16,
    io: Io,
    listeners: Vec<EndpointId>,
    framed_listener: Option<EndpointId>,
    extras: Extras,
    state: State,
}

/// What events change.
#[derive(Default)]
struct State {
    open: BTreeMap<ConnId, Conn>,
    ended: BTreeSet<ConnId>,
    /// Memory under way, by the token of its guard.
    guards: BTreeMap<u64, Weak<[u8]>>,
    held: Vec<(OwnedSlot, Vec<u8>)>,
}

impl Node {
    pub(super) fn new(index: u16, world: &World, input: &mut Input<'_>) -> Self {
        let io = Io::in_world(config(input), world).expect("a node");
        let mut node = Self {
            index,
            io,
            listeners: Vec::new(),
            framed_listener: None,
            extras: Extras::default(),
            state: State::default(),
        };
        let raw = TcpListenConfig::new(address(RAW_PORT + index));
        node.listeners.extend(node.io.tcp_listen_with(raw));
        node.listeners.extend(node.io.uds_listen(&unix_name(index)));
        let framed = TcpListenConfig::new(address(FRAMED_PORT + index));
        let framed = framed.with(|c| c.framing = Some(framing()));
        node.framed_listener = node.io.tcp_listen_with(framed).ok();
        node.listeners.extend(node.framed_listener);
        let coalescing = UdpEndpointConfig::new(address(DATAGRAM_PORT + index));
        let coalescing = coalescing.with(|c| c.gro = input.byte() & 1 == 1);
        let paired = UdpEndpointConfig::new(address(PAIRED_PORT + index));
        let paired = paired.with(|c| c.connect = Some(address(PAIRED_PORT + 1 - index)));
        for config in [coalescing, paired] {
            node.extras.sockets.extend(node.io.udp_bind_with(config));
        }
        node
    }

    /// One call of the script. Errors are answers; panics are findings.
    pub(super) fn call(&mut self, world: &World, input: &mut Input<'_>) {
        let conn = self.state.pick(input.byte());
        let call = input.byte() % 24;
        match (call, conn) {
            (2..=5, Some(conn)) => self.write(conn, input),
            (11, Some(conn)) => self.handle(conn, input),
            (12..=17, Some(conn)) => self.control(conn, call, input),
            (0 | 1, _) => self.connect(input),
            (6 | 7, _) => self.tick(),
            (8, _) => world.advance_by(Duration::from_micros(input.number() % 50_000)),
            (9 | 10, _) => drop(world.advance_to_next()),
            (18, _) => self.extras.timer(&mut self.io, input),
            (19 | 20, _) => {
                let to = address(DATAGRAM_PORT + u16::from(input.byte() & 1));
                self.extras.datagram(&mut self.io, to, input);
            }
            (21, _) => self.extras.watch(&mut self.io, self.index.into(), world, input),
            (22, _) => self.state.check_held(),
            _ => self.let_go(input),
        }
    }

    fn control(&mut self, conn: ConnId, call: u8, input: &mut Input<'_>) {
        let _ = match call {
            12 => self.io.close(conn),
            13 => self.io.close_graceful(conn, Duration::from_millis(input.number() % 5_000)),
            14 => self.io.shutdown_write(conn, STREAM),
            15 => self.io.pause_recv(conn),
            16 => self.io.reset_on_close(conn),
            _ => self.io.resume_recv(conn),
        };
    }

    fn connect(&mut self, input: &mut Input<'_>) {
        let (choice, node) = (input.byte(), u16::from(input.byte() & 1));
        let connect_timeout = Duration::from_millis(1 + input.number() % 5_000);
        let mut timeouts = ConnTimeouts::default();
        for limit in [&mut timeouts.idle, &mut timeouts.read, &mut timeouts.write] {
            *limit = Some(input.number() % 5_000).filter(|ms| *ms > 0).map(Duration::from_millis);
        }
        let framed = choice < 80;
        let conn = if choice < 200 {
            let port = node + if framed { FRAMED_PORT } else { RAW_PORT };
            let config = TcpConnectConfig::new(address(port)).with(|c| {
                c.framing = framed.then(framing);
                c.connect_timeout = connect_timeout;
                c.timeouts = timeouts;
            });
            self.io.tcp_connect_with(config)
        } else {
            let config = UdsConnectConfig::new(unix_name(node)).with(|c| {
                c.connect_timeout = connect_timeout;
                c.timeouts = timeouts;
            });
            self.io.uds_connect_with(config)
        };
        if let Ok(conn) = conn {
            self.state.open.insert(conn, Conn { framed, ..Conn::default() });
        }
    }

    /// The next bytes of the pattern, in one of many ways; whatever the input has, where messages
    /// are cut.
    fn write(&mut self, conn: ConnId, input: &mut Input<'_>) {
        let (way, len) = (input.byte() % 6, input.number() % WRITE_LEN_MAX);
        let Some(state) = self.state.open.get_mut(&conn) else {
            assert!(self.io.stream_write(conn, STREAM, b"late").is_err(), "{conn} is gone");
            return;
        };
        let data: Vec<u8> = match state.framed {
            true => input.repeated(len as usize),
            false => (state.sent_len..state.sent_len + len).map(pattern).collect(),
        };
        let accepted = match way {
            0 => {
                let (front, back) = data.split_at(data.len() / 3);
                self.io.stream_writev(conn, STREAM, &[front, &[], back].map(IoSlice::new))
            }
            1 => self.io.send_buffer(data.len()).and_then(|mut buffer| {
                buffer.as_mut_slice()[..data.len()].copy_from_slice(&data);
                buffer.set_len(data.len());
                self.io.stream_write_buffer(conn, STREAM, buffer).map(|()| data.len())
            }),
            2 => {
                let memory: Arc<[u8]> = Arc::from(data.as_slice());
                let (token, weak) = (self.extras.token(), Arc::downgrade(&memory));
                self.io.stream_write_guard(conn, STREAM, memory, token).map(|()| {
                    self.state.guards.insert(token, weak);
                    data.len()
                })
            }
            _ => self.io.stream_write(conn, STREAM, &data),
        };
        if let Ok(accepted) = accepted {
            assert!(accepted <= data.len());
            state.sent_len += accepted as u64;
        }
    }

    fn handle(&mut self, conn: ConnId, input: &mut Input<'_>) {
        let handle = self.io.handle();
        let framed = self.state.open.get(&conn).is_some_and(|state| state.framed);
        let _ = match input.byte() % 5 {
            0 => handle.post_data(1, &[7; 40][..usize::from(input.byte() % 41)]),
            1 => handle.close(conn),
            2 => handle.close_graceful(conn, Duration::from_millis(input.number() % 500)),
            // The order of these and of direct writes is the connection's affair: whole messages.
            3 if framed => handle.stream_write(conn, STREAM, &[2, 0, 0]),
            _ => handle.wake(),
        };
    }

    fn let_go(&mut self, input: &mut Input<'_>) {
        match input.byte() % 8 {
            0 => drop(self.listeners.pop().map(|listener| self.io.endpoint_close(listener))),
            1 => self.extras.close_socket(&mut self.io),
            _ => {}
        }
    }

    pub(super) fn tick(&mut self) {
        self.io.poll(Duration::ZERO).expect("a tick");
        let (mut events, mut sender) = self.io.split();
        while let Some(event) = events.next_event() {
            self.extras.on_event(&event, &mut sender);
            let Some(expected) = self.state.on_event(&event, self.framed_listener, &mut sender)
            else {
                continue;
            };
            let Some(slot) = events.detach_event_data() else { continue };
            // Every second of them goes to somebody, the others are kept.
            match self.state.any_framed().filter(|_| expected.len() % 2 == 0) {
                None => self.state.held.push((slot, expected)),
                Some(conn) => {
                    if let Ok(buffer) = slot.try_into_send_buffer() {
                        let _ = sender.stream_write_buffer(conn, STREAM, buffer);
                    }
                }
            }
        }
        self.io.audit();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.io.is_idle()
    }

    pub(super) fn end(&mut self, world: &World) {
        self.state.check_held();
        for listener in self.listeners.drain(..) {
            let _ = self.io.endpoint_close(listener);
        }
        self.extras.end(&mut self.io, self.index.into(), world);
        for conn in self.state.open.keys() {
            let _ = self.io.close(*conn);
        }
    }

    pub(super) fn check_ended(&self) {
        let State { open, guards, .. } = &self.state;
        assert!(open.is_empty(), "without a Disconnected: {:?}", open.keys());
        assert!(guards.is_empty(), "without a SendDone: {:?}", guards.keys());
        self.extras.check_ended();
    }
}

impl State {
    /// A connection that is open, or one that was.
    fn pick(&self, choice: u8) -> Option<ConnId> {
        let nth = usize::from(choice >> 2);
        let open = self.open.keys().nth(nth % self.open.len().max(1));
        let ended = self.ended.iter().nth(nth % self.ended.len().max(1));
        let any = if choice & 3 == 3 { ended.or(open) } else { open.or(ended) };
        any.copied()
    }

    fn any_framed(&self) -> Option<ConnId> {
        self.open.iter().find(|(_, conn)| conn.framed).map(|(id, _)| *id)
    }

    /// What was detached must still be what it was.
    fn check_held(&mut self) {
        for (slot, expected) in self.held.drain(..) {
            assert_eq!(&slot[..], expected, "a detached payload changed");
        }
    }

    /// Takes note; the payload's bytes where it is to be detached.
    fn on_event(
        &mut self,
        event: &Event<'_>,
        framed_listener: Option<EndpointId>,
        sender: &mut Sender<'_>,
    ) -> Option<Vec<u8>> {
        match *event {
            Event::StreamFrame { conn, data, .. } => {
                let state = self.open.get_mut(&conn).expect("a frame of an open connection");
                check_bytes(state, data);
                if state.framed && data.len() % 5 == 1 {
                    let _ = sender.forward(conn, STREAM, data);
                }
                // Every fifth payload or so is detached.
                return (data.len() % 5 == 0).then(|| data.to_vec());
            }
            Event::Connected { conn, endpoint, .. } => {
                let framed = endpoint.is_some() && endpoint == framed_listener;
                let known = self.open.contains_key(&conn);
                assert_eq!(known, endpoint.is_none(), "{conn}");
                self.open.entry(conn).or_insert(Conn { framed, ..Conn::default() });
            }
            Event::Disconnected { conn, .. } => {
                assert!(self.open.remove(&conn).is_some(), "{conn} ended twice");
                self.ended.insert(conn);
            }
            Event::SendDone { token, .. } => {
                let memory = self.guards.remove(&token).expect("a guard that is under way, once");
                assert_eq!(memory.strong_count(), 0, "the memory of guard {token} is free");
            }
            Event::ReadClosed { conn, .. } | Event::Writable { conn, .. } => {
                assert!(self.open.contains_key(&conn), "{conn} is gone");
            }
            _ => {}
        }
        None
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

fn unix_name(node: u16) -> String {
    format!("@node-{node}")
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
        c.max_watches = pick(&[0, 2]);
        c.guard_count = pick(&[1, 8]);
        c.max_events_per_poll = pick(&[16, 64]);
        c.send_high_water = pick(&[4_096, 20_000]);
        c.held_buffers_max = pick(&[1, 4]);
        c.handle_queue_entries = pick(&[2, 16]);
        c.uring.zero_copy_min = 1_024;
        c.debug.poison_freed = true;
        c.debug.audit_every_tick = true;
    })
}
