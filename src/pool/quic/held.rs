//! [`Region`]: a part of a cell that somebody else writes. [`Payload`]: a received one that is sent
//! elsewhere.
//!
//! *Invariant*: neither has a way home of its own: it is dropped, and the cell or the packet sees
//! that nothing refers to it any more when it is next looked at.

use std::ops::RangeTo;
use std::ptr::NonNull;

use bytes::Bytes;

/// A part of a cell that one owner writes.
#[derive(Debug)]
pub(crate) struct Region {
    bytes: Bytes,
    base: NonNull<u8>,
}

impl Region {
    /// # Safety
    /// `bytes` lie at `base`, which may write them, and are initialised; nobody else looks at them
    /// or writes them until the region is dropped or frozen.
    pub(super) const unsafe fn new(bytes: Bytes, base: NonNull<u8>) -> Self {
        Self { bytes, base }
    }

    /// The first byte.
    pub(crate) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The front of it, which nobody writes any more.
    pub(super) fn freeze(self, range: RangeTo<usize>) -> Bytes {
        self.bytes.slice(range)
    }
}

/// A received payload that is sent on.
#[derive(Debug)]
pub(crate) struct Payload {
    _keeps: Bytes,
}

impl Payload {
    pub(crate) const fn new(bytes: Bytes) -> Self {
        Self { _keeps: bytes }
    }
}
