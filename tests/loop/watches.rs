//! Watched descriptors.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::time::Duration;

use zero_io::{IoError, PoolKind, Readiness};

use crate::common::{Seen, Shard};

pub(crate) fn pipe() -> (File, File) {
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
