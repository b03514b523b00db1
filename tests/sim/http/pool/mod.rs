//! Pools of HTTP clients against servers of HTTP, while things go wrong.
//!
//! Each request is drawn before it is asked, and named in its path; each answer names the request
//! and has a body that is only its own. Whatever happens, a request has one end and nothing behind
//! it, is handed out no more often than the pool may send it, and gets what was given for it.

mod asker;
mod plan;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use zero_io::sim::World;
use zero_io::{EndpointId, HttpListenConfig, HttpPoolConfig, Io, TcpListenConfig};

use crate::chance::Chance;
use crate::scenario::{self, Seen};
use asker::Asker;
use plan::{Ask, End};
use server::Server;

/// Whether there are clients at all.
pub(crate) const ON: bool = true;
const SAFETY_ROUNDS: usize = 800;
/// Rounds in which requests still start once all is well.
const START_ROUNDS: usize = 60;
const LIVENESS_ROUNDS: usize = 60_000;
/// How long a round is in which somebody is about to say something.
const BUSY_ROUND: Duration = Duration::from_micros(200);
const LIVENESS_LIMIT: Duration = Duration::from_secs(900);
/// A name of the servers.
const HOST: &str = "service";

/// What all nodes share.
struct Cx {
    world: World,
    chance: Chance,
    asks: Vec<Ask>,
    /// Every pool there ever was.
    pools: Vec<HttpPoolConfig>,
    /// The listener that cuts nothing short.
    patient: EndpointId,
    /// Of the listeners that are there, without a slash behind.
    origins: Vec<String>,
    is_liveness: bool,
    may_start: bool,
}

/// The nodes.
struct Nodes {
    server: Server,
    askers: Vec<Asker>,
}

/// Runs a seed.
pub(crate) fn run(world: &World) -> Seen {
    let mut cx = Cx {
        world: world.clone(),
        chance: Chance::new(world.seed()),
        asks: Vec::new(),
        pools: Vec::new(),
        patient: EndpointId::from_u64(0),
        origins: Vec::new(),
        is_liveness: false,
        may_start: true,
    };
    world.name_host(HOST, &["127.0.0.1".parse().expect("an address")]);
    let io = node(&mut cx);
    let server = Server { io, listeners: Vec::new(), state: server::State::default() };
    let mut nodes = Nodes { server, askers: Vec::new() };
    listen(&mut nodes.server, &mut cx);
    for _ in 0..=cx.chance.below(2) {
        let io = node(&mut cx);
        nodes.askers.push(Asker::new(io));
    }
    cx.may_start = !cx.origins.is_empty();
    for _ in 0..SAFETY_ROUNDS {
        round(&mut nodes, &mut cx);
    }
    world.heal();
    cx.is_liveness = true;
    for _ in 0..START_ROUNDS {
        round(&mut nodes, &mut cx);
    }
    cx.may_start = false;
    let is_settled = |nodes: &Nodes, _: &World| nodes.askers.iter().all(|a| a.state.is_settled());
    settle(&mut nodes, &mut cx, "the requests do not end", is_settled);
    nodes.askers.iter_mut().for_each(Asker::close_pools);
    for id in std::mem::take(&mut nodes.server.listeners) {
        nodes.server.io.endpoint_close(id).expect("it is open");
    }
    settle(&mut nodes, &mut cx, "not everything came home", is_home);
    let count = nodes.askers.len();
    (0..=count).for_each(|node| assert_eq!(world.open_slots(node), 0, "slots of node {node}"));
    let request_count = nodes.server.state.handed_out;
    drop(nodes);
    world.advance_by(Duration::from_secs(60));
    assert_eq!(world.files(), 0, "files");
    assert_eq!(world.violations(), [""; 0], "the contract");
    finish(&cx, request_count)
}

/// What must hold of each request in the end, and what was seen.
fn finish(cx: &Cx, request_count: u64) -> Seen {
    let mut seen = Seen { request_count, ..Seen::default() };
    for ask in &cx.asks {
        let config = &cx.pools[ask.pool];
        server::check(ask, config);
        seen.flow_count += 1;
        match ask.end.expect("it is settled") {
            End::Whole => {
                seen.complete_count += 1;
                seen.answer_count += u64::from(ask.answered_hop.is_some());
                seen.byte_count += ask.got as u64;
                seen.upgraded_count += u64::from(ask.status == 101);
            }
            End::Failed(_) => seen.refused_count += 1,
            End::Cancelled => {}
        }
    }
    seen
}

fn node(cx: &mut Cx) -> Io {
    let config = scenario::config(&mut cx.chance);
    Io::in_world(config, &cx.world).expect("a node")
}

/// Servers of different patience. Those that fail to listen are left out.
fn listen(server: &mut Server, cx: &mut Cx) {
    for is_hasty in [false, true] {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let config = HttpListenConfig::new(TcpListenConfig::new(any)).with(|c| {
            c.max_pipelined = cx.chance.pick(&[1, 2, 8]);
            c.max_body_inline = cx.chance.pick(&[0, 100, 3_000, 16_384]);
            c.keep_alive_timeout_ms = cx.chance.pick(&[5, 75_000]);
            c.keep_alive_requests = cx.chance.pick(&[0, 0, 1, 3]) as u32;
            c.request_timeout_ms = 1_000_000;
            if is_hasty {
                c.max_body_size = cx.chance.pick(&[3_000, 1 << 30]);
                c.request_timeout_ms = cx.chance.pick(&[5, 100, 30_000]);
                c.receive_timeout_ms = cx.chance.pick(&[5, 100, 10_000]);
                c.auto_continue = cx.chance.once_in(2);
            }
        });
        let Ok(id) = server.io.http_listen_with(config) else { continue };
        server.listeners.push(id);
        if !is_hasty {
            cx.patient = id;
        }
        let Ok(addr) = server.io.local_addr(id) else { continue };
        let port = addr.inet().expect("an address").port();
        let host = cx.chance.pick(&["127.0.0.1", HOST]);
        cx.origins.push(format!("http://{host}:{port}"));
    }
}

fn poll(io: &mut Io, cx: &mut Cx) {
    if cx.is_liveness || !cx.chance.once_in(8) {
        let is_short = cx.chance.once_in(4) && !cx.is_liveness;
        io.poll(if is_short { Duration::ZERO } else { Duration::from_secs(1) }).expect("a tick");
    }
    io.audit();
}

fn round(nodes: &mut Nodes, cx: &mut Cx) {
    let count_max = if cx.is_liveness { 10_000 } else { cx.chance.pick(&[1, 20, 10_000]) };
    let is_first = cx.chance.once_in(2);
    for turn in 0..2 {
        if (turn == 0) == is_first {
            nodes.server.act(cx);
            poll(&mut nodes.server.io, cx);
            nodes.server.drain(cx, count_max);
            nodes.server.state.check_conns(cx);
            nodes.server.io.audit();
            continue;
        }
        for asker in &mut nodes.askers {
            asker.act(cx);
            poll(&mut asker.io, cx);
            asker.drain(cx, count_max);
            asker.io.audit();
        }
    }
    let violations = cx.world.violations();
    assert!(violations.is_empty(), "the contract: {violations:?}");
    let busy = nodes.server.state.is_busy() || nodes.askers.iter().any(|a| a.state.is_busy());
    if cx.is_liveness && busy {
        cx.world.advance_by(BUSY_ROUND);
    } else if !cx.world.advance_to_next() || cx.chance.once_in(50) {
        cx.world.advance_by(Duration::from_millis(1));
    }
}

/// Nothing is open, lent out or under way.
fn is_home(nodes: &Nodes, world: &World) -> bool {
    let count = nodes.askers.len();
    let is_idle = nodes.server.io.is_idle() && nodes.askers.iter().all(|asker| asker.io.is_idle());
    is_idle && (0..=count).all(|node| world.open_fds(node) == 0)
}

fn settle(nodes: &mut Nodes, cx: &mut Cx, what: &str, done: fn(&Nodes, &World) -> bool) {
    let start_ns = cx.world.now_ns();
    for _ in 0..LIVENESS_ROUNDS {
        round(nodes, cx);
        if done(nodes, &cx.world) {
            return;
        }
        if cx.world.now_ns() - start_ns > LIVENESS_LIMIT.as_nanos() as u64 {
            break;
        }
    }
    let passed_ns = cx.world.now_ns() - start_ns;
    let askers: String = nodes.askers.iter().map(|asker| asker.state.describe(cx)).collect();
    let server = nodes.server.state.describe();
    panic!("{what} after {passed_ns} ns:{server}{askers}\n{}", cx.world.describe_files());
}
