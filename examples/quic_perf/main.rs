//! How fast QUIC is. The server: `cargo run --release --features quic --example quic_perf --
//! 127.0.0.1:4433`. A bidirectional stream that begins with 'B' is answered by an endless
//! download, every other stream and datagram is echoed; ALPN is h3.
//!
//! The client: `quic_perf --client ADDR bulk|requests|handshakes|datagrams [--secs N]
//! [--size BYTES] [--concurrency N]` prints what it measured in 5 seconds, unless told otherwise,
//! with 100 requests, 64 datagrams or 8 handshakes of 64 bytes under way.

mod client;
#[path = "../quic/echo.rs"]
mod echo;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use zero_io::{Config, Io};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let mut addr: SocketAddr = "127.0.0.1:4433".parse()?;
    let (mut is_client, mut kind) = (false, None);
    let (mut seconds, mut size, mut concurrency) = (5.0, 64, None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--client" => is_client = true,
            "--secs" => seconds = value()?.parse()?,
            "--size" => size = value()?.parse()?,
            "--concurrency" => concurrency = Some(value()?.parse()?),
            word if client::Kind::named(word).is_some() => kind = client::Kind::named(word),
            _ => addr = arg.parse()?,
        }
    }
    let mut io = Io::new(Config::default().with(|c| c.max_connections = 16_384))?;
    if !is_client {
        return server::run(&mut io, addr);
    }
    let kind = kind.ok_or("which: bulk, requests, handshakes or datagrams?")?;
    let seconds = Duration::from_secs_f64(seconds);
    client::run(&mut io, addr, &client::Load::new(kind, size, concurrency), seconds)
}
