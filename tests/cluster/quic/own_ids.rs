//! Connection ids that the application makes: shards ask it whose a packet is.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use zero_io::{
    ClusterConfig, ClusterWarnings, ConnectionIds, DrainOptions, FleetStats, IoCluster, IoError,
    QuicCids, QuicListenConfig, RoutingStrategy, Supervised, TlsServerConfig, code,
};

use super::site::{Shard, Site, certificate, config};

const LEN: usize = 12;
/// What is random of an id.
const RANDOM: std::ops::Range<usize> = 3..8;

/// Ids as a balancer of somebody else's might want them: a mark, the shard, 5 random bytes, and 4
/// that follow from the rest and a key.
#[derive(Clone)]
struct Own {
    shard: u16,
    key: u64,
}

impl Own {
    /// No secret worth the name, but no accident either.
    fn tag(&self, id: &[u8]) -> [u8; 4] {
        let mix = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        let sum = id.iter().fold(self.key, mix);
        ((sum ^ (sum >> 32)) as u32).to_be_bytes()
    }

    fn id(&self, random: [u8; 5]) -> [u8; LEN] {
        let mut id = [0; LEN];
        id[RANDOM].copy_from_slice(&random);
        self.write(&mut id);
        id
    }
}

impl ConnectionIds for Own {
    fn id_len(&self) -> usize {
        LEN
    }

    fn write(&self, id: &mut [u8]) {
        id[0] = 0xA7;
        id[1..3].copy_from_slice(&self.shard.to_be_bytes());
        let tag = self.tag(&id[..8]);
        id[8..].copy_from_slice(&tag);
    }

    fn is_ours(&self, id: &[u8]) -> bool {
        id.len() == LEN && id[0] == 0xA7 && id[8..] == self.tag(&id[..8])
    }

    fn shard_of(&self, id: &[u8]) -> Option<u16> {
        Some(u16::from_be_bytes([id[1], id[2]]))
    }
}

/// A generator for each shard.
fn own(key: u64) -> QuicCids {
    QuicCids::PerShard(Arc::new(move |shard| Arc::new(Own { shard, key })))
}

fn site_of(config: ClusterConfig) -> Site {
    Site::with(config, |listen| listen.cids = own(7))
}

/// Hears that peer alone: its port may have been another test's, whose server still sends to it.
fn socket(peer: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(peer).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// What looks like a packet of the application's, for whom that id is.
fn packet(id: &[u8]) -> Vec<u8> {
    [&[0x40], id, &[0x55; 190]].concat()
}

/// Sends a packet from many ports, so that every shard gets some; how many were answered.
fn send_from_everywhere(site: &mut Site, packet: &[u8]) -> usize {
    let sockets = (0..48).map(|_| socket(site.addr)).collect::<Vec<_>>();
    for socket in &sockets {
        socket.send(packet).unwrap();
        site.run_for(Duration::from_millis(2));
    }
    site.run_for(Duration::from_millis(50));
    let is_answered = |socket: &&UdpSocket| socket.recv(&mut [0; 2048]).is_ok();
    sockets.iter().filter(is_answered).count()
}

#[test]
fn migrated_peers_are_found_by_their_own_ids() {
    for shards in [1, 2, 4] {
        let mut site = site_of(config(shards));
        for wanted in 0..usize::from(shards) {
            let (at, conn) = site.connect_to(wanted);
            let before = site.fleet();
            for round in 1..=12 {
                site.clients[at].rebind("127.0.0.1");
                site.echo(at, 50_000);
                assert!(site.moves(at, wanted, conn) >= round);
            }
            let passed_on = site.fleet().forwarded_out - before.forwarded_out;
            assert_eq!(passed_on > 0, shards > 1, "12 ports, and all led to shard {wanted}");
        }
        let stats = site.fleet();
        assert_eq!((stats.forward_full, stats.forward_down, stats.forward_too_long), (0, 0, 0));
        site.all_home();
    }
}

/// A shard that begins anew has a generator made for it, and its peers find it by its ids.
#[test]
fn each_life_has_a_generator() {
    let made = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&made);
    let cids = QuicCids::PerShard(Arc::new(move |shard| {
        count.fetch_add(1, Ordering::Relaxed);
        Arc::new(Own { shard, key: 9 })
    }));
    let mut site = Site::with(config(2), |listen| listen.cids = cids);
    let (stays, _) = site.connect_to(0);
    let before = made.load(Ordering::Relaxed);
    drop(site.shards[1].take());
    site.cluster.handle().restart_shard(1, DrainOptions::default()).unwrap();
    let Supervised::Reseed(seed) = site.cluster.supervise(Duration::ZERO).unwrap() else {
        panic!("no seed");
    };
    site.shards[1] = Some(Shard::new(seed.grow().unwrap()));
    assert_eq!(made.load(Ordering::Relaxed), before + 1);
    let (at, _) = site.connect_to(1);
    site.move_elsewhere(at);
    site.move_elsewhere(stays);
    site.echo(at, 50_000);
    site.all_home();
}

/// Ids of shards that there are not, and of those that are gone, are answered where they come;
/// those that nobody here made are not.
#[test]
fn ids_of_unknown_shards_stay_where_they_come() {
    let mut site = site_of(config(4));
    let (at, _) = site.connect_to(0);
    for shard in [4, 9, 0x4000, u16::MAX] {
        let id = Own { shard, key: 7 }.id([1, 2, 3, 4, 5]);
        // One shard sends few resets in a row.
        assert!(send_from_everywhere(&mut site, &packet(&id)) > 0, "{shard}");
        assert_eq!(site.fleet(), FleetStats::default(), "{shard}");
    }
    for id in [Own { shard: 1, key: 8 }.id([1, 2, 3, 4, 5]), [0xA7; LEN]] {
        assert_eq!(send_from_everywhere(&mut site, &packet(&id)), 0);
        assert_eq!(site.fleet(), FleetStats::default());
    }
    // A shard that is there gets its own, once.
    let id = Own { shard: 1, key: 7 }.id([1, 2, 3, 4, 5]);
    assert!(send_from_everywhere(&mut site, &packet(&id)) > 0);
    let stats = site.fleet();
    assert!(stats.forwarded_out > 0 && stats.forwarded_in == stats.forwarded_out, "{stats:?}");
    assert_eq!(stats.resets_for_dead, 0);
    // And when it is gone, whoever gets them says so.
    drop(site.shards[1].take());
    assert!(send_from_everywhere(&mut site, &packet(&id)) > 0);
    let now = site.fleet();
    assert!(now.resets_for_dead > 0 && now.forward_down >= now.resets_for_dead, "{now:?}");
    site.echo(at, 50_000);
}

#[test]
fn a_dead_shards_peers_are_told() {
    let mut site = site_of(config(4));
    let (at, shard, _) = site.connect();
    site.echo(at, 10_000);
    drop(site.shards[shard].take());
    site.cluster.supervise(Duration::ZERO).unwrap();
    let client = &mut site.clients[at];
    let stream = client.open();
    client.io.stream_write(client.conn, stream, &[1; 200]).unwrap();
    site.until("the reset", |site| site.clients[at].end.is_some());
    assert_eq!(site.clients[at].end, Some(code::QUIC_STATELESS_RESET));
    assert!(site.fleet().resets_for_dead > 0);
}

fn tls() -> TlsServerConfig {
    let (pem, key) = certificate();
    TlsServerConfig::from_pem_bytes(pem, key).alpn(["echo"]).build().unwrap()
}

fn listener(cids: QuicCids) -> QuicListenConfig {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    QuicListenConfig::new(any, tls()).with(|listen| listen.cids = cids)
}

/// What no program reads is dispatched, and that is said; other listeners keep their router. Who
/// named one is refused.
#[test]
fn own_ids_beside_a_router() {
    let auto = config(2).with(|c| c.routing = RoutingStrategy::Auto);
    let mut site = Site::with(auto, |_| ());
    let before = site.cluster.effective_routing();
    assert_ne!(before.strategy, RoutingStrategy::DcidDispatch, "{before}");
    site.cluster.quic_listen_with(listener(own(1))).unwrap();
    let after = site.cluster.effective_routing();
    assert_eq!(after.strategy, before.strategy);
    assert_eq!(after.warnings, before.warnings | ClusterWarnings::ENDPOINT_FELL_BACK);
    site.round();
    let (at, _) = site.connect_to(1);
    for _ in 0..8 {
        site.clients[at].rebind("127.0.0.1");
        site.echo(at, 20_000);
    }
    assert_eq!(site.fleet().forwarded_out, 0, "the first one's packets are routed by ids");
    site.all_home();

    let mut named =
        IoCluster::new(config(2).with(|c| c.routing = RoutingStrategy::ReusePortCbpf)).unwrap();
    let error = named.quic_listen_with(listener(own(1))).unwrap_err();
    assert!(matches!(error, IoError::RoutingRefused(_)), "{error}");
    assert!(error.to_string().contains("QuicListenConfig::cids"), "{error}");
    assert!(named.effective_routing().warnings.is_empty());

    let mut dispatch = IoCluster::new(config(2)).unwrap();
    dispatch.quic_listen_with(listener(own(1))).unwrap();
    assert!(dispatch.effective_routing().warnings.is_empty());
}

/// Shards that would not find each other's packets are told so before anything is bound.
#[test]
fn generators_that_do_not_know_each_other_are_refused() {
    struct Odd {
        own: Own,
        len: usize,
        knows_others: bool,
        tells: Option<u16>,
    }
    impl ConnectionIds for Odd {
        fn id_len(&self) -> usize {
            self.len
        }
        fn write(&self, id: &mut [u8]) {
            self.own.write(id);
        }
        fn is_ours(&self, id: &[u8]) -> bool {
            self.knows_others || self.own.shard_of(id) == Some(self.own.shard)
        }
        fn shard_of(&self, _: &[u8]) -> Option<u16> {
            self.tells
        }
    }
    let odd = |change: fn(u16, &mut Odd)| {
        QuicCids::PerShard(Arc::new(move |shard| {
            let own = Own { shard, key: 1 };
            let mut odd = Odd { own, len: LEN, knows_others: true, tells: Some(shard) };
            change(shard, &mut odd);
            Arc::new(odd)
        }))
    };
    let cases: [(QuicCids, &str); 6] = [
        (odd(|_, odd| odd.len = 21), "ConnectionIds::id_len"),
        (odd(|_, odd| odd.len = 3), "ConnectionIds::id_len"),
        (odd(|shard, odd| odd.len = LEN + usize::from(shard)), "`id_len`"),
        (odd(|_, odd| odd.knows_others = false), "`is_ours`"),
        (odd(|_, odd| odd.tells = None), "`shard_of`"),
        (odd(|_, odd| odd.tells = Some(0)), "`shard_of`"),
    ];
    let mut cluster = IoCluster::new(config(2)).unwrap();
    for (cids, said) in cases {
        let error = cluster.quic_listen_with(listener(cids)).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    let alone = QuicCids::Custom(Arc::new(Own { shard: 0, key: 1 }));
    let error = cluster.quic_listen_with(listener(alone)).unwrap_err();
    assert!(error.to_string().contains("PerShard"), "{error}");
    cluster.quic_listen_with(listener(own(1))).unwrap();
}
