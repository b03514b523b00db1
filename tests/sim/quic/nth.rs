//! "The N-th operation fails", for every N of a conversation over QUIC: a packet less, or a socket.

use std::time::Duration;

use zero_io::sim::{Faults, World};
use zero_io::{ConnId, EndpointId, Event, Io, QuicConnectConfig, QuicListenConfig, StreamDir};

use crate::chance::Chance;
use crate::nth::{ROUNDS_MAX, TEXT, config, each_fails_once};
use crate::secure::Secure;

/// What a side of the conversation saw.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Saw {
    connected: u32,
    disconnected: u32,
    bytes: usize,
}

/// Listen, connect, write, echo, close; as much of it as is possible. What the client saw, and
/// whether there were sockets to talk.
fn script(faults: Faults) -> (World, Saw, bool) {
    let world = World::new(7, faults);
    let mut saw = [Saw::default(), Saw::default()];
    let mut can_talk = false;
    let (server, client) = (Io::in_world(config(), &world), Io::in_world(config(), &world));
    if let (Ok(mut server), Ok(mut client)) = (server, client) {
        can_talk = talk(&world, &mut server, &mut client, &mut saw);
        for (node, io) in [&server, &client].into_iter().enumerate() {
            assert!(io.is_idle(), "node {node} is not idle: {:?}", io.pool_stats());
            assert_eq!(world.open_fds(node), 0, "descriptors of node {node}");
        }
    }
    assert_eq!(world.violations(), [""; 0]);
    world.advance_by(Duration::from_secs(60));
    assert_eq!(world.files(), 0);
    let [server, client] = saw;
    assert!(server.connected <= server.disconnected, "{server:?}");
    assert!(client.connected <= client.disconnected && client.disconnected <= 1, "{client:?}");
    (world, client, can_talk)
}

fn talk(world: &World, server: &mut Io, client: &mut Io, saw: &mut [Saw; 2]) -> bool {
    let (server_tls, client_tls) = Secure::quic(&mut Chance::new(0));
    let any = "127.0.0.1:0".parse().expect("an address");
    let Ok(listener) = server.quic_listen_with(QuicListenConfig::new(any, server_tls)) else {
        return false;
    };
    let addr = server.local_addr(listener).ok().and_then(|addr| addr.inet());
    let config = |addr| {
        QuicConnectConfig::new(addr, client_tls.clone())
            .with(|c| c.connect_timeout = Duration::from_secs(5))
    };
    let asked = addr.is_some_and(|addr| client.quic_connect_with(config(addr)).is_ok());
    let mut open: Option<EndpointId> = Some(listener);
    for round in 0..ROUNDS_MAX {
        serve(server, &mut saw[0]);
        ask(client, &mut saw[1]);
        let is_over = (!asked || saw[1].disconnected == 1) && round > 20;
        if is_over
            && saw[0].connected <= saw[0].disconnected
            && let Some(open) = open.take()
        {
            server.endpoint_close(open).expect("it is open");
        }
        let is_closed = open.is_none() && world.open_fds(0) == 0 && world.open_fds(1) == 0;
        if is_closed && server.is_idle() && client.is_idle() {
            return asked;
        }
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(10));
        }
    }
    panic!("the conversation does not end\n{}", world.trace());
}

fn serve(io: &mut Io, saw: &mut Saw) {
    io.poll(Duration::from_secs(1)).expect("a tick");
    let (mut events, mut sender) = io.split();
    while let Some(event) = events.next_event() {
        match event {
            Event::Connected { .. } => saw.connected += 1,
            Event::StreamFrame { conn, stream, data, .. } => {
                // The answer is shorter than the windows.
                assert_eq!(sender.stream_write(conn, stream, data), Ok(data.len()));
            }
            Event::ReadClosed { conn, stream } => {
                sender.stream_finish(conn, stream).expect("it is open");
            }
            Event::Disconnected { .. } => saw.disconnected += 1,
            _ => {}
        }
    }
    io.audit();
}

fn ask(io: &mut Io, saw: &mut Saw) {
    io.poll(Duration::from_secs(1)).expect("a tick");
    let (mut events, mut sender) = io.split();
    let mut begun: Option<ConnId> = None;
    while let Some(event) = events.next_event() {
        match event {
            Event::Connected { conn, .. } => {
                saw.connected += 1;
                begun = Some(conn);
            }
            Event::StreamFrame { data, .. } => {
                assert!(TEXT[saw.bytes..].starts_with(data));
                saw.bytes += data.len();
            }
            Event::ReadClosed { conn, .. } => {
                sender.close_graceful(conn, Duration::from_secs(3)).expect("it is open");
            }
            Event::Disconnected { .. } => saw.disconnected += 1,
            _ => {}
        }
    }
    if let Some(conn) = begun {
        let stream = sender.stream_open(conn, StreamDir::Bidi).expect("a stream");
        assert_eq!(sender.stream_write(conn, stream, &TEXT), Ok(TEXT.len()));
        sender.stream_finish(conn, stream).expect("it is open");
    }
    io.audit();
}

#[test]
fn every_operation_of_a_quic_conversation_fails_once() {
    let whole = Saw { connected: 1, disconnected: 1, bytes: TEXT.len() };
    let (world, saw, _) = script(Faults::none());
    let count = world.operations();
    assert!(saw == whole && count > 20, "{count} operations: {saw:?}");
    each_fails_once(|faults, _| {
        let (world, saw, can_talk) = script(faults);
        // One packet less is made up for.
        assert!(!can_talk || saw == whole, "{saw:?}");
        world
    });
}
