//! What zero-io serves so far, on one thread: `cargo run --release --example showcase`; with TLS
//! when `--features tls` is given too, with QUIC when `--features quic` is. Ends by itself after
//! `--seconds N`, or when nobody reads what it says any more.

#[cfg(feature = "quic")]
#[path = "../quic/echo.rs"]
mod echo;
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

use zero_io::TcpListenConfig;
use zero_io::{Config, ConnId, Event, Frame, Framing, Io, MessageKind, Result, Sender, StreamId};

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
    let seconds = std::env::args().skip_while(|arg| arg != "--seconds").nth(1);
    let mut statuses_left = seconds.map_or(Ok(u64::MAX), |n| n.parse::<u64>().map(|n| n * 2))?;
    let mut io = Io::new(Config::default())?;
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let tcp = io.tcp_listen(at(7000)).or_else(|_| io.tcp_listen(at(0)))?;
    let lines = |port| TcpListenConfig::new(at(port)).with(|c| c.framing = Some(LINES));
    let lines = io.tcp_listen_with(lines(7001)).or_else(|_| io.tcp_listen_with(lines(0)))?;
    let udp = io.udp_bind(at(7002)).or_else(|_| io.udp_bind(at(0)))?;
    io.uds_listen(&path.to_string_lossy())?;
    let mut port = |id| io.local_addr(id).map(|a| a.inet().map_or(0, |a| a.port()));
    writeln!(stdout(), "TCP echo               nc 127.0.0.1 {}", port(tcp)?)?;
    writeln!(stdout(), "TCP lines in capitals  nc 127.0.0.1 {}", port(lines)?)?;
    writeln!(stdout(), "UDP echo               nc -u 127.0.0.1 {}", port(udp)?)?;
    writeln!(stdout(), "Unix socket echo       nc -U {}", path.display())?;
    tls::listen(&mut io)?;
    let mut quic = quic::Quic::listen(&mut io)?;
    let mut web = http::Web::listen(&mut io)?;
    let mut status = status::Status::default();
    io.timer_set(STATUS_EVERY, 0)?;
    while statuses_left > 0 {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        let mut status_due = false;
        while let Some(event) = events.next_event() {
            status.note(&event);
            web.answer(&mut sender, &event);
            if quic.on_event(&mut sender, &event) {
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
                Event::Timer { .. } => status_due = true,
                _ => {}
            }
        }
        if status_due {
            status.print(&io)?;
            status.tell(&mut io, &mut web);
            statuses_left -= 1;
            io.timer_set(STATUS_EVERY, 0)?;
        }
    }
    Ok(())
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
