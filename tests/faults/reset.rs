//! RST at every moment of a connection: one `Disconnected`, nothing left, no waiting.

use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use zero_io::{HostOrAddr, SendOutcome, TcpConnectConfig, WriteGuard, code};

use crate::silent::silent;
use crate::world::*;

const ECONNRESET: u64 = libc::ECONNRESET as u64;

#[test]
fn while_connecting() {
    let mut world = World::new(strict());
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let conn = world.io.tcp_connect(closed).unwrap();
    assert_eq!(world.end_of(conn), (ECONNREFUSED, false));
    assert!(!world.has(&Ev::Connected(conn)));
    world.must_be_idle();
}

#[test]
fn a_connect_that_is_not_answered_ends_in_time_or_by_close() {
    let (_listener, _fill, addr) = silent();
    let mut world = World::new(strict());
    let mut config = TcpConnectConfig::new(HostOrAddr::Addr(addr));
    config.connect_timeout = Duration::from_millis(150);
    let late = world.io.tcp_connect_with(config).unwrap();
    let closed = world.io.tcp_connect(addr).unwrap();
    let graceful = world.io.tcp_connect(addr).unwrap();
    world.turn(Duration::ZERO);
    world.io.close(closed).unwrap();
    world.io.close_graceful(graceful, Duration::from_secs(9)).unwrap();
    assert!(world.io.close(closed).is_err(), "closed twice");
    assert_eq!(world.end_of(closed), (code::LOCAL_CLOSE, false));
    assert_eq!(world.end_of(graceful), (code::LOCAL_CLOSE, false));
    assert_eq!(world.end_of(late), (code::CONNECT_TIMEOUT, false));
    world.must_be_idle();
}

#[test]
fn while_open_and_idle() {
    let mut world = World::new(strict());
    let (conn, client) = world.pair();
    reset(client);
    assert_eq!(world.end_of(conn), (ECONNRESET, false));
    world.must_be_idle();
}

#[test]
fn with_sends_queued() {
    let mut world = World::new(strict());
    let (conn, client) = world.pair();
    let memory: Arc<Vec<u8>> = Arc::new(vec![7; 8 << 20]);
    world.io.stream_write_guard(conn, S0, Arc::clone(&memory), 42).unwrap();
    world.run_for(Duration::from_millis(50));
    assert!(world.io.conn_stats(conn).unwrap().bytes_queued > 0, "the kernel took 8 MiB");
    reset(client);
    let (code, clean) = world.end_of(conn);
    assert!((code == ECONNRESET || code == libc::EPIPE as u64) && !clean, "{code}");
    let done = |e: &Ev| matches!(e, Ev::SendDone(c, 42, _, SendOutcome::Aborted) if *c == conn);
    assert_eq!(world.log.iter().filter(|e| done(e)).count(), 1);
    world.must_be_idle();
    assert_eq!(Arc::strong_count(&memory), 1, "the memory is still held");
}

#[test]
fn after_the_peers_fin() {
    let mut world = World::new(strict());
    let (conn, client) = world.pair();
    client.shutdown(Shutdown::Write).unwrap();
    world.until("ReadClosed", |w| w.has(&Ev::ReadClosed(conn)));
    reset(client);
    std::thread::sleep(Duration::from_millis(10));
    // Nothing is read any more, so that the next write finds it out.
    world.io.stream_write(conn, S0, b"anybody?").unwrap();
    let (code, clean) = world.end_of(conn);
    assert!(code > 0 && code < 4096 && !clean, "{code}");
    world.must_be_idle();
}

#[test]
fn after_the_peers_fin_without_anything_to_send() {
    let mut world = World::new(strict());
    let (conn, client) = world.pair();
    client.shutdown(Shutdown::Write).unwrap();
    world.until("ReadClosed", |w| w.has(&Ev::ReadClosed(conn)));
    reset(client);
    std::thread::sleep(Duration::from_millis(10));
    world.io.close_graceful(conn, Duration::from_secs(60)).unwrap();
    world.end_of(conn);
    world.must_be_idle();
}

#[test]
fn after_our_fin() {
    let mut world = World::new(strict());
    let (conn, client) = world.pair();
    world.io.shutdown_write(conn, S0).unwrap();
    world.until("FIN at the client", |_| look(&client) == Found::End);
    reset(client);
    assert_eq!(world.end_of(conn), (ECONNRESET, false));
    world.must_be_idle();
}

#[test]
fn while_closing_gracefully() {
    let mut world = World::new(strict());
    let (conn, client) = world.pair();
    let memory = WriteGuard::Shared(Arc::from(vec![7; 8 << 20]));
    world.io.stream_write_guard(conn, S0, memory, 1).unwrap();
    world.io.close_graceful(conn, Duration::from_secs(60)).unwrap();
    world.run_for(Duration::from_millis(50));
    assert!(world.ends(conn).is_empty());
    reset(client);
    let (code, clean) = world.end_of(conn);
    assert!(code < 4096 && !clean, "{code}");
    world.must_be_idle();
}

#[test]
fn while_closing_gracefully_with_all_sent() {
    let mut world = World::new(strict());
    let (conn, client) = world.pair();
    world.io.close_graceful(conn, Duration::from_secs(60)).unwrap();
    world.until("FIN at the client", |_| look(&client) == Found::End);
    reset(client);
    assert_eq!(world.end_of(conn), (ECONNRESET, false));
    world.must_be_idle();
}

#[test]
fn while_paused() {
    for then in 0..4 {
        let mut world = World::new(strict());
        let (conn, client) = world.pair();
        world.io.pause_recv(conn).unwrap();
        world.turn(Duration::ZERO);
        reset(client);
        world.run_for(Duration::from_millis(20));
        assert!(world.ends(conn).is_empty(), "it was read while paused");
        match then {
            0 => world.io.resume_recv(conn).unwrap(),
            1 => assert_eq!(world.io.stream_write(conn, S0, b"anybody?"), Ok(8)),
            2 => world.io.close(conn).unwrap(),
            _ => world.io.close_graceful(conn, Duration::from_secs(60)).unwrap(),
        }
        let (_, clean) = world.end_of(conn);
        assert!(!clean, "case {then}");
        world.must_be_idle();
    }
}

#[test]
fn with_events_not_yet_taken() {
    let mut world = World::new(strict());
    let (conn, client) = world.pair();
    assert_eq!(push(&client, b"last words"), 10);
    world.io.poll(PATIENCE).unwrap();
    reset(client);
    // Polls without taking events: the words wait, and then the end.
    for _ in 0..10 {
        world.io.poll(Duration::from_millis(1)).unwrap();
    }
    world.end_of(conn);
    assert_eq!(world.received(conn), b"last words");
    let last = world.log.iter().rposition(|e| matches!(e, Ev::Data(..)));
    let end = world.log.iter().position(|e| matches!(e, Ev::Disconnected(..)));
    assert!(last < end, "data after the end");
    world.must_be_idle();
}

#[test]
fn in_a_storm() {
    let mut world = World::new(strict()).with_payload(Payload::Forward);
    let addr = world.listen();
    let mut rng = Rng(7);
    let data = pattern(3, 100_000);
    for _ in 0..40 {
        let clients: Vec<_> = (0..20).map(|_| connect(addr)).collect();
        for client in clients {
            push(&client, &data[..rng.below(100_000) as usize]);
            for _ in 0..rng.below(4) {
                world.turn(Duration::ZERO);
            }
            reset(client);
        }
    }
    world.must_be_idle();
    let count = |is: fn(&Ev) -> bool| world.log.iter().filter(|e| is(e)).count();
    let (came, went) =
        (count(|e| matches!(e, Ev::Connected(_))), count(|e| matches!(e, Ev::Disconnected(..))));
    assert_eq!(came, went);
}
