//! Timers on the real clock, against a model.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use zero_io::{Config, Event, Io, IoError, PoolKind};

use crate::world::{PATIENCE, Rng, slower};

const TIMERS: usize = 10_000;
/// How late one may be of those that come at once.
const LATE_MAX: Duration = Duration::from_secs(2);

/// Arms 10,000 timers, cancels a third while they fire, and compares with what should have been.
fn against_a_model(seed: u64) {
    let mut rng = Rng(seed);
    let mut io = Io::new(Config::default().with(|c| c.max_timers = TIMERS)).unwrap();
    let mut armed = HashMap::new();
    let mut ids = Vec::new();
    let start = Instant::now();
    for token in 0..TIMERS as u64 {
        let after = Duration::from_micros(rng.below(150_000));
        let due = Instant::now() + after;
        ids.push(io.timer_set(after, token).unwrap());
        armed.insert(token, due);
    }
    let full = io.timer_set(Duration::ZERO, 0).unwrap_err();
    assert_eq!(full, IoError::PoolExhausted { pool: PoolKind::Timers });
    let mut late = Duration::ZERO;
    while !armed.is_empty() {
        assert!(start.elapsed() < PATIENCE, "{} timers never came", armed.len());
        io.poll(PATIENCE).unwrap();
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            let Event::Timer { timer, token } = event else { panic!("{event:?}") };
            let due = armed.remove(&token).expect("it was cancelled, or came twice");
            assert_eq!(timer, ids[token as usize]);
            let now = Instant::now();
            assert!(now >= due, "{:?} too early", due - now);
            late = late.max(now - due);
            assert!(!sender.timer_cancel(timer), "it had come, and was cancelled");
            let victim = rng.below(TIMERS as u64);
            let cancelled = sender.timer_cancel(ids[victim as usize]);
            assert_eq!(cancelled, armed.remove(&victim).is_some(), "timer {victim}");
        }
    }
    io.poll(Duration::from_millis(200)).unwrap();
    assert!(io.next_event().is_none(), "a timer too many");
    assert!(late < LATE_MAX * slower(), "{late:?} late");
}

#[test]
fn ten_thousand_timers_against_a_model() {
    for seed in 1..=5 {
        against_a_model(seed * 0x1234_5678_9ABC);
    }
}

#[test]
fn an_ordered_queue_of_them() {
    let mut io = Io::new(Config::default()).unwrap();
    for token in [5_u64, 1, 4, 2, 3, 0] {
        io.timer_set(Duration::from_millis(10 * token), token).unwrap();
    }
    io.timer_set(Duration::MAX, 99).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    let mut seen = Vec::new();
    while seen.len() < 6 {
        io.poll(PATIENCE).unwrap();
        while let Some(Event::Timer { token, .. }) = io.next_event() {
            seen.push(token);
        }
    }
    assert_eq!(seen, [0, 1, 2, 3, 4, 5]);
}

#[test]
fn hazard_143_a_sleep_ends_in_time_and_not_at_once() {
    let mut io = Io::new(Config::default()).unwrap();
    io.poll(Duration::ZERO).unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(50) {
        io.poll(Duration::from_micros(300)).unwrap();
    }
    let polls = io.io_stats().polls;
    assert!(polls < 200, "{polls} polls in 50 ms: a short time was rounded to nothing");
    io.timer_set(Duration::from_millis(30), 1).unwrap();
    let start = Instant::now();
    // The longest time there is neither overflows nor returns before the timer.
    while io.next_event().is_none() {
        io.poll(Duration::MAX).unwrap();
        assert!(start.elapsed() < PATIENCE);
    }
    assert!(start.elapsed() >= Duration::from_millis(30));
}
