//! Routers of QUIC that are made anew: under traffic, with a shard gone, and refused.

use std::time::Duration;

use zero_io::{ClusterWarnings, IoCluster, IoError, RoutingStrategy, ScidCover, Supervised, code};

use super::routed::{ROUTERS, site};
use super::site::{Shard, Site, config};
use crate::privileges::without;

/// Asks for a reload, and has the supervisor do it.
fn reload(site: &mut Site) {
    let handle = site.cluster.handle();
    let before = handle.stats().reloads;
    handle.reload_ports().unwrap();
    let turn = site.cluster.supervise(Duration::ZERO).unwrap();
    assert!(matches!(turn, Supervised::Idle), "{turn:?}");
    assert_eq!(handle.stats().reloads, before + 1);
}

/// What waits at so many IPv4 sockets of a port, in bytes, each for itself. The kernel tells of its
/// table piece by piece, and passes over some while other programs close theirs: then once more.
fn waiting(port: u16, count: usize) -> Vec<u64> {
    let mut looks = std::iter::repeat_with(|| waiting_now(port)).take(100);
    looks.find(|found| found.len() == count).expect("so many sockets at the port")
}

fn waiting_now(port: u16) -> Vec<u64> {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let local = format!(":{port:04X}");
    let sockets = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let sockets = sockets.filter(|words| words[1].ends_with(&local));
    let received = |words: Vec<&str>| u64::from_str_radix(words[4].split_once(':').unwrap().1, 16);
    sockets.map(|words| received(words).unwrap()).collect()
}

/// Connections to the shards that are there lose nothing, what is for the one that is gone is
/// answered by the others and none of it comes to its socket.
#[test]
fn reloads_bring_nothing_to_a_dead_shard() {
    for router in ROUTERS {
        let Some(mut site) = site(4, router, ScidCover::Clear, "127.0.0.1:0") else { continue };
        let mut clients = [0; 4];
        for (shard, client) in clients.iter_mut().enumerate() {
            *client = site.connect_to(shard).0;
            site.echo(*client, 3000);
        }
        drop(site.shards[1].take());
        site.cluster.supervise(Duration::ZERO).unwrap();
        let mut reloads = 0;
        for at in [clients[0], clients[2], clients[3]] {
            for _ in 0..4 {
                site.clients[at].rebind("127.0.0.1");
                site.echo_while(at, 200_000, |site, _| {
                    reload(site);
                    reloads += 1;
                });
            }
        }
        assert!(reloads >= 12, "{reloads}");
        let orphan = clients[1];
        let stream = site.clients[orphan].open();
        let client = &mut site.clients[orphan];
        client.io.stream_write(client.conn, stream, &[1; 200]).unwrap();
        site.until("the reset", |site| {
            reload(site);
            site.clients[orphan].end.is_some()
        });
        assert_eq!(site.clients[orphan].end, Some(code::QUIC_STATELESS_RESET));
        assert_eq!(site.fleet().forwarded_out, 0, "{router}: led to whom their ids name");
        site.run_for(Duration::from_millis(50));
        assert_eq!(
            waiting(site.addr.port(), 4),
            [0; 4],
            "{router}: nothing waits, nor at its socket"
        );
        site.cluster.handle().restart_shard(1, zero_io::DrainOptions::default()).unwrap();
        let Supervised::Reseed(seed) = site.cluster.supervise(Duration::ZERO).unwrap() else {
            panic!("no seed");
        };
        site.shards[1] = Some(Shard::new(seed.grow().unwrap()));
        site.connect_to(1);
        reload(&mut site);
        site.all_home();
    }
}

/// A process that has given up its privileges keeps the programs that it has, and says so until
/// they can be made anew.
#[test]
fn a_refused_reload_changes_nothing() {
    let router = RoutingStrategy::ReusePortEbpf;
    let Some(mut site) = site(2, router, ScidCover::Clear, "127.0.0.1:0") else { return };
    let (before, handle) = (site.cluster.effective_routing(), site.cluster.handle());
    let refused = ClusterWarnings::RELOAD_REFUSED;
    let (at, _) = site.connect_to(1);
    for _ in 0..2 {
        let answer = without(|| site.cluster.reload_ports());
        assert!(matches!(answer, Err(IoError::RoutingRefused(_))), "{answer:?}");
        handle.reload_ports().unwrap();
        without(|| site.cluster.supervise(Duration::ZERO)).unwrap();
        assert_eq!(handle.stats().reloads, 0);
        assert_eq!(handle.effective_routing().warnings, before.warnings | refused);
        for _ in 0..4 {
            site.clients[at].rebind("127.0.0.1");
            site.echo(at, 20_000);
        }
    }
    reload(&mut site);
    assert_eq!(handle.effective_routing(), before);
    assert_eq!(site.cluster.effective_routing(), before);
    assert_eq!(site.fleet().forwarded_out, 0);
    // Who drains or ends is steered around without privileges, too.
    drop(site.shards[0].take());
    without(|| site.cluster.supervise(Duration::ZERO)).unwrap();
    assert_eq!(handle.effective_routing(), before);
    for _ in 0..8 {
        assert_eq!(site.connect().1, 1);
    }
    site.all_home();
}

/// What a cluster was asked for while it had no privileges from the beginning.
#[test]
fn without_privileges_reloads_are_classic() {
    let config = config(2).with(|c| c.routing = RoutingStrategy::Auto);
    let mut cluster = without(|| IoCluster::new(config)).unwrap();
    let routing = cluster.effective_routing();
    assert_eq!(routing.strategy, RoutingStrategy::ReusePortCbpf, "{routing}");
    assert!(routing.refused[0].is_some() && routing.refused[1].is_none(), "{routing}");
    cluster.udp_bind("127.0.0.1:0".parse().unwrap()).unwrap();
    assert_eq!(without(|| cluster.reload_ports()), Ok(routing));
    assert_eq!(cluster.handle().stats().reloads, 1);
}
