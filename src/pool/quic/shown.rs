//! [`Shown`]: the payload of the event that is handed out.

use bytes::Bytes;

/// Keeps what the application is looking at.
#[derive(Debug, Default)]
pub(crate) struct Shown(Bytes);

impl Shown {
    /// Where the next payload is put, with which the one before is let go.
    pub(crate) const fn place(&mut self) -> &mut Bytes {
        &mut self.0
    }

    /// Lets go.
    pub(crate) fn clear(&mut self) {
        self.0 = Bytes::new();
    }

    /// What is kept.
    pub(crate) fn payload(&self) -> &[u8] {
        &self.0
    }

    /// All of it, to be kept elsewhere too.
    pub(crate) fn share(&self) -> Bytes {
        self.0.clone()
    }

    /// The same of `data`, if that is (a part of) what is kept.
    pub(crate) fn share_part(&self, data: &[u8]) -> Option<Bytes> {
        let (all, part) = (self.0.as_ptr_range(), data.as_ptr_range());
        (all.start <= part.start && part.end <= all.end).then(|| self.0.slice_ref(data))
    }

    /// What is kept, for an answer that borrows from whoever owns this.
    ///
    /// # Safety
    /// Nothing is put into `place`, nor is `clear` called, while the slice lives.
    pub(crate) unsafe fn slice<'a>(&self) -> &'a [u8] {
        // SAFETY: the bytes are shared, so nobody writes them, and they live as long as they are
        // kept: by the caller's contract as long as the slice.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr(), self.0.len()) }
    }
}
