//! What a cluster refuses to be made with, and what it says of itself.

use zero_io::{
    ClusterWarnings, CpuAffinity, IoCluster, IoError, RoutingStrategy, ShardExit, allowed_cpus,
};

use crate::kit::config;

#[test]
fn a_bad_field_is_named() {
    let error = IoCluster::new(config(2).with(|c| c.shard_count = 3)).map(drop).unwrap_err();
    assert!(matches!(
        error,
        IoError::InvalidConfig { field: "ClusterConfig::shard_count", value: 3, .. }
    ));
}

#[test]
fn routing_is_told() {
    let cluster = IoCluster::new(config(1)).unwrap();
    let routing = cluster.effective_routing();
    assert_ne!(routing.strategy, RoutingStrategy::Auto);
    assert!(!routing.warnings.contains(ClusterWarnings::MORE_SHARDS_THAN_CPUS));
    let shards = (allowed_cpus().unwrap().len() as u16 + 1).next_power_of_two();
    let routing = IoCluster::new(config(shards)).unwrap().effective_routing();
    assert!(routing.warnings.contains(ClusterWarnings::MORE_SHARDS_THAN_CPUS), "{routing}");
}

#[test]
fn a_processor_that_may_not_be_used_fails_its_shard_alone() {
    let first = allowed_cpus().unwrap()[0];
    let list = CpuAffinity::List(vec![first, 100_000]);
    let cluster = IoCluster::new(config(2).with(|c| c.cpu_affinity = list)).unwrap();
    let report = cluster.run(|_| Ok(())).unwrap();
    assert_eq!(report.shards[0].exit, ShardExit::Done);
    assert!(matches!(
        report.shards[1].exit,
        ShardExit::Failed(IoError::InvalidArgument { what: "cpu", .. })
    ));
}
