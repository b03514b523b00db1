//! TLS where states meet: calls in the middle of a handshake, writes larger than the pools, ends
//! that cross.

use std::sync::Arc;
use std::time::Duration;

use zero_io::sim::{Faults, World};
use zero_io::{
    Config, ConnId, Event, HostOrAddr, Io, SendOutcome, StreamId, TcpConnectConfig,
    TcpListenConfig, code,
};

use crate::chance::Chance;
use crate::nth;
use crate::secure::Secure;

const STREAM: StreamId = StreamId::ZERO;
const ROUNDS_MAX: usize = 100_000;
/// More than all buffers of `config` hold.
const LARGE: usize = 2 << 20;

/// As there, with half of the slots.
fn config() -> Config {
    nth::config().with(|c| c.pool_slot_count = 32)
}

/// What one side saw.
#[derive(Default, Debug)]
struct Saw {
    connected: Option<ConnId>,
    bytes: Vec<u8>,
    done: Option<SendOutcome>,
    ended: Option<u64>,
}

/// A server that listens for TLS, and a client.
struct Pair {
    world: World,
    secure: Secure,
    ios: [Io; 2],
    saws: [Saw; 2],
    to: TcpConnectConfig,
}

impl Pair {
    fn new(number: u64) -> Self {
        let world = World::new(number, Faults::none());
        let secure = Secure::new(&mut Chance::new(number));
        let mut ios = [0, 1].map(|_| Io::in_world(config(), &world).expect("a node"));
        let any = "127.0.0.1:0".parse().expect("an address");
        let (_, mut sender) = ios[0].split();
        let listener = secure.listen(&mut sender, TcpListenConfig::new(any)).expect("listen");
        let addr = sender.local_addr(listener).expect("bound").inet().expect("an IP address");
        let to = TcpConnectConfig::new(HostOrAddr::Addr(addr));
        Self { world, secure, ios, saws: [Saw::default(), Saw::default()], to }
    }

    fn connect(&mut self) -> ConnId {
        self.secure.connect(&mut self.ios[1].split().1, self.to.clone()).expect("room")
    }

    /// Polls both until `done`.
    fn until(&mut self, what: &str, done: impl Fn(&[Saw; 2]) -> bool) {
        for _ in 0..ROUNDS_MAX {
            for (io, saw) in self.ios.iter_mut().zip(&mut self.saws) {
                io.poll(Duration::from_secs(1)).expect("a tick");
                while let Some(event) = io.next_event() {
                    match event {
                        Event::Connected { conn, .. } => saw.connected = Some(conn),
                        Event::StreamFrame { data, .. } => saw.bytes.extend_from_slice(data),
                        Event::SendDone { outcome, .. } => saw.done = Some(outcome),
                        Event::Disconnected { error_code, .. } => saw.ended = Some(error_code),
                        _ => {}
                    }
                }
            }
            if done(&self.saws) {
                return;
            }
            if !self.world.advance_to_next() {
                self.world.advance_by(Duration::from_millis(1));
            }
        }
        let ends = self.saws.iter().map(|saw| (saw.connected, saw.bytes.len(), saw.ended));
        panic!("waited in vain for {what}: {:?}", ends.collect::<Vec<_>>());
    }

    /// Ends the connection on this side too, and waits until the kernel has let go of all that was
    /// sent from where it lay: dropped before, an `Io` leaks that memory (P5).
    fn finish(mut self, server: ConnId) {
        self.ios[0].close_graceful(server, Duration::from_secs(60)).expect("open");
        self.until("both ends", |saws| saws.iter().all(|saw| saw.ended.is_some()));
        while self.world.advance_to_next() {
            self.ios.iter_mut().for_each(|io| io.poll(Duration::ZERO).expect("a tick"));
        }
    }

    fn connected(&mut self) -> [ConnId; 2] {
        self.until("the handshake", |saws| saws.iter().all(|saw| saw.connected.is_some()));
        [0, 1].map(|side| self.saws[side].connected.expect("just seen"))
    }
}

/// Versions, record sizes and tickets.
const NUMBERS: std::ops::Range<u64> = 0..6;

fn text() -> Vec<u8> {
    (0..LARGE).map(|n| (n * 7 % 251) as u8).collect()
}

#[test]
fn a_guard_write_may_be_larger_than_all_buffers() {
    for number in NUMBERS {
        let mut pair = Pair::new(number);
        pair.connect();
        let [server, client] = pair.connected();
        let memory: Arc<[u8]> = text().into();
        pair.ios[1].stream_write_guard(client, STREAM, memory, 1).expect("taken");
        pair.ios[1].close_graceful(client, Duration::from_secs(60)).expect("open");
        pair.until("all of it", |[server, client]| {
            server.bytes.len() == LARGE && client.done.is_some()
        });
        assert!(pair.saws[0].bytes == text());
        assert_eq!(pair.saws[1].done, Some(SendOutcome::Sent));
        pair.finish(server);
    }
}

#[test]
fn what_a_handle_was_promised_is_sent() {
    for number in NUMBERS {
        let mut pair = Pair::new(number);
        pair.connect();
        let [server, client] = pair.connected();
        let handle = pair.ios[1].handle();
        let (first, rest) = (text(), b"and then a little");
        handle.stream_write(client, STREAM, &first).expect("taken");
        handle.stream_write(client, STREAM, rest).expect("taken");
        handle.close_graceful(client, Duration::from_secs(60)).expect("taken");
        pair.until("all of it", |[server, _]| server.bytes.len() == LARGE + rest.len());
        assert!(pair.saws[0].bytes == [&first[..], rest].concat());
        pair.finish(server);
    }
}

#[test]
fn an_alert_reaches_a_peer_that_has_said_fin() {
    let mut pair = Pair::new(0);
    let conn = pair.ios[1].tcp_connect_with(pair.to.clone()).expect("room");
    pair.until("a connection", |[_, client]| client.connected.is_some());
    pair.ios[1].stream_write(conn, STREAM, b"GET / HTTP/1.1\r\n\r\n").expect("room");
    pair.ios[1].shutdown_write(conn, STREAM).expect("open");
    pair.until("the end", |[server, _]| server.ended.is_some());
    let end = pair.saws[0].ended.expect("just seen");
    assert_eq!(end & !0xFF, code::TLS_ALERT_SENT, "{end:#x}");
    pair.until("the alert", |[_, client]| client.bytes.len() == 7);
    assert_eq!(pair.saws[1].bytes[0], 21);
}

#[test]
fn a_pause_does_not_hold_up_the_handshake() {
    for number in NUMBERS {
        let mut pair = Pair::new(number);
        let conn = pair.connect();
        pair.ios[1].pause_recv(conn).expect("open");
        let [server, client] = pair.connected();
        pair.ios[0].stream_write(server, STREAM, b"later").expect("room");
        pair.world.advance_by(Duration::from_secs(1));
        pair.ios[1].resume_recv(client).expect("open");
        pair.until("what was sent meanwhile", |[_, client]| client.bytes == b"later");
    }
}

#[test]
fn a_graceful_close_in_the_handshake_is_a_close() {
    let mut pair = Pair::new(0);
    let conn = pair.connect();
    pair.world.advance_by(Duration::from_micros(50));
    pair.ios[1].poll(Duration::ZERO).expect("a tick");
    pair.ios[1].close_graceful(conn, Duration::from_secs(60)).expect("open");
    pair.until("the end", |[_, client]| client.ended.is_some());
    assert_eq!(pair.saws[1].ended, Some(code::LOCAL_CLOSE));
    assert!(pair.saws[1].connected.is_none());
}
