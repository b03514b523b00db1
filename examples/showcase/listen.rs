//! The sockets, and the command line to try each with.

use std::error::Error;
use std::io::{Write, stdout};
use std::net::SocketAddr;
use std::path::Path;

use zero_io::{Frame, Framing, MessageKind, TcpListenConfig};

use super::host::{Host, on};
use super::http::{Place, Web};
use super::{quic, tls};

/// A line with its end.
pub(super) const LINE: MessageKind = MessageKind::User(1);
const LINES: Framing = Framing::new(LINE, cut_line);

/// The usual ports, or others where those are in use.
pub(super) fn listen(host: &mut Host, path: &Path) -> Result<Place, Box<dyn Error>> {
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
    Web::listen(host)
}

fn cut_line(bytes: &[u8]) -> Frame {
    let newline = bytes.iter().position(|byte| *byte == b'\n');
    newline.map_or(Frame::Need(bytes.len() + 1), |at| Frame::Ready(at + 1))
}
