//! [`Inbox`]: the bounded queue of records, and the one that is being looked at.
//!
//! *Invariant*: nothing is dropped. Whoever would overfill the queue waits instead: completions
//! stay in the kernel's ring, timers on their list, commands in their queue.

use super::record::Record;

/// Records in order of arrival.
pub(crate) struct Inbox {
    ring: Box<[Record]>,
    head: usize,
    len: usize,
    /// What `next_event` handed out last; its buffer is held until the next one.
    pub(crate) current: Option<Record>,
}

impl Inbox {
    pub(crate) fn new(capacity: usize) -> Self {
        use super::record::Kind;
        let empty = Record::bare(Kind::User, 0, 0);
        Self { ring: vec![empty; capacity].into_boxed_slice(), head: 0, len: 0, current: None }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn capacity(&self) -> usize {
        self.ring.len()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Records that still fit.
    #[inline]
    pub(crate) const fn room(&self) -> usize {
        self.ring.len() - self.len
    }

    /// Appends a record.
    ///
    /// # Panics
    /// When there is no room: the caller has to look first.
    #[inline]
    pub(crate) fn push(&mut self, record: Record) {
        assert!(
            self.len < self.ring.len(),
            "the event queue is full: its producer did not ask for room"
        );
        let mut at = self.head + self.len;
        if at >= self.ring.len() {
            at -= self.ring.len();
        }
        self.ring[at] = record;
        self.len += 1;
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Record> {
        if self.len == 0 {
            return None;
        }
        let record = self.ring[self.head];
        self.head += 1;
        if self.head == self.ring.len() {
            self.head = 0;
        }
        self.len -= 1;
        Some(record)
    }

    /// The record that comes next, to be changed in place.
    pub(crate) fn front_mut(&mut self) -> Option<&mut Record> {
        if self.len == 0 { None } else { self.ring.get_mut(self.head) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Kind;
    use super::*;

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
