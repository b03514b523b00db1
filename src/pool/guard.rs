//! [`WriteGuard`]: memory of the application that is sent from where it lies.

use std::sync::Arc;

/// Memory that stays where it is and as it is for as long as it is shared.
///
/// # Safety
/// `bytes` must return the same address, length and content every time, until the value is dropped.
pub unsafe trait StableBytes: Send + Sync + 'static {
    /// The memory.
    fn bytes(&self) -> &[u8];
}

// SAFETY: a shared vector cannot be changed.
unsafe impl StableBytes for Vec<u8> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

// SAFETY: a shared string cannot be changed.
unsafe impl StableBytes for String {
    fn bytes(&self) -> &[u8] {
        self.as_bytes()
    }
}

// SAFETY: a boxed slice cannot be changed while it is shared.
unsafe impl StableBytes for Box<[u8]> {
    fn bytes(&self) -> &[u8] {
        self
    }
}

/// Memory for a guard write, kept alive until [`Event::SendDone`](crate::Event::SendDone).
#[derive(Clone)]
#[non_exhaustive]
pub enum WriteGuard {
    /// Bytes of the program itself.
    Static(&'static [u8]),
    /// A shared slice.
    Shared(Arc<[u8]>),
    /// Anything that keeps its bytes in place: vectors, mapped files.
    Owner(Arc<dyn StableBytes>),
}

impl WriteGuard {
    /// The bytes that will be sent.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Shared(bytes) => bytes,
            Self::Owner(owner) => owner.bytes(),
        }
    }
}

impl std::fmt::Debug for WriteGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteGuard").field("len", &self.bytes().len()).finish_non_exhaustive()
    }
}

impl From<&'static [u8]> for WriteGuard {
    fn from(bytes: &'static [u8]) -> Self {
        Self::Static(bytes)
    }
}

impl From<&'static str> for WriteGuard {
    fn from(text: &'static str) -> Self {
        Self::Static(text.as_bytes())
    }
}

impl From<Arc<[u8]>> for WriteGuard {
    fn from(bytes: Arc<[u8]>) -> Self {
        Self::Shared(bytes)
    }
}

impl<T: StableBytes> From<Arc<T>> for WriteGuard {
    fn from(owner: Arc<T>) -> Self {
        Self::Owner(owner)
    }
}
