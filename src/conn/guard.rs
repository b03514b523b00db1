//! Guard writes: memory of the application that is sent from where it lies.
//!
//! Role: keep the memory alive until the kernel is done with it, then say so with the
//! application's token. Not role: sending.

use crate::event::SendOutcome;
use crate::ids::ConnId;
use crate::pool::WriteGuard;
use crate::pool::quic::held::Payload;

/// A finished guard write, to be told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) conn: ConnId,
    /// `None`: nobody wants to know.
    pub(crate) token: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) outcome: SendOutcome,
}

const NONE: u32 = u32::MAX;

/// What is sent from where it lies.
enum Memory {
    /// Released, or kept elsewhere.
    None,
    Guard {
        _keeps: WriteGuard,
    },
    Payload {
        _keeps: Payload,
    },
}

struct Entry {
    memory: Memory,
    done: Done,
    /// The queue's segment, and zero-copy sends whose notification is due.
    holds: u32,
    next: u32,
}

/// The guard writes of one shard (the reference's `WriteBufferPool`), and the list of those that
/// are done.
pub(crate) struct Guards {
    entries: Vec<Entry>,
    free: u32,
    capacity: usize,
    used: usize,
    done_head: u32,
    done_tail: u32,
}

impl Guards {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            entries: Vec::with_capacity(capacity),
            free: NONE,
            capacity,
            used: 0,
            done_head: NONE,
            done_tail: NONE,
        }
    }

    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    /// # Panics
    /// When it grew past its bound.
    pub(crate) fn audit(&self) {
        let (places, max) = (self.entries.len(), self.capacity);
        assert!(self.used <= places && places <= max, "{} of {places} guards", self.used);
    }

    /// Keeps the memory, with one hold. `None` when the bound is reached.
    pub(crate) fn insert(
        &mut self,
        conn: ConnId,
        token: Option<u64>,
        memory: WriteGuard,
    ) -> Option<u32> {
        self.place(conn, token, 0, Memory::Guard { _keeps: memory })
    }

    /// Keeps a received payload that is sent on, with one hold; nothing is told of it. `None` when
    /// half of the guards are in use: the others are the application's, whatever peers do not read.
    pub(crate) fn insert_payload(&mut self, conn: ConnId, payload: Payload) -> Option<u32> {
        if self.used >= self.capacity / 2 {
            return None;
        }
        self.place(conn, None, 0, Memory::Payload { _keeps: payload })
    }

    /// Notes a write of so many bytes whose memory is kept elsewhere.
    pub(crate) fn insert_lent(
        &mut self,
        conn: ConnId,
        token: Option<u64>,
        bytes: usize,
    ) -> Option<u32> {
        self.place(conn, token, bytes as u64, Memory::None)
    }

    fn place(
        &mut self,
        conn: ConnId,
        token: Option<u64>,
        bytes: u64,
        memory: Memory,
    ) -> Option<u32> {
        let entry = Entry {
            memory,
            done: Done { conn, token, bytes, outcome: SendOutcome::Sent },
            holds: 1,
            next: NONE,
        };
        let index = if self.free != NONE {
            let index = self.free;
            self.free = self.entries[index as usize].next;
            self.entries[index as usize] = entry;
            index
        } else if self.entries.len() < self.capacity {
            self.entries.push(entry);
            self.entries.len() as u32 - 1
        } else {
            return None;
        };
        self.used += 1;
        Some(index)
    }

    pub(crate) fn hold(&mut self, guard: u32) {
        self.entries[guard as usize].holds += 1;
    }

    /// The kernel took so many bytes of it.
    pub(crate) fn sent(&mut self, guard: u32, bytes: u32) {
        self.entries[guard as usize].done.bytes += u64::from(bytes);
    }

    /// What is left of it will not be sent.
    pub(crate) fn abort(&mut self, guard: u32) {
        self.entries[guard as usize].done.outcome = SendOutcome::Aborted;
    }

    /// The same of memory that is kept elsewhere: how much of it arrived is not known.
    pub(crate) fn abort_lent(&mut self, guard: u32) {
        self.entries[guard as usize].done.bytes = 0;
        self.abort(guard);
    }

    /// Drops one hold; with the last one the memory is released and the write is done.
    pub(crate) fn release(&mut self, guard: u32) {
        let entry = &mut self.entries[guard as usize];
        entry.holds -= 1;
        if entry.holds > 0 {
            return;
        }
        entry.memory = Memory::None;
        if entry.done.token.is_none() {
            return self.put_back(guard);
        }
        entry.next = NONE;
        if self.done_tail == NONE {
            self.done_head = guard;
        } else {
            self.entries[self.done_tail as usize].next = guard;
        }
        self.done_tail = guard;
    }

    /// Whether there are no guard writes at all.
    pub(crate) const fn are_none(&self) -> bool {
        self.capacity == 0
    }

    /// Whether the bound is reached; never so where there are no guard writes at all.
    pub(crate) const fn is_full(&self) -> bool {
        self.used == self.capacity && self.capacity > 0
    }

    pub(crate) const fn has_done(&self) -> bool {
        self.done_head != NONE
    }

    /// The next finished write, in the order in which they finished.
    pub(crate) fn pop_done(&mut self) -> Option<Done> {
        if self.done_head == NONE {
            return None;
        }
        let index = self.done_head;
        let entry = &self.entries[index as usize];
        let done = entry.done;
        self.done_head = entry.next;
        if self.done_head == NONE {
            self.done_tail = NONE;
        }
        self.put_back(index);
        Some(done)
    }

    fn put_back(&mut self, index: u32) {
        self.entries[index as usize].next = self.free;
        self.free = index;
        self.used -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn done_only_after_the_last_hold_and_in_order() {
        let mut guards = Guards::new(2);
        let conn = ConnId::new(0, 1);
        let shared: Arc<[u8]> = Arc::from(&b"abc"[..]);
        let a = guards.insert(conn, Some(1), Arc::clone(&shared).into()).unwrap();
        let b = guards.insert(conn, Some(2), "static".into()).unwrap();
        assert!(guards.insert(conn, Some(3), "full".into()).is_none());
        guards.hold(a);
        guards.release(a);
        assert!(!guards.has_done() && Arc::strong_count(&shared) == 2);
        guards.sent(b, 6);
        guards.release(b);
        guards.release(a);
        assert_eq!(Arc::strong_count(&shared), 1);
        let order: Vec<_> = std::iter::from_fn(|| guards.pop_done()).map(|d| d.token).collect();
        assert_eq!(order, [Some(2), Some(1)]);
        assert_eq!(guards.used(), 0);
    }
}
