//! Connections that leave the pool: upgrades, and CONNECT of the application's own.

use std::time::{Duration, Instant};

use zero_io::{
    Event, HttpMethod, HttpPoolConfig, StreamId, UdsListenConfig, ZeroRequest, ZeroResponse,
};

use crate::kit::{PATIENCE, Shard, echo};
use crate::script::{Do, Script, send};

#[test]
fn an_upgraded_connection_is_a_stream() {
    let mut shard = Shard::new();
    let addr = shard.serve(|sender, event| match *event {
        Event::HttpRequest { conn, id, request } if request.wants_upgrade() => {
            assert_eq!(request.header("upgrade"), Some("echo"));
            let answer = ZeroResponse::status(101).header("upgrade", "echo");
            sender.http_upgrade(conn, id, answer).unwrap();
        }
        Event::HttpRequest { conn, id, .. } => {
            sender.http_respond(conn, id, ZeroResponse::ok().text("plain")).unwrap();
        }
        Event::StreamFrame { conn, stream, data: b"ping", .. } => {
            sender.stream_write(conn, stream, b"pong").unwrap();
        }
        _ => {}
    });
    let url = format!("http://{addr}/");
    assert_eq!(shard.fetch(ZeroRequest::get(&url)).text(), "plain");
    let outcome = shard.fetch(ZeroRequest::get(&url).upgrade("echo"));
    assert_eq!((outcome.status, outcome.header("upgrade")), (101, Some("echo")));
    let conn = outcome.conn.unwrap();
    assert_eq!(shard.stats().open, 0, "it left the pool");
    shard.io.stream_write(conn, StreamId::ZERO, b"ping").unwrap();
    let (pong, of) = (format!("{:?}", b"pong"), format!("{conn:?}"));
    let came = |shard: &mut Shard| {
        shard
            .others
            .iter()
            .any(|e| e.contains("StreamFrame") && e.contains(&pong) && e.contains(&of))
    };
    shard.until("pong", came);
    shard.io.close_graceful(conn, Duration::from_millis(50)).unwrap();
    let gone = |e: &String| e.starts_with("Disconnected") && e.contains(&of);
    shard.until("its end", |shard| shard.others.iter().any(gone));
    // Others are made as before.
    assert_eq!(shard.fetch(ZeroRequest::get(&url)).text(), "plain");
}

#[test]
fn an_upgrade_that_is_cancelled_leaves_nothing() {
    let go = "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly";
    let server = Script::one([Do::Read, send(go), Do::Sleep(200)]);
    let mut shard = Shard::new();
    let id = shard.io.http_request(shard.pool, ZeroRequest::get(&server.url("/")).upgrade("x"));
    let id = id.unwrap();
    let has_left = |shard: &mut Shard| {
        let stats = shard.stats();
        stats.connects == 1 && stats.open == 0
    };
    // The connection is a stream by now, and nobody was told.
    let end = Instant::now() + PATIENCE;
    while !has_left(&mut shard) {
        assert!(Instant::now() < end, "{:?}", shard.stats());
        shard.io.poll(Duration::from_millis(5)).unwrap();
    }
    assert!(shard.io.http_cancel(id));
    shard.io.http_pool_close(shard.pool).unwrap();
    shard.until("everything to come home", |shard| shard.io.is_idle());
    assert!(shard.others.is_empty(), "{:?}", shard.others);
}

#[test]
fn what_follows_the_head_at_once_is_the_streams() {
    let go = "HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly";
    for at in [0, go.len() - 7, go.len() - 5, go.len() - 3] {
        let how = if at == 0 { send(go) } else { Do::Cut(go.as_bytes().to_vec(), at) };
        let server = Script::one([Do::Read, how, Do::Sleep(20)]);
        let mut shard = Shard::new();
        let outcome = shard.fetch(ZeroRequest::get(&server.url("/")).upgrade("x"));
        assert_eq!((outcome.status, outcome.body.len()), (101, 0));
        shard.until("its end", |shard| shard.others.iter().any(|e| e.starts_with("ReadClosed")));
        let frames: usize = shard.others.iter().filter(|e| e.starts_with("StreamFrame")).count();
        assert!(frames >= 1, "{:?}", shard.others);
        shard.io.close(outcome.conn.unwrap()).unwrap();
        shard.finish();
        server.received();
    }
}

#[test]
fn an_upgrade_that_is_declined_is_a_response() {
    let mut shard = Shard::new();
    let addr = shard.serve(echo);
    let url = format!("http://{addr}/x");
    let outcome = shard.fetch(ZeroRequest::get(&url).upgrade("x"));
    assert_eq!((outcome.status, outcome.text()), (200, "GET /x"));
    assert_eq!(shard.fetch(ZeroRequest::get(&url)).text(), "GET /x");
    assert_eq!(shard.stats().connects, 1);
}

#[test]
fn connect_is_a_tunnel_of_the_applications() {
    let mut shard = Shard::new();
    let addr = shard.serve(|sender, event| match *event {
        Event::HttpRequest { conn, id, request } => {
            assert_eq!((request.method(), request.target()), (HttpMethod::Connect, "far:1"));
            sender.http_upgrade(conn, id, ZeroResponse::ok()).unwrap();
        }
        Event::StreamFrame { conn, stream, data: b"ping", .. } => {
            sender.stream_write(conn, stream, b"pong").unwrap();
        }
        _ => {}
    });
    let outcome = shard.fetch(ZeroRequest::connect(&format!("http://{addr}/"), "far:1"));
    assert_eq!(outcome.status, 200);
    shard.io.stream_write(outcome.conn.unwrap(), StreamId::ZERO, b"ping").unwrap();
    let pong = format!("{:?}", b"pong");
    shard.until("pong", |shard| shard.others.iter().any(|e| e.contains(&pong)));
}

#[test]
fn a_unix_socket_serves_every_host() {
    let path = std::env::temp_dir().join(format!("zero-io-pool-{}", std::process::id()));
    let mut shard = Shard::new();
    let listen = zero_io::HttpListenConfig::new(UdsListenConfig::new(&path));
    shard.io.http_listen_with(listen).unwrap();
    shard.serve_with(echo);
    let config = HttpPoolConfig::default().with(|c| c.unix_socket = Some(path.clone()));
    shard.pool = shard.io.http_pool(config).unwrap();
    for i in 0..5 {
        let url = format!("http://any.host/{i}");
        assert_eq!(shard.fetch(ZeroRequest::get(&url)).text(), format!("GET /{i}"));
    }
    assert_eq!(shard.stats().connects, 1);
    std::fs::remove_file(&path).unwrap();
    // Nobody listens there any more.
    shard.pool =
        shard.io.http_pool(HttpPoolConfig::default().with(|c| c.unix_socket = Some(path))).unwrap();
    let failure = shard.fetch(ZeroRequest::get("http://any.host/")).failure.unwrap();
    assert_eq!(failure.code, 2, "ENOENT: {failure}");
}
