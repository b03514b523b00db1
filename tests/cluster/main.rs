//! Several shards behind the same addresses, on the real kernel.

#[path = "../common/mod.rs"]
mod common;
mod config;
mod echo;
mod endings;
mod kit;
mod moves;
mod posts;
mod sockets;
mod stats;
