//! [`Ferry`]: datagrams from any thread to one shard, each copied once, into memory of the shard's.
//!
//! ```text
//! free ── send: a cell is filled ──▶ queue ── take ──▶ out, while QUIC keeps slices of it ──▶ free
//! ```
//!
//! Role: a bounded number of cells, and the queue of those that are filled. Not role: what is in
//! them, and waking whoever is to take it.
//!
//! *Invariants*
//! - A cell is one thread's at a time: of whoever took its number from the free ones or from the
//!   queue, until it puts it into the other.
//! - Nothing is allocated once it is made, unless more than three of four cells are out: then who
//!   takes a datagram gets a copy of its own, so that connections that keep what they got do not
//!   stop what is sent to others.

use std::collections::VecDeque;

use bytes::BytesMut;

use crate::sync::Arc;
use crate::sync::cell::UnsafeCell;
use crate::sync::freelist::Freelist;
use crate::sync::mpsc::{Consumer, Producer, channel};

/// Cells that are looked at each time when some are out.
const LOOKS: usize = 256;

/// Why a datagram was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It is longer than a cell.
    TooLong,
    /// No cell is free.
    Full,
    /// The shard is gone.
    Closed,
}

struct Cells {
    cells: Box<[UnsafeCell<BytesMut>]>,
    free: Freelist,
    cell_len: usize,
}

// SAFETY: by the first invariant a cell is accessed by one thread at a time, and the free list and
// the queue order what one thread did to it before what the next one does (F1, Q1).
unsafe impl Sync for Cells {}

impl Cells {
    fn new(count: usize, cell_len: usize) -> Self {
        let make = |_| {
            let mut cell = BytesMut::with_capacity(cell_len);
            // The count of what refers to it is allocated when it is first cut.
            drop(cell.split());
            UnsafeCell::new(cell)
        };
        let free = Freelist::with_capacity(count);
        for index in 0..count as u32 {
            // It has room for all of them.
            let _ = free.push(index);
        }
        Self { cells: (0..count).map(make).collect(), free, cell_len }
    }

    /// # Safety
    /// The caller took the number from the free ones or from the queue, and has not put it back.
    unsafe fn with<R>(&self, index: u32, access: impl FnOnce(&mut BytesMut) -> R) -> R {
        self.cells[index as usize].with_mut(|cell| {
            // SAFETY: the caller alone accesses it, and `access` ends before the next access.
            access(unsafe { &mut *cell })
        })
    }
}

/// The sending end, for any number of threads.
pub(crate) struct Ferry<N> {
    cells: Arc<Cells>,
    queue: Producer<(u32, N)>,
}

impl<N> Clone for Ferry<N> {
    fn clone(&self) -> Self {
        Self { cells: Arc::clone(&self.cells), queue: self.queue.clone() }
    }
}

/// The end of the shard.
pub(crate) struct Landing<N> {
    cells: Arc<Cells>,
    queue: Consumer<(u32, N)>,
    /// Cells that were taken and may be referred to, the oldest first.
    out: VecDeque<u32>,
    out_max: usize,
    /// Datagrams that were copied a second time.
    copied: u64,
}

/// A ferry of so many cells, for datagrams of at most `cell_len` bytes; `N` goes with each.
pub(crate) fn ferry<N: Send>(count: usize, cell_len: usize) -> (Ferry<N>, Landing<N>) {
    let cells = Arc::new(Cells::new(count, cell_len));
    // With an entry for each cell, the queue is never full.
    let (producer, consumer) = channel(count);
    let out = VecDeque::with_capacity(count);
    let out_max = count - (count / 4).max(1);
    let ferry = Ferry { cells: Arc::clone(&cells), queue: producer };
    (ferry, Landing { cells, queue: consumer, out, out_max, copied: 0 })
}

impl<N: Send> Ferry<N> {
    /// Copies a datagram into a free cell and queues it.
    pub(crate) fn send(&self, datagram: &[u8], note: N) -> Result<(), Refused> {
        let Self { cells, queue } = self;
        if queue.is_closed() {
            return Err(Refused::Closed);
        }
        if datagram.len() > cells.cell_len {
            return Err(Refused::TooLong);
        }
        let index = cells.free.pop().ok_or(Refused::Full)?;
        // SAFETY: its number was just taken. Free cells are empty and have all of their capacity.
        unsafe { cells.with(index, |cell| cell.extend_from_slice(datagram)) };
        queue.push((index, note)).map_err(|error| {
            debug_assert!(error.is_closed(), "it has an entry for each cell");
            // The cell goes with the others when the last of these ends does.
            Refused::Closed
        })
    }
}

impl<N> Landing<N> {
    /// The oldest datagram, and what was sent with it.
    pub(crate) fn take(&mut self) -> Option<(BytesMut, N)> {
        let Self { cells, queue, out, out_max, copied } = self;
        let (index, note) = queue.pop()?;
        let copies = out.len() >= *out_max;
        let take = |cell: &mut BytesMut| {
            if !copies {
                return cell.split();
            }
            let copy = BytesMut::from(&cell[..]);
            cell.clear();
            copy
        };
        // SAFETY: its number was just taken.
        let datagram = unsafe { cells.with(index, take) };
        *copied += u64::from(copies);
        out.push_back(index);
        if copies {
            self.look(1, VecDeque::pop_back);
        }
        Some((datagram, note))
    }

    /// Frees cells that nothing refers to any more, of the oldest ones that are out.
    pub(crate) fn reclaim(&mut self) {
        self.look(LOOKS, VecDeque::pop_front);
    }

    fn look(&mut self, looks: usize, next: fn(&mut VecDeque<u32>) -> Option<u32>) {
        let Self { cells, out, .. } = self;
        for _ in 0..looks.min(out.len()) {
            let Some(index) = next(out) else { return };
            // SAFETY: it was taken from the queue, and is not free yet. With less than all of its
            // capacity asked for, it might come home in part.
            let is_home = unsafe { cells.with(index, |cell| cell.try_reclaim(cells.cell_len)) };
            // A free list that is busy is asked again (F2).
            if !is_home || cells.free.push(index).is_err() {
                out.push_back(index);
            }
        }
    }

    /// Whether something waits.
    pub(crate) fn has_some(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether any was taken and not seen to be home.
    pub(crate) fn is_out(&self) -> bool {
        !self.out.is_empty()
    }

    /// Datagrams that were copied a second time, because connections keep too many cells.
    pub(crate) const fn copied(&self) -> u64 {
        self.copied
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const COUNT: usize = 16;
    const LEN: usize = 1500;

    #[test]
    fn cells_go_round_at_the_same_addresses() {
        let (ferry, mut landing) = ferry(COUNT, LEN);
        let mut heads = std::collections::BTreeSet::new();
        for round in 0..1000_usize {
            let sent = vec![round as u8; 1 + round % LEN];
            assert_eq!(ferry.send(&sent, round), Ok(()));
            assert!(landing.has_some());
            let (got, note) = landing.take().unwrap();
            assert_eq!((&got[..], note), (&sent[..], round));
            heads.insert(got.as_ptr() as usize);
            drop(got);
            landing.reclaim();
            assert!(!landing.is_out());
        }
        assert_eq!((heads.len(), landing.copied()), (COUNT, 0));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (ferry, mut landing) = ferry(COUNT, LEN);
        assert_eq!(ferry.send(&[0; LEN + 1], 0), Err(Refused::TooLong));
        for at in 0..COUNT {
            assert_eq!(ferry.send(&[1; LEN], at), Ok(()));
        }
        assert_eq!(ferry.send(b"x", 0), Err(Refused::Full));
        for at in 0..COUNT {
            assert_eq!(landing.take().map(|(bytes, note)| (bytes.len(), note)), Some((LEN, at)));
        }
        assert!(landing.take().is_none());
        landing.reclaim();
        assert_eq!(ferry.clone().send(b"x", 0), Ok(()));
        drop(landing);
        assert_eq!(ferry.send(b"x", 0), Err(Refused::Closed));
    }

    #[test]
    fn what_is_kept_does_not_stop_the_others() {
        let (ferry, mut landing) = ferry(COUNT, LEN);
        let mut kept = Vec::new();
        for round in 0..200_u8 {
            assert_eq!(ferry.send(&[round; 1000], round), Ok(()));
            kept.push(landing.take().unwrap());
            landing.reclaim();
        }
        assert!(kept.iter().all(|(bytes, note)| bytes.iter().all(|byte| byte == note)));
        // Three of four cells, and the rest are copies.
        assert_eq!(landing.copied(), 200 - (COUNT as u64 - 4));
        drop(kept);
        landing.reclaim();
        assert!(!landing.is_out());
    }

    #[test]
    fn threads_send_and_nothing_is_mixed_up() {
        let (ferry, mut landing) = ferry(COUNT, LEN);
        const EACH: u32 = 5_000;
        let sent = std::thread::scope(|threads| {
            let senders = [1_u32, 2].map(|who| {
                let ferry = ferry.clone();
                threads.spawn(move || {
                    let mut sent = 0;
                    for at in 0..EACH {
                        let word = who * EACH + at;
                        let bytes = word.to_le_bytes().repeat(1 + at as usize % 300);
                        sent += usize::from(ferry.send(&bytes, word).is_ok());
                    }
                    sent
                })
            });
            let (mut got, mut last) = (0, [0; 3]);
            while !senders.iter().all(|sender| sender.is_finished()) || landing.has_some() {
                while let Some((bytes, word)) = landing.take() {
                    assert!(bytes.chunks(4).all(|chunk| chunk == word.to_le_bytes()));
                    let who = (word / EACH) as usize;
                    assert!(std::mem::replace(&mut last[who], word) < word, "in order");
                    got += 1;
                }
                landing.reclaim();
                std::thread::yield_now();
            }
            assert_eq!(senders.map(|sender| sender.join().unwrap()).iter().sum::<usize>(), got);
            got
        });
        assert!(sent > 0);
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::gate::Gate;
    use crate::sync::model::{Steps, bounded};
    use loom::sync::Notify;
    use loom::thread;

    const CELLS: usize = 2;
    const LEN: usize = 4;
    /// Two senders and two cells: some ten times more orders with each preemption.
    const TWO_SENDERS_PREEMPTIONS: usize = 3;
    /// One sender that uses a cell a second time.
    const AGAIN_PREEMPTIONS: usize = 5;

    fn is_whole(datagram: &BytesMut, note: u8) -> bool {
        datagram[..] == [note; LEN]
    }

    /// Sends one of each value; those that were taken.
    fn send_each(ferry: &Ferry<u8>, steps: &Steps, values: impl Iterator<Item = u8>) -> Vec<u8> {
        let send = |value: &u8| {
            steps.pass();
            ferry.send(&[*value; LEN], *value).is_ok()
        };
        values.filter(send).collect()
    }

    /// Takes one, if there is one, and lets go of it.
    fn take_one(landing: &mut Landing<u8>, steps: &Steps) -> Option<u8> {
        steps.pass();
        let (datagram, note) = landing.take()?;
        assert!(is_whole(&datagram, note), "mixed up");
        drop(datagram);
        landing.reclaim();
        Some(note)
    }

    #[test]
    fn loom_ferry_brings_what_two_send() {
        bounded(TWO_SENDERS_PREEMPTIONS, || {
            let steps = Arc::new(Steps::new());
            let (ferry, mut landing) = ferry(CELLS, LEN);
            let threads = [1, 2].map(|value| {
                let (ferry, steps) = (ferry.clone(), Arc::clone(&steps));
                thread::spawn(move || send_each(&ferry, &steps, value..=value))
            });
            let mut got: Vec<u8> = take_one(&mut landing, &steps).into_iter().collect();
            let mut sent: Vec<u8> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
            got.extend(std::iter::from_fn(|| take_one(&mut landing, &steps)));
            got.sort_unstable();
            sent.sort_unstable();
            // A cell is there for each, and no more is asked of the list than that.
            assert_eq!((&got, &sent), (&vec![1, 2], &vec![1, 2]));
            assert!(!landing.is_out(), "all are home");
        });
    }

    /// A cell that came home is filled again while others are taken.
    #[test]
    fn loom_ferry_uses_cells_again() {
        bounded(AGAIN_PREEMPTIONS, || {
            let steps = Arc::new(Steps::new());
            let (ferry, mut landing) = ferry(CELLS, LEN);
            let sender = {
                let steps = Arc::clone(&steps);
                thread::spawn(move || send_each(&ferry, &steps, 1..=3))
            };
            let mut got: Vec<u8> = (0..2).filter_map(|_| take_one(&mut landing, &steps)).collect();
            let sent = sender.join().unwrap();
            got.extend(std::iter::from_fn(|| take_one(&mut landing, &steps)));
            assert_eq!(got, sent, "in order, and nothing but what found no cell is missing");
            assert!(sent.len() >= CELLS);
        });
    }

    /// A shard that sleeps hears of what was sent.
    #[test]
    fn loom_ferry_loses_no_wake() {
        loom::model(|| {
            let shared = Arc::new((Gate::new(), Notify::new(), Steps::new()));
            let (ferry, mut landing) = ferry(CELLS, LEN);
            let sender = {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    let (gate, eventfd, steps) = &*shared;
                    assert_eq!(send_each(&ferry, steps, 1..=1), [1]);
                    if gate.needs_wake() {
                        eventfd.notify();
                    }
                })
            };
            let (gate, eventfd, steps) = &*shared;
            while take_one(&mut landing, steps).is_none() {
                gate.prepare_sleep();
                if !landing.has_some() {
                    eventfd.wait();
                }
                gate.awake();
            }
            sender.join().unwrap();
        });
    }

    /// Whoever sends to a shard that goes is told, or was early enough.
    #[test]
    fn loom_ferry_ends_under_who_sends() {
        loom::model(|| {
            let (ferry, mut landing) = ferry(CELLS, LEN);
            let sender = thread::spawn(move || match ferry.send(&[1; LEN], 1) {
                Ok(()) => true,
                Err(Refused::Closed) => false,
                Err(other) => panic!("{other:?}"),
            });
            let got = landing.take().is_some_and(|(datagram, note)| is_whole(&datagram, note));
            drop(landing);
            let sent = sender.join().unwrap();
            assert!(sent || !got);
        });
    }
}
