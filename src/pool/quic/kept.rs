//! [`Kept`]: memory of QUIC in the hands of those who know buffers of the pool alone.
//!
//! A number behind those of the pool's buffers stands for a payload that was detached, or for a
//! part of a cell that is a send buffer. So both are counted, cloned and returned as any other.
//!
//! *Invariant*: a place is changed by the shard alone, when its number is free or came home, or was
//! given back by its one owner; in between, it is only looked at.

use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::Arc;

use bytes::Bytes;

use super::held::Region;
use crate::pool::{BufId, OwnedSlot, Pool, SendBuffer};

/// How many there may be at a time; beyond, payload is copied, and send buffers are the pool's.
pub(crate) const KEPT_MAX: usize = 1024;

#[derive(Debug, Default)]
enum Place {
    #[default]
    Empty,
    Payload(Bytes),
    Region(Region),
}

/// The places, by number.
pub(crate) struct Kept(Box<[UnsafeCell<Place>]>);

impl Kept {
    pub(crate) fn new() -> Self {
        Self((0..KEPT_MAX).map(|_| UnsafeCell::default()).collect())
    }

    /// The first byte of what is kept there. The caller owns the number.
    pub(crate) fn ptr(&self, number: u32) -> NonNull<u8> {
        // SAFETY: nobody changes a place whose number somebody owns.
        match unsafe { &*self.0[number as usize].get() } {
            Place::Empty => NonNull::dangling(),
            Place::Payload(bytes) => NonNull::from(&bytes[..]).cast(),
            Place::Region(region) => region.base(),
        }
    }

    /// Changes a place.
    ///
    /// # Safety
    /// The number is the caller's alone, and so is the shard's thread.
    unsafe fn put(&self, number: u32, place: Place) -> Place {
        // SAFETY: by the caller's contract.
        unsafe { std::mem::replace(&mut *self.0[number as usize].get(), place) }
    }
}

impl Pool {
    fn place(&mut self, place: Place) -> Option<BufId> {
        let number = self.kept_free.pop()?;
        // SAFETY: the number was free, so nobody else has it.
        let before = unsafe { self.shared.kept.put(number, place) };
        debug_assert!(matches!(before, Place::Empty), "it was free");
        Some(BufId(self.shared.kept_first + number))
    }

    /// The number of what came home, or was never given to anybody: it is free.
    fn take_kept(&mut self, buf: BufId) -> Place {
        let number = buf.0 - self.shared.kept_first;
        // SAFETY: its last owner gave it back.
        let place = unsafe { self.shared.kept.put(number, Place::Empty) };
        self.kept_free.push(number);
        place
    }

    /// Lets go of what came home.
    pub(in crate::pool) fn empty(&mut self, buf: BufId) {
        drop(self.take_kept(buf));
    }

    /// A payload for the application to keep. `None`: there are too many.
    pub(crate) fn keep(&mut self, payload: Bytes) -> Option<OwnedSlot> {
        let len = payload.len() as u32;
        let buf = self.place(Place::Payload(payload))?;
        self.shared.refs.acquire_first(buf.0);
        Some(OwnedSlot::new(Arc::clone(&self.shared), buf, 0, len, false))
    }

    /// Whether a region can become a send buffer.
    pub(crate) const fn takes_region(&self) -> bool {
        !self.kept_free.is_empty()
    }

    /// A part of a cell for the application to write. `None`: there are too many.
    pub(crate) fn region(&mut self, region: Region) -> Option<SendBuffer> {
        let len = region.len() as u32;
        let buf = self.place(Place::Region(region))?;
        Some(SendBuffer::of_kept(Arc::clone(&self.shared), buf, len))
    }

    /// A send buffer on its way: its part of a cell, or the pool's buffer, which goes home by
    /// itself when it is dropped, for one allocation.
    pub(crate) fn lend_buffer(&mut self, buffer: SendBuffer) -> Bytes {
        struct Lent(SendBuffer);
        impl AsRef<[u8]> for Lent {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
        if !buffer.is_kept() {
            // It is no handle's any more, nor a worker's.
            self.settle(buffer.id());
            return Bytes::from_owner(Lent(buffer));
        }
        let (raw, _shared) = buffer.into_raw();
        match self.take_kept(raw.buf) {
            Place::Region(region) => region.freeze(..raw.len as usize),
            // A send buffer stands for nothing else.
            Place::Payload(_) | Place::Empty => Bytes::new(),
        }
    }
}
