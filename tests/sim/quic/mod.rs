//! QUIC in the workload: nodes that all listen and connect, over paths on which everything that
//! UDP may do happens.
//!
//! Held: what is read of a stream is a prefix of what was written to it, and all of it at its end;
//! each direction has one end, and nothing behind it; datagrams come once; no more is taken for
//! sending than the reader's windows; a connection has one `Disconnected` with a reason that
//! somebody gave. What is begun when all is well arrives whole, and everything comes home.

mod act;
mod limits;
mod model;
mod node;
mod nth;
mod same;
mod told;
mod wide;

use std::net::SocketAddr;
use std::time::Duration;

use zero_io::sim::World;
use zero_io::{Io, TlsClientConfig, TlsServerConfig, code};

use crate::chance::Chance;
use crate::scenario::Seen;
use crate::secure::Secure;
use model::{Model, ReadEnd, Sending};
use node::Node;

/// Whether there is QUIC at all.
pub(crate) const ON: bool = true;
const SAFETY_ROUNDS: usize = 600;
/// Rounds in which connections still begin once all is well.
const START_ROUNDS: usize = 60;
const LIVENESS_ROUNDS: usize = 100_000;
const LIVENESS_LIMIT: Duration = Duration::from_secs(900);

/// What all nodes share.
struct Cx {
    world: World,
    chance: Chance,
    model: Model,
    tls: (TlsServerConfig, TlsClientConfig),
    /// Ends may ask for the bytes of streams, pause single ones, and move.
    is_wide: bool,
    /// Where somebody listened once; who is patient comes first.
    places: Vec<SocketAddr>,
    has_patient: bool,
    is_liveness: bool,
    may_start: bool,
    /// Ports whose datagrams are lost.
    holes: Vec<u16>,
}

/// Runs a seed.
pub(crate) fn run(world: &World) -> Seen {
    let mut chance = Chance::new(world.seed());
    let tls = Secure::quic(&mut chance);
    let mut cx = Cx {
        world: world.clone(),
        chance,
        model: Model::default(),
        tls,
        // The others are as they were when they found what they are known for.
        is_wide: !world.seed().is_multiple_of(2),
        places: Vec::new(),
        has_patient: false,
        is_liveness: false,
        may_start: true,
        holes: Vec::new(),
    };
    let mut nodes = Vec::new();
    for index in 0..2 + cx.chance.below(2) {
        let config = limits::node(&mut cx.chance);
        let io = Io::in_world(config, world).expect("a node");
        let mut node = Node::new(index, io);
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
    cx.may_start = cx.has_patient;
    for _ in 0..START_ROUNDS {
        round(&mut nodes, &mut cx);
    }
    cx.may_start = false;
    settle(&mut nodes, &mut cx, "the connections do not end", |node, _| node.is_settled());
    nodes.iter_mut().for_each(Node::close_listeners);
    settle(&mut nodes, &mut cx, "not everything came home", |node, world| {
        node.io.is_idle() && world.open_fds(node.index) == 0
    });
    for node in &nodes {
        assert_eq!(world.open_slots(node.index), 0, "slots of node {}", node.index);
    }
    drop(nodes);
    world.advance_by(Duration::from_secs(60));
    assert_eq!(world.files(), 0, "files");
    assert_eq!(world.violations(), [""; 0], "the contract");
    cx.model.check();
    seen(&cx)
}

fn seen(cx: &Cx) -> Seen {
    let mut seen = Seen::default();
    for end in &cx.model.ends {
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
    if is_narrow && end.peer.is_none() {
        return;
    }
    let was_refused = end.ended.is_some_and(|e| e.code == code::QUIC_REFUSED);
    if !end.is_sure || was_refused {
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
        if let Some(port) = nodes[node].client_port(cx) {
            cx.world.rebind(SocketAddr::from(([127, 0, 0, 1], port)));
        }
    }
}

/// Everyone acts and is polled, in any order; then time passes.
fn round(nodes: &mut [Node], cx: &mut Cx) {
    let first = cx.chance.below(nodes.len());
    for i in 0..nodes.len() {
        let node = &mut nodes[(first + i) % nodes.len()];
        node.act(cx);
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
