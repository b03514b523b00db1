//! The PROXY protocol: listeners behind load balancers.

mod adopted;
#[cfg(all(feature = "http", feature = "tls"))]
mod balancer;
#[path = "../tls/certs.rs"]
#[cfg(feature = "tls")]
#[expect(dead_code, reason = "what the tests of TLS need besides")]
mod certs;
mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod config;
mod cuts;
#[cfg(all(feature = "http", feature = "tls"))]
mod draining;
#[cfg(all(feature = "http", feature = "tls"))]
mod haproxy;
mod headers;
#[cfg(feature = "http")]
mod http;
mod kit;
#[path = "../common/linger.rs"]
mod linger;
#[cfg(feature = "tls")]
mod sealed;
mod trust;
