//! What crosses threads: the one place that chooses between `std` and the model checker's doubles,
//! and the lock-free pieces built on it.
//!
//! Role: a shard belongs to one thread; everything that another thread does to it goes through a
//! piece of this folder. [`mpsc`] carries commands in, [`gate`] wakes the shard when it sleeps,
//! [`freelist`] lends slots out, [`refcount`] counts who still reads a lent slot, and [`returns`]
//! brings it home. [`spsc`] carries the body of an upload out, and [`marks`] says which of them the
//! shard has to look at. [`board`] shows a shard's counters to whoever asks, and [`shares`] keep
//! one connection's commands from taking all of the room.
//! Not its role: file descriptors (the caller of the gate writes the eventfd) and the memory of
//! the slots (these pieces move indices, never pointers).
//!
//! Invariants: nothing is allocated after construction; no call waits for another thread, it only
//! repeats an atomic step that another thread's progress defeated. Every piece has loom models in
//! its own file (`cargo xtask loom`): small ones, of which every order is tried, and larger ones
//! within a bound of preemptions that each states.

pub(crate) mod board;
pub(crate) mod freelist;
pub(crate) mod gate;
pub(crate) mod marks;
pub(crate) mod mpsc;
pub(crate) mod refcount;
pub(crate) mod returns;
pub(crate) mod shares;
pub(crate) mod spsc;

#[cfg(loom)]
pub(crate) use loom::sync::Arc;
#[cfg(not(loom))]
pub(crate) use std::sync::Arc;

/// Atomics of `std`, or their doubles.
#[cfg(loom)]
pub(crate) mod atomic {
    pub(crate) use loom::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence,
    };
}

/// Atomics of `std`, or their doubles.
#[cfg(not(loom))]
pub(crate) mod atomic {
    pub(crate) use std::sync::atomic::{
        AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence,
    };
}

/// Interior mutability without a lock; accesses are closures so that a double can watch them.
#[cfg(loom)]
pub(crate) mod cell {
    pub(crate) use loom::cell::UnsafeCell;
}

/// Interior mutability without a lock; accesses are closures so that a double can watch them.
#[cfg(not(loom))]
pub(crate) mod cell {
    /// `std`'s cell with the interface of the double.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// Calls `access` with the address, for writing.
        pub(crate) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
            access(self.0.get())
        }
    }
}

/// A value on cache lines of its own: writers of a neighbour do not slow its readers. 128 bytes,
/// because x86-64 fetches lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// What the models need besides the doubles.
#[cfg(all(test, loom))]
pub(crate) mod model {
    use super::atomic::{AtomicU32, Ordering};

    /// A place that every thread of a model passes before each of its operations.
    ///
    /// To find the orders worth trying, the checker remembers only the last access to each atomic:
    /// a thread that reads a location before it writes there hides the race of its write with
    /// another thread's earlier read. Read-modify-writes of one location all depend on each
    /// other, so orders are tried at each pass; being relaxed, they order nothing else.
    pub(crate) struct Steps(AtomicU32);

    impl Steps {
        pub(crate) fn new() -> Self {
            Self(AtomicU32::new(0))
        }

        pub(crate) fn pass(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Explores every order of `model` with at most `preemptions` preemptions: threads that are
    /// interrupted where they could go on. Waiting and ending are none.
    ///
    /// For models that have too many orders to try all of them: the orders grow with the power of
    /// the preemptions, and what goes wrong between a few threads nearly always goes wrong with
    /// two or three. Each such model has a smaller one beside it that is tried without a bound. The
    /// quick form of the lane may bound it further.
    pub(crate) fn bounded(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        let asked = builder.preemption_bound.unwrap_or(preemptions);
        builder.preemption_bound = Some(asked.min(preemptions));
        builder.check(model);
    }
}
