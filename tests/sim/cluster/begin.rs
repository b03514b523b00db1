//! Shards that cannot begin for want of descriptors, and then can.

use std::time::Duration;

use zero_io::sim::{Fault, Faults, PPM, World};
use zero_io::{
    ClusterConfig, ClusterReadiness, CpuAffinity, DrainOptions, ExpectedProtocols, IoCluster,
    ShardIo, Supervised,
};

fn cluster(world: &World) -> IoCluster {
    let config = ClusterConfig::new(2).with(|c| {
        c.cpu_affinity = CpuAffinity::Off;
        c.expected_protocols = ExpectedProtocols::TCP;
    });
    let mut cluster = IoCluster::in_world(config, world).expect("a cluster");
    cluster.tcp_listen("127.0.0.1:7000".parse().expect("an address")).expect("a listener");
    cluster
}

fn grown(cluster: &mut IoCluster, world: &World) -> Vec<ShardIo> {
    let seeds = cluster.seeds().expect("seeds").into_iter();
    seeds.map(|seed| seed.grow_in(world).expect("a shard")).collect()
}

fn exhausted() -> Faults {
    Faults::none().with(Fault::SocketError, PPM)
}

fn is_idle(cluster: &mut IoCluster) -> bool {
    matches!(cluster.supervise(Duration::ZERO), Ok(Supervised::Idle))
}

#[test]
fn seeds_that_could_not_be_made_end_nothing() {
    for seed in 0..20 {
        let world = World::new(seed, Faults::none());
        let mut cluster = cluster(&world);
        world.set_faults(Faults::none().with(Fault::SocketError, PPM / 2));
        if cluster.seeds().is_ok() {
            continue;
        }
        world.set_faults(Faults::none());
        let _shards = grown(&mut cluster, &world);
        assert!(is_idle(&mut cluster) && is_idle(&mut cluster), "its shards are said to be gone");
        assert_eq!(cluster.handle().readiness(), ClusterReadiness::Ready);
    }
}

#[test]
fn a_shard_that_could_not_begin_anew_may_be_asked_to_again() {
    let world = World::new(1, Faults::none());
    let mut cluster = cluster(&world);
    let mut shards = grown(&mut cluster, &world);
    drop(shards.pop());
    let handle = cluster.handle();
    world.set_faults(exhausted());
    handle.restart_shard(1, DrainOptions::default()).expect("it is gone");
    assert!(is_idle(&mut cluster), "there is no descriptor");
    assert_eq!(handle.shard_readiness(1), Ok(ClusterReadiness::Stopped));
    world.set_faults(Faults::none());
    handle.restart_shard(1, DrainOptions::default()).expect("it is still gone");
    let Ok(Supervised::Reseed(seed)) = cluster.supervise(Duration::ZERO) else {
        panic!("it does not begin anew")
    };
    shards.push(seed.grow_in(&world).expect("a shard"));
    assert_eq!(handle.shard_readiness(1), Ok(ClusterReadiness::Ready));
}
