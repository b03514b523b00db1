//! Memory that QUIC's state machine keeps slices of, and that comes back when it lets go of them.
//!
//! ```text
//! Packets  64 KiB buffers, lent to the kernel, then cut into packets
//! Cells    16 KiB cells, written from front to back, then cut into pieces of streams
//! Loans    memory that is somebody else's: buffers of the pool, guards, payloads to be forwarded
//! Ferry    cells that other shards write received packets into
//! ```
//!
//! Role: recycle it, without an allocation once warm; bound what peers can keep from coming home.
//! Not role: what is in it.
//!
//! *Invariants*
//! - A buffer is used again only when nothing refers to any part of it, at the same address and
//!   with all of its capacity.
//! - Peers can hold as much of it as there is, and no more: beyond a reserve, what arrives or is
//!   written gets memory of its own, of its own length, which the windows of flow control bound.

pub(crate) mod cells;
pub(crate) mod ferry;
pub(crate) mod held;
pub(crate) mod kept;
pub(crate) mod loans;
pub(crate) mod packets;
pub(crate) mod shown;
