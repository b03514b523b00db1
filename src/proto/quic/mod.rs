//! QUIC: RFC 9000, 9001, 9002, 9221. quinn-proto is the machine; this drives it.
//!
//! Role: what one socket's endpoint and each connection take in, and what they want to send, tell
//! and be woken for, in bounded state. Not role: sockets, clocks, entropy, memory.
//!
//! *Invariants*
//! - quinn-proto is named in this folder alone.
//! - Nothing of a peer's waits in a queue that the peer can make longer than the streams it may
//!   open: payload stays in the machine, under its flow control, until it is asked for.
//! - A direction of a stream is looked up before the machine is asked for it, because the machine
//!   asserts that it exists.

pub(crate) mod admission;
mod bbr;
mod cid;
pub(crate) mod endpoint;
mod first_keys;
mod halves;
mod lost;
mod meter;
pub(crate) mod owner;
mod pacer;
pub(crate) mod parts;
mod plain;
#[cfg(feature = "quic-qlog")]
mod qlog;
#[cfg(not(feature = "quic-qlog"))]
#[path = "qlog_off.rs"]
mod qlog;
mod reader;
mod remembered;
pub(crate) mod resume;
pub(crate) mod session;
pub(crate) mod signal;
mod stall;
mod streams;
#[cfg(test)]
mod tests;
pub(crate) mod time;
mod tls;
mod tokens;
mod unpad;
mod versions;
