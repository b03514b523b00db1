//! An HTTPS site with one file, and clients that come one after the other.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Instant;

use zero_io::{
    Config, ConnId, EndpointId, Event, HttpFile, HttpListenConfig, Io, IoStats, KtlsState,
    TcpListenConfig, ZeroResponse,
};

use super::common::{PATIENCE, TICK, localhost, pattern};
use super::kit::{ClientPeer, client_conn};
use super::scene::{Scene, dial_with, theirs};

/// What `/static` is answered with: memory that is not copied.
pub(crate) const STATIC: &[u8] = &[7; 100_000];
/// What `/text` is answered with.
pub(crate) const TEXT: &[u8] = b"in between";

/// A file that is gone with the test.
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    pub(crate) fn new(len: usize) -> (Self, Vec<u8>) {
        let content = pattern(len as u64, len);
        let unique = format!("zero-io-ktls-{}-{len}", std::process::id());
        let at = std::env::temp_dir().join(format!("{unique}-{:?}", std::thread::current().id()));
        std::fs::write(&at, &content).unwrap();
        (Self(at), content)
    }

    pub(crate) fn cut_to(&self, len: u64) {
        std::fs::File::options().write(true).open(&self.0).unwrap().set_len(len).unwrap();
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(crate) struct Site {
    io: Io,
    endpoint: EndpointId,
    pub(crate) addr: SocketAddr,
    file: HttpFile,
    /// The open connection, and who does its records: what was told last.
    conn: Option<ConnId>,
    pub(crate) told: Option<KtlsState>,
    /// How the last connection ended.
    pub(crate) end: Option<(u64, bool)>,
}

impl Site {
    pub(crate) fn new(scene: &Scene, file: &Temporary) -> Self {
        let config = Config::default().with(|c| c.debug.audit_every_tick = true);
        let mut io = Io::new(config).unwrap();
        let tcp = TcpListenConfig::new(localhost()).with(|c| c.send_buffer = scene.send_buffer);
        let config = HttpListenConfig::new(tcp);
        let endpoint = io.http_listen_tls_with(config, scene.server()).unwrap();
        let addr = io.local_addr(endpoint).unwrap().inet().unwrap();
        let file = HttpFile::open(&file.0).unwrap();
        Self { io, endpoint, addr, file, conn: None, told: None, end: None }
    }

    /// Serves a client that dials and then does as `act` says, until its connection has ended.
    pub(crate) fn visit<T: Send + 'static>(
        &mut self,
        scene: &Scene,
        act: impl FnOnce(&mut ClientPeer) -> T + Send + 'static,
    ) -> T {
        let sock = dial_with(self.addr, scene.mss);
        self.visit_over(scene, sock, act)
    }

    /// The same for one who is there already.
    pub(crate) fn visit_over<T: Send + 'static>(
        &mut self,
        scene: &Scene,
        sock: TcpStream,
        act: impl FnOnce(&mut ClientPeer) -> T + Send + 'static,
    ) -> T {
        let tls = client_conn(&scene.world.ca, theirs(scene.version));
        let mut peer = ClientPeer { tls, sock };
        let thread = std::thread::spawn(move || {
            peer.shake();
            act(&mut peer)
        });
        self.end = None;
        let end = Instant::now() + 3 * PATIENCE;
        while !thread.is_finished() || self.end.is_none() {
            self.turn();
            assert!(Instant::now() < end, "done: {}, {:?}", thread.is_finished(), self.end);
            if thread.is_finished() && self.conn.is_none() {
                // It failed.
                break;
            }
        }
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn turn(&mut self) {
        self.io.poll(TICK).unwrap();
        if let Some(info) = self.conn.and_then(|conn| self.io.conn_tls_info(conn).ok()) {
            self.told = Some(info.kernel);
        }
        let (mut events, mut sender) = self.io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::Connected { conn, .. } => self.conn = Some(conn),
                Event::Disconnected { error_code, clean, .. } => {
                    (self.conn, self.end) = (None, Some((error_code, clean)));
                }
                Event::HttpRequest { conn, id, request } => {
                    let answer = match request.path() {
                        "/text" => ZeroResponse::ok().bytes(TEXT),
                        "/static" => ZeroResponse::ok().static_bytes(STATIC),
                        _ => self.file.answer(&request),
                    };
                    sender.http_respond(conn, id, answer).unwrap();
                }
                _ => {}
            }
        }
    }

    /// Looks whether everything came home; what was counted.
    pub(crate) fn finish(mut self) -> IoStats {
        self.io.endpoint_close(self.endpoint).unwrap();
        let end = Instant::now() + PATIENCE;
        while !self.io.is_idle() {
            self.turn();
            assert!(Instant::now() < end, "something did not come home");
        }
        self.io.audit();
        self.io.io_stats()
    }
}

/// What asks for the path, with fields that each end a line.
pub(crate) fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: t\r\n{fields}\r\n")
}

/// Reads a head.
pub(crate) fn head(peer: &mut ClientPeer) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend_from_slice(&peer.read_exact(1));
    }
    String::from_utf8(head).unwrap()
}

/// Reads an answer: its head and its body.
pub(crate) fn answer(peer: &mut ClientPeer) -> (String, Vec<u8>) {
    let head = head(peer);
    let len = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split('\r').next());
    let len = len.unwrap_or_else(|| panic!("no length: {head}")).parse().unwrap();
    let body = peer.read_exact(len);
    (head, body)
}

/// Reads an answer, and compares its body.
#[track_caller]
pub(crate) fn expect(peer: &mut ClientPeer, status: u16, wanted: &[u8]) -> String {
    let (head, body) = answer(peer);
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    super::common::assert_same(&body, wanted);
    head
}
