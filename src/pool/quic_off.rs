//! The shape of `quic` without the feature: all memory is the pool's.

pub(crate) mod held {
    //! Received payload.

    /// None of QUIC's.
    #[derive(Debug)]
    pub(crate) enum Payload {}
}

pub(crate) mod kept {
    //! What is not the pool's.

    use std::ptr::NonNull;

    use crate::pool::{BufId, Pool};

    /// There is none.
    pub(crate) const KEPT_MAX: usize = 0;

    /// No place.
    pub(crate) struct Kept;

    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    impl Kept {
        pub(crate) const fn new() -> Self {
            Self
        }

        pub(crate) const fn ptr(&self, _: u32) -> NonNull<u8> {
            NonNull::dangling()
        }
    }

    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    impl Pool {
        pub(in crate::pool) const fn empty(&self, _: BufId) {}
    }
}
