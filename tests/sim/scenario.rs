//! One run: nodes that talk while things go wrong, then a world in which everything must finish.

use std::time::Duration;

use zero_io::sim::{Faults, World};
use zero_io::{Config, Io, Toggle};

use crate::chance::Chance;
use crate::extras::Datagrams;
use crate::flow::Speech;
use crate::node::{Node, Shared};
use crate::secure::Secure;

/// Rounds of the safety phase.
const SAFETY_ROUNDS: usize = 600;
/// Rounds in which the liveness phase must finish.
const LIVENESS_ROUNDS: usize = 60_000;
/// Virtual time in which it must finish.
const LIVENESS_LIMIT: Duration = Duration::from_secs(600);

/// From this seed on a part of the connections speak TLS.
pub(crate) const TLS_SEEDS: u64 = 1 << 32;
/// From this seed on it is HTTP that is spoken.
pub(crate) const HTTP_SEEDS: u64 = 1 << 33;
/// From this seed on it is pools of HTTP clients that ask.
pub(crate) const CLIENT_SEEDS: u64 = 1 << 34;
/// From this seed on it is QUIC that is spoken.
pub(crate) const QUIC_SEEDS: u64 = 1 << 35;

/// From this seed on it is clusters that serve.
pub(crate) const CLUSTER_SEEDS: u64 = 1 << 36;

/// What a run saw, so that a workload that does nothing is noticed.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) flow_count: u64,
    pub(crate) connected_count: u64,
    pub(crate) complete_count: u64,
    pub(crate) byte_count: u64,
    pub(crate) datagram_count: u64,
    /// Of those complete, over TLS.
    pub(crate) sealed_count: u64,
    /// Connections that TLS refused, here or there.
    pub(crate) refused_count: u64,
    /// Upgrades by STARTTLS.
    pub(crate) upgraded_count: u64,
    /// Requests of HTTP that were handed out.
    pub(crate) request_count: u64,
    /// Answers of HTTP that came whole.
    pub(crate) answer_count: u64,
    /// Messages between shards that came.
    pub(crate) post_count: u64,
    /// Datagrams that shards passed on to each other.
    pub(crate) ferried_count: u64,
    /// Connections that went from one shard to another.
    pub(crate) moved_count: u64,
    /// Lives of shards and nodes behind the first ones.
    pub(crate) restart_count: u64,
    /// Connections of QUIC to hosts.
    pub(crate) named_count: u64,
    /// Connections of QUIC that resumed a session.
    pub(crate) resumed_count: u64,
    /// Those whose early data was taken, and those whose was not.
    pub(crate) early_taken_count: u64,
    pub(crate) early_refused_count: u64,
    /// Clients of QUIC that showed a token instead of retrying, at least.
    pub(crate) spared_count: u64,
    /// Ends by stateless resets, and those among them of clients that were all right before.
    pub(crate) reset_count: u64,
    pub(crate) forgotten_count: u64,
}

/// Runs a seed. Panics when something that was promised does not hold.
pub(crate) fn run(world: &World) -> Seen {
    let seed = world.seed();
    if seed >= CLUSTER_SEEDS {
        return crate::cluster::run(world);
    }
    if seed >= QUIC_SEEDS {
        return crate::quic::run(world);
    }
    if seed >= CLIENT_SEEDS {
        return crate::http::pool::run(world);
    }
    if seed >= HTTP_SEEDS {
        return crate::http::run(world);
    }
    let mut cx = Shared {
        world: world.clone(),
        chance: Chance::new(seed),
        flows: Vec::new(),
        targets: Vec::new(),
        datagrams: Datagrams::default(),
        secure: None,
        noise_ppm: 0,
        is_liveness: false,
        next_token: 0,
    };
    if seed >= TLS_SEEDS {
        cx.secure = Some(Secure::new(&mut cx.chance));
        cx.noise_ppm = cx.chance.pick(&[0, 0, 3_000, 100_000]);
    }
    let count = 2 + cx.chance.below(2);
    let mut nodes: Vec<Node> = Vec::new();
    for index in 0..count {
        let config = config(&mut cx.chance);
        let table_max = config.max_connections;
        let io = Io::in_world(config, world).expect("a node");
        let mut node = Node::new(index, io, table_max);
        node.open(&mut cx);
        nodes.push(node);
    }
    for _ in 0..SAFETY_ROUNDS {
        round(&mut nodes, &mut cx);
    }
    world.heal();
    cx.is_liveness = true;
    settle(&mut nodes, &mut cx, |node, _| node.is_settled(), "the connections do not end");
    nodes.iter_mut().for_each(Node::close_endpoints);
    settle(&mut nodes, &mut cx, is_home, "not everything came home");
    let mut seen = Seen { flow_count: cx.flows.len() as u64, ..Seen::default() };
    for node in &nodes {
        assert_eq!(world.open_fds(node.index), 0, "descriptors of node {}", node.index);
        assert_eq!(world.open_slots(node.index), 0, "slots of node {}", node.index);
        seen.connected_count += node.state.connected_count;
        seen.refused_count += node.state.refused_count;
        seen.upgraded_count += node.state.upgraded_count;
    }
    drop(nodes);
    // The last FINs are still on their way.
    world.advance_by(Duration::from_secs(60));
    assert_eq!(world.files(), 0, "files");
    assert_eq!(world.violations(), [""; 0], "the contract");
    let complete = || cx.flows.iter().filter(|flow| flow.check_complete());
    seen.complete_count = complete().count() as u64;
    seen.sealed_count = complete().filter(|flow| flow.speech != Speech::Plain).count() as u64;
    seen.byte_count = cx.flows.iter().map(|flow| flow.got[0] + flow.got[1]).sum();
    seen.datagram_count = cx.datagrams.received_count;
    seen
}

/// Everyone acts and is polled, in any order; then time passes.
fn round(nodes: &mut [Node], cx: &mut Shared) {
    let first = cx.chance.below(nodes.len());
    for i in 0..nodes.len() {
        let node = &mut nodes[(first + i) % nodes.len()];
        node.act(cx);
        if cx.is_liveness || !cx.chance.once_in(8) {
            let timeout = match cx.chance.below(4) {
                0 if !cx.is_liveness => Duration::ZERO,
                _ => Duration::from_secs(1),
            };
            node.io.poll(timeout).expect("a tick");
        }
        let count_max = if cx.is_liveness { 10_000 } else { cx.chance.pick(&[1, 20, 10_000]) };
        node.drain(cx, count_max);
        node.io.audit();
    }
    let violations = cx.world.violations();
    assert!(violations.is_empty(), "the contract: {violations:?}");
    if !cx.world.advance_to_next() || cx.chance.once_in(50) {
        cx.world.advance_by(Duration::from_millis(1));
    }
}

/// Nothing is open, lent out or under way.
fn is_home(node: &Node, world: &World) -> bool {
    node.io.is_idle() && world.open_fds(node.index) == 0
}

fn settle(nodes: &mut [Node], cx: &mut Shared, done: fn(&Node, &World) -> bool, what: &str) {
    let start_ns = cx.world.now_ns();
    for _ in 0..LIVENESS_ROUNDS {
        round(nodes, cx);
        if nodes.iter().all(|node| done(node, &cx.world)) {
            return;
        }
        let passed_ns = cx.world.now_ns() - start_ns;
        if passed_ns > LIVENESS_LIMIT.as_nanos() as u64 {
            break;
        }
    }
    let open: String = nodes.iter().map(Node::describe).collect();
    let files = cx.world.describe_files();
    panic!("{what} after {} ns:{open}\n{files}", cx.world.now_ns() - start_ns);
}

/// Small everywhere, so that every bound is met.
pub(crate) fn config(chance: &mut Chance) -> Config {
    Config::default().with(|c| {
        c.huge_pages = Toggle::Off;
        c.pool_slot_count = chance.pick(&[32, 64, 256]);
        c.handle_reserve_count = chance.pick(&[0, 4, 16]);
        c.stream_buffer_count = chance.pick(&[8, 16, 64]);
        c.stream_buffer_size = chance.pick(&[2_048, 4_096, 16_384]);
        c.gro_buffer_count = chance.pick(&[0, 2, 8]);
        c.jumbo_count = chance.pick(&[1, 4]);
        c.jumbo_size = 65_536;
        c.detached_max_pct = chance.pick(&[1, 20, 90]);
        c.max_connections = chance.pick(&[3, 16, 64]);
        c.max_endpoints = 16;
        c.max_timers = chance.pick(&[0, 4, 64]);
        c.max_watches = chance.pick(&[0, 2]);
        c.max_events_per_poll = chance.pick(&[16, 64, 256]);
        c.send_high_water = chance.pick(&[4_096, 20_000, 262_144]);
        c.send_queue_entries = chance.pick(&[64, 512]);
        c.guard_count = chance.pick(&[0, 2, 64]);
        c.held_buffers_max = chance.pick(&[1, 3, 64]);
        c.handle_queue_entries = chance.pick(&[2, 64]);
        c.uring.zero_copy_min = 1_024;
        c.uring.fixed_files = chance.pick(&[Toggle::Auto, Toggle::Off]);
        c.uring.zero_copy_send = chance.pick(&[Toggle::Auto, Toggle::Off]);
        c.debug.poison_freed = true;
        c.debug.audit_every_tick = true;
    })
}

/// A world for a seed.
pub(crate) fn world(seed: u64) -> World {
    if seed >= CLUSTER_SEEDS {
        return World::new(seed, crate::cluster::faults(seed));
    }
    let faults = Faults::from_seed(seed);
    let is_quic = seed >= QUIC_SEEDS;
    World::new(seed, if is_quic { faults.with_paths(seed).with_hosts(seed) } else { faults })
}
