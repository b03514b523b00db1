//! Bodies that go to other threads, behind requests that were detached.

use std::io::Write;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use zero_io::{
    BodyPart, BodyStream, Config, Event, HttpListenConfig, HttpOwnedRequest, IoHandle,
    ZeroResponse, code,
};

use crate::kit::{Client, Server, get, pattern};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server that has every request worked at on a thread of its own.
fn server(
    http: impl FnOnce(&mut HttpListenConfig) + Send + 'static,
    config: impl FnOnce(&mut Config) + Send + 'static,
    work: impl Fn(&IoHandle, HttpOwnedRequest) + Clone + Send + 'static,
) -> Server {
    let (give, take) = mpsc::channel::<HttpOwnedRequest>();
    let server = Server::full(
        http,
        config,
        |_, event, take| {
            *take = matches!(event, Event::HttpRequest { .. });
            let is_body = matches!(event, Event::HttpBodyChunk { .. });
            assert!(!is_body, "a body that was detached came as an event");
        },
        move |request| {
            let _ = give.send(request);
        },
    );
    let handle = server.handle.clone();
    std::thread::spawn(move || {
        while let Ok(request) = take.recv() {
            let (handle, work) = (handle.clone(), work.clone());
            std::thread::spawn(move || work(&handle, request));
        }
    });
    server
}

/// A server that hands every request to the test.
fn taken(
    http: impl FnOnce(&mut HttpListenConfig) + Send + 'static,
) -> (Server, Receiver<HttpOwnedRequest>) {
    let (give, take) = mpsc::channel();
    let give = std::sync::Mutex::new(give);
    let give = std::sync::Arc::new(give);
    let server = server(
        http,
        |_| {},
        move |_, request| {
            let _ = give.lock().unwrap().send(request);
        },
    );
    (server, take)
}

fn next(body: &mut BodyStream) -> BodyPart {
    body.next(Some(PATIENCE)).expect("something in time")
}

/// The whole body, or why not.
fn read(body: &mut BodyStream) -> Result<Vec<u8>, u64> {
    let mut whole = Vec::new();
    loop {
        match next(body) {
            BodyPart::Chunk(chunk) => {
                assert!(!chunk.is_empty());
                whole.extend_from_slice(&chunk);
            }
            BodyPart::End => break,
            BodyPart::Cut { error_code } => return Err(error_code),
            _ => unreachable!(),
        }
    }
    // It is the end for good.
    assert!(matches!(next(body), BodyPart::End));
    Ok(whole)
}

/// Answers with what came.
fn echo(handle: &IoHandle, mut request: HttpOwnedRequest) {
    let follows = request.request().body_follows();
    let answer = match request.body_stream() {
        Some(mut body) => {
            assert!(follows && request.body().is_empty() && request.body_stream().is_none());
            read(&mut body).expect("a whole body")
        }
        None => {
            assert!(!follows);
            request.body().to_vec()
        }
    };
    let answer = ZeroResponse::ok().bytes(&answer);
    handle.http_respond(request.conn(), request.id(), answer).unwrap();
}

fn post(len: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {len}\r\n\r\n")
}

const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";

fn chunked(body: &[u8], len: usize) -> Vec<u8> {
    let mut out = CHUNKED.as_bytes().to_vec();
    for chunk in body.chunks(len) {
        write!(out, "{:x}\r\n", chunk.len()).unwrap();
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

#[test]
fn bodies_of_every_size_and_form() {
    let server = server(|c| c.max_body_inline = 100, |_| {}, echo);
    let mut client = server.dial();
    for len in [1, 100, 101, 5000, 70_000, 1_000_000] {
        let body = pattern(len);
        client.send(post(len));
        client.send(&body);
        assert_eq!(client.answer().unwrap().body, body, "{len}");
    }
    // So many pieces that most of them wait, some before the request is known to be detached.
    for (len, piece) in [(3000, 1), (3000, 7), (200_000, 1000), (200_000, 150_000)] {
        let body = pattern(len);
        assert_eq!(client.ask(chunked(&body, piece)).body, body, "{len} by {piece}");
    }
    assert_eq!(client.ask(CHUNKED.to_owned() + "0\r\n\r\n").body, b"");
    // One byte at a time, and two uploads and a request behind each other.
    let body = pattern(300);
    let mut slow = server.dial();
    for byte in [post(300).as_bytes(), &body].concat() {
        slow.send([byte]);
    }
    assert_eq!(slow.answer().unwrap().body, body);
    let three = [chunked(&body, 9), post(300).into(), body.clone(), get("/").into()].concat();
    client.send(three);
    assert_eq!(client.answer().unwrap().body, body);
    assert_eq!(client.answer().unwrap().body, body);
    assert_eq!(client.answer().unwrap().body, b"");
    drop((client, slow));
    let report = server.stop();
    assert!(report.ends.iter().all(|end| *end == (0, true)), "{:?}", report.ends);
}

/// FNV-1a.
fn hash(mut state: u64, data: &[u8]) -> u64 {
    for byte in data {
        state = (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    state
}

#[test]
fn a_slow_worker_holds_the_client_back() {
    const LEN: usize = 64 << 20;
    let server = server(
        |_| {},
        |c| c.held_buffers_max = 12,
        |handle, mut request| {
            let mut body = request.body_stream().unwrap();
            let (mut state, mut count) = (0, 0_usize);
            loop {
                match next(&mut body) {
                    BodyPart::Chunk(chunk) => {
                        state = hash(state, &chunk);
                        count += 1;
                        if count.is_multiple_of(64) {
                            std::thread::sleep(Duration::from_millis(5));
                        }
                    }
                    BodyPart::End => break,
                    other => panic!("{other:?}"),
                }
            }
            let said = format!("{state:x}");
            let answer = ZeroResponse::ok().text(&said);
            handle.http_respond(request.conn(), request.id(), answer).unwrap();
        },
    );
    let mut client = server.dial();
    let piece = pattern(1 << 20);
    client.send(post(LEN));
    let mut state = 0;
    for _ in 0..LEN / piece.len() {
        client.send(&piece);
        state = hash(state, &piece);
    }
    assert_eq!(client.answer().unwrap().text(), format!("{state:x}"));
    drop(client);
    let report = server.stop();
    let peak = report.pools.pools[1].peak;
    // What the connection may hold, and what one receive may bring beyond that.
    assert!(peak < 400, "{peak} buffers");
    assert_eq!(report.stats.bytes_copied_rx, 0);
}

#[test]
fn a_full_ring_stops_the_client_and_goes_on() {
    let (server, requests) = taken(|_| {});
    let mut client = server.dial();
    client.send(post(256 << 20));
    let stream = client.stream.get_ref().try_clone().unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let piece = pattern(1 << 20);
    let mut sent = 0;
    let send = |sent: &mut usize| {
        while let Ok(n) = (&stream).write(&piece[*sent % piece.len()..]) {
            *sent += n;
            assert!(*sent < 200 << 20, "it was not held back");
        }
    };
    let mut request = requests.recv_timeout(PATIENCE).unwrap();
    send(&mut sent);
    let before = sent;
    let mut body = request.body_stream().unwrap();
    // Nothing but what fits waits; taking makes room.
    let mut got = 0;
    let mut take = |body: &mut BodyStream, until: usize| {
        while got < until {
            match next(body) {
                BodyPart::Chunk(chunk) => {
                    let at = got % piece.len();
                    let here = chunk.len().min(piece.len() - at);
                    assert_eq!(chunk[..here], piece[at..][..here]);
                    got += chunk.len();
                }
                other => panic!("{other:?}"),
            }
        }
    };
    take(&mut body, before);
    send(&mut sent);
    assert!(sent > before, "it goes on");
    take(&mut body, sent);
    assert!(body.try_next().is_none());
    let start = Instant::now();
    assert!(body.next(Some(Duration::from_millis(30))).is_none());
    assert!(start.elapsed() >= Duration::from_millis(29));
    drop((client, stream));
    assert_eq!(read(&mut body), Err(code::TRUNCATED));
    drop((body, request));
    assert_eq!(server.stop().ends, [(code::TRUNCATED, false)]);
}

#[test]
fn a_client_that_vanishes_cuts_the_body() {
    let (server, requests) = taken(|_| {});
    // In order, in the middle of the body; the stream waits for it, or learns it later.
    for waits in [true, false] {
        let mut client = server.dial();
        client.send(post(100_000));
        client.send(pattern(1000));
        let mut request = requests.recv_timeout(PATIENCE).unwrap();
        let mut body = request.body_stream().unwrap();
        let reader = std::thread::spawn(move || {
            if !waits {
                std::thread::sleep(Duration::from_millis(50));
            }
            let BodyPart::Chunk(chunk) = next(&mut body) else { panic!("the first piece") };
            assert_eq!(*chunk, pattern(1000));
            read(&mut body)
        });
        std::thread::sleep(Duration::from_millis(20));
        drop(client);
        assert_eq!(reader.join().unwrap(), Err(code::TRUNCATED));
    }
    // By a reset: bytes that were not read are behind.
    let mut client = server.dial();
    client.send(get("/"));
    let first = requests.recv_timeout(PATIENCE).unwrap();
    let answer = ZeroResponse::ok().text("unread");
    server.handle.http_respond(first.conn(), first.id(), answer).unwrap();
    client.send(post(100_000));
    let mut request = requests.recv_timeout(PATIENCE).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    drop(client);
    assert_eq!(read(&mut request.body_stream().unwrap()), Err(104));
    drop((first, request));
    server.stop();
}

#[test]
fn what_nobody_wants_is_thrown_away() {
    let server = server(
        |c| c.max_body_size = 40 << 20,
        |_| {},
        |handle, mut request| {
            let (conn, id) = (request.conn(), request.id());
            match request.path() {
                "/untaken" => drop(request),
                "/taken" => drop(request.body_stream()),
                "/one" => {
                    let mut body = request.body_stream().unwrap();
                    assert!(matches!(next(&mut body), BodyPart::Chunk(_)));
                }
                "/full" => {
                    std::thread::sleep(Duration::from_millis(100));
                    drop(request);
                }
                _ => return echo(handle, request),
            }
            handle.http_respond(conn, id, ZeroResponse::ok().text("no, thanks")).unwrap();
        },
    );
    let mut client = server.dial();
    let body = pattern(10 << 20);
    for path in ["/untaken", "/taken", "/one", "/full", "/untaken"] {
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n",
            10 << 20
        ));
        client.send(&body);
        assert_eq!(client.answer().unwrap().text(), "no, thanks", "{path}");
    }
    // It counts against the limit all the same.
    client.send("POST /untaken HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
    let piece = [b"100000\r\n".to_vec(), pattern(1 << 20), b"\r\n".to_vec()].concat();
    for _ in 0..41 {
        client.send(&piece);
    }
    assert_eq!(client.answer().unwrap().status, 200);
    client.end();
    assert_eq!(server.stop().ends, [(code::HTTP_BODY_TOO_LARGE, false)]);
}

#[test]
fn an_answer_before_the_end_cuts_the_body() {
    let (server, requests) = taken(|_| {});
    let mut client = server.dial();
    let body = pattern(3 << 20);
    // With a full ring, and with an empty one.
    for held in [true, false] {
        client.send(post(body.len()));
        let half = body.len() / 2;
        let stream = client.stream.get_ref().try_clone().unwrap();
        let (first, second) = (body[..half].to_vec(), body[half..].to_vec());
        let writer = std::thread::spawn(move || (&stream).write_all(&first).unwrap());
        let mut request = requests.recv_timeout(PATIENCE).unwrap();
        let mut body = request.body_stream().unwrap();
        if held {
            std::thread::sleep(Duration::from_millis(50));
        } else {
            let mut got = 0;
            while got < half {
                let BodyPart::Chunk(chunk) = next(&mut body) else { panic!("a piece") };
                got += chunk.len();
            }
        }
        let answer = ZeroResponse::ok().text("enough");
        server.handle.http_respond(request.conn(), request.id(), answer).unwrap();
        assert_eq!(client.answer().unwrap().text(), "enough");
        assert_eq!(read(&mut body), Err(code::HTTP_BODY_UNWANTED));
        writer.join().unwrap();
        client.send(&second);
    }
    client.send(get("/"));
    echo(&server.handle, requests.recv_timeout(PATIENCE).unwrap());
    assert_eq!(client.answer().unwrap().status, 200);
    drop(client);
    server.stop();
}

#[test]
fn a_streamed_answer_goes_beside_the_body() {
    // The shard answers piece by piece while the worker reads.
    let (give, requests) = mpsc::channel::<HttpOwnedRequest>();
    let mut current = None;
    let server = Server::full(
        |_| {},
        |_| {},
        move |sender, event, take| match event {
            Event::HttpRequest { conn, id, .. } => {
                current = Some((*conn, *id));
                sender.http_respond(*conn, *id, ZeroResponse::ok().stream()).unwrap();
                sender.http_write(*conn, *id, b"so far ").unwrap();
                *take = true;
            }
            Event::User { token: 1, .. } => {
                let (conn, id) = current.unwrap();
                sender.http_write(conn, id, b"so good").unwrap();
                sender.http_finish(conn, id).unwrap();
            }
            _ => {}
        },
        move |request| give.send(request).unwrap(),
    );
    let mut client = server.dial();
    let body = pattern(1 << 20);
    client.send(post(body.len()));
    let mut request = requests.recv_timeout(PATIENCE).unwrap();
    client.send(&body);
    assert_eq!(read(&mut request.body_stream().unwrap()), Ok(body));
    server.handle.post(1).unwrap();
    assert_eq!(client.answer().unwrap().text(), "so far so good");
    drop(request);
    drop(client);
    server.stop();
}

#[test]
fn refusals_and_timeouts_are_told_apart() {
    let (server, requests) = taken(|c| {
        c.max_body_inline = 0;
        c.receive_timeout_ms = 300;
        c.request_timeout_ms = 600;
        c.max_body_size = 16 << 20;
    });
    // A chunk that is none.
    let mut client = server.dial();
    client.send(CHUNKED.to_owned() + "3\r\nabc\r\n");
    let mut request = requests.recv_timeout(PATIENCE).unwrap();
    client.send("what?\r\n");
    assert_eq!(read(&mut request.body_stream().unwrap()), Err(code::HTTP_BAD_CHUNK));
    drop(request);
    assert_eq!(client.answer().unwrap().status, 400);
    // Too long.
    let mut client = server.dial();
    client.send(CHUNKED);
    let mut request = requests.recv_timeout(PATIENCE).unwrap();
    let stream = client.stream.get_ref().try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        let piece = [b"100000\r\n".to_vec(), pattern(1 << 20), b"\r\n".to_vec()].concat();
        (0..17).for_each(|_| (&stream).write_all(&piece).unwrap());
    });
    let mut body = request.body_stream().unwrap();
    assert_eq!(read(&mut body), Err(code::HTTP_BODY_TOO_LARGE));
    drop((body, request));
    writer.join().unwrap();
    assert_eq!(client.answer().unwrap().status, 413);
    // The client pauses for too long: its fault.
    let mut client = server.dial();
    client.send(post(1000));
    client.send(pattern(10));
    let mut request = requests.recv_timeout(PATIENCE).unwrap();
    assert_eq!(read(&mut request.body_stream().unwrap()), Err(code::HTTP_REQUEST_TIMEOUT));
    drop(request);
    assert_eq!(client.answer().unwrap().status, 408);
    // The worker does: ours.
    let body = pattern(1 << 20).repeat(16);
    let mut client = server.dial();
    client.send(post(body.len()));
    let stream = client.stream.get_ref().try_clone().unwrap();
    let writer = std::thread::spawn(move || (&stream).write_all(&body));
    let mut request = requests.recv_timeout(PATIENCE).unwrap();
    assert_eq!(client.answer().unwrap().status, 503);
    let mut body = request.body_stream().unwrap();
    assert_eq!(read(&mut body), Err(code::HTTP_ANSWER_TIMEOUT));
    drop((client, body, request));
    let _ = writer.join().unwrap();
    let report = server.stop();
    let codes: Vec<u64> = report.ends.iter().map(|end| end.0).collect();
    assert_eq!(codes.len(), 4);
    for wanted in [code::HTTP_BAD_CHUNK, code::HTTP_BODY_TOO_LARGE, code::HTTP_REQUEST_TIMEOUT] {
        assert!(codes.contains(&wanted), "{codes:?}");
    }
    assert_eq!(report.counters.timeouts, 2);
}

#[test]
fn time_counts_from_what_came_last() {
    // Slower than both limits, all in all, but never still for so long.
    let server = server(
        |c| {
            c.max_body_inline = 0;
            (c.receive_timeout_ms, c.request_timeout_ms) = (400, 500);
        },
        |c| c.held_buffers_max = 4,
        |handle, mut request| {
            let mut body = request.body_stream().unwrap();
            let (mut len, start) = (0, Instant::now());
            loop {
                match next(&mut body) {
                    BodyPart::Chunk(chunk) => {
                        len += chunk.len();
                        // As slow as that for the first second and a half.
                        if start.elapsed() < Duration::from_millis(1500) {
                            std::thread::sleep(Duration::from_millis(60));
                        }
                    }
                    BodyPart::End => break,
                    other => panic!("{other:?} after {:?}", start.elapsed()),
                }
            }
            std::thread::sleep(Duration::from_millis(200));
            let said = len.to_string();
            let answer = ZeroResponse::ok().text(&said);
            handle.http_respond(request.conn(), request.id(), answer).unwrap();
        },
    );
    let mut client = server.dial();
    let body = pattern(8 << 20);
    client.send(post(body.len()));
    client.send(&body);
    assert_eq!(client.answer().unwrap().text(), body.len().to_string());
    // A slow client.
    client.send(post(30));
    for piece in body[..30].chunks(3) {
        std::thread::sleep(Duration::from_millis(80));
        client.send(piece);
    }
    assert_eq!(client.answer().unwrap().text(), "30");
    drop(client);
    let report = server.stop();
    assert_eq!(report.counters.timeouts, 0);
}

#[test]
fn closing_in_each_state_cuts_the_body() {
    let (server, requests) = taken(|_| {});
    for (len, graceful) in [(10, false), (10, true), (4 << 20, false), (4 << 20, true)] {
        let client = server.dial();
        let stream = client.stream.get_ref().try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            let _ = (&stream).write_all(&[post(5 << 20).into(), pattern(len)].concat());
        });
        let mut request = requests.recv_timeout(PATIENCE).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let mut body = request.body_stream().unwrap();
        if graceful {
            server.handle.close_graceful(request.conn(), Duration::from_millis(300)).unwrap();
        } else {
            server.handle.close(request.conn()).unwrap();
        }
        let found = read(&mut body);
        let wanted = [code::LOCAL_CLOSE, code::CLOSE_TIMEOUT];
        assert!(found.as_ref().is_err_and(|found| wanted.contains(found)), "{found:?}");
        drop(client);
        writer.join().unwrap();
    }
    server.stop();
}

#[test]
fn an_io_that_is_dropped_cuts_the_body() {
    let mut io = zero_io::Io::new(Config::default()).unwrap();
    let endpoint = io.http_listen(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = io.local_addr(endpoint).unwrap().inet().unwrap();
    let mut clients = [Client::dial(addr), Client::dial(addr)];
    for client in &mut clients {
        client.send(post(1 << 20));
        client.send(b"abc");
    }
    let mut requests = Vec::new();
    let start = Instant::now();
    while requests.len() < 2 && start.elapsed() < PATIENCE {
        io.poll(Duration::from_millis(10)).unwrap();
        while let Some(event) = io.next_event() {
            if matches!(event, Event::HttpRequest { .. }) {
                requests.push(io.detach_http_request().unwrap());
            }
        }
    }
    for _ in 0..10 {
        io.poll(Duration::from_millis(5)).unwrap();
    }
    let mut bodies = requests.iter_mut().map(|r| r.body_stream().unwrap());
    let (mut waits, mut looks) = (bodies.next().unwrap(), bodies.next().unwrap());
    let reader = std::thread::spawn(move || {
        let first = next(&mut waits);
        let BodyPart::Chunk(chunk) = &first else { panic!("{first:?}") };
        assert_eq!(chunk[..], *b"abc");
        let end = waits.next(None);
        // The buffer is good for as long as somebody has it.
        assert_eq!(chunk[..], *b"abc");
        format!("{end:?}")
    });
    std::thread::sleep(Duration::from_millis(30));
    drop(io);
    let end = format!("{:?}", Some(BodyPart::Cut { error_code: code::IO_GONE }));
    assert_eq!(reader.join().unwrap(), end);
    assert!(matches!(looks.try_next(), Some(BodyPart::Chunk(_))));
    assert_eq!(format!("{:?}", looks.try_next()), end);
    assert_eq!(requests[0].path(), "/");
}

#[test]
fn continue_is_sent_as_ever() {
    let server = server(|_| {}, |_| {}, echo);
    let mut client = server.dial();
    for _ in 0..2 {
        client.send(
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 70000\r\nExpect: 100-continue\r\n\r\n",
        );
        assert_eq!(client.answer().unwrap().status, 100);
        client.send(pattern(70_000));
        assert_eq!(client.answer().unwrap().body, pattern(70_000));
    }
    drop(client);
    server.stop();
}

#[test]
fn uploads_share_few_buffers() {
    // Three buffers may be out at a time, for six uploads.
    let server = server(
        |c| c.max_body_inline = 0,
        |c| {
            c.stream_buffer_count = 32;
            c.pool_slot_count = 64;
            c.handle_reserve_count = 16;
            c.detached_max_pct = 10;
        },
        |handle, mut request| {
            let (conn, id) = (request.conn(), request.id());
            let body = request.body_stream();
            // The head has a buffer out as well.
            drop(request);
            let read = read(&mut body.unwrap()).expect("a whole body");
            let said = format!("{:x}", hash(0, &read));
            let answer = ZeroResponse::ok().text(&said);
            handle.http_respond(conn, id, answer).unwrap();
        },
    );
    let addr = server.addr;
    let clients: Vec<_> = (0..6)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::dial(addr);
                let body = pattern(3_000_000);
                for _ in 0..3 {
                    client.send(post(body.len()));
                    client.send(&body);
                    let wanted = format!("{:x}", hash(0, &body));
                    assert_eq!(client.answer().unwrap().text(), wanted);
                }
            })
        })
        .collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    server.stop();
}
