//! What a cluster is made with.
//!
//! Role: plain data with defaults and [`ClusterConfig::validate`]. Not role: asking the kernel what
//! it can do.

use std::time::Duration;

use super::{ClusterKeys, Config, RoutingStrategy, check, check_ms};
use crate::error::{IoError, Result};

/// Most shards of a cluster.
pub(crate) const SHARDS_MAX: u16 = 1024;
/// Bits that a server's and a shard's number share in a connection id.
pub(crate) const ID_BITS: u32 = 14;
/// The longest time that a drain may take, or wait before it begins.
const DRAIN_MAX: Duration = Duration::from_secs(3600);

/// Which processors the threads of shards run on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CpuAffinity {
    /// Wherever the system puts them.
    Off,
    /// Shard i on the i-th processor that the process may use; `Off` when there are more shards.
    #[default]
    Auto,
    /// Shard i on the processor that stands at place i.
    List(Vec<usize>),
}

bitflags::bitflags! {
    /// What a cluster may listen for: only what that takes is tried and allocated.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub struct ExpectedProtocols: u8 {
        /// TCP, and what is on top of it.
        const TCP = 1;
        /// Unix stream sockets.
        const UDS = 2;
        /// UDP.
        const UDP = 4;
        /// QUIC.
        const QUIC = 8;
    }
}

impl Default for ExpectedProtocols {
    /// All that the build has.
    fn default() -> Self {
        super::IN_BUILD
    }
}

/// How connections and datagrams without an id are spread over the shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Steer {
    /// Evenly, by their addresses.
    #[default]
    Spread,
    /// To the shard of the processor that received them.
    Cpu,
}

/// How the numbers of server and shard are hidden in connection ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ScidCover {
    /// Not at all.
    #[default]
    Clear,
    /// By a light cipher that the kernel's programs can undo.
    Light,
    /// By one that they cannot: the routing is [`RoutingStrategy::DcidDispatch`] then.
    Strong,
}

/// What becomes of a shard whose thread panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum OnPanic {
    /// It stays down; the others go on.
    #[default]
    Leave,
    /// It is started again, so many times at most.
    Restart {
        /// Over the life of the cluster.
        max: u32,
    },
}

/// How long a shutdown, or the drain of a shard, may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct DrainOptions {
    /// In place of [`ClusterConfig::drain_grace`].
    pub grace: Option<Duration>,
    /// In place of [`ClusterConfig::drain_deadline`].
    pub deadline: Option<Duration>,
}

impl DrainOptions {
    /// The same after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// Everything that an [`IoCluster`](crate::IoCluster) is built from.
///
/// ```
/// use zero_io::ClusterConfig;
/// let config = ClusterConfig::new(4).with(|c| c.io.max_connections = 10_000);
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ClusterConfig {
    /// Shards: 1 to 1024, a power of two.
    pub shard_count: u16,
    /// This server's number among those behind one load balancer, as connection ids have it. Below
    /// 16,384 divided by `shard_count`. Default 0.
    pub server_id: u16,
    /// Who decides which shard gets a packet. Default `Auto`.
    pub routing: RoutingStrategy,
    /// Default `Auto`.
    pub cpu_affinity: CpuAffinity,
    /// Default: all that the build has.
    pub expected_protocols: ExpectedProtocols,
    /// Of TCP connections. Default `Spread`.
    pub tcp_steer: Steer,
    /// Of datagrams of UDP sockets; those of QUIC go by their ids. Default `Spread`.
    pub udp_steer: Steer,
    /// Default `Clear`.
    pub scid_cover: ScidCover,
    /// Keys of all QUIC listeners that have none of their own; give the same ones to all servers
    /// behind one load balancer. Default: random ones.
    pub keys: Option<ClusterKeys>,
    /// Every shard's: connections and pools are counted per shard.
    pub io: Config,
    /// What other shards and handles may have queued for one shard, and connections that may be on
    /// their way to it, those included for which its table has no place yet. Default 1024; 2 to
    /// 65,536, rounded up to a power of two.
    pub mail_entries: usize,
    /// Datagrams that other shards may have passed on to one shard, and that it has not read. Taken
    /// at the first QUIC listener. Default 256; 16 to 16,384.
    pub forward_cells: usize,
    /// The longest datagram that is passed on. Default 2048 bytes; 1500 to 65,536.
    pub forward_cell_len: usize,
    /// Default `Leave`.
    pub on_panic: OnPanic,
    /// How long a shutdown only says that it is coming, and everything is still accepted. Default
    /// 0; up to 1 h.
    pub drain_grace: Duration,
    /// How long connections may take to end afterwards. Default 10 s; up to 1 h.
    pub drain_deadline: Duration,
}

impl ClusterConfig {
    /// The defaults, for so many shards.
    #[must_use]
    pub fn new(shard_count: u16) -> Self {
        Self {
            shard_count,
            server_id: 0,
            routing: RoutingStrategy::default(),
            cpu_affinity: CpuAffinity::default(),
            expected_protocols: ExpectedProtocols::default(),
            tcp_steer: Steer::default(),
            udp_steer: Steer::default(),
            scid_cover: ScidCover::default(),
            keys: None,
            io: Config::default(),
            mail_entries: 1024,
            forward_cells: 256,
            forward_cell_len: 2048,
            on_panic: OnPanic::default(),
            drain_grace: Duration::ZERO,
            drain_deadline: Duration::from_secs(10),
        }
    }

    /// The same configuration after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Bits of a shard's number.
    pub(crate) const fn shard_bits(&self) -> u32 {
        self.shard_count.trailing_zeros()
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`IoError::InvalidConfig`] with the first bad field, its value and its range.
    pub fn validate(&self) -> Result<()> {
        self.validate_numbers()?;
        let queues = [
            ("ClusterConfig::mail_entries", self.mail_entries, 2, 65_536, "2 to 65,536"),
            ("ClusterConfig::forward_cells", self.forward_cells, 16, 16_384, "16 to 16,384"),
            (
                "ClusterConfig::forward_cell_len",
                self.forward_cell_len,
                1500,
                65_536,
                "1500 to 65,536",
            ),
        ];
        for (field, value, low, high, range) in queues {
            check(field, value, low <= value && value <= high, range)?;
        }
        for (field, span) in [
            ("ClusterConfig::drain_grace", self.drain_grace),
            ("ClusterConfig::drain_deadline", self.drain_deadline),
        ] {
            check_ms(field, span, 0, DRAIN_MAX.as_millis() as u64, "up to 3,600,000 ms")?;
        }
        self.io.validate()
    }

    fn validate_numbers(&self) -> Result<()> {
        let shards = self.shard_count;
        check(
            "ClusterConfig::shard_count",
            shards.into(),
            shards.is_power_of_two() && shards <= SHARDS_MAX,
            "1 to 1024, a power of two",
        )?;
        check(
            "ClusterConfig::server_id",
            self.server_id.into(),
            u32::from(self.server_id) < 1 << (ID_BITS - self.shard_bits()),
            "below 16,384 divided by shard_count",
        )?;
        if let CpuAffinity::List(cpus) = &self.cpu_affinity {
            check(
                "ClusterConfig::cpu_affinity",
                cpus.len(),
                cpus.len() == usize::from(shards),
                "one processor for each shard",
            )?;
        }
        let expected = self.expected_protocols;
        check(
            "ClusterConfig::expected_protocols",
            expected.bits().into(),
            !expected.is_empty() && super::IN_BUILD.contains(expected),
            "one at least, and none that the build lacks (features tcp and quic)",
        )
    }

    /// Whether that was said to be listened for.
    pub(crate) fn expect(&self, protocol: ExpectedProtocols) -> Result<()> {
        if self.expected_protocols.contains(protocol) {
            return Ok(());
        }
        Err(IoError::InvalidConfig {
            field: "ClusterConfig::expected_protocols",
            value: self.expected_protocols.bits().into(),
            range: "with every protocol that is listened for",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_the_documented_ones() {
        for shards in [1, 2, 64, 1024] {
            assert_eq!(ClusterConfig::new(shards).validate(), Ok(()));
        }
        let c = ClusterConfig::new(4);
        assert_eq!((c.shard_bits(), c.server_id), (2, 0));
        assert_eq!((c.mail_entries, c.forward_cells, c.forward_cell_len), (1024, 256, 2048));
        assert_eq!(c.drain_deadline, Duration::from_secs(10));
        assert_eq!((c.routing, c.on_panic), (RoutingStrategy::Auto, OnPanic::Leave));
    }

    #[test]
    fn a_bad_field_is_named() {
        type Change = fn(&mut ClusterConfig);
        let hour_and_more = Duration::from_millis(3_600_001);
        assert!(hour_and_more > DRAIN_MAX);
        let bad: &[(Change, &str, u64)] = &[
            (|c| c.shard_count = 0, "ClusterConfig::shard_count", 0),
            (|c| c.shard_count = 3, "ClusterConfig::shard_count", 3),
            (|c| c.shard_count = 2048, "ClusterConfig::shard_count", 2048),
            (|c| c.server_id = 4096, "ClusterConfig::server_id", 4096),
            (|c| c.mail_entries = 1, "ClusterConfig::mail_entries", 1),
            (|c| c.mail_entries = 65_537, "ClusterConfig::mail_entries", 65_537),
            (|c| c.forward_cells = 15, "ClusterConfig::forward_cells", 15),
            (|c| c.forward_cells = 16_385, "ClusterConfig::forward_cells", 16_385),
            (|c| c.forward_cell_len = 1499, "ClusterConfig::forward_cell_len", 1499),
            (|c| c.forward_cell_len = 65_537, "ClusterConfig::forward_cell_len", 65_537),
            (|c| c.cpu_affinity = CpuAffinity::List(vec![0; 3]), "ClusterConfig::cpu_affinity", 3),
            (
                |c| c.expected_protocols = ExpectedProtocols::empty(),
                "ClusterConfig::expected_protocols",
                0,
            ),
            (
                |c| c.drain_grace = Duration::from_millis(3_600_001),
                "ClusterConfig::drain_grace",
                3_600_001,
            ),
            (|c| c.drain_deadline = Duration::MAX, "ClusterConfig::drain_deadline", u64::MAX),
            (|c| c.io.max_connections = 0, "Config::max_connections", 0),
        ];
        for (change, name, bad) in bad {
            match ClusterConfig::new(4).with(*change).validate() {
                Err(IoError::InvalidConfig { field, value, range }) => {
                    assert_eq!((field, value), (*name, *bad));
                    assert!(!range.is_empty());
                }
                other => panic!("{name}: {other:?}"),
            }
        }
        let most = ClusterConfig::new(1024).with(|c| c.server_id = 15);
        assert_eq!(most.validate(), Ok(()));
        assert!(most.with(|c| c.server_id = 16).validate().is_err());
    }

    #[test]
    fn what_was_not_expected_is_refused() {
        let config = ClusterConfig::new(1).with(|c| c.expected_protocols = ExpectedProtocols::UDP);
        assert_eq!(config.expect(ExpectedProtocols::UDP), Ok(()));
        let error = config.expect(ExpectedProtocols::TCP).unwrap_err();
        assert!(error.to_string().contains("expected_protocols"), "{error}");
    }
}
