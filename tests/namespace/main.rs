//! What needs a network of its own: hosts with several addresses, networks that swallow what is
//! sent to them, IPv6 multicast.
//!
//! Role: the engine on the real kernel, in a namespace that the test makes and that ends with it.
//! *Invariants*: nothing leaves the namespace; every wait has a limit. It takes root and iproute2,
//! and without them a test fails and says so: a test that quietly does nothing tests nothing.

#[cfg(feature = "quic")]
mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod multicast;
mod net;
#[cfg(feature = "quic")]
mod quic;
mod race;
#[cfg(feature = "quic")]
#[path = "../cluster/quic/site.rs"]
#[expect(dead_code, reason = "the rest is other programs'")]
mod site;
mod trains;
