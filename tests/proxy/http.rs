//! HTTP behind a proxy.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use zero_io::{
    AccessLog, Config, EndpointId, Event, HttpListenConfig, HttpOwnedRequest, Io, PeerAddr,
    TcpListenConfig, ZeroResponse,
};

use crate::common::{PATIENCE, TICK, dial, localhost};
use crate::kit::{CLIENT, V1, inet, loopback, v2};

/// A server whose answers say who asked.
struct Server {
    io: Io,
    endpoint: EndpointId,
    log: Arc<Mutex<Vec<PeerAddr>>>,
    taken: Vec<HttpOwnedRequest>,
}

impl Server {
    fn new() -> Self {
        let mut io = Io::new(Config::default().with(|c| c.debug.audit_every_tick = true)).unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&log);
        let tcp = TcpListenConfig::new(localhost()).with(|c| c.proxy = Some(loopback()));
        let http = HttpListenConfig::new(tcp).with(|c| {
            c.access_log = Some(AccessLog::new(move |access| {
                told.lock().unwrap().push(access.peer);
            }));
        });
        let endpoint = io.http_listen_with(http).unwrap();
        Self { io, endpoint, log, taken: Vec::new() }
    }

    fn dial(&mut self) -> TcpStream {
        dial(self.io.local_addr(self.endpoint).unwrap().inet().unwrap())
    }

    /// Serves until so many requests were answered; `/take` is taken out and answered later.
    fn serve(&mut self, count: usize) {
        let begin = Instant::now();
        while self.log.lock().unwrap().len() < count {
            assert!(begin.elapsed() < PATIENCE, "{:?}", self.io.io_stats());
            self.io.poll(TICK).unwrap();
            let (mut events, mut sender) = self.io.split();
            while let Some(event) = events.next_event() {
                match event {
                    Event::HttpRequest { request, .. } if request.path() == "/take" => {
                        self.taken.push(events.detach_http_request().unwrap());
                    }
                    Event::HttpRequest { conn, id, .. } => {
                        let peer = sender.peer_addr(conn).unwrap().to_string();
                        sender.http_respond(conn, id, ZeroResponse::ok().text(&peer)).unwrap();
                    }
                    _ => {}
                }
            }
            for request in self.taken.drain(..) {
                let peer = request.peer().to_string();
                let answer = ZeroResponse::ok().text(&peer);
                self.io.http_respond(request.conn(), request.id(), answer).unwrap();
            }
        }
        // What was written is sent by the next.
        self.io.poll(TICK).unwrap();
    }
}

/// What comes up to the body's end, which is this.
fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    while !all.ends_with(end.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        all.push(byte[0]);
    }
    String::from_utf8(all).unwrap()
}

#[test]
fn requests_are_the_clients() {
    let mut server = Server::new();
    for header in [V1.to_vec(), v2(&[])] {
        let mut proxy = server.dial();
        let asked = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /take HTTP/1.1\r\nHost: a\r\n\r\n";
        proxy.write_all(&[&header, &asked[..]].concat()).unwrap();
        server.serve(2);
        for _ in 0..2 {
            assert!(read_to(&mut proxy, CLIENT).starts_with("HTTP/1.1 200 OK"));
        }
        // The connection is the client's for as long as it lasts.
        proxy.write_all(b"GET /again HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        server.serve(3);
        read_to(&mut proxy, CLIENT);
        assert_eq!(std::mem::take(&mut *server.log.lock().unwrap()), [inet(CLIENT); 3]);
    }
}

#[test]
fn a_head_may_be_cut_from_its_header() {
    let mut server = Server::new();
    let all = [V1, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
    for cut in (1..all.len()).step_by(3) {
        let mut proxy = server.dial();
        proxy.write_all(&all[..cut]).unwrap();
        server.io.poll(TICK).unwrap();
        server.io.poll(TICK).unwrap();
        proxy.write_all(&all[cut..]).unwrap();
        server.serve(1);
        read_to(&mut proxy, CLIENT);
        server.log.lock().unwrap().clear();
    }
}

#[test]
fn a_second_header_is_no_request() {
    let mut server = Server::new();
    let mut proxy = server.dial();
    proxy.write_all(&[V1, V1].concat()).unwrap();
    // The answer of a server to what is no request line, which is told as any other.
    server.serve(1);
    assert!(read_to(&mut proxy, "\r\n\r\n").starts_with("HTTP/1.1 400 "));
    assert_eq!(*server.log.lock().unwrap(), [inet(CLIENT)]);
}
