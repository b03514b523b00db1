//! The reserve of slots for other threads: taken by workers, refilled by the shard.
//!
//! Role: a bounded queue of slot indices with any number of threads at both ends.
//! Not its role: the memory of the slots, and how many slots the reserve should have.
//!
//! The ring is that of [`super::mpsc`], with a second counter that the takers share. An index fits
//! into an atomic, so there is no unsafe code here.
//!
//! Invariants:
//! - F1: an index that went in comes out once, and what its giver did to the slot happens before
//!   what its taker does.
//! - F2: a thread that is preempted between claiming a position and finishing it makes the queue
//!   look empty (a giver) or full (a taker, one lap later) to others until it runs again. Nobody
//!   waits for it: `pop` gives `None`, `push` gives the index back, and the caller goes on.

use super::Padded;
use super::atomic::{AtomicU32, AtomicU64, Ordering};

/// Most indices that a freelist can be built for.
pub(crate) const FREELIST_CAPACITY_MAX: usize = 1 << 24;
/// With one entry, "filled" and "free for the next lap" would be the same number.
const FREELIST_CAPACITY_MIN: usize = 2;

#[derive(Debug)]
struct Entry {
    /// At position p: `p` free, `p + 1` filled, `p + capacity` free for the next lap.
    sequence: AtomicU64,
    index: AtomicU32,
}

/// Lock-free bounded queue of slot indices.
#[derive(Debug)]
pub(crate) struct Freelist {
    tail: Padded<AtomicU64>,
    head: Padded<AtomicU64>,
    entries: Box<[Entry]>,
    mask: u64,
}

impl Freelist {
    /// An empty freelist of `capacity` entries, rounded up to a power of two (at least 2).
    ///
    /// # Panics
    /// When `capacity` exceeds [`FREELIST_CAPACITY_MAX`].
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let limit = FREELIST_CAPACITY_MAX;
        assert!(capacity <= limit, "a freelist holds at most {limit} indices");
        let capacity = capacity.next_power_of_two().max(FREELIST_CAPACITY_MIN) as u64;
        let entries = (0..capacity)
            .map(|position| Entry { sequence: AtomicU64::new(position), index: AtomicU32::new(0) })
            .collect();
        Self {
            tail: Padded(AtomicU64::new(0)),
            head: Padded(AtomicU64::new(0)),
            entries,
            mask: capacity - 1,
        }
    }

    fn entry(&self, position: u64) -> &Entry {
        &self.entries[(position & self.mask) as usize]
    }

    /// Gives a slot into the reserve, or gives the index back when there is no room now (F2).
    pub(crate) fn push(&self, index: u32) -> Result<(), u32> {
        let mut position = self.tail.0.load(Ordering::Relaxed);
        loop {
            let entry = self.entry(position);
            // Acquire: the taker of one lap ago has read the index.
            let sequence = entry.sequence.load(Ordering::Acquire);
            if sequence == position {
                match advance(&self.tail.0, position) {
                    Ok(()) => {
                        entry.index.store(index, Ordering::Relaxed);
                        // Release: F1.
                        entry.sequence.store(position + 1, Ordering::Release);
                        return Ok(());
                    }
                    Err(current) => position = current,
                }
            } else if sequence < position {
                return Err(index);
            } else {
                position = self.tail.0.load(Ordering::Relaxed);
            }
        }
    }

    /// Takes a slot out of the reserve; `None` when there is none now (F2).
    pub(crate) fn pop(&self) -> Option<u32> {
        let mut position = self.head.0.load(Ordering::Relaxed);
        loop {
            let entry = self.entry(position);
            // Acquire: F1.
            let sequence = entry.sequence.load(Ordering::Acquire);
            if sequence == position + 1 {
                match advance(&self.head.0, position) {
                    Ok(()) => {
                        let index = entry.index.load(Ordering::Relaxed);
                        // Release: the giver of the next lap stores after the load above.
                        entry.sequence.store(position + self.mask + 1, Ordering::Release);
                        return Some(index);
                    }
                    Err(current) => position = current,
                }
            } else if sequence <= position {
                return None;
            } else {
                position = self.head.0.load(Ordering::Relaxed);
            }
        }
    }

    #[cfg(test)]
    #[cfg(test)]
    /// About how many slots are in the reserve: exact when no other thread is at work, and good
    /// enough to decide about a refill.
    pub(crate) fn len_hint(&self) -> usize {
        let head = self.head.0.load(Ordering::Relaxed);
        let tail = self.tail.0.load(Ordering::Relaxed);
        (tail.saturating_sub(head) as usize).min(self.entries.len())
    }
}

/// Claims `position`, or says where the counter is. Relaxed: counters hand out positions, the
/// sequences carry the data.
fn advance(counter: &AtomicU64, position: u64) -> Result<(), u64> {
    counter
        .compare_exchange_weak(position, position + 1, Ordering::Relaxed, Ordering::Relaxed)
        .map(|_| ())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;
    use std::thread;

    #[test]
    fn fills_and_empties_over_many_laps() {
        let free = Freelist::with_capacity(3);
        for _ in 0..10 {
            assert_eq!((free.pop(), free.len_hint()), (None, 0));
            for index in 0..4 {
                assert_eq!(free.push(index), Ok(()));
            }
            assert_eq!((free.push(9), free.len_hint()), (Err(9), 4));
            assert!(std::iter::from_fn(|| free.pop()).eq(0..4));
        }
    }

    #[test]
    fn an_index_has_one_owner_at_a_time() {
        const THREADS: usize = 3;
        const SLOTS: u32 = 5;
        let rounds = if cfg!(miri) { 40 } else { 20_000 };
        let free = Freelist::with_capacity(SLOTS as usize);
        (0..SLOTS).for_each(|index| free.push(index).expect("room"));
        let owned: Vec<AtomicBool> = (0..SLOTS).map(|_| AtomicBool::new(false)).collect();
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..rounds {
                        let Some(index) = free.pop() else {
                            thread::yield_now();
                            continue;
                        };
                        let flag = &owned[index as usize];
                        // Relaxed on purpose: the freelist itself has to order these.
                        assert!(!flag.load(Ordering::Relaxed), "slot {index} given out twice");
                        flag.store(true, Ordering::Relaxed);
                        flag.store(false, Ordering::Relaxed);
                        while free.push(index).is_err() {
                            thread::yield_now();
                        }
                    }
                });
            }
        });
        let mut left: Vec<u32> = std::iter::from_fn(|| free.pop()).collect();
        left.sort_unstable();
        assert!(left.into_iter().eq(0..SLOTS));
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::Arc;
    use crate::sync::cell::UnsafeCell;
    use crate::sync::model::Steps;
    use loom::thread;

    /// A reserve and the memory of its slots, which the model checker watches.
    struct Reserve {
        free: Freelist,
        slots: Vec<UnsafeCell<u32>>,
        steps: Steps,
    }

    // SAFETY: in a model only; the checker reports every access that is not ordered.
    unsafe impl Sync for Reserve {}
    // SAFETY: as above.
    unsafe impl Send for Reserve {}

    impl Reserve {
        fn new(slots: u32) -> Arc<Self> {
            Arc::new(Self {
                free: Freelist::with_capacity(slots as usize),
                slots: (0..slots).map(|_| UnsafeCell::new(0)).collect(),
                steps: Steps::new(),
            })
        }

        fn touch(&self, index: u32) {
            // SAFETY: the owner of the index is the only one; the checker proves it.
            self.slots[index as usize].with_mut(|slot| unsafe { *slot += 1 });
        }

        fn take(&self) -> Option<u32> {
            self.steps.pass();
            let index = self.free.pop()?;
            self.touch(index);
            Some(index)
        }

        /// What cannot be given back now is kept: nothing is lost (F2).
        fn give(&self, index: u32) -> Option<u32> {
            self.steps.pass();
            self.touch(index);
            self.free.push(index).err()
        }

        /// All that is left, and what the threads kept, each once.
        fn check(&self, kept: impl IntoIterator<Item = u32>) {
            let mut seen: Vec<u32> = kept.into_iter().collect();
            seen.extend(std::iter::from_fn(|| self.take()));
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..self.slots.len() as u32));
        }
    }

    #[test]
    fn loom_freelist_gives_each_slot_to_one_taker() {
        loom::model(|| {
            let reserve = Reserve::new(2);
            assert_eq!(reserve.give(0), None);
            let takers = [(); 2].map(|()| {
                let reserve = Arc::clone(&reserve);
                thread::spawn(move || reserve.take())
            });
            assert_eq!(reserve.give(1), None);
            reserve.check(takers.into_iter().filter_map(|t| t.join().unwrap()));
        });
    }

    #[test]
    fn loom_freelist_slots_go_round() {
        loom::model(|| {
            let reserve = Reserve::new(2);
            (0..2).for_each(|index| assert_eq!(reserve.give(index), None));
            let worker = {
                let reserve = Arc::clone(&reserve);
                thread::spawn(move || reserve.take().and_then(|index| reserve.give(index)))
            };
            let kept = reserve.take().and_then(|index| reserve.give(index));
            reserve.check(worker.join().unwrap().into_iter().chain(kept));
        });
    }

    #[test]
    fn loom_freelist_two_givers() {
        loom::model(|| {
            let reserve = Reserve::new(3);
            assert_eq!(reserve.give(0), None);
            let giver = {
                let reserve = Arc::clone(&reserve);
                thread::spawn(move || reserve.give(1))
            };
            let kept = reserve.give(2);
            let taken = reserve.take();
            assert_eq!((giver.join().unwrap(), kept), (None, None));
            reserve.check(taken);
        });
    }
}
