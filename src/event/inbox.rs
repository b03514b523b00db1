//! [`Inbox`]: the bounded queue of records, and the one that is being looked at.
//!
//! *Invariant*: nothing is dropped. Whoever would overfill the queue waits instead: completions
//! stay in the kernel's ring, timers on their list, commands in their queue.

use super::record::{Kind, Record};
use crate::pool::BufId;

/// An eighth is kept for connections to be accepted and datagrams: a stream that brings messages
/// without end would fill every tick.
const ENDPOINT_SHARE: usize = 8;

/// Records in order of arrival.
pub(crate) struct Inbox {
    /// A power of two, so that positions wrap by a mask.
    ring: Box<[Record]>,
    capacity: usize,
    /// The capacity, or less while the queue counts as full or a part is kept.
    limit: usize,
    is_shut: bool,
    head: usize,
    tail: usize,
    /// Where the payload lies that `next_event` handed out last; its buffer is held until the next
    /// one.
    pub(crate) current: Option<Payload>,
}

/// Where the payload of an event lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Payload {
    pub(crate) buf: BufId,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl Inbox {
    pub(crate) fn new(capacity: usize) -> Self {
        let empty = Record::bare(Kind::User, 0, 0);
        let ring = vec![empty; capacity.next_power_of_two()].into_boxed_slice();
        Self { ring, capacity, limit: capacity, is_shut: false, head: 0, tail: 0, current: None }
    }

    pub(crate) const fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head)
    }

    pub(crate) const fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.tail == self.head
    }

    /// Records that still fit.
    #[inline]
    pub(crate) const fn room(&self) -> usize {
        self.limit.saturating_sub(self.len())
    }

    /// From now on it counts as full: nothing may be queued behind what waits for a buffer.
    pub(crate) const fn shut(&mut self) {
        self.limit = self.len();
        self.is_shut = true;
    }

    /// It has its capacity again, or what that is without a part that is kept for endpoints.
    #[inline]
    pub(crate) const fn reopen(&mut self, keeps: bool) {
        self.is_shut = false;
        self.limit = self.capacity - if keeps { self.capacity / ENDPOINT_SHARE } else { 0 };
    }

    /// What was kept for endpoints is theirs now.
    pub(crate) const fn open_to_endpoints(&mut self) {
        if !self.is_shut {
            self.limit = self.capacity;
        }
    }

    /// Appends a record. The caller has to look first whether there is [room](Self::room): every
    /// producer does, and the audit looks after them.
    #[inline]
    pub(crate) fn push(&mut self, record: Record) {
        debug_assert!(
            self.len() < self.capacity,
            "the event queue is full: its producer did not look"
        );
        let mask = self.ring.len() - 1;
        self.ring[self.tail & mask] = record;
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Record> {
        let Some(&record) = self.first() else {
            // The next one goes to the front again: that memory is warm.
            (self.head, self.tail) = (0, 0);
            return None;
        };
        self.drop_first();
        Some(record)
    }

    /// The oldest record.
    #[inline]
    pub(crate) fn first(&self) -> Option<&Record> {
        if self.is_empty() {
            return None;
        }
        let mask = self.ring.len() - 1;
        self.ring.get(self.head & mask)
    }

    /// The records that wait, oldest first.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &Record> {
        let mask = self.ring.len() - 1;
        (0..self.len()).map(move |i| &self.ring[self.head.wrapping_add(i) & mask])
    }

    /// Takes the oldest record off; there must be one.
    #[inline]
    pub(crate) fn drop_first(&mut self) {
        debug_assert!(!self.is_empty());
        self.head = self.head.wrapping_add(1);
    }

    /// The buffers that wait to be handed out, or that the last event still shows.
    pub(crate) fn buffers(&self) -> impl Iterator<Item = BufId> {
        let waiting = self.waiting().map(|record| record.buf);
        let shown = self.current.map(|payload| payload.buf);
        waiting.chain(shown).filter(|buf| *buf != BufId::NONE)
    }

    /// Takes out the records that wait and that `is_taken` says yes to, oldest first; the others
    /// keep their order.
    pub(crate) fn take_out(&mut self, mut is_taken: impl FnMut(&Record) -> bool) {
        let mask = self.ring.len() - 1;
        let mut to = self.head;
        for at in 0..self.len() {
            let record = self.ring[self.head.wrapping_add(at) & mask];
            if !is_taken(&record) {
                self.ring[to & mask] = record;
                to = to.wrapping_add(1);
            }
        }
        self.tail = to;
    }

    /// Puts what is left of the record that was popped last back to the front.
    pub(crate) fn unpop(&mut self, rest: Record) {
        debug_assert!(self.len() < self.capacity, "its place is still free");
        let mask = self.ring.len() - 1;
        self.head = self.head.wrapping_sub(1);
        self.ring[self.head & mask] = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_taken_out() {
        let mut inbox = Inbox::new(8);
        for round in 0..20 {
            (0..7).for_each(|id| inbox.push(Record::bare(Kind::User, id, round)));
            let mut taken = Vec::new();
            inbox.take_out(|record| {
                let is_odd = record.id % 2 == 1;
                taken.extend(is_odd.then_some(record.id));
                is_odd
            });
            assert_eq!((taken, inbox.len()), (vec![1, 3, 5], 4));
            let left: Vec<u64> = std::iter::from_fn(|| inbox.pop().map(|r| r.id)).take(3).collect();
            assert_eq!(left, [0, 2, 4]);
            assert_eq!(inbox.pop().map(|r| r.id), Some(6));
        }
    }

    #[test]
    fn keeps_the_order_across_the_wrap() {
        let mut inbox = Inbox::new(3);
        for round in 0..10_u64 {
            while inbox.room() > 0 {
                inbox.push(Record::bare(Kind::User, round, inbox.len() as u64));
            }
            assert_eq!(inbox.pop().map(|r| r.extra), Some(0));
            assert_eq!(inbox.pop().map(|r| r.extra), Some(1));
            assert_eq!(inbox.pop().map(|r| (r.id, r.extra)), Some((round, 2)));
            assert!(inbox.pop().is_none() && inbox.is_empty());
        }
    }
}
