//! [`OwnedSlot`]: a received payload that outlives its event and may travel to other threads.

use std::fmt;
use std::ops::{Bound, Deref, RangeBounds};
use std::ptr::NonNull;
use std::sync::Arc;

use super::{BufId, PoolShared, SendBuffer};

/// A received payload, read-only, `Send + Sync`, cheap to clone (one reference count, no copy).
///
/// It keeps one receive buffer of its shard from being used again, whatever its length, until the
/// last clone is dropped; how many may be held at a time is bounded by `Config::detached_max_pct`.
/// A payload of QUIC keeps the packet that it came in, or a copy once few packets are left.
pub struct OwnedSlot {
    data: NonNull<u8>,
    len: u32,
    buf: BufId,
    /// Nothing but this slot and its clones holds the buffer.
    sole: bool,
    shared: Arc<PoolShared>,
}

// SAFETY: the bytes are frozen (P2) while the slot exists; the count is atomic.
unsafe impl Send for OwnedSlot {}
// SAFETY: as above: there is no way to write through it.
unsafe impl Sync for OwnedSlot {}

impl OwnedSlot {
    /// Wraps one reference that was already counted.
    pub(super) fn new(
        shared: Arc<PoolShared>,
        buf: BufId,
        offset: u32,
        len: u32,
        sole: bool,
    ) -> Self {
        debug_assert!(offset as usize + len as usize <= shared.extent_of(buf));
        // SAFETY: P1, the range lies inside the buffer.
        let data = unsafe { shared.ptr(buf).add(offset as usize) };
        Self { data, len, buf, sole, shared }
    }

    /// Narrows the payload to a range of itself; the buffer stays held whole.
    ///
    /// # Panics
    /// When the range is not inside the payload.
    #[must_use]
    pub fn slice(mut self, range: impl RangeBounds<usize>) -> Self {
        let from = match range.start_bound() {
            Bound::Included(n) => *n,
            Bound::Excluded(n) => *n + 1,
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(n) => *n + 1,
            Bound::Excluded(n) => *n,
            Bound::Unbounded => self.len(),
        };
        assert!(
            from <= to && to <= self.len(),
            "{from}..{to} is outside a payload of {}",
            self.len()
        );
        // SAFETY: `from` is at most the payload's length.
        self.data = unsafe { self.data.add(from) };
        self.len = (to - from) as u32;
        self
    }

    /// The same memory as a buffer to write into and to send, without a copy.
    ///
    /// # Errors
    /// Gives the payload back when it is shared: by clones, or by other messages in the same
    /// receive buffer. A payload of QUIC always counts as shared.
    pub fn try_into_send_buffer(self) -> Result<SendBuffer, Self> {
        if !self.sole || !self.shared.refs.is_unique(self.buf.0) {
            return Err(self);
        }
        let this = std::mem::ManuallyDrop::new(self);
        // The only reference becomes ownership: the count starts from zero when the buffer is
        // detached again.
        let last = this.shared.refs.release(this.buf.0);
        debug_assert!(last, "unique, and not the last");
        // SAFETY: `this` is never dropped, so the Arc moves out exactly once.
        let shared = unsafe { std::ptr::read(&raw const this.shared) };
        let base = shared.ptr(this.buf).as_ptr() as usize;
        let offset = (this.data.as_ptr() as usize - base) as u32;
        Ok(SendBuffer::from_unique(shared, this.buf, offset, this.len))
    }
}

impl Deref for OwnedSlot {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the range was inside the buffer when made, and is frozen while a reference is
        // counted.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len as usize) }
    }
}

impl AsRef<[u8]> for OwnedSlot {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Clone for OwnedSlot {
    fn clone(&self) -> Self {
        assert!(
            self.shared.refs.clone_ref(self.buf.0),
            "an OwnedSlot was cloned more than two thousand million times"
        );
        Self {
            data: self.data,
            len: self.len,
            buf: self.buf,
            sole: self.sole,
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for OwnedSlot {
    fn drop(&mut self) {
        if self.shared.refs.release(self.buf.0) {
            self.shared.give_back(self.buf);
        }
    }
}

impl fmt::Debug for OwnedSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedSlot").field("len", &self.len).finish_non_exhaustive()
    }
}
