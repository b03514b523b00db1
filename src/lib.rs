//! zero-io.

pub(crate) mod rng;
pub(crate) mod time;
