//! How a cluster's packets find their shard: what is asked for, and what came of it.

use std::fmt;

use crate::error::Errno;

/// Who decides which shard gets a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RoutingStrategy {
    /// The first of those below that the kernel lets this process have.
    #[default]
    Auto,
    /// An eBPF program reads the shard from the connection id.
    ReusePortEbpf,
    /// A classic BPF program does.
    ReusePortCbpf,
    /// The kernel spreads by a hash of the addresses, and shards pass on what is another's.
    DcidDispatch,
}

impl fmt::Display for RoutingStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "Auto",
            Self::ReusePortEbpf => "ReusePortEbpf",
            Self::ReusePortCbpf => "ReusePortCbpf",
            Self::DcidDispatch => "DcidDispatch",
        })
    }
}

/// Why a strategy is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoutingRefusal {
    /// Which.
    pub strategy: RoutingStrategy,
    /// The call that failed, or what was looked at.
    pub call: &'static str,
    /// What it answered.
    pub errno: Errno,
    /// The cause, and what would help.
    pub why: &'static str,
}

impl RoutingRefusal {
    /// Where no ids are to be read there is nothing to be had.
    pub(crate) const NO_QUIC: &str = "no QUIC is expected";
}

impl fmt::Display for RoutingRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { strategy, call, errno, why } = self;
        write!(f, "{strategy} cannot be had: {why} ({call}: {errno})")
    }
}

bitflags::bitflags! {
    /// What is odd about a cluster, and no error.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
    pub struct ClusterWarnings: u32 {
        /// There are more shards than processors that the process may use.
        const MORE_SHARDS_THAN_CPUS = 1;
        /// Some endpoint has a simpler router than the others: the kernel would not have its
        /// program, although it took one like it before, or its ids are the application's own.
        const ENDPOINT_FELL_BACK = 2;
        /// The kernel takes not even a classic program: it spreads connections and datagrams by a
        /// hash of its own, and goes on giving them to shards that are draining.
        const SPREAD_BY_KERNEL = 4;
        /// A router could not be brought in line with which shards drain or are gone: shards pass
        /// on what is not theirs. It is taken back when one could be.
        const ROUTER_IS_STALE = 8;
        /// The last reload was refused, in part at least: what routes there is what did before it.
        /// It is taken back by one that is not.
        const RELOAD_REFUSED = 16;
    }
}

/// What a cluster's routing is in fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EffectiveRouting {
    /// Never `Auto`.
    pub strategy: RoutingStrategy,
    /// Strategies that were tried before, and why they are not used.
    pub refused: [Option<RoutingRefusal>; 2],
    /// What is odd about the cluster.
    pub warnings: ClusterWarnings,
}

impl EffectiveRouting {
    pub(crate) const fn new(strategy: RoutingStrategy) -> Self {
        Self { strategy, refused: [None; 2], warnings: ClusterWarnings::empty() }
    }
}

impl fmt::Display for EffectiveRouting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.strategy.fmt(f)?;
        for refusal in self.refused.iter().flatten() {
            write!(f, "; {refusal}")?;
        }
        for (name, _) in self.warnings.iter_names() {
            write!(f, "; {name}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_it_all() {
        let mut routing = EffectiveRouting::new(RoutingStrategy::ReusePortCbpf);
        assert_eq!(routing.to_string(), "ReusePortCbpf");
        routing.refused[0] = Some(RoutingRefusal {
            strategy: RoutingStrategy::ReusePortEbpf,
            call: "bpf",
            errno: Errno(libc::EPERM),
            why: "needs CAP_BPF and CAP_NET_ADMIN",
        });
        routing.warnings = ClusterWarnings::MORE_SHARDS_THAN_CPUS;
        let line = routing.to_string();
        for part in ["ReusePortEbpf", "CAP_BPF", "bpf", "not permitted", "MORE_SHARDS"] {
            assert!(line.contains(part), "{line}");
        }
    }
}
