//! Fuzz targets: functions from bytes to nothing, that panic when a promise is broken.
//!
//! Role: one table of targets, for three drivers: libFuzzer with a sanitizer, libFuzzer without,
//! and the plain test `mutations`. Not role: the drivers' options, which `cargo xtask fuzz` knows.
//! Invariant: a target is deterministic: the same bytes always do the same.

mod config;
mod engine;
mod framing;
mod http_chunked;
mod http_client_io;
mod http_io;
mod http_request;
mod http_response;
mod http_url;
mod hyper;
pub mod input;
pub mod mutate;
mod node;
mod quic_datagram;
mod quic_io;
mod quic_kit;
mod scalar;
mod tls_io;
mod tls_record;

/// A named function that takes whatever bytes it is given.
pub struct Target {
    /// Also the name of its folder of seeds.
    pub name: &'static str,
    /// Panics when a promise is broken.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "config", run: config::run },
    Target { name: "engine", run: engine::run },
    Target { name: "framing", run: framing::run },
    // What is private has a door of its own.
    Target { name: "control", run: zero_io::fuzz::control_messages },
    Target { name: "address", run: zero_io::fuzz::socket_address },
    Target { name: "steer", run: zero_io::fuzz::steer },
    Target { name: "unix-path", run: zero_io::fuzz::unix_path },
    Target { name: "proxy", run: zero_io::fuzz::proxy_header },
    Target { name: "http_request", run: http_request::run },
    Target { name: "http_response", run: http_response::run },
    Target { name: "http_chunked", run: http_chunked::run },
    Target { name: "http_io", run: http_io::run },
    Target { name: "http_client_io", run: http_client_io::run },
    Target { name: "http_url", run: http_url::run },
    Target { name: "tls_record", run: tls_record::run },
    Target { name: "tls_io", run: tls_io::run },
    Target { name: "quic_datagram", run: quic_datagram::run },
    Target { name: "quic_io", run: quic_io::run },
];

/// The target that ZERO_IO_FUZZ_TARGET names.
///
/// # Panics
/// When there is no such target, or none is named: a driver without a target fuzzes nothing.
#[must_use]
pub fn chosen() -> &'static Target {
    let name = std::env::var("ZERO_IO_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("ZERO_IO_FUZZ_TARGET=`{name}` is no target"))
}
