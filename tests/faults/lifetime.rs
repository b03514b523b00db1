//! The end of an `Io`, of a process, and of what outlives them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use zero_io::{Event, Io, IoError, Readiness, Toggle};

use crate::world::*;

/// Everything under way at once: receives, sends of all kinds, connects, datagrams, timers,
/// watches.
fn busy(world: &mut World, memory: &Arc<Vec<u8>>) -> Vec<TcpStream> {
    let addr = world.listen();
    let mut clients = Vec::new();
    for n in 0..12 {
        let (conn, client) = world.join(addr);
        push(&client, &pattern(n, 10_000));
        // Nobody reads: sends stay under way, zero-copy ones among them.
        let guard = world.io.stream_write_guard(conn, S0, Arc::clone(memory), n);
        guard.unwrap();
        world.io.stream_write(conn, S0, b"queued behind it").unwrap();
        match n % 4 {
            0 => world.io.shutdown_write(conn, S0).unwrap(),
            1 => world.io.close(conn).unwrap(),
            2 => world.io.close_graceful(conn, PATIENCE).unwrap(),
            _ => {}
        }
        clients.push(client);
    }
    for _ in 0..5 {
        world.io.tcp_connect(addr).unwrap();
    }
    let udp = world.io.udp_bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let to = world.io.local_addr(udp).unwrap().inet().unwrap();
    for _ in 0..20 {
        world.io.udp_send_bytes(udp, to, b"to itself").unwrap();
    }
    for n in 0..50 {
        world.io.timer_set(Duration::from_millis(n * 10), n).unwrap();
    }
    let handle = world.io.handle();
    handle.post_data(1, b"never taken").unwrap();
    handle.stream_write(zero_io::ConnId::from_u64(1 << 32), S0, b"never sent").unwrap();
    clients
}

#[test]
fn hazard_01_dropped_with_everything_under_way() {
    in_a_process("lifetime::hazard_01_dropped_with_everything_under_way", || {
        let descriptors = open_descriptors();
        for round in 0..12 {
            let memory = Arc::new(pattern(99, 4 << 20));
            let mut world = World::new(strict().with(|c| {
                c.uring.zero_copy_send = [Toggle::On, Toggle::Off, Toggle::Auto][round % 3];
            }));
            world.payload = Payload::Keep;
            let (mut here, _there) = std::os::unix::net::UnixStream::pair().unwrap();
            let fd = std::os::fd::AsRawFd::as_raw_fd(&here);
            world.io.watch_fd(fd, Readiness::READABLE, 5).unwrap();
            let clients = busy(&mut world, &memory);
            for _ in 0..round {
                world.turn(Duration::ZERO);
            }
            let lent = world.io.io_stats().zero_copy_sends;
            assert_eq!(lent > 0, round % 3 != 1, "{lent} zero-copy sends in round {round}");
            let kept = std::mem::take(&mut world.kept);
            let copies: Vec<Vec<u8>> = kept.iter().map(|(_, slot)| slot.to_vec()).collect();
            let start = Instant::now();
            drop(world);
            assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
            // Payloads live on; guards were let go; the peers see an end.
            for ((_, slot), copy) in kept.iter().zip(&copies) {
                assert!(**slot == copy[..], "a payload changed after its Io");
            }
            drop(kept);
            assert_eq!(Arc::strong_count(&memory), 1, "round {round}");
            for client in clients {
                let start = Instant::now();
                loop {
                    match look(&client) {
                        Found::End | Found::Reset => break,
                        Found::Nothing => std::thread::yield_now(),
                        Found::Bytes(_) => {}
                    }
                    assert!(start.elapsed() < PATIENCE, "the peer was told nothing");
                }
            }
            // The watched descriptor is the caller's, and still open.
            here.write_all(b"mine").unwrap();
        }
        assert_eq!(open_descriptors(), descriptors, "descriptors leak");
    });
}

#[test]
fn a_handle_without_its_io() {
    let io = Io::new(strict()).unwrap();
    let (handle, other) = (io.handle(), io.handle());
    let buffer = handle.send_buffer(100).unwrap();
    handle.post(1).unwrap();
    let conn = zero_io::ConnId::from_u64(1 << 32);
    drop(io);
    let outcomes = [
        handle.post(2),
        handle.post_data(2, b"x"),
        handle.wake(),
        handle.close(conn),
        handle.close_graceful(conn, Duration::ZERO),
        handle.shutdown_write(conn, S0),
        handle.stream_write(conn, S0, b"x"),
        handle.stream_write(conn, S0, &[0; 10_000]),
        handle.stream_write_buffer(conn, S0, buffer),
        handle.stream_write_guard(conn, S0, "static", 0),
        handle.send_buffer(1).map(drop),
    ];
    assert!(outcomes.iter().all(|o| *o == Err(IoError::IoGone)), "{outcomes:?}");
    std::thread::spawn(move || assert_eq!(other.post(3), Err(IoError::IoGone))).join().unwrap();
}

#[test]
fn handles_that_push_while_the_io_goes() {
    for _ in 0..20 {
        let mut io = Io::new(strict()).unwrap();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let handle = io.handle();
                std::thread::spawn(move || {
                    let mut taken = 0;
                    loop {
                        match handle.post_data(taken, b"hello") {
                            Ok(()) => taken += 1,
                            Err(IoError::IoGone) => return,
                            Err(IoError::QueueFull { .. } | IoError::PoolExhausted { .. }) => {
                                std::thread::yield_now();
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        let mut seen = 0;
        while seen < 100 {
            // Not slept through: a handle that found the reserve empty cannot tell the shard.
            let start = Instant::now();
            io.poll(PATIENCE).unwrap();
            assert!(start.elapsed() < PATIENCE, "it slept; {:?}", io.pool_stats());
            while let Some(Event::User { data, .. }) = io.next_event() {
                assert_eq!(data, b"hello");
                seen += 1;
            }
        }
        drop(io);
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

#[test]
fn hazard_153_a_fork_leaves_the_parent_alone() {
    in_a_process("lifetime::hazard_153_a_fork_leaves_the_parent_alone", || {
        for drops in [false, true] {
            let mut world = World::new(strict()).with_payload(Payload::Forward);
            let (conn, mut client) = world.pair();
            world.io.stream_write(conn, S0, b"written before the fork").unwrap();
            // SAFETY: this process runs one test; the child leaves by _exit.
            let child = unsafe { libc::fork() };
            assert!(child >= 0);
            if child == 0 {
                let polled = world.io.poll(Duration::from_millis(1));
                let mut wrong = i32::from(polled != Err(IoError::Forked));
                let _ = world.io.stream_write(conn, S0, b"from the child");
                let _ = world.io.timer_set(Duration::ZERO, 1);
                wrong |= i32::from(world.io.poll(Duration::ZERO) != Err(IoError::Forked)) << 1;
                if drops {
                    drop(world);
                }
                // SAFETY: ends the child without running what belongs to the parent.
                unsafe { libc::_exit(wrong) };
            }
            let mut status = 0;
            // SAFETY: the status is a local that outlives the call.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "the child");
            let expected = b"written before the fork".to_vec();
            world.until("what was written", |_| look(&client) == Found::Bytes(expected.clone()));
            for n in 0..20_u8 {
                client.write_all(&[n]).unwrap();
                world.until("an echo", |_| look(&client) == Found::Bytes(vec![n]));
            }
            world.io.close(conn).unwrap();
            world.must_be_idle();
        }
    });
}

/// Connects and floods until it is killed, reading nothing (TCP) or everything.
fn flood(addr: &str) {
    let mut stream = TcpStream::connect(addr.parse::<SocketAddr>().unwrap()).unwrap();
    let data = pattern(1, 1 << 16);
    let mut reader = stream.try_clone().unwrap();
    std::thread::spawn(move || {
        let mut sink = vec![0; 1 << 12];
        while let Ok(1..) = reader.read(&mut sink) {}
    });
    while stream.write_all(&data).is_ok() {}
}

#[test]
fn a_peer_process_is_killed() {
    const NAME: &str = "lifetime::a_peer_process_is_killed";
    if is_child_of(NAME) {
        return flood(&peer_argument());
    }
    let mut world = World::new(strict()).with_payload(Payload::Forward);
    let addr = world.listen();
    for _ in 0..3 {
        let mut peer = peer_process(NAME, &addr.to_string());
        let before = world.log.len();
        world.until("a connection", |w| w.log.len() > before);
        let Ev::Connected(conn) = world.log[before] else { panic!("{:?}", world.log) };
        world.until("a flood", |w| w.bytes.get(&conn).is_some_and(|n| *n > 1 << 20));
        // SIGKILL.
        peer.kill().unwrap();
        peer.wait().unwrap();
        world.until("its end", |w| {
            // What arrived before may end in a FIN: then the rest is our decision.
            if w.has(&Ev::ReadClosed(conn)) {
                let _ = w.io.close_graceful(conn, Duration::from_millis(100));
            }
            w.ends(conn).len() == 1
        });
    }
    world.must_be_idle();
}

#[test]
fn payloads_outlive_their_connection() {
    let mut world = World::new(strict()).with_payload(Payload::Keep);
    let addr = world.listen();
    let (conn, client) = world.join(addr);
    let data = pattern(8, 5000);
    push(&client, &data);
    world.until("the data", |w| w.bytes.get(&conn) == Some(&5000));
    reset(client);
    world.end_of(conn);
    // Others come and go in the same place, and are charged for what is theirs alone.
    world.payload = Payload::Forward;
    for n in 0..20 {
        let (next, client) = world.join(addr);
        push(&client, &[n; 100]);
        world.until("an echo", |_| look(&client) == Found::Bytes(vec![n; 100]));
        world.until("its buffer", |w| w.io.conn_stats(next).unwrap().buffers_held == 0);
        reset(client);
        world.end_of(next);
    }
    let kept: Vec<u8> = world.kept.iter().flat_map(|(_, slot)| slot.to_vec()).collect();
    assert!(kept == data, "the payload changed");
    assert!(!world.io.is_idle(), "a payload is out");
    world.kept.clear();
    world.must_be_idle();
}
