//! haproxy before a shard, with the configuration that docs/CLUSTER.md shows.
//!
//! It must be installed: `cargo xtask setup test`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zero_io::{
    Config, Event, HttpListenConfig, Io, TcpListenConfig, TlsListenConfig, ZeroResponse,
};

use crate::certs::{Dir, World};
use crate::common::{PATIENCE, TICK, dial, localhost};
use crate::kit::loopback;

const DOCUMENT: &str = include_str!("../../docs/CLUSTER.md");

/// The configuration in the document.
fn documented() -> &'static str {
    let (_, behind) = DOCUMENT.split_once("```haproxy\n").expect("a block of haproxy");
    let (config, behind) = behind.split_once("```").expect("its end");
    assert!(!behind.contains("```haproxy"), "which of them is it?");
    config
}

fn free_port() -> u16 {
    TcpListener::bind(localhost()).unwrap().local_addr().unwrap().port()
}

struct Haproxy {
    child: Child,
    dir: Dir,
    web: SocketAddr,
    tls: SocketAddr,
}

impl Haproxy {
    /// Before a shard that serves HTTP at one address and TLS at another.
    fn start(version: u8, http: SocketAddr, tls: SocketAddr) -> Self {
        let dir = Dir::new();
        let (web_port, tls_port) = (free_port(), free_port());
        let mut config = documented().to_owned();
        let mut put = |from: &str, to: &str| {
            assert!(config.contains(from), "docs/CLUSTER.md has no `{from}` any more");
            config = config.replace(from, to);
        };
        put("/run/haproxy/admin.sock", &dir.path("admin.sock"));
        put("bind :80\n", &format!("bind 127.0.0.1:{web_port}\n"));
        put("bind :443\n", &format!("bind 127.0.0.1:{tls_port}\n"));
        put("10.0.0.11:8080", &http.to_string());
        put("10.0.0.11:8443", &tls.to_string());
        // There is one shard here.
        for line in ["    server two 10.0.0.12:8080", "    server two 10.0.0.12:8443"] {
            let at = config.find(line).expect("a second server");
            let end = config[at..].find('\n').expect("its end");
            config.replace_range(at..=at + end, "");
        }
        if version == 1 {
            let of_2 = " send-proxy-v2 proxy-v2-options crc32c,unique-id ";
            assert!(config.contains(of_2));
            config = config.replace(of_2, " send-proxy ");
        }
        dir.write("haproxy.cfg", &config);
        let child = Command::new("haproxy")
            .args(["-db", "-f", &dir.path("haproxy.cfg")])
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path("log")).unwrap())
            .spawn()
            .unwrap_or_else(|e| {
                panic!("haproxy does not start: {e}; run `cargo xtask setup test`")
            });
        let [web, tls] = [web_port, tls_port].map(|port| ([127, 0, 0, 1], port).into());
        let mut started = Self { child, dir, web, tls };
        started.wait_until_up();
        started
    }

    /// Waits until both servers passed their checks.
    fn wait_until_up(&mut self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let ended = self.child.try_wait().unwrap();
            let log = std::fs::read_to_string(self.dir.path("log")).unwrap();
            let states = self.states();
            let is_up = |backend: &str| {
                let line = format!("{backend},one,");
                states.lines().any(|l| l.starts_with(&line) && l.contains(",UP,L"))
            };
            if is_up("web") && is_up("tls") {
                return;
            }
            assert!(ended.is_none() && Instant::now() < end, "{ended:?}\n{log}\n{states}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its statistics.
    fn states(&self) -> String {
        let mut answer = String::new();
        if let Ok(mut admin) = UnixStream::connect(self.dir.path("admin.sock")) {
            let _ = admin.write_all(b"show stat\n");
            let _ = admin.read_to_string(&mut answer);
        }
        // The last columns, with the state of checks, come behind the state.
        answer.lines().map(condensed).collect()
    }
}

/// Backend, server, state and the result of its last check.
fn condensed(line: &str) -> String {
    let words: Vec<&str> = line.split(',').collect();
    let word = |at: usize| words.get(at).copied().unwrap_or_default();
    format!("{},{},{},{}\n", word(0), word(1), word(17), word(36))
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a shard was told.
#[derive(Debug)]
enum Told {
    /// A request's path and peer, whether a proxy spoke for it, and where its client had gone.
    Request { path: String, peer: SocketAddr, is_proxied: bool, destination: Option<SocketAddr> },
    /// A connection of the TLS listener.
    Sealed { peer: SocketAddr, unique_id: Option<Vec<u8>> },
}

struct Server {
    told: Receiver<Told>,
    thread: Option<JoinHandle<()>>,
    http: SocketAddr,
    tls: SocketAddr,
}

static STOP: [AtomicBool; 2] = [AtomicBool::new(false), AtomicBool::new(false)];

impl Server {
    fn start(world: &World, version: u8) -> Self {
        let (tell, told) = channel();
        let (tell_addrs, addrs) = channel();
        let tls = world.server.server().build().unwrap();
        let stop = &STOP[usize::from(version) - 1];
        let serve = move || {
            let checked = Config::default().with(|c| c.debug.audit_every_tick = true);
            let mut io = Io::new(checked).unwrap();
            let tcp = TcpListenConfig::new(localhost()).with(|c| c.proxy = Some(loopback()));
            let http = io.http_listen_with(HttpListenConfig::new(tcp.clone())).unwrap();
            let sealed = io.tls_listen_with(TlsListenConfig::tcp(tcp, tls)).unwrap();
            let addrs = [http, sealed].map(|e| io.local_addr(e).unwrap().inet().unwrap());
            tell_addrs.send(addrs).unwrap();
            while !stop.load(Ordering::Relaxed) {
                io.poll(TICK).unwrap();
                let (mut events, mut sender) = io.split();
                while let Some(event) = events.next_event() {
                    match event {
                        Event::Connected { conn, peer, endpoint, .. }
                            if endpoint == Some(sealed) =>
                        {
                            let via = sender.proxied_by(conn).unwrap();
                            let unique_id = via.and_then(|via| via.unique_id.map(<[u8]>::to_vec));
                            let peer = peer.inet().unwrap();
                            tell.send(Told::Sealed { peer, unique_id }).unwrap();
                        }
                        Event::StreamFrame { conn, stream, data, .. } => {
                            sender.stream_write(conn, stream, data).unwrap();
                        }
                        Event::HttpRequest { conn, id, request } => {
                            let peer = sender.peer_addr(conn).unwrap().inet().unwrap();
                            let path = request.path().to_owned();
                            let via = sender.proxied_by(conn).unwrap();
                            let is_proxied = via.is_some();
                            let destination = via.and_then(|via| via.destination);
                            let text = peer.to_string();
                            sender.http_respond(conn, id, ZeroResponse::ok().text(&text)).unwrap();
                            tell.send(Told::Request { path, peer, is_proxied, destination })
                                .unwrap();
                        }
                        Event::ReadClosed { conn, .. } => {
                            let _ = sender.close_graceful(conn, Duration::ZERO);
                        }
                        _ => {}
                    }
                }
            }
            let stats = io.io_stats();
            assert_eq!(stats.proxy_refused, 0, "haproxy sends good headers: {stats:?}");
            assert!(stats.proxied > 0);
        };
        let thread = Some(std::thread::spawn(serve));
        let [http, tls] = addrs.recv_timeout(PATIENCE).expect("the server starts");
        Self { told, thread, http, tls }
    }

    /// The next thing that was told and is wanted.
    fn wait<T>(&self, pick: impl Fn(Told) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let told = self.told.recv_timeout(left).expect("the shard is told");
            if let Some(found) = pick(told) {
                return found;
            }
        }
    }

    fn stop(mut self, version: u8) {
        STOP[usize::from(version) - 1].store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

fn drive(version: u8) {
    let world = World::new();
    let server = Server::start(&world, version);
    let haproxy = Haproxy::start(version, server.http, server.tls);

    // The check of health: haproxy speaks for itself, so it is the peer. Version 1 cannot say so:
    // there the header has the addresses of the check's own socket.
    let is_proxied = server.wait(|told| match told {
        Told::Request { path, peer, is_proxied, destination } if path == "/ready" => {
            assert!(peer.ip().is_loopback());
            assert_eq!(destination, (version == 1).then_some(server.http));
            Some(is_proxied)
        }
        _ => None,
    });
    assert_eq!(is_proxied, version == 1);

    a_request_is_the_clients(&server, &haproxy);
    a_session_is_passed_through(&server, &haproxy, &world, version);
    drop(haproxy);
    server.stop(version);
}

fn a_request_is_the_clients(server: &Server, haproxy: &Haproxy) {
    for _ in 0..3 {
        let mut client = dial(haproxy.web);
        let own = client.local_addr().unwrap();
        let ask = b"GET /asked HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        client.write_all(ask).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert!(answer.ends_with(&format!("\r\n\r\n{own}")), "{answer}");
        server.wait(|told| match told {
            Told::Request { path, peer, destination, .. } if path == "/asked" => {
                assert_eq!((peer, destination), (own, Some(haproxy.web)));
                Some(())
            }
            _ => None,
        });
    }
}

fn a_session_is_passed_through(server: &Server, haproxy: &Haproxy, world: &World, version: u8) {
    let tcp = dial(haproxy.tls);
    let own = tcp.local_addr().unwrap();
    let mut stream = seal(world, tcp);
    stream.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    let unique_id = server.wait(|told| match told {
        Told::Sealed { peer, unique_id } if peer == own => Some(unique_id),
        _ => None,
    });
    // It is in the document's format: the client's port in hexadecimal, among others.
    let has_port =
        |id: Vec<u8>| String::from_utf8(id).unwrap().contains(&format!(":{:04X}", own.port()));
    assert_eq!(unique_id.is_some_and(has_port), version == 2);
}

fn seal(world: &World, tcp: TcpStream) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(world.ca.der().into()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let client = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    rustls::StreamOwned::new(client, tcp)
}

#[test]
fn haproxy_speaks_version_1() {
    drive(1);
}

#[test]
fn haproxy_speaks_version_2() {
    drive(2);
}
