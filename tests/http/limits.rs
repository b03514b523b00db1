//! Limits at their smallest, and what follows from them: rows that the simulator found.

use zero_io::{Event, IoError, Sender, StreamId, ZeroResponse};

use crate::kit::{Server, get, hello};

/// Answers when the body is there.
fn length(sender: &mut Sender<'_>, event: &Event<'_>) {
    match *event {
        Event::HttpBodyChunk { conn, id, last: true, .. } => {
            sender.http_respond(conn, id, ZeroResponse::ok().text("all of it")).unwrap();
        }
        Event::HttpRequest { conn, id, request } if !request.body_follows() => {
            sender.http_respond(conn, id, ZeroResponse::ok().text("none")).unwrap();
        }
        _ => {}
    }
}

#[test]
fn the_body_of_the_only_request_that_may_wait_is_read() {
    let server = Server::with(|c| c.max_pipelined = 1, |_| {}, length);
    let mut client = server.dial();
    for _ in 0..3 {
        client.send("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send("5\r\nhello\r\n0\r\n\r\n");
        client.send(get("/next"));
        assert_eq!(client.answer().unwrap().text(), "all of it");
        assert_eq!(client.answer().unwrap().text(), "none");
    }
    drop(client);
    server.stop();
}

#[test]
fn the_last_request_may_become_a_tunnel() {
    let server = Server::with(
        |c| c.keep_alive_requests = 1,
        |_| {},
        |sender, event| match *event {
            Event::HttpRequest { conn, id, .. } => {
                let response = ZeroResponse::status(101).header("upgrade", "echo");
                sender.http_upgrade(conn, id, response).unwrap();
            }
            Event::StreamFrame { conn, data, .. } => {
                sender.forward(conn, StreamId::ZERO, data).unwrap()
            }
            Event::ReadClosed { conn, .. } => sender.shutdown_write(conn, StreamId::ZERO).unwrap(),
            _ => {}
        },
    );
    let mut client = server.dial();
    let ask = "GET / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    client.send(format!("{ask}behind it"));
    client.shut();
    assert_eq!(client.answer().unwrap().status, 101);
    let mut echoed = Vec::new();
    std::io::Read::read_to_end(&mut client.stream, &mut echoed).unwrap();
    assert_eq!(echoed, b"behind it");
    drop(client);
    server.stop();
}

#[test]
fn without_guard_writes_a_body_has_one_buffer() {
    static BODY: [u8; 200_000] = [7; 200_000];
    let server = Server::with(
        |_| {},
        |c| c.guard_count = 0,
        |sender, event| {
            let Event::HttpRequest { conn, id, .. } = *event else { return hello(sender, event) };
            let whole = sender.http_respond(conn, id, ZeroResponse::ok().static_bytes(&BODY));
            assert!(matches!(whole, Err(IoError::BufferTooLarge { .. })), "{whole:?}");
            let part = ZeroResponse::ok().static_bytes(&BODY[..5_000]);
            sender.http_respond(conn, id, part).unwrap();
        },
    );
    let mut client = server.dial();
    for _ in 0..3 {
        assert_eq!(client.ask(get("/")).body, &BODY[..5_000]);
    }
    drop(client);
    server.stop();
}
