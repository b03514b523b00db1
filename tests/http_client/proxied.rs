//! Proxies: one that is a few lines, and what is asked of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;

use zero_io::{Event, HttpPhase, HttpProxy, ZeroRequest, ZeroResponse, code};

use crate::kit::{PATIENCE, Shard, echo};
use crate::script::{Do, Script};

/// A proxy with one thread per connection, which wants those credentials.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    heads: Receiver<String>,
    thread: JoinHandle<()>,
}

impl Proxy {
    pub(crate) fn start(credentials: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (tell, heads) = channel();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                let tell = tell.clone();
                let stream = stream.unwrap();
                if stream.peer_addr().is_err() {
                    return;
                }
                let mut first = [0];
                // An empty connection is the sign to stop.
                if !matches!(stream.peek(&mut first), Ok(1)) {
                    return;
                }
                std::thread::spawn(move || {
                    let _ = serve(stream, credentials, |head| tell.send(head).unwrap());
                });
            }
        });
        Self { addr, heads, thread }
    }

    /// The heads that it was sent. Takes the client along, so that no connection is left.
    pub(crate) fn stop(self, client: Shard) -> Vec<String> {
        drop(client);
        drop(TcpStream::connect(self.addr).unwrap());
        self.thread.join().unwrap();
        self.heads.try_iter().collect()
    }
}

fn serve(stream: TcpStream, credentials: &str, tell: impl Fn(String)) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        tell(head.clone());
        if !head.contains(&format!("\r\nProxy-Authorization: {credentials}\r\n")) {
            let refused =
                "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno";
            writer.write_all(refused.as_bytes())?;
            continue;
        }
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        if method == "CONNECT" {
            let mut server = TcpStream::connect(target)?;
            writer.write_all(b"HTTP/1.1 200 Connection established\r\nx: y\r\n\r\n")?;
            let (mut up, mut from) = (server.try_clone()?, reader);
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut up);
                let _ = up.shutdown(std::net::Shutdown::Both);
            });
            std::io::copy(&mut server, &mut writer)?;
            return writer.shutdown(std::net::Shutdown::Both);
        }
        let (host, path) = target.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut server = TcpStream::connect(host)?;
        write!(server, "{method} /{path} HTTP/1.0\r\nHost: {host}\r\n\r\n")?;
        let mut body = Vec::new();
        server.read_to_end(&mut body)?;
        let at = body.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        write!(writer, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len() - at)?;
        writer.write_all(&body[at..])?;
    }
}

#[test]
fn plain_requests_are_the_proxys() {
    let proxy = Proxy::start("Basic dXNlcjpwYXNz");
    let at = format!("http://user:pass@{}", proxy.addr);
    let mut shard = Shard::with(|c| c.proxy = Some(HttpProxy::new(&at).unwrap()));
    let first = shard.serve(echo);
    assert_eq!(shard.fetch(ZeroRequest::get(&format!("http://{first}/a?b"))).text(), "GET /a?b");
    let second = shard.io.http_listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let second = shard.io.local_addr(second).unwrap();
    assert_eq!(shard.fetch(ZeroRequest::get(&format!("http://{second}/c"))).text(), "GET /c");
    assert_eq!(shard.stats().connects, 1, "one connection to the proxy serves all hosts");
    let heads = proxy.stop(shard);
    assert!(heads[0].starts_with(&format!("GET http://{first}/a?b HTTP/1.1\r\n")), "{heads:?}");
    assert!(heads[0].contains(&format!("Host: {first}\r\n")), "{heads:?}");
}

#[test]
fn some_hosts_need_no_proxy() {
    let mut shard = Shard::with(|c| {
        let nowhere = HttpProxy::new("http://127.0.0.1:1").unwrap();
        c.proxy = Some(nowhere.no_proxy("127.0.0.1"));
    });
    let addr = shard.serve(echo);
    assert_eq!(shard.fetch(ZeroRequest::get(&format!("http://{addr}/"))).status, 200);
    let port = addr.port();
    let failure = shard.fetch(ZeroRequest::get(&format!("http://localhost:{port}/"))).failure;
    assert_eq!(failure.unwrap().code, 111, "ECONNREFUSED of the proxy");
}

#[test]
fn an_upgrade_takes_a_tunnel() {
    let proxy = Proxy::start("Basic dXNlcjpwYXNz");
    let at = format!("http://user:pass@{}", proxy.addr);
    let mut shard = Shard::with(|c| c.proxy = Some(HttpProxy::new(&at).unwrap()));
    let addr = shard.serve(|sender, event| match *event {
        Event::HttpRequest { conn, id, .. } => {
            let answer = ZeroResponse::status(101).header("upgrade", "echo");
            sender.http_upgrade(conn, id, answer).unwrap();
        }
        Event::StreamFrame { conn, stream, data: b"ping", .. } => {
            sender.stream_write(conn, stream, b"pong").unwrap();
        }
        _ => {}
    });
    let id = shard.ask(ZeroRequest::get(&format!("http://{addr}/")).upgrade("echo"));
    let outcome = shard.end_of(id);
    assert_eq!(outcome.status, 101);
    let conn = outcome.conn.unwrap();
    shard.io.stream_write(conn, zero_io::StreamId::ZERO, b"ping").unwrap();
    let pong = format!("{:?}", b"pong");
    shard.until("pong", |shard| shard.others.iter().any(|e| e.contains(&pong)));
    let heads = proxy.stop(shard);
    assert!(heads[0].starts_with(&format!("CONNECT {addr} HTTP/1.1\r\n")), "{heads:?}");
}

/// The time to connect is that of name, address and tunnel together.
#[test]
fn a_proxy_that_opens_no_tunnel_is_given_up() {
    let silent = Script::one([Do::Read, Do::Drain]);
    let at = silent.url("");
    let mut shard = Shard::with(|c| {
        c.proxy = Some(HttpProxy::new(&at).unwrap());
        c.connect_timeout_ms = 120;
    });
    let start = std::time::Instant::now();
    let outcome = shard.fetch(ZeroRequest::get("http://any.host/").upgrade("echo"));
    let failure = outcome.failure.unwrap();
    let took = start.elapsed().as_millis();
    assert_eq!((failure.code, failure.phase), (code::CONNECT_TIMEOUT, HttpPhase::Connecting));
    assert!(!failure.was_sent && (115..5_000).contains(&took), "{took} ms: {failure:?}");
    shard.finish();
    silent.received();
}
