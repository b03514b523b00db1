//! Bounded queue from many threads into one: the command queue of a shard.
//!
//! Role: [`Producer::push`] from any thread, [`Consumer::pop`] on the shard, first in first out for
//! each producer. A full or a closed queue gives the value back.
//! Not its role: waking the consumer (see [`super::gate`]).
//!
//! A ring of cells, each with a sequence number that says whose turn it is. A producer claims a
//! position by moving `tail`, fills the cell, then publishes it:
//!
//! ```text
//! sequence of the cell at position p (capacity c)
//!   p        free: the producer that claims p may fill it
//!   p + 1    published: the consumer may take it
//!   p + c    taken: free for position p + c, one lap later
//!   REVOKED  the consumer is gone; the producer that claimed p takes its value back
//! ```
//!
//! Invariants:
//! - Q1: a cell is written by the one producer that moved `tail` from p to p + 1, and only while
//!   its sequence is p; whoever sees p + 1 there first (the consumer) reads it, once.
//! - Q2: after CLOSED is set in `tail`, no position is claimed. So closing decides each claimed
//!   cell with one exchange: published (the value is dropped here) or REVOKED (its producer finds
//!   that when it publishes, and hands the value back). Nothing is left, and nobody waits.
//! - Q3: positions are 63 bits and do not wrap around.
//!
//! A producer that is preempted between claim and publication hides what was pushed behind it
//! until it runs again; it asks the gate after publishing, so no wake-up is lost by that.

use super::atomic::{AtomicU64, Ordering};
use super::cell::UnsafeCell;
use super::{Arc, Padded};
use std::cell::Cell;
use std::fmt;
use std::mem::MaybeUninit;

/// Most entries that a queue can be built for.
pub(crate) const QUEUE_CAPACITY_MAX: usize = 1 << 24;
/// With one cell, "published" and "free for the next lap" would be the same number.
const QUEUE_CAPACITY_MIN: usize = 2;

/// Low bit of `tail`; the position is above it.
const CLOSED: u64 = 1;
const ONE_POSITION: u64 = 2;
const REVOKED: u64 = u64::MAX;

/// Why a push did not happen, with the value that was to be pushed.
pub(crate) enum PushError<T> {
    /// Every entry is taken: try again after the consumer has run.
    Full(T),
    /// The consumer is gone: no push will ever succeed.
    Closed(T),
}

impl<T> PushError<T> {
    /// The value that was not pushed.
    pub(crate) fn into_inner(self) -> T {
        match self {
            Self::Full(value) | Self::Closed(value) => value,
        }
    }

    /// True when the consumer is gone.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

impl<T> fmt::Debug for PushError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_closed() { "Closed" } else { "Full" })
    }
}

struct Entry<T> {
    sequence: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Entry<T> {
    /// Moves the value out.
    ///
    /// # Safety
    /// The entry holds a value, nobody else accesses it now, and nobody takes it again (Q1).
    unsafe fn take(&self) -> T {
        // SAFETY: Q1, passed on to the caller.
        self.value.with_mut(|value| unsafe { (*value).assume_init_read() })
    }
}

struct Shared<T> {
    tail: Padded<AtomicU64>,
    entries: Box<[Entry<T>]>,
    mask: u64,
}

impl<T> Shared<T> {
    fn entry(&self, position: u64) -> &Entry<T> {
        &self.entries[(position & self.mask) as usize]
    }
}

// SAFETY: the only part that is not `Sync` by itself is the values; Q1 gives each of them to one
// thread at a time, moving it from the producer's thread to the consumer's (`T: Send`).
unsafe impl<T: Send> Sync for Shared<T> {}

/// A queue of `capacity` entries, rounded up to a power of two (at least 2).
///
/// # Panics
/// When `capacity` exceeds [`QUEUE_CAPACITY_MAX`].
pub(crate) fn channel<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity <= QUEUE_CAPACITY_MAX, "a queue holds at most {QUEUE_CAPACITY_MAX} entries");
    let capacity = capacity.next_power_of_two().max(QUEUE_CAPACITY_MIN) as u64;
    let entries = (0..capacity)
        .map(|position| Entry {
            sequence: AtomicU64::new(position),
            value: UnsafeCell::new(MaybeUninit::uninit()),
        })
        .collect();
    let tail = Padded(AtomicU64::new(0));
    let shared = Arc::new(Shared { tail, entries, mask: capacity - 1 });
    (Producer { shared: Arc::clone(&shared) }, Consumer { shared, head: Cell::new(0) })
}

/// The pushing end, for any number of threads.
pub(crate) struct Producer<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Producer<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T: Send> Producer<T> {
    /// Appends `value`, or gives it back when the queue is full or closed.
    pub(crate) fn push(&self, value: T) -> Result<(), PushError<T>> {
        let shared = &*self.shared;
        let mut tail = shared.tail.0.load(Ordering::Relaxed);
        loop {
            if tail & CLOSED != 0 {
                return Err(PushError::Closed(value));
            }
            let position = tail / ONE_POSITION;
            let entry = shared.entry(position);
            // Acquire: the consumer has finished reading what was here one lap ago.
            let sequence = entry.sequence.load(Ordering::Acquire);
            if sequence == position {
                // Relaxed: `tail` hands out positions; the sequences carry the data.
                match shared.tail.0.compare_exchange_weak(
                    tail,
                    tail + ONE_POSITION,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return Self::publish(entry, position, value),
                    Err(current) => tail = current,
                }
            } else if sequence < position {
                return Err(PushError::Full(value));
            } else {
                // Another producer has taken this position, or closing revoked it: `tail` moved.
                tail = shared.tail.0.load(Ordering::Relaxed);
            }
        }
    }

    /// Fills the entry that this call has claimed.
    fn publish(entry: &Entry<T>, position: u64, value: T) -> Result<(), PushError<T>> {
        entry.value.with_mut(|cell| {
            // SAFETY: Q1, this call claimed `position` and has not published it yet.
            unsafe { (*cell).write(value) };
        });
        // Release: whoever sees the published sequence sees the value.
        let published = entry.sequence.compare_exchange(
            position,
            position + 1,
            Ordering::Release,
            Ordering::Relaxed,
        );
        if published.is_ok() {
            return Ok(());
        }
        // SAFETY: Q2, the consumer revoked the entry instead of taking it; it holds the value
        // written above and only this call knows of it.
        Err(PushError::Closed(unsafe { entry.take() }))
    }

    /// True once the consumer is gone.
    pub(crate) fn is_closed(&self) -> bool {
        self.shared.tail.0.load(Ordering::Relaxed) & CLOSED != 0
    }

    /// Entries of the ring: the bound that `Full` stands for.
    pub(crate) fn capacity(&self) -> usize {
        self.shared.entries.len()
    }
}

/// The popping end. It can move to another thread, but two threads cannot share it.
pub(crate) struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: Cell<u64>,
}

impl<T> Consumer<T> {
    /// Takes the oldest value. `None` when there is none, or when the producer of the oldest has
    /// claimed its place and not yet filled it.
    pub(crate) fn pop(&self) -> Option<T> {
        let head = self.head.get();
        let entry = self.shared.entry(head);
        // Acquire: pairs with the publication.
        if entry.sequence.load(Ordering::Acquire) != head + 1 {
            return None;
        }
        // SAFETY: Q1, the entry is published, and `head` moves on below.
        let value = unsafe { entry.take() };
        self.head.set(head + 1);
        // Release: the next producer of this entry writes after the read above.
        entry.sequence.store(head + self.shared.mask + 1, Ordering::Release);
        Some(value)
    }

    /// True when `pop` would give nothing; costs one load.
    pub(crate) fn is_empty(&self) -> bool {
        let head = self.head.get();
        self.shared.entry(head).sequence.load(Ordering::Acquire) != head + 1
    }

    /// Closes the queue: from now on pushes give their values back. Those that were pushed before
    /// are handed to `take`, in order.
    pub(crate) fn close(&mut self, mut take: impl FnMut(T)) {
        let shared = &*self.shared;
        let tail = shared.tail.0.fetch_or(CLOSED, Ordering::Relaxed) / ONE_POSITION;
        for position in self.head.replace(tail)..tail {
            let entry = shared.entry(position);
            // Acquire: takes over the value. Release: a producer that meets REVOKED in `push`
            // sees CLOSED as well.
            if entry.sequence.swap(REVOKED, Ordering::AcqRel) == position + 1 {
                // SAFETY: Q2, published before it was revoked, so its producer is done with it.
                take(unsafe { entry.take() });
            }
        }
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        self.close(drop);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    /// Counts how many of its kind are alive.
    struct Live<'a>(&'a AtomicUsize, u64);

    impl<'a> Live<'a> {
        fn new(live: &'a AtomicUsize, number: u64) -> Self {
            live.fetch_add(1, Ordering::Relaxed);
            Self(live, number)
        }
    }

    impl Drop for Live<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Compiles only while `Consumer` is not `Sync`: otherwise both impls apply.
    trait NotSync<Choice> {
        fn holds() {}
    }
    impl<T: ?Sized> NotSync<()> for T {}
    impl<T: ?Sized + Sync> NotSync<u8> for T {}

    #[test]
    fn the_producer_is_shared_and_the_consumer_only_moves() {
        fn travels<T: Send>() {}
        fn is_shared<T: Clone + Send + Sync>() {}
        is_shared::<Producer<Box<u8>>>();
        travels::<Consumer<Box<u8>>>();
        <Consumer<Box<u8>> as NotSync<_>>::holds();
    }

    #[test]
    fn first_in_first_out_over_many_laps() {
        let (producer, consumer) = channel(4);
        assert_eq!(producer.capacity(), 4);
        for lap in 0..10 {
            assert!(consumer.is_empty());
            for value in 0..4 {
                producer.push(lap * 4 + value).expect("room");
            }
            assert!(matches!(producer.push(0), Err(PushError::Full(0))));
            for value in 0..4 {
                assert!(!consumer.is_empty());
                assert_eq!(consumer.pop(), Some(lap * 4 + value));
            }
            assert_eq!(consumer.pop(), None);
        }
    }

    #[test]
    fn capacities_round_up() {
        for (asked, given) in [(0, 2), (1, 2), (2, 2), (3, 4), (1_000, 1_024)] {
            assert_eq!(channel::<u8>(asked).0.capacity(), given);
        }
    }

    #[test]
    fn closing_gives_back_and_drops_what_is_queued() {
        let live = AtomicUsize::new(0);
        let (producer, consumer) = channel(8);
        for number in 0..5 {
            producer.push(Live::new(&live, number)).expect("room");
        }
        assert_eq!(consumer.pop().map(|value| value.1), Some(0));
        assert_eq!(live.load(Ordering::Relaxed), 4);
        assert!(!producer.is_closed());
        drop(consumer);
        assert!(producer.is_closed());
        assert_eq!(live.load(Ordering::Relaxed), 0);
        let refused = producer.push(Live::new(&live, 9)).expect_err("closed");
        assert!(refused.is_closed());
        assert_eq!(refused.into_inner().1, 9);
        drop(producer);
        assert_eq!(live.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn producers_may_go_first() {
        let live = AtomicUsize::new(0);
        let (producer, consumer) = channel(2);
        producer.clone().push(Live::new(&live, 1)).expect("room");
        producer.push(Live::new(&live, 2)).expect("room");
        drop(producer);
        assert_eq!(consumer.pop().map(|value| value.1), Some(1));
        drop(consumer);
        assert_eq!(live.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn many_producers_keep_their_order() {
        const PRODUCERS: usize = 3;
        let each = if cfg!(miri) { 40 } else { 20_000 };
        let (producer, consumer) = channel::<(usize, u64)>(16);
        thread::scope(|scope| {
            for id in 0..PRODUCERS {
                let producer = producer.clone();
                scope.spawn(move || {
                    for number in 0..each {
                        let mut value = (id, number);
                        while let Err(refused) = producer.push(value) {
                            assert!(!refused.is_closed());
                            value = refused.into_inner();
                            thread::yield_now();
                        }
                    }
                });
            }
            let mut expected = [0; PRODUCERS];
            let mut left = PRODUCERS as u64 * each;
            while left > 0 {
                let Some((id, number)) = consumer.pop() else {
                    thread::yield_now();
                    continue;
                };
                assert_eq!(number, expected[id]);
                expected[id] += 1;
                left -= 1;
            }
            assert!(consumer.is_empty());
        });
    }

    #[test]
    fn a_close_in_the_middle_leaks_nothing() {
        let rounds = if cfg!(miri) { 3 } else { 300 };
        for round in 0..rounds {
            let live = AtomicUsize::new(0);
            let (producer, consumer) = channel(4);
            thread::scope(|scope| {
                for _ in 0..2 {
                    let (producer, live) = (producer.clone(), &live);
                    scope.spawn(move || {
                        loop {
                            match producer.push(Live::new(live, 0)) {
                                Err(refused) if refused.is_closed() => break,
                                Ok(()) | Err(_) => thread::yield_now(),
                            }
                        }
                    });
                }
                for _ in 0..round % 7 {
                    drop(consumer.pop());
                    thread::yield_now();
                }
                drop(consumer);
            });
            assert_eq!(live.load(Ordering::Relaxed), 0);
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::model::{Steps, bounded};
    use loom::thread;

    /// Two producers, one of which laps the ring: six times more orders with each preemption.
    const LAP_PREEMPTIONS: usize = 5;
    /// Two producers and a consumer that pops, then goes: ten times more with each.
    const CLOSE_PREEMPTIONS: usize = 4;

    #[test]
    fn loom_queue_two_producers_deliver() {
        loom::model(|| {
            let steps = Arc::new(Steps::new());
            let (producer, consumer) = channel(2);
            let threads = [1_u32, 2].map(|value| {
                let (producer, steps) = (producer.clone(), Arc::clone(&steps));
                thread::spawn(move || {
                    steps.pass();
                    assert!(producer.push(value).is_ok(), "there is room for both");
                })
            });
            steps.pass();
            let mut popped: Vec<u32> = consumer.pop().into_iter().collect();
            threads.into_iter().for_each(|t| t.join().unwrap());
            popped.extend(std::iter::from_fn(|| consumer.pop()));
            popped.sort_unstable();
            assert_eq!(popped, [1, 2]);
        });
    }

    #[test]
    fn loom_queue_delivers_in_order_over_a_lap() {
        bounded(LAP_PREEMPTIONS, || {
            let steps = Arc::new(Steps::new());
            let (producer, consumer) = channel(2);
            let threads = [(10_u32, 2), (20, 1)].map(|(base, count)| {
                let (producer, steps) = (producer.clone(), Arc::clone(&steps));
                thread::spawn(move || {
                    let mut pushed = 0;
                    for value in base..base + count {
                        steps.pass();
                        pushed += u32::from(producer.push(value).is_ok());
                    }
                    pushed
                })
            });
            let mut popped = Vec::new();
            for _ in 0..2 {
                steps.pass();
                popped.extend(consumer.pop());
            }
            let pushed: u32 = threads.into_iter().map(|t| t.join().unwrap()).sum();
            popped.extend(std::iter::from_fn(|| consumer.pop()));
            assert_eq!(popped.len(), pushed as usize);
            assert!(popped.iter().filter(|value| **value < 20).is_sorted());
        });
    }

    /// What is pushed is either taken at the close, in order, or comes back.
    #[test]
    fn loom_queue_close_takes_or_gives_back() {
        bounded(CLOSE_PREEMPTIONS, || {
            let steps = Arc::new(Steps::new());
            let (producer, mut consumer) = channel(2);
            let threads = [10_u32, 20].map(|base| {
                let (producer, steps) = (producer.clone(), Arc::clone(&steps));
                thread::spawn(move || {
                    steps.pass();
                    producer.push(base).map_err(PushError::into_inner).err()
                })
            });
            steps.pass();
            let mut all = Vec::new();
            consumer.close(|value| all.push(value));
            drop(consumer);
            all.extend(threads.into_iter().filter_map(|t| t.join().unwrap()));
            all.sort_unstable();
            assert_eq!(all, [10, 20]);
        });
    }

    /// Counts its drops.
    struct Tracked(Arc<AtomicU64>);

    impl Drop for Tracked {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// One thread for each of `counts`, which pushes as often; the consumer pops once and goes.
    fn close_races(counts: &[u64]) {
        let (drops, steps) = (Arc::new(AtomicU64::new(0)), Arc::new(Steps::new()));
        let (producer, consumer) = channel(2);
        let push = |count: u64| {
            let (producer, drops, steps) = (producer.clone(), drops.clone(), steps.clone());
            thread::spawn(move || {
                for _ in 0..count {
                    steps.pass();
                    drop(producer.push(Tracked(Arc::clone(&drops))));
                }
            })
        };
        let threads: Vec<_> = counts.iter().map(|count| push(*count)).collect();
        steps.pass();
        drop(consumer.pop());
        steps.pass();
        drop(consumer);
        threads.into_iter().for_each(|t| t.join().unwrap());
        // Closed and joined, with a producer still alive: all are dropped already.
        assert_eq!(drops.load(Ordering::Relaxed), counts.iter().sum());
        assert!(producer.is_closed());
    }

    #[test]
    fn loom_queue_close_races_one_producer() {
        loom::model(|| close_races(&[2]));
    }

    #[test]
    fn loom_queue_close_races_pushes() {
        bounded(CLOSE_PREEMPTIONS, || close_races(&[1, 2]));
    }
}
