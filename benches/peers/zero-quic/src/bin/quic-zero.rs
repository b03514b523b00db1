//! zero-io QUIC server; the protocol that `quinn-server` speaks.
//!
//! Usage: `quic-zero PORT [knob=value...]`, with the knobs of `zero_quic::knob` and `zero_echo::set`, and `bulk=copy`:
//! downloads are copied; by default their memory is lent.
//! Certificate: `$PEER_CERT_DIR`, default `run/cert`.
use std::collections::HashMap;
use std::time::Duration;
use zero_io::{
    Config, ConnId, Event, Io, QuicListenConfig, Sender, StreamId, TlsServerConfig, TlsVersion,
};
peerkit::counting!();

/// One write of the endless download.
static CHUNK: [u8; 64 << 10] = [0x5a; 64 << 10];

/// The same for all servers that let one choose.
fn tls() -> TlsServerConfig {
    TlsServerConfig::from_pem(peerkit::cert("cert.pem"), peerkit::cert("key.pem"))
        .versions(TlsVersion::Tls13, TlsVersion::Tls13)
        .key_exchange(["x25519"])
        // No peer's client resumes.
        .session_tickets(false)
        .alpn(["h3"])
        .build()
        .expect("certificate")
}

/// What a stream is about.
enum Task {
    /// An endless download.
    Bulk,
    /// What comes is thrown away.
    Sink,
    /// An echo that the windows held back: the rest, and whether the client has ended.
    Rest(Vec<u8>, bool),
}

#[derive(Default)]
struct Server {
    /// Downloads are copied, instead of lending memory that stays where it is.
    copies: bool,
    /// Streams that are no plain echo, or wait.
    tasks: HashMap<(ConnId, StreamId), Task>,
    /// Connections that want datagrams of that size without end.
    floods: HashMap<ConnId, usize>,
    /// Datagrams that were only counted: the last ones, of one connection, and those before.
    counting: Option<(ConnId, u64)>,
    counted: HashMap<ConnId, u64>,
}

impl Server {
    fn on_event(&mut self, sender: &mut Sender<'_>, event: &Event<'_>) {
        match *event {
            Event::Datagram { conn, data } if data.first() == Some(&b'S') => {
                self.count(conn, 1);
            }
            Event::Datagram { conn, data } => drop(sender.send_datagram(conn, data)),
            Event::StreamFrame { conn, stream, data, .. } => {
                self.frame(sender, (conn, stream), data);
            }
            Event::ReadClosed { conn, stream } => match self.tasks.get_mut(&(conn, stream)) {
                None => drop(sender.stream_finish(conn, stream)),
                Some(Task::Rest(_, is_over)) => *is_over = true,
                Some(_) => drop(self.tasks.remove(&(conn, stream))),
            },
            Event::Writable { conn, stream, .. } => self.go_on(sender, (conn, stream)),
            Event::Disconnected { conn, .. } => {
                self.floods.remove(&conn);
                self.counted.remove(&conn);
                if !self.tasks.is_empty() {
                    self.tasks.retain(|(of, _), _| *of != conn);
                }
            }
            _ => {}
        }
    }

    fn count(&mut self, conn: ConnId, more: u64) -> u64 {
        match &mut self.counting {
            Some((of, count)) if *of == conn => {
                *count += more;
                *count
            }
            other => {
                if let Some((of, count)) = other.take() {
                    self.counted.insert(of, count);
                }
                let count = self.counted.remove(&conn).unwrap_or_default() + more;
                *other = Some((conn, count));
                count
            }
        }
    }

    fn frame(&mut self, sender: &mut Sender<'_>, at: (ConnId, StreamId), data: &[u8]) {
        if !self.tasks.is_empty() {
            match self.tasks.get_mut(&at) {
                None => {}
                Some(Task::Rest(rest, _)) => return rest.extend_from_slice(data),
                Some(_) => return,
            }
        }
        let (conn, stream) = at;
        match *data {
            [b'B'] => {
                self.tasks.insert(at, Task::Bulk);
                self.go_on(sender, at);
            }
            [b'U', ..] => drop(self.tasks.insert(at, Task::Sink)),
            [b'D', high, low] => {
                self.floods.insert(conn, u16::from_be_bytes([high, low]).into());
            }
            [b'C'] => {
                let count = self.count(conn, 0);
                let _ = sender.stream_write(conn, stream, &count.to_be_bytes());
            }
            _ => {
                let Ok(sent) = sender.stream_write(conn, stream, data) else { return };
                if sent < data.len() {
                    let _ = sender.pause_recv(conn);
                    self.tasks.insert(at, Task::Rest(data[sent..].to_vec(), false));
                }
            }
        }
    }

    fn go_on(&mut self, sender: &mut Sender<'_>, at: (ConnId, StreamId)) {
        let (conn, stream) = at;
        match self.tasks.remove(&at) {
            None | Some(Task::Sink) => {}
            Some(Task::Bulk) => {
                self.tasks.insert(at, Task::Bulk);
                while self.more(sender, at) {}
            }
            Some(Task::Rest(rest, is_over)) => {
                let Ok(sent) = sender.stream_write(conn, stream, &rest) else { return };
                if sent < rest.len() {
                    self.tasks.insert(at, Task::Rest(rest[sent..].to_vec(), is_over));
                    return;
                }
                let _ = sender.resume_recv(conn);
                if is_over {
                    let _ = sender.stream_finish(conn, stream);
                }
            }
        }
    }

    /// Sends one more piece of a download, if there is room for it.
    fn more(&self, sender: &mut Sender<'_>, (conn, stream): (ConnId, StreamId)) -> bool {
        if self.copies {
            return sender.stream_write(conn, stream, &CHUNK) == Ok(CHUNK.len());
        }
        sender.stream_write_guard(conn, stream, &CHUNK[..], 0).is_ok()
    }

    /// Fills the queues of those who want datagrams without end.
    fn flood(&self, io: &mut Io) {
        for (conn, len) in &self.floods {
            while io.send_datagram(*conn, &CHUNK[..*len]).is_ok() {}
        }
    }
}

fn main() -> zero_io::Result<()> {
    peerkit::init();
    let mut config = Config::default().with(|c| c.max_connections = 16_384);
    let mut transport = zero_quic::transport();
    let mut server = Server::default();
    for arg in std::env::args().skip(2) {
        let (knob, value) = arg.split_once('=').unwrap_or_else(|| panic!("{arg}?"));
        server.copies |= arg == "bulk=copy";
        let is_known = knob == "bulk"
            || zero_quic::knob(&mut transport, knob, value)
            || zero_quic::engine_knob(&mut config, knob, value)
            || zero_echo::set(&mut config, knob, value);
        assert!(is_known, "unknown argument {arg}");
    }
    let mut io = Io::new(config)?;
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], peerkit::port()));
    io.quic_listen_with(QuicListenConfig::new(addr, tls()).with(|c| {
        c.transport = transport;
        c.recv_buffer = Some(8 << 20);
        c.send_buffer = Some(8 << 20);
    }))?;
    peerkit::backend!("io_uring");
    loop {
        io.poll(Duration::MAX)?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            server.on_event(&mut sender, &event);
        }
        if !server.floods.is_empty() {
            server.flood(&mut io);
        }
    }
}
