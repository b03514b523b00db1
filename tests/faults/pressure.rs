//! Pools that fill up: what is told, what gives way, and that it ends.

use std::io::Read;
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zero_io::{Event, IoError, PoolKind, PressureState, ReferencePool};

use crate::world::*;

/// Entries of the send queues, which a peer that does not read fills.
const ENTRIES: u32 = 64;

/// A shard with a connection that takes nothing more, and room behind it.
fn stuck() -> (World, std::net::SocketAddr, zero_io::ConnId, TcpStream) {
    let mut world = World::new(strict().with(|c| {
        c.send_queue_entries = ENTRIES as usize;
        c.send_high_water = 1 << 30;
    }));
    let addr = world.listen();
    let (conn, client) = world.join(addr);
    let all = Arc::new(pattern(1, 32 << 20));
    world.io.stream_write_guard(conn, S0, all, 0).unwrap();
    world.run_for(Duration::from_millis(50));
    (world, addr, conn, client)
}

/// Writes single bytes until that many percent of the entries are used.
fn fill(world: &mut World, conn: zero_io::ConnId, percent: u32) {
    while used(world) * 100 < percent * ENTRIES {
        world.io.stream_write_guard(conn, S0, "x", 1).unwrap();
    }
}

fn used(world: &World) -> u32 {
    world.io.pool_stats().of(ReferencePool::TxRing).used
}

/// The transitions that the next poll makes.
fn told(world: &mut World) -> Vec<(PressureState, PressureState, ReferencePool)> {
    world.io.poll(Duration::ZERO).unwrap();
    let mut told = Vec::new();
    while let Some(event) = world.io.next_event() {
        if let Event::PoolPressure { info } = event {
            told.push((info.previous, info.state, info.pool));
        }
    }
    told
}

#[test]
fn each_transition_is_told_once() {
    use PressureState::{Critical, Drain, Healthy, Warning};
    let (mut world, _, conn, client) = stuck();
    assert_eq!((told(&mut world), world.io.pool_pressure()), (vec![], None));
    for (percent, from, to) in
        [(80, Healthy, Warning), (90, Warning, Critical), (98, Critical, Drain)]
    {
        fill(&mut world, conn, percent);
        assert_eq!(told(&mut world), [(from, to, ReferencePool::TxRing)]);
        assert_eq!(told(&mut world), [], "once");
        let info = world.io.pool_pressure().unwrap();
        assert!(info.state == to && u32::from(info.used_pct) >= percent, "{info:?}");
    }
    // Full is said by name, and loses nothing.
    let full = IoError::PoolExhausted { pool: PoolKind::SendQueue };
    while let Ok(()) = world.io.stream_write_guard(conn, S0, "x", 1) {}
    assert_eq!(world.io.stream_write_guard(conn, S0, "x", 1), Err(full));
    // What is queued is still sent, and the way back is told from state to state.
    let (reader, mut state, start) = (drain(client), Drain, Instant::now());
    while state != Healthy {
        for (from, to, _) in told(&mut world) {
            assert!(from == state && to < state, "{from:?} to {to:?} from {state:?}");
            state = to;
        }
        assert!(start.elapsed() < PATIENCE, "it stays {state:?}");
    }
    assert!(used(&world) * 100 < 75 * ENTRIES, "left only five percent below where it began");
    assert_eq!(world.io.pool_pressure(), None);
    world.io.close_graceful(conn, PATIENCE).unwrap();
    let start = Instant::now();
    while !reader.is_finished() {
        world.turn(Duration::from_millis(5));
        assert!(start.elapsed() < PATIENCE);
    }
    assert!(reader.join().unwrap() > 32 << 20);
    world.must_be_idle();
}

#[test]
fn it_is_told_from_where_it_was_told_last() {
    use PressureState::{Critical, Drain, Healthy};
    let (mut world, _, conn, client) = stuck();
    assert_eq!(told(&mut world), []);
    // Nobody takes the first one out.
    fill(&mut world, conn, 80);
    world.io.poll(Duration::ZERO).unwrap();
    fill(&mut world, conn, 90);
    assert_eq!(told(&mut world), [(Healthy, Critical, ReferencePool::TxRing)]);
    fill(&mut world, conn, 98);
    world.io.poll(Duration::ZERO).unwrap();
    assert_eq!(world.io.pool_pressure().unwrap().state, Drain);
    let reader = drain(client);
    let start = Instant::now();
    while world.io.pool_pressure().is_some() {
        world.io.poll(Duration::from_millis(5)).unwrap();
        assert!(start.elapsed() < PATIENCE);
    }
    // Up to `Drain` and down to `Healthy`: one step, that is down.
    assert_eq!(told(&mut world), [(Critical, Healthy, ReferencePool::TxRing)]);
    world.io.close_graceful(conn, PATIENCE).unwrap();
    world.until("the end", |_| reader.is_finished());
    world.must_be_idle();
}

/// Reads to the end, on a thread of its own; how many bytes came.
fn drain(mut client: TcpStream) -> std::thread::JoinHandle<usize> {
    std::thread::spawn(move || {
        let (mut sink, mut total) = (vec![0; 1 << 16], 0);
        while let Ok(n @ 1..) = client.read(&mut sink) {
            total += n;
        }
        total
    })
}

/// At `Drain` datagrams are not received: they wait in their socket, and come when the pressure
/// falls.
#[test]
fn at_drain_datagrams_wait_in_their_socket() {
    let (mut world, _, conn, client) = stuck();
    let endpoint = world.io.udp_bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = world.io.local_addr(endpoint).unwrap().inet().unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let from = peer.local_addr().unwrap();
    let of = |data: &[u8]| Ev::Udp(endpoint, from, data.to_vec());
    fill(&mut world, conn, 90);
    told(&mut world);
    peer.send_to(b"while critical", addr).unwrap();
    world.until("a datagram", |w| w.has(&of(b"while critical")));
    fill(&mut world, conn, 98);
    told(&mut world);
    assert_eq!(world.io.pool_pressure().unwrap().state, PressureState::Drain);
    let before = world.io.io_stats();
    for data in [b"first", b"other", b"third"] {
        peer.send_to(data, addr).unwrap();
    }
    world.log.clear();
    world.run_for(Duration::from_millis(100));
    let after = world.io.io_stats();
    assert_eq!((world.log.len(), after.datagrams_received), (0, before.datagrams_received));
    assert!(after.polls - before.polls < 60, "they are waited for awake: {after:?}");
    let reader = drain(client);
    world.until("the third", |w| w.has(&of(b"third")));
    let came: Vec<_> = world.log.iter().filter(|e| matches!(e, Ev::Udp(..))).cloned().collect();
    assert_eq!(came, [of(b"first"), of(b"other"), of(b"third")]);
    assert_eq!(world.io.io_stats().datagrams_dropped, 0);
    world.io.close_graceful(conn, PATIENCE).unwrap();
    world.until("the end", |_| reader.is_finished());
    world.end_of(conn);
    world.must_be_idle();
}

#[test]
fn slots_that_are_set_aside_for_handles_are_told_of() {
    for count in [0, 16] {
        let mut world = World::new(strict().with(|c| c.handle_reserve_count = count));
        let of = |world: &World| {
            let stats = world.io.pool_stats();
            assert_eq!(stats.of(ReferencePool::FreeStack).used, stats.handle_reserve);
            stats.handle_reserve as usize
        };
        assert_eq!(of(&world), count);
        let handle = world.io.handle();
        let taken: Vec<_> = (0..count).map(|_| handle.send_buffer(1).unwrap()).collect();
        let none = IoError::PoolExhausted { pool: PoolKind::HandleReserve };
        assert_eq!(handle.send_buffer(1).map(drop), Err(none));
        world.turn(Duration::ZERO);
        assert_eq!(of(&world), count, "with handles, or set aside");
        drop(taken);
        world.turn(Duration::ZERO);
        world.turn(Duration::ZERO);
        assert_eq!(of(&world), count, "made up again");
        world.must_be_idle();
    }
}

/// From `Critical` on: who comes waits in the backlog, and a payload is copied instead of kept.
#[test]
fn new_connections_wait_while_it_is_critical() {
    let (mut world, addr, conn, client) = stuck();
    fill(&mut world, conn, 90);
    told(&mut world);
    assert_eq!(world.io.pool_pressure().unwrap().state, PressureState::Critical);
    let accepted = world.io.io_stats().accepted;
    let newcomer = connect(addr);
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.io.io_stats().accepted, accepted, "it was let in");
    // Those that are there are served, and what they sent may be kept: by a copy.
    world.payload = Payload::Keep;
    let copied = world.io.io_stats().bytes_copied_rx;
    push(&client, b"still served");
    world.until("its bytes", |w| !w.kept.is_empty());
    assert_eq!(*world.kept[0].1, *b"still served");
    assert_eq!(world.io.io_stats().bytes_copied_rx, copied + 12);
    world.kept.clear();
    let reader = drain(client);
    world.until("the newcomer", |w| w.io.io_stats().accepted == accepted + 1);
    drop(newcomer);
    world.io.close_graceful(conn, PATIENCE).unwrap();
    world.until("the end", |_| reader.is_finished());
    world.until("both ends", |w| {
        w.log.iter().filter(|e| matches!(e, Ev::ReadClosed(_))).count() >= 1
    });
    for at in 0..world.log.len() {
        if let Ev::ReadClosed(conn) = world.log[at] {
            let _ = world.io.close(conn);
        }
    }
    world.must_be_idle();
}
