//! The application's timers.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use zero_io::{Event, IoError, PoolKind};

use crate::common::{PATIENCE, Seen, Shard};

fn tokens(shard: &Shard) -> Vec<u64> {
    let timers = shard.seen.iter().filter_map(|seen| match seen {
        Seen::Timer { token, .. } => Some(*token),
        _ => None,
    });
    timers.collect()
}

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
