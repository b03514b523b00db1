//! The knobs of one shard. Every bound of the engine is a field here or a named constant.
//!
//! Role: plain data with defaults and [`Config::validate`]. Not role: reading files or the
//! environment.

mod cluster;
pub(crate) mod cover;
mod endpoint;
mod framing;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http-client")]
mod http_pool;
#[cfg(feature = "http-client")]
mod http_proxy;
mod ipnet;
mod proxy;
#[cfg(feature = "quic")]
mod quic;
mod routing;
#[cfg(feature = "tls")]
mod tls;
mod uring;

use std::time::Duration;

pub use cluster::{
    ClusterConfig, CpuAffinity, DrainOptions, ExpectedProtocols, OnPanic, ScidCover, Steer,
};
pub(crate) use cluster::{ID_BITS, SHARDS_MAX};
pub use endpoint::{
    ConnTimeouts, HostOrAddr, Keepalive, MulticastGroup, TcpConnectConfig, TcpListenConfig,
    UdpEndpointConfig, UdsConnectConfig, UdsListenConfig,
};
pub use framing::{Frame, Framing, MessageKind};
#[cfg(feature = "http")]
pub(crate) use http::PIPELINED_MAX;
#[cfg(feature = "http")]
pub use http::{AccessLog, HttpAccess, HttpCounters, HttpListenConfig, HttpSocket};
#[cfg(feature = "http-client")]
pub use http_pool::{HttpPoolConfig, HttpPoolStats};
#[cfg(feature = "http-client")]
pub use http_proxy::HttpProxy;
#[cfg(feature = "http-client")]
pub(crate) use http_proxy::ProxyServer;
pub use ipnet::IpNet;
pub use proxy::{ProxyProtocol, Untrusted};
#[cfg(feature = "quic")]
pub use quic::*;
pub use routing::{ClusterWarnings, EffectiveRouting, RoutingRefusal, RoutingStrategy};
#[cfg(feature = "tls")]
pub use tls::*;
pub use uring::{Effective, HugePages, UringConfig};

use crate::error::{IoError, Result};

/// What the QUIC listeners of a cluster share: nothing, without the feature.
#[cfg(feature = "quic")]
pub(crate) type ClusterKeys = QuicKeys;
#[cfg(not(feature = "quic"))]
pub(crate) type ClusterKeys = std::convert::Infallible;

/// The key that the ids of a cluster with those keys are covered with.
#[cfg(feature = "quic")]
pub(crate) fn cover_key(keys: &ClusterKeys) -> [u16; 4] {
    keys.cover_key()
}
#[cfg(not(feature = "quic"))]
pub(crate) const fn cover_key(keys: &ClusterKeys) -> [u16; 4] {
    match *keys {}
}

/// Keys for a cluster that was given none.
#[cfg(feature = "quic")]
pub(crate) fn random_keys() -> Result<Option<ClusterKeys>> {
    QuicKeys::random().map(Some)
}
#[cfg(not(feature = "quic"))]
pub(crate) const fn random_keys() -> Result<Option<ClusterKeys>> {
    Ok(None)
}

/// What this build can listen for: UDP always.
const IN_BUILD: ExpectedProtocols = {
    let mut protocols = ExpectedProtocols::UDP;
    if cfg!(feature = "tcp") {
        protocols = protocols.union(ExpectedProtocols::TCP).union(ExpectedProtocols::UDS);
    }
    if cfg!(feature = "quic") {
        protocols = protocols.union(ExpectedProtocols::QUIC);
    }
    protocols
};

/// What a pool of HTTP connections speaks TLS with: nothing, without the feature.
#[cfg(all(feature = "http-client", feature = "tls"))]
pub(crate) type PoolTls = TlsClientConfig;
#[cfg(all(feature = "http-client", not(feature = "tls")))]
pub(crate) type PoolTls = std::convert::Infallible;

/// What a pool speaks TLS with that was given nothing: the system's roots, where they can be had.
#[cfg(all(feature = "http-client", feature = "tls-platform-roots"))]
pub(crate) fn default_pool_tls() -> Result<Option<PoolTls>> {
    let roots = Roots::platform();
    Ok(Some(TlsClientConfig::with_roots(roots).alpn(["http/1.1"]).build()?))
}

/// What a pool speaks TLS with that was given nothing.
#[cfg(all(feature = "http-client", not(feature = "tls-platform-roots")))]
#[expect(clippy::unnecessary_wraps, reason = "the same shape as with the feature")]
pub(crate) const fn default_pool_tls() -> Result<Option<PoolTls>> {
    Ok(None)
}

/// A capability that can be forced on, forced off, or left to what the kernel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Toggle {
    /// Use it where it exists and pays.
    #[default]
    Auto,
    /// Use it, or fail with an error that says why not.
    On,
    /// Do without.
    Off,
}

/// Whether `poll` looks at the ring for a while before it sleeps. Waking a sleeping core costs
/// tens of microseconds, so a short spin is the largest latency win there is; its price is CPU
/// time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Spin {
    /// Sleep at once.
    Off,
    /// Spin for at most `max_us` while spinning has been paying off: an idle shard stops spinning.
    Auto {
        /// The longest spin before a sleep, in microseconds, 1 to 1,000,000.
        max_us: u32,
    },
    /// Spin for `max_us` before every sleep.
    Always {
        /// The length of a spin, in microseconds, 1 to 1,000,000.
        max_us: u32,
    },
    /// The default: as `Off`.
    #[default]
    Default,
}

impl Spin {
    pub(crate) const MAX_US: u32 = 1_000_000;
}

/// Costly checks for development. All off by default.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DebugConfig {
    /// Overwrite every freed buffer with a pattern, so that a use after free is seen. Default off.
    pub poison_freed: bool,
    /// Check the conservation of buffers and tables in every tick; panic on a difference. Default
    /// off.
    pub audit_every_tick: bool,
    /// Keep the last N completions and print them to stderr when the thread panics. 0 (default) is
    /// off; at most 65,536.
    pub trace_completions: usize,
}

/// Everything one [`Io`](crate::Io) is built from.
///
/// ```
/// use zero_io::Config;
/// let config = Config::default().with(|c| c.max_connections = 10_000);
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// Slots in the pool: datagrams, small sends. Default 4096; 16 to 65,536.
    pub pool_slot_count: usize,
    /// Bytes in a slot. Default 2048; 1200 (RFC 9000 §14) to 65,536, a multiple of 64.
    pub pool_slot_size: usize,
    /// Huge pages behind the slots. Default `Auto`: hugetlb pages if there are any, else
    /// transparent ones, else ordinary.
    pub huge_pages: Toggle,
    /// Stream buffers, for TCP and Unix sockets. Default 1024; 8 to 32,768. Memory is taken from
    /// the system when a buffer is first used.
    pub stream_buffer_count: usize,
    /// Bytes in a stream buffer. Default 32,768; 2048 to 1,048,576, 2048 or a multiple of it.
    pub stream_buffer_size: usize,
    /// 64 KiB buffers for UDP endpoints that receive or send segmented datagrams (GRO, GSO).
    /// Default 64; 0 to 4096.
    pub gro_buffer_count: usize,
    /// Jumbo buffers: a framed message longer than a stream buffer is gathered in one.
    /// Default 16; 0 to 1024.
    pub jumbo_count: usize,
    /// Bytes in a jumbo buffer, and so the longest framed message. Default 1 MiB; 65,536 to 64 MiB.
    pub jumbo_size: usize,
    /// Slots set aside for `IoHandle`'s buffers. Default 256; 0 to half of `pool_slot_count`.
    pub handle_reserve_count: usize,
    /// 64 KiB buffers that QUIC packets are received into, taken at the first QUIC endpoint.
    /// Default 64; 8 to 4096. When peers keep many of them from coming home, packets are copied.
    pub quic_recv_buffers: usize,
    /// Cells of 16 KiB for what is written to QUIC connections, taken one by one. Default 512;
    /// 8 to 65,536. When all wait for acknowledgements, written bytes get memory of their own.
    pub quic_send_cells: usize,
    /// Payloads that may be held as `OwnedSlot` at a time, per buffer class in percent of the
    /// class. Default 50; 1 to 90.
    pub detached_max_pct: u8,
    /// Connections, including those being established or closed. Default 1024; 1 to 1,000,000.
    pub max_connections: usize,
    /// Listeners and UDP sockets. Default 64; 1 to 4096.
    pub max_endpoints: usize,
    /// User timers. Default 4096; 0 to 1,000,000.
    pub max_timers: usize,
    /// Watched descriptors. Default 64; 0 to 65,536.
    pub max_watches: usize,
    /// Events that one `poll` queues at most; what is beyond stays in the kernel. Default 256;
    /// 16 to 65,536.
    pub max_events_per_poll: usize,
    /// Bytes one connection may have queued for sending before `stream_write` accepts no more, and
    /// writes of handles wait.
    /// Default 256 KiB; 4096 to 1 GiB.
    pub send_high_water: usize,
    /// Entries of the send queues of all connections together, besides the first of each. Default
    /// 8192; 64 to 1,048,576.
    pub send_queue_entries: usize,
    /// Guard writes under way at a time. Default 1024; 0 to 1,048,576.
    pub guard_count: usize,
    /// Receive buffers one connection may hold (queued, detached or being forwarded) before it is
    /// no longer read; fewer when the pool runs low, down to 1. It is read again when half of
    /// that has come home. Default 64; 1 to 32,768.
    ///
    /// It is looked at when a buffer arrives. What the kernel has filled by then still comes: so
    /// the bound is exceeded by at most the buffers that the kernel had been lent, which are never
    /// all (a sixth of `stream_buffer_count` stays).
    pub held_buffers_max: usize,
    /// Commands that handles may have under way, those that wait for their connection included, of
    /// which each connection may have as many as are left for others. Default 1024; 2 to 1,048,576,
    /// rounded up to a power of two.
    pub handle_queue_entries: usize,
    /// Use of a pool, in percent, from which the state is `Warning`. Default 80; 10 to 95.
    pub pool_pressure_pct: u8,
    /// Bytes from which HTTP answers may be compressed. Default 128. No effect without a feature
    /// that compresses.
    pub compression_threshold: usize,
    /// How long `close_graceful` waits at most when it is given `Duration::ZERO`. Default 5 s.
    pub close_timeout: Duration,
    /// Spinning before sleeping. Default off.
    pub spin: Spin,
    /// The ring's own knobs.
    pub uring: UringConfig,
    /// Development checks.
    pub debug: DebugConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            pool_slot_count: 4096,
            pool_slot_size: 2048,
            huge_pages: Toggle::Auto,
            stream_buffer_count: 1024,
            stream_buffer_size: 32 * 1024,
            gro_buffer_count: 64,
            jumbo_count: 16,
            jumbo_size: 1 << 20,
            handle_reserve_count: 256,
            quic_recv_buffers: 64,
            quic_send_cells: 512,
            detached_max_pct: 50,
            max_connections: 1024,
            max_endpoints: 64,
            max_timers: 4096,
            max_watches: 64,
            max_events_per_poll: 256,
            send_high_water: 256 * 1024,
            send_queue_entries: 8192,
            guard_count: 1024,
            held_buffers_max: 64,
            handle_queue_entries: 1024,
            pool_pressure_pct: 80,
            compression_threshold: 128,
            close_timeout: Duration::from_secs(5),
            spin: Spin::Default,
            uring: UringConfig::default(),
            debug: DebugConfig::default(),
        }
    }
}

/// Bytes of a buffer for segmented datagrams: the largest UDP payload, rounded up.
pub(crate) const GRO_BUFFER_SIZE: usize = 64 * 1024;

impl Config {
    /// The same configuration after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`IoError::InvalidConfig`] with the first bad field, its value and its range.
    pub fn validate(&self) -> Result<()> {
        let ranges: [(&'static str, usize, usize, usize, &'static str); 21] = [
            ("Config::pool_slot_count", self.pool_slot_count, 16, 65_536, "16 to 65,536"),
            (
                "Config::pool_slot_size",
                self.pool_slot_size,
                1200,
                65_536,
                "1200 to 65,536, a multiple of 64",
            ),
            ("Config::stream_buffer_count", self.stream_buffer_count, 8, 32_768, "8 to 32,768"),
            (
                "Config::stream_buffer_size",
                self.stream_buffer_size,
                2048,
                1 << 20,
                "2048 to 1,048,576, a multiple of 2048",
            ),
            ("Config::gro_buffer_count", self.gro_buffer_count, 0, 4096, "0 to 4096"),
            ("Config::jumbo_count", self.jumbo_count, 0, 1024, "0 to 1024"),
            ("Config::jumbo_size", self.jumbo_size, 65_536, 64 << 20, "65,536 to 67,108,864"),
            (
                "Config::handle_reserve_count",
                self.handle_reserve_count,
                0,
                self.pool_slot_count / 2,
                "0 to half of pool_slot_count",
            ),
            ("Config::quic_recv_buffers", self.quic_recv_buffers, 8, 4096, "8 to 4096"),
            ("Config::quic_send_cells", self.quic_send_cells, 8, 65_536, "8 to 65,536"),
            ("Config::detached_max_pct", usize::from(self.detached_max_pct), 1, 90, "1 to 90"),
            ("Config::max_connections", self.max_connections, 1, 1_000_000, "1 to 1,000,000"),
            ("Config::max_endpoints", self.max_endpoints, 1, 4096, "1 to 4096"),
            ("Config::max_timers", self.max_timers, 0, 1_000_000, "0 to 1,000,000"),
            ("Config::max_watches", self.max_watches, 0, 65_536, "0 to 65,536"),
            ("Config::max_events_per_poll", self.max_events_per_poll, 16, 65_536, "16 to 65,536"),
            (
                "Config::send_high_water",
                self.send_high_water,
                4096,
                1 << 30,
                "4096 to 1,073,741,824",
            ),
            ("Config::send_queue_entries", self.send_queue_entries, 64, 1 << 20, "64 to 1,048,576"),
            ("Config::guard_count", self.guard_count, 0, 1 << 20, "0 to 1,048,576"),
            ("Config::held_buffers_max", self.held_buffers_max, 1, 32_768, "1 to 32,768"),
            (
                "Config::handle_queue_entries",
                self.handle_queue_entries,
                2,
                1 << 20,
                "2 to 1,048,576",
            ),
        ];
        for (field, value, low, high, range) in ranges {
            check(field, value, low <= value && value <= high, range)?;
        }
        check(
            "Config::pool_slot_size",
            self.pool_slot_size,
            self.pool_slot_size.is_multiple_of(64),
            "1200 to 65,536, a multiple of 64",
        )?;
        check(
            "Config::stream_buffer_size",
            self.stream_buffer_size,
            self.stream_buffer_size.is_multiple_of(2048),
            "2048 to 1,048,576, a multiple of 2048",
        )?;
        check(
            "Config::pool_pressure_pct",
            usize::from(self.pool_pressure_pct),
            (10..=95).contains(&self.pool_pressure_pct),
            "10 to 95",
        )?;
        if let Spin::Auto { max_us } | Spin::Always { max_us } = self.spin {
            check(
                "Config::spin.max_us",
                max_us as usize,
                (1..=Spin::MAX_US).contains(&max_us),
                "1 to 1,000,000",
            )?;
        }
        check(
            "DebugConfig::trace_completions",
            self.debug.trace_completions,
            self.debug.trace_completions <= 65_536,
            "0 to 65,536",
        )?;
        self.uring.validate()
    }
}

pub(crate) fn check(
    field: &'static str,
    value: usize,
    ok: bool,
    range: &'static str,
) -> Result<()> {
    if ok { Ok(()) } else { Err(IoError::InvalidConfig { field, value: value as u64, range }) }
}

/// Checks a time against its range, in milliseconds.
fn check_ms(
    field: &'static str,
    value: Duration,
    low_ms: u64,
    high_ms: u64,
    range: &'static str,
) -> Result<()> {
    let fits = value >= Duration::from_millis(low_ms) && value <= Duration::from_millis(high_ms);
    check(field, usize::try_from(value.as_millis()).unwrap_or(usize::MAX), fits, range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_documented_ones() {
        let c = Config::default();
        assert!(c.validate().is_ok());
        assert_eq!((c.pool_slot_count, c.pool_slot_size, c.max_connections), (4096, 2048, 1024));
        assert_eq!((c.max_events_per_poll, c.pool_pressure_pct), (256, 80));
        assert_eq!(c.compression_threshold, 128);
    }

    #[test]
    fn a_bad_field_is_named() {
        type Change = fn(&mut Config);
        let bad: [(Change, &str); 6] = [
            (|c| c.pool_slot_size = 1199, "pool_slot_size"),
            (|c| c.pool_slot_size = 1201, "pool_slot_size"),
            (|c| c.max_connections = 0, "max_connections"),
            (|c| c.pool_pressure_pct = 96, "pool_pressure_pct"),
            (|c| c.spin = Spin::Always { max_us: 0 }, "spin"),
            (|c| c.uring.sq_entries = 3, "sq_entries"),
        ];
        for (change, name) in bad {
            let error = Config::default().with(change).validate().unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
