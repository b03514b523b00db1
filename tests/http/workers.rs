//! Requests that are answered on other threads.

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use zero_io::{Config, Event, HttpOwnedRequest, Io, IoHandle, ZeroResponse};

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
fn a_request_is_not_detached_after_its_event() {
    let mut io = Io::new(Config::default()).unwrap();
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let http = io.http_listen(local).unwrap();
    let udp = io.udp_bind(local).unwrap();
    let [http, udp] = [http, udp].map(|at| io.local_addr(at).unwrap().inet().unwrap());
    let mut client = TcpStream::connect(http).unwrap();
    let peer = UdpSocket::bind(local).unwrap();
    let mut is_request_seen = false;
    client.write_all(get("/").as_bytes()).unwrap();
    loop {
        match io.next_event() {
            Some(Event::HttpRequest { .. }) => {
                is_request_seen = true;
                peer.send_to(b"something else", udp).unwrap();
            }
            Some(Event::UdpRecv { .. }) if is_request_seen => break,
            Some(_) => {}
            None => io.poll(Duration::from_secs(5)).unwrap(),
        }
    }
    assert!(io.detach_http_request().is_none(), "a datagram is shown");
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

/// It unwinds with the request, and with its body, in its hands; those behind it find nobody.
#[test]
fn a_thread_that_panics_costs_its_requests_alone() {
    let server = server(|handle, mut request| match request.path() {
        "/" => {
            let answer = ZeroResponse::ok().text("alive");
            handle.http_respond(request.conn(), request.id(), answer).unwrap();
        }
        _ => {
            let body = request.body_stream();
            std::panic::resume_unwind(Box::new(body.is_some()));
        }
    });
    let mut bystander = server.dial();
    assert_eq!(bystander.ask(get("/")).text(), "alive");
    let mut client = server.dial();
    client.send("POST /dies HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    std::thread::sleep(Duration::from_millis(50));
    client.send("0\r\n\r\n");
    assert_eq!(client.answer().unwrap().status, 503);
    client.end();
    // Nobody takes this one, and it is told all the same.
    assert_eq!(bystander.ask(get("/")).status, 503);
    bystander.end();
    drop((client, bystander));
    let report = server.stop();
    assert_eq!((report.counters.timeouts, report.counters.requests), (2, 3));
    assert!(report.ends.iter().all(|(end, _)| *end == zero_io::code::HTTP_ANSWER_TIMEOUT));
}
