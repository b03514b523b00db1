//! The same conversations on the real ring and on the simulated one: the application must see the
//! same events.
//!
//! What is compared is what does not depend on timing: the order of a connection's events with
//! neighbouring pieces of data joined, and the guard writes that were done.

use std::time::{Duration, Instant};

use zero_io::sim::{Faults, World};
use zero_io::{
    Config, Event, HostOrAddr, Io, SendOutcome, StreamId, TcpConnectConfig, TcpListenConfig, Toggle,
};

use crate::chance::Chance;
use crate::secure::{self, Secure};

const STREAM: StreamId = StreamId::ZERO;
const PATIENCE: Duration = Duration::from_secs(20);
const ROUNDS_MAX: usize = 1_000_000;

/// What a side does.
#[derive(Clone, Copy, Debug)]
enum Script {
    /// The client sends, says FIN, and reads its echo to the end.
    EchoThenFin,
    /// The client sends memory that it keeps, and closes gracefully at once.
    GuardThenClose,
    /// The server greets and closes; the client reads to the end.
    ServerCloses,
    /// Nobody listens.
    Refused,
}

/// What one side saw, in words.
#[derive(Default, Debug, PartialEq, Eq)]
struct Log {
    order: Vec<String>,
    done: Vec<String>,
    bytes: Vec<u8>,
    ended: bool,
}

impl Log {
    fn note(&mut self, event: &Event<'_>) {
        match *event {
            Event::Connected { endpoint, protocol, .. } => {
                self.order.push(format!("connected {} {protocol}", endpoint.is_some()));
            }
            Event::StreamFrame { data, kind, .. } => {
                self.bytes.extend_from_slice(data);
                let line = format!("data {kind:?}");
                if self.order.last() != Some(&line) {
                    self.order.push(line);
                }
            }
            Event::ReadClosed { .. } => self.order.push("read closed".to_owned()),
            Event::SendDone { token, bytes, outcome, .. } => {
                assert_eq!(outcome, SendOutcome::Sent);
                self.done.push(format!("done {token} {bytes}"));
            }
            Event::Disconnected { error_code, reason, clean, .. } => {
                let reason = String::from_utf8_lossy(reason);
                self.order.push(format!("disconnected {error_code} {reason} {clean}"));
                self.ended = true;
            }
            _ => {}
        }
    }
}

fn text() -> Vec<u8> {
    (0..100_000_u32).map(|n| (n * 7 % 251) as u8).collect()
}

fn config() -> Config {
    Config::default().with(|c| {
        c.huge_pages = Toggle::Off;
        c.send_high_water = 1 << 20;
    })
}

fn serve(io: &mut Io, script: Script, log: &mut Log) {
    io.poll(Duration::from_millis(1)).expect("poll");
    let (mut events, mut sender) = io.split();
    while let Some(event) = events.next_event() {
        log.note(&event);
        match event {
            Event::Connected { conn, .. } if matches!(script, Script::ServerCloses) => {
                sender.stream_write(conn, STREAM, b"hello and good-bye").expect("open");
                sender.close_graceful(conn, PATIENCE).expect("open");
            }
            Event::StreamFrame { conn, stream, data, .. } => {
                if matches!(script, Script::EchoThenFin) {
                    sender.forward(conn, stream, data).expect("room");
                }
            }
            // It may be closing already.
            Event::ReadClosed { conn, .. } => drop(sender.close_graceful(conn, PATIENCE)),
            _ => {}
        }
    }
}

fn ask(io: &mut Io, script: Script, log: &mut Log) {
    io.poll(Duration::from_millis(1)).expect("poll");
    let (mut events, mut sender) = io.split();
    while let Some(event) = events.next_event() {
        log.note(&event);
        match (script, event) {
            (Script::EchoThenFin, Event::Connected { conn, .. }) => {
                assert_eq!(sender.stream_write(conn, STREAM, &text()), Ok(100_000));
                sender.shutdown_write(conn, STREAM).expect("open");
            }
            (Script::GuardThenClose, Event::Connected { conn, .. }) => {
                let memory: std::sync::Arc<[u8]> = text().into();
                sender.stream_write_guard(conn, STREAM, memory, 7).expect("open");
                sender.stream_write_guard(conn, STREAM, "the end", 8).expect("open");
                sender.close_graceful(conn, PATIENCE).expect("open");
            }
            (Script::ServerCloses, Event::ReadClosed { conn, .. }) => {
                sender.close_graceful(conn, PATIENCE).expect("open");
            }
            _ => {}
        }
    }
}

/// Both sides' logs. `turn` lets time pass where it does not by itself.
fn converse(
    [server, client]: [&mut Io; 2],
    script: Script,
    secure: Option<&Secure>,
    mut turn: impl FnMut(),
) -> [Log; 2] {
    let [mut served, mut asked] = [Log::default(), Log::default()];
    let any = "127.0.0.1:0".parse().expect("an address");
    let listener = match secure {
        Some(secure) => secure.listen(&mut server.split().1, TcpListenConfig::new(any)),
        None => server.tcp_listen(any),
    };
    let listener = listener.expect("listen");
    let addr = server.local_addr(listener).expect("bound").inet().expect("an IP address");
    let listens = !matches!(script, Script::Refused);
    if !listens {
        server.endpoint_close(listener).expect("open");
        serve(server, script, &mut served);
    }
    let config = TcpConnectConfig::new(HostOrAddr::Addr(addr));
    match secure {
        Some(secure) => secure.connect(&mut client.split().1, config).expect("room"),
        None => client.tcp_connect_with(config).expect("room"),
    };
    let start = Instant::now();
    for _ in 0..ROUNDS_MAX {
        serve(server, script, &mut served);
        ask(client, script, &mut asked);
        // Idle too: an `Io` that is dropped before its zero-copy sends were notified of leaks their
        // memory on purpose.
        let is_idle = server.is_idle() && client.is_idle();
        if asked.ended && (served.ended || !listens) && is_idle {
            asked.done.sort();
            return [served, asked];
        }
        assert!(start.elapsed() < PATIENCE, "{script:?}: {:?} {:?}", served.order, asked.order);
        turn();
    }
    panic!("{script:?} does not end");
}

fn same_story(script: Script, secure: Option<&Secure>) {
    let pair = || Io::new(config()).expect("an Io on the real ring");
    let real = converse([&mut pair(), &mut pair()], script, secure, || ());
    for seed in 0..20 {
        let world = World::new(seed, Faults::none());
        let pair = || Io::in_world(config(), &world).expect("an Io on the simulated ring");
        let simulated = converse([&mut pair(), &mut pair()], script, secure, || {
            assert!(world.advance_to_next(), "{script:?} stopped");
        });
        assert_eq!(real, simulated, "{script:?}, seed {seed}");
    }
}

const SCRIPTS: [Script; 4] =
    [Script::EchoThenFin, Script::GuardThenClose, Script::ServerCloses, Script::Refused];

#[test]
fn both_rings_tell_the_same_story() {
    SCRIPTS.into_iter().for_each(|script| same_story(script, None));
}

#[test]
fn both_rings_tell_the_same_story_over_tls() {
    for number in (0..4).filter(|_| secure::ON) {
        let secure = Secure::new(&mut Chance::new(number));
        SCRIPTS.into_iter().for_each(|script| same_story(script, Some(&secure)));
    }
}
