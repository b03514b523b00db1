//! User-space instructions of the engine per echo, counted by callgrind on the simulated ring:
//! `cargo bench --features _sim --bench instructions`.
//!
//! Two shards echo over 64 connections. Both do the same per message (one receive, one event, one
//! write, one send), so what both spend, divided by two, is what one echo costs. Two runs of
//! different length are compared, so that construction and connecting drop out. Counted is what
//! lies in the engine's own files and in what the compiler inlined into it; the simulated kernel
//! is not, nor are calls into libc (memcpy of the payload). The figure repeats exactly, on any
//! machine; a run fails above [`LIMIT`].
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use zero_io::sim::{Faults, World};
use zero_io::{Config, Event, Io, StreamId, Toggle};

const CONNECTIONS: usize = 64;
const MESSAGE: [u8; 64] = [42; 64];
/// What is aimed at.
const GOAL: f64 = 400.0;
/// A run above this has lost ground and fails.
const LIMIT: f64 = 420.0;
const SHORT: u64 = 2_000;
const LONG: u64 = 12_000;
const ROUNDS_MAX: u64 = 10_000_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--echoes") {
        let forward = args.iter().any(|arg| arg == "--forward");
        return echo(args[at + 1].parse().expect("a number"), forward);
    }
    let mut worst: f64 = 0.0;
    for (name, forward) in [("copy", false), ("forward", true)] {
        let [short, long] = [SHORT, LONG].map(|echoes| count(echoes, forward));
        let parts = difference(&short, &long);
        let total: f64 = parts.values().sum();
        println!("| {name} | {total:.0} instructions per echo |");
        let mut parts: Vec<_> = parts.into_iter().collect();
        parts.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (file, cost) in parts.iter().filter(|(_, cost)| *cost >= 1.0) {
            println!("|   {file} | {cost:.0} |");
        }
        worst = worst.max(total);
    }
    println!("goal: {GOAL:.0}, {}", if worst <= GOAL { "reached" } else { "not reached" });
    assert!(worst <= LIMIT, "{worst:.0} instructions per echo, at most {LIMIT} are allowed");
}

/// Both shards until `echoes` messages came back.
fn echo(echoes: u64, forward: bool) {
    let world = World::new(1, Faults::none());
    let config = Config::default().with(|c| {
        c.huge_pages = Toggle::Off;
        c.max_connections = CONNECTIONS;
    });
    let mut server = Io::in_world(config.clone(), &world).expect("a server");
    let mut client = Io::in_world(config, &world).expect("a client");
    let listener = server.tcp_listen("127.0.0.1:0".parse().expect("an address")).expect("listen");
    let addr = server.local_addr(listener).expect("bound").inet().expect("an IP address");
    for _ in 0..CONNECTIONS {
        client.tcp_connect(addr).expect("room for all");
    }
    let mut done = 0;
    for _ in 0..ROUNDS_MAX {
        turn(&mut server, forward, &mut 0);
        turn(&mut client, forward, &mut done);
        if done >= echoes {
            return;
        }
        assert!(world.advance_to_next(), "the conversation stopped");
    }
    panic!("too many rounds");
}

/// Sends everything back that came, and a first message on each outgoing connection.
fn turn(io: &mut Io, forward: bool, done: &mut u64) {
    io.poll(Duration::from_secs(1)).expect("poll");
    let (mut events, mut sender) = io.split();
    while let Some(event) = events.next_event() {
        match event {
            Event::StreamFrame { conn, stream, data, .. } => {
                *done += 1;
                if forward {
                    sender.forward(conn, stream, data).expect("room");
                } else {
                    let accepted = sender.stream_write(conn, stream, data).expect("open");
                    assert_eq!(accepted, data.len());
                }
            }
            Event::Connected { conn, endpoint: None, .. } => {
                sender.stream_write(conn, StreamId::ZERO, &MESSAGE).expect("open");
            }
            _ => {}
        }
    }
}

/// Instructions by source file of one run under callgrind.
fn count(echoes: u64, forward: bool) -> BTreeMap<String, u64> {
    let out = std::env::temp_dir().join(format!("zero-io-callgrind.{}", std::process::id()));
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--dump-line=yes", "--compress-strings=no"]);
    command.args(["--compress-pos=no", "--quiet"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(std::env::current_exe().expect("a path"));
    command.args(["--echoes", &echoes.to_string()]);
    if forward {
        command.arg("--forward");
    }
    let status = command.status().expect("valgrind is not installed: cargo xtask setup");
    assert!(status.success(), "the run under valgrind failed: {status}");
    let text = std::fs::read_to_string(&out).expect("callgrind wrote no file");
    std::fs::remove_file(&out).expect("removable");
    own_cost(&text)
}

/// Sums self cost by file over the functions of the engine: format "callgrind.out", valgrind manual
/// chapter 6.
fn own_cost(text: &str) -> BTreeMap<String, u64> {
    let mut costs = BTreeMap::new();
    let (mut function, mut file, mut skip) = (String::new(), String::new(), false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=") {
            name.clone_into(&mut function);
        } else if let Some(name) = line.strip_prefix("fl=").or_else(|| line.strip_prefix("fi=")) {
            name.clone_into(&mut file);
        } else if let Some(name) = line.strip_prefix("fe=") {
            name.clone_into(&mut file);
        } else if line.starts_with("calls=") {
            // The next line is the callee's cost.
            skip = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit())
            && !std::mem::take(&mut skip)
            && let Some(label) = label(&function, &file)
            && let Some(cost) = line.split(' ').nth(1).and_then(|n| n.parse::<u64>().ok())
        {
            *costs.entry(label).or_default() += cost;
        }
    }
    costs
}

/// The engine's file that a line belongs to; `None` for the simulated kernel, this driver and
/// libraries.
fn label(function: &str, file: &str) -> Option<String> {
    let engine = function.contains("zero_io::") && !function.contains("zero_io::sim");
    let inlined = function.starts_with("instructions::");
    if !(engine || inlined) {
        return None;
    }
    match file.rfind("/src/") {
        Some(at) if !file.contains("/library/") && !file.starts_with("/rustc") => {
            let name = &file[at + 5..];
            (!name.starts_with("sim/") && Path::new(name).extension().is_some())
                .then(|| name.to_owned())
        }
        // What the standard library inlined into the engine's functions.
        _ => (engine && file.contains("library")).then(|| "std, inlined".to_owned()),
    }
}

fn difference(
    short: &BTreeMap<String, u64>,
    long: &BTreeMap<String, u64>,
) -> BTreeMap<String, f64> {
    let echoes = (LONG - SHORT) as f64 * 2.0;
    long.iter()
        .map(|(file, cost)| {
            let before = short.get(file).copied().unwrap_or(0);
            (file.clone(), (cost - before) as f64 / echoes)
        })
        .collect()
}
