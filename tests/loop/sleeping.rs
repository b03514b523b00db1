//! How long a poll sleeps, and what ends it.

use std::io::{Read, Write};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use zero_io::{Config, Spin};

use crate::common::{PATIENCE, STREAM, Seen, Shard, TICK, localhost};

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

/// Whether the kernel's clock can be read without a system call. A guest whose clock is a device
/// (`acpi_pm`, `hpet`) has none of the kind: there, each look at the time is a call.
fn clock_is_mapped() -> bool {
    const SOURCE: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let devices = ["acpi_pm", "hpet", "jiffies", "refined-jiffies"];
    let source = std::fs::read_to_string(SOURCE).unwrap_or_default();
    !devices.contains(&source.trim())
}

/// In the child: polls under a filter that ends the process at any system call but these two, and
/// a look at the clock where that has to be one.
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
    let clock = if clock_is_mapped() { libc::SYS_write } else { libc::SYS_clock_gettime };
    let mut filter = [
        step(load, 0, 0),
        step(equal, 3, libc::SYS_exit_group as u32),
        step(equal, 2, libc::SYS_write as u32),
        step(equal, 1, clock as u32),
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
        .args(["--exact", "sleeping::an_idle_poll_of_zero_makes_no_system_call", "--nocapture"])
        .env(CHILD, "1")
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(42), "{status}: SIGSYS is a system call");
}
