//! QUIC in the workload: nodes that all listen and connect, over paths on which everything that
//! UDP may do happens.
//!
//! Held: what is read of a stream is a prefix of what was written to it, and all of it at its end;
//! each direction has one end, and nothing behind it; datagrams come once; no more is taken for
//! sending than the reader's windows; a connection has one `Disconnected` with a reason that
//! somebody gave. What is begun when all is well arrives whole, and everything comes home.

mod act;
mod hosts;
mod limits;
mod lives;
mod model;
mod node;
mod nth;
mod past;
mod same;
mod told;
mod wide;

use std::net::SocketAddr;
use std::time::Duration;

use zero_io::sim::World;
use zero_io::{TlsClientConfig, TlsServerConfig, code};

use crate::chance::Chance;
use crate::scenario::{QUIC_SEEDS, Seen};
use crate::secure::Secure;
use model::{Lost, Model, ReadEnd, Sending};
use node::Node;
use past::{Early, Memory, Past};

/// Whether there is QUIC at all.
pub(crate) const ON: bool = true;
const SAFETY_ROUNDS: usize = 600;
/// Rounds in which connections still begin once all is well.
const START_ROUNDS: usize = 60;
const LIVENESS_ROUNDS: usize = 100_000;
/// Until everything that was sent has arrived.
const LIVENESS_LIMIT: Duration = Duration::from_secs(900);

/// What a world has besides what all have. The others are as they were when they found what they
/// are known for.
#[derive(Clone, Copy)]
struct Parts {
    /// Ends may ask for the bytes of streams, pause single ones, and move.
    is_wide: bool,
    /// Clients come back: with tickets, early data and tokens, to servers that were started anew.
    returns: bool,
    /// Clients go to hosts, whose addresses race; there is IPv6.
    by_name: bool,
}

impl Parts {
    const fn of(seed: u64) -> Self {
        let place = (seed - QUIC_SEEDS) % 8;
        Self {
            is_wide: place % 2 == 1,
            returns: matches!(place, 2 | 3 | 7),
            by_name: matches!(place, 1 | 2 | 7),
        }
    }

    /// Connections that a node begins once all is well.
    const fn late_dials(self) -> usize {
        if self.returns { 6 } else { 2 }
    }
}

/// What all nodes share.
struct Cx {
    world: World,
    chance: Chance,
    model: Model,
    tls: (TlsServerConfig, TlsClientConfig),
    parts: Parts,
    past: Past,
    /// Where somebody listened once; who is patient comes first.
    places: Vec<SocketAddr>,
    has_patient: bool,
    is_liveness: bool,
    may_start: bool,
    /// Ports whose datagrams are lost.
    holes: Vec<u16>,
    host_count: u64,
    restart_count: u64,
    /// Clients that showed a token where all others are asked to retry, at least.
    spared_count: u64,
    /// Clients that were refused, by nodes that are gone.
    refused_count: u64,
    /// Some were when all was well.
    has_refused: bool,
}

/// Runs a seed.
pub(crate) fn run(world: &World) -> Seen {
    let mut chance = Chance::new(world.seed());
    let tls = Secure::quic(&mut chance);
    let parts = Parts::of(world.seed());
    let past = if parts.returns { Past::new(&mut chance) } else { Past::none() };
    let mut cx = Cx {
        world: world.clone(),
        chance,
        model: Model::default(),
        tls,
        parts,
        past,
        places: Vec::new(),
        has_patient: false,
        is_liveness: false,
        may_start: true,
        holes: Vec::new(),
        host_count: 0,
        restart_count: 0,
        spared_count: 0,
        refused_count: 0,
        has_refused: false,
    };
    let mut nodes = Vec::new();
    for index in 0..2 + cx.chance.below(2) {
        let config = limits::node(&mut cx.chance);
        let mut node = Node::new(index, config, world);
        node.memory = cx.parts.returns.then(|| Memory::new(&cx.past));
        node.listen(&mut cx, true);
        if cx.chance.once_in(2) {
            node.listen(&mut cx, false);
        }
        nodes.push(node);
    }
    for _ in 0..SAFETY_ROUNDS {
        round(&mut nodes, &mut cx);
        disturb(&mut nodes, &mut cx);
    }
    world.heal();
    cx.is_liveness = true;
    let refused_before: u64 = nodes.iter_mut().map(Node::refused_count).sum();
    let refused_before = cx.refused_count + refused_before;
    start(&mut nodes, &mut cx);
    settle(&mut nodes, &mut cx, "the connections do not end", |node, _| node.is_settled());
    nodes.iter_mut().for_each(Node::close_listeners);
    settle(&mut nodes, &mut cx, "not everything came home", |node, world| {
        node.io.is_idle() && world.open_fds(node.index) == 0
    });
    for node in &nodes {
        assert_eq!(world.open_slots(node.index), 0, "slots of node {}", node.index);
    }
    nodes.iter_mut().for_each(|node| node.count(&mut cx));
    cx.has_refused = cx.refused_count > refused_before;
    drop(nodes);
    world.advance_by(Duration::from_secs(60));
    assert_eq!(world.files(), 0, "files");
    assert_eq!(world.violations(), [""; 0], "the contract");
    cx.model.check();
    past::check(&cx.model);
    seen(&cx)
}

/// Connections begin when all is well; in some worlds the node that they go to is started anew.
fn start(nodes: &mut [Node], cx: &mut Cx) {
    let spans = if cx.parts.returns { 4 } else { 1 };
    for span in 0..spans {
        cx.may_start = cx.has_patient;
        for _ in 0..START_ROUNDS {
            round(nodes, cx);
        }
        cx.may_start = false;
        if span == 1 && cx.chance.once_in(2) {
            let patient = cx.places.first().copied();
            let node = nodes.iter_mut().find(|node| patient.is_some_and(|addr| node.is_at(addr)));
            node.into_iter().for_each(|node| node.restart(cx));
        }
    }
}

fn seen(cx: &Cx) -> Seen {
    let (restart_count, spared_count) = (cx.restart_count, cx.spared_count);
    let mut seen = Seen { restart_count, spared_count, ..Seen::default() };
    for end in &cx.model.ends {
        let is_named = end.is_client && end.is_connected && end.route.is_by_name;
        seen.named_count += u64::from(is_named);
        let is_resumed = end.is_client && end.ties.resumed == Some(true);
        seen.resumed_count += u64::from(is_resumed);
        seen.early_taken_count += u64::from(end.ties.early == Early::Taken);
        seen.early_refused_count += u64::from(end.lost == Some(Lost::Refused));
        let is_reset = end.ended.is_some_and(|e| e.code == code::QUIC_STATELESS_RESET);
        seen.reset_count += u64::from(is_reset);
        seen.forgotten_count += u64::from(is_reset && end.forgotten_at.is_some());
        seen.flow_count += u64::from(end.is_client);
        seen.connected_count += u64::from(end.is_connected);
        seen.datagram_count += end.datagrams_seen.len() as u64;
        seen.refused_count += u64::from(end.ended.is_some_and(|e| e.code == code::QUIC_REFUSED));
        for reading in end.reading.values() {
            seen.complete_count += u64::from(reading.end == Some(ReadEnd::Closed));
            seen.byte_count += reading.got;
        }
        check_sure(cx, end);
    }
    seen
}

/// What was begun when all was well got through.
fn check_sure(cx: &Cx, end: &model::End) {
    // Sockets that hold four datagrams may lose a packet of a handshake until it is given up.
    let is_narrow = cx.world.faults().shape.datagram_count_max < 64;
    let is_known = end.peer.is_some() && (end.is_confirmed || !cx.parts.returns);
    if is_narrow && !is_known {
        return;
    }
    let was_refused = end.ended.is_some_and(|e| e.code == code::QUIC_REFUSED)
        || hosts::was_refused(end, cx.has_refused)
        || past::was_refused(end);
    if !end.is_sure || was_refused || past::was_hurried(end) {
        return;
    }
    assert!(end.is_connected && end.is_silent(), "{end:?}");
    let peer = &cx.model.ends[end.peer.expect("it was spoken to")];
    assert!(peer.is_silent() && peer.sending.values().all(Sending::is_settled), "{peer:?}");
}

/// What happens to the network: ports that are cut off, and clients that seem to move.
fn disturb(nodes: &mut [Node], cx: &mut Cx) {
    if cx.chance.once_in(150) {
        let node = cx.chance.below(nodes.len());
        let ports = nodes[node].ports(cx);
        if let Some(port) = ports.get(cx.chance.below(ports.len())) {
            cx.world.blackhole(*port, true);
            cx.holes.push(*port);
        }
    }
    if !cx.holes.is_empty() && cx.chance.once_in(60) {
        cx.world.blackhole(cx.holes.remove(0), false);
    }
    if cx.chance.once_in(200) {
        let node = cx.chance.below(nodes.len());
        if let Some(addr) = nodes[node].client_addr(cx) {
            cx.world.rebind(addr);
        }
    }
    if cx.parts.returns && cx.chance.once_in(400) {
        let node = cx.chance.below(nodes.len());
        nodes[node].restart(cx);
    }
}

/// Everyone acts and is polled, in any order; then time passes.
fn round(nodes: &mut [Node], cx: &mut Cx) {
    let first = cx.chance.below(nodes.len());
    for i in 0..nodes.len() {
        let node = &mut nodes[(first + i) % nodes.len()];
        node.act(cx);
        if cx.is_liveness {
            // As in a loop that does nothing else, what came is answered before time passes.
            node.io.poll(Duration::ZERO).expect("a tick");
            node.drain(cx, 10_000);
        }
        if cx.is_liveness || !cx.chance.once_in(8) {
            let is_short = !cx.is_liveness && cx.chance.once_in(4);
            let timeout = if is_short { Duration::ZERO } else { Duration::from_secs(1) };
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

fn settle(nodes: &mut [Node], cx: &mut Cx, what: &str, done: fn(&Node, &World) -> bool) {
    let start_ns = cx.world.now_ns();
    for _ in 0..LIVENESS_ROUNDS {
        round(nodes, cx);
        if nodes.iter().all(|node| done(node, &cx.world)) {
            return;
        }
        if cx.world.now_ns() - start_ns > LIVENESS_LIMIT.as_nanos() as u64 {
            break;
        }
    }
    let open: String = nodes.iter().map(|node| node.describe(cx)).collect();
    let files = cx.world.describe_files();
    panic!("{what} after {} ns:{open}\n{files}", cx.world.now_ns() - start_ns);
}
