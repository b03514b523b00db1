//! User-space instructions per HTTP request, counted by callgrind on the simulated ring:
//! `cargo bench --features _sim,http --bench http_instructions`.
//!
//! A server answers 13 bytes of text to the request that wrk sends; a shard that speaks plain TCP
//! asks over 64 connections. What that one spends is counted by a run in which both sides are it,
//! and taken off. Counted is what lies in the engine's own files, in httparse, and in what the
//! compiler inlined into them.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod callgrind;
#[path = "callgrind/talk.rs"]
mod talk;

use std::time::Duration;

use zero_io::{Event, Io, StreamId, ZeroResponse};

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
/// A run above this has lost ground and fails.
const LIMIT: f64 = 1_592.0;
/// Requests in a row.
const DEPTH: usize = 16;
const SHORT: u64 = 2_000;
const LONG: u64 = 12_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--requests") {
        let enough = args[at + 1].parse().expect("a number");
        return match args.get(at + 2).map(String::as_str) {
            Some("--http") => run(enough, true, 1),
            Some("--deep") => run(enough, true, DEPTH),
            _ => run(enough, false, 1),
        };
    }
    let measure = |kind: &str| {
        let [short, long] = [SHORT, LONG]
            .map(|requests| callgrind::count(&["--requests", &requests.to_string(), kind]));
        callgrind::difference(&short, &long, (LONG - SHORT) as f64)
    };
    let echo = measure("--tcp").values().sum::<f64>() / 2.0;
    let parts = measure("--http");
    let total = parts.values().sum::<f64>() - echo;
    let deep = measure("--deep").values().sum::<f64>() - echo / DEPTH as f64;
    println!("| TCP echo of one side | {echo:.0} instructions |");
    println!("| HTTP | {total:.0} instructions per request |");
    println!("| HTTP, {DEPTH} in a row | {deep:.0} instructions per request |");
    callgrind::print(parts);
    assert!(total <= LIMIT, "{total:.0} instructions per request, at most {LIMIT} are allowed");
}

fn run(requests: u64, http: bool, depth: usize) {
    let addr = "127.0.0.1:0".parse().expect("an address");
    let listen = |io: &mut Io| if http { io.http_listen(addr) } else { io.tcp_listen(addr) };
    let row = REQUEST.repeat(depth);
    talk::talk(requests, listen, |io, done| turn(io, done, &row));
}

fn turn(io: &mut Io, done: &mut u64, row: &[u8]) {
    io.poll(Duration::from_secs(1)).expect("poll");
    let (mut events, mut sender) = io.split();
    while let Some(event) = events.next_event() {
        match event {
            Event::HttpRequest { conn, id, .. } => {
                let answer = ZeroResponse::ok().text("Hello, World!");
                sender.http_respond(conn, id, answer).expect("room");
            }
            // The answers of a row come in one piece: they left in one send.
            Event::StreamFrame { conn, stream, .. } => {
                *done += (row.len() / REQUEST.len()) as u64;
                sender.stream_write(conn, stream, row).expect("open");
            }
            Event::Connected { conn, endpoint: None, .. } => {
                sender.stream_write(conn, StreamId::ZERO, row).expect("open");
            }
            _ => {}
        }
    }
}
