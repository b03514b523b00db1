//! Hosts with several addresses, in worlds that go wrong: whatever happens to the attempts, a
//! connection is told of once, it is with somebody who listens, and nothing of the race is left.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use zero_io::sim::{Faults, World};
use zero_io::{
    Config, ConnId, Event, HostOrAddr, Io, StreamId, TcpConnectConfig, TcpListenConfig, Toggle,
};

use crate::chance::Chance;

const SEEDS: u64 = 400;
const PORT: u16 = 80;
const ADDRESSES_MAX: usize = 12;
const ROUNDS: usize = 400;
const ROUNDS_MAX: usize = 60_000;

/// What the client knows of a connection.
#[derive(Default)]
struct Told {
    connected: u32,
    disconnected: u32,
    closed: bool,
}

fn config() -> Config {
    Config::default().with(|c| {
        c.huge_pages = Toggle::Off;
        c.pool_slot_count = 64;
        c.handle_reserve_count = 4;
        c.stream_buffer_count = 16;
        c.stream_buffer_size = 4_096;
        c.jumbo_count = 0;
        c.max_connections = 16;
        c.debug.poison_freed = true;
        c.debug.audit_every_tick = true;
    })
}

/// The `n`-th address of the world, of either family.
fn address(n: u16) -> IpAddr {
    if n.is_multiple_of(2) {
        Ipv4Addr::new(10, 1, 0, n as u8).into()
    } else {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, n).into()
    }
}

/// A host name for each connect, with addresses where somebody may listen.
fn name(world: &World, chance: &mut Chance, serial: usize) -> String {
    let host = format!("host-{serial}");
    let count = chance.below(ADDRESSES_MAX + 1);
    let addrs: Vec<IpAddr> =
        (0..count).map(|_| address(chance.below(ADDRESSES_MAX) as u16)).collect();
    world.name_host(&host, &addrs);
    host
}

fn connect(client: &mut Io, host: String, chance: &mut Chance) -> Option<ConnId> {
    let config = TcpConnectConfig::new(HostOrAddr::Host(host, PORT)).with(|c| {
        c.attempt_delay = Duration::from_millis(chance.pick(&[10, 50, 250]));
        c.connect_timeout = Duration::from_millis(chance.pick(&[1, 200, 3_000, 30_000]));
    });
    client.tcp_connect_with(config).ok()
}

fn drain_client(io: &mut Io, conns: &mut BTreeMap<ConnId, Told>, listening: &[SocketAddr]) {
    while let Some(event) = io.next_event() {
        match event {
            Event::Connected { conn, peer, .. } => {
                let told = conns.get_mut(&conn).expect("a connection that was asked for");
                told.connected += 1;
                assert!(!told.closed, "{conn} connected after its close");
                let peer = peer.inet().expect("an IP address");
                assert!(listening.contains(&peer), "{peer} won, where nobody listens");
            }
            Event::Disconnected { conn, .. } => {
                let told = conns.get_mut(&conn).expect("a connection that was asked for");
                told.disconnected += 1;
            }
            _ => {}
        }
    }
}

fn drain_server(io: &mut Io) {
    let (mut events, mut sender) = io.split();
    while let Some(event) = events.next_event() {
        if let Event::ReadClosed { conn, .. } = event {
            let _ = sender.close_graceful(conn, Duration::from_secs(1));
        }
    }
}

fn run(seed: u64) -> u32 {
    let faults = match seed % 4 {
        0 => Faults::none(),
        3 => Faults::from_seed(seed).with_hosts(seed),
        _ => Faults::from_seed(seed),
    };
    let world = World::new(seed, faults);
    let mut chance = Chance::new(seed);
    let mut server = Io::in_world(config(), &world).expect("a node");
    let mut client = Io::in_world(config(), &world).expect("a node");
    let mut listening = Vec::new();
    for n in 0..ADDRESSES_MAX as u16 {
        let addr = SocketAddr::new(address(n), PORT);
        let listen = TcpListenConfig::new(addr).with(|c| c.backlog = chance.pick(&[1, 64]) as u32);
        if chance.once_in(3) && server.tcp_listen_with(listen).is_ok() {
            listening.push(addr);
        }
    }
    let mut conns: BTreeMap<ConnId, Told> = BTreeMap::new();
    for round in 0..ROUNDS_MAX {
        if round < ROUNDS && chance.once_in(10) {
            let host = name(&world, &mut chance, round);
            let conn = connect(&mut client, host, &mut chance);
            conns.extend(conn.map(|conn| (conn, Told::default())));
        }
        if round == ROUNDS {
            world.heal();
        }
        // Some are given up while they race, and all of them in the end.
        let all = round >= ROUNDS;
        for (conn, told) in conns.iter_mut().filter(|(_, told)| !told.closed) {
            if told.disconnected == 0 && (all || chance.once_in(40)) {
                let graceful = chance.once_in(2);
                let _ = if graceful {
                    client.close_graceful(*conn, Duration::from_secs(1))
                } else {
                    client.close(*conn)
                };
                told.closed = true;
            } else if told.connected == 1 && chance.once_in(4) {
                let _ = client.stream_write(*conn, StreamId::ZERO, b"hello");
            }
        }
        server.poll(Duration::from_secs(1)).expect("a tick");
        drain_server(&mut server);
        client.poll(Duration::from_secs(1)).expect("a tick");
        drain_client(&mut client, &mut conns, &listening);
        assert_eq!(world.violations(), [""; 0], "the contract\n{}", world.trace());
        let over = conns.values().all(|told| told.disconnected == 1);
        if round > ROUNDS && over && client.is_idle() && world.open_fds(1) == 0 {
            break;
        }
        assert!(round + 1 < ROUNDS_MAX, "the client does not come to rest\n{}", world.trace());
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(1));
        }
    }
    for (conn, told) in &conns {
        assert!(told.connected <= 1 && told.disconnected == 1, "{conn}: told more than once");
    }
    assert_eq!(world.open_slots(1), 0, "slots of the client");
    conns.values().map(|told| told.connected).sum()
}

#[test]
fn races_leave_nothing_behind() {
    let mut connected = 0;
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| run(seed));
        connected += outcome.unwrap_or_else(|panic| {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic)
        });
    }
    assert!(connected > SEEDS as u32, "the workload does too little: {connected}");
}

/// A world in which a packet takes so long, with one client that asks for `host`.
fn asked(latency: Duration, addrs: &[IpAddr]) -> (World, Io, Io) {
    let latency_ns = latency.as_nanos() as u64;
    let faults = Faults::none().shaped(|shape| {
        shape.latency_min_ns = latency_ns;
        shape.latency_jitter_ns = 0;
    });
    let world = World::new(1, faults);
    let server = Io::in_world(config(), &world).expect("a node");
    let client = Io::in_world(config(), &world).expect("a node");
    world.name_host("host", addrs);
    (world, server, client)
}

/// Runs the client alone until it has told something, or `span` has passed.
fn first_event(world: &World, client: &mut Io, span: Duration) -> Option<String> {
    let end_ns = world.now_ns() + span.as_nanos() as u64;
    while world.now_ns() < end_ns {
        client.poll(Duration::from_secs(1)).expect("a tick");
        if let Some(event) = client.next_event() {
            return Some(format!("{event:?}"));
        }
        if !world.advance_to_next() {
            return None;
        }
    }
    None
}

#[test]
fn attempts_start_one_delay_apart_and_no_more_than_eight_are_under_way() {
    let addrs: Vec<IpAddr> = (0..20).map(address).collect();
    // No answer comes for as long as the test looks.
    let (world, _server, mut client) = asked(Duration::from_secs(100), &addrs);
    let config = TcpConnectConfig::new(("host", PORT)).with(|c| {
        c.attempt_delay = Duration::from_millis(100);
    });
    let conn = client.tcp_connect_with(config).expect("a connect");
    for (ms, count) in [(50, 1), (100, 2), (100, 3), (300, 6), (2_000, 8)] {
        assert_eq!(first_event(&world, &mut client, Duration::from_millis(ms)), None);
        assert_eq!(world.open_fds(1), count, "after {ms} ms more");
    }
    client.close(conn).expect("it races");
    let told = first_event(&world, &mut client, Duration::from_secs(1));
    assert!(told.is_some_and(|told| told.starts_with("Disconnected")));
    first_event(&world, &mut client, Duration::from_secs(1));
    assert!(client.is_idle() && world.open_fds(1) == 0, "all attempts were ended");
}

#[test]
fn a_failed_attempt_is_followed_at_once() {
    let addrs: Vec<IpAddr> = (0..16).map(address).collect();
    let (world, _server, mut client) = asked(Duration::from_millis(1), &addrs);
    client.tcp_connect_with(TcpConnectConfig::new(("host", PORT))).expect("a connect");
    let told = first_event(&world, &mut client, Duration::from_millis(100)).expect("an end");
    // 16 refusals, one after the other, in less time than one delay.
    assert!(told.starts_with("Disconnected") && told.contains("111"), "{told}");
}
