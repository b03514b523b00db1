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
mod site;
mod udp;

use std::collections::BTreeMap;
use std::time::Duration;

use zero_io::sim::{Fault, Faults, World};
use zero_io::{Config, Io, code};

use crate::chance::Chance;
use crate::scenario::{Seen, config};
use client::Client;
use model::Model;
use quic::Quic;
use served::Served;
use shard::Shard;
use site::Site;
use udp::Datagrams;

const SAFETY_ROUNDS: usize = 500;
/// Rounds in which connections still begin, and shards still end, once all is well.
const START_ROUNDS: usize = 300;
const LIVENESS_ROUNDS: usize = 60_000;
const LIVENESS_LIMIT: Duration = Duration::from_secs(600);
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
