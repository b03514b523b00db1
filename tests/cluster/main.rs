//! Several shards behind the same addresses, on the real kernel.

mod asked;
#[path = "../tls/certs.rs"]
#[cfg(feature = "tls")]
#[expect(dead_code, reason = "what the tests of TLS need besides")]
mod certs;
#[path = "../common/mod.rs"]
mod common;
mod config;
mod drain;
#[cfg(feature = "http")]
mod drain_http;
#[cfg(feature = "tls")]
mod drain_tls;
mod echo;
mod endings;
mod idle;
mod kit;
mod last;
mod life;
#[cfg(all(feature = "quic", feature = "tracing"))]
mod logged;
mod moves;
mod moves_hard;
mod posts;
#[cfg(feature = "quic")]
mod privileges;
#[cfg(feature = "quic")]
mod quic;
#[cfg(feature = "quic")]
#[path = "../common/relay.rs"]
#[expect(dead_code, reason = "the rest is other programs'")]
mod relay;
mod reload;
mod sockets;
mod stats;
mod steer;
#[cfg(feature = "quic")]
mod vectors;
