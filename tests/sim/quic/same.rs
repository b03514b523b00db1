//! The same conversations over QUIC on the real ring and on the simulated one: the application must
//! see the same events, as far as they do not depend on timing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use zero_io::sim::{Faults, World};
use zero_io::{
    Config, Event, Io, QuicConnectConfig, QuicListenConfig, StreamDir, StreamId, Toggle,
};

use crate::chance::Chance;
use crate::secure::Secure;

const PATIENCE: Duration = Duration::from_secs(20);
const ROUNDS_MAX: usize = 1_000_000;

/// What is done.
#[derive(Clone, Copy, Debug)]
enum Script {
    /// The client sends on a stream of each kind, reads the echo to its end, and closes.
    Echo,
    /// The server greets, and closes gracefully.
    ServerCloses,
    /// The server resets and stops the client's stream.
    Unwanted,
    /// Nobody listens.
    Refused,
}

/// What one side saw, in words.
#[derive(Default, Debug, PartialEq, Eq)]
struct Log {
    order: Vec<String>,
    /// By stream, neighbouring pieces joined.
    streams: BTreeMap<StreamId, (Vec<u8>, Vec<String>)>,
    ended: bool,
}

impl Log {
    fn of(&mut self, stream: StreamId) -> &mut (Vec<u8>, Vec<String>) {
        self.streams.entry(stream).or_default()
    }

    fn note(&mut self, event: &Event<'_>) {
        match *event {
            Event::Connected { endpoint, protocol, alpn, .. } => {
                self.order.push(format!("connected {} {protocol} {alpn:?}", endpoint.is_some()));
            }
            Event::StreamFrame { stream, data, .. } => self.of(stream).0.extend_from_slice(data),
            Event::ReadClosed { stream, .. } => self.of(stream).1.push("read closed".to_owned()),
            Event::StreamReset { stream, error_code, .. } => {
                self.of(stream).1.push(format!("reset {error_code}"));
            }
            Event::StopSending { stream, error_code, .. } => {
                self.of(stream).1.push(format!("stop {error_code}"));
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

fn serve(io: &mut Io, script: Script, log: &mut Log) {
    io.poll(Duration::from_millis(1)).expect("poll");
    let (mut events, mut sender) = io.split();
    while let Some(event) = events.next_event() {
        log.note(&event);
        match (script, event) {
            (Script::ServerCloses, Event::Connected { conn, .. }) => {
                let stream = sender.stream_open(conn, StreamDir::Uni).expect("a stream");
                sender.stream_write(conn, stream, b"hello and good-bye").expect("open");
                sender.close_graceful(conn, PATIENCE).expect("open");
            }
            (Script::Echo, Event::StreamFrame { conn, stream, data, .. })
                if stream.dir() == StreamDir::Bidi =>
            {
                assert_eq!(sender.stream_write(conn, stream, data), Ok(data.len()));
            }
            (Script::Echo, Event::ReadClosed { conn, stream })
                if stream.dir() == StreamDir::Bidi =>
            {
                sender.stream_finish(conn, stream).expect("open");
            }
            (Script::Unwanted, Event::ReadClosed { conn, stream }) => {
                sender.stream_reset(conn, stream, 41).expect("open");
            }
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
            (Script::Echo, Event::Connected { conn, .. }) => {
                for dir in [StreamDir::Bidi, StreamDir::Uni] {
                    let stream = sender.stream_open(conn, dir).expect("a stream");
                    assert_eq!(sender.stream_write(conn, stream, &text()), Ok(100_000));
                    sender.stream_finish(conn, stream).expect("open");
                }
            }
            (Script::Unwanted, Event::Connected { conn, .. }) => {
                let stream = sender.stream_open(conn, StreamDir::Bidi).expect("a stream");
                sender.stream_write(conn, stream, b"please").expect("open");
                sender.stream_finish(conn, stream).expect("open");
            }
            (Script::Unwanted, Event::StreamReset { conn, .. }) => {
                sender.close_with(conn, 9, b"then not").expect("open");
            }
            (Script::Echo, Event::ReadClosed { conn, .. }) => {
                sender.close_graceful(conn, PATIENCE).expect("open");
            }
            _ => {}
        }
    }
}

/// Both sides' logs. `turn` lets time pass where it does not by itself.
fn converse([server, client]: [&mut Io; 2], script: Script, mut turn: impl FnMut()) -> [Log; 2] {
    let [mut served, mut asked] = [Log::default(), Log::default()];
    let (server_tls, client_tls) = Secure::quic(&mut Chance::new(1));
    let any = "127.0.0.1:0".parse().expect("an address");
    let listen = QuicListenConfig::new(any, server_tls);
    let listener = server.quic_listen_with(listen).expect("listen");
    let addr = server.local_addr(listener).expect("bound").inet().expect("an IP address");
    let listens = !matches!(script, Script::Refused);
    if !listens {
        server.endpoint_close(listener).expect("open");
        serve(server, script, &mut served);
    }
    let config = QuicConnectConfig::new(addr, client_tls);
    let patience = if listens { PATIENCE } else { Duration::from_millis(300) };
    client.quic_connect_with(config.with(|c| c.connect_timeout = patience)).expect("room");
    let start = Instant::now();
    let mut is_open = listens;
    for _ in 0..ROUNDS_MAX {
        serve(server, script, &mut served);
        ask(client, script, &mut asked);
        let is_over = asked.ended && (served.ended || !listens);
        if is_over && std::mem::take(&mut is_open) {
            server.endpoint_close(listener).expect("open");
        }
        if is_over && server.is_idle() && client.is_idle() {
            return [served, asked];
        }
        assert!(start.elapsed() < PATIENCE, "{script:?}: {:?} {:?}", served.order, asked.order);
        turn();
    }
    panic!("{script:?} does not end");
}

#[test]
fn both_rings_tell_the_same_story_over_quic() {
    let config = || Config::default().with(|c| c.huge_pages = Toggle::Off);
    for script in [Script::Echo, Script::ServerCloses, Script::Unwanted, Script::Refused] {
        let pair = || Io::new(config()).expect("an Io on the real ring");
        let real = converse([&mut pair(), &mut pair()], script, || ());
        for seed in 0..20 {
            let world = World::new(seed, Faults::none());
            let pair = || Io::in_world(config(), &world).expect("an Io on the simulated ring");
            let simulated = converse([&mut pair(), &mut pair()], script, || {
                assert!(world.advance_to_next(), "{script:?} stopped");
            });
            assert_eq!(real, simulated, "{script:?}, seed {seed}");
        }
    }
}
