//! What routes packets to shards, and on which processor each shard is.

use crate::config::{
    ClusterConfig, ClusterWarnings, CpuAffinity, EffectiveRouting, RoutingRefusal, RoutingStrategy,
};
use crate::error::{Errno, IoError, Result};
use crate::sys::affinity::allowed_cpus;
use crate::sys::errno;

/// The strategy that a cluster gets: the kernel's hash.
pub(super) fn choose(config: &ClusterConfig) -> Result<EffectiveRouting> {
    match config.routing {
        RoutingStrategy::Auto | RoutingStrategy::DcidDispatch => {
            Ok(EffectiveRouting::new(RoutingStrategy::DcidDispatch))
        }
        strategy @ (RoutingStrategy::ReusePortEbpf | RoutingStrategy::ReusePortCbpf) => {
            Err(IoError::RoutingRefused(RoutingRefusal {
                strategy,
                call: "IoCluster::new",
                errno: Errno(errno::EOPNOTSUPP),
                why: "this version has no program for the kernel",
            }))
        }
    }
}

/// The processor of each shard, and what is odd about that.
pub(super) fn place(config: &ClusterConfig) -> Result<(Vec<Option<usize>>, ClusterWarnings)> {
    let shards = usize::from(config.shard_count);
    let allowed = allowed_cpus()?;
    let is_crowded = shards > allowed.len();
    let warnings = match is_crowded {
        true => ClusterWarnings::MORE_SHARDS_THAN_CPUS,
        false => ClusterWarnings::empty(),
    };
    let cpus = match &config.cpu_affinity {
        CpuAffinity::Auto if !is_crowded => allowed.into_iter().take(shards).map(Some).collect(),
        CpuAffinity::List(cpus) => cpus.iter().copied().map(Some).collect(),
        CpuAffinity::Off | CpuAffinity::Auto => vec![None; shards],
    };
    Ok((cpus, warnings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_its_processor_while_there_are_enough() {
        let allowed = allowed_cpus().unwrap();
        let (cpus, warnings) = place(&ClusterConfig::new(1)).unwrap();
        assert_eq!((cpus, warnings), (vec![Some(allowed[0])], ClusterWarnings::empty()));
        let (cpus, warnings) = place(&ClusterConfig::new(1024)).unwrap();
        assert_eq!(cpus, [None; 1024]);
        assert_eq!(warnings, ClusterWarnings::MORE_SHARDS_THAN_CPUS);
        let list = CpuAffinity::List(vec![5, 7]);
        let config = ClusterConfig::new(2).with(|c| c.cpu_affinity = list);
        assert_eq!(place(&config).unwrap().0, [Some(5), Some(7)]);
        let off = ClusterConfig::new(1).with(|c| c.cpu_affinity = CpuAffinity::Off);
        assert_eq!(place(&off).unwrap().0, [None]);
    }
}
