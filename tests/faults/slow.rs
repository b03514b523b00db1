//! Peers that do not read, and workers that do not let go: they pay, the others do not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use zero_io::{ReferencePool, code};

use crate::world::*;

/// Somebody else is served, and soon.
fn must_serve(world: &mut World, addr: SocketAddr) {
    let before = world.payload;
    world.payload = Payload::Forward;
    let start = Instant::now();
    let (conn, mut client) = world.join(addr);
    client.write_all(b"and me?").unwrap();
    world.until("an echo", |_| look(&client) == Found::Bytes(b"and me?".to_vec()));
    assert!(start.elapsed() < Duration::from_secs(5), "served after {:?}", start.elapsed());
    world.io.close(conn).unwrap();
    world.end_of(conn);
    world.payload = before;
}

#[test]
fn a_peer_that_never_reads_holds_little_and_is_closed_in_time() {
    let mut world = World::new(strict());
    let addr = world.listen_with(|c| c.timeouts.write = Some(Duration::from_millis(300)));
    let (conn, _client) = world.join(addr);
    let high = 256 << 10;
    let data = pattern(1, 64 << 10);
    let mut written = 0;
    let start = Instant::now();
    // Writes whenever something is taken, as a server that streams would.
    while world.ends(conn).is_empty() {
        while let Ok(n @ 1..) = world.io.stream_write(conn, S0, &data) {
            written += n;
        }
        if let Ok(stats) = world.io.conn_stats(conn) {
            assert!(stats.bytes_queued <= high, "{} bytes queued", stats.bytes_queued);
        }
        world.turn(Duration::from_millis(5));
        assert!(start.elapsed() < PATIENCE, "it was never closed");
    }
    assert_eq!(world.ends(conn), [(code::WRITE_TIMEOUT, false)]);
    assert!(start.elapsed() >= Duration::from_millis(300), "too early");
    let stats = world.io.pool_stats();
    let buffers = stats.of(ReferencePool::FillRing).peak;
    assert!(written > 64 << 10 && buffers <= 128, "{written} bytes, {stats:?}");
    must_serve(&mut world, addr);
    world.must_be_idle();
}

#[test]
fn an_echo_that_is_never_read_slows_its_sender_down() {
    let mut world = World::new(strict().with(|c| c.held_buffers_max = 4));
    world.payload = Payload::Forward;
    let addr = world.listen_with(|c| c.timeouts.write = Some(Duration::from_millis(500)));
    let (conn, client) = world.join(addr);
    let data = pattern(2, 1 << 20);
    let (mut sent, mut held_peak) = (0, 0);
    while world.ends(conn).is_empty() {
        sent += push(&client, &data);
        world.turn(Duration::from_millis(1));
        if let Ok(stats) = world.io.conn_stats(conn) {
            held_peak = held_peak.max(stats.buffers_held);
        }
        assert!(sent < 64 << 20, "{sent} bytes were taken that nobody reads");
    }
    assert_eq!(world.ends(conn), [(code::WRITE_TIMEOUT, false)]);
    // What the kernel had received when the bound was reached comes on top.
    assert!((4..=64).contains(&held_peak), "{held_peak} buffers held");
    must_serve(&mut world, addr);
    world.must_be_idle();
}

#[test]
fn hazard_30_many_slow_readers_cannot_take_all_buffers() {
    many_slow_readers(20, 256, 32 << 10);
}

#[test]
fn hazard_30_many_slow_readers_and_small_buffers() {
    many_slow_readers(30, 512, 4096);
}

fn many_slow_readers(readers: usize, buffers: usize, buffer_size: usize) {
    let mut world = World::new(strict().with(|c| {
        c.stream_buffer_count = buffers;
        c.stream_buffer_size = buffer_size;
    }));
    world.payload = Payload::Forward;
    // Small buffers in the kernel, so that they fill soon.
    let addr = world.listen_with(|c| (c.recv_buffer, c.send_buffer) = (Some(8192), Some(8192)));
    let slow: Vec<(_, TcpStream)> = (0..readers).map(|_| world.join(addr)).collect();
    let data = pattern(3, 64 << 10);
    let mut served = 0;
    // Full: nothing is taken from any of them, again and again.
    let mut full_rounds = 0;
    let start = Instant::now();
    while full_rounds < 5 {
        let taken: usize = slow.iter().map(|(_, client)| push(client, &data)).sum();
        full_rounds = if taken == 0 { full_rounds + 1 } else { 0 };
        must_serve(&mut world, addr);
        served += 1;
        assert!(start.elapsed() < PATIENCE, "{taken} bytes are still taken; {served} served");
    }
    let stats = world.io.pool_stats();
    let (used, all) = (stats.of(ReferencePool::FillRing).used, buffers as u32);
    assert!((10..all * 3 / 4).contains(&used), "{used} of {all} buffers are held");
    // They read after all: everything goes on where it stood.
    for (conn, client) in slow {
        let mut reader = client.try_clone().unwrap();
        let thread = std::thread::spawn(move || {
            let mut sink = vec![0; 1 << 16];
            let mut total = 0;
            while let Ok(n @ 1..) = reader.read(&mut sink) {
                total += n;
            }
            total
        });
        client.shutdown(std::net::Shutdown::Write).unwrap();
        world.until("ReadClosed", |w| w.has(&Ev::ReadClosed(conn)));
        world.io.close_graceful(conn, PATIENCE).unwrap();
        world.end_of(conn);
        assert_eq!(thread.join().unwrap(), world.bytes[&conn], "an echo of everything");
    }
    world.must_be_idle();
}

/// All buffers wait for peers that do not read, while others have something to say: they are
/// waited for asleep.
#[test]
fn hazard_24_without_a_free_buffer_nothing_is_tried_again_and_again() {
    let mut world = World::new(strict().with(|c| {
        c.stream_buffer_count = 8;
        c.stream_buffer_size = 2048;
    }));
    world.payload = Payload::Forward;
    let addr = world.listen_with(|c| (c.recv_buffer, c.send_buffer) = (Some(8192), Some(8192)));
    let slow: Vec<(_, TcpStream)> = (0..24).map(|_| world.join(addr)).collect();
    let data = pattern(3, 64 << 10);
    let mut full_rounds = 0;
    while full_rounds < 20 {
        let taken: usize = slow.iter().map(|(_, client)| push(client, &data)).sum();
        full_rounds = if taken == 0 { full_rounds + 1 } else { 0 };
        world.turn(Duration::from_millis(1));
    }
    let (before, cpu) = (world.io.io_stats(), cpu_time());
    assert!(before.starved > 0, "buffers never ran out");
    assert_eq!(world.io.pool_stats().starved_total, before.starved);
    for _ in 0..5 {
        world.turn(Duration::from_millis(100));
    }
    let (after, cpu) = (world.io.io_stats(), cpu_time() - cpu);
    let tried = after.completions - before.completions;
    assert!(tried < 100 && cpu < Duration::from_millis(200), "{tried} completions, {cpu:?}");
    let conns = slow.into_iter().map(|(conn, client)| {
        reset(client);
        conn
    });
    // Who waits for a buffer hears of its end when there is one.
    for conn in conns.collect::<Vec<_>>() {
        world.end_of(conn);
    }
    world.must_be_idle();
}

#[test]
fn hazard_09_a_worker_that_holds_payloads_stops_only_its_own() {
    let mut world = World::new(strict().with(|c| {
        c.stream_buffer_count = 64;
        c.stream_buffer_size = 2048;
        c.pool_slot_count = 64;
        c.detached_max_pct = 25;
    }));
    world.payload = Payload::Keep;
    let addr = world.listen();
    let keepers: Vec<_> = (0..4).map(|_| world.join(addr)).collect();
    let data: Vec<Vec<u8>> = (0..4).map(|n| pattern(4 + n, 1 << 20)).collect();
    let mut sent = [0; 4];
    let start = Instant::now();
    // Until the caps are reached, and for a while beyond.
    let mut refused_rounds = 0;
    while refused_rounds < 50 {
        for (((_, client), data), sent) in keepers.iter().zip(&data).zip(&mut sent) {
            *sent += push(client, &data[*sent % data.len()..]);
        }
        world.turn(Duration::from_millis(1));
        refused_rounds += usize::from(world.refused > 0);
        assert!(start.elapsed() < PATIENCE, "{} are kept, none was refused", world.kept.len());
    }
    assert!(world.kept.len() >= 16, "{} kept", world.kept.len());
    let detached = world.io.pool_stats().detached;
    assert!(detached <= 32, "{detached} buffers are out, the caps are 16 of each class");
    for _ in 0..5 {
        must_serve(&mut world, addr);
    }
    // What is held is as it was, whatever came after it, and whatever was refused between.
    for ((owner, slot), at) in world.kept.iter().zip(&world.kept_at) {
        let from = keepers.iter().position(|(conn, _)| conn == owner);
        let data = &data[from.expect("another connection's payload")];
        let expected = data.iter().cycle().skip(at % data.len()).take(slot.len());
        assert!(slot.iter().eq(expected), "a payload of {owner} changed, held from byte {at} on");
    }
    // The worker lets go, on a thread of its own: the connections are read again.
    let slots = std::mem::take(&mut world.kept);
    std::thread::spawn(move || drop(slots)).join().unwrap();
    world.payload = Payload::Count;
    for ((conn, client), data) in keepers.iter().zip(&data) {
        let before = world.bytes[conn];
        world.until("more of it", |w| {
            push(client, &data[..1000]);
            w.bytes[conn] > before + 100_000
        });
    }
    for (conn, _) in &keepers {
        world.io.close(*conn).unwrap();
        world.end_of(*conn);
    }
    world.must_be_idle();
}

#[test]
fn hazard_100_a_flood_of_requests_waits_in_the_kernel() {
    let mut world = World::new(strict().with(|c| c.max_events_per_poll = 16));
    world.payload = Payload::Count;
    let addr = world.listen();
    let (conn, client) = world.join(addr);
    let data = pattern(5, 1 << 20);
    let mut sent = 0;
    // Nothing is taken out while it floods in.
    for _ in 0..500 {
        sent += push(&client, &data);
        world.io.poll(Duration::ZERO).unwrap();
    }
    let used = world.io.pool_stats().of(ReferencePool::FillRing).used;
    assert!(used <= 128 && sent < 32 << 20, "{used} buffers, {sent} bytes");
    world.until("all of it", |w| w.bytes.get(&conn) == Some(&sent));
    world.io.close(conn).unwrap();
    world.must_be_idle();
}
