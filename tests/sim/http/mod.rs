//! HTTP in the workload: a node that serves, one or two that ask in raw bytes, and what each must
//! see.
//!
//! Everything that a client sends, and what it is answered with, is drawn before; the path of a
//! request names it. The server compares what it is handed out with what was sent; the client reads
//! the answers with a parser of its own and compares them with what was given.

mod client;
#[path = "../../http_corpus/mod.rs"]
#[expect(dead_code, reason = "the corpus is also for tests that need more of it")]
mod http_corpus;
mod idle;
mod plan;
#[cfg(feature = "http-client")]
pub(crate) mod pool;
#[cfg(not(feature = "http-client"))]
#[path = "pool_off.rs"]
pub(crate) mod pool;
mod reader;
mod server;
mod upload;

use std::net::SocketAddr;
use std::time::Duration;

use zero_io::code;
use zero_io::sim::{NOTIFICATION_LATE_MAX, World};
use zero_io::{HttpListenConfig, Io, TcpListenConfig};

use crate::chance::Chance;
use crate::scenario::{self, Seen};
use crate::secure::{self, Secure};
use client::Client;
use plan::{Limits, Talk};
use reader::Reader;
use server::Server;

/// Whether there is HTTP at all.
pub(crate) const ON: bool = true;
const SAFETY_ROUNDS: usize = 800;
/// Rounds in which talks still start once all is well.
const START_ROUNDS: usize = 60;
/// How long a round is in which somebody is about to say something.
const BUSY_ROUND: Duration = Duration::from_micros(200);
/// Who tries again each round may have to wait for the notification of a send: without a place
/// among the guard writes there is no answer from memory that is not copied. Together they are
/// shorter than the idle limit of most connections, behind which a late end may hide.
const LIVENESS_ROUNDS: usize =
    60_000 + (NOTIFICATION_LATE_MAX.as_micros() / BUSY_ROUND.as_micros()) as usize;
const LIVENESS_LIMIT: Duration = Duration::from_secs(900);

/// What all nodes share.
pub(crate) struct Cx {
    world: World,
    chance: Chance,
    talks: Vec<Talk>,
    /// The listeners that are there.
    places: Vec<(SocketAddr, Limits)>,
    secure: Option<Secure>,
    is_liveness: bool,
    may_start: bool,
    answers: u64,
    own_answers: u64,
}

impl Talk {
    /// What must hold when the client has seen the end.
    fn check(&self, reader: &Reader) {
        let handed_out = self.handed_out;
        assert!(reader.count <= handed_out, "{} answers, {handed_out} requests", reader.count);
    }

    /// What must hold when both sides have.
    fn check_ends(&self, key: usize) {
        let [Some(client), Some(server)] = self.ended else { return };
        if self.is_polite {
            let may_fail = client.code == code::CARRY_EXHAUSTED
                || matches!(
                    server.code,
                    code::HTTP_ANSWER_CUT | code::CARRY_EXHAUSTED | code::HTTP_IDLE
                );
            let is_whole = self.is_complete || self.has_last;
            assert!(may_fail || is_whole, "talk {key}: {client:?} {server:?} {self:?}");
        }
        // A client that takes its time is sent away.
        let was_idle = server.code == code::HTTP_IDLE;
        let in_order = client.clean && server.clean && !self.broken_off && !was_idle;
        if in_order && !self.has_last {
            assert!(
                self.is_complete || self.answer_count < self.asks.len(),
                "talk {key}: {self:?}"
            );
        }
    }
}

/// Runs a seed.
pub(crate) fn run(world: &World) -> Seen {
    let mut chance = Chance::new(world.seed());
    let secure = (secure::ON && chance.once_in(3)).then(|| Secure::new(&mut chance));
    let mut cx = Cx {
        world: world.clone(),
        chance,
        talks: Vec::new(),
        places: Vec::new(),
        secure,
        is_liveness: false,
        may_start: true,
        answers: 0,
        own_answers: 0,
    };
    let config = scenario::config(&mut cx.chance);
    let mut server = Server::new(Io::in_world(config, world).expect("a node"));
    listen(&mut server, &mut cx);
    let count = 1 + cx.chance.below(2);
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..count {
        let config = scenario::config(&mut cx.chance);
        clients.push(Client::new(Io::in_world(config, world).expect("a node")));
    }
    cx.may_start = !cx.places.is_empty();
    for _ in 0..SAFETY_ROUNDS {
        round(&mut server, &mut clients, &mut cx);
    }
    world.heal();
    cx.is_liveness = true;
    for _ in 0..START_ROUNDS {
        round(&mut server, &mut clients, &mut cx);
    }
    cx.may_start = false;
    settle(
        &mut server,
        &mut clients,
        &mut cx,
        "the connections do not end",
        |server, clients, _| server.is_settled() && clients.iter().all(Client::is_settled),
    );
    for (id, _) in server.listeners.clone() {
        server.io.endpoint_close(id).expect("it is open");
    }
    settle(
        &mut server,
        &mut clients,
        &mut cx,
        "not everything came home",
        |server, clients, world| {
            let idle = server.io.is_idle() && clients.iter().all(|client| client.io.is_idle());
            idle && (0..=clients.len()).all(|node| world.open_fds(node) == 0)
        },
    );
    for node in 0..=clients.len() {
        assert_eq!(world.open_slots(node), 0, "slots of node {node}");
    }
    let request_count = server.state.handed_out;
    drop((server, clients));
    world.advance_by(Duration::from_secs(60));
    assert_eq!(world.files(), 0, "files");
    assert_eq!(world.violations(), [""; 0], "the contract");
    let talks = cx.talks.iter().enumerate();
    talks.for_each(|(key, talk)| talk.check_ends(key));
    Seen {
        flow_count: cx.talks.len() as u64,
        complete_count: cx.talks.iter().filter(|talk| talk.is_complete).count() as u64,
        request_count,
        answer_count: cx.answers,
        refused_count: cx.own_answers,
        ..Seen::default()
    }
}

/// One listener for those who are patient, and one that is not. What fails is left out.
fn listen(server: &mut Server, cx: &mut Cx) {
    let is_tls = cx.secure.is_some();
    let limits = [
        Limits::patient(&mut cx.chance, is_tls),
        Limits::hasty(&mut cx.chance, false),
        Limits::hasty(&mut cx.chance, is_tls),
    ];
    for limits in limits {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let config = HttpListenConfig::new(TcpListenConfig::new(any)).with(|c| {
            c.max_pipelined = limits.pipelined;
            c.max_body_inline = limits.inline;
            c.max_body_size = limits.body_max;
            c.request_timeout_ms = limits.request_ms;
            c.receive_timeout_ms = limits.receive_ms;
            c.keep_alive_timeout_ms = limits.idle_ms;
            c.keep_alive_requests = limits.requests_max;
            c.auto_continue = limits.auto_continue;
        });
        let (_, mut sender) = server.io.split();
        let listening = match &cx.secure {
            Some(secure) if limits.is_tls => secure.http_listen(&mut sender, config),
            _ => sender.http_listen_with(config),
        };
        let Ok(id) = listening else { continue };
        server.listeners.push((id, limits));
        let Ok(addr) = sender.local_addr(id) else { continue };
        cx.places.push((addr.inet().expect("an address"), limits));
    }
    // The first one is for the patient.
    if cx.places.first().is_none_or(|(_, limits)| limits.receive_ms < 60_000) {
        cx.places.clear();
    }
}

fn poll(io: &mut Io, cx: &mut Cx) {
    if cx.is_liveness || !cx.chance.once_in(8) {
        let is_short = cx.chance.once_in(4) && !cx.is_liveness;
        io.poll(if is_short { Duration::ZERO } else { Duration::from_secs(1) }).expect("a tick");
    }
}

fn round(server: &mut Server, clients: &mut [Client], cx: &mut Cx) {
    let count_max = if cx.is_liveness { 10_000 } else { cx.chance.pick(&[1, 20, 10_000]) };
    let is_first = cx.chance.once_in(2);
    for turn in 0..2 {
        if (turn == 0) == is_first {
            server.act(cx);
            poll(&mut server.io, cx);
            server.drain(cx, count_max);
            server.io.audit();
            continue;
        }
        for client in &mut *clients {
            client.act(cx);
            poll(&mut client.io, cx);
            client.drain(cx, count_max);
            client.io.audit();
        }
    }
    let violations = cx.world.violations();
    assert!(violations.is_empty(), "the contract: {violations:?}");
    // Who waits for a number of rounds does not wait for the next timer.
    let is_busy = server.is_busy() || clients.iter().any(|client| client.is_busy(cx));
    if cx.is_liveness && is_busy {
        cx.world.advance_by(BUSY_ROUND);
    } else if !cx.world.advance_to_next() || cx.chance.once_in(50) {
        cx.world.advance_by(Duration::from_millis(1));
    }
}

fn settle(
    server: &mut Server,
    clients: &mut [Client],
    cx: &mut Cx,
    what: &str,
    done: fn(&Server, &[Client], &World) -> bool,
) {
    let start_ns = cx.world.now_ns();
    for _ in 0..LIVENESS_ROUNDS {
        round(server, clients, cx);
        if done(server, clients, &cx.world) {
            return;
        }
        if cx.world.now_ns() - start_ns > LIVENESS_LIMIT.as_nanos() as u64 {
            break;
        }
    }
    let open = server.describe(cx);
    let rest: String = clients.iter().map(|client| client.describe(cx)).collect();
    let pools = server.io.pool_stats();
    let files = cx.world.describe_files();
    let passed_ns = cx.world.now_ns() - start_ns;
    panic!("{what} after {passed_ns} ns:{open}{rest}\n{:?}\n{files}", pools.pools);
}
