#![expect(clippy::print_stdout, reason = "an example talks to its user")]
//! A UDP echo server: `cargo run --release --example udp_echo -- 127.0.0.1:7001`.

use std::time::Duration;

use zero_io::{Config, Event, Io};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7001".to_owned());
    let mut io = Io::new(Config::default())?;
    let endpoint = io.udp_bind(addr.parse()?)?;
    println!("listening on {}", io.local_addr(endpoint)?);
    loop {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            if let Event::UdpRecv { endpoint, from, data, .. } = event {
                // A full queue drops the datagram, as a network would.
                let _ = sender.udp_forward(endpoint, from, data);
            }
        }
    }
}
