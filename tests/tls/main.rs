//! TLS over real sockets: with OpenSSL, GnuTLS, curl, Python and rustls on the other side.
//!
//! Not role: the machine by itself (`src/proto/tls/tests`), configuration (`src/config/tls/tests`).
//! *Invariant*: a peer that is not installed fails its test; `cargo xtask setup` installs them.

#[path = "../common/mod.rs"]
mod common;

mod certs;
mod ends;
mod flow;
mod hostile;
mod keys;
mod kit;
mod peers;
mod process;
mod reload;
mod resume;
mod sending;
mod trust;
mod upgrade;
