//! The system underneath: memory, addresses, sockets, facts about the kernel.
//!
//! Role: the only users of `libc`, together with the ring. Not role: any decision of the engine.
//!
//! *Invariant*: whatever a function here opens is closed on each of its error paths.

pub(crate) mod addr;
pub(crate) mod batch;
mod cmsg;
pub(crate) mod gather;
pub(crate) mod sockopt;
pub(crate) mod wake;
