//! zero-io UDP echo.
//!
//! Usage: `udp-zero PORT [copy|forward|gso] [knob=value...]`
//!
//! `forward` (default) sends each datagram from the buffer it was received in, `copy` from another one. `gso` receives
//! coalesced datagrams (GRO) as well; they are still handed out and sent back one by one. Knobs: `poll=MS|max`, and those of `zero_echo::set`.
use std::time::Duration;
use zero_io::{Config, Event, Io, UdpEndpointConfig};
peerkit::counting!();

/// Bytes of the socket's buffers, as the other UDP peers have.
const SOCKET_BUFFER: u32 = 8 << 20;

fn main() -> zero_io::Result<()> {
    peerkit::init();
    let mut config = Config::default();
    let (mut copy, mut gro) = (false, false);
    let mut poll_max = Duration::MAX;
    for arg in std::env::args().skip(2) {
        match arg.split_once('=') {
            None if arg == "copy" => copy = true,
            None if arg == "forward" => copy = false,
            None if arg == "gso" => gro = true,
            Some(("poll", text)) => poll_max = zero_echo::poll_max(text),
            Some((knob, value)) if zero_echo::set(&mut config, knob, value) => {}
            _ => panic!("unknown argument {arg}"),
        }
    }
    let mut io = Io::new(config)?;
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], peerkit::port()));
    io.udp_bind_with(UdpEndpointConfig::new(addr).with(|c| {
        c.gro = gro;
        c.recv_buffer = Some(SOCKET_BUFFER);
        c.send_buffer = Some(SOCKET_BUFFER);
    }))?;
    peerkit::backend!("io_uring");
    loop {
        io.poll(poll_max)?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            if let Event::UdpRecv { endpoint, from, data, .. } = event {
                // A full queue drops the datagram, as a network would.
                let _ = if copy {
                    sender.udp_send_bytes(endpoint, from, data)
                } else {
                    sender.udp_forward(endpoint, from, data)
                };
            }
        }
    }
}
