//! How connections end: asked for, timed out, refused, vanished.

use std::time::{Duration, Instant};

use zero_io::{Event, IoError, RequestId, Sender, ZeroResponse, code};

use crate::kit::{Server, get, hello};
use crate::linger::linger_zero;

#[test]
fn the_client_says_when_to_close() {
    let server = Server::hello();
    let rows = [
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: x, Close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ];
    for request in rows {
        let mut client = server.dial();
        let answer = client.ask(request);
        assert_eq!((answer.text(), answer.header("connection")), ("Hello", Some("close")));
        client.end();
    }
    let mut client = server.dial();
    for _ in 0..3 {
        let answer = client.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
    drop(client);
    let ends = server.stop().ends;
    assert_eq!(ends, [(0, true); 4]);
}

#[test]
fn requests_behind_the_last_one_are_not_answered() {
    let server = Server::hello();
    let mut client = server.dial();
    client.send("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    client.send(get("/").repeat(50));
    assert_eq!(client.answer().unwrap().header("connection"), Some("close"));
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut client.stream, &mut rest);
    assert!(rest.is_empty());
    drop(client);
    assert_eq!(server.stop().counters.requests, 1);
}

/// RFC 9112 §9.6: a close with bytes unread is a reset, which can take the answer with it.
#[test]
fn what_comes_behind_the_last_request_does_not_take_the_answer() {
    let body = crate::kit::pattern(300_000);
    let same = body.clone();
    let server = Server::start(move |sender, event| {
        if let Event::HttpRequest { conn, id, .. } = *event {
            sender.http_respond(conn, id, ZeroResponse::ok().bytes(&body)).unwrap();
        }
    });
    let close = "GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    for count in [1, 400, 40_000] {
        let mut client = server.dial();
        let stream = client.stream.get_ref().try_clone().unwrap();
        let more = get("/").repeat(count);
        let writer = std::thread::spawn(move || {
            let mut stream = &stream;
            for piece in [close.to_owned() + &get("/"), more.clone(), more] {
                std::io::Write::write_all(&mut stream, piece.as_bytes()).unwrap();
                std::thread::sleep(Duration::from_millis(30));
            }
        });
        writer.join().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(client.answer().unwrap().body == same, "{count}");
        client.end();
    }
    let report = server.stop();
    assert_eq!((report.ends, report.counters.requests), (vec![(0, true); 3], 3));
}

#[test]
fn a_half_closed_client_gets_its_answers() {
    let mut waiting = Vec::new();
    let server = Server::start(move |sender, event| {
        if let Event::HttpRequest { conn, id, .. } = event {
            waiting.push((*conn, *id));
            if waiting.len() == 3 {
                for (conn, id) in waiting.drain(..) {
                    sender.http_respond(conn, id, ZeroResponse::ok().text("late")).unwrap();
                }
            }
        }
    });
    let mut client = server.dial();
    client.send(get("/").repeat(3));
    client.shut();
    for _ in 0..3 {
        assert_eq!(client.answer().unwrap().text(), "late");
    }
    client.end();
    assert_eq!(server.stop().ends, [(0, true)]);
}

#[test]
fn a_client_that_ends_in_the_middle_is_told_apart() {
    let server = Server::hello();
    for part in ["GET / HT", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nab"] {
        let mut client = server.dial();
        client.send(part);
        client.shut();
        client.end();
    }
    assert_eq!(server.stop().ends, [(code::TRUNCATED, false); 2]);
}

#[test]
fn a_bound_on_the_requests_of_a_connection() {
    let server = Server::with(|c| c.keep_alive_requests = 3, |_| {}, hello);
    let mut client = server.dial();
    client.send(get("/").repeat(10));
    for i in 0..3 {
        let answer = client.answer().unwrap();
        assert_eq!(answer.header("connection"), (i == 2).then_some("close"));
    }
    client.end();
    drop(client);
    let report = server.stop();
    assert_eq!((report.counters.requests, &report.ends[..]), (3, &[(0, true)][..]));
}

#[test]
fn what_is_malformed_is_refused_in_its_place() {
    let server = Server::hello();
    let mut client = server.dial();
    client.send(get("/"));
    client.send("GET / HTTP/1.1\r\nHost : t\r\n\r\n");
    client.send(get("/"));
    assert_eq!(client.answer().unwrap().text(), "Hello");
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (400, Some("close")));
    client.end();
    drop(client);
    let report = server.stop();
    assert_eq!((report.counters.requests, report.counters.refused), (1, 1));
    let [(end, false)] = report.ends[..] else { panic!("{:?}", report.ends) };
    assert!(code::reason(end).unwrap().contains("HTTP"), "{end:#x}");
}

#[test]
fn a_broken_chunk_is_refused_or_cuts_the_answer() {
    let chunk = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcdeXX";
    // Not answered yet: refused in its place.
    let server = Server::start(|_, _| {});
    let mut client = server.dial();
    client.send(chunk);
    assert_eq!(client.answer().unwrap().status, 400);
    client.end();
    server.stop();
    // Its answer has begun: there is no other.
    let server = Server::hello();
    let mut client = server.dial();
    let (sound, broken) = chunk.split_at(chunk.len() - 2);
    client.send(sound);
    std::thread::sleep(Duration::from_millis(100));
    client.send(broken);
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut client.stream, &mut rest);
    assert!(rest.starts_with(b"HTTP/1.1 200") && !rest.ends_with(b"0\r\n\r\n"));
    server.stop();
}

#[test]
fn a_slow_head_is_given_up() {
    let server = Server::with(|c| c.receive_timeout_ms = 150, |_| {}, hello);
    let mut client = server.dial();
    let from = Instant::now();
    client.send("GET / HTTP/1.1\r\n");
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(20));
        client.send("X: y\r\n");
    }
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
    assert!(from.elapsed() >= Duration::from_millis(140), "{:?}", from.elapsed());
    client.end();
    drop(client);
    let report = server.stop();
    assert_eq!(report.ends, [(code::HTTP_REQUEST_TIMEOUT, false)]);
    assert_eq!(report.counters.timeouts, 1);
}

#[test]
fn a_body_that_pauses_is_given_up() {
    let server = Server::with(
        |c| {
            c.receive_timeout_ms = 150;
            c.request_timeout_ms = 100;
        },
        |_| {},
        |sender, event| {
            if let Event::HttpBodyChunk { conn, id, last: true, .. } = event {
                sender.http_respond(*conn, *id, ZeroResponse::ok()).unwrap();
            }
        },
    );
    let head = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\n";
    let mut client = server.dial();
    client.send(head);
    // As long as it goes on it may take longer than an answer.
    for _ in 0..10 {
        client.send([b'x'; 9999]);
        std::thread::sleep(Duration::from_millis(30));
    }
    client.send([b'x'; 10]);
    assert_eq!(client.answer().unwrap().status, 200);
    client.send(head);
    client.send("abc");
    assert_eq!(client.answer().unwrap().status, 408);
    client.end();
    drop(client);
    assert_eq!(server.stop().ends, [(code::HTTP_REQUEST_TIMEOUT, false)]);
}

#[test]
fn an_answer_that_is_never_given_is_given_up() {
    let server = Server::with(
        |c| c.request_timeout_ms = 100,
        |_| {},
        |sender, event| match event {
            Event::HttpRequest { conn, id, request } if request.path() == "/" => {
                sender.http_respond(*conn, *id, ZeroResponse::ok()).unwrap();
            }
            _ => {}
        },
    );
    let mut client = server.dial();
    assert_eq!(client.ask(get("/")).status, 200);
    let from = Instant::now();
    client.send(get("/never"));
    client.send(get("/"));
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
    assert!(from.elapsed() >= Duration::from_millis(95), "{:?}", from.elapsed());
    client.end();
    drop(client);
    assert_eq!(server.stop().ends, [(code::HTTP_ANSWER_TIMEOUT, false)]);
}

/// Gives `/long` its head alone, and its end when `/end` is asked for; nothing else is answered.
fn answers_late(sender: &mut Sender<'_>, event: &Event<'_>) {
    let Event::HttpRequest { conn, id, request } = event else { return };
    match request.path() {
        "/long" => sender.http_respond(*conn, *id, ZeroResponse::ok().stream()).unwrap(),
        "/end" => sender.http_finish(*conn, RequestId::from_u64(0)).unwrap(),
        _ => {}
    }
}

#[test]
fn an_answer_behind_one_that_took_long_is_given_up_in_time() {
    let server = Server::with(
        |c| (c.request_timeout_ms, c.keep_alive_timeout_ms) = (100, 60_000),
        |_| {},
        answers_late,
    );
    let mut client = server.dial();
    client.send(get("/long"));
    client.send(get("/never"));
    // The limit passes while the answer before is being written.
    std::thread::sleep(Duration::from_millis(250));
    client.send(get("/end"));
    assert_eq!(client.answer().unwrap().status, 200);
    assert_eq!(client.answer().unwrap().status, 503);
    client.end();
    drop(client);
    assert_eq!(server.stop().ends, [(code::HTTP_ANSWER_TIMEOUT, false)]);
}

#[test]
fn an_answer_is_given_up_in_time_while_the_next_request_comes_in() {
    let server = Server::with(
        |c| {
            (c.request_timeout_ms, c.keep_alive_timeout_ms) = (100, 50_000);
            c.receive_timeout_ms = 60_000;
        },
        |_| {},
        answers_late,
    );
    let mut client = server.dial();
    let from = Instant::now();
    let post = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\nabc";
    client.send(format!("{}{post}", get("/never")));
    assert_eq!(client.answer().unwrap().status, 503);
    assert!(from.elapsed() < Duration::from_secs(5), "{:?}", from.elapsed());
    client.end();
    drop(client);
    assert_eq!(server.stop().ends, [(code::HTTP_ANSWER_TIMEOUT, false)]);
}

#[test]
fn an_idle_connection_is_closed() {
    let server = Server::with(|c| c.keep_alive_timeout_ms = 100, |_| {}, hello);
    let mut client = server.dial();
    assert_eq!(client.ask(get("/")).status, 200);
    let from = Instant::now();
    client.end();
    assert!(from.elapsed() >= Duration::from_millis(95), "{:?}", from.elapsed());
    drop(client);
    assert_eq!(server.stop().ends, [(code::HTTP_IDLE, true)]);
}

#[test]
fn a_client_that_vanishes_leaves_nothing() {
    let (tell, told) = std::sync::mpsc::channel();
    let server = Server::start(move |sender, event| match event {
        Event::HttpRequest { conn, id, .. } => tell.send((*conn, *id)).unwrap(),
        Event::Timer { .. } => {}
        Event::Disconnected { conn, .. } => {
            let id = zero_io::RequestId::from_u64(0);
            let error = sender.http_respond(*conn, id, ZeroResponse::ok()).unwrap_err();
            assert!(matches!(error, IoError::StaleConn { .. }), "{error}");
        }
        _ => {}
    });
    for request in [get("/"), get("/").repeat(100), "GET /".to_string(), String::new()] {
        let client = server.dial();
        if !request.is_empty() {
            let mut client = client;
            client.send(&request);
            if request.len() > 10 {
                told.recv_timeout(Duration::from_secs(10)).unwrap();
            }
            // With linger 0 the close is a reset.
            let socket = client.stream.get_ref();
            linger_zero(socket);
        }
    }
    std::thread::sleep(Duration::from_millis(50));
    let ends = server.stop().ends;
    assert_eq!(ends.len(), 4, "{ends:?}");
}

#[test]
fn the_application_may_close() {
    let server = Server::start(|sender, event| {
        if let Event::HttpRequest { conn, id, request } = event {
            match request.path() {
                "/close" => sender.close(*conn).unwrap(),
                "/graceful" => {
                    // The requests behind it are not answered.
                    let _ = sender.http_respond(*conn, *id, ZeroResponse::ok().text("bye"));
                    sender.close_graceful(*conn, Duration::ZERO).unwrap();
                }
                _ => sender.http_respond(*conn, *id, ZeroResponse::ok().close()).unwrap(),
            }
        }
    });
    let mut client = server.dial();
    client.send(get("/close"));
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut client.stream, &mut rest);
    assert!(rest.is_empty());
    let mut client = server.dial();
    client.send(get("/graceful").repeat(3));
    assert_eq!(client.answer().unwrap().text(), "bye");
    client.end();
    drop(client);
    let mut client = server.dial();
    assert_eq!(client.ask(get("/")).header("connection"), Some("close"));
    client.end();
    drop(client);
    let mut ends = server.stop().ends;
    ends.sort_unstable();
    assert_eq!(ends, [(0, true), (0, true), (code::LOCAL_CLOSE, false)]);
}
