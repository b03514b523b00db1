//! One connection does not take what the others need: places in the queues, turns, time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use zero_io::{
    Config, Event, Frame, Framing, IoError, MessageKind, PoolKind, ReferencePool, SendOutcome,
    Toggle, UdpEndpointConfig, code,
};

use crate::world::*;

/// Messages of so many bytes.
fn pieces_of<const LEN: usize>() -> Framing {
    Framing::new(MessageKind::User(0), |bytes| {
        if bytes.len() < LEN { Frame::Need(LEN) } else { Frame::Ready(LEN) }
    })
}

// ---- time

/// Reads `piece` bytes every 10 ms until `len` are there.
fn read_slowly(mut client: &TcpStream, len: usize, piece: usize) {
    let mut bytes = vec![0; piece];
    let mut got = 0;
    while got < len {
        std::thread::sleep(Duration::from_millis(10));
        let n = client.read(&mut bytes).expect("a download that goes on");
        assert!(n > 0, "the end after {got} bytes");
        got += n;
    }
}

fn slow_download(zero_copy: Toggle, idle: bool) {
    let limit = Duration::from_millis(400);
    let mut world = World::new(strict().with(|c| {
        c.uring.zero_copy_send = zero_copy;
        c.send_high_water = 16 << 20;
    }));
    let addr = world.listen_with(|c| {
        c.send_buffer = Some(16 << 10);
        let which = if idle { &mut c.timeouts.idle } else { &mut c.timeouts.write };
        *which = Some(limit);
    });
    let (conn, client) = world.join(addr);
    let memory = Arc::new(pattern(1, 4 << 20));
    let len = memory.len();
    let start = Instant::now();
    // One operation, and one completion at its end.
    world.io.stream_write_guard(conn, S0, memory, 1).unwrap();
    let reader = std::thread::spawn(move || {
        read_slowly(&client, len, 32 << 10);
        client
    });
    world.until("all of it", |w| w.has(&Ev::SendDone(conn, 1, len, SendOutcome::Sent)));
    assert!(start.elapsed() > limit * 2, "too fast to show anything: {:?}", start.elapsed());
    world.until("the reader's end", |_| reader.is_finished());
    reader.join().unwrap();
    // Now that nothing is taken any more, the limits hold.
    if idle {
        assert_eq!(world.end_of(conn), (code::IDLE_TIMEOUT, false));
    } else {
        assert_eq!(world.ends(conn), []);
        world.io.close(conn).unwrap();
    }
    world.must_be_idle();
}

#[test]
fn a_download_that_goes_on_is_not_overdue() {
    slow_download(Toggle::Off, false);
    slow_download(Toggle::Off, true);
}

#[test]
fn a_download_by_zero_copy_that_goes_on_is_not_overdue() {
    slow_download(Toggle::On, false);
}

#[test]
fn a_download_that_stops_in_the_middle_is_overdue() {
    let limit = Duration::from_millis(400);
    let mut world = World::new(strict().with(|c| c.send_high_water = 16 << 20));
    let addr = world.listen_with(|c| {
        (c.send_buffer, c.timeouts.write) = (Some(16 << 10), Some(limit));
    });
    let (conn, client) = world.join(addr);
    let memory = Arc::new(pattern(1, 8 << 20));
    world.io.stream_write_guard(conn, S0, memory, 1).unwrap();
    let reader = std::thread::spawn(move || {
        read_slowly(&client, 2 << 20, 32 << 10);
        (client, Instant::now())
    });
    assert_eq!(world.end_of(conn), (code::WRITE_TIMEOUT, false));
    assert!(reader.is_finished(), "while it was read");
    let (_client, stopped) = reader.join().unwrap();
    assert!(stopped.elapsed() < limit * 4, "only after {:?}", stopped.elapsed());
    world.must_be_idle();
}

// ---- places

/// A relay of small messages whose target does not read.
#[test]
fn a_peer_that_does_not_read_leaves_the_send_queue_to_others() {
    // Messages that do not lie next to each other in what is forwarded: each second one.
    let mut world = World::new(strict().with(|c| {
        c.send_queue_entries = 1024;
        c.stream_buffer_count = 512;
        c.held_buffers_max = 512;
    }));
    let addr = world.listen_with(|c| {
        c.framing = Some(pieces_of::<100>());
        c.send_buffer = Some(8192);
    });
    let (source, from) = world.join(addr);
    let (target, _silent) = world.join(addr);
    let (other, mut client) = world.join(addr);
    let data = pattern(2, 1 << 20);
    let (mut refused, mut echoed, start) = (0, 0, Instant::now());
    for round in 0.. {
        push(&from, &data);
        if round < 400 && round % 50 == 0 {
            client.write_all(&data[..100]).unwrap();
        }
        if let Found::Bytes(bytes) = look(&client) {
            echoed += bytes.len();
        }
        if round > 400 && echoed == 800 {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{echoed} bytes echoed, {refused} refused");
        world.io.poll(Duration::from_millis(1)).unwrap();
        let (mut events, mut sender) = world.io.split();
        let mut is_odd = false;
        while let Some(event) = events.next_event() {
            let Event::StreamFrame { conn, data, .. } = event else { continue };
            if conn == other {
                // Somebody whose queue is empty.
                sender.forward(other, S0, data).expect("room for a connection that has none");
                continue;
            }
            is_odd = !is_odd;
            if conn == source && is_odd {
                match sender.forward(target, S0, data) {
                    Ok(()) => {}
                    Err(IoError::PoolExhausted { pool: PoolKind::SendQueue }) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
    assert!(refused > 0, "it never had its share");
    let queue = world.io.pool_stats().of(ReferencePool::TxRing);
    assert!(queue.peak < queue.capacity / 4, "{queue:?}");
    assert_eq!(world.io.pool_pressure().map(|info| info.state), None, "no pressure");
    for conn in [source, target, other] {
        world.io.close(conn).unwrap();
    }
    world.must_be_idle();
}

/// What is forwarded piece by piece is one send when the pieces lie next to each other.
#[test]
fn adjacent_messages_that_are_forwarded_take_one_place() {
    let mut world = World::new(strict().with(|c| c.send_queue_entries = 64));
    world.payload = Payload::Forward;
    let addr = world.listen_with(|c| c.framing = Some(pieces_of::<10>()));
    let (conn, mut client) = world.join(addr);
    let data = pattern(3, 100_000);
    client.write_all(&data).unwrap();
    let mut echo = vec![0; data.len()];
    let reader = std::thread::spawn(move || {
        client.read_exact(&mut echo).unwrap();
        echo
    });
    world.until("all of it", |_| reader.is_finished());
    assert!(reader.join().unwrap() == data, "the bytes are not those that were sent");
    let queue = world.io.pool_stats().of(ReferencePool::TxRing);
    assert!(queue.peak < 16, "{queue:?}");
    world.io.close(conn).unwrap();
    world.must_be_idle();
}

#[test]
fn who_was_refused_a_forward_is_told_when_there_is_room() {
    let mut world = World::new(strict().with(|c| {
        c.send_queue_entries = 64;
        c.send_high_water = 2 << 20;
    }));
    let addr = world.listen_with(|c| {
        c.framing = Some(pieces_of::<1000>());
        c.send_buffer = Some(8192);
    });
    let (source, from) = world.join(addr);
    let (target, mut to) = world.join(addr);
    let data = pattern(2, 1 << 20);
    let mut is_refused = false;
    let start = Instant::now();
    while !is_refused {
        assert!(start.elapsed() < PATIENCE, "never refused");
        push(&from, &data);
        world.io.poll(Duration::from_millis(1)).unwrap();
        let (mut events, mut sender) = world.io.split();
        let mut is_odd = false;
        while let Some(event) = events.next_event() {
            let Event::StreamFrame { data, .. } = event else { continue };
            is_odd = !is_odd;
            is_refused |= is_odd && sender.forward(target, S0, data).is_err();
        }
    }
    let reader = std::thread::spawn(move || {
        let mut sink = vec![0; 1 << 16];
        while matches!(to.read(&mut sink), Ok(1..)) {}
    });
    world.payload = Payload::Count;
    world.until("Writable", |w| w.has(&Ev::Writable(target)));
    world.io.close(target).unwrap();
    world.io.close(source).unwrap();
    world.until("the reader's end", |_| reader.is_finished());
    world.must_be_idle();
}

// ---- turns

/// A stream of messages that fills the event queue in every tick.
fn flood(addr: SocketAddr, ends: &Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    let (mut client, ends) = (connect(addr), Arc::clone(ends));
    std::thread::spawn(move || {
        let data = vec![7; 1 << 20];
        while !ends.load(Ordering::Relaxed) && client.write(&data).is_ok() {}
    })
}

#[test]
fn a_flood_of_messages_does_not_keep_others_out() {
    let mut world = World::new(strict().with(|c| c.max_events_per_poll = 64));
    world.payload = Payload::Count;
    let addr = world.listen_with(|c| c.framing = Some(pieces_of::<64>()));
    let ends = Arc::new(AtomicBool::new(false));
    let flooders = [flood(addr, &ends), flood(addr, &ends)];
    world.until("a flood", |w| w.bytes.values().sum::<usize>() > 1 << 20);
    let socket = world.io.udp_bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let to = world.io.local_addr(socket).unwrap().inet().unwrap();
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    for round in 0..5 {
        let accepted = world.io.io_stats().accepted;
        let (_client, start) = (connect(addr), Instant::now());
        from.send_to(&[round], to).unwrap();
        let mut turns = 0;
        while world.io.io_stats().accepted == accepted
            || !world.log.iter().any(|e| matches!(e, Ev::Udp(_, _, data) if *data == [round]))
        {
            turns += 1;
            assert!(turns < 20_000, "kept out for {turns} turns, {:?}", start.elapsed());
            // A loop that always finds something: it never sleeps.
            world.turn(Duration::ZERO);
            std::thread::yield_now();
        }
    }
    ends.store(true, Ordering::Relaxed);
    world.until("the flood's end", |_| flooders.iter().all(|thread| thread.is_finished()));
    drop(world);
}

/// Datagrams that the kernel cuts into pieces of 1000 bytes, and puts together again.
fn send_train(from: &UdpSocket, to: SocketAddr) {
    let segment: libc::c_int = 1000;
    // SAFETY: the value is a local that outlives the call.
    let set = unsafe {
        let at = (&raw const segment).cast();
        libc::setsockopt(from.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, at, 4)
    };
    assert_eq!(set, 0, "UDP_SEGMENT");
    from.send_to(&[5; 20_000], to).unwrap();
}

#[test]
fn the_shard_does_not_sleep_when_events_gave_back_what_a_socket_waits_for() {
    let config: Config = strict().with(|c| c.gro_buffer_count = 8);
    let mut world = World::new(config);
    let socket = UdpEndpointConfig::new("127.0.0.1:0".parse().unwrap());
    let socket = socket.with(|c| (c.gro, c.recv_buffer) = (true, Some(4 << 20)));
    let socket = world.io.udp_bind_with(socket).unwrap();
    let to = world.io.local_addr(socket).unwrap().inet().unwrap();
    let from = UdpSocket::bind("127.0.0.1:0").unwrap();
    (0..20).for_each(|_| send_train(&from, to));
    // Until there is no buffer left; nothing is handed out.
    for _ in 0..20 {
        world.io.poll(Duration::ZERO).unwrap();
    }
    let before = world.io.io_stats().datagrams_received;
    assert!((1..20).contains(&before), "{before} trains received");
    // They come home now, and the others are still in the socket.
    while world.take_event() {}
    let start = Instant::now();
    world.io.poll(Duration::from_secs(10)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "slept for {:?}", start.elapsed());
    world.until("all trains", |w| w.io.io_stats().datagrams_received == 20);
    world.io.endpoint_close(socket).unwrap();
    while world.take_event() {}
    world.must_be_idle();
}

// ---- memory

/// A user whose `RLIMIT_MEMLOCK` is used up, by itself or by others.
#[test]
fn zero_copy_sends_that_may_not_pin_memory_are_copied() {
    let test = "fair::zero_copy_sends_that_may_not_pin_memory_are_copied";
    in_a_process(test, || {
        let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
        // SAFETY: the limit is a local that outlives the call.
        let set = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
        assert_eq!(set, 0);
        // Without CAP_IPC_LOCK the limit counts; somebody who is not root has none already.
        // SAFETY: no memory is involved.
        let is_root = unsafe { libc::geteuid() } == 0;
        // SAFETY: the same.
        assert!(!is_root || unsafe { libc::setresuid(65_534, 65_534, 65_534) } == 0);
        let mut world = World::new(strict().with(|c| {
            c.uring.zero_copy_send = Toggle::On;
            c.send_high_water = 16 << 20;
        }));
        let (conn, mut client) = world.pair();
        let memory = Arc::new(pattern(1, 4 << 20));
        let len = memory.len();
        world.io.stream_write_guard(conn, S0, Arc::clone(&memory), 1).unwrap();
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; len];
            client.read_exact(&mut got).unwrap();
            got
        });
        world.until("all of it", |w| w.has(&Ev::SendDone(conn, 1, len, SendOutcome::Sent)));
        assert!(reader.join().unwrap() == *memory);
        assert!(world.io.io_stats().zero_copy_refused > 0, "the limit was not met");
        world.io.close(conn).unwrap();
        world.must_be_idle();
    });
}
