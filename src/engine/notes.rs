//! [`Notes`]: the buffers that wait for datagrams, and what came with each datagram that waits.
//!
//! Role: which buffers are staged; from a buffer to its note and back. Not role: when to receive.
//!
//! *Invariants*
//! - What a note says is of the datagram in its buffer, for as long as somebody holds that: a queued
//!   send may go to the address in the note.
//! - A staged buffer is held once, by this.

use crate::pool::{BufId, Class, Pool, Use};
use crate::sys::addr::SockAddr;
use crate::sys::batch::{Received, RecvBatch};

/// The buffers that wait for datagrams, and what arrived with the datagram in each buffer that can
/// hold one.
pub(super) struct Notes {
    pub(super) batch: RecvBatch,
    /// What the staged buffers are of: their class, and the bytes asked for.
    pub(super) staged: (Class, usize),
    slots: u32,
    gro_first: u32,
    gro: u32,
}

impl Notes {
    pub(super) fn new(pool: &Pool) -> Self {
        let (slots, gro) = (pool.count(Class::Slots), pool.count(Class::Gro));
        let gro_first = pool.shared().class(Class::Gro as usize).first;
        let batch = RecvBatch::new((slots + gro) as usize);
        Self { batch, staged: (Class::Slots, 0), slots, gro_first, gro }
    }

    #[inline]
    const fn key(&self, buf: BufId) -> u32 {
        if buf.0 < self.slots { buf.0 } else { buf.0 - self.gro_first + self.slots }
    }

    #[inline]
    pub(super) const fn buf(&self, key: u32) -> BufId {
        BufId(if key < self.slots { key } else { key - self.slots + self.gro_first })
    }

    /// The note of a buffer that datagrams are received into.
    #[inline]
    pub(super) fn of(&self, buf: BufId) -> &Received {
        self.batch.note(self.key(buf))
    }

    /// Who sent what is in the buffer, if it is one for datagrams.
    #[inline]
    pub(super) fn sender(&self, buf: BufId) -> Option<&SockAddr> {
        let has_note = buf.0 < self.slots || buf.0.wrapping_sub(self.gro_first) < self.gro;
        has_note.then(|| &self.of(buf).from)
    }

    /// Stages buffers for `wanted` datagrams, as far as the pool has them; how many there are.
    pub(super) fn stage(
        &mut self,
        pool: &mut Pool,
        class: Class,
        max: usize,
        wanted: usize,
    ) -> usize {
        if self.staged != (class, max) {
            self.unstage(pool);
            self.staged = (class, max);
        }
        while self.batch.len() < wanted {
            let Some(buf) = pool.take(class, Use::Rx) else { break };
            let key = self.key(buf);
            if !self.batch.push(pool.ptr(buf), max, key) {
                pool.release(buf);
                break;
            }
        }
        self.batch.len().min(wanted)
    }

    /// Stages a buffer whose datagram is done with, with the hold that it has; false, and nothing is
    /// changed, when it cannot be.
    #[inline]
    pub(super) fn restage(&mut self, pool: &Pool, buf: BufId) -> bool {
        let (class, max) = self.staged;
        pool.may_refill(buf, class) && self.batch.push(pool.ptr(buf), max, self.key(buf))
    }

    /// Gives the staged buffers back.
    pub(super) fn unstage(&mut self, pool: &mut Pool) {
        while let Some(key) = self.batch.pop() {
            pool.release(self.buf(key));
        }
    }
}
