//! Requests that are answered on other threads.

use std::sync::mpsc;
use std::time::Duration;

use zero_io::{Event, HttpOwnedRequest, IoHandle, ZeroResponse};

use crate::kit::{Server, get, pattern};

/// Hands every request to a thread that answers with `work`.
fn server(mut work: impl FnMut(&IoHandle, HttpOwnedRequest) + Send + 'static) -> Server {
    let (give, take) = mpsc::channel::<HttpOwnedRequest>();
    let server = Server::full(
        |c| c.request_timeout_ms = 500,
        |_| {},
        |_, event, take| *take = matches!(event, Event::HttpRequest { .. }),
        move |request| {
            let _ = give.send(request);
        },
    );
    let handle = server.handle.clone();
    std::thread::spawn(move || {
        while let Ok(request) = take.recv() {
            work(&handle, request);
        }
    });
    server
}

#[test]
fn requests_travel_and_answers_come_back() {
    let server = server(|handle, request| {
        assert!(request.peer().inet().is_some_and(|peer| peer.ip().is_loopback()));
        let said = format!("{} {:?}", request.path(), request.header("host"));
        let answer = ZeroResponse::ok().header("x-id", request.id().as_u64()).text(&said);
        handle.http_respond(request.conn(), request.id(), answer).unwrap();
    });
    let mut client = server.dial();
    for round in 0..20_u64 {
        let paths: Vec<String> = (0..5).map(|i| format!("/{round}/{i}")).collect();
        client.send(paths.iter().map(|path| get(path)).collect::<String>());
        for (i, path) in (0_u64..).zip(&paths) {
            let answer = client.answer().unwrap();
            assert_eq!(answer.text(), format!("{path} Some(\"test\")"));
            assert_eq!(answer.header("x-id"), Some(&*(round * 5 + i).to_string()));
        }
    }
    drop(client);
    let report = server.stop();
    assert_eq!(report.stats.commands_refused, 0);
}

#[test]
fn answers_of_every_size_and_in_any_order() {
    let big = pattern(200_000);
    let same = big.clone();
    let mut kept = Vec::new();
    let server = server(move |handle, request| {
        kept.push(request);
        if kept.len() == 4 {
            for request in kept.drain(..).rev() {
                let answer = match request.path() {
                    "/big" => ZeroResponse::ok().bytes(&big),
                    "/json" => ZeroResponse::ok().json(&[1, 2]),
                    "/static" => ZeroResponse::ok().static_bytes(&[9; 3000]),
                    _ => ZeroResponse::ok().bytes(request.body()),
                };
                handle.http_respond(request.conn(), request.id(), answer).unwrap();
            }
        }
    });
    let mut client = server.dial();
    for _ in 0..5 {
        client.send(get("/big"));
        client.send(get("/json"));
        client.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc");
        client.send(get("/static"));
        assert_eq!(client.answer().unwrap().body, same);
        assert_eq!(client.answer().unwrap().text(), "[1,2]");
        assert_eq!(client.answer().unwrap().text(), "abc");
        assert_eq!(client.answer().unwrap().body, vec![9; 3000]);
    }
    drop(client);
    server.stop();
}

#[test]
fn a_worker_that_dies_costs_a_503() {
    let server = server(|_, request| drop(request));
    let mut client = server.dial();
    let answer = client.ask(get("/"));
    assert_eq!(answer.status, 503);
    client.end();
    drop(client);
    assert_eq!(server.stop().counters.timeouts, 1);
}

#[test]
fn an_answer_that_comes_too_late_is_counted() {
    let server = server(|handle, request| {
        std::thread::sleep(Duration::from_millis(700));
        let answer = ZeroResponse::ok();
        handle.http_respond(request.conn(), request.id(), answer).unwrap();
    });
    let mut client = server.dial();
    assert_eq!(client.ask(get("/")).status, 503);
    client.end();
    drop(client);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(server.stop().stats.commands_refused, 1);
}
