//! A shard with QUIC connections that is drained, and begins anew.

use std::time::{Duration, Instant};

use zero_io::{ClusterReadiness, DrainOptions, Supervised, code};

use super::site::{PATIENCE, Shard, Site};

/// Lets the supervisor do what is due; a shard that is over goes, and one that begins anew comes.
fn supervise(site: &mut Site) {
    for shard in &mut site.shards {
        shard.take_if(|shard| !shard.io.is_running());
    }
    if let Supervised::Reseed(seed) = site.cluster.supervise(Duration::ZERO).unwrap() {
        let shard = usize::from(seed.shard());
        site.shards[shard] = Some(Shard::new(seed.grow().unwrap()));
    }
}

#[track_caller]
fn until(site: &mut Site, what: &str, done: impl Fn(&Site) -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done(site) {
        assert!(Instant::now() < end, "in vain: {what}");
        supervise(site);
        site.run_for(Duration::from_millis(2));
    }
}

/// Its connections have until the deadline and are told then; new ones go to the other shard; and
/// when it is back, to it again. Those of the other one hear nothing.
#[test]
fn a_drained_shard_tells_its_peers() {
    let mut site = Site::new(2);
    let handle = site.cluster.handle();
    let (stays, _) = site.connect_to(1);
    let (goes, _) = site.connect_to(0);
    let drain = DrainOptions::default().with(|d| d.deadline = Some(Duration::from_secs(2)));
    handle.restart_shard(0, drain).unwrap();
    supervise(&mut site);
    // It has closed its doors after its next tick.
    site.run_for(Duration::from_millis(20));
    for _ in 0..8 {
        let (_, shard, _) = site.connect();
        assert_eq!(shard, 1);
    }
    site.echo(goes, 100_000);
    assert_eq!(handle.shard_readiness(0), Ok(ClusterReadiness::Draining));
    until(&mut site, "its end", |site| site.clients[goes].end.is_some());
    assert_eq!(site.clients[goes].end, Some(code::QUIC_APP), "in order, by the application");
    until(&mut site, "its next life", |site| site.shards[0].is_some());
    until(&mut site, "readiness", |_| handle.shard_readiness(0) == Ok(ClusterReadiness::Ready));
    site.connect_to(0);
    assert_eq!(site.clients[stays].end, None);
    site.echo(stays, 100_000);
}
