//! How much of a bounded store each of its users has: nobody may have more than is left for others.
//!
//! Role: [`Shares::take`] by any thread before it puts something in, [`Shares::give`] by the shard
//! when that is out again. Not its role: the store.
//!
//! One who keeps what he has gets half of the store, a second one half of the rest, and so on: a
//! few of them leave something for everybody else.
//!
//! Invariants:
//! - S1: no more than `capacity` places are taken at a time: each that is was counted in `taken`
//!   before its taker looked, and until it is given back.
//! - S2: a take that fails changes nothing, but that others may fail meanwhile who came at the same
//!   time.

use super::Padded;
use super::atomic::{AtomicU32, Ordering};

/// Counts of what is taken: of all, and of each user of `0..users`.
#[derive(Debug)]
pub(crate) struct Shares {
    taken: Padded<AtomicU32>,
    of: Box<[AtomicU32]>,
    capacity: u32,
}

impl Shares {
    pub(crate) fn new(capacity: usize, users: usize) -> Self {
        let of = (0..users).map(|_| AtomicU32::new(0)).collect();
        Self { taken: Padded(AtomicU32::new(0)), of, capacity: capacity as u32 }
    }

    /// Takes a place for `user`; false when he has as many as are left, or none is. A user beyond
    /// the count has no share to be kept to.
    pub(crate) fn take(&self, user: usize) -> bool {
        // Acquire, both: what a place that was given back held is seen to be out of the store (S1).
        let taken = self.taken.0.fetch_add(1, Ordering::Acquire);
        let left = self.capacity.saturating_sub(taken);
        let own = self.of.get(user).map_or(0, |of| of.fetch_add(1, Ordering::Acquire));
        if own < left {
            return true;
        }
        self.give(user);
        false
    }

    /// Gives a place of his back.
    pub(crate) fn give(&self, user: usize) {
        // Release, both: pairs with the acquire of who takes the place next.
        if let Some(of) = self.of.get(user) {
            of.fetch_sub(1, Ordering::Release);
        }
        self.taken.0.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_more_than_is_left() {
        let shares = Shares::new(8, 3);
        let take_all =
            |user| std::iter::repeat_with(|| shares.take(user)).take_while(|t| *t).count();
        assert_eq!([0, 1, 2].map(take_all), [4, 2, 1]);
        assert_eq!(take_all(9), 1, "whose share nobody counts gets what is left");
        assert!(!shares.take(2) && !shares.take(9), "none is left");
        (0..4).for_each(|_| shares.give(0));
        assert_eq!(take_all(0), 2, "what was given back is halved again");
        assert_eq!(take_all(1), 0);
    }

    #[test]
    fn the_least_store_takes_one_of_each() {
        let shares = Shares::new(2, 2);
        assert!(shares.take(0) && !shares.take(0));
        assert!(shares.take(1) && !shares.take(1) && !shares.take(0));
        shares.give(0);
        assert!(shares.take(0));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::Arc;
    use crate::sync::model::{Steps, bounded};
    use crate::sync::mpsc::channel;
    use loom::thread;

    /// Threads that take a place, push, and a shard that pops and gives it back: in the end all is
    /// given back.
    fn places_come_back(threads: usize, each: usize) {
        let shares = Arc::new((Shares::new(2, 1), Steps::new()));
        let (producer, consumer) = channel(2);
        let threads: Vec<_> = (0..threads)
            .map(|user| {
                let (shares, producer) = (Arc::clone(&shares), producer.clone());
                thread::spawn(move || {
                    let (shares, steps) = &*shares;
                    let mut pushed = 0;
                    for _ in 0..each {
                        steps.pass();
                        if shares.take(user) {
                            // The queue may look full for a moment after a pop: as in a handle.
                            match producer.push(user) {
                                Ok(()) => pushed += 1,
                                Err(_) => shares.give(user),
                            }
                        }
                    }
                    pushed
                })
            })
            .collect();
        let (shares, steps) = &*shares;
        let mut popped = 0;
        let mut pop = || {
            steps.pass();
            while let Some(user) = consumer.pop() {
                shares.give(user);
                popped += 1;
            }
        };
        pop();
        let pushed: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        pop();
        assert_eq!(popped, pushed);
        assert!(shares.take(0) && !shares.take(0), "all were given back");
    }

    #[test]
    fn loom_shares_of_one_thread() {
        loom::model(|| places_come_back(1, 2));
    }

    #[test]
    fn loom_shares_of_two_threads() {
        bounded(3, || places_come_back(2, 2));
    }
}
