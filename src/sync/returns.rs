//! Stack of slot indices on their way home: dropped on any thread, collected by the shard.
//!
//! Role: [`ReturnStack::push`] from the thread that let go of a slot last; the shard takes
//! everything at once, once a tick.
//! Not its role: counting references (see [`super::refcount`]), and the memory of the slots.
//!
//! ```text
//! head -> 7 -> 2 -> 5 -> EMPTY        next[7] = 2, next[2] = 5, next[5] = EMPTY
//! ```
//!
//! Invariants:
//! - R1: an index is pushed at most once until it is taken: it has one owner, who lets go once.
//!   Its `next` is OUTSIDE while it is not on the stack.
//! - R2: nothing but the whole stack is ever taken, so a head that was read and then compared can
//!   only be the top of the stack at that moment: reuse of an index in between does no harm.
//! - R3: what a thread did to a slot before its push happens before what the taker does to it:
//!   each push is a release step, and later pushes carry it on to the taker's acquire.

use super::Padded;
use super::atomic::{AtomicU32, Ordering};

const EMPTY: u32 = u32::MAX;
const OUTSIDE: u32 = u32::MAX - 1;
/// Most indices that a stack can be built for: the numbers above have a meaning of their own.
pub(crate) const RETURNS_MAX: usize = OUTSIDE as usize;

/// Lock-free stack of the indices `0..capacity`.
#[derive(Debug)]
pub(crate) struct ReturnStack {
    head: Padded<AtomicU32>,
    next: Box<[AtomicU32]>,
}

impl ReturnStack {
    /// An empty stack for the indices `0..capacity`.
    ///
    /// # Panics
    /// When `capacity` exceeds [`RETURNS_MAX`].
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        assert!(capacity <= RETURNS_MAX, "a return stack holds at most {RETURNS_MAX} indices");
        let next = (0..capacity).map(|_| AtomicU32::new(OUTSIDE)).collect();
        Self { head: Padded(AtomicU32::new(EMPTY)), next }
    }

    /// Puts `index` on the stack. Any thread; the caller owns what the index stands for (R1) and
    /// gives it away with this call.
    ///
    /// # Panics
    /// When `index` is not below the capacity, and in debug builds when R1 is broken.
    pub(crate) fn push(&self, index: u32) {
        let link = &self.next[index as usize];
        debug_assert_eq!(link.load(Ordering::Relaxed), OUTSIDE, "slot {index} returned twice");
        let mut head = self.head.0.load(Ordering::Relaxed);
        loop {
            link.store(head, Ordering::Relaxed);
            // Release: R3, and the link above is seen by the taker.
            match self.head.0.compare_exchange_weak(
                head,
                index,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(current) => head = current,
            }
        }
    }

    /// Takes everything that is on the stack now, the last pushed first. What the iterator has
    /// not given out when it is dropped goes back on the stack.
    pub(crate) fn take_all(&self) -> Taken<'_> {
        // The load spares an idle tick the exchange.
        if self.is_empty() {
            return Taken { stack: self, head: EMPTY };
        }
        // Acquire: R3.
        Taken { stack: self, head: self.head.0.swap(EMPTY, Ordering::Acquire) }
    }

    /// True when there is nothing to take; costs one load.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.0.load(Ordering::Relaxed) == EMPTY
    }
}

/// Indices taken from a [`ReturnStack`].
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    stack: &'a ReturnStack,
    head: u32,
}

impl Iterator for Taken<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let index = self.head;
        if index == EMPTY {
            return None;
        }
        // Before the index is given out: from then on its link belongs to its next push.
        let link = &self.stack.next[index as usize];
        self.head = link.load(Ordering::Relaxed);
        link.store(OUTSIDE, Ordering::Relaxed);
        Some(index)
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        while let Some(index) = self.next() {
            self.stack.push(index);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn last_in_first_out_and_reusable() {
        let stack = ReturnStack::with_capacity(4);
        assert!(stack.is_empty());
        assert_eq!(stack.take_all().count(), 0);
        for _ in 0..3 {
            for index in [2, 0, 3] {
                stack.push(index);
            }
            assert!(!stack.is_empty());
            assert!(stack.take_all().eq([3, 0, 2]));
            assert!(stack.is_empty());
        }
    }

    #[test]
    fn an_iterator_dropped_early_loses_nothing() {
        let stack = ReturnStack::with_capacity(4);
        (0..4).for_each(|index| stack.push(index));
        assert_eq!(stack.take_all().next(), Some(3));
        let mut left: Vec<u32> = stack.take_all().collect();
        left.sort_unstable();
        assert_eq!(left, [0, 1, 2]);
    }

    #[test]
    fn an_index_can_be_pushed_again_while_the_rest_is_walked() {
        let stack = ReturnStack::with_capacity(3);
        (0..3).for_each(|index| stack.push(index));
        let mut taken = stack.take_all();
        assert_eq!(taken.next(), Some(2));
        stack.push(2);
        assert!(taken.eq([1, 0]));
        assert!(stack.take_all().eq([2]));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "returned twice")]
    fn a_second_return_is_noticed() {
        let stack = ReturnStack::with_capacity(2);
        stack.push(1);
        stack.push(1);
    }

    #[test]
    fn threads_return_everything() {
        const THREADS: u32 = 3;
        let rounds = if cfg!(miri) { 5 } else { 2_000 };
        let each = 8;
        let stack = ReturnStack::with_capacity((THREADS * each) as usize);
        for _ in 0..rounds / THREADS {
            let mut seen = vec![0; (THREADS * each) as usize];
            thread::scope(|scope| {
                for id in 0..THREADS {
                    let stack = &stack;
                    scope.spawn(move || (0..each).for_each(|n| stack.push(id * each + n)));
                }
                let mut left = THREADS * each;
                while left > 0 {
                    for index in stack.take_all() {
                        seen[index as usize] += 1;
                        left -= 1;
                    }
                    thread::yield_now();
                }
            });
            assert!(seen.iter().all(|times| *times == 1), "{seen:?}");
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::Arc;
    use crate::sync::cell::UnsafeCell;
    use crate::sync::model::{Steps, bounded};
    use loom::thread;

    /// Two givers of three slots, and a shard that looks three times.
    const TWO_GIVERS_PREEMPTIONS: usize = 6;

    /// Slots whose memory the model checker watches: two accesses that nothing orders fail.
    struct Pool {
        returns: ReturnStack,
        slots: Vec<UnsafeCell<u32>>,
        steps: Steps,
    }

    // SAFETY: in a model only; the checker reports every access that is not ordered.
    unsafe impl Sync for Pool {}
    // SAFETY: as above.
    unsafe impl Send for Pool {}

    impl Pool {
        fn new(slots: u32) -> Arc<Self> {
            Arc::new(Self {
                returns: ReturnStack::with_capacity(slots as usize),
                slots: (0..slots).map(|_| UnsafeCell::new(0)).collect(),
                steps: Steps::new(),
            })
        }

        fn touch(&self, index: u32) -> u32 {
            self.slots[index as usize].with_mut(|slot| {
                // SAFETY: the owner of the index is the only one; the checker proves it.
                unsafe {
                    *slot += 1;
                    *slot
                }
            })
        }

        fn give(&self, index: u32) {
            self.steps.pass();
            self.touch(index);
            self.returns.push(index);
        }

        fn collect(&self) -> Vec<(u32, u32)> {
            self.steps.pass();
            self.returns.take_all().map(|index| (index, self.touch(index))).collect()
        }
    }

    #[test]
    fn loom_returns_of_two_threads() {
        loom::model(|| {
            let pool = Pool::new(2);
            let threads = [0, 1].map(|index| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || pool.give(index))
            });
            let mut uses = pool.collect();
            threads.into_iter().for_each(|t| t.join().unwrap());
            uses.extend(pool.collect());
            uses.sort_unstable();
            assert_eq!(uses, [(0, 2), (1, 2)]);
        });
    }

    #[test]
    fn loom_returns_hand_each_slot_over_once() {
        bounded(TWO_GIVERS_PREEMPTIONS, || {
            let pool = Pool::new(3);
            let threads = [vec![0, 1], vec![2]].map(|indices| {
                let pool = Arc::clone(&pool);
                thread::spawn(move || indices.into_iter().for_each(|index| pool.give(index)))
            });
            let mut uses = pool.collect();
            uses.extend(pool.collect());
            threads.into_iter().for_each(|t| t.join().unwrap());
            uses.extend(pool.collect());
            uses.sort_unstable();
            // Each slot was used by its thread, then once by the shard.
            assert_eq!(uses, [(0, 2), (1, 2), (2, 2)]);
        });
    }

    #[test]
    fn loom_returns_survive_reuse_while_others_push() {
        loom::model(|| {
            let pool = Pool::new(2);
            let other = {
                let pool = Arc::clone(&pool);
                thread::spawn(move || pool.give(1))
            };
            // Slot 0 goes round twice: the other's compare may meet the same head again.
            let mut taken = 0;
            for _ in 0..2 {
                pool.give(0);
                taken += pool.collect().len();
            }
            other.join().unwrap();
            taken += pool.collect().len();
            assert_eq!(taken, 3);
        });
    }

    #[test]
    fn loom_returns_put_back_what_was_not_wanted() {
        loom::model(|| {
            let pool = Pool::new(3);
            pool.give(0);
            pool.give(1);
            let other = {
                let pool = Arc::clone(&pool);
                thread::spawn(move || pool.give(2))
            };
            pool.steps.pass();
            let first = pool.returns.take_all().next();
            other.join().unwrap();
            let mut indices: Vec<u32> = pool.collect().iter().map(|(index, _)| *index).collect();
            indices.extend(first);
            indices.sort_unstable();
            assert_eq!(indices, [0, 1, 2]);
        });
    }
}
