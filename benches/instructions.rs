//! User-space instructions of the engine per echo, counted by callgrind on the simulated ring:
//! `cargo bench --features _sim --bench instructions`.
//!
//! Two shards echo over 64 connections. Both do the same per message (one receive, one event, one
//! write, one send), so what both spend, divided by two, is what one echo costs. Two runs of
//! different length are compared, so that construction and connecting drop out. Counted is what
//! lies in the engine's own files and in what the compiler inlined into it; the simulated kernel
//! is not, nor are calls into libc (memcpy of the payload). The figure repeats exactly, on any
//! machine; a run fails above [`GOAL`].
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod callgrind;
#[path = "callgrind/talk.rs"]
mod talk;

use std::time::Duration;

use zero_io::{Event, Io, StreamId};

const MESSAGE: [u8; 64] = [42; 64];
/// Most instructions that an echo may cost.
const GOAL: f64 = 400.0;
const SHORT: u64 = 2_000;
const LONG: u64 = 12_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--echoes") {
        let forward = args.iter().any(|arg| arg == "--forward");
        return echo(args[at + 1].parse().expect("a number"), forward);
    }
    let mut worst: f64 = 0.0;
    for (name, forward) in [("copy", false), ("forward", true)] {
        let [short, long] = [SHORT, LONG].map(|echoes| {
            let echoes = echoes.to_string();
            let args = ["--echoes", &echoes, "--forward"];
            callgrind::count(if forward { &args } else { &args[..2] })
        });
        // Both shards echo.
        let parts = callgrind::difference(&short, &long, (LONG - SHORT) as f64 * 2.0);
        let total: f64 = parts.values().sum();
        println!("| {name} | {total:.0} instructions per echo |");
        callgrind::print(parts);
        worst = worst.max(total);
    }
    assert!(worst <= GOAL, "{worst:.0} instructions per echo, at most {GOAL} are allowed");
    println!("goal: {GOAL:.0}, reached");
}

/// Both shards until `echoes` messages came back.
fn echo(echoes: u64, forward: bool) {
    let addr = "127.0.0.1:0".parse().expect("an address");
    talk::talk(echoes, |io| io.tcp_listen(addr), |io, done| turn(io, forward, done));
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
