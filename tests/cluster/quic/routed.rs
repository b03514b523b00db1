//! Routers that look at ids: shards have nothing to pass on.

use zero_io::{IoCluster, IoError, RoutingStrategy, ScidCover};

use super::site::{Site, config};

pub(super) const ROUTERS: [RoutingStrategy; 2] =
    [RoutingStrategy::ReusePortEbpf, RoutingStrategy::ReusePortCbpf];

/// A site with that router, unless this process may not have it.
pub(super) fn site(
    shards: u16,
    router: RoutingStrategy,
    cover: ScidCover,
    at: &str,
) -> Option<Site> {
    let config = config(shards).with(|c| {
        (c.routing, c.scid_cover, c.server_id) = (router, cover, 5);
    });
    match IoCluster::new(config.clone()).map(drop) {
        Err(IoError::RoutingRefused(refusal)) if router == RoutingStrategy::ReusePortEbpf => {
            eprintln!("not tried: {refusal}");
            None
        }
        answer => {
            answer.unwrap();
            Some(Site::at(at, config, |_| ()))
        }
    }
}

/// A peer that moves from port to port is brought to its shard by the kernel.
#[test]
fn migrated_peers_are_routed() {
    for router in ROUTERS {
        for cover in [ScidCover::Clear, ScidCover::Light] {
            for (shards, at, ip) in [(2, "127.0.0.1:0", "127.0.0.1"), (4, "[::1]:0", "::1")] {
                let Some(mut site) = site(shards, router, cover, at) else { continue };
                for wanted in 0..usize::from(shards) {
                    let (at, conn) = site.connect_to(wanted);
                    for _ in 0..12 {
                        site.clients[at].rebind(ip);
                        site.echo(at, 20_000);
                    }
                    assert!(site.moves(at, wanted, conn) >= 12);
                }
                assert_eq!(site.fleet().forwarded_out, 0, "{router} {cover:?}");
                site.all_home();
            }
        }
    }
}

/// What no router can read, shards can: with the strong cover too.
#[test]
fn covered_ids_are_dispatched() {
    for cover in [ScidCover::Light, ScidCover::Strong] {
        let mut site = site(4, RoutingStrategy::DcidDispatch, cover, "127.0.0.1:0").unwrap();
        let (at, shard, conn) = site.connect();
        for _ in 0..4 {
            site.move_elsewhere(at);
        }
        assert!(site.shard(shard).moves.iter().filter(|(of, ..)| *of == conn).count() >= 4);
        site.all_home();
    }
}

/// A program that takes another one's place does it between two packets.
#[test]
fn reload_in_the_middle_of_transfers() {
    for router in ROUTERS {
        let Some(mut site) = site(4, router, ScidCover::Light, "127.0.0.1:0") else { continue };
        let routing = site.cluster.effective_routing();
        assert_eq!((routing.strategy, routing.refused), (router, [None; 2]));
        let (at, ..) = site.connect();
        let mut reloads = 0;
        site.echo_while(at, 2 << 20, |site, _| {
            assert_eq!(site.cluster.reload_ports(), Ok(routing));
            reloads += 1;
        });
        assert!(reloads > 10, "{reloads}");
        assert_eq!(site.fleet().forwarded_out, 0);
        site.all_home();
    }
}
