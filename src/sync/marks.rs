//! A set of indices that any thread adds to and the shard takes out: what is to be looked at.
//!
//! Role: [`Marks::mark`] after something was changed that the shard has to see; the shard takes all
//! marks once a tick, and looks. Not its role: waking the shard (see [`super::gate`]).
//!
//! Invariants:
//! - M1: an index is on the stack at most once, however often it is marked: `is_marked` is set by
//!   whoever pushes it, and cleared by the taker before it looks.
//! - M2: a change that came before a mark is seen by the look that follows taking it, or by a later
//!   one: both sides exchange `is_marked`, so one of them sees the other.

use super::atomic::{AtomicBool, Ordering};
use super::returns::ReturnStack;

/// The set of marked indices of `0..capacity`.
#[derive(Debug)]
pub(crate) struct Marks {
    stack: ReturnStack,
    is_marked: Box<[AtomicBool]>,
}

impl Marks {
    /// An empty set. `capacity` is bounded as that of a [`ReturnStack`].
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let is_marked = (0..capacity).map(|_| AtomicBool::new(false)).collect();
        Self { stack: ReturnStack::with_capacity(capacity), is_marked }
    }

    /// Adds `index`.
    pub(crate) fn mark(&self, index: u32) {
        // Release: M2, what is to be seen. Acquire: M1, the taker is done with the link.
        if !self.is_marked[index as usize].swap(true, Ordering::AcqRel) {
            self.stack.push(index);
        }
    }

    /// Takes all that are there now.
    pub(crate) fn take_all(&self) -> impl Iterator<Item = u32> + '_ {
        self.stack.take_all().inspect(|index| {
            // Acquire: M2. Release: M1.
            self.is_marked[*index as usize].swap(false, Ordering::AcqRel);
        })
    }

    /// True when there is nothing to take; costs one load.
    pub(crate) fn is_empty(&self) -> bool {
        self.stack.is_empty()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_taken_once() {
        let marks = Marks::with_capacity(4);
        assert!(marks.is_empty());
        for _ in 0..3 {
            for index in [2, 0, 2, 2, 0] {
                marks.mark(index);
            }
            assert!(!marks.is_empty());
            assert!(marks.take_all().eq([0, 2]));
            assert!(marks.is_empty());
        }
    }

    #[test]
    fn it_can_be_marked_again_while_it_is_looked_at() {
        let marks = Marks::with_capacity(2);
        marks.mark(1);
        assert_eq!(marks.take_all().inspect(|index| marks.mark(*index)).count(), 1);
        assert!(marks.take_all().eq([1]));
        marks.mark(0);
        marks.mark(1);
        assert_eq!(marks.take_all().next(), Some(1));
        marks.mark(0);
        assert!(marks.take_all().eq([0]), "what was not taken is still there, once");
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::Arc;
    use crate::sync::atomic::AtomicU32;
    use crate::sync::model::Steps;
    use loom::thread;

    /// Each thread changes something, then marks it; the shard sees all changes, by the marks.
    fn no_change_is_missed(threads: &'static [&'static [u32]]) {
        loom::model(move || {
            let marks = Arc::new(Marks::with_capacity(2));
            let changes = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
            let steps = Arc::new(Steps::new());
            let look = |seen: &mut [u32; 2]| {
                for index in marks.take_all() {
                    steps.pass();
                    seen[index as usize] = changes[index as usize].load(Ordering::Relaxed);
                }
            };
            let markers: Vec<_> = threads
                .iter()
                .map(|indices| {
                    let (marks, changes, steps) = (marks.clone(), changes.clone(), steps.clone());
                    thread::spawn(move || {
                        for index in *indices {
                            changes[*index as usize].fetch_add(1, Ordering::Relaxed);
                            steps.pass();
                            marks.mark(*index);
                        }
                    })
                })
                .collect();
            let mut seen = [0; 2];
            steps.pass();
            look(&mut seen);
            markers.into_iter().for_each(|marker| marker.join().unwrap());
            // The threads are done: what they did is visible by that, but not marked twice.
            look(&mut seen);
            let all = threads.iter().flat_map(|indices| indices.iter());
            for index in [0, 1] {
                assert_eq!(
                    seen[index as usize] as usize,
                    all.clone().filter(|i| **i == index).count()
                );
            }
        });
    }

    #[test]
    fn loom_marks_of_one_thread() {
        no_change_is_missed(&[&[0, 1, 0]]);
    }

    #[test]
    fn loom_marks_of_two_threads() {
        no_change_is_missed(&[&[0], &[0]]);
    }
}
