//! Listeners of different kinds on one `Io`: plaintext, TLS, a Unix socket, and plain TCP beside.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use zero_io::{Config, Event, HttpListenConfig, Io, IoError, Protocol, TcpListenConfig};
use zero_io::{UdsListenConfig, ZeroResponse};

use crate::kit::{Client, get};

const PATIENCE: Duration = Duration::from_secs(20);

fn serve_until(io: &mut Io, mut is_done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_done() {
        assert!(Instant::now() < end, "it takes too long");
        io.poll(Duration::from_millis(5)).unwrap();
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::HttpRequest { conn, id, .. } => {
                    let protocol = format!("{:?}", sender.peer_addr(conn).unwrap());
                    let kind = if protocol == "Unix" { "unix" } else { "inet" };
                    sender.http_respond(conn, id, ZeroResponse::ok().text(kind)).unwrap();
                }
                Event::StreamFrame { conn, stream, data, .. } => {
                    sender.stream_write(conn, stream, data).unwrap();
                }
                _ => {}
            }
        }
    }
}

#[test]
fn a_unix_socket_and_tcp_side_by_side() {
    let mut io = Io::new(Config::default()).unwrap();
    let at = || "127.0.0.1:0".parse().unwrap();
    let http = io.http_listen(at()).unwrap();
    let raw = io.tcp_listen(at()).unwrap();
    let path = std::env::temp_dir().join(format!("zero-io-http-{}.sock", std::process::id()));
    let uds = io.http_listen_with(HttpListenConfig::new(UdsListenConfig::new(&path))).unwrap();
    let addr = |io: &mut Io, id| io.local_addr(id).unwrap().inet().unwrap();
    let (http_addr, raw_addr) = (addr(&mut io, http), addr(&mut io, raw));
    let unix_path = path.clone();
    let client = std::thread::spawn(move || {
        let mut client = Client::dial(http_addr);
        assert_eq!(client.ask(get("/")).text(), "inet");
        let mut unix = UnixStream::connect(&unix_path).unwrap();
        unix.write_all(b"GET / HTTP/1.1\r\nHost: u\r\nConnection: close\r\n\r\n").unwrap();
        let mut said = String::new();
        unix.read_to_string(&mut said).unwrap();
        assert!(said.ends_with("\r\n\r\nunix"), "{said}");
        let mut echo = std::net::TcpStream::connect(raw_addr).unwrap();
        echo.write_all(get("/").as_bytes()).unwrap();
        let mut back = vec![0; get("/").len()];
        echo.read_exact(&mut back).unwrap();
        assert_eq!(back, get("/").as_bytes());
    });
    serve_until(&mut io, || client.is_finished());
    client.join().unwrap();
    assert_eq!(io.http_counters(http).unwrap().requests, 1);
    assert_eq!(io.http_counters(uds).unwrap().requests, 1);
    let error = io.http_counters(raw).unwrap_err();
    assert!(matches!(error, IoError::WrongEndpoint { protocol: Protocol::Tcp, .. }), "{error}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn sockets_that_listen_already() {
    let mut io = Io::new(Config::default()).unwrap();
    let config = || {
        let config = HttpListenConfig::new(zero_io::ConnTimeouts::default());
        config.with(|c| c.max_body_size = 10)
    };
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let path = std::env::temp_dir().join(format!("zero-io-adopted-{}.sock", std::process::id()));
    let uds = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let addr = tcp.local_addr().unwrap();
    // Who comes before it is adopted waits.
    let mut early = Client::dial(addr);
    early.send(get("/"));
    let tcp = io.adopt_http_listener(tcp.into(), config()).unwrap();
    let uds = io.adopt_http_listener(uds.into(), config()).unwrap();
    let unix_path = path.clone();
    let client = std::thread::spawn(move || {
        assert_eq!(early.answer().unwrap().text(), "inet");
        assert_eq!(Client::dial(addr).ask(get("/")).text(), "inet");
        let long = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\n\r\n";
        assert_eq!(early.ask(long).status, 413);
        let mut unix = UnixStream::connect(&unix_path).unwrap();
        unix.write_all(b"GET / HTTP/1.1\r\nHost: u\r\nConnection: close\r\n\r\n").unwrap();
        let mut said = String::new();
        unix.read_to_string(&mut said).unwrap();
        assert!(said.ends_with("\r\n\r\nunix"), "{said}");
    });
    serve_until(&mut io, || client.is_finished());
    client.join().unwrap();
    assert_eq!(io.http_counters(tcp).unwrap().requests, 2);
    assert_eq!(io.http_counters(uds).unwrap().requests, 1);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn what_does_not_listen_is_no_listener() {
    let mut io = Io::new(Config::default()).unwrap();
    let config = HttpListenConfig::new(zero_io::ConnTimeouts::default());
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peer = std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
    let (stream, _) = tcp.accept().unwrap();
    let error = io.adopt_http_listener(stream.into(), config.clone()).unwrap_err();
    assert!(matches!(error, IoError::InvalidArgument { what: "descriptor", .. }), "{error}");
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "the descriptor was closed");
    // The configuration names no address.
    let error = io.http_listen_with(config.clone()).unwrap_err();
    assert!(error.to_string().contains("adopt_http_listener"), "{error}");
    // A descriptor that comes with a bad limit is closed too.
    let addr = tcp.local_addr().unwrap();
    let bad = config.with(|c| c.max_pipelined = 0);
    let error = io.adopt_http_listener(tcp.into(), bad).unwrap_err();
    assert!(matches!(error, IoError::InvalidConfig { .. }), "{error}");
    assert!(std::net::TcpStream::connect(addr).is_err());
}

#[test]
fn a_bad_limit_is_named() {
    let mut io = Io::new(Config::default()).unwrap();
    let mut refused = |change: fn(&mut HttpListenConfig)| {
        let config = HttpListenConfig::new(TcpListenConfig::new("127.0.0.1:0".parse().unwrap()));
        io.http_listen_with(config.with(change)).unwrap_err().to_string()
    };
    assert!(refused(|c| c.max_header_count = 129).contains("max_header_count"));
    assert!(refused(|c| c.max_header_size = 255).contains("max_header_size"));
    assert!(refused(|c| c.max_body_inline = 60_000).contains("max_body_inline"));
    assert!(refused(|c| c.max_pipelined = 0).contains("max_pipelined"));
}

#[test]
fn fields_of_later_versions_are_accepted() {
    let mut io = Io::new(Config::default()).unwrap();
    let config = HttpListenConfig::new(TcpListenConfig::new("127.0.0.1:0".parse().unwrap()));
    let endpoint = io.http_listen_with(config.with(|c| {
        (c.h2_max_concurrent_streams, c.h2_initial_window_size) = (1, 1 << 20);
        (c.h2_max_frame_size, c.h2_max_header_list_size) = (1 << 20, 1 << 16);
    }));
    let addr = io.local_addr(endpoint.unwrap()).unwrap().inet().unwrap();
    let client =
        std::thread::spawn(move || assert_eq!(Client::dial(addr).ask(get("/")).text(), "inet"));
    serve_until(&mut io, || client.is_finished());
    client.join().unwrap();
}

#[test]
fn the_access_log_is_told_of_every_answer() {
    let (tell, told) = std::sync::mpsc::channel();
    let log = zero_io::AccessLog::new(move |access| {
        let _ = tell.send((access.method, access.status, access.body_bytes));
    });
    let http = |c: &mut HttpListenConfig| c.access_log = Some(log);
    let server = crate::kit::Server::with(http, |_| {}, crate::kit::hello);
    let mut client = server.dial();
    client.ask(get("/"));
    client.ask("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc");
    client.send("HEAD / HTTP/1.1\r\nHost: t\r\n\r\nGET bad\r\n\r\n");
    client.answer_to("HEAD").unwrap();
    assert_eq!(client.answer().unwrap().status, 400);
    client.end();
    drop(client);
    server.stop();
    use zero_io::HttpMethod::{Get, Head, Post};
    let logged: Vec<_> = told.try_iter().collect();
    assert_eq!(logged, [(Get, 200, 5), (Post, 200, 3), (Head, 200, 0), (Get, 400, 0)]);
}
