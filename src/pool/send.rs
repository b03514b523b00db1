//! [`SendBuffer`]: memory of the pool to write a message into, which is then sent from where it
//! lies.

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::{BufId, Class, Pool, PoolShared, Use};
use crate::error::{IoError, PoolKind, Result};

/// A writable buffer of the pool. Hand it to `stream_write_buffer` or `udp_send`; dropped unsent,
/// it goes back to the pool.
///
/// ```text
/// | headroom | payload: len() bytes | room to grow: capacity() - len() |
/// ```
///
/// The payload starts with the bytes that happen to be in memory (never uninitialised): write all
/// of it.
pub struct SendBuffer {
    buf: BufId,
    start: u32,
    len: u32,
    size: u32,
    shared: Arc<PoolShared>,
}

/// A send buffer without its destructor, on its way to the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawSend {
    pub(crate) buf: BufId,
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl SendBuffer {
    /// Memory of QUIC, which `buf` stands for.
    pub(super) const fn of_kept(shared: Arc<PoolShared>, buf: BufId, len: u32) -> Self {
        Self { buf, start: 0, len, size: len, shared }
    }

    pub(super) fn new(shared: Arc<PoolShared>, buf: BufId, len: u32) -> Self {
        let size = shared.size_of(buf) as u32;
        debug_assert!(len <= size);
        Self { buf, start: 0, len, size, shared }
    }

    pub(super) fn from_unique(shared: Arc<PoolShared>, buf: BufId, start: u32, len: u32) -> Self {
        // A TLS record that straddled buffers ends behind its own.
        let size = (shared.size_of(buf) as u32).max(start + len);
        debug_assert!(size as usize <= shared.extent_of(buf));
        Self { buf, start, len, size, shared }
    }

    /// The payload, to be written.
    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: P2, an unsent buffer has one owner: this; the range is inside it.
        unsafe {
            let data = self.shared.ptr(self.buf).as_ptr().add(self.start as usize);
            std::slice::from_raw_parts_mut(data, self.len as usize)
        }
    }

    /// Bytes the payload may have.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        (self.size - self.start) as usize
    }

    /// Sets the payload's length.
    ///
    /// # Panics
    /// When `len` exceeds [`capacity`](Self::capacity).
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "{len} bytes in a buffer of {}", self.capacity());
        self.len = len as u32;
    }

    /// Makes the payload empty, to be appended to through `std::io::Write`.
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn into_raw(self) -> (RawSend, Arc<PoolShared>) {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is never dropped, so the Arc moves out exactly once.
        let shared = unsafe { std::ptr::read(&raw const this.shared) };
        (RawSend { buf: this.buf, start: this.start, len: this.len }, shared)
    }

    /// Its number.
    pub(super) const fn id(&self) -> BufId {
        self.buf
    }

    /// Whether it is memory of QUIC, and none of the pool's classes.
    pub(super) fn is_kept(&self) -> bool {
        self.shared.is_kept(self.buf)
    }

    /// Whether the buffer is of this pool: one that another shard has may not be sent by this one.
    pub(crate) fn check_of(&self, shared: &Arc<PoolShared>) -> Result<()> {
        if Arc::ptr_eq(&self.shared, shared) {
            return Ok(());
        }
        Err(IoError::InvalidArgument {
            what: "send buffer",
            why: "it belongs to another Io; take one from the Io that sends it",
        })
    }
}

impl Pool {
    /// A buffer to write into, for the application.
    pub(crate) fn send_buffer(&mut self, min: usize) -> Result<SendBuffer> {
        let class = self.class_for(min)?;
        let buf = self.take(class, Use::TxBulk).ok_or_else(|| IoError::exhausted(class.kind()))?;
        Ok(SendBuffer::new(Arc::clone(&self.shared), buf, min as u32))
    }

    /// A buffer that another shard has may not be sent by this one.
    pub(crate) fn check_own(&self, buffer: &SendBuffer) -> Result<()> {
        buffer.check_of(&self.shared)
    }

    /// Nor may one of which QUIC alone knows the memory be sent by another protocol.
    pub(crate) fn check_adoptable(&self, buffer: &SendBuffer) -> Result<()> {
        self.check_own(buffer)?;
        if buffer.is_kept() {
            return Err(IoError::InvalidArgument {
                what: "send buffer",
                why: "it was made for a QUIC connection; take one with send_buffer",
            });
        }
        Ok(())
    }

    /// Takes a send buffer into the engine: its hold becomes the shard's own.
    pub(crate) fn adopt(&mut self, buffer: SendBuffer) -> Result<RawSend> {
        self.check_adoptable(&buffer)?;
        let (raw, _shared) = buffer.into_raw();
        self.settle(raw.buf);
        Ok(raw)
    }
}

impl Deref for SendBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: P2, an unsent buffer has one owner: this; the range is inside it.
        unsafe {
            let data = self.shared.ptr(self.buf).as_ptr().add(self.start as usize);
            std::slice::from_raw_parts(data, self.len as usize)
        }
    }
}

impl DerefMut for SendBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

/// Appends to the payload, as far as the capacity goes.
impl io::Write for SendBuffer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let old = self.len as usize;
        let n = data.len().min(self.capacity() - old);
        self.set_len(old + n);
        self.as_mut_slice()[old..].copy_from_slice(&data[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SendBuffer {
    fn drop(&mut self) {
        self.shared.give_back(self.buf);
    }
}

impl fmt::Debug for SendBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBuffer")
            .field("len", &self.len)
            .field("capacity", &self.capacity())
            .finish_non_exhaustive()
    }
}

/// A handle's way to a buffer: from the reserve, on any thread.
impl PoolShared {
    pub(crate) fn reserve_buffer(self: &Arc<Self>, min: usize) -> Result<SendBuffer> {
        let max = self.class(Class::Slots as usize).size as usize;
        if min > max {
            return Err(IoError::BufferTooLarge { len: min, max });
        }
        let Some(slot) = self.reserve.pop() else {
            // What handles dropped unsent waits for the shard, which may sleep.
            if self.has_returned() {
                self.wake();
            }
            return Err(IoError::exhausted(PoolKind::HandleReserve));
        };
        Ok(SendBuffer::new(Arc::clone(self), BufId(slot), min as u32))
    }

    /// One of those with these bytes in it.
    pub(crate) fn reserve_filled(self: &Arc<Self>, data: &[u8]) -> Result<SendBuffer> {
        let mut buffer = self.reserve_buffer(data.len())?;
        buffer.as_mut_slice().copy_from_slice(data);
        Ok(buffer)
    }
}
