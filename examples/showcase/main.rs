//! What zero-io serves so far, on one thread: `cargo run --release --example showcase`; with TLS
//! when `--features tls` is given too, with QUIC when `--features quic` is. With `--shards N` it is
//! a cluster of so many. Ends by itself after `--seconds N`, or when nobody reads what it says any
//! more; as a cluster in order by SIGTERM.

mod cluster;

#[cfg(feature = "quic")]
#[path = "../quic/echo.rs"]
mod echo;
mod host;
#[cfg(feature = "http")]
mod http;
#[cfg(not(feature = "http"))]
#[path = "http_off.rs"]
mod http;
#[cfg(feature = "quic")]
mod quic;
#[cfg(not(feature = "quic"))]
#[path = "quic_off.rs"]
mod quic;
mod status;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls_off.rs"]
mod tls;

use std::error::Error;
use std::io::{Write, stdout};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use zero_io::{ClusterConfig, IoCluster, TcpListenConfig};
use zero_io::{Config, ConnId, Event, Frame, Framing, Io, MessageKind, Result, Sender, StreamId};

use host::{Host, on};
use http::Place;

const LINE: MessageKind = MessageKind::User(1);
const LINES: Framing = Framing::new(LINE, cut_line);
const STATUS_EVERY: Duration = Duration::from_millis(500);

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("zero-io-{}.sock", std::process::id()));
    let ended = serve(&path);
    // It is not there when something failed before it was made.
    let _ = std::fs::remove_file(path);
    ended.or_else(|error| if status::is_unread(&*error) { Ok(()) } else { Err(error) })
}

fn serve(path: &Path) -> std::result::Result<(), Box<dyn Error>> {
    let option = |name: &str| std::env::args().skip_while(|arg| arg != name).nth(1);
    let statuses = option("--seconds").map_or(Ok(u64::MAX), |n| n.parse::<u64>().map(|n| n * 2))?;
    let mut host = match option("--shards") {
        Some(shards) => Host::Cluster(Box::new(IoCluster::new(
            ClusterConfig::new(shards.parse()?).with(|c| c.drain_deadline = Duration::from_secs(1)),
        )?)),
        None => Host::Alone(Box::new(Io::new(Config::default())?)),
    };
    let web = listen(&mut host, path)?;
    match host {
        Host::Alone(mut io) => {
            let mut server = Server::new(web, 0);
            io.timer_set(STATUS_EVERY, 0)?;
            while server.statuses < statuses {
                server.tick(&mut io)?;
            }
            Ok(())
        }
        Host::Cluster(cluster) => cluster::serve(*cluster, web, statuses),
    }
}

fn listen(host: &mut Host, path: &Path) -> std::result::Result<Place, Box<dyn Error>> {
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let config = |port| TcpListenConfig::new(at(port)).with(|c| c.framing = Some(LINES));
    let [tcp, lines, udp] = on!(host, io => {
        let tcp = io.tcp_listen(at(7000)).or_else(|_| io.tcp_listen(at(0)))?;
        let lines = io.tcp_listen_with(config(7001)).or_else(|_| io.tcp_listen_with(config(0)))?;
        let udp = io.udp_bind(at(7002)).or_else(|_| io.udp_bind(at(0)))?;
        io.uds_listen(&path.to_string_lossy())?;
        [io.local_addr(tcp)?, io.local_addr(lines)?, io.local_addr(udp)?]
    })
    .map(|addr| addr.inet().map_or(0, |addr| addr.port()));
    writeln!(stdout(), "TCP echo               nc 127.0.0.1 {tcp}")?;
    writeln!(stdout(), "TCP lines in capitals  nc 127.0.0.1 {lines}")?;
    writeln!(stdout(), "UDP echo               nc -u 127.0.0.1 {udp}")?;
    writeln!(stdout(), "Unix socket echo       nc -U {}", path.display())?;
    tls::listen(host)?;
    quic::Quic::listen(host)?;
    http::Web::listen(host)
}

/// What one shard keeps.
struct Server {
    shard: u16,
    quic: quic::Quic,
    web: http::Web,
    status: status::Status,
    /// How often it told its status.
    statuses: u64,
}

impl Server {
    fn new(web: Place, shard: u16) -> Self {
        let (quic, web) = (quic::Quic::default(), http::Web::new(web));
        Self { shard, quic, web, status: status::Status::default(), statuses: 0 }
    }

    /// Polls, and answers. The first shard prints what all of them did; the others tell it.
    fn tick(&mut self, io: &mut Io) -> std::result::Result<(), Box<dyn Error>> {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        let mut status_due = false;
        while let Some(event) = events.next_event() {
            self.status.note(&event);
            self.web.answer(&mut sender, &event);
            if self.quic.on_event(&mut sender, &event) {
                continue;
            }
            match event {
                Event::StreamFrame { conn, kind, data, .. } => {
                    let answered = answer(&mut sender, conn, kind, data);
                    let _ = answered.or_else(|_| sender.close(conn));
                }
                Event::ReadClosed { conn, .. } => {
                    let _ = sender.close_graceful(conn, Duration::ZERO);
                }
                Event::UdpRecv { endpoint, from, data, .. } => {
                    let _ = sender.udp_forward(endpoint, from, data);
                }
                Event::User { token, data } => self.status.hear(token, data),
                Event::Timer { .. } => status_due = true,
                _ => {}
            }
        }
        if status_due {
            self.tell(io)?;
            io.timer_set(STATUS_EVERY, 0)?;
        }
        Ok(())
    }

    fn tell(&mut self, io: &mut Io) -> std::result::Result<(), Box<dyn Error>> {
        if self.shard == 0 {
            self.status.print(io)?;
        } else {
            let report = self.status.report(io);
            // When the first one has gone, nobody has to be told.
            let _ = io.post_data_to(0, self.shard.into(), &report);
        }
        self.status.tell(io, &mut self.web);
        self.statuses += 1;
        Ok(())
    }
}

fn cut_line(bytes: &[u8]) -> Frame {
    let newline = bytes.iter().position(|byte| *byte == b'\n');
    newline.map_or(Frame::Need(bytes.len() + 1), |at| Frame::Ready(at + 1))
}

/// Lines come back in capitals, by one copy; the rest without one. Who does not read is cut off.
fn answer(io: &mut Sender<'_>, conn: ConnId, kind: MessageKind, data: &[u8]) -> Result<()> {
    if kind != LINE {
        return io.forward(conn, StreamId::ZERO, data);
    }
    let mut line = io.send_buffer(data.len())?;
    line.copy_from_slice(data);
    line.make_ascii_uppercase();
    io.stream_write_buffer(conn, StreamId::ZERO, line)
}
