//! QUIC and other implementations of it, on loopback: quinn, s2n-quic and quiche as the programs
//! of `tests/peers`, aioquic as a script. The cases have the names of the QUIC interop runner.
//!
//! *Invariant*: a peer that is missing fails its test, and none outlives it.

#[path = "../quic/kit.rs"]
#[expect(dead_code, reason = "what tests/quic shares; this is one of its users")]
mod kit;

mod clients;
mod cluster;
mod faults;
mod lossy;
mod program;
#[path = "../common/relay.rs"]
#[expect(dead_code, reason = "the rest is other programs'")]
mod relay;
mod servers;
#[path = "../cluster/quic/site.rs"]
#[expect(dead_code, reason = "what tests/cluster shares; this is one of its users")]
mod site;
mod versions;
