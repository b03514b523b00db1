//! User-space instructions of parsing and checking a request's head, counted by callgrind:
//! `cargo bench --features _sim,http --bench http_parse`.
//!
//! Two runs of different length are compared, so that starting drops out. The figure repeats
//! exactly for one compiler; a run fails above a row's limit.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::hint::black_box;
use std::process::Command;
use zero_io::http_fuzz::{headers, request_len};

const SHORT: u64 = 1_000;
const LONG: u64 = 11_000;

/// What wrk sends.
const WRK: &[u8] = b"GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
/// What a browser sends.
const BROWSER: &[u8] = b"GET /static/app.js?v=3 HTTP/1.1\r\nHost: www.example.com\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
    Accept: */*\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Referer: https://www.example.com/\r\nConnection: keep-alive\r\n\
    Cookie: session=0123456789abcdef\r\n\
    Sec-Fetch-Dest: script\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Site: same-origin\r\n\r\n";
const POST: &[u8] = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n\
    Content-Length: 13\r\n\r\n";

/// Names, and instructions at most.
const ROWS: [(&str, u64); 4] = [("wrk", 460), ("browser", 3_550), ("post", 1_090), ("find", 1_300)];

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, flag, row, times] = &args[..]
        && flag == "--row"
    {
        return repeat(row, times.parse().expect("a number"));
    }
    for (row, limit) in ROWS {
        let each = (count(row, LONG) - count(row, SHORT)) / (LONG - SHORT);
        println!("| {row} | {each} instructions |");
        assert!(each <= limit, "{row}: {each} instructions, at most {limit} are allowed");
    }
}

fn repeat(row: &str, times: u64) {
    for _ in 0..times {
        match row {
            "wrk" => parse(WRK),
            "browser" => parse(BROWSER),
            "post" => parse(POST),
            // A field in the middle of many.
            _ => {
                let block = &BROWSER[33..BROWSER.len() - 2];
                assert!(black_box(headers(black_box(block)).get(black_box("cookie"))).is_some());
            }
        }
    }
}

fn parse(bytes: &[u8]) {
    let len = request_len(black_box(bytes), black_box(100), black_box(16_384));
    assert_eq!(len, Some(bytes.len()));
}

fn count(row: &str, times: u64) -> u64 {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.arg(std::env::current_exe().expect("a path"));
    command.args(["--row", row, &times.to_string()]);
    let output = command.output().expect("valgrind is not installed: cargo xtask setup");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the run under valgrind failed: {text}");
    let refs = text.lines().find_map(|line| line.split_once("Collected :"));
    refs.expect("a total").1.trim().parse().expect("a number")
}
