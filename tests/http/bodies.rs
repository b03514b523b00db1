//! Bodies, in and out.

use std::sync::Arc;

use zero_io::{Event, HttpCookie, HttpMethod, SameSite, ZeroResponse};

use crate::kit::{Server, get, pattern};

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn bodies_of_every_length_come_back() {
    let server = Server::hello();
    let mut client = server.dial();
    for len in [1, 2, 1023, 1024, 1025, 16_383, 16_384, 16_385, 40_000, 70_000, 1_000_000] {
        let body = pattern(len);
        let mut writer = client.stream.get_ref().try_clone().unwrap();
        let request = post("/", &body);
        let sender =
            std::thread::spawn(move || std::io::Write::write_all(&mut writer, &request).unwrap());
        assert_eq!(client.answer().unwrap().body, body, "{len}");
        sender.join().unwrap();
    }
    drop(client);
    assert_eq!(server.stop().ends, [(0, true)]);
}

#[test]
fn chunked_bodies_come_back() {
    let server = Server::hello();
    let mut client = server.dial();
    for chunk in [1, 7, 1000, 30_000] {
        let body = pattern(100_000.min(chunk * 300));
        let mut request =
            b"POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
        for piece in body.chunks(chunk) {
            request.extend_from_slice(format!("{:X}\r\n", piece.len()).as_bytes());
            request.extend_from_slice(piece);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
        let mut writer = client.stream.get_ref().try_clone().unwrap();
        let sender =
            std::thread::spawn(move || std::io::Write::write_all(&mut writer, &request).unwrap());
        assert_eq!(client.answer().unwrap().body, body, "chunks of {chunk}");
        sender.join().unwrap();
    }
    drop(client);
    server.stop();
}

#[test]
fn every_kind_of_body_is_sent() {
    let big = pattern(1 << 20);
    let shared: Arc<[u8]> = Arc::from(pattern(300_000));
    let (same_big, same_shared) = (big.clone(), Arc::clone(&shared));
    let server = Server::start(move |sender, event| {
        let Event::HttpRequest { conn, id, request } = event else { return };
        let cookie = HttpCookie::new("a", "b").secure().same_site(SameSite::None);
        let value = std::collections::BTreeMap::from([("n", 7)]);
        let answer = match request.path() {
            "/big" => ZeroResponse::ok().bytes(&big),
            "/shared" => ZeroResponse::ok().shared(Arc::clone(&shared)),
            "/static" => ZeroResponse::ok().content_type("x/y").static_bytes(&[7; 5000]),
            "/json" => ZeroResponse::status(201).json(&value),
            "/buffer" => {
                let mut buffer = sender.send_buffer(1500).unwrap();
                buffer.as_mut_slice().fill(b'b');
                ZeroResponse::ok().buffer(buffer)
            }
            "/cookie" => ZeroResponse::ok().cookie(&cookie).header("age", 5),
            "/moved" => ZeroResponse::redirect("/big"),
            "/html" => ZeroResponse::ok().html("<p>"),
            _ => ZeroResponse::not_found(),
        };
        sender.http_respond(*conn, *id, answer).unwrap();
    });
    let mut client = server.dial();
    assert_eq!(client.ask(get("/big")).body, same_big);
    assert_eq!(client.ask(get("/shared")).body, same_shared[..]);
    let answer = client.ask(get("/static"));
    assert_eq!((answer.header("content-type"), &answer.body), (Some("x/y"), &vec![7; 5000]));
    let answer = client.ask(get("/json"));
    assert_eq!((answer.status, answer.text()), (201, "{\"n\":7}"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(client.ask(get("/buffer")).body, vec![b'b'; 1500]);
    let answer = client.ask(get("/cookie"));
    assert_eq!(answer.header("set-cookie"), Some("a=b; SameSite=None; Secure"));
    assert_eq!((answer.header("age"), answer.header("content-length")), (Some("5"), Some("0")));
    let answer = client.ask(get("/moved"));
    assert_eq!((answer.status, answer.header("location")), (302, Some("/big")));
    assert_eq!(client.ask(get("/html")).text(), "<p>");
    assert_eq!(client.ask(get("/none")).status, 404);
    client.send("HEAD /big HTTP/1.1\r\nHost: t\r\n\r\n");
    let head = client.answer_to("HEAD").unwrap();
    assert_eq!(head.header("content-length"), Some("1048576"));
    client.send("HEAD /buffer HTTP/1.1\r\nHost: t\r\n\r\n");
    assert_eq!(client.answer_to("HEAD").unwrap().header("content-length"), Some("1500"));
    assert_eq!(client.ask(get("/html")).text(), "<p>");
    // All of them at once: the order holds for large and small ones.
    let paths = ["/big", "/html", "/shared", "/buffer", "/json", "/static", "/big"];
    let all: String = paths.iter().map(|path| get(path)).collect();
    client.send(all);
    let lens: Vec<usize> = paths.iter().map(|_| client.answer().unwrap().body.len()).collect();
    assert_eq!(lens, [1 << 20, 3, 300_000, 1500, 7, 5000, 1 << 20]);
    drop(client);
    assert_eq!(server.stop().ends, [(0, true)]);
}

#[test]
fn a_body_that_is_written_later_waits_for_the_peer() {
    const TOTAL: usize = 3 << 20;
    let body = pattern(TOTAL);
    let same = body.clone();
    let mut at = None;
    let server = Server::start(move |sender, event| {
        let (conn, id) = match event {
            Event::HttpRequest { conn, id, request } => {
                let answer = match request.path() {
                    "/known" => ZeroResponse::ok().stream_of(TOTAL as u64),
                    _ => ZeroResponse::ok().stream(),
                };
                sender.http_respond(*conn, *id, answer).unwrap();
                at = Some((*id, 0));
                (*conn, *id)
            }
            Event::Writable { conn, .. } => match at {
                Some((id, _)) => (*conn, id),
                None => return,
            },
            _ => return,
        };
        let Some((_, from)) = &mut at else { return };
        let n = sender.http_write(conn, id, &body[*from..]).unwrap();
        *from += n;
        assert!(sender.conn_stats(conn).unwrap().bytes_queued < 600_000);
        if *from == body.len() {
            let trailers = [("x-sum", "7")];
            sender.http_finish_with(conn, id, &trailers).unwrap();
            at = None;
        }
    });
    let mut client = server.dial();
    let answer = client.ask(get("/"));
    assert!(answer.body == same && answer.trailers == [("x-sum".to_string(), "7".to_string())]);
    assert_eq!(client.ask(get("/known")).body, same);
    // HTTP/1.0 knows no chunks: the body ends with the connection.
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().unwrap().body, same);
    client.end();
    server.stop();
}

#[test]
fn a_promised_length_is_kept() {
    let server = Server::start(|sender, event| {
        let Event::HttpRequest { conn, id, request } = event else { return };
        sender.http_respond(*conn, *id, ZeroResponse::ok().stream_of(5)).unwrap();
        assert!(sender.http_write(*conn, *id, b"123456").is_err(), "more than promised");
        assert_eq!(sender.http_write(*conn, *id, b"123").unwrap(), 3);
        if request.path() == "/short" {
            assert!(sender.http_finish(*conn, *id).is_err());
        } else {
            assert_eq!(sender.http_write(*conn, *id, b"45").unwrap(), 2);
            sender.http_finish(*conn, *id).unwrap();
        }
    });
    let mut client = server.dial();
    assert_eq!(client.ask(get("/")).text(), "12345");
    client.send(get("/short"));
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut client.stream, &mut rest);
    assert!(!rest.ends_with(b"12345"), "cut, and told by the end of the connection");
    assert_eq!(server.stop().ends, [(zero_io::code::HTTP_ANSWER_CUT, false)]);
}

#[test]
fn a_client_may_wait_for_leave_to_send() {
    let server = Server::hello();
    let mut client = server.dial();
    for (len, path) in [(5, "/"), (50_000, "/long")] {
        let body = pattern(len);
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\n\
             Content-Length: {len}\r\n\r\n"
        ));
        assert_eq!(client.answer().unwrap().status, 100);
        client.send(&body);
        assert_eq!(client.answer().unwrap().body, body);
    }
    // Behind a request that is not answered yet, leave comes after its answer.
    client.send(get("/"));
    client.send("POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.answer().unwrap().text(), "Hello");
    assert_eq!(client.answer().unwrap().status, 100);
    client.send("ab");
    assert_eq!(client.answer().unwrap().text(), "ab");
    drop(client);
    server.stop();
}

#[test]
fn leave_may_be_refused() {
    let server = Server::with(
        |c| {
            c.auto_continue = false;
            c.max_body_inline = 0;
        },
        |_| {},
        |sender, event| match event {
            Event::HttpRequest { conn, id, request } if request.path() == "/no" => {
                assert!(request.expects_continue() && request.body_follows());
                sender.http_respond(*conn, *id, ZeroResponse::status(417).close()).unwrap();
            }
            Event::HttpRequest { conn, id, .. } => {
                sender.http_continue(*conn, *id).unwrap();
            }
            Event::HttpBodyChunk { conn, id, data, last: true } => {
                sender.http_respond(*conn, *id, ZeroResponse::ok().bytes(data)).unwrap();
            }
            _ => {}
        },
    );
    let mut client = server.dial();
    let ask = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        )
    };
    assert_eq!(client.ask(ask("/yes")).status, 100);
    assert_eq!(client.ask("ab").text(), "ab");
    let answer = client.ask(ask("/no"));
    assert_eq!((answer.status, answer.header("connection")), (417, Some("close")));
    client.end();
    drop(client);
    server.stop();
}

#[test]
fn too_long_a_body_is_refused() {
    let server = Server::with(|c| c.max_body_size = 1000, |_| {}, crate::kit::hello);
    let mut client = server.dial();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\n\r\n");
    assert_eq!(client.answer().unwrap().status, 413);
    client.end();
    let mut client = server.dial();
    client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3E8\r\n");
    client.send(pattern(1000));
    std::thread::sleep(std::time::Duration::from_millis(100));
    client.send("\r\n1\r\nx\r\n0\r\n\r\n");
    // Its answer had begun: it is cut.
    let mut rest = Vec::new();
    let _ = std::io::Read::read_to_end(&mut client.stream, &mut rest);
    assert!(!rest.ends_with(b"0\r\n\r\n"));
    let ends = server.stop().ends;
    assert!(ends.iter().all(|end| *end == (zero_io::code::HTTP_BODY_TOO_LARGE, false)), "{ends:?}");
}

#[test]
fn a_handler_need_not_wait_for_the_body() {
    // Answered at once: the body is read and thrown away, and the connection goes on.
    let server = Server::start(|sender, event| {
        if let Event::HttpRequest { conn, id, request } = event {
            let answer = if request.method() == HttpMethod::Post { 403 } else { 200 };
            sender.http_respond(*conn, *id, ZeroResponse::status(answer)).unwrap();
        }
    });
    let mut client = server.dial();
    let request = post("/", &pattern(200_000));
    let mut writer = client.stream.get_ref().try_clone().unwrap();
    let sender =
        std::thread::spawn(move || std::io::Write::write_all(&mut writer, &request).unwrap());
    assert_eq!(client.answer().unwrap().status, 403);
    sender.join().unwrap();
    assert_eq!(client.ask(get("/")).status, 200);
    drop(client);
    server.stop();
}

/// TCP holds the client back meanwhile, who is not to blame for the pause.
#[test]
fn a_handler_may_hold_the_body_back() {
    const LEN: usize = 40 << 20;
    /// Longer than a busy machine keeps a thread of the client waiting.
    const LIMIT: std::time::Duration = std::time::Duration::from_secs(1);
    let paused = std::sync::Arc::new(std::sync::Mutex::new(None));
    let held = Arc::clone(&paused);
    let (mut got, mut same) = (0, true);
    let server = Server::with(
        |c| {
            c.receive_timeout_ms = LIMIT.as_millis() as u64;
            if let zero_io::HttpSocket::Tcp(tcp) = &mut c.socket {
                tcp.recv_buffer = Some(256 * 1024);
            }
        },
        |_| {},
        move |sender, event| match event {
            Event::HttpBodyChunk { conn, id, data, last } => {
                if got == 0 {
                    sender.pause_recv(*conn).unwrap();
                    *held.lock().unwrap() = Some(*conn);
                }
                same &= data.iter().all(|byte| *byte == b'x');
                got += data.len();
                if *last {
                    let said = format!("{got} {same}");
                    sender.http_respond(*conn, *id, ZeroResponse::ok().text(&said)).unwrap();
                }
            }
            Event::User { .. } => {
                let conn = held.lock().unwrap().expect("it was paused");
                sender.resume_recv(conn).unwrap();
            }
            _ => {}
        },
    );
    let body = vec![b'x'; LEN];
    let mut client = server.dial();
    client.send(format!("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: {LEN}\r\n\r\n"));
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (mut writer, count) = (client.stream.get_ref().try_clone().unwrap(), Arc::clone(&sent));
    let sender = std::thread::spawn(move || {
        for piece in body.chunks(100_000) {
            std::io::Write::write_all(&mut writer, piece).unwrap();
            count.fetch_add(piece.len(), std::sync::atomic::Ordering::Relaxed);
        }
    });
    std::thread::sleep(LIMIT * 3 / 2);
    let before = sent.load(std::sync::atomic::Ordering::Relaxed);
    assert!(before < LEN, "it was not held back");
    assert!(paused.lock().unwrap().is_some());
    server.handle.post(1).unwrap();
    assert_eq!(client.answer().unwrap().text(), format!("{LEN} true"));
    sender.join().unwrap();
    drop(client);
    let report = server.stop();
    assert_eq!((report.ends, report.counters.timeouts), (vec![(0, true)], 0));
}
