//! zero-io.

pub(crate) mod rng;
pub(crate) mod sync;
pub(crate) mod time;
