//! QUIC when things go wrong on the real network: paths that lose and change packets, and peers
//! that mean harm.
//!
//! The names are those of the QUIC interop runner where it has one. What the machine itself must
//! withstand (empty frames without end, garbage, tokens) is beside it, in `src/proto/quic/tests`.

#[path = "../quic/kit.rs"]
#[expect(dead_code, reason = "the kit is also for the tests of the public surface")]
mod kit;
#[path = "../common/relay.rs"]
mod relay;

mod floods;
mod idle;
mod paths;
mod peers;
