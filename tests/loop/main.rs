//! The loop itself on the real kernel: timers, watched descriptors, sleeping, handles.

mod batches;
#[path = "../common/mod.rs"]
mod common;
mod handles;
mod payloads;
mod room;
mod shards;
mod sleeping;
mod timers;
mod waiting;
mod watches;
