//! Peers as clients of a cluster, which move while they are with one of its shards.

use super::program::{Certificate, Peer};
use super::site::Site;

/// Runs in which every port may have led to the same shard, by chance.
const RUNS_MAX: usize = 40;

fn moves_between_shards(peer: Peer) {
    const CASE: &str = "rebind-port";
    let mut site = Site::new(2);
    let certificate = Certificate::new((&site.pem, &site.key));
    for _ in 0..RUNS_MAX {
        let mut client = peer.client(site.addr, &certificate, &[CASE]);
        site.until("the client's end", |_| client.ended().is_some());
        client.finish(&[CASE]);
        if site.fleet().forwarded_in > 0 {
            let moves: usize = site.each(|shard| shard.moves.len()).iter().sum();
            let accepted: usize = site.each(|shard| shard.accepted).iter().sum();
            assert_eq!(moves, accepted, "each told once");
            return;
        }
    }
    panic!("in {RUNS_MAX} runs no packet came to another shard than its connection's");
}

#[test]
fn quinn_moves_between_shards() {
    moves_between_shards(Peer::Quinn);
}

#[test]
fn quiche_moves_between_shards() {
    moves_between_shards(Peer::Quiche);
}

#[test]
fn aioquic_moves_between_shards() {
    moves_between_shards(Peer::Aioquic);
}
