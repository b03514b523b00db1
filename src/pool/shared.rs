//! The part of the pool that other threads may touch: where buffers lie, how often they are
//! shared, and the way home for those that are dropped elsewhere.
//!
//! Not role: who may take a buffer and why (that is the shard's, in [`super::Pool`]).
//!
//! *Invariants*: P2, a buffer is written by one owner until it is frozen, and read-only from then
//! on until its last hold is gone. P4, the counters here are touched only for buffers that left
//! the shard: detached payloads and send buffers.

use std::ptr::NonNull;

use super::BufId;
use super::quic::kept::{KEPT_MAX, Kept};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::freelist::Freelist;
use crate::sync::gate::Gate;
use crate::sync::refcount::RefCounts;
use crate::sync::returns::ReturnStack;
use crate::sys::mem::Region;
use crate::sys::wake::Waker;

/// Buffer classes, smallest first.
pub(crate) const CLASS_COUNT: usize = 4;
/// The number of the class of stream buffers.
const STREAM_CLASS: usize = 1;

/// A cache line.
const LINE: usize = 64;

/// Bytes before every buffer that belong to it: room for a header in front of a payload.
pub(crate) const HEADROOM: usize = LINE;
/// Bytes behind every buffer that belong to it: room for a trailer.
pub(crate) const TAILROOM: usize = LINE;

/// The same behind stream buffers: room for the rest of a TLS record that begins at their very end
/// (RFC 5246 §6.2.3: 18,432 bytes and a header). Memory that is not touched until then, so it
/// costs addresses alone.
const TAILROOM_STREAM: usize = 18_496;

/// Bytes behind the buffers of a class that belong to them.
pub(super) const fn tailroom(class: usize) -> usize {
    if class == STREAM_CLASS { TAILROOM_STREAM } else { TAILROOM }
}

/// Bytes from one buffer to the next: its size with the room around it, and an odd line. A stride
/// of a power of two would put the first lines of all buffers, the only ones that short messages
/// touch, into a handful of the cache's sets.
pub(super) const fn stride(class: usize, size: usize) -> usize {
    ((HEADROOM + size + tailroom(class)).div_ceil(LINE) | 1) * LINE
}

/// Where the buffers of one class lie.
#[derive(Clone, Copy)]
pub(crate) struct Geometry {
    base: NonNull<u8>,
    pub(crate) size: u32,
    stride: usize,
    /// The first buffer id of the class.
    pub(crate) first: u32,
    pub(crate) count: u32,
}

/// Shared by the shard, its handles, and every payload or buffer in flight between threads.
pub(crate) struct PoolShared {
    classes: [Geometry; CLASS_COUNT],
    /// The first number that stands for memory which is in none of the classes.
    pub(super) kept_first: u32,
    pub(super) kept: Kept,
    pub(super) refs: RefCounts,
    returns: ReturnStack,
    /// Slots that handles may take.
    pub(super) reserve: Freelist,
    /// Lets a returned buffer wake a shard that sleeps for want of buffers.
    pub(crate) want_returns: Gate,
    waker: Waker,
    gone: AtomicBool,
    /// The memory itself; last, so that it outlives whatever refers to it here.
    _regions: [Region; CLASS_COUNT],
}

// SAFETY: the raw base pointers are only turned into references to single buffers, by owners that
// P2 makes exclusive (send buffers) or read-only (frozen payloads); places of what is kept for QUIC
// are changed by the shard alone, while nobody owns their numbers; everything else is atomic.
unsafe impl Send for PoolShared {}
// SAFETY: as above.
unsafe impl Sync for PoolShared {}

impl PoolShared {
    pub(super) fn new(
        regions: [Region; CLASS_COUNT],
        sizes: [u32; CLASS_COUNT],
        counts: [u32; CLASS_COUNT],
        reserve: usize,
        waker: Waker,
    ) -> Self {
        let mut first = 0;
        let classes = std::array::from_fn(|i| {
            let (base, size, count) = (regions[i].base(), sizes[i], counts[i]);
            let geometry = Geometry { base, size, stride: stride(i, size as usize), first, count };
            first += counts[i];
            geometry
        });
        Self {
            classes,
            kept_first: first,
            kept: Kept::new(),
            refs: RefCounts::with_capacity(first as usize + KEPT_MAX),
            returns: ReturnStack::with_capacity(first as usize + KEPT_MAX),
            reserve: Freelist::with_capacity(reserve),
            want_returns: Gate::new(),
            waker,
            gone: AtomicBool::new(false),
            _regions: regions,
        }
    }

    pub(crate) const fn class(&self, class: usize) -> &Geometry {
        &self.classes[class]
    }

    /// Whether the number stands for memory that is in none of the classes.
    #[inline]
    pub(super) const fn is_kept(&self, buf: BufId) -> bool {
        buf.0 >= self.kept_first
    }

    /// The class a buffer belongs to.
    #[inline]
    pub(crate) fn class_of(&self, buf: BufId) -> usize {
        let id = buf.0;
        if id < self.classes[1].first {
            0
        } else if id < self.classes[2].first {
            1
        } else if id < self.classes[3].first {
            2
        } else {
            3
        }
    }

    /// Bytes in the buffer.
    #[inline]
    pub(crate) fn size_of(&self, buf: BufId) -> usize {
        self.classes[self.class_of(buf)].size as usize
    }

    /// The same with the room behind it.
    pub(crate) fn extent_of(&self, buf: BufId) -> usize {
        if self.is_kept(buf) {
            return usize::MAX;
        }
        self.size_of(buf) + tailroom(self.class_of(buf))
    }

    /// The first byte of the buffer.
    #[inline]
    pub(crate) fn ptr(&self, buf: BufId) -> NonNull<u8> {
        if self.is_kept(buf) {
            return self.kept.ptr(buf.0 - self.kept_first);
        }
        let class = &self.classes[self.class_of(buf)];
        debug_assert!(buf.0 - class.first < class.count, "{buf:?} is outside its class");
        let offset = (buf.0 - class.first) as usize * class.stride + HEADROOM;
        // SAFETY: P1: ids come from this geometry, so the offset lies inside the class's region.
        unsafe { class.base.add(offset) }
    }

    /// Sends a buffer home. The shard takes it up in its next tick, and is woken if it waits for
    /// one.
    pub(super) fn give_back(&self, buf: BufId) {
        self.returns.push(buf.0);
        if self.want_returns.needs_wake() {
            self.waker.wake();
        }
    }

    /// Whether buffers are on their way home.
    #[inline]
    pub(crate) fn has_returned(&self) -> bool {
        !self.returns.is_empty()
    }

    pub(super) fn take_returned(&self) -> impl Iterator<Item = BufId> + '_ {
        self.returns.take_all().map(BufId)
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// From now on handles get `IoGone`.
    pub(crate) fn set_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}
