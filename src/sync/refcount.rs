//! Reference counts of detached slots.
//!
//! Role: one counter per slot, touched only while the slot is held outside of its shard; says who
//! was last, and makes everything that the holders did visible to that one.
//! Not its role: the shard's own holds (plain counters), and bringing the slot home (see
//! [`super::returns`]).
//!
//! Invariants:
//! - C1: only a holder clones or releases, so a count that is 1 stays 1 for its holder to see, and
//!   one that is 0 belongs to the shard.
//! - C2: each release is a release step, and the last one acquires all before it: the slot's
//!   next use happens after every use by a holder.
//! - C3: a count never passes [`REFS_MAX`]: beyond it a clone is refused, so it cannot wrap around.

use super::atomic::{AtomicU32, Ordering, fence};

/// Most holders of one slot. Half of the counter's range: the other half is room for clones that
/// count first and are refused after, one per thread at a time.
pub(crate) const REFS_MAX: u32 = u32::MAX / 2;

/// Counters for the slots `0..capacity`.
#[derive(Debug)]
pub(crate) struct RefCounts {
    counts: Box<[AtomicU32]>,
}

impl RefCounts {
    /// `capacity` counters, all without holders.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { counts: (0..capacity).map(|_| AtomicU32::new(0)).collect() }
    }

    /// The shard hands the slot to its first holder.
    ///
    /// # Panics
    /// When `index` is not below the capacity, and in debug builds when the slot has holders.
    pub(crate) fn acquire_first(&self, index: u32) {
        let count = &self.counts[index as usize];
        debug_assert_eq!(count.load(Ordering::Relaxed), 0, "slot {index} is held already");
        // Relaxed: no other thread knows of this hold before it receives the slot.
        count.store(1, Ordering::Relaxed);
    }

    /// A holder makes a second one. False, and nothing changes, at [`REFS_MAX`] holders.
    #[must_use]
    pub(crate) fn clone_ref(&self, index: u32) -> bool {
        let count = &self.counts[index as usize];
        // Relaxed: the caller holds the slot already, and passes it on by its own means.
        let before = count.fetch_add(1, Ordering::Relaxed);
        debug_assert!(before > 0, "slot {index} cloned without a holder");
        if before >= REFS_MAX {
            count.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        true
    }

    /// The shard, which is no holder, makes one more holder of a slot that has some. False when
    /// the last holder has just let go: the slot is on its way home.
    #[must_use]
    pub(crate) fn try_clone(&self, index: u32) -> bool {
        let count = &self.counts[index as usize];
        let mut before = count.load(Ordering::Relaxed);
        while before > 0 && before < REFS_MAX {
            // Relaxed: the slot's bytes were written by the shard itself, before it was first
            // handed out.
            match count.compare_exchange_weak(
                before,
                before + 1,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(now) => before = now,
            }
        }
        false
    }

    /// A holder lets go. True for the last one, who now owns the slot and must return it.
    #[must_use]
    pub(crate) fn release(&self, index: u32) -> bool {
        // Release: C2, what this holder did comes before the last holder's fence.
        let before = self.counts[index as usize].fetch_sub(1, Ordering::Release);
        debug_assert!(before > 0, "slot {index} released without a holder");
        if before != 1 {
            return false;
        }
        fence(Ordering::Acquire);
        true
    }

    #[cfg(test)]
    /// Holders at this moment; other holders may change it at once.
    pub(crate) fn count(&self, index: u32) -> u32 {
        self.counts[index as usize].load(Ordering::Relaxed)
    }

    /// Asked by a holder: true when it is the only one, which then stays so (C1), and all that
    /// former holders did is visible, so that the slot may be written.
    pub(crate) fn is_unique(&self, index: u32) -> bool {
        // Acquire: C2, pairs with the releases of former holders.
        self.counts[index as usize].load(Ordering::Acquire) == 1
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn the_last_release_is_the_one() {
        let refs = RefCounts::with_capacity(2);
        assert_eq!(refs.count(1), 0);
        refs.acquire_first(1);
        assert!(refs.is_unique(1));
        assert!(refs.clone_ref(1));
        assert!(!refs.is_unique(1));
        assert_eq!((refs.count(0), refs.count(1)), (0, 2));
        assert!(!refs.release(1));
        assert!(refs.is_unique(1));
        assert!(refs.release(1));
        assert_eq!(refs.count(1), 0);
    }

    #[test]
    fn a_full_count_refuses_and_stays() {
        let refs = RefCounts::with_capacity(1);
        refs.acquire_first(0);
        refs.counts[0].store(REFS_MAX - 1, Ordering::Relaxed);
        assert!(refs.clone_ref(0));
        assert!(!refs.clone_ref(0));
        assert_eq!(refs.count(0), REFS_MAX);
    }

    #[test]
    fn threads_agree_on_who_was_last() {
        const THREADS: u32 = 3;
        let rounds = if cfg!(miri) { 3 } else { 500 };
        let refs = RefCounts::with_capacity(1);
        for _ in 0..rounds {
            refs.acquire_first(0);
            for _ in 1..THREADS {
                assert!(refs.clone_ref(0));
            }
            let lasts: u32 = thread::scope(|scope| {
                let threads: Vec<_> = (0..THREADS)
                    .map(|_| {
                        scope.spawn(|| {
                            let extra = refs.clone_ref(0) && refs.release(0);
                            assert!(!extra, "its own hold is still there");
                            u32::from(refs.release(0))
                        })
                    })
                    .collect();
                threads.into_iter().map(|t| t.join().expect("no panic")).sum()
            });
            assert_eq!((lasts, refs.count(0)), (1, 0));
        }
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::Arc;
    use crate::sync::cell::UnsafeCell;
    use loom::thread;

    /// One slot whose memory the model checker watches: holders read it, its owner writes it.
    struct Slot {
        refs: RefCounts,
        memory: UnsafeCell<u32>,
    }

    // SAFETY: in a model only; the checker reports every access that is not ordered.
    unsafe impl Sync for Slot {}
    // SAFETY: as above.
    unsafe impl Send for Slot {}

    impl Slot {
        fn held() -> Arc<Self> {
            let slot = Self { refs: RefCounts::with_capacity(1), memory: UnsafeCell::new(0) };
            slot.refs.acquire_first(0);
            Arc::new(slot)
        }

        fn read(&self) -> u32 {
            // SAFETY: the caller is a holder; the checker proves that nobody writes.
            self.memory.with(|memory| unsafe { *memory })
        }

        fn write(&self, value: u32) {
            // SAFETY: the caller is the owner; the checker proves that nobody reads.
            self.memory.with_mut(|memory| unsafe { *memory = value });
        }

        /// Reads, lets go, and reuses the memory when it was the last.
        fn finish(&self) -> u32 {
            assert_eq!(self.read(), 0);
            let last = self.refs.release(0);
            if last {
                self.write(1);
            }
            u32::from(last)
        }
    }

    #[test]
    fn loom_refcount_last_release_owns_the_slot() {
        loom::model(|| {
            let slot = Slot::held();
            assert!(slot.refs.clone_ref(0) && slot.refs.clone_ref(0));
            let threads = [(); 2].map(|()| {
                let slot = Arc::clone(&slot);
                thread::spawn(move || slot.finish())
            });
            let lasts = slot.finish();
            let lasts: u32 = lasts + threads.map(|t| t.join().unwrap()).iter().sum::<u32>();
            assert_eq!(lasts, 1);
            assert_eq!(slot.read(), 1);
        });
    }

    #[test]
    fn loom_refcount_clones_keep_the_slot() {
        loom::model(|| {
            let slot = Slot::held();
            assert!(slot.refs.clone_ref(0));
            let other = {
                let slot = Arc::clone(&slot);
                thread::spawn(move || {
                    assert!(slot.refs.clone_ref(0));
                    slot.finish() + slot.finish()
                })
            };
            let lasts = slot.finish() + other.join().unwrap();
            assert_eq!(lasts, 1);
        });
    }

    #[test]
    fn loom_refcount_unique_holder_may_write() {
        loom::model(|| {
            let slot = Slot::held();
            assert!(slot.refs.clone_ref(0));
            let other = {
                let slot = Arc::clone(&slot);
                thread::spawn(move || {
                    slot.read();
                    assert!(!slot.refs.release(0) || slot.refs.count(0) == 0);
                })
            };
            if slot.refs.is_unique(0) {
                slot.write(7);
                assert_eq!(slot.read(), 7);
            }
            let _last = slot.refs.release(0);
            other.join().unwrap();
            assert_eq!(slot.refs.count(0), 0);
        });
    }
}
