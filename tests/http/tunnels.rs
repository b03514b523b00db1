//! Connections that become something else.

use std::io::Read;

use zero_io::{Event, MessageKind, ZeroResponse};

use crate::kit::{Server, get};

fn server() -> Server {
    Server::start(|sender, event| match event {
        Event::HttpRequest { conn, id, request } if request.path() == "/up" => {
            assert!(request.wants_upgrade());
            assert_eq!(request.header("upgrade"), Some("echo"));
            let answer = ZeroResponse::status(101).header("upgrade", "echo");
            sender.http_upgrade(*conn, *id, answer).unwrap();
        }
        Event::HttpRequest { conn, id, request } if request.path() == "host:1" => {
            assert!(sender.http_respond(*conn, *id, ZeroResponse::ok()).is_err(), "a tunnel");
            sender.http_upgrade(*conn, *id, ZeroResponse::ok()).unwrap();
        }
        Event::HttpRequest { conn, id, request } => {
            if !request.wants_upgrade() {
                let answer = ZeroResponse::status(101);
                assert!(sender.http_upgrade(*conn, *id, answer).is_err(), "not asked for");
            }
            sender.http_respond(*conn, *id, ZeroResponse::ok().text("plain")).unwrap();
        }
        Event::StreamFrame { conn, stream, kind, data, .. } => {
            assert_eq!(*kind, MessageKind::Binary);
            sender.stream_write(*conn, *stream, data).unwrap();
        }
        Event::ReadClosed { conn, .. } => {
            sender.close_graceful(*conn, std::time::Duration::ZERO).unwrap();
        }
        _ => {}
    })
}

const UPGRADE: &str = "GET /up HTTP/1.1\r\nHost: t\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";

#[test]
fn an_upgraded_connection_is_a_stream() {
    let server = server();
    // What follows the request at once is not HTTP, however it looks.
    for behind in ["", "GET / HTTP/1.1\r\n\r\n", "\0\r\n"] {
        let mut client = server.dial();
        client.send(get("/"));
        client.send(format!("{UPGRADE}{behind}"));
        assert_eq!(client.answer().unwrap().text(), "plain");
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 101);
        assert_eq!(answer.header("upgrade"), Some("echo"));
        assert_eq!(answer.header("connection"), Some("upgrade"));
        client.send("abc");
        let mut echo = vec![0; behind.len() + 3];
        client.stream.read_exact(&mut echo).unwrap();
        assert_eq!(echo, format!("{behind}abc").as_bytes());
        client.shut();
        client.end();
    }
    assert_eq!(server.stop().ends, [(0, true); 3]);
}

#[test]
fn an_offer_may_be_declined() {
    let server = server();
    let mut client = server.dial();
    client.send("GET /x HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n");
    client.send(get("/"));
    assert_eq!(client.answer().unwrap().text(), "plain");
    assert_eq!(client.answer().unwrap().text(), "plain");
    drop(client);
    server.stop();
}

#[test]
fn connect_makes_a_tunnel() {
    let server = server();
    let mut client = server.dial();
    client.send("CONNECT host:1 HTTP/1.1\r\nHost: host:1\r\n\r\nearly");
    client.shut();
    let mut all = String::new();
    client.stream.read_to_string(&mut all).unwrap();
    assert!(all.starts_with("HTTP/1.1 200 OK\r\n") && all.ends_with("\r\n\r\nearly"), "{all}");
    assert!(!all.contains("Content-Length"), "{all}");
    assert_eq!(server.stop().ends, [(0, true)]);
}
