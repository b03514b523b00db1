//! Words that one thread posts up and any thread reads, all of one posting.
//!
//! Role: [`Board::post`] by its one writer, [`Board::read`] by anybody; a reader gets what was
//! posted together. Not its role: what the words mean.
//!
//! Two copies, written in turn, and the number of postings, which says which of them is the last:
//!
//! ```text
//! postings = n     copy n % 2 may be read; copy (n + 1) % 2 is written next
//! ```
//!
//! Invariants:
//! - B1: a reader that finds the same number before and after has read one posting: the copy that
//!   it read is written again only after the number has grown.
//! - B2: nobody waits: a reader repeats only when something was posted meanwhile, and a writer that
//!   is interrupted keeps nobody from reading the posting before.

use super::atomic::{AtomicU64, Ordering, fence};

/// `N` words, written by one thread.
#[derive(Debug)]
pub(crate) struct Board<const N: usize> {
    postings: AtomicU64,
    copies: [[AtomicU64; N]; 2],
}

impl<const N: usize> Default for Board<N> {
    fn default() -> Self {
        let copy = || std::array::from_fn(|_| AtomicU64::new(0));
        Self { postings: AtomicU64::new(0), copies: [copy(), copy()] }
    }
}

impl<const N: usize> Board<N> {
    fn copy(&self, postings: u64) -> &[AtomicU64; N] {
        let [even, odd] = &self.copies;
        if postings.is_multiple_of(2) { even } else { odd }
    }

    /// The one writer: posts all words.
    pub(crate) fn post(&self, words: &[u64; N]) {
        let next = self.postings.load(Ordering::Relaxed) + 1;
        // B1: whoever reads a word from below sees the number that made this copy the older one.
        fence(Ordering::Release);
        for (place, word) in self.copy(next).iter().zip(words) {
            place.store(*word, Ordering::Relaxed);
        }
        // Release: whoever sees the number sees the words.
        self.postings.store(next, Ordering::Release);
    }

    /// What was posted last; zeros before the first time.
    pub(crate) fn read(&self) -> [u64; N] {
        loop {
            let before = self.postings.load(Ordering::Acquire);
            let copy = self.copy(before);
            let words = std::array::from_fn(|at| copy[at].load(Ordering::Relaxed));
            // B1: pairs with the fence in `post`.
            fence(Ordering::Acquire);
            if self.postings.load(Ordering::Relaxed) == before {
                return words;
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn the_last_posting_is_read() {
        let board = Board::<3>::default();
        assert_eq!(board.read(), [0; 3]);
        for round in 1..5 {
            board.post(&[round, round * 10, round * 100]);
            assert_eq!(board.read(), [round, round * 10, round * 100]);
        }
    }

    #[test]
    fn readers_see_whole_postings_that_only_grow() {
        let rounds = if cfg!(miri) { 100 } else { 200_000 };
        let board = Board::<8>::default();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while last < rounds {
                        let words = board.read();
                        assert_eq!(words, [words[0]; 8]);
                        assert!(words[0] >= last);
                        last = words[0];
                    }
                });
            }
            (1..=rounds).for_each(|round| board.post(&[round; 8]));
        });
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::Arc;
    use crate::sync::model::bounded;
    use loom::thread;

    /// A writer that posts `postings` times, and a reader that reads twice.
    fn whole_and_growing(postings: u64) {
        let board = Arc::new(Board::<2>::default());
        let writer = {
            let board = Arc::clone(&board);
            thread::spawn(move || (1..=postings).for_each(|n| board.post(&[n, n])))
        };
        let mut last = 0;
        for _ in 0..2 {
            let [one, other] = board.read();
            assert_eq!(one, other, "torn");
            assert!(one >= last, "it went back");
            last = one;
        }
        writer.join().unwrap();
        assert_eq!(board.read(), [postings; 2]);
    }

    #[test]
    fn loom_board_is_read_whole() {
        loom::model(|| whole_and_growing(2));
    }

    #[test]
    fn loom_board_is_read_whole_while_both_copies_are_written() {
        bounded(3, || whole_and_growing(3));
    }
}
