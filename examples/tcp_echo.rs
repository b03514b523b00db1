#![expect(clippy::print_stdout, reason = "an example talks to its user")]
//! A TCP echo server: `cargo run --release --example tcp_echo -- 127.0.0.1:7000`.
//!
//! Small messages are copied into the send queue; large ones are sent from the buffer they were
//! received in.

use std::time::Duration;

use zero_io::{Config, ConnId, Event, Io, Result, Sender, StreamId};

/// From here on sending from the receive buffer is cheaper than copying.
const FORWARD_MIN: usize = 1024;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    let mut io = Io::new(Config::default().with(|c| c.max_connections = 16_384))?;
    let endpoint = io.tcp_listen(addr.parse()?)?;
    println!("listening on {}", io.local_addr(endpoint)?);
    loop {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::StreamFrame { conn, stream, data, .. } => {
                    // What cannot be answered ends; it may have ended already.
                    let sent = echo(&mut sender, conn, stream, data);
                    let _ = sent.or_else(|_| sender.close(conn));
                }
                // The client is done: so is the server, once everything is sent.
                Event::ReadClosed { conn, .. } => {
                    let _ = sender.close_graceful(conn, Duration::ZERO);
                }
                _ => {}
            }
        }
    }
}

/// Copies what is small; sends the rest from where it was received, which also slows down a client
/// that does not read.
fn echo(sender: &mut Sender<'_>, conn: ConnId, stream: StreamId, data: &[u8]) -> Result<()> {
    let small = data.len() < FORWARD_MIN;
    let copied = if small { sender.stream_write(conn, stream, data)? } else { 0 };
    if copied < data.len() {
        sender.forward(conn, stream, &data[copied..])?;
    }
    Ok(())
}
