//! Values cut from the front of the fuzzer's bytes; zeros when they run out.

/// The bytes that are left.
pub struct Input<'a> {
    bytes: &'a [u8],
}

impl<'a> Input<'a> {
    /// All of them.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    /// A number of up to eight bytes, little end first; the first byte says how many, so that small
    /// numbers are as likely as large ones.
    pub fn number(&mut self) -> u64 {
        let len = usize::from(self.byte() % 9);
        (0..len).fold(0, |number, i| number | u64::from(self.byte()) << (8 * i))
    }

    /// The same, as a size.
    pub fn size(&mut self) -> usize {
        usize::try_from(self.number()).unwrap_or(usize::MAX)
    }

    /// `len` bytes, of those that are left again and again; none when there are none.
    #[must_use]
    pub fn repeated(&self, len: usize) -> Vec<u8> {
        if self.bytes.is_empty() {
            return Vec::new();
        }
        let mut repeated = self.bytes.repeat(len.div_ceil(self.bytes.len()));
        repeated.truncate(len);
        repeated
    }

    /// What is left.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.bytes
    }
}
