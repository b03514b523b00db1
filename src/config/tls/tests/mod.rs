//! Configurations against real handshakes in memory, real files, and keys that OpenSSL made.

mod errors;
mod handshakes;
mod key_log;
mod keys;
mod reload;
mod resumption;
mod trust;
mod world;
