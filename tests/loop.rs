//! The loop itself on the real kernel: timers, watched descriptors, sleeping, handles.

mod common;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use common::{
    PATIENCE, STREAM, Seen, Shard, TICK, assert_same, dial, localhost, pattern, read_to_end,
};
use zero_io::{
    Config, ConnId, Event, Io, IoError, IoHandle, IoSeed, OwnedSlot, PoolKind, Readiness,
    SendBuffer, SendOutcome, Spin, UdpEndpointConfig, code,
};

fn tokens(shard: &Shard) -> Vec<u64> {
    let timers = shard.seen.iter().filter_map(|seen| match seen {
        Seen::Timer { token, .. } => Some(*token),
        _ => None,
    });
    timers.collect()
}

// ---- timers

#[test]
fn timers_come_in_order_and_not_early() {
    let mut shard = Shard::new();
    let start = Instant::now();
    for ms in [30, 10, 50, 20, 40] {
        shard.io.timer_set(Duration::from_millis(ms), ms).unwrap();
    }
    while tokens(&shard).len() < 5 {
        shard.step(PATIENCE);
        let last = tokens(&shard).last().copied().unwrap_or(0);
        assert!(start.elapsed() >= Duration::from_millis(last), "{last} came early");
        assert!(start.elapsed() < PATIENCE);
    }
    assert_eq!(tokens(&shard), [10, 20, 30, 40, 50]);
    shard.finish();
}

#[test]
fn timers_of_zero_and_of_ever() {
    let mut shard = Shard::new();
    let never = shard.io.timer_set(Duration::MAX, 1).unwrap();
    shard.io.timer_set(Duration::ZERO, 2).unwrap();
    shard.until("the one of zero", |shard| tokens(shard) == [2]);
    shard.io.timer_set(Duration::ZERO, 3).unwrap();
    shard.step(PATIENCE);
    assert_eq!(tokens(&shard), [2, 3]);
    shard.io.timer_set(Duration::from_secs(100 * 365 * 86_400), 4).unwrap();
    shard.run_for(Duration::from_millis(30));
    assert_eq!(tokens(&shard), [2, 3]);
    assert!(shard.io.timer_cancel(never));
    assert!(!shard.io.timer_cancel(never));
    shard.finish();
}

#[test]
fn a_cancelled_timer_does_not_come_even_when_it_was_due() {
    let mut shard = Shard::new();
    let early = shard.io.timer_set(Duration::from_millis(5), 1).unwrap();
    let due = shard.io.timer_set(Duration::from_millis(5), 2).unwrap();
    let kept = shard.io.timer_set(Duration::from_millis(5), 3).unwrap();
    assert!(shard.io.timer_cancel(early));
    thread::sleep(Duration::from_millis(20));
    // Due now, and not handed out.
    shard.io.poll(Duration::ZERO).unwrap();
    assert!(shard.io.timer_cancel(due));
    while let Some(event) = shard.io.next_event() {
        assert!(matches!(event, Event::Timer { token: 3, timer } if timer == kept), "{event:?}");
    }
    assert!(!shard.io.timer_cancel(kept), "it is gone");
    // Its place has a new generation.
    let next = shard.io.timer_set(Duration::from_secs(50), 4).unwrap();
    assert!(!shard.io.timer_cancel(kept) && !shard.io.timer_cancel(early));
    assert!(shard.io.timer_cancel(next));
    shard.run_for(Duration::from_millis(20));
    assert_eq!(shard.seen, []);
    shard.finish();
}

#[test]
fn ten_thousand_timers() {
    const COUNT: u64 = 10_000;
    let mut shard = Shard::with(|c| c.max_timers = COUNT as usize);
    let mut armed = Vec::new();
    for token in 0..COUNT {
        let after = Duration::from_micros(20_000 + token * 7919 % 200_000);
        armed.push((shard.io.timer_set(after, token).unwrap(), token));
    }
    let full = shard.io.timer_set(Duration::ZERO, 0);
    assert_eq!(full, Err(IoError::PoolExhausted { pool: PoolKind::Timers }));
    let mut cancelled = BTreeSet::new();
    for (timer, token) in armed.iter().filter(|(_, token)| token % 3 == 0) {
        if shard.io.timer_cancel(*timer) {
            cancelled.insert(*token);
        }
    }
    let wanted = COUNT as usize - cancelled.len();
    shard.until("the timers", |shard| shard.seen.len() >= wanted);
    shard.run_for(Duration::from_millis(20));
    let came: BTreeSet<_> = tokens(&shard).into_iter().collect();
    assert_eq!(came.len(), shard.seen.len(), "none twice");
    assert_eq!(came.len(), wanted);
    assert!(came.is_disjoint(&cancelled));
    shard.finish();
}

#[test]
fn alone_timers_are_accurate() {
    let mut shard = Shard::new();
    let mut late = Vec::new();
    for n in 0..40 {
        let after = Duration::from_micros(500 + n * 137);
        let start = Instant::now();
        shard.io.timer_set(after, n).unwrap();
        while shard.seen.is_empty() {
            shard.step(PATIENCE);
        }
        let took = start.elapsed();
        assert!(took >= after, "{took:?} of {after:?}");
        late.push(took - after);
        shard.seen.clear();
    }
    late.sort();
    // On a machine that is busy with other things some are later.
    assert!(late[late.len() / 2] < Duration::from_millis(2), "{late:?}");
    shard.finish();
}

// ---- sleeping

#[test]
fn alone_poll_sleeps_as_long_as_it_was_told() {
    let mut shard = Shard::new();
    let mut late = Vec::new();
    for us in [100, 300, 700, 1500, 5000, 20_000, 200, 900] {
        let span = Duration::from_micros(us);
        let start = Instant::now();
        shard.step(span);
        let took = start.elapsed();
        assert!(took >= span, "{took:?} of {span:?}: a poll that returns early spins");
        late.push(took - span);
    }
    late.sort();
    assert!(late[late.len() / 2] < Duration::from_millis(2), "{late:?}");
    shard.finish();
}

#[test]
fn a_poll_for_ever_ends_with_an_event() {
    let mut shard = Shard::new();
    let handle = shard.io.handle();
    let waker = thread::spawn(move || {
        thread::sleep(Duration::from_millis(50));
        handle.post(1).unwrap();
    });
    let start = Instant::now();
    shard.step(Duration::MAX);
    assert!(start.elapsed() >= Duration::from_millis(45));
    assert_eq!(shard.seen, [Seen::User { token: 1, data: vec![] }]);
    waker.join().unwrap();
    shard.finish();
}

#[test]
fn poll_does_not_sleep_while_events_wait() {
    let mut shard = Shard::new();
    shard.io.handle().post(1).unwrap();
    shard.io.poll(TICK).unwrap();
    let start = Instant::now();
    for _ in 0..10 {
        shard.io.poll(PATIENCE).unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(1));
    shard.step(Duration::ZERO);
    assert_eq!(shard.seen.len(), 1);
    shard.finish();
}

#[test]
fn spinning_changes_nothing_but_time() {
    for spin in [Spin::Off, Spin::Auto { max_us: 200 }, Spin::Always { max_us: 200 }] {
        let mut shard = Shard::with(|c| c.spin = spin);
        let (conn, mut peer) = shard.accepted();
        let echo = thread::spawn(move || {
            for n in 0..200_u8 {
                peer.write_all(&[n]).unwrap();
                let mut got = [0];
                peer.read_exact(&mut got).unwrap();
                assert_eq!(got, [n]);
            }
        });
        let mut at = 0;
        shard.until("the echoes", |shard| {
            for n in at..shard.seen.len() {
                let Seen::Frame { data, .. } = shard.seen[n].clone() else { continue };
                shard.io.stream_write(conn, STREAM, &data).unwrap();
            }
            at = shard.seen.len();
            echo.is_finished()
        });
        echo.join().unwrap();
        let start = Instant::now();
        shard.step(Duration::from_millis(20));
        assert!(start.elapsed() < Duration::from_secs(2));
        shard.finish();
    }
}

/// In the child: polls under a filter that ends the process at any system call but these two.
fn quiet_child() -> ! {
    let mut shard = Shard::of(Config::default());
    let (conn, _peer) = shard.accepted();
    let (_listener, _) = shard.listen();
    shard.io.udp_bind(localhost()).unwrap();
    shard.io.timer_set(Duration::from_secs(1000), 1).unwrap();
    shard.write_all(conn, b"all that there is to do");
    shard.run_for(Duration::from_millis(50));
    let enters = shard.io.io_stats().enters;
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let answer = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jt, k| libc::sock_filter { code, jt, jf: 0, k };
    let mut filter = [
        step(load, 0, 0),
        step(equal, 2, libc::SYS_exit_group as u32),
        step(equal, 1, libc::SYS_write as u32),
        step(answer, 0, libc::SECCOMP_RET_KILL_PROCESS),
        step(answer, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the program outlives the calls, which concern this thread of a process that is about
    // to end.
    unsafe {
        assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
    }
    for _ in 0..10_000 {
        shard.io.poll(Duration::ZERO).unwrap();
        assert!(shard.io.next_event().is_none());
    }
    let quiet = shard.io.io_stats().enters == enters;
    // SAFETY: ends the process; nothing is run after it.
    unsafe { libc::syscall(libc::SYS_exit_group, if quiet { 42 } else { 43 }) };
    unreachable!("the process has ended")
}

#[test]
fn an_idle_poll_of_zero_makes_no_system_call() {
    const CHILD: &str = "ZERO_IO_TEST_QUIET_CHILD";
    if std::env::var_os(CHILD).is_some() {
        quiet_child();
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "an_idle_poll_of_zero_makes_no_system_call", "--nocapture"])
        .env(CHILD, "1")
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(42), "{status}: SIGSYS is a system call");
}

// ---- watched descriptors

fn pipe() -> (File, File) {
    let mut fds = [0; 2];
    // SAFETY: the array has room for both descriptors.
    assert_eq!(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) }, 0);
    // SAFETY: both were just made, and are nobody else's.
    unsafe { (File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1])) }
}

fn wait_ready(shard: &mut Shard, wanted: u64) -> Readiness {
    shard.wait("readiness", |seen| match seen {
        Seen::FdReady { token, readiness, .. } if *token == wanted => Some(*readiness),
        _ => None,
    })
}

#[test]
fn a_pipe_is_watched() {
    let mut shard = Shard::new();
    let (mut reader, mut writer) = pipe();
    let watch = shard.io.watch_fd(reader.as_raw_fd(), Readiness::READABLE, 7).unwrap();
    let writable = shard.io.watch_fd(writer.as_raw_fd(), Readiness::WRITABLE, 8).unwrap();
    assert!(wait_ready(&mut shard, 8).contains(Readiness::WRITABLE));
    assert!(shard.io.unwatch_fd(writable));
    shard.run_for(Duration::from_millis(20));
    assert_eq!(shard.seen, [], "nothing to read yet");
    for n in 0..3 {
        writer.write_all(&[n]).unwrap();
        assert!(wait_ready(&mut shard, 7).contains(Readiness::READABLE), "at every change");
        let mut got = [0; 16];
        assert_eq!(reader.read(&mut got).unwrap(), 1);
    }
    drop(writer);
    assert!(wait_ready(&mut shard, 7).contains(Readiness::HANGUP));
    assert!(shard.io.unwatch_fd(watch));
    assert!(!shard.io.unwatch_fd(watch));
    shard.run_for(Duration::from_millis(20));
    assert_eq!(shard.seen, [], "no event after it was unwatched");
    shard.finish();
}

#[test]
fn an_eventfd_is_watched() {
    let mut shard = Shard::new();
    // SAFETY: makes a descriptor that is nobody else's.
    let mut event = unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
        assert!(fd >= 0);
        File::from_raw_fd(fd)
    };
    shard.io.watch_fd(event.as_raw_fd(), Readiness::READABLE, 1).unwrap();
    for n in 1..5_u64 {
        event.write_all(&n.to_ne_bytes()).unwrap();
        wait_ready(&mut shard, 1);
        let mut count = [0; 8];
        event.read_exact(&mut count).unwrap();
        assert_eq!(u64::from_ne_bytes(count), n);
    }
    shard.finish();
}

#[test]
fn what_cannot_be_watched_is_invalid() {
    let mut shard = Shard::new();
    let (reader, _writer) = pipe();
    let closed = reader.as_raw_fd();
    drop(reader);
    let watch = shard.io.watch_fd(closed, Readiness::READABLE, 1).unwrap();
    assert!(wait_ready(&mut shard, 1).contains(Readiness::INVALID));
    shard.run_for(Duration::from_millis(20));
    assert_eq!(shard.seen, [], "once");
    assert!(shard.io.unwatch_fd(watch));
    let error = shard.io.watch_fd(-1, Readiness::READABLE, 1);
    assert!(matches!(error, Err(IoError::InvalidArgument { what: "descriptor", .. })), "{error:?}");
    shard.finish();
}

#[test]
fn unwatched_with_the_event_queued() {
    let mut shard = Shard::new();
    let (reader, mut writer) = pipe();
    let watch = shard.io.watch_fd(reader.as_raw_fd(), Readiness::READABLE, 1).unwrap();
    shard.step(Duration::ZERO);
    writer.write_all(b"x").unwrap();
    for _ in 0..5 {
        shard.io.poll(Duration::from_millis(1)).unwrap();
    }
    assert!(shard.io.unwatch_fd(watch));
    shard.run_for(Duration::from_millis(20));
    assert_eq!(shard.seen, []);
    shard.finish();
}

#[test]
fn watches_have_a_bound_and_places_are_used_again() {
    let mut shard = Shard::with(|c| c.max_watches = 2);
    let (reader, _writer) = pipe();
    let fd = reader.as_raw_fd();
    for _ in 0..50 {
        let a = shard.io.watch_fd(fd, Readiness::READABLE, 1).unwrap();
        let b = shard.io.watch_fd(fd, Readiness::READABLE, 2).unwrap();
        let full = shard.io.watch_fd(fd, Readiness::READABLE, 3);
        assert_eq!(full, Err(IoError::PoolExhausted { pool: PoolKind::Watches }));
        assert!(shard.io.unwatch_fd(a) && shard.io.unwatch_fd(b));
        shard.step(Duration::ZERO);
        shard.step(Duration::ZERO);
    }
    let none = Shard::with(|c| c.max_watches = 0).io.watch_fd(fd, Readiness::READABLE, 1);
    assert_eq!(none, Err(IoError::PoolExhausted { pool: PoolKind::Watches }));
    shard.finish();
}

// ---- handles

#[test]
fn handles_are_send_sync_and_clone() {
    fn check<T: Send + Sync + Clone + 'static>() {}
    fn send<T: Send + 'static>() {}
    check::<IoHandle>();
    check::<OwnedSlot>();
    send::<SendBuffer>();
    send::<IoSeed>();
}

/// Offers until there is room: a full queue and an empty reserve pass.
fn insist(mut ask: impl FnMut() -> Result<(), IoError>) {
    let start = Instant::now();
    loop {
        match ask() {
            Ok(()) => return,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        assert!(start.elapsed() < PATIENCE);
        thread::yield_now();
    }
}

#[test]
fn posts_of_many_threads_come_in_order_per_handle() {
    const THREADS: u64 = 4;
    const EACH: u64 = 5000;
    let mut shard = Shard::with(|c| c.handle_queue_entries = 64);
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let handle = shard.io.handle().clone();
            thread::spawn(move || {
                for n in 0..EACH {
                    let token = thread << 32 | n;
                    if n % 5 == 0 {
                        insist(|| handle.post_data(token, &token.to_le_bytes()));
                    } else {
                        insist(|| handle.post(token));
                    }
                }
            })
        })
        .collect();
    shard.until("all posts", |shard| shard.seen.len() == (THREADS * EACH) as usize);
    let mut next = [0; THREADS as usize];
    for seen in &shard.seen {
        let Seen::User { token, data } = seen else { panic!("{seen:?}") };
        let (thread, n) = ((token >> 32) as usize, token & 0xFFFF_FFFF);
        assert_eq!(n, next[thread], "in order");
        next[thread] += 1;
        let wanted: &[u8] = if n % 5 == 0 { &token.to_le_bytes() } else { &[] };
        assert_eq!(data, wanted);
    }
    for thread in threads {
        thread.join().unwrap();
    }
    shard.finish();
}

/// What was dropped elsewhere is taken in by one poll, and set aside again by the next.
fn home(shard: &mut Shard) {
    for _ in 0..3 {
        shard.step(TICK);
    }
}

#[test]
fn a_full_queue_is_named() {
    let mut shard = Shard::with(|c| {
        c.handle_queue_entries = 4;
        c.handle_reserve_count = 8;
    });
    let handle = shard.io.handle();
    let full = IoError::QueueFull { queue: "handle", capacity: 4 };
    for token in 0..4 {
        handle.post(token).unwrap();
    }
    assert_eq!(handle.post(9), Err(full));
    assert_eq!(handle.post_data(9, b"x"), Err(full));
    // The buffer of the refused one is on its way home: none is lost.
    shard.until("the four", |shard| shard.seen.len() == 4);
    home(&mut shard);
    let buffers: Vec<_> = (0..8).map(|_| handle.send_buffer(1).unwrap()).collect();
    let empty = handle.send_buffer(1).unwrap_err();
    assert_eq!(empty, IoError::PoolExhausted { pool: PoolKind::HandleReserve });
    drop(buffers);
    home(&mut shard);
    handle.post_data(5, b"again").unwrap();
    let long = handle.post_data(5, &[0; 2049]).unwrap_err();
    assert_eq!(long, IoError::BufferTooLarge { len: 2049, max: 2048 });
    shard.until("one more", |shard| shard.seen.len() == 5);
    shard.finish();
}

#[test]
fn a_shard_that_sleeps_long_makes_up_the_reserve() {
    let mut shard = Shard::with(|c| c.handle_reserve_count = 4);
    // Buffers that the loop lets go of after its poll.
    let handle = shard.io.handle();
    let poster = thread::spawn(move || {
        for n in 0..200 {
            insist(|| handle.post_data(n, &[1; 100]));
        }
    });
    let start = Instant::now();
    while shard.seen.len() < 200 {
        shard.step(PATIENCE);
        assert!(start.elapsed() < PATIENCE, "the loop slept with {} posts", shard.seen.len());
    }
    poster.join().unwrap();
    // Buffers that a thread drops unsent while the loop sleeps.
    let handle = shard.io.handle();
    let dropper = thread::spawn(move || {
        for _ in 0..200 {
            insist(|| handle.send_buffer(100).map(drop));
        }
        handle.post(1).unwrap();
    });
    while shard.seen.len() < 201 {
        shard.step(PATIENCE);
        assert!(start.elapsed() < PATIENCE, "the loop sleeps while a thread waits");
    }
    dropper.join().unwrap();
    shard.finish();
}

#[test]
fn threads_write_to_connections() {
    const ROUNDS: usize = 300;
    let mut shard = Shard::new();
    let (conn, peer) = shard.accepted();
    let reader = thread::spawn(move || read_to_end(peer));
    let handle = shard.io.handle();
    let (sent, wanted) = mpsc::channel();
    let writer = thread::spawn(move || {
        let mut all = Vec::new();
        for n in 0..ROUNDS {
            // Small ones come from the reserve, large ones are copied into memory of their own.
            let data = pattern(n as u64, [10, 2048, 2049, 100_000, 0][n % 5]);
            match n % 3 {
                0 => insist(|| handle.stream_write(conn, STREAM, &data)),
                1 if data.len() <= 2048 => insist(|| {
                    let mut buffer = handle.send_buffer(data.len())?;
                    buffer.as_mut_slice().copy_from_slice(&data);
                    handle.stream_write_buffer(conn, STREAM, buffer)
                }),
                _ => insist(|| {
                    let memory = std::sync::Arc::new(data.clone());
                    handle.stream_write_guard(conn, STREAM, memory, n as u64)
                }),
            }
            all.extend_from_slice(&data);
        }
        insist(|| handle.shutdown_write(conn, STREAM));
        sent.send(all).unwrap();
    });
    let got = shard.join(reader);
    assert_same(&got, &wanted.recv().unwrap());
    writer.join().unwrap();
    let guards = |shard: &mut Shard| {
        shard.count(|s| matches!(s, Seen::SendDone { outcome: SendOutcome::Sent, .. }))
    };
    let asked =
        (0..ROUNDS).filter(|n| n % 3 == 2 || n % 3 == 1 && [2, 3].contains(&(n % 5))).count();
    shard.until("the guard writes", |shard| guards(shard) == asked);
    assert_eq!(shard.io.io_stats().commands_refused, 0);
    shard.finish();
}

#[test]
fn threads_close_connections_and_send_datagrams() {
    let mut shard = Shard::new();
    let (one, mut peer_one) = shard.accepted();
    let (two, mut peer_two) = shard.accepted();
    let endpoint = shard.io.udp_bind_with(UdpEndpointConfig::new(localhost())).unwrap();
    let socket = std::net::UdpSocket::bind(localhost()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let to = socket.local_addr().unwrap();
    let handle = shard.io.handle();
    thread::spawn(move || {
        handle.udp_send_bytes(endpoint, to, b"a datagram").unwrap();
        handle.stream_write(one, STREAM, b"last words").unwrap();
        handle.close_graceful(one, Duration::from_secs(5)).unwrap();
        handle.close(two).unwrap();
        // It is taken, and comes too late.
        handle.stream_write(two, STREAM, b"too late").unwrap();
    })
    .join()
    .unwrap();
    assert_eq!(shard.wait_end(two), (code::LOCAL_CLOSE, false));
    let mut got = [0; 16];
    assert_eq!(socket.recv(&mut got).unwrap(), 10);
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        peer_one.read_to_end(&mut got).unwrap();
        got
    });
    assert_eq!(shard.wait_end(one), (code::NONE, true));
    assert_same(&shard.join(reader), b"last words");
    assert_eq!(peer_two.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(shard.io.io_stats().commands_refused, 1);
    shard.finish();
}

#[test]
fn wake_ends_a_sleep_without_an_event() {
    let mut shard = Shard::new();
    let handle = shard.io.handle();
    let (go, signal) = mpsc::channel();
    let waker = thread::spawn(move || {
        while signal.recv().is_ok() {
            thread::sleep(Duration::from_millis(30));
            handle.wake().unwrap();
        }
    });
    for _ in 0..3 {
        go.send(()).unwrap();
        let start = Instant::now();
        shard.step(PATIENCE);
        assert!(start.elapsed() < PATIENCE, "it slept on");
    }
    drop(go);
    assert_eq!(shard.seen, []);
    waker.join().unwrap();
    shard.finish();
}

#[test]
fn a_handle_outlives_its_io() {
    let mut shard = Shard::new();
    let (conn, _peer) = shard.accepted();
    let endpoint = shard.io.udp_bind(localhost()).unwrap();
    let handle = shard.io.handle();
    let mut buffer = handle.send_buffer(5).unwrap();
    let late = handle.send_buffer(5).unwrap();
    handle.post(1).unwrap();
    drop(shard);
    let gone = Err(IoError::IoGone);
    buffer.as_mut_slice().copy_from_slice(b"alive");
    assert_eq!(&buffer[..], b"alive", "its memory is still there");
    assert_eq!(handle.stream_write_buffer(conn, STREAM, buffer), gone);
    assert_eq!(handle.post(2), gone);
    assert_eq!(handle.post_data(2, b"x"), gone);
    assert_eq!(handle.wake(), gone);
    assert_eq!(handle.stream_write(conn, STREAM, b"x"), gone);
    assert_eq!(handle.stream_write(conn, STREAM, &[0; 100_000]), gone);
    assert_eq!(handle.stream_write_guard(conn, STREAM, "x", 1), gone);
    assert_eq!(handle.udp_send_bytes(endpoint, "127.0.0.1:9".parse().unwrap(), b"x"), gone);
    assert_eq!(handle.shutdown_write(conn, STREAM), gone);
    assert_eq!(handle.close(conn), gone);
    assert_eq!(handle.close_graceful(conn, PATIENCE), gone);
    assert!(matches!(handle.send_buffer(1), Err(IoError::IoGone)));
    drop(late);
    assert_eq!(handle.clone().post(3), gone);
}

#[test]
fn threads_that_race_with_the_end_of_an_io() {
    for round in 0..30 {
        let shard = Shard::of(Config::default());
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let handle = shard.io.handle();
                thread::spawn(move || {
                    let mut taken = 0_u64;
                    loop {
                        match handle.post_data(taken, b"racing") {
                            Ok(()) => taken += 1,
                            Err(IoError::IoGone) => return taken,
                            Err(error) => assert!(error.is_retryable(), "{error}"),
                        }
                    }
                })
            })
            .collect();
        thread::sleep(Duration::from_micros(200 * round));
        drop(shard);
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

// ---- payloads that leave the shard

#[test]
fn payloads_travel_to_threads_and_back() {
    const COUNT: usize = 500;
    let mut shard = Shard::new();
    let (conn, peer) = shard.accepted();
    let data = pattern(7, COUNT * 1000);
    let copy = data.clone();
    let client = thread::spawn(move || {
        let mut writer = peer.try_clone().unwrap();
        let sender = thread::spawn(move || {
            for piece in copy.chunks(1000) {
                writer.write_all(piece).unwrap();
            }
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let got = read_to_end(peer);
        sender.join().unwrap();
        got
    });
    let (to_worker, work) = mpsc::channel::<OwnedSlot>();
    let handle = shard.io.handle();
    let worker = thread::spawn(move || {
        for slot in work {
            let keep = slot.clone();
            assert_eq!(&keep[..], &slot[..]);
            drop(keep);
            match slot.try_into_send_buffer() {
                Ok(buffer) => {
                    let mut buffer = Some(buffer);
                    insist(|| {
                        let buffer = buffer.take().expect("one try: the queue is large");
                        handle.stream_write_buffer(conn, STREAM, buffer)
                    });
                }
                Err(slot) => insist(|| handle.stream_write(conn, STREAM, &slot)),
            }
        }
        insist(|| handle.close_graceful(conn, PATIENCE));
    });
    let start = Instant::now();
    let mut to_worker = Some(to_worker);
    let mut ended = false;
    while !ended {
        assert!(start.elapsed() < PATIENCE);
        shard.io.poll(TICK).unwrap();
        loop {
            let is_payload = match shard.io.next_event() {
                None => break,
                Some(Event::StreamFrame { .. }) => true,
                Some(Event::ReadClosed { .. }) => {
                    to_worker = None;
                    false
                }
                Some(Event::Disconnected { error_code, clean, .. }) => {
                    assert_eq!((error_code, clean), (0, true));
                    ended = true;
                    false
                }
                Some(_) => false,
            };
            if is_payload {
                let slot = shard.io.detach_event_data().expect("a payload");
                assert!(shard.io.detach_event_data().is_none(), "once");
                to_worker.as_ref().expect("before the end").send(slot).unwrap();
            }
        }
    }
    worker.join().unwrap();
    assert_same(&client.join().unwrap(), &data);
    shard.until("nothing to be left", |shard| shard.io.is_idle());
}

#[test]
fn a_shared_payload_is_not_writable() {
    let mut shard = Shard::new();
    let (_, mut peer) = shard.accepted();
    peer.write_all(b"0123456789").unwrap();
    let mut slot = None;
    while slot.is_none() {
        shard.io.poll(TICK).unwrap();
        while let Some(event) = shard.io.next_event() {
            if matches!(event, Event::StreamFrame { .. }) {
                slot = shard.io.detach_event_data();
                break;
            }
        }
    }
    let slot = slot.unwrap().slice(2..8);
    let clone = slot.clone();
    let slot = slot.try_into_send_buffer().expect_err("it is shared");
    assert_eq!((&slot[..], &clone[..]), (&b"234567"[..], &b"234567"[..]));
    drop(clone);
    let mut buffer = slot.try_into_send_buffer().expect("the last one");
    assert_eq!(&buffer[..], b"234567");
    buffer.as_mut_slice()[0] = b'!';
    assert_eq!(&buffer[..], b"!34567");
    drop(buffer);
    assert_eq!(shard.io.pool_stats().detached, 1, "not home yet");
    shard.run_for(Duration::from_millis(10));
    assert_eq!(shard.io.pool_stats().detached, 0);
    shard.finish();
}

#[test]
fn payloads_outlive_their_io() {
    let mut shard = Shard::new();
    let (_, mut peer) = shard.accepted();
    peer.write_all(b"immortal").unwrap();
    let mut slot = None;
    while slot.is_none() {
        shard.io.poll(TICK).unwrap();
        let is_payload = matches!(shard.io.next_event(), Some(Event::StreamFrame { .. }));
        slot = if is_payload { shard.io.detach_event_data() } else { None };
    }
    drop(shard);
    let slot = slot.unwrap();
    let other = slot.clone();
    thread::spawn(move || assert_eq!(&other[..], b"immortal")).join().unwrap();
    assert_eq!(&slot[..], b"immortal");
}

/// Sends one message of 100 bytes and keeps its payload, which the shard may refuse.
fn keep_one(
    shard: &mut Shard,
    conn: ConnId,
    peer: &mut TcpStream,
    byte: u8,
) -> Result<OwnedSlot, IoError> {
    peer.write_all(&[byte; 100]).unwrap();
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "the message does not come");
        shard.io.poll(TICK).unwrap();
        while let Some(event) = shard.io.next_event() {
            if matches!(event, Event::StreamFrame { conn: c, .. } if c == conn) {
                return shard.io.try_detach_event_data();
            }
        }
    }
}

#[test]
fn a_slow_worker_slows_its_own_connection_alone() {
    let mut shard = Shard::with(|c| {
        c.stream_buffer_count = 256;
        c.held_buffers_max = 4;
    });
    let (slow, mut to_slow) = shard.accepted();
    let (quick, mut to_quick) = shard.accepted();
    let mut kept = Vec::new();
    for n in 0..4 {
        kept.push(keep_one(&mut shard, slow, &mut to_slow, n).unwrap());
    }
    // It holds as many as it may: a few more, and it is no longer read.
    for _ in 0..200 {
        to_slow.write_all(&[9; 100]).unwrap();
    }
    let data = pattern(1, 4 << 20);
    let copy = data.clone();
    let sender = thread::spawn(move || to_quick.write_all(&copy).unwrap());
    let mut got = Vec::new();
    let start = Instant::now();
    let mut late = 0;
    while got.len() < data.len() {
        assert!(start.elapsed() < PATIENCE, "the other connection is starved");
        shard.io.poll(TICK).unwrap();
        loop {
            let is_slow = match shard.io.next_event() {
                Some(Event::StreamFrame { conn, data, .. }) if conn == quick => {
                    got.extend_from_slice(data);
                    false
                }
                Some(Event::StreamFrame { data, .. }) => {
                    late += data.len();
                    true
                }
                Some(_) => false,
                None => break,
            };
            if is_slow {
                kept.extend(shard.io.detach_event_data());
            }
        }
    }
    assert_same(&got, &data);
    sender.join().unwrap();
    let held = kept.len();
    assert!(held <= 16, "{held} buffers are held");
    // Everything that waited comes once the worker lets go.
    drop(kept);
    let missing = 20_000 - late;
    assert_eq!(shard.wait_bytes(slow, missing).len(), missing);
    shard.finish();
}

#[test]
fn detached_payloads_have_a_cap_and_are_copied_beyond_it() {
    let mut shard = Shard::with(|c| {
        c.stream_buffer_count = 64;
        c.detached_max_pct = 10;
        c.pool_slot_count = 128;
        c.handle_reserve_count = 0;
    });
    let mut clients: Vec<_> = (0..60).map(|_| shard.accepted()).collect();
    let mut kept = Vec::new();
    let mut refused = 0;
    for (n, (conn, peer)) in clients.iter_mut().enumerate() {
        match keep_one(&mut shard, *conn, peer, n as u8) {
            Ok(slot) => kept.push((n as u8, slot)),
            Err(error) => {
                assert_eq!(error, IoError::PoolExhausted { pool: PoolKind::Detached });
                refused += 1;
            }
        }
    }
    let copied = shard.io.io_stats().bytes_copied_rx;
    assert!(copied > 0, "a tenth of the buffers is out, the others are copied");
    assert!(refused > 0, "and copies have a cap too: {} kept", kept.len());
    for (n, slot) in &kept {
        assert_eq!(&slot[..], &[*n; 100]);
    }
    drop(kept);
    let (conn, peer) = &mut clients[0];
    let slot = keep_one(&mut shard, *conn, peer, 77).expect("there is room again");
    assert_eq!(slot[..], [77; 100]);
    drop(slot);
    assert_eq!(shard.io.io_stats().bytes_copied_rx, copied, "no copy was needed");
    shard.finish();
}

#[test]
fn a_seed_grows_on_another_thread() {
    let seed = IoSeed::new(Config::default().with(|c| c.max_connections = 7)).unwrap();
    let (addr_to, addr) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut io: Io = seed.grow().unwrap();
        let endpoint = io.tcp_listen(localhost()).unwrap();
        addr_to.send(io.local_addr(endpoint).unwrap().inet().unwrap()).unwrap();
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE);
            io.poll(TICK).unwrap();
            let (mut events, mut sender) = io.split();
            while let Some(event) = events.next_event() {
                match event {
                    Event::StreamFrame { conn, stream, data, .. } => {
                        sender.stream_write(conn, stream, data).unwrap();
                    }
                    Event::ReadClosed { conn, .. } => {
                        sender.close_graceful(conn, Duration::ZERO).unwrap();
                    }
                    Event::Disconnected { .. } => return,
                    _ => {}
                }
            }
        }
    });
    let mut client = dial(addr.recv().unwrap());
    client.write_all(b"grown").unwrap();
    let mut got = [0; 5];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"grown");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    server.join().unwrap();
    let bad = IoSeed::new(Config::default().with(|c| c.max_connections = 0));
    assert!(matches!(bad, Err(IoError::InvalidConfig { field: "Config::max_connections", .. })));
}

#[test]
fn many_ios_one_after_the_other_on_one_thread() {
    for n in 0..24 {
        let config = Config::default().with(|c| {
            c.uring.register_ring_fd = zero_io::Toggle::On;
            c.pool_slot_count = 64;
            c.handle_reserve_count = 16;
        });
        let mut shard = Shard::of(config);
        assert!(shard.io.effective().ring_fd_registered, "the {n}th");
        let (_, mut peer) = shard.accepted();
        drop(shard);
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "closed with its Io");
    }
}

#[test]
fn ios_beside_each_other_on_one_thread() {
    let (mut a, mut b) = (Shard::new(), Shard::new());
    let (endpoint, addr) = a.listen();
    let client = b.io.tcp_connect(addr).unwrap();
    b.wait_connected(None);
    let server = a.wait_connected(Some(endpoint));
    b.write_all(client, b"across");
    b.step(Duration::ZERO);
    assert_same(&a.wait_bytes(server, 6), b"across");
    drop(b);
    a.wait_read_closed(server);
    a.finish();
    // A descriptor that is watched belongs to its owner, also after the Io.
    let (reader, _writer) = pipe();
    let mut shard = Shard::new();
    shard.io.watch_fd(reader.as_raw_fd(), Readiness::READABLE, 1).unwrap();
    drop(shard);
    drop(OwnedFd::from(reader));
}
