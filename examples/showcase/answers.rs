//! What is sent back: what came, and lines in capitals.

use std::time::Duration;

use zero_io::{ConnId, Event, MessageKind, Sender, StreamId};

use super::listen::LINE;

pub(super) fn answer(io: &mut Sender<'_>, event: Event<'_>) -> zero_io::Result<()> {
    match event {
        // Who does not read is cut off.
        Event::StreamFrame { conn, kind, data, .. } => {
            echo(io, conn, kind, data).or_else(|_| io.close(conn))
        }
        Event::ReadClosed { conn, .. } => io.close_graceful(conn, Duration::ZERO),
        Event::UdpRecv { endpoint, from, data, .. } => io.udp_forward(endpoint, from, data),
        _ => Ok(()),
    }
}

/// Lines come back in capitals, by one copy; the rest without one.
fn echo(io: &mut Sender<'_>, conn: ConnId, kind: MessageKind, data: &[u8]) -> zero_io::Result<()> {
    if kind != LINE {
        return io.forward(conn, StreamId::ZERO, data);
    }
    let mut line = io.send_buffer(data.len())?;
    line.copy_from_slice(data);
    line.make_ascii_uppercase();
    io.stream_write_buffer(conn, StreamId::ZERO, line)
}
