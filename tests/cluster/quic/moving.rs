//! Peers that move: their packets come to whatever shard the kernel chooses, and are found.

use std::time::Duration;

use zero_io::{ConnId, FleetStats, ScidCover};

use super::site::{Site, config};
use crate::relay::{Path, Relay};

fn moves(site: &mut Site, shard: usize, conn: ConnId) -> usize {
    site.shard(shard).moves.iter().filter(|(c, ..)| *c == conn).count()
}

#[test]
fn connections_are_spread_and_stay_where_they_are() {
    for shards in [2, 4] {
        let mut site = Site::new(shards);
        for _ in 0..16 * shards {
            let (at, ..) = site.connect();
            site.echo(at, 20_000);
        }
        let accepted = site.each(|shard| shard.accepted);
        assert!(accepted.iter().all(|count| *count > 0), "{accepted:?}");
        assert_eq!(site.fleet(), FleetStats::default());
        site.all_home();
    }
}

#[test]
fn hazard_111_migrated_peers_are_found() {
    for (shards, cover) in [
        (2, ScidCover::Clear),
        (4, ScidCover::Light),
        (4, ScidCover::Strong),
        (4, ScidCover::Clear),
    ] {
        let mut site = Site::with(config(shards).with(|c| c.scid_cover = cover), |_| ());
        for wanted in 0..usize::from(shards) {
            let (at, conn) = site.connect_to(wanted);
            let (mut elsewhere, mut told) = (0, 0);
            for _ in 0..24 {
                let (before, told_before) = (site.fleet(), told);
                site.clients[at].rebind("127.0.0.1");
                site.echo(at, 100_000);
                told = site.moves(at, wanted, conn);
                assert!(told > told_before);
                elsewhere += u32::from(site.fleet().forwarded_out > before.forwarded_out);
            }
            assert!(elsewhere > 0, "{shards} shards, 24 ports, and all led to shard {wanted}");
            assert_eq!(site.shard(wanted).conns.last(), Some(&conn));
        }
        let stats = site.fleet();
        assert_eq!((stats.forward_full, stats.forward_down, stats.forward_too_long), (0, 0, 0));
        site.all_home();
    }
}

#[test]
fn in_the_middle_of_a_transfer_nothing_is_lost() {
    for shards in [2, 4] {
        let mut site = Site::new(shards);
        let (at, shard, conn) = site.connect();
        let mut rebinds = 0;
        site.echo_while(at, 6 << 20, |site, done| {
            if done > (rebinds + 1) * (6 << 20) / 24 {
                rebinds += 1;
                site.clients[at].rebind("127.0.0.1");
            }
        });
        assert!(rebinds >= 4 && moves(&mut site, shard, conn) >= 1, "{rebinds}");
        assert!(site.fleet().forwarded_in > 0);
        site.all_home();
    }
}

/// The client does not know that it moves.
#[test]
fn peers_behind_a_relay_that_moves_are_found() {
    for shards in [2, 4] {
        for loss in [0, 20] {
            let mut site = Site::new(shards);
            let relay = Relay::new(site.addr, 7, Path { loss, ..Path::CLEAR });
            let (at, shard, conn) = site.connect_with(relay.addr, |_| ());
            let mut rebinds = 0;
            site.echo_while(at, 1 << 20, |_, done| {
                if done > (rebinds + 1) * (1 << 17) {
                    rebinds += 1;
                    relay.rebind();
                }
            });
            for _ in 0..12 {
                relay.rebind();
                site.run_for(Duration::from_millis(5));
                site.echo(at, 10_000);
            }
            assert!(moves(&mut site, shard, conn) >= 12);
            let stats = site.fleet();
            assert!(stats.forwarded_in > 0, "{stats:?}");
            assert_eq!(stats.forward_down, 0);
            site.all_home();
        }
    }
}

/// One connection keeps all that it gets; another one's packets come by the same ferry.
#[test]
fn pinned_cells_do_not_starve() {
    let mut site = Site::with(config(2).with(|c| c.forward_cells = 16), |_| ());
    let (keeps, keeper) = site.connect_to(0);
    let (other, _) = site.connect_to(0);
    site.move_elsewhere(keeps);
    site.move_elsewhere(other);
    site.shard(0).io.pause_recv(keeper).unwrap();
    let stream = site.clients[keeps].open();
    let client = &mut site.clients[keeps];
    let taken = client.io.stream_write(client.conn, stream, &vec![7; 100_000]).unwrap();
    assert_eq!(taken, 100_000);
    client.io.stream_finish(client.conn, stream).unwrap();
    site.until("cells to run short", |site| site.fleet().forward_copied > 0);
    for _ in 0..10 {
        site.echo(other, 50_000);
    }
    site.shard(0).io.resume_recv(keeper).unwrap();
    site.until("the echo", |site| site.clients[keeps].closed.contains(&stream));
    assert_eq!(site.clients[keeps].got[&stream], vec![7; 100_000]);
    site.all_home();
}
