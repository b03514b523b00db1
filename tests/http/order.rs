//! The order of answers, however requests arrive and are answered.

use zero_io::{Event, HttpMethod, RequestId, ZeroResponse};

use crate::kit::{Client, Server, get, pattern};

#[test]
fn one_request_after_another() {
    let server = Server::hello();
    let mut client = server.dial();
    for _ in 0..100 {
        let answer = client.ask(get("/"));
        assert_eq!((answer.status, answer.text()), (200, "Hello"));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
        let date = answer.header("date").unwrap();
        assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    }
    drop(client);
    let report = server.stop();
    assert_eq!(report.ends, [(0, true)]);
    assert_eq!((report.counters.requests, report.counters.answers[1]), (100, 100));
    assert_eq!(report.counters.latency_us_log2.iter().sum::<u64>(), 100);
}

#[test]
fn a_hundred_thousand_requests_on_one_connection() {
    const DEPTH: usize = 16;
    let server = Server::hello();
    let mut client = server.dial();
    let batch = get("/").repeat(DEPTH);
    for _ in 0..100_000 / DEPTH {
        client.send(&batch);
        for _ in 0..DEPTH {
            assert_eq!(client.answer().unwrap().text(), "Hello");
        }
    }
    drop(client);
    assert_eq!(server.stop().counters.requests, 100_000);
}

#[test]
fn the_answers_to_a_pipeline_leave_in_one_send() {
    const DEPTH: usize = 16;
    let server = Server::hello();
    let mut client = server.dial();
    let batch = get("/").repeat(DEPTH);
    for _ in 0..20 {
        let before = client.segments_received();
        client.send(&batch);
        for _ in 0..DEPTH {
            assert_eq!(client.answer().unwrap().text(), "Hello");
        }
        // A send of less than the loopback's MSS, 64 KiB, is one segment.
        assert_eq!(client.segments_received() - before, 1);
    }
    drop(client);
    assert_eq!(server.stop().counters.requests, 20 * DEPTH as u64);
}

#[test]
fn answers_leave_in_the_order_of_the_requests() {
    // Kept until there are five, then answered from the last to the first.
    let mut waiting = Vec::new();
    let server = Server::start(move |sender, event| {
        if let Event::HttpRequest { conn, id, request } = event {
            waiting.push((*conn, *id, request.path().to_string()));
            if waiting.len() == 5 {
                for (conn, id, path) in waiting.drain(..).rev() {
                    sender.http_respond(conn, id, ZeroResponse::ok().text(&path)).unwrap();
                    let again = sender.http_respond(conn, id, ZeroResponse::ok());
                    assert!(again.is_err(), "answered twice");
                }
            }
        }
    });
    let mut client = server.dial();
    for round in 0..3 {
        let paths: Vec<String> = (0..5).map(|i| format!("/{round}/{i}")).collect();
        client.send(paths.iter().map(|path| get(path)).collect::<String>());
        for path in &paths {
            assert_eq!(client.answer().unwrap().text(), path);
        }
    }
    drop(client);
    assert_eq!(server.stop().ends, [(0, true)]);
}

#[test]
fn a_flood_of_pipelined_requests_waits_its_turn() {
    const COUNT: usize = 5000;
    let mut waiting = Vec::new();
    let server = Server::start(move |sender, event| {
        let Event::HttpRequest { conn, id, request } = event else { return };
        waiting.push((*conn, *id, request.path().to_string()));
        assert!(waiting.len() <= 32, "{} are unanswered", waiting.len());
        if waiting.len() == 32 || request.path() == format!("/{}", COUNT - 1) {
            for (conn, id, path) in waiting.drain(..) {
                sender.http_respond(conn, id, ZeroResponse::ok().text(&path)).unwrap();
            }
        }
    });
    let mut client = server.dial();
    let mut writer = client.stream.get_ref().try_clone().unwrap();
    let flood: String = (0..COUNT).map(|i| get(&format!("/{i}"))).collect();
    let sender = std::thread::spawn(move || {
        std::io::Write::write_all(&mut writer, flood.as_bytes()).unwrap();
    });
    for i in 0..COUNT {
        assert_eq!(client.answer().unwrap().text(), format!("/{i}"));
    }
    sender.join().unwrap();
    drop(client);
    assert_eq!(server.stop().counters.requests, COUNT as u64);
}

#[test]
fn a_client_that_reads_nothing_is_not_read_either() {
    const BODY: usize = 64 * 1024;
    const COUNT: usize = 2000;
    let body = pattern(BODY);
    let same = body.clone();
    let server = Server::with(
        |_| {},
        |c| c.send_high_water = 256 * 1024,
        move |sender, event| {
            if let Event::HttpRequest { conn, id, .. } = event {
                sender.http_respond(*conn, *id, ZeroResponse::ok().bytes(&body)).unwrap();
                let queued = sender.conn_stats(*conn).unwrap().bytes_queued;
                assert!(queued < 33 * BODY as u64 + (256 << 10), "{queued} bytes are queued");
            }
        },
    );
    let mut client = server.dial();
    let mut writer = client.stream.get_ref().try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        std::io::Write::write_all(&mut writer, get("/").repeat(COUNT).as_bytes()).unwrap();
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    for _ in 0..COUNT {
        assert_eq!(client.answer().unwrap().body, same);
    }
    sender.join().unwrap();
    drop(client);
    assert_eq!(server.stop().ends, [(0, true)]);
}

#[test]
fn cut_at_every_byte_the_answers_are_the_same() {
    let post = "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde";
    let chunked = "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n";
    let all = format!("\r\n{}{post}{chunked}{}", get("/x"), get("/"));
    let server = Server::hello();
    let check = |client: &mut Client| {
        for expected in ["Hello", "abcde", "abcde", "Hello"] {
            assert_eq!(client.answer().unwrap().text(), expected);
        }
    };
    for cut in 1..all.len() {
        let mut client = server.dial();
        client.send(&all[..cut]);
        std::thread::sleep(std::time::Duration::from_millis(1));
        client.send(&all[cut..]);
        check(&mut client);
    }
    let mut client = server.dial();
    for byte in all.as_bytes() {
        client.send([*byte]);
    }
    check(&mut client);
    drop(client);
    let ends = server.stop().ends;
    assert!(ends.iter().all(|end| *end == (0, true)), "{ends:?}");
}

#[test]
fn methods_targets_and_fields_arrive_as_they_were_sent() {
    let server = Server::start(|sender, event| {
        if let Event::HttpRequest { conn, id, request } = event {
            let said = format!(
                "{} {:?} {} {:?} {:?} {}",
                request.method_name(),
                request.method(),
                request.path(),
                request.query(),
                request.header("X-Thing"),
                request.version_minor(),
            );
            sender.http_respond(*conn, *id, ZeroResponse::ok().text(&said)).unwrap();
        }
    });
    let mut client = server.dial();
    let rows = [
        (
            "GET /a?b=c HTTP/1.1\r\nHost: h\r\nx-thing:  v \r\n\r\n",
            "GET Get /a Some(\"b=c\") Some(\"v\") 1",
        ),
        ("PROPFIND / HTTP/1.1\r\nHost: h\r\n\r\n", "PROPFIND Other / None None 1"),
        ("DELETE http://h/x?y HTTP/1.1\r\nHost: h\r\n\r\n", "DELETE Delete /x Some(\"y\") None 1"),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS Options * None None 1"),
        ("PATCH /%20 HTTP/1.1\r\nHost: h\r\n\r\n", "PATCH Patch /%20 None None 1"),
    ];
    for (request, said) in rows {
        assert_eq!(client.ask(request).text(), said);
    }
    assert_eq!(HttpMethod::Get.as_str(), Some("GET"));
    drop(client);
    server.stop();
}

#[test]
fn what_was_never_asked_cannot_be_answered() {
    let server = Server::start(|sender, event| {
        if let Event::HttpRequest { conn, id, .. } = event {
            for wrong in [id.as_u64() + 1, id.as_u64() + 32, u64::MAX, 1 << 32] {
                let answer = ZeroResponse::ok();
                let error = sender.http_respond(*conn, RequestId::from_u64(wrong), answer);
                assert!(error.unwrap_err().to_string().contains("no request"), "{wrong}");
            }
            for bad in
                [ZeroResponse::status(99), ZeroResponse::status(600), ZeroResponse::status(101)]
            {
                assert!(sender.http_respond(*conn, *id, bad).is_err());
            }
            let split = ZeroResponse::ok().header("x", "a\r\nb: c");
            assert!(sender.http_respond(*conn, *id, split).is_err());
            assert!(sender.http_write(*conn, *id, b"x").is_err());
            assert!(sender.http_finish(*conn, *id).is_err());
            sender.http_respond(*conn, *id, ZeroResponse::no_content()).unwrap();
        }
    });
    let mut client = server.dial();
    assert_eq!(client.ask(get("/")).status, 204);
    assert_eq!(client.ask(get("/")).header("content-length"), None);
    drop(client);
    server.stop();
}
