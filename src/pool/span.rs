//! [`Span`]: received bytes that wait.

use super::BufId;

/// A stretch of received bytes, in a buffer that is held for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) buf: BufId,
    pub(crate) offset: u32,
    pub(crate) len: u32,
}

impl Span {
    pub(crate) const NONE: Self = Self { buf: BufId::NONE, offset: 0, len: 0 };
}
