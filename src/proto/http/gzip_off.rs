//! The shape of `gzip` without the feature: nothing is compressed.

/// No compressor.
#[derive(Default)]
pub(crate) struct Gzip;

#[expect(clippy::unused_self, reason = "the same shape as with the feature")]
#[expect(clippy::needless_pass_by_ref_mut, reason = "the same shape as with the feature")]
impl Gzip {
    pub(crate) const fn new() -> Self {
        Self
    }

    pub(crate) const IS_ON: bool = false;

    pub(crate) const fn compress(&mut self, _: &[u8], _: usize) -> Option<&[u8]> {
        None
    }
}
