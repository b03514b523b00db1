//! Bodies: written piece by piece, waited for with `100 Continue`, long ones, ones held back.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use zero_io::{Event, HttpPhase, IoError, ZeroRequest, ZeroResponse, code};

use crate::kit::{Shard, echo, pattern};
use crate::script::{Do, Script, ok, send};

/// Writes that body when it is asked for, as much as is taken at a time.
fn write_when_ready(
    shard: &mut Shard,
    body: Vec<u8>,
    trailers: &'static [(&'static str, &'static str)],
) {
    let mut done = 0;
    let mut of = None;
    shard.watch(move |sender, event| {
        match *event {
            Event::HttpReady { conn, id } => (of, done) = (Some((conn, id)), 0),
            Event::Writable { conn, .. } if of.is_some_and(|(c, _)| c == conn) => {}
            _ => return,
        }
        let Some((conn, id)) = of else { return };
        while done < body.len() {
            match sender.http_write(conn, id, &body[done..]).unwrap() {
                0 => return,
                n => done += n,
            }
        }
        if of.take().is_some() {
            sender.http_finish_with(conn, id, trailers).unwrap();
        }
    });
}

#[test]
fn a_body_is_written_piece_by_piece() {
    let mut shard = Shard::new();
    let addr = shard.serve(echo);
    let url = format!("http://{addr}/");
    for len in [0, 1, 5_000, 3_000_000] {
        write_when_ready(&mut shard, pattern(len), &[]);
        let outcome = shard.fetch(ZeroRequest::post(&url).stream());
        assert!(outcome.body == pattern(len), "{len} bytes in chunks");
        assert_eq!(outcome.ready.len(), 1);
        write_when_ready(&mut shard, pattern(len), &[]);
        let outcome = shard.fetch(ZeroRequest::put(&url).stream_of(len as u64));
        assert!(len == 0 || outcome.body == pattern(len), "{len} bytes");
    }
    assert_eq!(shard.stats().connects, 1, "the connection is used again");
}

#[test]
fn a_streamed_body_has_trailers() {
    let server = Script::one([Do::Read, Do::ReadBytes(130), ok("done"), Do::Drain]);
    let mut shard = Shard::new();
    write_when_ready(&mut shard, b"hello".to_vec(), &[("x-sum", "5")]);
    let outcome = shard.fetch(ZeroRequest::post(&server.url("/")).stream());
    assert_eq!(outcome.text(), "done");
    shard.finish();
    let received = server.received().remove(0);
    assert!(received.contains("Transfer-Encoding: chunked\r\n"), "{received}");
    assert!(received.ends_with("5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n"), "{received}");
}

#[test]
fn the_length_that_was_promised_is_kept() {
    let server = Script::start(vec![vec![Do::Drain]]);
    let mut shard = Shard::new();
    let told = Rc::new(RefCell::new(Vec::new()));
    let errors = Rc::clone(&told);
    shard.watch(move |sender, event| {
        if let Event::HttpReady { conn, id } = *event {
            let mut errors = errors.borrow_mut();
            errors.extend(sender.http_write(conn, id, b"too long").err());
            errors.extend(sender.http_write(conn, id, b"abc").err());
            errors.extend(sender.http_finish(conn, id).err());
        }
    });
    let outcome = shard.fetch(ZeroRequest::post(&server.url("/")).stream_of(4));
    assert_eq!(outcome.code(), code::HTTP_REQUEST_CUT);
    let told = told.borrow();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|e| matches!(e, IoError::InvalidArgument { .. })), "{told:?}");
    shard.finish();
    server.received();
}

#[test]
fn a_body_waits_for_the_servers_consent() {
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    let server = Script::one([
        Do::ReadBytes(100),
        Do::Sleep(20),
        send(go_on),
        Do::ReadBytes(5_000),
        ok("one"),
        Do::Sleep(50),
        Do::Drain,
    ]);
    let mut shard = Shard::new();
    let body = pattern(5_000);
    let url = server.url("/");
    let request = ZeroRequest::post(&url).bytes(&body).expect_continue();
    assert_eq!(shard.fetch(request).text(), "one");
    shard.finish();
    let received = server.received().remove(0);
    assert!(received.contains("\r\nExpect: 100-continue\r\n"), "{received:.300}");
}

#[test]
fn without_consent_the_body_is_not_sent() {
    let refused = "HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno";
    for streams in [false, true] {
        let server = Script::one([Do::ReadBytes(100), Do::Sleep(10), send(refused), Do::Drain]);
        let mut shard = Shard::new();
        let body = pattern(5_000);
        let url = server.url("/");
        let request = ZeroRequest::post(&url).expect_continue();
        let request = if streams { request.stream() } else { request.bytes(&body) };
        let outcome = shard.fetch(request);
        assert_eq!((outcome.status, outcome.text(), outcome.ready.len()), (413, "no", 0));
        assert_eq!(shard.stats().open, 0, "the connection is in the middle of a request");
        shard.finish();
        let received = server.received().remove(0);
        assert!(received.ends_with("\r\n\r\n"), "the head alone: {received:.400}");
    }
}

#[test]
fn consent_is_not_waited_for_for_ever() {
    let server = Script::one([Do::ReadBytes(100), Do::ReadBytes(3_000), ok("late"), Do::Drain]);
    let mut shard = Shard::new();
    let body = pattern(3_000);
    let start = std::time::Instant::now();
    let url = server.url("/");
    let request = ZeroRequest::post(&url).bytes(&body).expect_continue();
    assert_eq!(shard.fetch(request).text(), "late");
    assert!(start.elapsed() >= Duration::from_millis(900));
    shard.finish();
    server.received();
}

#[test]
fn an_early_response_stops_the_body() {
    let refused = "HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno";
    let server = Script::start(vec![
        vec![Do::ReadBytes(200), send(refused), Do::Sleep(100)],
        vec![Do::Read, ok("next"), Do::Drain],
    ]);
    let mut shard = Shard::new();
    write_when_ready(&mut shard, b"a beginning".to_vec(), &[]);
    let held = Rc::new(RefCell::new(None));
    let at = Rc::clone(&held);
    shard.watch(move |sender, event| {
        if let Event::HttpReady { conn, id } = *event {
            assert!(sender.http_write(conn, id, &[b'x'; 300]).unwrap() > 0);
            *at.borrow_mut() = Some((conn, id));
        }
    });
    let url = server.url("/");
    let outcome = shard.fetch(ZeroRequest::post(&url).stream());
    assert_eq!((outcome.status, outcome.text()), (413, "no"));
    let (conn, id) = held.borrow_mut().take().unwrap();
    assert!(shard.io.http_write(conn, id, b"more").is_err(), "it is over");
    assert_eq!(shard.fetch(ZeroRequest::get(&url)).text(), "next");
    assert_eq!(shard.finish().connects, 2);
    server.received();
}

#[test]
fn a_long_body_comes_in_pieces_and_can_be_held_back() {
    let mut shard = Shard::new();
    let page = pattern(4_000_000);
    let sent = page.clone();
    let addr = shard.serve(move |sender, event| {
        if let Event::HttpRequest { conn, id, .. } = *event {
            sender.http_respond(conn, id, ZeroResponse::ok().bytes(&sent)).unwrap();
        }
    });
    let pieces = Rc::new(RefCell::new((0, None)));
    let count = Rc::clone(&pieces);
    shard.watch(move |sender, event| {
        if let Event::HttpBodyChunk { conn, last: false, .. } = *event {
            count.borrow_mut().0 += 1;
            if count.borrow().0 % 20 == 0 {
                sender.pause_recv(conn).unwrap();
                count.borrow_mut().1 = Some(conn);
            }
        }
    });
    let id = shard.ask(ZeroRequest::get(&format!("http://{addr}/")));
    shard.until("the body", |shard| {
        if let Some(conn) = pieces.borrow_mut().1.take() {
            shard.io.resume_recv(conn).unwrap();
        }
        shard.seen[&id].is_over()
    });
    assert!(shard.seen[&id].body == page && pieces.borrow().0 > 20);
}

#[test]
fn a_pause_ends_with_its_request() {
    let mut shard = Shard::new();
    let addr = shard.serve(echo);
    let url = format!("http://{addr}/");
    shard.watch(|sender, event| {
        // On the response itself: all of it is here.
        if let Event::HttpResponse { conn, .. } = *event {
            let _ = sender.pause_recv(conn);
        }
    });
    let first = shard.fetch(ZeroRequest::get(&url));
    assert_eq!(first.text(), "GET /");
    assert_eq!(shard.fetch(ZeroRequest::get(&url)).text(), "GET /");
    assert_eq!(shard.stats().connects, 1);
}

#[test]
fn a_body_may_end_with_the_connection() {
    for how in [Do::Shut, Do::Sleep(0)] {
        let server = Script::one([
            Do::Read,
            send("HTTP/1.1 200 OK\r\n\r\nto the"),
            Do::Sleep(10),
            send(" end"),
            how,
        ]);
        let mut shard = Shard::new();
        let outcome = shard.fetch(ZeroRequest::get(&server.url("/")));
        assert_eq!((outcome.text(), outcome.is_whole), ("to the end", true));
        assert_eq!(shard.finish().open, 0);
        server.received();
    }
}

#[test]
fn heads_and_bodies_that_pause_too_long() {
    let long = "HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nabc";
    let rows = [
        (vec![Do::Read, Do::Drain], code::HTTP_FIRST_BYTE_TIMEOUT, HttpPhase::Sending),
        (
            vec![Do::Read, send("HTTP/1.1 200"), Do::Drain],
            code::HTTP_FIRST_BYTE_TIMEOUT,
            HttpPhase::Head,
        ),
        (vec![Do::Read, send(long), Do::Drain], code::HTTP_BODY_TIMEOUT, HttpPhase::Body),
    ];
    for (script, code, phase) in rows {
        let server = Script::one(script);
        let mut shard = Shard::with(|c| {
            c.first_byte_timeout_ms = 120;
            c.body_timeout_ms = 80;
        });
        let start = std::time::Instant::now();
        let failure = shard.fetch(ZeroRequest::get(&server.url("/"))).failure.unwrap();
        let took = start.elapsed().as_millis();
        assert_eq!((failure.code, failure.phase, failure.was_sent), (code, phase, true));
        assert!((75..5_000).contains(&took), "{took} ms");
        shard.finish();
        server.received();
    }
}

#[test]
fn a_server_that_takes_nothing_is_given_up() {
    let server = Script::one([Do::ReadBytes(1_000), Do::Sleep(600), Do::Drain]);
    let mut shard = Shard::with(|c| c.body_timeout_ms = 150);
    let (url, body) = (server.url("/"), pattern(16_000_000));
    let failure = shard.fetch(ZeroRequest::put(&url).bytes(&body)).failure.unwrap();
    assert_eq!((failure.code, failure.phase), (code::WRITE_TIMEOUT, HttpPhase::Sending));
    assert!(failure.was_sent, "the server may have acted on what it has");
    assert_eq!(shard.finish().retries, 0);
    server.received();
}
