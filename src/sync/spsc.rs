//! Bounded ring from one thread to another, which may both wait for the other: the body of an
//! upload, from its shard to a worker.
//!
//! Role: [`Producer::push`] and [`Consumer::next`], first in first out, and an end that says which
//! one it is. Whoever waits is told by the other side, through [`Bells`], once for each wait.
//! Not its role: how a thread sleeps or is woken.
//!
//! ```text
//!           head                tail
//!            |  consumer's       |  producer's
//!  [ ][ ][ ][x][x][x][x][x][x][x][ ]      full: tail - head = SLOTS
//! ```
//!
//! Invariants:
//! - S1: a slot between `head` and `tail` is the consumer's, any other one the producer's. Each
//!   index is moved by its owner alone, after the slot was used, with a release step that the other
//!   side acquires.
//! - S2: the end is told after the last push: who sees it and then finds nothing has seen all.
//! - S3: no lost bell: each side says that it waits, then looks; the other one acts, then asks
//!   whether somebody waits ([`Gate`], whose fences are what this stands on).
//! - S4: there is at most one consumer. When it is gone it says so as its last act, and only then
//!   the producer may make another one of the same ring, without an allocation.

use super::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use super::cell::UnsafeCell;
use super::gate::Gate;
use super::{Arc, Padded};
use std::mem::MaybeUninit;

/// Values that a ring holds. Models have few, so that they come to the end of the ring.
pub(crate) const SLOTS: usize = if cfg!(loom) { 2 } else { 8 };
/// A producer that found the ring full is told when it holds no more than this: not for each value
/// that is taken.
const HALF: u32 = SLOTS as u32 / 2;
/// The ring has not ended. What it ends with is any other number.
const OPEN: u64 = 0;

/// How a side is reached that waits.
pub(crate) trait Bells {
    /// The consumer sleeps, and there is something for it.
    fn wake_consumer(&self);
    /// The ring was full and has room again, or the consumer is gone. `urgent`: the producer may
    /// wait for it.
    fn tell_producer(&self, urgent: bool);
}

/// What the producer writes.
#[derive(Debug)]
struct Front {
    tail: AtomicU32,
    end: AtomicU64,
}

/// What the consumer writes.
#[derive(Debug)]
struct Back {
    head: AtomicU32,
    is_gone: AtomicBool,
}

struct Shared<T, B> {
    front: Padded<Front>,
    back: Padded<Back>,
    /// Where the producer waits for room.
    room: Gate,
    /// Where the consumer waits for a value.
    filled: Gate,
    slots: [UnsafeCell<MaybeUninit<T>>; SLOTS],
    bells: B,
}

// SAFETY: the only part that is not `Sync` by itself is the slots; S1 gives each of them to one
// thread at a time, moving values from the producer's thread to the consumer's (`T: Send`).
unsafe impl<T: Send, B: Sync> Sync for Shared<T, B> {}

impl<T, B> Shared<T, B> {
    fn slot(&self, position: u32) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[position as usize % SLOTS]
    }

    /// Moves the value at the front out, for whoever owns `head`.
    fn take(&self) -> Option<T> {
        // Relaxed: the caller's own.
        let head = self.back.0.head.load(Ordering::Relaxed);
        // Acquire: S1, the value is there.
        if self.front.0.tail.load(Ordering::Acquire) == head {
            return None;
        }
        // SAFETY: S1, the slot is the caller's and holds a value; it is given back below.
        let value = self.slot(head).with_mut(|slot| unsafe { (*slot).assume_init_read() });
        // Release: S1, the value was read before the slot is the producer's.
        self.back.0.head.store(head.wrapping_add(1), Ordering::Release);
        Some(value)
    }

    fn is_open(&self) -> bool {
        self.front.0.end.load(Ordering::Relaxed) == OPEN
    }
}

impl<T, B> Drop for Shared<T, B> {
    fn drop(&mut self) {
        // Both sides are gone.
        while self.take().is_some() {}
    }
}

/// A ring, and its first consumer.
pub(crate) fn channel<T: Send, B: Bells>(bells: B) -> (Producer<T, B>, Consumer<T, B>) {
    let shared = Arc::new(Shared {
        front: Padded(Front { tail: AtomicU32::new(0), end: AtomicU64::new(OPEN) }),
        back: Padded(Back { head: AtomicU32::new(0), is_gone: AtomicBool::new(false) }),
        room: Gate::new(),
        filled: Gate::new(),
        slots: std::array::from_fn(|_| UnsafeCell::new(MaybeUninit::uninit())),
        bells,
    });
    (Producer { shared: Arc::clone(&shared) }, Consumer { shared })
}

/// The pushing end.
pub(crate) struct Producer<T, B> {
    shared: Arc<Shared<T, B>>,
}

impl<T: Send, B: Bells> Producer<T, B> {
    /// Appends `value`, or gives it back when the ring is full. Wakes the consumer if it waits.
    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        let shared = &*self.shared;
        // Relaxed: our own.
        let tail = shared.front.0.tail.load(Ordering::Relaxed);
        if self.len() == SLOTS as u32 {
            return Err(value);
        }
        shared.slot(tail).with_mut(|slot| {
            // SAFETY: S1, the slot is behind `tail` and not one lap before `head`.
            unsafe { (*slot).write(value) };
        });
        // Release: S1, the value is written before the slot is the consumer's.
        shared.front.0.tail.store(tail.wrapping_add(1), Ordering::Release);
        self.wake_consumer();
        Ok(())
    }

    /// Values in the ring; the consumer may take some at once.
    fn len(&self) -> u32 {
        let tail = self.shared.front.0.tail.load(Ordering::Relaxed);
        // Acquire: S1, what is before `head` was read.
        tail.wrapping_sub(self.shared.back.0.head.load(Ordering::Acquire))
    }

    /// Values that were taken so far, a number that wraps around.
    pub(crate) fn taken(&self) -> u32 {
        self.shared.back.0.head.load(Ordering::Relaxed)
    }

    /// Whether `push` would give its value back.
    pub(crate) fn is_full(&self) -> bool {
        self.len() == SLOTS as u32
    }

    /// Has itself told when there is room (half of the ring), or when the consumer goes. False when
    /// there is room by now: then nobody tells.
    pub(crate) fn wait_for_room(&mut self) -> bool {
        self.shared.room.prepare_sleep();
        if self.len() > HALF {
            return true;
        }
        self.shared.room.awake();
        false
    }

    /// Nothing is pushed any more; `end` is not 0.
    pub(crate) fn finish(&mut self, end: u64) {
        debug_assert!(end != OPEN && self.shared.is_open(), "a ring ends once");
        // Release: S2.
        self.shared.front.0.end.store(end, Ordering::Release);
        self.wake_consumer();
    }

    fn wake_consumer(&self) {
        if self.shared.filled.needs_wake() {
            self.shared.bells.wake_consumer();
        }
    }

    /// Whether the consumer is gone: what is pushed is read by nobody.
    pub(crate) fn is_alone(&self) -> bool {
        // Acquire: S4, the consumer did not touch the ring after that.
        self.shared.back.0.is_gone.load(Ordering::Acquire)
    }

    /// Drops what a consumer that is gone has left.
    pub(crate) fn clear(&mut self) {
        // Both ends are ours.
        while self.is_alone() && self.shared.take().is_some() {}
    }

    /// Another consumer, for what is pushed from now on. `None` while there is one.
    pub(crate) fn renew(&mut self) -> Option<Consumer<T, B>> {
        if !self.is_alone() {
            return None;
        }
        self.clear();
        let shared = &*self.shared;
        shared.room.awake();
        shared.filled.awake();
        // Relaxed: whatever takes the consumer to its thread takes this along.
        shared.front.0.end.store(OPEN, Ordering::Relaxed);
        shared.back.0.is_gone.store(false, Ordering::Relaxed);
        Some(Consumer { shared: Arc::clone(&self.shared) })
    }
}

/// What a consumer finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<T> {
    /// The oldest value.
    Value(T),
    /// There was one, and there will be none: why.
    End(u64),
    /// Nothing yet.
    Nothing,
}

/// The taking end.
pub(crate) struct Consumer<T, B: Bells> {
    shared: Arc<Shared<T, B>>,
}

impl<T, B: Bells> Consumer<T, B> {
    /// Takes the oldest value. Tells the producer when that makes the room that it waits for.
    pub(crate) fn next(&mut self) -> Next<T> {
        if let Some(value) = self.pop() {
            return Next::Value(value);
        }
        // Acquire: S2.
        match self.shared.front.0.end.load(Ordering::Acquire) {
            OPEN => Next::Nothing,
            // What was pushed between the two looks.
            end => self.pop().map_or(Next::End(end), Next::Value),
        }
    }

    fn pop(&mut self) -> Option<T> {
        let value = self.shared.take()?;
        let (front, back) = (&self.shared.front.0, &self.shared.back.0);
        // Too few is harmless: a producer that waits pushes nothing.
        let tail = front.tail.load(Ordering::Relaxed);
        let len = tail.wrapping_sub(back.head.load(Ordering::Relaxed));
        if len <= HALF && self.shared.room.needs_wake() {
            self.shared.bells.tell_producer(true);
        }
        Some(value)
    }

    /// Says that this thread is about to wait. False when there is something to be taken: then
    /// nobody wakes it. A wait ends with [`awake`](Self::awake).
    pub(crate) fn prepare_wait(&mut self) -> bool {
        self.shared.filled.prepare_sleep();
        let (front, back) = (&self.shared.front.0, &self.shared.back.0);
        let is_empty = front.tail.load(Ordering::Relaxed) == back.head.load(Ordering::Relaxed);
        if is_empty && self.shared.is_open() {
            return true;
        }
        self.awake();
        false
    }

    /// Says that this thread waits no more.
    pub(crate) fn awake(&mut self) {
        self.shared.filled.awake();
    }

    pub(crate) fn bells(&self) -> &B {
        &self.shared.bells
    }
}

impl<T, B: Bells> Drop for Consumer<T, B> {
    fn drop(&mut self) {
        let shared = &*self.shared;
        while shared.take().is_some() {}
        let urgent = shared.is_open();
        // Release: S4.
        shared.back.0.is_gone.store(true, Ordering::Release);
        shared.bells.tell_producer(urgent);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::thread::{self, Thread};

    /// Counts the bells.
    #[derive(Default)]
    struct Counted {
        woken: AtomicUsize,
        told: AtomicUsize,
        urgent: AtomicUsize,
    }

    impl Bells for Counted {
        fn wake_consumer(&self) {
            self.woken.fetch_add(1, Ordering::Relaxed);
        }

        fn tell_producer(&self, urgent: bool) {
            self.told.fetch_add(1, Ordering::Relaxed);
            self.urgent.fetch_add(usize::from(urgent), Ordering::Relaxed);
        }
    }

    fn bells(producer: &Producer<u32, Counted>) -> [usize; 3] {
        let Counted { woken, told, urgent } = &producer.shared.bells;
        [woken, told, urgent].map(|count| count.load(Ordering::Relaxed))
    }

    #[test]
    fn both_ends_travel() {
        fn travels<T: Send + Sync>() {}
        travels::<Producer<Box<u8>, Counted>>();
        travels::<Consumer<Box<u8>, Counted>>();
    }

    #[test]
    fn first_in_first_out_then_the_end() {
        let (mut producer, mut consumer) = channel(Counted::default());
        assert_eq!(consumer.next(), Next::Nothing);
        for lap in 0..5 {
            for value in 0..8 {
                assert!(!producer.is_full());
                assert_eq!(producer.push(lap * 8 + value), Ok(()));
            }
            assert!(producer.is_full());
            assert_eq!(producer.push(99), Err(99));
            for value in 0..8 {
                assert_eq!(consumer.next(), Next::Value(lap * 8 + value));
            }
        }
        assert_eq!(producer.push(1), Ok(()));
        producer.finish(7);
        let found = [(); 3].map(|()| consumer.next());
        assert_eq!(found, [Next::Value(1), Next::End(7), Next::End(7)]);
        assert_eq!(bells(&producer), [0, 0, 0], "nobody waited");
        drop(consumer);
        assert_eq!(bells(&producer), [0, 1, 0]);
    }

    #[test]
    fn who_waits_is_told_once() {
        let (mut producer, mut consumer) = channel(Counted::default());
        assert!(!producer.wait_for_room());
        assert!(consumer.prepare_wait());
        (0..8).for_each(|value| producer.push(value).unwrap());
        assert_eq!(bells(&producer), [1, 0, 0]);
        assert!(!consumer.prepare_wait());
        assert!(producer.wait_for_room());
        let told = [(); 8].map(|()| {
            consumer.next();
            bells(&producer)[1]
        });
        assert_eq!(told, [0, 0, 0, 1, 1, 1, 1, 1], "when half of it is free");
        assert!(consumer.prepare_wait());
        producer.finish(1);
        assert_eq!(bells(&producer), [2, 1, 1]);
        assert!(!consumer.prepare_wait());
    }

    #[test]
    fn a_ring_is_used_again_when_its_consumer_is_gone() {
        let (mut producer, mut consumer) = channel(Counted::default());
        producer.push(1).unwrap();
        producer.push(2).unwrap();
        assert_eq!(consumer.next(), Next::Value(1));
        assert!(producer.renew().is_none());
        drop(consumer);
        assert_eq!(bells(&producer), [0, 1, 1]);
        producer.push(3).unwrap();
        producer.finish(9);
        let mut consumer = producer.renew().expect("it is gone");
        assert_eq!(consumer.next(), Next::Nothing);
        producer.push(4).unwrap();
        assert_eq!(consumer.next(), Next::Value(4));
        assert!(producer.renew().is_none());
    }

    #[test]
    fn what_is_left_is_dropped_once() {
        struct Quiet;
        impl Bells for Quiet {
            fn wake_consumer(&self) {}
            fn tell_producer(&self, _: bool) {}
        }
        let value = std::sync::Arc::new(());
        let (mut producer, consumer) = channel(Quiet);
        (0..5).for_each(|_| assert!(producer.push(value.clone()).is_ok()));
        drop(consumer);
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
        assert!(producer.push(value.clone()).is_ok());
        producer.clear();
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
        let consumer = producer.renew();
        assert!(producer.push(value.clone()).is_ok());
        drop(producer);
        drop(consumer);
        assert_eq!(std::sync::Arc::strong_count(&value), 1);
    }

    /// Threads that park.
    struct Parks {
        producer: Thread,
        consumer: std::sync::OnceLock<Thread>,
    }

    impl Bells for Parks {
        fn wake_consumer(&self) {
            self.consumer.get().expect("it has waited").unpark();
        }

        fn tell_producer(&self, _: bool) {
            self.producer.unpark();
        }
    }

    #[test]
    fn threads_wait_for_each_other() {
        let count = if cfg!(miri) { 60 } else { 50_000 };
        let bells = Parks { producer: thread::current(), consumer: std::sync::OnceLock::new() };
        let (mut producer, mut consumer) = channel(bells);
        let taker = thread::spawn(move || {
            consumer.bells().consumer.set(thread::current()).expect("once");
            let mut expected = 0_u32;
            loop {
                match consumer.next() {
                    Next::Value(value) => {
                        assert_eq!(value, expected);
                        expected += 1;
                    }
                    Next::End(_) => return expected,
                    Next::Nothing if consumer.prepare_wait() => {
                        // Hangs here if a bell is lost.
                        thread::park();
                        consumer.awake();
                    }
                    Next::Nothing => {}
                }
            }
        });
        for number in 0..count {
            let mut value = number;
            while let Err(refused) = producer.push(value) {
                value = refused;
                if producer.wait_for_room() {
                    thread::park();
                }
            }
        }
        producer.finish(1);
        assert_eq!(taker.join().unwrap(), count);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::model::{Steps, bounded};
    use loom::sync::Notify;
    use loom::thread;

    /// Both sides wait for each other over more than a lap.
    const LAP_PREEMPTIONS: usize = 3;

    struct Notified {
        producer: Notify,
        consumer: Notify,
        steps: Steps,
    }

    impl Notified {
        fn new() -> Self {
            Self { producer: Notify::new(), consumer: Notify::new(), steps: Steps::new() }
        }
    }

    impl Bells for Notified {
        fn wake_consumer(&self) {
            self.consumer.notify();
        }

        fn tell_producer(&self, _: bool) {
            self.producer.notify();
        }
    }

    /// Takes until the end. A lost bell is a deadlock, which the model checker reports.
    fn take_all(mut consumer: Consumer<Box<u32>, Notified>) -> Vec<u32> {
        let mut taken = Vec::new();
        loop {
            consumer.bells().steps.pass();
            match consumer.next() {
                Next::Value(value) => taken.push(*value),
                Next::End(end) => {
                    assert_eq!(end, 7);
                    return taken;
                }
                Next::Nothing if consumer.prepare_wait() => {
                    consumer.bells().consumer.wait();
                    consumer.awake();
                }
                Next::Nothing => {}
            }
        }
    }

    fn give_all(producer: &mut Producer<Box<u32>, Notified>, values: std::ops::Range<u32>) {
        for value in values {
            let mut value = Box::new(value);
            loop {
                producer.shared.bells.steps.pass();
                match producer.push(value) {
                    Ok(()) => break,
                    Err(refused) => value = refused,
                }
                if producer.wait_for_room() {
                    producer.shared.bells.producer.wait();
                }
            }
        }
    }

    fn delivers(count: u32) {
        let (mut producer, consumer) = channel(Notified::new());
        let taker = thread::spawn(move || take_all(consumer));
        give_all(&mut producer, 0..count);
        producer.finish(7);
        assert!(taker.join().unwrap().into_iter().eq(0..count));
    }

    #[test]
    fn loom_ring_delivers_and_ends() {
        loom::model(|| delivers(1));
    }

    #[test]
    fn loom_ring_delivers_over_a_lap() {
        bounded(LAP_PREEMPTIONS, || delivers(3));
    }

    /// The consumer takes once at most and goes; the producer goes on until it sees that, and makes
    /// another one of the same ring.
    #[test]
    fn loom_ring_is_used_again() {
        bounded(LAP_PREEMPTIONS, || {
            let (mut producer, mut consumer) = channel(Notified::new());
            let taker = thread::spawn(move || {
                let taken = consumer.next();
                assert!(matches!(&taken, Next::Nothing) || taken == Next::Value(Box::new(1)));
            });
            let _ = producer.push(Box::new(1));
            producer.shared.bells.steps.pass();
            let _ = producer.push(Box::new(2));
            while !producer.is_alone() {
                producer.shared.bells.producer.wait();
            }
            let mut consumer = producer.renew().expect("it is gone");
            assert_eq!(consumer.next(), Next::Nothing);
            assert!(producer.push(Box::new(3)).is_ok());
            assert_eq!(consumer.next(), Next::Value(Box::new(3)));
            drop((producer, consumer));
            taker.join().unwrap();
        });
    }
}
