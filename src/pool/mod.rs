//! The payload memory of one shard: four classes of buffers, who holds each, and how much may be
//! held.
//!
//! ```text
//! class    size                      used for
//! Slots    Config::pool_slot_size    datagrams, small sends, detached copies, partial messages
//! Stream   Config::stream_buffer_size  stream receive (lent to the kernel), large sends
//! Gro      64 KiB                    segmented datagrams
//! Jumbo    Config::jumbo_size        messages longer than a stream buffer
//! ```
//!
//! Role: take, hold, release, detach; conservation. Not role: what is in a buffer.
//!
//! *Invariants*
//! - P1 per class: free + lent to the kernel + held = count. [`Pool::audit`] checks it.
//! - P2 a buffer is written by one owner until its first visible event or send; then it is frozen.
//! - P4 holds of the shard are plain counters; an atomic is touched only for what left the shard.
//! - P6 numbers of buffers are made here alone, from the geometry of the classes; what comes from
//!   outside as a number (the kernel's buffer id) is checked, and what belongs to another pool is
//!   refused.

mod budget;
pub(crate) mod carry;
mod guard;
mod owned;
mod pressure;
#[cfg(feature = "quic")]
pub(crate) mod quic;
#[cfg(not(feature = "quic"))]
#[path = "quic_off.rs"]
pub(crate) mod quic;
mod room;
mod send;
mod shared;
mod span;

use std::ptr::NonNull;
use std::sync::Arc;

pub use guard::{StableBytes, WriteGuard};
pub use owned::OwnedSlot;
pub(crate) use pressure::{Cascade, Gauge};
pub use pressure::{PoolPressureInfo, PoolStats, PoolUse, PressureState, ReferencePool};
pub(crate) use send::RawSend;
pub use send::SendBuffer;
pub(crate) use shared::{HEADROOM, PoolShared, TAILROOM};
pub(crate) use span::Span;

use crate::config::{Config, GRO_BUFFER_SIZE, HugePages, Toggle};
use crate::error::{IoError, PoolKind, Result};
use crate::sys::mem::Region;
use crate::sys::wake::Waker;
use budget::Budget;
pub(crate) use budget::Use;
use shared::CLASS_COUNT;

/// One buffer, by its number in the whole pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct BufId(pub(crate) u32);

impl BufId {
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// The classes, by index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Class {
    Slots = 0,
    Stream = 1,
    Gro = 2,
    Jumbo = 3,
}

impl Class {
    const ALL: [Self; CLASS_COUNT] = [Self::Slots, Self::Stream, Self::Gro, Self::Jumbo];

    pub(crate) const fn kind(self) -> PoolKind {
        match self {
            Self::Slots => PoolKind::Slots,
            Self::Stream => PoolKind::StreamBuffers,
            Self::Gro => PoolKind::GroBuffers,
            Self::Jumbo => PoolKind::Jumbo,
        }
    }
}

/// Nobody is charged for the buffer.
const NO_OWNER: u32 = u32::MAX;

/// What the shard knows of one buffer. Aligned, so that it is found by a shift.
#[derive(Clone, Copy)]
#[repr(align(32))]
struct Slot {
    ptr: NonNull<u8>,
    /// Queued records, the current event, queued sends, and one for all that left the shard.
    /// 32 bits: one payload can be forwarded to every connection there may be, and received bytes
    /// can be very many messages.
    holds: u32,
    class: Class,
    usage: Use,
    /// It left the shard as one or more `OwnedSlot`s.
    detached: bool,
    /// The connection that is charged for holding it (its index), and the low bits of its
    /// generation.
    owner: u32,
    owner_generation: u32,
}

/// The connection to be credited when its buffer came home.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Owner {
    /// Nobody is charged.
    const NOBODY: Self = Self { index: NO_OWNER, generation: 0 };
}

struct ClassState {
    /// Bytes in a buffer.
    size: u32,
    /// The number of the first buffer.
    first: u32,
    /// Free buffers; the last one is the warmest in the cache.
    free: Vec<BufId>,
    count: u32,
    /// Buffers in the kernel's ring.
    lent: u32,
    detached: u32,
    detached_max: u32,
    peak: u32,
    /// Up to this use nothing changes while all is `Healthy`.
    calm_max: u32,
    budget: Budget,
}

/// The pool of one shard.
pub(crate) struct Pool {
    slots: Box<[Slot]>,
    classes: [ClassState; CLASS_COUNT],
    shared: Arc<PoolShared>,
    /// Owners to be credited; drained by the engine after each batch of releases.
    credits: Vec<Owner>,
    reserve_wanted: usize,
    reserve_out: usize,
    /// Numbers that stand for memory of QUIC, and for none now.
    kept_free: Vec<u32>,
    poison: bool,
    huge: HugePages,
}

/// What [`DebugConfig::poison_freed`](crate::DebugConfig) writes.
const POISON: u8 = 0xDB;

impl Pool {
    /// `calm_max`: for a capacity, see [`Cascade::calm_max`].
    pub(crate) fn new(
        config: &Config,
        waker: Waker,
        calm_max: impl Fn(u32) -> u32,
    ) -> Result<Self> {
        let sizes =
            [config.pool_slot_size, config.stream_buffer_size, GRO_BUFFER_SIZE, config.jumbo_size];
        let counts = [
            config.pool_slot_count,
            config.stream_buffer_count,
            config.gro_buffer_count,
            config.jumbo_count,
        ];
        let region = |i: usize, huge: Toggle, prefault: bool| {
            Region::new(shared::stride(i, sizes[i]) * counts[i].max(1), huge, prefault)
        };
        let regions = [
            region(0, config.huge_pages, true)?,
            region(1, Toggle::Off, false)?,
            region(2, Toggle::Off, false)?,
            region(3, Toggle::Off, false)?,
        ];
        let huge = regions[0].huge();
        let reserve = config.handle_reserve_count;
        let sizes = sizes.map(|n| n as u32);
        let counts = counts.map(|n| n as u32);
        let shared = Arc::new(PoolShared::new(regions, sizes, counts, reserve, waker));
        let mut slots = Vec::with_capacity(counts.iter().sum::<u32>() as usize);
        let classes = Class::ALL.map(|class| {
            let geometry = *shared.class(class as usize);
            slots.extend((0..geometry.count).map(|i| Slot {
                ptr: shared.ptr(BufId(geometry.first + i)),
                holds: 0,
                class,
                usage: Use::Rx,
                detached: false,
                owner: NO_OWNER,
                owner_generation: 0,
            }));
            ClassState {
                size: geometry.size,
                first: geometry.first,
                free: (geometry.first..geometry.first + geometry.count).rev().map(BufId).collect(),
                count: geometry.count,
                lent: 0,
                detached: 0,
                detached_max: (geometry.count * u32::from(config.detached_max_pct) / 100).max(1),
                peak: 0,
                calm_max: match class {
                    // No pool of the reference's seven: it raises nothing.
                    Class::Gro => u32::MAX,
                    _ => calm_max(geometry.count),
                },
                budget: Budget::new(geometry.count),
            }
        });
        let total = slots.len();
        let mut pool = Self {
            slots: slots.into_boxed_slice(),
            classes,
            shared,
            credits: Vec::with_capacity(total),
            reserve_wanted: reserve,
            reserve_out: 0,
            kept_free: (0..quic::kept::KEPT_MAX as u32).rev().collect(),
            poison: config.debug.poison_freed,
            huge,
        };
        pool.refill_reserve();
        Ok(pool)
    }

    pub(crate) const fn shared(&self) -> &Arc<PoolShared> {
        &self.shared
    }

    pub(crate) const fn huge(&self) -> HugePages {
        self.huge
    }

    /// What is known of a buffer.
    #[inline]
    fn slot(&self, buf: BufId) -> &Slot {
        debug_assert!((buf.0 as usize) < self.slots.len());
        // SAFETY: P6, a `BufId` other than `NONE` is a number that this pool gave out.
        unsafe { self.slots.get_unchecked(buf.0 as usize) }
    }

    #[inline]
    fn slot_mut(&mut self, buf: BufId) -> &mut Slot {
        debug_assert!((buf.0 as usize) < self.slots.len());
        // SAFETY: as in `slot`.
        unsafe { self.slots.get_unchecked_mut(buf.0 as usize) }
    }

    #[inline]
    pub(crate) fn size_of(&self, buf: BufId) -> usize {
        self.classes[self.slot(buf).class as usize].size as usize
    }

    #[inline]
    pub(crate) const fn class_size(&self, class: Class) -> usize {
        self.classes[class as usize].size as usize
    }

    #[inline]
    pub(crate) fn ptr(&self, buf: BufId) -> *mut u8 {
        self.slot(buf).ptr.as_ptr()
    }

    /// A frozen range.
    ///
    /// # Safety
    /// The caller holds the buffer, which is frozen (P2), for as long as the slice lives.
    #[inline]
    pub(crate) unsafe fn slice<'a>(&self, buf: BufId, offset: u32, len: u32) -> &'a [u8] {
        debug_assert!(offset as usize + len as usize <= self.extent_of(buf));
        // SAFETY: inside the buffer; frozen and held by the caller's contract.
        unsafe { std::slice::from_raw_parts(self.ptr(buf).add(offset as usize), len as usize) }
    }

    /// Copies into a buffer that is not frozen yet.
    #[inline]
    pub(crate) fn write(&mut self, buf: BufId, offset: usize, data: &[u8]) {
        debug_assert!(self.slot(buf).holds == 1, "only a sole holder may write (P2)");
        assert!(offset + data.len() <= self.size_of(buf), "outside the buffer");
        // SAFETY: inside the buffer; sole holder (P2); `data` cannot overlap, since frozen ranges
        // of a buffer with one holder are not lent out.
        unsafe {
            std::ptr::copy_nonoverlapping(data.as_ptr(), self.ptr(buf).add(offset), data.len());
        }
    }

    // ---- taking and releasing

    /// Takes a buffer for `usage`, with one hold, if its budget allows.
    #[inline]
    pub(crate) fn take(&mut self, class: Class, usage: Use) -> Option<BufId> {
        let state = &mut self.classes[class as usize];
        let buf = state.take(usage)?;
        let slot = self.slot_mut(buf);
        debug_assert!(slot.holds == 0 && !slot.detached, "{buf:?} was free and held (P1)");
        slot.holds = 1;
        slot.usage = usage;
        Some(buf)
    }

    /// Charges a connection for a buffer that was taken as if it had been received into.
    pub(crate) fn charge(&mut self, buf: BufId, owner: Owner) {
        let slot = self.slot_mut(buf);
        debug_assert!(slot.owner == NO_OWNER && slot.usage == Use::Rx);
        (slot.owner, slot.owner_generation) = (owner.index, owner.generation);
    }

    /// Takes a buffer and copies `data`, which must fit, to its front; where it lies.
    #[inline]
    pub(crate) fn take_filled(
        &mut self,
        class: Class,
        usage: Use,
        data: &[u8],
    ) -> Option<(BufId, *const u8)> {
        assert!(data.len() <= self.class_size(class), "outside the buffer");
        let buf = self.take(class, usage)?;
        let ptr = self.ptr(buf);
        // SAFETY: inside the buffer, whose class says its size; sole holder (P2); `data` cannot
        // overlap a buffer that was free.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), ptr, data.len()) };
        Some((buf, ptr))
    }

    /// The smallest class that holds `len` bytes.
    pub(crate) fn class_for(&self, len: usize) -> Result<Class> {
        for class in [Class::Slots, Class::Stream, Class::Gro, Class::Jumbo] {
            if len <= self.class_size(class) && self.classes[class as usize].count > 0 {
                return Ok(class);
            }
        }
        Err(IoError::BufferTooLarge { len, max: self.size_max() })
    }

    /// Takes the smallest buffer for `len` bytes that there is one of; a larger one costs less than
    /// doing without.
    ///
    /// # Errors
    /// `BufferTooLarge` when no class holds so much; `None` when no buffer that would is free.
    pub(crate) fn take_fitting(&mut self, len: usize, usage: Use) -> Result<Option<BufId>> {
        self.class_for(len)?;
        for class in [Class::Slots, Class::Stream, Class::Gro, Class::Jumbo] {
            if len <= self.class_size(class)
                && let Some(buf) = self.take(class, usage)
            {
                return Ok(Some(buf));
            }
        }
        Ok(None)
    }

    /// The bytes of the largest buffer there is.
    pub(crate) fn size_max(&self) -> usize {
        let there = Class::ALL.iter().filter(|c| self.classes[**c as usize].count > 0);
        there.map(|c| self.class_size(*c)).max().unwrap_or(0)
    }

    #[inline]
    pub(crate) fn hold(&mut self, buf: BufId) {
        let slot = self.slot_mut(buf);
        debug_assert!(slot.holds > 0, "{buf:?} is held again after it went home");
        slot.holds += 1;
    }

    /// Drops one hold; the last one frees the buffer. Its owner is noted, to be credited later.
    #[inline]
    pub(crate) fn release(&mut self, buf: BufId) {
        if let Some(owner) = self.release_received(buf) {
            self.credits.push(owner);
            self.put(buf);
        }
    }

    /// Drops one hold. If it was the last one of a received buffer: the connection to be credited,
    /// and the buffer is the caller's, to be lent again or put back.
    #[inline]
    pub(crate) fn release_received(&mut self, buf: BufId) -> Option<Owner> {
        let slot = self.slot_mut(buf);
        debug_assert!(slot.holds > 0, "{buf:?} is released more often than held");
        slot.holds -= 1;
        if slot.holds > 0 {
            return None;
        }
        let owner = Owner { index: slot.owner, generation: slot.owner_generation };
        slot.owner = NO_OWNER;
        if self.poison {
            self.poison(buf);
        }
        if owner.index != NO_OWNER {
            return Some(owner);
        }
        self.put(buf);
        None
    }

    fn put(&mut self, buf: BufId) {
        let slot = self.slot(buf);
        let (class, usage) = (slot.class, slot.usage);
        self.classes[class as usize].put(buf, usage);
    }

    /// Whether the caller, by its one hold, may receive into the buffer again instead of releasing
    /// it and taking another: nobody is charged for it, and nothing of it is out.
    #[inline]
    pub(crate) fn may_refill(&self, buf: BufId, class: Class) -> bool {
        let slot = &self.slots[buf.0 as usize];
        slot.holds == 1
            && slot.class == class
            && slot.usage == Use::Rx
            && slot.owner == NO_OWNER
            && !slot.detached
            && !self.poison
    }

    /// As `release`, for a buffer that was only ever written and sent: it has one hold and no
    /// owner.
    #[inline]
    pub(crate) fn release_own(&mut self, buf: BufId) {
        let slot = self.slot_mut(buf);
        debug_assert!(slot.holds == 1 && slot.owner == NO_OWNER && !slot.detached);
        debug_assert!(slot.usage == Use::TxBulk);
        slot.holds = 0;
        let class = slot.class;
        if self.poison {
            self.poison(buf);
        }
        self.classes[class as usize].put(buf, Use::TxBulk);
    }

    #[cold]
    fn poison(&mut self, buf: BufId) {
        let size = self.size_of(buf);
        // SAFETY: nobody holds the buffer; the range is the whole of it.
        unsafe { std::ptr::write_bytes(self.ptr(buf), POISON, size) };
    }

    /// Whether `next_credit` has one.
    #[inline]
    pub(crate) const fn has_credit(&self) -> bool {
        !self.credits.is_empty()
    }

    /// The next connection whose buffer came home.
    #[inline]
    pub(crate) fn next_credit(&mut self) -> Option<Owner> {
        self.credits.pop()
    }

    // ---- lending to the kernel

    /// Takes a free buffer for the kernel's ring.
    #[inline]
    pub(crate) fn lend(&mut self, class: Class) -> Option<BufId> {
        let state = &mut self.classes[class as usize];
        let buf = state.take(Use::Rx)?;
        state.lent += 1;
        self.slot_mut(buf).usage = Use::Rx;
        Some(buf)
    }

    /// The kernel filled the buffer: it is held once, and the connection is charged for it.
    #[inline]
    pub(crate) fn unlend_to(&mut self, class: Class, index: u16, owner: Owner) -> BufId {
        let state = &mut self.classes[class as usize];
        assert!(u32::from(index) < state.count, "K4: the kernel named a buffer that is not there");
        let buf = BufId(state.first + u32::from(index));
        state.lent -= 1;
        let slot = self.slot_mut(buf);
        debug_assert!(slot.holds == 0, "{buf:?} came from the kernel while held (P1)");
        slot.holds = 1;
        slot.owner = owner.index;
        slot.owner_generation = owner.generation;
        buf
    }

    /// The same; nobody is charged.
    pub(crate) fn unlend(&mut self, class: Class, index: u16) -> BufId {
        self.unlend_to(class, index, Owner::NOBODY)
    }

    /// Lends a buffer again that was received into and is let go of: see
    /// [`release_received`](Self::release_received). Its number in its class, and where it lies.
    #[inline]
    pub(crate) fn lend_again(&mut self, class: Class, buf: BufId) -> (u16, *mut u8) {
        let state = &mut self.classes[class as usize];
        state.lent += 1;
        let first = state.first;
        let slot = self.slot(buf);
        debug_assert!(slot.holds == 0 && slot.class == class && slot.usage == Use::Rx);
        ((buf.0 - first) as u16, slot.ptr.as_ptr())
    }

    /// Frees a received buffer that is let go of.
    #[inline]
    pub(crate) fn put_received(&mut self, class: Class, buf: BufId) {
        self.classes[class as usize].put(buf, Use::Rx);
    }

    /// The buffer's number inside its class.
    #[inline]
    pub(crate) fn index_in_class(&self, buf: BufId) -> u16 {
        (buf.0 - self.classes[self.slot(buf).class as usize].first) as u16
    }

    pub(crate) const fn lent(&self, class: Class) -> u32 {
        self.classes[class as usize].lent
    }

    /// Free buffers but for the shares of other uses: a lower bound of what `usage` may take.
    #[inline]
    pub(crate) fn free_for(&self, class: Class, usage: Use) -> u32 {
        let state = &self.classes[class as usize];
        (state.free.len() as u32).saturating_sub(state.budget.set_aside(usage))
    }

    /// Whether `usage` may take a buffer now.
    pub(crate) fn has_for(&self, class: Class, usage: Use) -> bool {
        let state = &self.classes[class as usize];
        state.budget.allows(usage, state.free.len() as u32)
    }

    pub(crate) const fn count(&self, class: Class) -> u32 {
        self.classes[class as usize].count
    }

    // ---- leaving the shard

    /// Turns one hold of the shard into an `OwnedSlot`. The hold stays counted until the last
    /// clone is gone.
    pub(crate) fn detach(&mut self, buf: BufId, offset: u32, len: u32) -> Result<OwnedSlot> {
        let slot = &mut self.slots[buf.0 as usize];
        let state = &mut self.classes[slot.class as usize];
        if slot.detached {
            // An earlier payload of the same buffer is out. Join it, unless it is just coming home.
            if !self.shared.refs.try_clone(buf.0) {
                return Err(IoError::exhausted(PoolKind::Detached));
            }
            let owned = OwnedSlot::new(Arc::clone(&self.shared), buf, offset, len, false);
            self.release(buf);
            return Ok(owned);
        }
        if state.detached >= state.detached_max {
            return Err(IoError::exhausted(PoolKind::Detached));
        }
        state.detached += 1;
        slot.detached = true;
        let sole = slot.holds == 1;
        self.shared.refs.acquire_first(buf.0);
        Ok(OwnedSlot::new(Arc::clone(&self.shared), buf, offset, len, sole))
    }

    /// A buffer that was out is back in the shard's hands, still held once.
    pub(crate) fn settle(&mut self, buf: BufId) {
        let slot = &mut self.slots[buf.0 as usize];
        if slot.detached {
            slot.detached = false;
            self.classes[slot.class as usize].detached -= 1;
        }
        if slot.usage == Use::Handle {
            self.reserve_out -= 1;
            slot.usage = Use::TxBulk;
            self.classes[slot.class as usize].budget.recharge(Use::Handle, Use::TxBulk);
        }
    }

    /// Takes in what other threads dropped. Whether anything came.
    pub(crate) fn reclaim(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        let mut any = false;
        for buf in shared.take_returned() {
            if shared.is_kept(buf) {
                self.empty(buf);
                continue;
            }
            self.settle(buf);
            self.release(buf);
            any = true;
        }
        any
    }

    /// Sets slots aside for handles, as far as there are any to spare.
    pub(crate) fn refill_reserve(&mut self) {
        while self.reserve_out < self.reserve_wanted {
            let Some(buf) = self.take(Class::Slots, Use::Handle) else { return };
            self.reserve_out += 1;
            if self.shared.reserve.push(buf.0).is_err() {
                self.settle(buf);
                self.release(buf);
                return;
            }
        }
    }

    /// Shares under pressure, floors otherwise.
    pub(crate) fn set_strict(&mut self, strict: bool) {
        for class in &mut self.classes {
            class.budget.set_strict(strict);
        }
    }

    // ---- figures

    pub(crate) fn gauge(&self, class: Class) -> Gauge {
        let state = &self.classes[class as usize];
        Gauge { used: state.used(), peak: state.peak, capacity: state.count }
    }

    /// Notes the peaks. Once a tick: what comes and goes within one is not seen. Whether all are
    /// calm.
    pub(crate) fn note_use(&mut self) -> bool {
        let mut calm = true;
        for class in &mut self.classes {
            let used = class.used();
            class.peak = class.peak.max(used);
            calm &= used <= class.calm_max;
        }
        calm
    }

    /// Buffers out as `OwnedSlot`s.
    pub(crate) fn detached(&self) -> u32 {
        self.classes.iter().map(|c| c.detached).sum()
    }

    /// Buffers out with handles, or set aside for them.
    pub(crate) const fn reserve_out(&self) -> usize {
        self.reserve_out
    }

    /// Checks P1. A difference is a bug of the engine.
    ///
    /// # Panics
    /// When free + lent + held is not the count.
    pub(crate) fn audit(&self) {
        for class in Class::ALL {
            let state = &self.classes[class as usize];
            let first = state.first as usize;
            let slots = &self.slots[first..first + state.count as usize];
            let held = slots.iter().filter(|s| s.holds > 0).count() as u32;
            let free = state.free.len() as u32;
            assert!(
                free + state.lent + held == state.count,
                "P1 {class:?}: {free} free + {} lent + {held} held of {}",
                state.lent,
                state.count
            );
        }
    }
}

impl ClassState {
    #[inline]
    fn take(&mut self, usage: Use) -> Option<BufId> {
        if !self.budget.allows(usage, self.free.len() as u32) {
            return None;
        }
        let buf = self.free.pop()?;
        self.budget.charge(usage);
        Some(buf)
    }

    #[inline]
    fn put(&mut self, buf: BufId, usage: Use) {
        self.budget.discharge(usage);
        self.free.push(buf);
    }

    /// Buffers that are neither free nor waiting in the kernel's ring.
    fn used(&self) -> u32 {
        self.count - self.free.len() as u32 - self.lent
    }
}
