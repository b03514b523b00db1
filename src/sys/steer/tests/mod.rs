//! The programs as text, and on sockets.

mod kernel;
pub(crate) mod kit;
mod snapshots;
