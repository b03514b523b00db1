//! "The N-th operation fails", for every N of a short conversation and every errno that fits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use zero_io::sim::{Faults, Shape, World};
use zero_io::{Config, Event, HostOrAddr, Io, StreamId, TcpConnectConfig, TcpListenConfig, Toggle};

use crate::chance::Chance;
use crate::secure::{self, Secure};

const STREAM: StreamId = StreamId::ZERO;
/// What operations fail with: something that passes, something that does not, and the odd ones.
pub(crate) const ERRNOS: [i32; 6] = [12, 24, 104, 32, 105, 5];
pub(crate) const TEXT: &[u8] = &[7; 10_000];
pub(crate) const ROUNDS_MAX: usize = 20_000;
/// The addresses of the host, and a latency at which all of their attempts are under way together.
const ADDRESSES: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9)),
];
const LATENCY_NS: u64 = 30_000_000;

/// What a side of the conversation saw.
#[derive(Default)]
struct Saw {
    connected: u32,
    disconnected: u32,
    bytes: usize,
}

/// Pools so small that a few connections meet their bounds.
pub(crate) fn config() -> Config {
    Config::default().with(|c| {
        c.huge_pages = Toggle::Off;
        c.pool_slot_count = 64;
        c.handle_reserve_count = 4;
        c.stream_buffer_count = 8;
        c.stream_buffer_size = 4_096;
        c.gro_buffer_count = 0;
        c.jumbo_count = 1;
        c.jumbo_size = 65_536;
        c.max_connections = 4;
        c.debug.poison_freed = true;
        c.debug.audit_every_tick = true;
    })
}

/// How the client gets there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Tcp,
    Unix,
    /// By a name whose addresses race: somebody listens at one of them.
    Host,
    /// TLS over TCP, with configurations by this number.
    Tls(u64),
}

/// Listen, connect, write, echo, close; as much of it as is possible. Operations that could fail.
fn script(faults: Faults, way: Way) -> (u64, Saw) {
    let slow = |s: &mut Shape| s.latency_min_ns = LATENCY_NS;
    let faults = if way == Way::Host { faults.shaped(slow) } else { faults };
    let world = World::new(7, faults);
    world.name_host("service", &ADDRESSES);
    let mut saw = [Saw::default(), Saw::default()];
    let server = Io::in_world(config(), &world);
    let client = Io::in_world(config(), &world);
    if let (Ok(mut server), Ok(mut client)) = (server, client) {
        talk(&world, &mut server, &mut client, &mut saw, way);
        for (node, io) in [&server, &client].into_iter().enumerate() {
            assert!(io.is_idle(), "node {node} is not idle: {:?}", io.pool_stats());
            assert_eq!(world.open_fds(node), 0, "descriptors of node {node}");
            assert_eq!(world.open_slots(node), 0, "slots of node {node}");
        }
    }
    assert_eq!(world.violations(), [""; 0]);
    world.advance_by(Duration::from_secs(60));
    assert_eq!(world.files(), 0);
    let [server, client] = saw;
    // A handshake that fails ends without having begun.
    let unheard = server.disconnected - server.connected;
    assert!(unheard == 0 || matches!(way, Way::Tls(_)), "each accepted connection ends once");
    assert!(client.connected <= client.disconnected && client.disconnected <= 1);
    (world.operations(), client)
}

fn talk(world: &World, server: &mut Io, client: &mut Io, saw: &mut [Saw; 2], way: Way) {
    let any = "127.0.0.1:0".parse().expect("an address");
    let secure = match way {
        Way::Tls(number) => Some(Secure::new(&mut Chance::new(number))),
        _ => None,
    };
    let listener = match (way, &secure) {
        (Way::Unix, _) => server.uds_listen("@nth"),
        (_, Some(secure)) => secure.listen(&mut server.split().1, TcpListenConfig::new(any)),
        _ => server.tcp_listen(any),
    };
    let Ok(listener) = listener else { return };
    let conn = if way == Way::Unix {
        client.uds_connect("@nth").ok()
    } else {
        let addr = server.local_addr(listener).ok().and_then(|addr| addr.inet());
        addr.and_then(|addr| {
            let target = match way {
                Way::Host => HostOrAddr::Host("service".to_owned(), addr.port()),
                _ => HostOrAddr::Addr(addr),
            };
            let config = TcpConnectConfig::new(target).with(|c| {
                c.connect_timeout = Duration::from_secs(2);
                c.attempt_delay = Duration::from_millis(10);
            });
            match &secure {
                Some(secure) => secure.connect(&mut client.split().1, config).ok(),
                None => client.tcp_connect_with(config).ok(),
            }
        })
    };
    let asked = conn.is_some();
    let mut closed = false;
    for round in 0..ROUNDS_MAX {
        serve(server, &mut saw[0]);
        ask(client, &mut saw[1]);
        let over = !asked || saw[1].disconnected == 1;
        if over && saw[0].connected <= saw[0].disconnected && !closed && round > 20 {
            closed = true;
            server.endpoint_close(listener).expect("the listener is open");
        }
        if closed && server.is_idle() && client.is_idle() && world.open_fds(0) == 0 {
            return;
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
            Event::StreamFrame { conn, data, .. } => {
                // The answer is shorter than the high-water mark; an ended connection is told
                // later.
                let _ = sender.stream_write(conn, STREAM, data);
            }
            Event::ReadClosed { conn, .. } => {
                let _ = sender.close_graceful(conn, Duration::from_secs(1));
            }
            Event::Disconnected { .. } => saw.disconnected += 1,
            _ => {}
        }
    }
}

fn ask(io: &mut Io, saw: &mut Saw) {
    io.poll(Duration::from_secs(1)).expect("a tick");
    let (mut events, mut sender) = io.split();
    while let Some(event) = events.next_event() {
        match event {
            Event::Connected { conn, .. } => {
                saw.connected += 1;
                let _ = sender.stream_write(conn, STREAM, TEXT);
                let _ = sender.close_graceful(conn, Duration::from_secs(3));
            }
            Event::StreamFrame { data, .. } => {
                assert!(data.iter().all(|byte| *byte == 7));
                saw.bytes += data.len();
            }
            Event::Disconnected { .. } => saw.disconnected += 1,
            _ => {}
        }
    }
}

fn every_operation(way: Way) {
    let (count, saw) = script(Faults::none(), way);
    assert_eq!((saw.connected, saw.disconnected, saw.bytes), (1, 1, TEXT.len()));
    assert!(count > 10, "{count} operations");
    // A failure may lead to more operations than the smooth run has.
    for n in 1..=count + 10 {
        for errno in ERRNOS {
            let faults = Faults::fail_nth(n, errno);
            let outcome = std::panic::catch_unwind(|| script(faults, way));
            if let Err(panic) = outcome {
                eprintln!("operation {n} failed with errno {errno}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

#[test]
fn every_operation_of_a_tcp_conversation_fails_once() {
    every_operation(Way::Tcp);
}

#[test]
fn every_operation_of_a_unix_conversation_fails_once() {
    every_operation(Way::Unix);
}

#[test]
fn every_operation_of_a_tls_conversation_fails_once() {
    // TLS 1.3 and 1.2, with and without tickets.
    for number in (0..6).filter(|_| secure::ON) {
        every_operation(Way::Tls(number));
    }
}

#[test]
fn every_operation_of_a_race_of_addresses_fails_once() {
    every_operation(Way::Host);
}
