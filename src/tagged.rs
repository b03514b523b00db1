//! [`Tagged`]: a borrowed payload and a few bits beside it, in two words.
//!
//! Role: two words are handed on in registers. Three would go through memory, written one by one
//! and read again at once by wider loads, for which a processor waits.

use std::marker::PhantomData;
use std::ptr::NonNull;
use std::slice;

/// Bytes, and [`TAG_BITS`](Self::TAG_BITS) bits.
#[derive(Clone, Copy)]
pub(crate) struct Tagged<'a> {
    start: NonNull<u8>,
    /// The length in the low bits, the tag above.
    word: u64,
    bytes: PhantomData<&'a [u8]>,
}

// SAFETY: it is a `&[u8]` and a number.
unsafe impl Send for Tagged<'_> {}
// SAFETY: as above.
unsafe impl Sync for Tagged<'_> {}

impl<'a> Tagged<'a> {
    pub(crate) const TAG_BITS: u32 = 40;
    const LEN_BITS: u32 = u64::BITS - Self::TAG_BITS;
    /// Longer ones are cut off here; what a buffer of the pool holds is far below.
    const LEN_MAX: usize = (1 << Self::LEN_BITS) - 1;

    #[inline]
    pub(crate) const fn new(bytes: &'a [u8], tag: u64) -> Self {
        debug_assert!(bytes.len() <= Self::LEN_MAX && tag >> Self::TAG_BITS == 0);
        let len = if bytes.len() <= Self::LEN_MAX { bytes.len() } else { Self::LEN_MAX };
        // SAFETY: where a slice begins is never null.
        let start = unsafe { NonNull::new_unchecked(bytes.as_ptr().cast_mut()) };
        Self { start, word: len as u64 | tag << Self::LEN_BITS, bytes: PhantomData }
    }

    #[inline]
    pub(crate) const fn bytes(self) -> &'a [u8] {
        // SAFETY: the beginning of a slice that is borrowed for 'a, and no more than its length.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len()) }
    }

    #[inline]
    pub(crate) const fn len(self) -> usize {
        (self.word & Self::LEN_MAX as u64) as usize
    }

    #[inline]
    pub(crate) const fn tag(self) -> u64 {
        self.word >> Self::LEN_BITS
    }
}

impl PartialEq for Tagged<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.word == other.word && self.bytes() == other.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_it_was_given() {
        let bytes = [7; 300];
        for len in [0, 1, 255, 300] {
            for tag in [0, 1, (1 << Tagged::TAG_BITS) - 1] {
                let tagged = Tagged::new(&bytes[..len], tag);
                assert_eq!((tagged.bytes(), tagged.tag()), (&bytes[..len], tag));
                assert_eq!(tagged.len(), len);
                assert!(tagged == Tagged::new(&[7; 300][..len], tag));
                assert!(tagged != Tagged::new(&bytes[..len], tag ^ 2));
            }
        }
        assert_eq!(size_of::<Tagged<'_>>(), 16);
    }
}
