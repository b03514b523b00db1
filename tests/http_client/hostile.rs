//! Servers that do not do as they should, each failure with its code.

use zero_io::{HttpPhase, ZeroRequest, code};

use crate::kit::{Outcome, Shard};
use crate::script::{Do, Script, ok, send};
use crate::silent::silent;

/// What comes of a request to a server with that script.
fn fetch(script: Vec<Do>) -> Outcome {
    fetch_with(script, |_| {})
}

fn fetch_with(script: Vec<Do>, change: impl FnOnce(&mut zero_io::HttpPoolConfig)) -> Outcome {
    let server = Script::one(script);
    let mut shard = Shard::with(change);
    let outcome = shard.fetch(ZeroRequest::get(&server.url("/")));
    shard.finish();
    server.received();
    outcome
}

fn reply(text: &str) -> Vec<Do> {
    vec![Do::Read, send(text), Do::Drain]
}

#[track_caller]
fn fails(outcome: &Outcome, code: u64, phase: HttpPhase) {
    let failure = outcome.failure.unwrap_or_else(|| panic!("{outcome:?}"));
    assert_eq!((failure.code, failure.phase, failure.was_sent), (code, phase, true), "{failure}");
}

#[test]
fn malformed_responses() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let rows = [
        ("ICY 200 OK\r\n\r\n".to_owned(), code::HTTP_BAD_STATUS_LINE),
        ("<html>".to_owned(), code::HTTP_BAD_STATUS_LINE),
        ("HTTP/2.0 200 OK\r\n\r\n".to_owned(), code::HTTP_VERSION),
        (format!("{ok}a : b\r\n\r\n"), code::HTTP_BAD_HEADER),
        (format!("{ok}a: b\nc: d\r\n\r\n"), code::HTTP_BAD_HEADER),
        (format!("{ok}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"), code::HTTP_BAD_FRAMING),
        (
            format!("{ok}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            code::HTTP_BAD_FRAMING,
        ),
        (format!("{ok}Transfer-Encoding: gzip, chunked\r\n\r\n"), code::HTTP_NOT_IMPLEMENTED),
        (format!("{ok}x: {}\r\n\r\n", "y".repeat(20_000)), code::HTTP_HEAD_TOO_LARGE),
        (format!("{ok}{}\r\n", "x: y\r\n".repeat(200)), code::HTTP_HEAD_TOO_LARGE),
        (
            "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n".to_owned(),
            code::HTTP_UNASKED_UPGRADE,
        ),
        ("HTTP/1.1 103 Early\r\n\r\n".repeat(40), code::HTTP_INTERIM_FLOOD),
    ];
    for (text, code) in rows {
        let outcome = fetch(reply(&text));
        assert_eq!(outcome.status, 0, "{text:.60}");
        fails(&outcome, code, HttpPhase::Head);
    }
}

#[test]
fn bad_chunks_come_after_what_was_good() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    for (rest, code) in [("xyz", code::HTTP_BAD_CHUNK), ("0\r\n:\r\n\r\n", code::HTTP_BAD_HEADER)] {
        let outcome = fetch(reply(&format!("{head}{rest}")));
        assert_eq!((outcome.status, outcome.text()), (200, "abc"));
        fails(&outcome, code, HttpPhase::Body);
    }
}

#[test]
fn bodies_beyond_the_limit() {
    let limit = |c: &mut zero_io::HttpPoolConfig| c.max_body_size = 10;
    let outcome = fetch_with(reply("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nx"), limit);
    fails(&outcome, code::HTTP_BODY_TOO_LARGE, HttpPhase::Head);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n";
    fails(&fetch_with(reply(chunked), limit), code::HTTP_BODY_TOO_LARGE, HttpPhase::Body);
    let endless = "HTTP/1.1 200 OK\r\n\r\nhello world";
    fails(&fetch_with(reply(endless), limit), code::HTTP_BODY_TOO_LARGE, HttpPhase::Body);
}

#[test]
fn a_server_that_closes_early() {
    let outcome = fetch(vec![Do::Read]);
    fails(&outcome, code::HTTP_NO_RESPONSE, HttpPhase::Sending);
    let outcome = fetch(vec![Do::Read, send("HTTP/1.1 20")]);
    fails(&outcome, code::TRUNCATED, HttpPhase::Head);
    let outcome = fetch(vec![Do::Read, send("HTTP/1.1 100 Continue\r\n\r\n")]);
    fails(&outcome, code::TRUNCATED, HttpPhase::Head);
    let outcome = fetch(vec![Do::Read, send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")]);
    fails(&outcome, code::TRUNCATED, HttpPhase::Head);
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nabc";
    let outcome = fetch(vec![Do::Read, send(long)]);
    assert_eq!((outcome.status, outcome.text(), outcome.is_whole), (200, "abc", false));
    fails(&outcome, code::TRUNCATED, HttpPhase::Body);
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let outcome = fetch(vec![Do::Read, send(chunked)]);
    fails(&outcome, code::TRUNCATED, HttpPhase::Body);
}

#[test]
fn a_server_that_resets() {
    const ECONNRESET: u64 = 104;
    fails(&fetch(vec![Do::Read, Do::Reset]), ECONNRESET, HttpPhase::Sending);
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nabc";
    let outcome = fetch(vec![Do::Read, send(long), Do::Sleep(50), Do::Reset]);
    assert_eq!((outcome.status, outcome.text()), (200, "abc"));
    fails(&outcome, ECONNRESET, HttpPhase::Body);
}

#[test]
fn nobody_listens() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut shard = Shard::new();
    let outcome = shard.fetch(ZeroRequest::get(&format!("http://{gone}/")));
    let failure = outcome.failure.unwrap();
    assert_eq!((failure.code, failure.phase), (111, HttpPhase::Connecting));
    assert!(!failure.was_sent);
    let outcome = shard.fetch(ZeroRequest::get("http://no-such-host.invalid/"));
    assert_eq!(outcome.code(), code::RESOLVE_FAILED);
    assert_eq!(shard.finish().failures, 2);
}

#[test]
fn a_host_that_answers_no_syn_is_given_up() {
    let (_listener, _fill, addr) = silent();
    let mut shard = Shard::with(|c| c.connect_timeout_ms = 120);
    let start = std::time::Instant::now();
    let outcome = shard.fetch(ZeroRequest::get(&format!("http://{addr}/")));
    let (failure, took) = (outcome.failure.unwrap(), start.elapsed().as_millis());
    assert_eq!((failure.code, failure.phase), (code::CONNECT_TIMEOUT, HttpPhase::Connecting));
    assert!(!failure.was_sent && (115..5_000).contains(&took), "{took} ms: {failure:?}");
    shard.finish();
}

#[test]
fn every_cut_of_a_response_is_the_same() {
    let response = "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 Very OK\r\nA: b\r\n\
                    Transfer-Encoding: chunked\r\n\r\n\
                    5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nT: v\r\n\r\n";
    let bytes = response.as_bytes();
    let mut script: Vec<Do> =
        (1..bytes.len()).flat_map(|at| [Do::Read, Do::Cut(bytes.to_vec(), at)]).collect();
    script.extend([Do::Read, Do::Drip(bytes.to_vec()), Do::Drain]);
    let server = Script::one(script);
    let mut shard = Shard::new();
    for _ in 0..bytes.len() {
        let outcome = shard.fetch(ZeroRequest::get(&server.url("/")));
        assert_eq!((outcome.status, outcome.reason.as_str()), (200, "Very OK"));
        assert_eq!((outcome.text(), outcome.header("a")), ("hello world", Some("b")));
    }
    assert_eq!(shard.finish().connects, 1);
    server.received();
}

#[test]
fn what_nobody_asked_for_is_no_response() {
    // A second response behind the first: the next request must not get it.
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nA".repeat(2);
    let server = Script::start(vec![
        vec![Do::Read, send(&two), Do::Drain],
        vec![Do::Read, ok("B"), Do::Drain],
    ]);
    let mut shard = Shard::new();
    assert_eq!(shard.fetch(ZeroRequest::get(&server.url("/1"))).text(), "A");
    assert_eq!(shard.fetch(ZeroRequest::get(&server.url("/2"))).text(), "B");
    assert_eq!(shard.finish().connects, 2);
    server.received();
}

#[test]
fn an_idle_connection_that_says_something_is_not_used_again() {
    let timeout = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
    let server = Script::start(vec![
        vec![Do::Read, ok("A"), Do::Sleep(30), send(timeout), Do::Drain],
        vec![Do::Read, ok("B"), Do::Drain],
    ]);
    let mut shard = Shard::new();
    assert_eq!(shard.fetch(ZeroRequest::get(&server.url("/1"))).text(), "A");
    shard.until("the connection is given up", |shard| shard.stats().open == 0);
    assert_eq!(shard.fetch(ZeroRequest::get(&server.url("/2"))).text(), "B");
    shard.finish();
    server.received();
}

#[test]
fn a_reset_in_the_middle_of_what_is_sent() {
    let server = Script::one([Do::ReadBytes(1_000), Do::Reset]);
    let mut shard = Shard::new();
    let body = crate::kit::pattern(8_000_000);
    let outcome = shard.fetch(ZeroRequest::post(&server.url("/")).bytes(&body));
    let failure = outcome.failure.unwrap();
    // What the socket says of it depends on who asks it first.
    let codes = [104, 32, code::HTTP_NO_RESPONSE];
    assert!(codes.contains(&failure.code), "{failure:?}");
    assert_eq!((failure.phase, failure.was_sent), (HttpPhase::Sending, true));
    assert_eq!(shard.finish().retries, 0);
    server.received();
}

#[test]
fn an_early_response_is_read_although_the_rest_cannot_be_sent() {
    let refused = "HTTP/1.1 413 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
    let server = Script::one([Do::ReadBytes(1_000), send(refused), Do::Sleep(50)]);
    let mut shard = Shard::new();
    let body = crate::kit::pattern(8_000_000);
    let outcome = shard.fetch(ZeroRequest::post(&server.url("/")).bytes(&body));
    assert_eq!((outcome.status, outcome.text()), (413, "no"));
    shard.finish();
    server.received();
}
