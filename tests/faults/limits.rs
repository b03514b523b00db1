//! Limits that are reached: descriptors, connections, buffers, events. Work waits, and goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use zero_io::{Frame, Framing, MessageKind, ReferencePool};

use crate::world::*;

fn set_nofile(soft: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is a local that outlives both calls.
    unsafe {
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = soft;
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}

#[test]
fn hazard_37_no_descriptors_left_to_accept_with() {
    in_a_process("limits::hazard_37_no_descriptors_left_to_accept_with", || {
        let mut world = World::new(strict()).with_payload(Payload::Forward);
        let addr = world.listen();
        let mut clients: Vec<TcpStream> = (0..30).map(|_| connect(addr)).collect();
        // Room for a few of the thirty.
        let lowest_free = std::fs::File::open("/dev/null").unwrap();
        set_nofile(std::os::fd::AsRawFd::as_raw_fd(&lowest_free) as u64 + 5);
        drop(lowest_free);
        world.turn(Duration::ZERO);
        let (start, cpu, before) = (Instant::now(), cpu_time(), world.io.io_stats());
        while start.elapsed() < Duration::from_secs(1) {
            world.turn(Duration::from_secs(1));
        }
        let (cpu, after) = (cpu_time() - cpu, world.io.io_stats());
        let accepted = after.accepted;
        assert!(accepted < 10, "{accepted} accepted");
        let tries = after.accept_errors - before.accept_errors;
        let polls = after.polls - before.polls;
        assert!((2..=60).contains(&tries) && polls < 150, "{tries} tries in {polls} polls");
        assert!(cpu < Duration::from_millis(300), "{cpu:?} of CPU time in one second of nothing");
        // Those that are served are served as before; those that end make room for the others.
        let mut echoed = 0;
        while echoed < 30 {
            let mut client = clients.remove(0);
            client.write_all(b"echo").unwrap();
            world.until("an echo", |_| look(&client) == Found::Bytes(b"echo".to_vec()));
            reset(client);
            echoed += 1;
        }
        world.must_be_idle();
    });
}

#[test]
fn a_full_table_leaves_the_rest_in_the_backlog() {
    let mut world = World::new(strict().with(|c| c.max_connections = 4));
    world.payload = Payload::Forward;
    let addr = world.listen();
    let clients: Vec<TcpStream> = (0..20).map(|_| connect(addr)).collect();
    for (n, client) in (0_u8..).zip(&clients) {
        assert_eq!(push(client, &[n]), 1);
    }
    world.run_for(Duration::from_millis(50));
    assert_eq!(world.io.io_stats().accepted, 4);
    assert_eq!(world.io.pool_stats().of(ReferencePool::PerConn).used, 4);
    let polls = world.io.io_stats().polls;
    world.io.poll(Duration::from_millis(200)).unwrap();
    assert!(world.io.next_event().is_none() && world.io.io_stats().polls == polls + 1);
    for (n, client) in (0_u8..).zip(clients) {
        world.until("an echo", |_| look(&client) == Found::Bytes(vec![n]));
        reset(client);
    }
    world.must_be_idle();
    assert_eq!(world.io.io_stats().accepted, 20);
    // Neither can more be connected than there is room for.
    let outgoing: Vec<_> = (0..4).map(|_| world.io.tcp_connect(addr).unwrap()).collect();
    let error = world.io.tcp_connect(addr).unwrap_err();
    assert!(error.to_string().contains("max_connections"), "{error}");
    for conn in outgoing {
        world.io.close(conn).unwrap();
    }
    world.must_be_idle();
}

#[test]
fn hazard_23_and_24_a_storm_of_missing_buffers_loses_nothing_and_does_not_spin() {
    let mut world = World::new(strict().with(|c| {
        c.stream_buffer_count = 8;
        c.stream_buffer_size = 2048;
    }));
    let addr = world.listen();
    let clients: Vec<_> = (0..100).map(|_| world.join(addr)).collect();
    const EACH: usize = 40_000;
    let data: Vec<Vec<u8>> = (0..100).map(|n| pattern(n, EACH)).collect();
    for ((_, client), data) in clients.iter().zip(&data) {
        assert_eq!(push(client, data), EACH);
    }
    let before = world.io.io_stats();
    world.until("all of it", |w| w.io.io_stats().bytes_received == 100 * EACH as u64);
    let stats = world.io.io_stats();
    for ((conn, _), data) in clients.iter().zip(&data) {
        assert!(world.received(*conn) == *data, "{conn} lost something");
    }
    assert!(stats.starved > before.starved, "the buffers never ran out");
    // 24: not a spin. Each buffer that came home let one receive go on, and some were refused.
    let fills = 100 * EACH.div_ceil(2048) as u64;
    let polls = stats.polls - before.polls;
    assert!(polls < 4 * fills, "{polls} polls for {fills} buffers");
    // And nothing at all is done when nothing is to be done.
    let polls = stats.polls;
    let cpu = cpu_time();
    world.io.poll(Duration::from_millis(300)).unwrap();
    world.io.poll(Duration::from_millis(300)).unwrap();
    assert!(cpu_time() - cpu < Duration::from_millis(100), "a spin");
    assert!(world.io.io_stats().polls == polls + 2);
    for (conn, _) in &clients {
        world.io.close(*conn).unwrap();
    }
    world.must_be_idle();
}

/// A message is its length (two bytes, little-endian) and so many bytes.
fn cut(bytes: &[u8]) -> Frame {
    let Some(head) = bytes.first_chunk::<2>() else { return Frame::Need(2) };
    let whole = 2 + usize::from(u16::from_le_bytes(*head));
    if bytes.len() < whole { Frame::Need(whole) } else { Frame::Ready(whole) }
}

#[test]
fn hazard_98_sixteen_events_at_a_time_lose_no_message() {
    const MESSAGES: u32 = 3000;
    let mut world = World::new(strict().with(|c| c.max_events_per_poll = 16));
    let framing = Framing::new(MessageKind::User(1), cut);
    let addr = world.listen_with(|c| c.framing = Some(framing));
    let clients: Vec<_> = (0..4).map(|_| world.join(addr)).collect();
    let writers = clients.iter().map(|(_, client)| {
        let mut client = client.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut rng = Rng(9);
            let mut bytes = Vec::new();
            for n in 0..MESSAGES {
                // Mostly small ones, hundreds in one buffer; a few longer than a buffer.
                let len = if n % 500 == 7 { 50_000 } else { 4 + rng.below(30) as usize };
                bytes.extend((len as u16).to_le_bytes());
                bytes.extend(n.to_le_bytes());
                bytes.extend(pattern(u64::from(n), len - 4));
            }
            for piece in bytes.chunks(7919) {
                client.write_all(piece).unwrap();
            }
        })
    });
    let writers: Vec<_> = writers.collect();
    let start = Instant::now();
    let messages = |w: &World| w.log.iter().filter(|e| matches!(e, Ev::Data(..))).count();
    let mut turn = 0;
    while messages(&world) < 4 * MESSAGES as usize {
        assert!(start.elapsed() < PATIENCE, "{} came", messages(&world));
        world.io.poll(Duration::from_millis(5)).unwrap();
        // Some of the events, all of them, or none.
        for _ in 0..[3, usize::MAX, 0, 16][turn % 4] {
            if !world.take_event() {
                break;
            }
        }
        turn += 1;
    }
    for writer in writers {
        writer.join().unwrap();
    }
    for (conn, _) in &clients {
        let mut next = 0_u32;
        for event in &world.log {
            let Ev::Data(owner, data) = event else { continue };
            if owner == conn {
                assert_eq!(data[2..6], next.to_le_bytes(), "out of order");
                assert!(data[6..] == pattern(u64::from(next), data.len() - 6), "message {next}");
                next += 1;
            }
        }
        assert_eq!(next, MESSAGES);
        world.io.close(*conn).unwrap();
    }
    world.must_be_idle();
}

#[test]
fn events_that_nobody_takes_stay() {
    let mut world = World::new(strict().with(|c| c.max_events_per_poll = 16));
    let addr = world.listen();
    let clients: Vec<TcpStream> = (0..60).map(|_| connect(addr)).collect();
    let mut expected = 0;
    for _ in 0..500 {
        for client in &clients {
            expected += push(client, b"0123456789");
        }
        world.io.poll(Duration::from_millis(1)).unwrap();
    }
    assert!(world.io.io_stats().events == 0);
    world.until("all of it", |w| w.bytes.values().sum::<usize>() == expected);
    assert_eq!(world.log.iter().filter(|e| matches!(e, Ev::Connected(_))).count(), 60);
    for client in clients {
        reset(client);
    }
    world.must_be_idle();
}

#[test]
fn hazard_35_reading_goes_on_after_whatever_stopped_it() {
    let mut world = World::new(strict().with(|c| {
        c.stream_buffer_count = 8;
        c.stream_buffer_size = 2048;
        c.held_buffers_max = 1;
    }));
    let addr = world.listen();
    let clients: Vec<_> =
        (0..10).map(|n| if n % 2 == 0 { world.join(addr) } else { world.reach() }).collect();
    let starved = world.io.io_stats().starved;
    let mut rng = Rng(21);
    let mut sent = vec![Vec::new(); 10];
    for round in 0..400 {
        let at = rng.below(10) as usize;
        let (conn, client) = &clients[at];
        let data = pattern(round, 1 + rng.below(20_000) as usize);
        let taken = push(client, &data);
        sent[at].extend_from_slice(&data[..taken]);
        match rng.below(4) {
            0 => world.io.pause_recv(*conn).unwrap(),
            1 => world.io.resume_recv(*conn).unwrap(),
            // At once, so that a cancel and a new receive are under way together.
            2 => {
                world.io.pause_recv(*conn).unwrap();
                world.io.resume_recv(*conn).unwrap();
            }
            _ => world.turn(Duration::ZERO),
        }
    }
    let starved = world.io.io_stats().starved - starved;
    assert!(starved > 10, "a receive ended for want of buffers {starved} times");
    for (conn, _) in &clients {
        world.io.resume_recv(*conn).unwrap();
    }
    for ((conn, _), sent) in clients.iter().zip(&sent) {
        world.until("all of it", |w| w.bytes.get(conn).copied().unwrap_or(0) == sent.len());
        assert!(world.received(*conn) == *sent);
        world.io.close(*conn).unwrap();
    }
    world.must_be_idle();
}

#[test]
fn hazard_75_signals_do_not_end_a_poll_with_an_error() {
    extern "C" fn ignore(_: libc::c_int) {}
    in_a_process("limits::hazard_75_signals_do_not_end_a_poll_with_an_error", || {
        let mut world = World::new(strict()).with_payload(Payload::Forward);
        let (conn, mut client) = world.pair();
        // SAFETY: the action is a valid one with a handler that does nothing; no SA_RESTART, so
        // that system calls are interrupted.
        let this = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = ignore as *const () as usize;
            assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
            libc::pthread_self()
        };
        let pesterer = std::thread::spawn(move || {
            for _ in 0..400 {
                // SAFETY: the thread waits for this one, so that it exists.
                assert_eq!(unsafe { libc::pthread_kill(this, libc::SIGUSR1) }, 0);
                std::thread::sleep(Duration::from_micros(500));
            }
        });
        let echoer = std::thread::spawn(move || {
            let data = pattern(1, 3000);
            for _ in 0..200 {
                client.write_all(&data).unwrap();
                let mut echo = vec![0; 3000];
                client.read_exact(&mut echo).unwrap();
                assert!(echo == data);
            }
        });
        world.until("the signals", |_| pesterer.is_finished() && echoer.is_finished());
        pesterer.join().unwrap();
        echoer.join().unwrap();
        world.until("ReadClosed", |w| w.has(&Ev::ReadClosed(conn)));
        world.io.close(conn).unwrap();
        world.must_be_idle();
    });
}
