//! What a shard hears behind haproxy.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zero_io::{
    Config, Event, HttpListenConfig, Io, TcpListenConfig, TlsListenConfig, ZeroResponse,
};

use crate::balancer::Haproxy;
use crate::certs::World;
use crate::common::{PATIENCE, TICK, dial, localhost};
use crate::kit::loopback;

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

pub(crate) fn seal(
    world: &World,
    tcp: TcpStream,
) -> rustls::StreamOwned<rustls::ClientConnection, TcpStream> {
    let config = world.ca.rustls_client(rustls::DEFAULT_VERSIONS);
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
