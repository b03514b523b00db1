#![expect(clippy::print_stdout, reason = "an example talks to its user")]
//! A QUIC echo server: `cargo run --release --features quic --example quic_echo -- 127.0.0.1:4433
//! [--alpn NAME] [--cert PEM --key PEM] [--retry]`. Bidirectional streams are echoed as they come,
//! each unidirectional stream on a new one, and datagrams. Without a certificate it makes one for
//! `localhost`, which lasts as long as the process; with `--retry` every client has to show that it
//! is where it says. What clients send early (0-RTT) is echoed at once: an echo does no harm twice.

#[path = "quic/echo.rs"]
mod echo;

use std::net::SocketAddr;
use std::time::Duration;

use zero_io::{Config, Io, QuicListenConfig, RetryPolicy, TlsServerConfig};

use echo::Echo;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let mut io = Io::new(Config::default().with(|c| c.max_connections = 16_384))?;
    let endpoint = io.quic_listen_with(configured(std::env::args().skip(1))?)?;
    println!("listening on {}", io.local_addr(endpoint)?);
    let mut echo = Echo::default();
    loop {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            echo.on_event(&mut sender, &event);
        }
    }
}

fn configured(mut args: impl Iterator<Item = String>) -> Result<QuicListenConfig, Error> {
    let mut addr: SocketAddr = "127.0.0.1:4433".parse()?;
    let (mut alpn, mut cert, mut key, mut retry) = (None, None, None, false);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--alpn" => alpn = Some(value()?),
            "--cert" => cert = Some(value()?),
            "--key" => key = Some(value()?),
            "--retry" => retry = true,
            _ => addr = arg.parse()?,
        }
    }
    let tls = match (cert, key) {
        (Some(cert), Some(key)) => TlsServerConfig::from_pem(cert, key),
        (None, None) => {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
            TlsServerConfig::from_pem_bytes(made.cert.pem(), made.signing_key.serialize_pem())
        }
        _ => return Err("--cert and --key go together".into()),
    };
    let tls = match alpn {
        Some(name) => tls.alpn([name]),
        None => tls,
    };
    Ok(QuicListenConfig::new(addr, tls.build()?).with(|c| {
        c.early_data = true; // an echo may be repeated
        if retry {
            c.retry = RetryPolicy::Always;
        }
    }))
}
