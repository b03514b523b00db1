//! The engine on the simulated kernel: many seeds, named seeds, and "the N-th operation fails".
//!
//! `ZERO_IO_SIM_SEEDS` says how many seeds (default 1000), `ZERO_IO_SIM_SEED` replays one with its
//! trace. See docs/SIM.md.

mod chance;
mod closing;
mod cluster;
mod differential;
#[cfg(feature = "tls")]
mod edges;
mod extras;
#[cfg(feature = "http")]
mod files;
mod flow;
mod hazards;
#[cfg(feature = "http")]
mod http;
#[cfg(not(feature = "http"))]
#[path = "http_off.rs"]
mod http;
mod node;
mod nth;
mod pattern;
#[cfg(feature = "quic")]
mod quic;
#[cfg(not(feature = "quic"))]
#[path = "quic_off.rs"]
mod quic;
mod race;
mod reset;
mod scenario;
#[cfg(feature = "tls")]
mod secure;
#[cfg(not(feature = "tls"))]
#[path = "secure_off.rs"]
mod secure;
mod short;
mod stage;
mod stories;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use scenario::{CLIENT_SEEDS, CLUSTER_SEEDS, HTTP_SEEDS, QUIC_SEEDS, Seen, TLS_SEEDS, run, world};

const SEEDS_DEFAULT: u64 = 1_000;
/// Lines of the trace that a failing seed prints.
const TRACE_LINES: usize = 200;
/// Failing seeds that are listed, and how much of each.
const HEADLINE_COUNT_MAX: usize = 40;
const HEADLINE_LEN_MAX: usize = 160;

/// Seeds that failed once, and what they found.
const REGRESSIONS: &[(u64, &str)] = &[
    (0, "a partial message filled its pool, and then nothing was received to complete it"),
    (2, "a send that named a slot whose installation had failed ended the sending side"),
    (3, "a payload that became a send buffer was still counted as held"),
    (13, "the handles' reserve was not made up again once the pool had been empty"),
    (14, "bytes were appended to a buffer that a zero-copy send still had in part"),
    (54, "a connection that could not send was paused, and never ended"),
    (111, "a failed send behind the peer's FIN did not end a connection that held buffers"),
    (169, "a resting listener was forgotten when the rest of another one ended"),
    (3686, "the share of receiving was used up by what waited to be sent, and nobody was read"),
    (5186, "a handle's command that found no room kept the loop awake until there was some"),
    (TLS_SEEDS + 31, "the buffer of a record that was not whole was the one too many to read on"),
    (TLS_SEEDS + 199, "the same, of a client"),
    (TLS_SEEDS + 895, "a close whose time was up left a handle's write behind, and was clean"),
    (HTTP_SEEDS, "what followed an upgrade was thrown away where the request was the last one"),
    (HTTP_SEEDS + 1, "an answer failed behind its head, and was sent twice"),
    (HTTP_SEEDS + 4, "a partial head was gathered when the connection took no more requests"),
    (HTTP_SEEDS + 11, "a buffer of the last resort was released as one of bulk"),
    (HTTP_SEEDS + 7, "no timer came once an answer had been written while the last one did"),
    (HTTP_SEEDS + 12, "an answer of another thread that found no room was lost"),
    (HTTP_SEEDS + 19, "a connection whose sends failed waited for answers that nobody could give"),
    (HTTP_SEEDS + 59, "the body of the last request that may wait was not read"),
    (HTTP_SEEDS + 166, "what was parked stayed so when `100 Continue` was sent"),
    (HTTP_SEEDS + 334, "a connection was idle unnoticed while a longer limit ran"),
    (HTTP_SEEDS + 362, "TLS's goodbye behind the last request made a reset of the close"),
    (HTTP_SEEDS + 710, "100 Continue was sent behind the last answer, for a request half read"),
    (HTTP_SEEDS + 1_361, "an answer behind one that took long was waited for without its limit"),
    (HTTP_SEEDS + 6_552, "the same"),
    (HTTP_SEEDS + 8_212, "the same"),
    (HTTP_SEEDS + 1_152, "an answer that was kept waited longer for a notification than the test"),
    (HTTP_SEEDS + 8_617, "the same, of an answer that was refused for want of a guard write"),
    (HTTP_SEEDS + 9_694, "the same"),
    (CLIENT_SEEDS + 2, "a failure said that nothing had been sent, when a redirect was followed"),
    (CLIENT_SEEDS + 468, "what a deadline gave up behind others went out, and was said not to"),
    (CLIENT_SEEDS + 552, "a pool's connection that had been full was told of when it ended"),
    (CLIENT_SEEDS + 951, "a redirect was handed out for a request that had failed meanwhile"),
    (
        CLIENT_SEEDS + 1_141,
        "a redirect of a streamed body was followed when it had not been asked for",
    ),
    (
        CLIENT_SEEDS + 8_084,
        "a body that could not be written kept the test's time from passing until others were idle",
    ),
    (CLIENT_SEEDS + 2_212, "a request whose buffer was given away was sent again without its body"),
    (
        CLUSTER_SEEDS + 4_719,
        "a shard that ended closed a slot whose installation had failed unseen",
    ),
    (QUIC_SEEDS + 5_353, "a listener in the place of one that had asked to retry is another one"),
    (QUIC_SEEDS + 6_627, "a ticket's idle timeout was too short for an answer"),
    (QUIC_SEEDS + 24, "a client whose first packet closed its connection was never forgotten"),
    (QUIC_SEEDS + 224, "what the last event showed kept the memory of packets from coming home"),
    (QUIC_SEEDS + 30, "a stream was stopped, and then finished"),
    (QUIC_SEEDS + 4, "a datagram of the largest size was too large"),
    (
        QUIC_SEEDS + 934,
        "a reset that was sent again exceeded the windows of a connection that paused",
    ),
    (QUIC_SEEDS + 672, "a timer stayed in the past, and the shard never slept"),
    (QUIC_SEEDS + 173, "a connection that was over moved with its socket, and panicked"),
    (QUIC_SEEDS + 365, "the end that a read found was told of a stream that was stopped since"),
    (QUIC_SEEDS + 619, "room to write was told of a connection that was lost in its handshake"),
    (
        QUIC_SEEDS + 1_043,
        "what came early was told of a connection that was lost before it was one",
    ),
    (QUIC_SEEDS + 347, "a client whose early data was refused sent more than the server's window"),
    (QUIC_SEEDS + 193, "attempts that were given up took the timers of those who came"),
    (QUIC_SEEDS + 377, "the same, and a socket stayed open"),
    (QUIC_SEEDS + 103, "all attempts waited for dead addresses, and no other one was tried"),
    (CLUSTER_SEEDS + 285, "a restart was forgotten when it was asked for before an end was heard"),
    (CLUSTER_SEEDS + 631, "a connection that ended before it was told of had no number any more"),
    (412, "the last free buffer did not arm the connection that would have freed others"),
];

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} = {text} is no number")))
}

/// Runs one seed; what it saw, or what is to be printed.
fn attempt(seed: u64, trace_lines: usize) -> Result<Seen, String> {
    let world = world(seed);
    let table = world.faults().to_string();
    let outcome = catch_unwind(AssertUnwindSafe(|| run(&world)));
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        let trace = world.trace();
        let lines: Vec<&str> = trace.lines().collect();
        let tail = lines[lines.len().saturating_sub(trace_lines)..].join("\n");
        format!(
            "{tail}\n\nseed {seed} failed: {}\nviolations: {:#?}\nfaults:\n{table}\n\
             replay: cargo xtask sim --seed {seed}\n",
            text.unwrap_or_default(),
            world.violations()
        )
    })
}

/// Runs seeds on all processors; the first failure by number.
fn run_all(seeds: &[u64]) -> Result<Seen, String> {
    let next = AtomicU64::new(0);
    let failures: Mutex<Vec<(u64, String)>> = Mutex::new(Vec::new());
    let total = Mutex::new(Seen::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some(seed) = seeds.get(at) else { return };
                    match attempt(*seed, TRACE_LINES) {
                        Ok(seen) => add(&mut total.lock().expect("no one panics here"), seen),
                        Err(text) => {
                            failures.lock().expect("no one panics here").push((*seed, text));
                        }
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().expect("no one panics here");
    failures.sort_by_key(|(seed, _)| *seed);
    let headline = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("seed "));
        line.unwrap_or_default().chars().take(HEADLINE_LEN_MAX).collect::<String>()
    };
    let headlines: Vec<String> =
        failures.iter().take(HEADLINE_COUNT_MAX).map(|(_, text)| headline(text)).collect();
    let count = failures.len();
    match failures.into_iter().next() {
        Some((_, text)) => Err(format!("{text}\n{count} seeds failed:\n{}", headlines.join("\n"))),
        None => Ok(total.into_inner().expect("no one panics here")),
    }
}

fn add(total: &mut Seen, seen: Seen) {
    total.flow_count += seen.flow_count;
    total.connected_count += seen.connected_count;
    total.complete_count += seen.complete_count;
    total.byte_count += seen.byte_count;
    total.datagram_count += seen.datagram_count;
    total.sealed_count += seen.sealed_count;
    total.refused_count += seen.refused_count;
    total.upgraded_count += seen.upgraded_count;
    total.request_count += seen.request_count;
    total.answer_count += seen.answer_count;
    total.post_count += seen.post_count;
    total.ferried_count += seen.ferried_count;
    total.moved_count += seen.moved_count;
    total.restart_count += seen.restart_count;
    total.named_count += seen.named_count;
    total.resumed_count += seen.resumed_count;
    total.early_taken_count += seen.early_taken_count;
    total.early_refused_count += seen.early_refused_count;
    total.spared_count += seen.spared_count;
    total.reset_count += seen.reset_count;
    total.forgotten_count += seen.forgotten_count;
}

#[test]
fn seeds() {
    if let Some(seed) = number("ZERO_IO_SIM_SEED") {
        match attempt(seed, usize::MAX) {
            Ok(seen) => eprintln!("seed {seed}: {seen:?}"),
            Err(text) => panic!("{text}"),
        }
        return;
    }
    let count = number("ZERO_IO_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let seeds: Vec<u64> = (0..count).collect();
    let seen = run_all(&seeds).unwrap_or_else(|text| panic!("{text}"));
    eprintln!("{count} seeds: {seen:?}");
    assert!(count < 20 || seen.complete_count > count, "the workload does too little: {seen:?}");
    assert!(count < 20 || seen.datagram_count > count, "the workload does too little: {seen:?}");
}

/// The same number of seeds, with TLS among what is spoken.
#[test]
fn tls_seeds() {
    if !secure::ON || number("ZERO_IO_SIM_SEED").is_some() {
        return;
    }
    let count = number("ZERO_IO_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let seeds: Vec<u64> = (TLS_SEEDS..TLS_SEEDS + count).collect();
    let seen = run_all(&seeds).unwrap_or_else(|text| panic!("{text}"));
    eprintln!("{count} seeds with TLS: {seen:?}");
    let least = seen.sealed_count.min(seen.refused_count).min(seen.upgraded_count);
    assert!(count < 20 || least > count, "the workload does too little: {seen:?}");
}

/// The same number of seeds in which HTTP is spoken.
#[test]
fn http_seeds() {
    if !http::ON || number("ZERO_IO_SIM_SEED").is_some() {
        return;
    }
    let count = number("ZERO_IO_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let seeds: Vec<u64> = (HTTP_SEEDS..HTTP_SEEDS + count).collect();
    let seen = run_all(&seeds).unwrap_or_else(|text| panic!("{text}"));
    eprintln!("{count} seeds with HTTP: {seen:?}");
    let least = (seen.request_count / 10).min(seen.answer_count / 10).min(seen.refused_count);
    assert!(count < 20 || least.min(seen.complete_count) > count, "too little: {seen:?}");
}

/// The same number of seeds in which pools of HTTP clients ask.
#[test]
fn client_seeds() {
    if !http::pool::ON || number("ZERO_IO_SIM_SEED").is_some() {
        return;
    }
    let count = number("ZERO_IO_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let seeds: Vec<u64> = (CLIENT_SEEDS..CLIENT_SEEDS + count).collect();
    let seen = run_all(&seeds).unwrap_or_else(|text| panic!("{text}"));
    eprintln!("{count} seeds with clients of HTTP: {seen:?}");
    let least = (seen.request_count / 10).min(seen.answer_count / 10).min(seen.refused_count);
    assert!(count < 20 || least.min(seen.complete_count) > count, "too little: {seen:?}");
}

/// The same number of seeds in which QUIC is spoken.
#[test]
fn quic_seeds() {
    if !quic::ON || number("ZERO_IO_SIM_SEED").is_some() {
        return;
    }
    let count = number("ZERO_IO_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let seeds: Vec<u64> = (QUIC_SEEDS..QUIC_SEEDS + count).collect();
    let seen = run_all(&seeds).unwrap_or_else(|text| panic!("{text}"));
    eprintln!("{count} seeds with QUIC: {seen:?}");
    let least = (seen.complete_count / 10).min(seen.datagram_count / 10).min(seen.connected_count);
    assert!(count < 20 || least > count, "too little: {seen:?}");
    // What only some worlds do, each in a few of their runs.
    let rare = seen.early_taken_count.min(seen.early_refused_count).min(seen.spared_count);
    let rare = rare.min(seen.resumed_count / 3).min(seen.named_count / 8).min(seen.reset_count / 4);
    assert!(count < 100 || rare * 8 > count, "too little: {seen:?}");
}

/// The same number of seeds in which clusters serve.
#[test]
fn cluster_seeds() {
    if number("ZERO_IO_SIM_SEED").is_some() {
        return;
    }
    let count = number("ZERO_IO_SIM_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let seeds: Vec<u64> = (CLUSTER_SEEDS..CLUSTER_SEEDS + count).collect();
    let seen = run_all(&seeds).unwrap_or_else(|text| panic!("{text}"));
    eprintln!("{count} seeds with clusters: {seen:?}");
    let least = seen.complete_count.min(seen.post_count / 10).min(seen.restart_count);
    let least = least.min(seen.moved_count).min(seen.datagram_count);
    let least = if quic::ON { least.min(seen.ferried_count) } else { least };
    assert!(count < 20 || least > count, "too little: {seen:?}");
}

/// Whether what the seed speaks was built.
const fn is_spoken(seed: u64) -> bool {
    match seed {
        CLUSTER_SEEDS.. => true,
        QUIC_SEEDS.. => quic::ON,
        CLIENT_SEEDS.. => http::pool::ON,
        HTTP_SEEDS.. => http::ON,
        TLS_SEEDS.. => secure::ON,
        _ => true,
    }
}

#[test]
fn regressions() {
    for (seed, found) in REGRESSIONS.iter().filter(|(seed, _)| is_spoken(*seed)) {
        if let Err(text) = attempt(*seed, TRACE_LINES) {
            panic!("{found}\n{text}");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let secure = if secure::ON { TLS_SEEDS..TLS_SEEDS + 6 } else { 0..0 };
    let http = if http::ON { HTTP_SEEDS..HTTP_SEEDS + 6 } else { 0..0 };
    let clients = if http::pool::ON { CLIENT_SEEDS..CLIENT_SEEDS + 6 } else { 0..0 };
    let quic = if quic::ON { QUIC_SEEDS..QUIC_SEEDS + 12 } else { 0..0 };
    let clusters = CLUSTER_SEEDS..CLUSTER_SEEDS + 18;
    for seed in (0..3).chain(secure).chain(http).chain(clients).chain(quic).chain(clusters) {
        let runs = [world(seed), world(seed)].map(|world| {
            let outcome = catch_unwind(AssertUnwindSafe(|| run(&world)));
            // TLS over TCP has the time of day in its tickets: bytes change, and nothing else does.
            let carried = if seed < QUIC_SEEDS { 0 } else { world.carried() };
            (outcome.is_ok(), world.now_ns(), world.operations(), carried)
        });
        assert_eq!(runs[0], runs[1], "seed {seed}");
    }
}
