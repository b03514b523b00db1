//! Guard writes: memory of the application, sent from where it is.

use std::io::Read;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use zero_io::{IoError, PoolKind, SendOutcome, Toggle, code};

use crate::common::{STREAM, Seen, Shard, TICK, assert_same, pattern, read_to_end};

fn guard_writes(zero_copy: Toggle) {
    let mut shard = Shard::with(|c| {
        c.uring.zero_copy_send = zero_copy;
        c.send_high_water = 64 << 20;
    });
    let (conn, peer) = shard.accepted();
    let reader = thread::spawn(move || read_to_end(peer));
    let fixed: &'static [u8] = b"static bytes";
    let slice: Arc<[u8]> = Arc::from(pattern(1, 100_000));
    let vector = Arc::new(pattern(2, 3 << 20));
    let text = Arc::new("a shared string ".repeat(5000));
    let mut all = Vec::new();
    shard.io.stream_write_guard(conn, STREAM, fixed, 10).unwrap();
    all.extend_from_slice(fixed);
    shard.write_all(conn, b"a copied write between");
    all.extend_from_slice(b"a copied write between");
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&slice), 11).unwrap();
    all.extend_from_slice(&slice);
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&vector), 12).unwrap();
    all.extend_from_slice(&vector);
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&text), 13).unwrap();
    all.extend_from_slice(text.as_bytes());
    let empty: &'static [u8] = b"";
    shard.io.stream_write_guard(conn, STREAM, empty, 14).unwrap();
    shard.io.stream_write_guard(conn, STREAM, "the same memory twice: ", 15).unwrap();
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&slice), 16).unwrap();
    all.extend_from_slice(b"the same memory twice: ");
    all.extend_from_slice(&slice);
    shard.io.shutdown_write(conn, STREAM).unwrap();
    let is_done = |seen: &Seen| matches!(seen, Seen::SendDone { .. });
    shard.until("seven SendDone", |shard| shard.count(is_done) == 7);
    let mut tokens = Vec::new();
    for seen in &shard.seen {
        if let Seen::SendDone { conn: c, token, bytes, outcome } = seen {
            assert_eq!((*c, *outcome), (conn, SendOutcome::Sent));
            let len = match token {
                10 => fixed.len(),
                11 | 16 => slice.len(),
                12 => vector.len(),
                13 => text.len(),
                14 => 0,
                15 => 23,
                other => panic!("a token that was never given: {other}"),
            };
            assert_eq!(*bytes, len, "token {token}");
            tokens.push(*token);
        }
    }
    // The empty one has nothing to wait for.
    tokens.retain(|token| *token != 14);
    if zero_copy == Toggle::Off {
        assert_eq!(tokens, [10, 11, 12, 13, 15, 16], "in order");
    }
    assert_eq!((Arc::strong_count(&slice), Arc::strong_count(&vector)), (1, 1), "released");
    assert_eq!(Arc::strong_count(&text), 1, "released");
    let stats = shard.io.io_stats();
    assert_eq!(stats.bytes_copied_tx, 22, "the copied write alone");
    assert_eq!(stats.zero_copy_sends > 0, zero_copy != Toggle::Off, "{stats:?}");
    assert_same(&shard.join(reader), &all);
    shard.finish();
}

#[test]
fn guard_writes_are_kept_alive_and_told() {
    guard_writes(Toggle::Off);
}

#[test]
fn guard_writes_by_zero_copy_sends() {
    guard_writes(Toggle::On);
    guard_writes(Toggle::Auto);
}

#[test]
fn a_guard_write_that_does_not_get_through_is_aborted() {
    let mut shard = Shard::with(|c| {
        c.send_high_water = 64 << 20;
        c.uring.zero_copy_send = Toggle::Off;
    });
    let (conn, peer) = shard.accepted();
    let memory = Arc::new(pattern(3, 32 << 20));
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&memory), 1).unwrap();
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&memory), 2).unwrap();
    shard.run_for(Duration::from_millis(50));
    assert_eq!(Arc::strong_count(&memory), 3);
    shard.io.close(conn).unwrap();
    shard.until("the end", |shard| {
        shard.count(|seen| matches!(seen, Seen::Disconnected { .. })) == 1
    });
    shard.run_for(Duration::from_millis(50));
    let [first, second, third] = shard.seen.as_slice() else { panic!("{:?}", shard.seen) };
    let aborted = SendOutcome::Aborted;
    assert!(
        matches!(first, Seen::SendDone { token: 1, outcome, bytes, .. }
            if *outcome == aborted && (1..32 << 20).contains(bytes)),
        "{first:?}"
    );
    assert_eq!(*second, Seen::SendDone { conn, token: 2, bytes: 0, outcome: aborted });
    assert!(matches!(third, Seen::Disconnected { code: code::LOCAL_CLOSE, .. }), "{third:?}");
    assert_eq!(Arc::strong_count(&memory), 1, "released");
    drop(peer);
    shard.finish();
}

#[test]
fn memory_of_an_aborted_zero_copy_write_is_kept_while_the_kernel_refers_to_it() {
    let mut shard = Shard::with(|c| {
        c.send_high_water = 64 << 20;
        c.uring.zero_copy_send = Toggle::On;
    });
    let (conn, mut peer) = shard.accepted();
    let data = pattern(3, 16 << 20);
    let memory = Arc::new(data.clone());
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&memory), 1).unwrap();
    shard.run_for(Duration::from_millis(50));
    assert!(shard.io.io_stats().zero_copy_sends > 0, "it was copied");
    shard.io.close(conn).unwrap();
    assert_eq!(shard.wait_end(conn).0, code::LOCAL_CLOSE);
    // The peer has read nothing: the kernel has most of it to send, from where it lies.
    assert_eq!(Arc::strong_count(&memory), 2, "the kernel refers to it");
    assert_eq!(shard.count(|seen| matches!(seen, Seen::SendDone { .. })), 0, "and it is not told");
    assert!(!shard.io.is_idle());
    // What the kernel took is still delivered, and it is right.
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        let _ = peer.read_to_end(&mut got);
        got
    });
    let got = shard.join(reader);
    assert!(!got.is_empty());
    assert_same(&got, &data[..got.len()]);
    let bytes = shard.wait("SendDone", |seen| match seen {
        Seen::SendDone { token: 1, bytes, outcome: SendOutcome::Aborted, .. } => Some(*bytes),
        _ => None,
    });
    assert_eq!(bytes, got.len());
    assert_eq!(Arc::strong_count(&memory), 1, "released");
    shard.finish();
}

#[test]
fn guards_have_a_bound() {
    let mut shard = Shard::with(|c| {
        c.guard_count = 2;
        c.send_high_water = 64 << 20;
    });
    let (conn, mut peer) = shard.accepted();
    let memory = Arc::new(pattern(3, 1000));
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&memory), 1).unwrap();
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&memory), 2).unwrap();
    let error = shard.io.stream_write_guard(conn, STREAM, Arc::clone(&memory), 3).unwrap_err();
    assert_eq!(error, IoError::PoolExhausted { pool: PoolKind::Guards });
    shard.until("two SendDone", |shard| {
        shard.count(|seen| matches!(seen, Seen::SendDone { .. })) == 2
    });
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&memory), 4).unwrap();
    shard.step(TICK);
    let mut got = vec![0; 3000];
    peer.read_exact(&mut got).unwrap();
    shard.finish();
}
