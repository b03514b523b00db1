//! [`Carry`]: the partial unit that straddles receive buffers.
//!
//! Role: keep the bytes of one unfinished message until the rest arrives, in the smallest buffer
//! that holds it and is free. Not role: knowing what a message is.
//!
//! *Invariant* P3: it takes exactly the bytes its unit lacks; everything else is parsed where it
//! lies.

use super::{BufId, Pool, Use};
use crate::error::Result;

/// At most one partial unit, in one buffer.
#[derive(Debug)]
pub(crate) struct Carry {
    buf: BufId,
    /// Where in the buffer it begins.
    start: u32,
    len: u32,
    /// How long the unit must be before a look at it helps.
    need: u32,
    /// It lies where it was received, and others may hold the buffer for what lies before it.
    is_adopted: bool,
}

impl Carry {
    pub(crate) const EMPTY: Self =
        Self { buf: BufId::NONE, start: 0, len: 0, need: 0, is_adopted: false };

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) const fn need(&self) -> usize {
        self.need as usize
    }

    pub(crate) const fn set_need(&mut self, need: usize) {
        self.need = need as u32;
    }

    /// Forgets what lies behind the first `len` bytes; how many those were.
    pub(crate) const fn shrink_to(&mut self, len: usize) -> u32 {
        let excess = self.len - len as u32;
        self.len = len as u32;
        excess
    }

    /// Appends `data` to a unit that is known to need `need` bytes at least; how many bytes were
    /// copied (an enlarged unit moves to a larger buffer).
    ///
    /// # Errors
    /// `BufferTooLarge` when no class holds `need`; `None` when no such buffer is free.
    pub(crate) fn append(
        &mut self,
        pool: &mut Pool,
        need: usize,
        data: &[u8],
    ) -> Result<Option<usize>> {
        let len = self.len as usize;
        let size = need.max(len + data.len());
        let mut copied = data.len();
        if self.capacity(pool) < size {
            let Some(buf) = pool.take_fitting(size, Use::Scratch)? else { return Ok(None) };
            if len > 0 {
                // SAFETY: the carry holds the buffer, and nobody writes these bytes of it now.
                let old = unsafe { pool.slice(self.buf, self.start, self.len) };
                pool.write(buf, 0, old);
                copied += len;
            }
            self.clear(pool);
            self.buf = buf;
        }
        let end = self.start as usize + len;
        if self.is_adopted {
            // SAFETY: the carry holds the buffer, of which nobody names what lies behind `start`;
            // `data` is of another buffer.
            unsafe { pool.write_behind(self.buf, end, data) };
        } else {
            pool.write(self.buf, end, data);
        }
        self.len = (len + data.len()) as u32;
        Ok(Some(copied))
    }

    /// The bytes gathered so far.
    pub(crate) fn bytes<'a>(&'a self, pool: &'a Pool) -> &'a [u8] {
        if self.buf == BufId::NONE {
            return &[];
        }
        // SAFETY: the carry holds the buffer, and can be changed only through `&mut`.
        unsafe { pool.slice(self.buf, self.start, self.len) }
    }

    /// The same, to be changed where they lie.
    pub(crate) fn bytes_mut<'a>(&'a mut self, pool: &'a mut Pool) -> &'a mut [u8] {
        if self.buf == BufId::NONE {
            return &mut [];
        }
        // SAFETY: the carry holds the buffer; of these bytes nobody else knows.
        unsafe { pool.slice_mut(self.buf, self.start, self.len) }
    }

    /// Takes over the end of a received buffer, with its hold, instead of a copy of it: what the
    /// unit lacks will be appended there.
    pub(crate) const fn adopt(&mut self, buf: BufId, start: u32, len: u32, need: usize) {
        debug_assert!(self.is_empty());
        *self = Self { buf, start, len, need: need as u32, is_adopted: true };
    }

    /// Whether it holds a received buffer.
    pub(crate) const fn is_adopted(&self) -> bool {
        self.is_adopted
    }

    /// How long the unit may become where it is.
    fn capacity(&self, pool: &Pool) -> usize {
        match self.is_adopted {
            _ if self.buf == BufId::NONE => 0,
            true => pool.extent_of(self.buf) - self.start as usize,
            false => pool.size_of(self.buf),
        }
    }

    /// Gives the finished unit away, with its hold: the buffer, where in it, and how long.
    pub(crate) const fn take(&mut self) -> (BufId, u32, u32) {
        let out = (self.buf, self.start, self.len);
        *self = Self::EMPTY;
        out
    }

    /// Frees the buffer.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        let (buf, ..) = self.take();
        if buf != BufId::NONE {
            pool.release(buf);
        }
    }
}
