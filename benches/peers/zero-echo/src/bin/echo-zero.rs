//! zero-io TCP echo.
//!
//! Usage: `echo-zero PORT [copy|forward|auto] [knob=value...]`
//!
//! `copy` writes every message, `forward` sends it from the buffer it was received in, `auto` (default) copies below
//! `min` bytes and forwards the rest. Knobs: `min=BYTES`, `poll=MS|max`, and those of `zero_echo::set`.
use std::time::Duration;
use zero_io::{Config, Event, Io};
peerkit::counting!();

/// From here on forwarding is cheaper than copying.
const FORWARD_MIN: usize = 1024;

fn main() -> zero_io::Result<()> {
    peerkit::init();
    let mut config = Config::default().with(|c| c.max_connections = 16_384);
    let mut forward_min = FORWARD_MIN;
    let mut poll_max = Duration::MAX;
    for arg in std::env::args().skip(2) {
        match arg.split_once('=') {
            None if arg == "copy" => forward_min = usize::MAX,
            None if arg == "forward" => forward_min = 0,
            None if arg == "auto" => {}
            Some(("min", bytes)) => forward_min = bytes.parse().expect("bytes"),
            Some(("poll", text)) => poll_max = zero_echo::poll_max(text),
            Some((knob, value)) if zero_echo::set(&mut config, knob, value) => {}
            _ => panic!("unknown argument {arg}"),
        }
    }
    let mut io = Io::new(config)?;
    io.tcp_listen(std::net::SocketAddr::from(([127, 0, 0, 1], peerkit::port())))?;
    peerkit::backend!("io_uring");
    loop {
        io.poll(poll_max)?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::StreamFrame { conn, stream, data, .. } => {
                    let small = data.len() < forward_min;
                    let copied = if small { sender.stream_write(conn, stream, data)? } else { 0 };
                    if copied < data.len() {
                        sender.forward(conn, stream, &data[copied..])?;
                    }
                }
                Event::ReadClosed { conn, .. } => sender.close_graceful(conn, Duration::ZERO)?,
                _ => {}
            }
        }
    }
}
