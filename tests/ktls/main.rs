//! TLS records in the kernel, with rustls on the other side.
//!
//! Tests that need a kernel with TLS are ignored unless asked for, and fail where there is none:
//! `cargo xtask qemu --ktls` runs them, and nothing but them, in guests. The others run anywhere:
//! what is told and what is done where the kernel does not take over.

#[path = "../common/mod.rs"]
mod common;

#[expect(dead_code, reason = "the tests of TLS use the rest")]
#[path = "../tls/certs.rs"]
mod certs;
#[expect(dead_code, reason = "the tests of TLS use the rest")]
#[path = "../tls/kit.rs"]
mod kit;

mod between;
mod ends;
mod fallback;
mod files;
mod flow;
mod rekey;
mod scene;
mod site;
