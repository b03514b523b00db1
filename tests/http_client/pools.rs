//! What a pool does: limits, order, retries, redirects, time, cancelling, closing.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use zero_io::{ConnId, Event, HttpPhase, IoError, RequestId, ZeroRequest, ZeroResponse, code};

use crate::kit::{Shard, echo};
use crate::script::{Do, Script, ok, send};

type Held = Rc<RefCell<VecDeque<(ConnId, RequestId, String)>>>;

/// A server that keeps requests until they are answered by hand.
fn holding(shard: &mut Shard) -> (String, Held) {
    let held = Held::default();
    let keep = Rc::clone(&held);
    let addr = shard.serve(move |_, event| {
        if let Event::HttpRequest { conn, id, request } = *event {
            keep.borrow_mut().push_back((conn, id, request.path().to_owned()));
        }
    });
    (format!("http://{addr}"), held)
}

fn answer(shard: &mut Shard, held: &Held) -> String {
    let (conn, id, path) = held.borrow_mut().pop_front().unwrap();
    shard.io.http_respond(conn, id, ZeroResponse::ok().text(&path)).unwrap();
    path
}

#[test]
fn no_more_connections_than_allowed_and_first_come_first_served() {
    let mut shard = Shard::with(|c| c.max_connections_per_host = 2);
    let (url, held) = holding(&mut shard);
    let ids: Vec<_> = (0..6).map(|i| shard.ask(ZeroRequest::get(&format!("{url}/{i}")))).collect();
    shard.until("two are under way", |_| held.borrow().len() == 2);
    shard.run_for(Duration::from_millis(20));
    assert_eq!((held.borrow().len(), shard.stats().open, shard.stats().waiting), (2, 2, 4));
    let mut served = Vec::new();
    for _ in 0..6 {
        shard.until("a request", |_| !held.borrow().is_empty());
        served.push(answer(&mut shard, &held));
    }
    for id in ids {
        assert_eq!(shard.end_of(id).status, 200);
    }
    let mut sorted = served.clone();
    sorted.sort();
    assert_eq!(sorted.len(), 6);
    // Two at a time, so that neighbours may change places.
    for (at, path) in served.iter().enumerate() {
        let i: usize = path[1..].parse().unwrap();
        assert!(i.abs_diff(at) <= 1, "{served:?}");
    }
    assert_eq!((shard.stats().connects, shard.stats().waiting), (2, 0));
}

#[test]
fn a_full_queue_is_told() {
    let mut shard = Shard::with(|c| {
        c.max_connections_per_host = 1;
        c.max_waiting = 3;
    });
    let (url, held) = holding(&mut shard);
    let first = shard.ask(ZeroRequest::get(&url));
    shard.until("one is under way", |_| held.borrow().len() == 1);
    let others: Vec<_> = (0..3).map(|_| shard.ask(ZeroRequest::get(&url))).collect();
    let refused = shard.io.http_request(shard.pool, ZeroRequest::get(&url));
    assert!(matches!(refused, Err(IoError::QueueFull { capacity: 3, .. })), "{refused:?}");
    for id in [vec![first], others].concat() {
        shard.until("a request", |_| !held.borrow().is_empty());
        answer(&mut shard, &held);
        assert_eq!(shard.end_of(id).status, 200);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut shard = Shard::with(|c| {
        c.max_connections_per_host = 1;
        c.pipeline = 4;
    });
    let (url, held) = holding(&mut shard);
    let first = shard.ask(ZeroRequest::get(&url));
    shard.until("one is under way", |_| held.borrow().len() == 1);
    answer(&mut shard, &held);
    shard.end_of(first);
    let ids: Vec<_> = (0..6).map(|i| shard.ask(ZeroRequest::get(&format!("{url}/{i}")))).collect();
    shard.until("four are under way", |_| held.borrow().len() == 4);
    let post = shard.ask(ZeroRequest::post(&url).text("not behind others"));
    for (i, id) in ids.into_iter().enumerate() {
        shard.until("a request", |_| !held.borrow().is_empty());
        assert_eq!(answer(&mut shard, &held), format!("/{i}"));
        assert_eq!(shard.end_of(id).text(), format!("/{i}"));
    }
    shard.until("the last one", |_| !held.borrow().is_empty());
    answer(&mut shard, &held);
    assert_eq!(shard.end_of(post).status, 200);
    assert_eq!(shard.stats().connects, 1);
}

#[test]
fn requests_behind_a_last_response_are_sent_again() {
    let last = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nB";
    let server = Script::start(vec![
        vec![Do::Read, ok("A"), Do::Read, Do::Sleep(30), send(last), Do::Drain],
        vec![Do::Read, ok("C"), Do::Drain],
    ]);
    let mut shard = Shard::with(|c| {
        c.max_connections_per_host = 1;
        c.pipeline = 4;
    });
    let url = server.url("/");
    assert_eq!(shard.fetch(ZeroRequest::get(&url)).text(), "A");
    let (second, third) = (shard.ask(ZeroRequest::get(&url)), shard.ask(ZeroRequest::get(&url)));
    assert_eq!(shard.end_of(second).text(), "B");
    // RFC 9112 §9.6: the server has not processed it.
    assert_eq!(shard.end_of(third).text(), "C");
    assert_eq!(shard.finish().retries, 1);
    server.received();
}

#[test]
fn idle_connections_are_closed_in_time() {
    let mut shard = Shard::with(|c| c.idle_timeout_ms = 60);
    let addr = shard.serve(echo);
    shard.fetch(ZeroRequest::get(&format!("http://{addr}/")));
    assert_eq!(shard.stats().idle, 1);
    shard.until("it is closed", |shard| shard.stats().open == 0);
    shard.fetch(ZeroRequest::get(&format!("http://{addr}/")));
    assert_eq!(shard.stats().connects, 2);
}

#[test]
fn so_many_requests_for_a_connection() {
    let mut shard = Shard::with(|c| c.keep_alive_requests = 3);
    let addr = shard.serve(echo);
    for _ in 0..7 {
        assert_eq!(shard.fetch(ZeroRequest::get(&format!("http://{addr}/"))).status, 200);
    }
    assert_eq!(shard.stats().connects, 3);
}

#[test]
fn the_last_request_of_a_connection_is_the_last() {
    // The server does not mind what it is told.
    let server = Script::start(vec![
        vec![Do::Read, ok("A"), Do::Read, ok("B"), Do::Drain],
        vec![Do::Read, ok("C"), Do::Drain],
    ]);
    let mut shard = Shard::with(|c| c.keep_alive_requests = 2);
    for expected in ["A", "B", "C"] {
        assert_eq!(shard.fetch(ZeroRequest::get(&server.url("/"))).text(), expected);
    }
    shard.finish();
    let received = server.received();
    assert_eq!(received[0].matches("Connection: close\r\n").count(), 1, "{}", received[0]);
}

#[test]
fn what_was_not_sent_is_sent_again() {
    // The second request waits in the queue behind one that the server does not read.
    let server = Script::start(vec![
        vec![Do::Read, ok("A"), Do::ReadBytes(1_000), Do::Sleep(50), Do::Reset],
        vec![Do::Read, ok("B"), Do::Drain],
    ]);
    let mut shard = Shard::with(|c| {
        c.max_connections_per_host = 1;
        c.pipeline = 2;
    });
    let (url, body) = (server.url("/"), crate::kit::pattern(8_000_000));
    assert_eq!(shard.fetch(ZeroRequest::get(&url)).text(), "A");
    let first = shard.ask(ZeroRequest::options(&url).bytes(&body));
    // The send that is under way at the end names the first one alone: what one names may have
    // left, and some kernels (6.1) tell of the reset before they tell of the send.
    shard.step();
    shard.step();
    let second = shard.ask(ZeroRequest::get(&url));
    let failure = shard.end_of(first).failure.unwrap();
    assert!(failure.was_sent && failure.phase == HttpPhase::Sending, "{failure:?}");
    let second = shard.end_of(second);
    assert_eq!(second.text(), "B", "{second:?}");
    assert_eq!(shard.finish().retries, 1);
    server.received();
}

#[test]
fn hosts_take_turns_where_the_pool_is_full() {
    let mut shard = Shard::with(|c| {
        c.max_connections = 2;
        c.max_connections_per_host = 2;
    });
    let mut urls = vec![format!("http://{}/", shard.serve(echo))];
    for _ in 0..3 {
        let more = shard.io.http_listen("127.0.0.1:0".parse().unwrap()).unwrap();
        urls.push(format!("http://{}/", shard.io.local_addr(more).unwrap()));
    }
    let ids: Vec<_> = (0..40).map(|i| shard.ask(ZeroRequest::get(&urls[i % 4]))).collect();
    for id in ids {
        assert_eq!(shard.end_of(id).status, 200);
        assert!(shard.stats().open <= 2);
    }
    assert_eq!(shard.stats().failures, 0);
}

#[test]
fn a_connection_that_the_server_closed_is_not_used_again() {
    let close = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nA";
    let http10 = "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nB";
    let server = Script::start(vec![
        vec![Do::Read, send(close), Do::Drain],
        vec![Do::Read, send(http10), Do::Drain],
        vec![Do::Read, ok("C")],
        vec![Do::Read, ok("D"), Do::Drain],
    ]);
    let mut shard = Shard::new();
    for expected in ["A", "B", "C"] {
        assert_eq!(shard.fetch(ZeroRequest::get(&server.url("/"))).text(), expected);
    }
    shard.until("its end is seen", |shard| shard.stats().open == 0);
    assert_eq!(shard.fetch(ZeroRequest::get(&server.url("/"))).text(), "D");
    shard.finish();
    server.received();
}

#[test]
fn what_was_sent_is_not_sent_again() {
    let server = Script::start(vec![vec![Do::Read, ok("A"), Do::Read]]);
    let mut shard = Shard::new();
    assert_eq!(shard.fetch(ZeroRequest::get(&server.url("/"))).text(), "A");
    let failure = shard.fetch(ZeroRequest::get(&server.url("/"))).failure.unwrap();
    assert_eq!((failure.code, failure.phase), (code::HTTP_NO_RESPONSE, HttpPhase::Sending));
    assert!(failure.was_sent);
    assert_eq!(shard.finish().retries, 0);
    assert_eq!(server.received().len(), 1);
}

#[test]
fn idempotent_requests_are_sent_again_where_that_is_wanted() {
    let again = |c: &mut zero_io::HttpPoolConfig| c.retry_idempotent = true;
    let scripts = || vec![vec![Do::Read, ok("A"), Do::Read], vec![Do::Read, ok("B"), Do::Drain]];
    let server = Script::start(scripts());
    let mut shard = Shard::with(again);
    assert_eq!(shard.fetch(ZeroRequest::get(&server.url("/"))).text(), "A");
    assert_eq!(shard.fetch(ZeroRequest::put(&server.url("/")).text("x")).text(), "B");
    assert_eq!(shard.finish().retries, 1);
    server.received();
    // Not POST.
    let server = Script::start(vec![vec![Do::Read, ok("A"), Do::Read]]);
    let mut shard = Shard::with(again);
    assert_eq!(shard.fetch(ZeroRequest::get(&server.url("/"))).text(), "A");
    let outcome = shard.fetch(ZeroRequest::post(&server.url("/")).text("x"));
    assert_eq!(outcome.code(), code::HTTP_NO_RESPONSE);
    shard.finish();
    server.received();
    // Nor on a new connection, nor twice, nor when something came of a response.
    let server = Script::start(vec![vec![Do::Read]]);
    let mut shard = Shard::with(again);
    let outcome = shard.fetch(ZeroRequest::get(&server.url("/")));
    assert_eq!(outcome.code(), code::HTTP_NO_RESPONSE);
    shard.finish();
    server.received();
    let server = Script::start(vec![vec![Do::Read, ok("A"), Do::Read, send("HTTP")]]);
    let mut shard = Shard::with(again);
    assert_eq!(shard.fetch(ZeroRequest::get(&server.url("/"))).text(), "A");
    assert_eq!(shard.fetch(ZeroRequest::get(&server.url("/"))).code(), code::TRUNCATED);
    shard.finish();
    server.received();
}

#[test]
fn redirects_are_followed_as_often_as_allowed() {
    let mut shard = Shard::with(|c| c.redirects = 3);
    let addr = shard.serve(|sender, event| {
        if let Event::HttpRequest { conn, id, request } = *event {
            let n: u32 = request.path()[1..].parse().unwrap();
            let said = format!("{} {n}", request.method_name());
            let to = (n + 1).to_string();
            let response = match n {
                0..5 => ZeroResponse::redirect(&to),
                _ => ZeroResponse::ok().text(&said),
            };
            sender.http_respond(conn, id, response).unwrap();
        }
    });
    let url = |n: u32| format!("http://{addr}/{n}");
    assert_eq!(shard.fetch(ZeroRequest::get(&url(2))).text(), "GET 5");
    let last = shard.fetch(ZeroRequest::get(&url(1)));
    assert_eq!((last.status, last.header("location")), (302, Some("5")), "the fourth one");
    let own = shard.fetch(ZeroRequest::get(&url(0)).no_redirects());
    assert_eq!((own.status, own.header("location")), (302, Some("1")));
    let stats = shard.stats();
    assert_eq!((stats.redirects, stats.connects, stats.requests), (6, 1, 3));
}

#[test]
fn redirects_lead_elsewhere_with_what_may_go_there() {
    let last = Script::one([Do::Read, ok("there"), Do::Drain]);
    let to = last.url("/x");
    // With a body behind the head, which comes to nothing.
    let body = "y".repeat(40_000);
    let moved = |status: &str| {
        send(&format!(
            "HTTP/1.1 {status}\r\nLocation: {to}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ))
    };
    let first = Script::one([Do::Read, moved("307 Temporary"), Do::Drain]);
    let mut shard = Shard::with(|c| c.redirects = 1);
    let url = first.url("/");
    let request = ZeroRequest::post(&url).header("authorization", "secret").text("hello");
    let outcome = shard.fetch(request);
    assert_eq!((outcome.status, outcome.text()), (200, "there"));
    shard.finish();
    let received = last.received().remove(0);
    assert!(received.starts_with("POST /x HTTP/1.1\r\n"), "{received}");
    assert!(received.ends_with("\r\n\r\nhello") && !received.contains("secret"), "{received}");
    first.received();
}

#[test]
fn time_as_a_whole() {
    let mut shard = Shard::with(|c| {
        c.request_timeout_ms = 80;
        c.max_connections_per_host = 1;
    });
    let (url, held) = holding(&mut shard);
    let ids = [shard.ask(ZeroRequest::get(&url)), shard.ask(ZeroRequest::get(&url))];
    let phases = ids.map(|id| {
        let failure = shard.end_of(id).failure.unwrap();
        assert_eq!(failure.code, code::HTTP_DEADLINE);
        (failure.phase, failure.was_sent)
    });
    assert_eq!(phases[0], (HttpPhase::Sending, true));
    assert!(!held.borrow().is_empty());
    let own = shard.ask(ZeroRequest::get(&url).timeout(Duration::from_millis(10_000)));
    shard.run_for(Duration::from_millis(150));
    assert!(!shard.seen[&own].is_over(), "its own limit goes before the pool's");
    held.borrow_mut().retain(|_| true);
    while held.borrow().len() > 1 {
        held.borrow_mut().pop_front();
    }
    shard.until("a request", |_| !held.borrow().is_empty());
    answer(&mut shard, &held);
    assert_eq!(shard.end_of(own).status, 200);
}

#[test]
fn cancelled_requests_give_no_events() {
    let mut shard = Shard::with(|c| c.max_connections_per_host = 1);
    let (url, held) = holding(&mut shard);
    // While it waits for its connection.
    let id = shard.ask(ZeroRequest::get(&url));
    assert!(shard.io.http_cancel(id) && !shard.io.http_cancel(id));
    // Under way, with one behind it.
    let first = shard.ask(ZeroRequest::get(&format!("{url}/first")));
    let second = shard.ask(ZeroRequest::get(&format!("{url}/second")));
    shard.until("it is under way", |_| !held.borrow().is_empty());
    assert!(shard.io.http_cancel(first));
    held.borrow_mut().clear();
    shard.until("the next one", |_| !held.borrow().is_empty());
    assert_eq!(answer(&mut shard, &held), "/second");
    assert_eq!(shard.end_of(second).text(), "/second");
    // In the queue.
    let under_way = shard.ask(ZeroRequest::get(&url));
    let waits = shard.ask(ZeroRequest::get(&url));
    shard.until("one is under way", |_| !held.borrow().is_empty());
    assert!(shard.io.http_cancel(waits));
    answer(&mut shard, &held);
    assert_eq!(shard.end_of(under_way).status, 200);
    // Over.
    assert!(!shard.io.http_cancel(under_way));
    shard.run_for(Duration::from_millis(30));
    for id in [id, first, waits] {
        assert!(!shard.seen[&id].is_over(), "{:?}", shard.seen[&id]);
    }
}

#[test]
fn a_response_can_be_cancelled_in_its_body() {
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\nabc";
    let server = Script::start(vec![
        vec![Do::Read, send(long), Do::Drain],
        vec![Do::Read, ok("next"), Do::Drain],
    ]);
    let mut shard = Shard::new();
    let id = shard.ask(ZeroRequest::get(&server.url("/")));
    shard.until("its body begins", |shard| shard.seen[&id].status == 200);
    assert!(shard.io.http_cancel(id));
    assert_eq!(shard.fetch(ZeroRequest::get(&server.url("/"))).text(), "next");
    assert!(!shard.seen[&id].is_over());
    shard.finish();
    server.received();
}

#[test]
fn a_closed_pool_ends_what_is_under_way() {
    let mut shard = Shard::with(|c| c.max_connections_per_host = 1);
    let (url, held) = holding(&mut shard);
    let ids: Vec<_> = (0..2).map(|_| shard.ask(ZeroRequest::get(&url))).collect();
    shard.until("one is under way", |_| !held.borrow().is_empty());
    shard.io.http_pool_close(shard.pool).unwrap();
    let refused = shard.io.http_request(shard.pool, ZeroRequest::get(&url));
    assert!(matches!(refused, Err(IoError::InvalidArgument { .. })), "{refused:?}");
    for id in ids {
        shard.until("a request", |_| !held.borrow().is_empty());
        answer(&mut shard, &held);
        assert_eq!(shard.end_of(id).status, 200);
    }
    shard.until("the pool is gone", |shard| shard.io.http_pool_stats(shard.pool).is_err());
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let mut shard = Shard::new();
    let pool = shard.pool;
    let mut refused = |request: ZeroRequest<'_>| {
        matches!(shard.io.http_request(pool, request), Err(IoError::InvalidArgument { .. }))
    };
    for url in ["", "/path", "ftp://a/", "http://u:p@a/", "http://a b/", "http://a/\r\n"] {
        assert!(refused(ZeroRequest::get(url)), "{url}");
    }
    for name in ["host", "content-length", "Transfer-Encoding", "connection", "a b", ""] {
        assert!(refused(ZeroRequest::get("http://a/").header(name, "x")), "{name}");
    }
    assert!(refused(ZeroRequest::get("http://a/").header("x", "a\r\nb: c")));
    let mut other = zero_io::Io::new(zero_io::Config::default()).unwrap();
    let buffer = other.send_buffer(10).unwrap();
    assert!(refused(ZeroRequest::post("http://a/").buffer(buffer)), "a buffer of another Io");
    let long = format!("http://a/{}", "x".repeat(8_100));
    let field = "y".repeat(60_000);
    let request = ZeroRequest::get(&long).header("x", &*field);
    let refused = shard.io.http_request(pool, request);
    assert!(matches!(refused, Err(IoError::BufferTooLarge { .. })), "{refused:?}");
    assert_eq!(shard.finish().requests, 0);
}
