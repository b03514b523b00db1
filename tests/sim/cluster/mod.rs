//! Clusters in the workload: shards that echo what clients send, and post to each other, while some
//! drain, begin anew or crash.
//!
//! Held: what comes back is a prefix of what was sent, and all of it where nobody was hurt: a
//! connection ends early by its own shard's end, or by the network, and never by another shard's.
//! That holds across a hand-over too: no byte is lost, doubled or overtaken by it.
//! Posts of one sender come in order and without a gap. Once all is well every drain ends by its
//! deadline, what begins is served whole, and everything comes home.

mod begin;
mod client;
mod model;
#[cfg(feature = "quic")]
mod quic;
#[cfg(not(feature = "quic"))]
#[path = "quic_off.rs"]
mod quic;
mod served;
mod shard;
mod udp;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use zero_io::sim::{Fault, Faults, World};
use zero_io::{
    ClusterConfig, ClusterHandle, ClusterReadiness, Config, CpuAffinity, DrainOptions,
    ExpectedProtocols, Io, IoCluster, IoError, ShardSeed, Supervised, TcpListenConfig, code,
};

use crate::chance::Chance;
use crate::scenario::{Seen, config};
use client::Client;
use model::{Flow, Life, Model};
use quic::Quic;
use served::Served;
use shard::Shard;
use udp::Datagrams;

const SAFETY_ROUNDS: usize = 500;
/// Rounds in which connections still begin, and shards still end, once all is well.
const START_ROUNDS: usize = 300;
const LIVENESS_ROUNDS: usize = 60_000;
const LIVENESS_LIMIT: Duration = Duration::from_secs(600);
/// What a drain may take beyond its grace and its deadline: what is closed then goes out for a
/// second, and sleeps take as long.
const OVERTIME: Duration = Duration::from_secs(4);

/// What breaks connections, or keeps them from being made.
const BREAKS: [Fault; 8] = [
    Fault::RecvError,
    Fault::SendError,
    Fault::AcceptAborted,
    Fault::ConnectRefused,
    Fault::ConnectUnreachable,
    Fault::ConnectBlackhole,
    Fault::NetReset,
    Fault::InstallError,
];

/// The faults of a seed: in every other world nothing breaks a connection but the shards' ends.
pub(crate) fn faults(seed: u64) -> Faults {
    let faults = Faults::from_seed(seed);
    if !seed.is_multiple_of(2) {
        return faults;
    }
    let calm = BREAKS.into_iter().fold(faults, |faults, kind| faults.with(kind, 0));
    calm.shaped(|shape| shape.fd_count_max = 20_000)
}

/// What all nodes share.
struct Cx {
    chance: Chance,
    model: Model,
    shards: u16,
    /// The life that each shard has now.
    life_of: Vec<Option<usize>>,
    /// What is spoken besides TCP.
    quic: Option<Quic>,
    /// Sockets hold so few datagrams that handshakes may be given up.
    is_narrow: bool,
    /// Datagrams that a shard had from another one.
    ferried_count: u64,
    /// Connections that shards have handed over, by their number, until others have them.
    parcels: BTreeMap<u64, Served>,
    parcel_count: u64,
    /// Connections are handed over, and datagrams sent back.
    is_wide: bool,
    datagrams: Datagrams,
    /// Nothing breaks connections but the shards' ends.
    is_calm: bool,
    is_liveness: bool,
    may_start: bool,
    may_hurt: bool,
    /// The whole cluster ends.
    is_over: bool,
}

impl Cx {
    /// A connection is over, at the client.
    fn ended(&mut self, number: usize, error_code: u64) {
        let flow = &mut self.model.flows[number];
        flow.ended = Some(error_code);
        // Whoever speaks QUIC may meet too many losses.
        let is_calm = self.is_calm && !flow.is_quic;
        let is_unlucky = flow.is_quic && self.is_narrow;
        if flow.is_done || is_unlucky || !(is_calm || flow.is_sure) {
            return;
        }
        let flow = &self.model.flows[number];
        // Nobody has read a byte of it: it may have waited for whoever ended.
        let is_unread = || self.model.hurt_count > 0 || error_code == code::CONNECT_TIMEOUT;
        let is_hurt = self.model.is_hurt(flow).unwrap_or_else(is_unread);
        assert!(is_hurt, "{number} ended by {error_code:#x}: {:?}", self.model.flows[number]);
    }
}

/// A cluster, and who runs its shards.
struct Site {
    world: World,
    cluster: IoCluster,
    handle: ClusterHandle,
    node: usize,
    addr: SocketAddr,
    shards: Vec<Shard>,
    /// Ends that are under way: the shard, and when they are late.
    ends: Vec<(u16, u64)>,
    is_over: bool,
    /// The nodes of lives that are over.
    over: Vec<usize>,
}

/// Runs a seed.
pub(crate) fn run(world: &World) -> Seen {
    let mut chance = Chance::new(world.seed());
    let shards = chance.pick(&[2, 2, 4]);
    let mut cx = Cx {
        chance,
        model: Model::default(),
        shards,
        life_of: vec![None; shards.into()],
        quic: None,
        is_narrow: world.faults().shape.datagram_count_max < 64,
        ferried_count: 0,
        parcels: BTreeMap::new(),
        parcel_count: 0,
        // The others are as they were when they found what they are known for.
        is_wide: world.seed() & 2 != 0,
        datagrams: Datagrams::default(),
        is_calm: world.seed().is_multiple_of(2),
        is_liveness: false,
        may_start: true,
        may_hurt: true,
        is_over: false,
    };
    // Every third world speaks TCP alone.
    if quic::ON && !world.seed().is_multiple_of(3) {
        cx.quic = Some(Quic::new(&mut cx.chance));
    }
    let mut site = Site::new(world, &mut cx);
    let mut clients = Vec::new();
    for _ in 0..1 + cx.chance.below(2) {
        let io = Io::in_world(roomy(&mut cx.chance), world).expect("a node");
        clients.push(Client::new(io, world.nodes() - 1));
    }
    for _ in 0..SAFETY_ROUNDS {
        round(&mut site, &mut clients, &mut cx);
    }
    world.heal();
    cx.is_liveness = true;
    for _ in 0..START_ROUNDS {
        round(&mut site, &mut clients, &mut cx);
    }
    (cx.may_start, cx.may_hurt) = (false, false);
    let is_quiet = |site: &Site, clients: &[Client], cx: &Cx| {
        let is_silent = clients.iter().all(Client::is_silent);
        site.is_up()
            && is_silent
            && site.shards.iter().all(Shard::is_silent)
            && cx.model.is_silent()
    };
    settle(&mut site, &mut clients, &mut cx, "the connections do not end", is_quiet);
    site.shut_down(&mut cx);
    let is_over = |site: &Site, _: &[Client], _: &Cx| site.is_over && site.shards.is_empty();
    settle(&mut site, &mut clients, &mut cx, "the cluster does not end", is_over);
    let is_home =
        |_: &Site, clients: &[Client], _: &Cx| clients.iter().all(|client| client.io.is_idle());
    settle(&mut site, &mut clients, &mut cx, "not everything came home", is_home);
    let Site { cluster, node, over, .. } = site;
    drop(cluster);
    for node in over.into_iter().chain([node]) {
        assert_eq!(world.open_fds(node), 0, "descriptors of node {node}");
    }
    for client in &clients {
        assert_eq!(world.open_fds(client.node), 0, "descriptors of client {}", client.node);
    }
    drop(clients);
    world.advance_by(Duration::from_secs(60));
    assert_eq!(world.files(), 0, "files\n{}", world.describe_files());
    assert_eq!(world.violations(), [""; 0], "the contract");
    seen(&cx)
}

fn seen(cx: &Cx) -> Seen {
    let mut seen = Seen { flow_count: cx.model.flows.len() as u64, ..Seen::default() };
    for flow in &cx.model.flows {
        seen.connected_count += u64::from(flow.is_connected);
        seen.complete_count += u64::from(flow.echoed == flow.len);
        seen.byte_count += flow.echoed;
    }
    seen.post_count = cx.model.posts_seen;
    seen.ferried_count = cx.ferried_count;
    seen.datagram_count = cx.datagrams.answered_count;
    seen.moved_count = cx.model.moved_count;
    seen.restart_count = cx.model.lives.len() as u64 - u64::from(cx.shards);
    seen
}

/// Small shards, with room for all connections of the world.
fn roomy(chance: &mut Chance) -> Config {
    config(chance).with(|c| c.max_connections = 64)
}

impl Site {
    fn new(world: &World, cx: &mut Cx) -> Self {
        let config = ClusterConfig::new(cx.shards).with(|c| {
            c.cpu_affinity = CpuAffinity::Off;
            c.expected_protocols = ExpectedProtocols::TCP | ExpectedProtocols::UDP;
            c.mail_entries = cx.chance.pick(&[2, 8, 1_024]);
            c.io = roomy(&mut cx.chance);
            if cx.quic.is_some() {
                Quic::configure(c, &mut cx.chance);
            }
        });
        let mut cluster = IoCluster::in_world(config, world).expect("a cluster");
        let node = world.nodes() - 1;
        let addr = SocketAddr::from(([127, 0, 0, 1], 7_000));
        let backlog = cx.chance.pick(&[1, 4, 128]);
        let endpoint = insist(|| {
            cluster.tcp_listen_with(TcpListenConfig::new(addr).with(|c| c.backlog = backlog))
        });
        if let Some(quic) = &cx.quic {
            insist(|| quic.listen(&mut cluster, &mut cx.chance).then_some(()).ok_or(()));
        }
        if cx.is_wide {
            let addr = SocketAddr::from(([127, 0, 0, 1], udp::PORT));
            insist(|| cluster.udp_bind(addr));
        }
        let addr = cluster.local_addr(endpoint).expect("it is open").inet().expect("an address");
        let seeds = insist(|| cluster.seeds());
        let handle = cluster.handle();
        let (shards, ends, over) = (Vec::new(), Vec::new(), Vec::new());
        let world = world.clone();
        let mut site =
            Self { world, cluster, handle, node, addr, shards, ends, is_over: false, over };
        seeds.into_iter().for_each(|seed| site.grow(seed, cx));
        site
    }

    fn grow(&mut self, seed: ShardSeed, cx: &mut Cx) {
        let io = seed.grow_in(&self.world).expect("a shard");
        let (life, node) = (cx.model.lives.len(), self.world.nodes() - 1);
        cx.model.lives.push(Life::default());
        cx.life_of[usize::from(io.shard())] = Some(life);
        self.shards.push(Shard::new(io, node, life));
    }

    fn is_up(&self) -> bool {
        self.ends.is_empty() && self.shards.len() == usize::from(self.handle.shard_count())
    }

    fn supervise(&mut self, cx: &mut Cx) {
        match self.cluster.supervise(Duration::ZERO).expect("a turn") {
            Supervised::Reseed(seed) => self.grow(seed, cx),
            Supervised::Over => self.is_over = true,
            _ => {}
        }
        if !cx.is_over && cx.is_liveness {
            self.revive();
        }
        let now_ns = self.world.now_ns();
        let late = self.ends.iter().find(|(_, until_ns)| now_ns > *until_ns);
        if let Some(late) = late.filter(|_| cx.is_liveness) {
            let shards = self.shards.iter().map(Shard::describe).collect::<String>();
            panic!("the end of {late:?} is late, at {now_ns}: {:?}{shards}", self.cluster);
        }
    }

    /// Has shards that are down begin anew.
    fn revive(&self) {
        for shard in 0..self.handle.shard_count() {
            if self.handle.shard_readiness(shard) == Ok(ClusterReadiness::Stopped) {
                let asked = self.handle.restart_shard(shard, DrainOptions::default());
                assert!(matches!(asked, Ok(()) | Err(IoError::QueueFull { .. })), "{asked:?}");
            }
        }
    }

    /// Shards are asked to end, or crash.
    fn disturb(&mut self, cx: &mut Cx) {
        if !cx.may_hurt || !cx.chance.once_in(60) {
            return;
        }
        let shard = cx.chance.below(cx.shards.into()) as u16;
        let drain = DrainOptions::default();
        let grace = Duration::from_millis(cx.chance.pick(&[0, 0, 20]));
        let deadline = Duration::from_millis(cx.chance.pick(&[0, 100, 5_000]));
        let drain = drain.with(|d| (d.grace, d.deadline) = (Some(grace), Some(deadline)));
        let asked = match cx.chance.below(4) {
            0 => return self.crash(shard, cx),
            1 => self.handle.drain_shard(shard, drain),
            _ => self.handle.restart_shard(shard, drain),
        };
        match asked {
            Ok(()) => {}
            Err(IoError::ClusterBusy { .. } | IoError::ShardDown { .. }) => return,
            Err(error) => panic!("{error}"),
        }
        if let Some(life) = self.shards.iter().find(|s| s.number == shard).map(|s| s.life) {
            cx.model.hurt(life);
            // While faults go on, nobody promises anything.
            if cx.is_liveness {
                let span = grace + deadline + OVERTIME;
                self.ends.push((shard, self.world.now_ns() + span.as_nanos() as u64));
            }
        }
    }

    fn crash(&mut self, shard: u16, cx: &mut Cx) {
        if let Some(at) = self.shards.iter().position(|s| s.number == shard) {
            cx.model.crash_count += 1;
            self.end(at, cx);
        }
    }

    /// A life is over.
    fn end(&mut self, at: usize, cx: &mut Cx) {
        let Shard { io, number, life, node, .. } = self.shards.remove(at);
        cx.model.hurt(life);
        cx.model.lives[life].is_over = true;
        cx.life_of[usize::from(number)] = None;
        self.ends.retain(|(shard, _)| *shard != number);
        cx.ferried_count += io.fleet_stats().forwarded_in;
        drop(io);
        // In this world what is on its way stays the sender's until it has arrived.
        let is_on_way = |flow: &&Flow| flow.moving.is_some_and(|[from, _]| from == life);
        let on_way_count = cx.model.flows.iter().filter(is_on_way).count();
        let left_count = self.world.open_fds(node);
        assert!(left_count <= on_way_count, "{left_count} descriptors of a shard's node {node}");
        self.over.push(node);
        assert_eq!(self.world.open_slots(node), 0, "slots of a shard's node {node}");
    }

    fn shut_down(&mut self, cx: &mut Cx) {
        self.shards.iter().for_each(|shard| cx.model.hurt(shard.life));
        cx.is_over = true;
        self.handle.shutdown(DrainOptions::default()).expect("room for it");
    }

    fn round(&mut self, cx: &mut Cx) {
        let first = cx.chance.below(self.shards.len());
        for i in 0..self.shards.len() {
            let at = (first + i) % self.shards.len();
            let shard = &mut self.shards[at];
            shard.act(cx);
            if cx.is_liveness || !cx.chance.once_in(8) {
                shard.io.poll(timeout(cx)).expect("a tick");
            }
            let count_max = events(cx);
            shard.drain(cx, count_max);
            shard.io.audit();
        }
        while let Some(at) = self.shards.iter().position(|shard| !shard.io.is_running()) {
            self.end(at, cx);
        }
        if cx.is_liveness || !cx.chance.once_in(8) {
            self.supervise(cx);
        }
        self.disturb(cx);
    }
}

/// Until it works: the world's faults make calls fail.
fn insist<T, E>(mut ask: impl FnMut() -> Result<T, E>) -> T {
    (0..1_000).find_map(|_| ask().ok()).expect("it works in the end")
}

fn timeout(cx: &mut Cx) -> Duration {
    let is_short = !cx.is_liveness && cx.chance.once_in(4);
    if is_short { Duration::ZERO } else { Duration::from_secs(1) }
}

fn events(cx: &mut Cx) -> usize {
    if cx.is_liveness { 10_000 } else { cx.chance.pick(&[1, 20, 10_000]) }
}

/// Everyone acts and is polled; then time passes.
fn round(site: &mut Site, clients: &mut [Client], cx: &mut Cx) {
    site.round(cx);
    for client in clients {
        client.act(cx, site.addr);
        if cx.is_liveness || !cx.chance.once_in(8) {
            client.io.poll(timeout(cx)).expect("a tick");
        }
        let count_max = events(cx);
        client.drain(cx, count_max);
        client.io.audit();
        if !cx.is_liveness && cx.chance.once_in(40) {
            client.move_on(&site.world, cx);
        }
    }
    let violations = site.world.violations();
    assert!(violations.is_empty(), "the contract: {violations:?}");
    // The supervisor's moments are not among those that the world knows.
    let is_watched = !site.ends.is_empty();
    if is_watched {
        site.world.advance_by(Duration::from_millis(20));
    } else if !site.world.advance_to_next() || cx.chance.once_in(50) {
        site.world.advance_by(Duration::from_millis(1));
    }
}

fn settle(
    site: &mut Site,
    clients: &mut [Client],
    cx: &mut Cx,
    what: &str,
    done: fn(&Site, &[Client], &Cx) -> bool,
) {
    let start_ns = site.world.now_ns();
    for _ in 0..LIVENESS_ROUNDS {
        round(site, clients, cx);
        if done(site, clients, cx) {
            return;
        }
        if site.world.now_ns() - start_ns > LIVENESS_LIMIT.as_nanos() as u64 {
            break;
        }
    }
    let shards = site.shards.iter().map(Shard::describe).collect::<String>();
    let clients = clients.iter().map(|client| client.describe(cx)).collect::<String>();
    let files = site.world.describe_files();
    panic!("{what} after {} ns:{shards}{clients}\n{files}", site.world.now_ns() - start_ns);
}
