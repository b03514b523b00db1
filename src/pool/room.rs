//! Ranges of buffers that are written after they came from the kernel, and the room around them.
//!
//! Role: where TLS opens and seals in place. Not role: who holds a buffer (the parent's).
//!
//! *Invariant* P2: the caller is the buffer's sole holder, or nobody else names the range.

use super::{BufId, HEADROOM, Pool, TAILROOM, Use, shared};

impl Pool {
    /// The bytes of a buffer with the room behind it.
    #[inline]
    pub(crate) fn extent_of(&self, buf: BufId) -> usize {
        self.size_of(buf) + shared::tailroom(self.slot(buf).class as usize)
    }

    /// A range that is not frozen yet: of a buffer that came from the kernel, what no event names.
    ///
    /// # Safety
    /// The caller holds the buffer; nobody else has the range or will while the slice lives (P2).
    #[inline]
    pub(crate) unsafe fn slice_mut<'a>(
        &mut self,
        buf: BufId,
        offset: u32,
        len: u32,
    ) -> &'a mut [u8] {
        debug_assert!(offset as usize + len as usize <= self.extent_of(buf));
        let data = self.ptr(buf).wrapping_add(offset as usize);
        // SAFETY: inside the buffer; the caller's alone by its contract.
        unsafe { std::slice::from_raw_parts_mut(data, len as usize) }
    }

    /// All of a buffer that has one holder, with the room around it: the buffer begins at
    /// [`HEADROOM`].
    ///
    /// # Panics
    /// When it has other holders.
    pub(crate) fn room_mut(&mut self, buf: BufId) -> &mut [u8] {
        assert!(self.slot(buf).holds == 1, "only a sole holder may write (P2)");
        let len = HEADROOM + self.size_of(buf) + TAILROOM;
        let start = self.ptr(buf).wrapping_sub(HEADROOM);
        // SAFETY: P1, the room around a buffer is inside the region and its own; sole holder (P2).
        unsafe { std::slice::from_raw_parts_mut(start, len) }
    }

    /// Copies behind what was received into a buffer.
    ///
    /// # Safety
    /// The caller holds the buffer; nobody else has the range or will before the caller is done
    /// with it (P2).
    pub(crate) unsafe fn write_behind(&mut self, buf: BufId, offset: usize, data: &[u8]) {
        assert!(offset + data.len() <= self.extent_of(buf), "outside the buffer");
        // SAFETY: inside the buffer and the room behind it; the caller's alone by its contract.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), self.ptr(buf).add(offset), data.len());
        }
    }

    /// Whether whoever holds the buffer is alone with it.
    pub(crate) fn is_sole(&self, buf: BufId) -> bool {
        let slot = self.slot(buf);
        slot.holds == 1 && !slot.detached
    }

    /// Whether the buffer was taken for what is sent in bulk.
    pub(crate) fn is_bulk(&self, buf: BufId) -> bool {
        self.slot(buf).usage == Use::TxBulk
    }
}
