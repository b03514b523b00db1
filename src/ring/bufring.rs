//! Provided buffers: the ring through which the kernel is lent memory to receive into.
//!
//! Role: one group's ring of entries. Not role: the buffers themselves, or knowing which are lent.
//!
//! ```text
//! | addr: u64 | len: u32 | bid: u16 | tail: u16 |   entry 0; its last field is the ring's tail
//! | addr: u64 | len: u32 | bid: u16 |    -      |   entry 1 ..
//! ```
//!
//! *Invariant* K5: the kernel pins this memory until the group is unregistered.
//! [`BufRing::unregister`] takes the ring by value and unmaps only afterwards; nothing else drops
//! one that is registered.

use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

use crate::config::Toggle;
use crate::error::{IoError, Result};
use crate::sys::kernel::uring_error;
use crate::sys::mem::Region;

/// The largest ring that the kernel takes.
const ENTRIES_MAX: u16 = 1 << 15;

/// The ring of one buffer group.
pub(super) struct BufRing {
    memory: Region,
    group: u16,
    mask: u16,
    /// Entries staged so far, modulo 2^16; the kernel sees them when they are published.
    tail: u16,
}

impl BufRing {
    pub(super) fn register(ring: &Submitter<'_>, group: u16, entries: u16) -> Result<Self> {
        if !entries.is_power_of_two() || entries > ENTRIES_MAX {
            return Err(IoError::InvalidArgument {
                what: "entries of a buffer group",
                why: "they must be a power of two of at most 32,768",
            });
        }
        let len = usize::from(entries) * size_of::<BufRingEntry>();
        let memory = Region::new(len, Toggle::Off, true)?;
        let addr = memory.base().as_ptr().addr() as u64;
        // SAFETY: the memory has room for the entries, is zeroed (tail 0), and outlives the
        // registration: `unregister` takes both down in that order.
        unsafe { ring.register_buf_ring_with_flags(addr, entries, group, 0) }.map_err(|error| {
            uring_error("io_uring_register", error.raw_os_error().unwrap_or(libc::EIO))
        })?;
        Ok(Self { memory, group, mask: entries - 1, tail: 0 })
    }

    /// Stages one buffer. The caller lends at most as many as the ring has entries.
    #[inline]
    pub(super) fn provide(&mut self, bid: u16, ptr: *mut u8, len: u32) {
        let at = usize::from(self.tail & self.mask);
        // SAFETY: `at` is below the number of entries. The kernel reads an entry only after its
        // publication, and this one is not published; the tail in entry 0 is not touched.
        let entry = unsafe { &mut *self.memory.base().as_ptr().cast::<BufRingEntry>().add(at) };
        entry.set_addr(ptr.addr() as u64);
        entry.set_len(len);
        entry.set_bid(bid);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Makes the staged buffers visible.
    #[inline]
    pub(super) fn publish(&mut self) {
        let base = self.memory.base().as_ptr().cast::<BufRingEntry>();
        // SAFETY: the tail is an aligned u16 inside the mapping, which the kernel and this thread
        // share; all accesses to it are atomic.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(base).cast_mut()) };
        // The entries are written before the kernel sees the tail that includes them.
        tail.store(self.tail, Ordering::Release);
    }

    /// Ends the kernel's access, then unmaps.
    pub(super) fn unregister(self, ring: &Submitter<'_>) {
        if ring.unregister_buf_ring(self.group).is_err() {
            // The kernel may still read it: better a leak than a stranger's memory.
            std::mem::forget(self.memory);
        }
    }

    /// Unmaps in a process that is not the one that registered it.
    pub(super) fn abandon(self) {
        drop(self.memory);
    }
}
