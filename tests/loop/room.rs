//! Commands of handles that find no room: who waits for them, and who does not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zero_io::{ConnId, IoHandle, SendOutcome, Toggle, code};

use crate::common::{STREAM, Seen, Shard, pattern, read_to_end};

const MEMORY_LEN: usize = 32 << 20;

/// A shard with one guard write, which a peer that does not read uses up, and a second one, which
/// its handle asked for and which has to wait.
fn jam() -> (Shard, IoHandle, ConnId, std::net::TcpStream) {
    let mut shard = Shard::with(|c| {
        c.guard_count = 1;
        c.send_high_water = 64 << 20;
        c.uring.zero_copy_send = Toggle::Off;
    });
    let (conn, peer) = shard.accepted();
    let handle = shard.io.handle();
    let memory = Arc::new(pattern(1, MEMORY_LEN));
    handle.stream_write_guard(conn, STREAM, Arc::clone(&memory), 1).unwrap();
    shard.run_for(Duration::from_millis(50));
    (shard, handle, conn, peer)
}

#[test]
fn alone_a_command_that_waits_for_room_does_not_keep_the_loop_awake() {
    let (mut shard, handle, conn, peer) = jam();
    handle.stream_write_guard(conn, STREAM, "the second", 2).unwrap();
    handle.post(3).unwrap();
    shard.wait("the post", |seen| matches!(seen, Seen::User { token: 3, .. }).then_some(()));
    shard.run_for(Duration::from_millis(50));
    let (start, polls) = (Instant::now(), shard.io.io_stats().polls);
    shard.run_for(Duration::from_millis(300));
    let polls = shard.io.io_stats().polls - polls;
    assert!(polls < 200, "{polls} polls in {:?} that had nothing to do", start.elapsed());
    assert_eq!(shard.seen, [], "it waits");
    // Room comes, and the rest is done.
    let reader = std::thread::spawn(move || read_to_end(peer));
    let done = |token| {
        move |seen: &Seen| match seen {
            Seen::SendDone { token: t, outcome, .. } if *t == token => Some(*outcome),
            _ => None,
        }
    };
    assert_eq!(shard.wait("the first", done(1)), SendOutcome::Sent);
    assert_eq!(shard.wait("the second", done(2)), SendOutcome::Sent);
    handle.shutdown_write(conn, STREAM).unwrap();
    let got = shard.join(reader);
    assert_eq!(got.len(), MEMORY_LEN + "the second".len());
    shard.finish();
}

#[test]
fn what_needs_no_room_does_not_wait_for_any() {
    let (mut shard, handle, conn, peer) = jam();
    handle.post(3).unwrap();
    shard.wait("the post", |seen| matches!(seen, Seen::User { token: 3, .. }).then_some(()));
    handle.stream_write(conn, STREAM, b"a copy that is no guard write").unwrap();
    handle.close(conn).unwrap();
    assert_eq!(shard.wait_end(conn), (code::LOCAL_CLOSE, false));
    assert_eq!(shard.io.io_stats().commands_refused, 0);
    drop(peer);
    shard.finish();
}
