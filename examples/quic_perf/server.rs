//! The server: endless downloads for those who ask for them, and echoes for the rest.

use std::collections::HashSet;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use zero_io::{ConnId, Event, Io, QuicListenConfig, Sender, StreamDir, StreamId, TlsServerConfig};

use super::Error;
use super::echo::Echo;

/// What is downloaded, again and again.
static CHUNK: [u8; 1 << 16] = [b'z'; 1 << 16];

pub(super) fn run(io: &mut Io, addr: SocketAddr) -> Result<(), Error> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let tls = TlsServerConfig::from_pem_bytes(made.cert.pem(), made.signing_key.serialize_pem());
    let config = QuicListenConfig::new(addr, tls.alpn(["h3"]).build()?);
    let endpoint = io.quic_listen_with(config.with(|c| c.transport.max_bidi_streams = 1024))?;
    writeln!(std::io::stdout(), "listening on {}", io.local_addr(endpoint)?)?;
    let mut server = Server::default();
    loop {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            server.on_event(&mut sender, &event);
        }
    }
}

#[derive(Default)]
struct Server {
    echo: Echo,
    downloads: HashSet<(ConnId, StreamId)>,
    /// Streams that are echoed and have not ended: a 'B' further on means nothing.
    echoed: HashSet<(ConnId, StreamId)>,
}

impl Server {
    fn on_event(&mut self, sender: &mut Sender<'_>, event: &Event<'_>) {
        match *event {
            Event::StreamFrame { conn, stream, data: [b'B', ..], .. }
                if stream.dir() == StreamDir::Bidi && !self.echoed.contains(&(conn, stream)) =>
            {
                self.downloads.insert((conn, stream));
                return fill(sender, conn, stream);
            }
            // Nothing else that is said on such a stream matters.
            Event::StreamFrame { conn, stream, .. } | Event::ReadClosed { conn, stream }
                if self.downloads.contains(&(conn, stream)) =>
            {
                return;
            }
            Event::Writable { conn, stream, .. } if self.downloads.contains(&(conn, stream)) => {
                return fill(sender, conn, stream);
            }
            Event::StreamFrame { conn, stream, fin: false, .. } => {
                self.echoed.insert((conn, stream));
            }
            Event::ReadClosed { conn, stream }
            | Event::StreamReset { conn, stream, .. }
            | Event::StopSending { conn, stream, .. } => {
                self.echoed.remove(&(conn, stream));
                self.downloads.remove(&(conn, stream));
            }
            Event::Disconnected { conn, .. } => {
                self.echoed.retain(|(of, _)| *of != conn);
                self.downloads.retain(|(of, _)| *of != conn);
            }
            _ => {}
        }
        self.echo.on_event(sender, event);
    }
}

/// Writes until no more is taken: `Writable` follows.
fn fill(sender: &mut Sender<'_>, conn: ConnId, stream: StreamId) {
    while sender.stream_write(conn, stream, &CHUNK).is_ok_and(|taken| taken == CHUNK.len()) {}
}
