//! A QUIC client: `cargo run --release --features quic --example quic_client -- 127.0.0.1:4433
//! [--alpn NAME] [--name NAME --ca PEM]`. Sends its input on a stream, and prints what comes back.
//! The server's certificate must be for NAME, and from the file of roots PEM; without one, any
//! certificate is believed. Try it with the example `quic_echo`: `echo hello | quic_client ADDR`.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use zero_io::{Config, ConnId, Event, Io, QuicConnectConfig, Roots, Sender, StreamDir};
use zero_io::{StreamId, TlsClientConfig};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let config = configured(std::env::args().skip(1))?;
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let mut io = Io::new(Config::default())?;
    io.quic_connect_with(config)?;
    let mut output = std::io::stdout().lock();
    let mut sent = 0;
    loop {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::Connected { conn, .. } => {
                    let stream = sender.stream_open(conn, StreamDir::Bidi)?;
                    sent = send(&mut sender, conn, stream, &input)?;
                }
                Event::Writable { conn, stream, .. } if sent < input.len() => {
                    sent += send(&mut sender, conn, stream, &input[sent..])?;
                }
                Event::StreamFrame { stream: StreamId::ZERO, data, .. } => {
                    output.write_all(data)?
                }
                Event::StreamReset { error_code, .. } | Event::StopSending { error_code, .. } => {
                    return Err(format!("the server gave the stream up: {error_code}").into());
                }
                // All is back.
                Event::ReadClosed { conn, .. } => {
                    output.flush()?;
                    sender.close_graceful(conn, Duration::from_secs(5))?;
                }
                Event::Disconnected { clean: true, .. } => {
                    io.poll(Duration::ZERO)?; // tells the server
                    return Ok(());
                }
                Event::Disconnected { error_code, reason, .. } => {
                    let reason = String::from_utf8_lossy(reason);
                    return Err(format!("disconnected: {error_code:#x} {reason}").into());
                }
                _ => {}
            }
        }
    }
}

/// Sends as much as is taken now, and the end with the last of it.
fn send(io: &mut Sender<'_>, conn: ConnId, stream: StreamId, rest: &[u8]) -> Result<usize, Error> {
    let taken = io.stream_write(conn, stream, rest)?;
    if taken == rest.len() {
        io.stream_finish(conn, stream)?;
    }
    Ok(taken)
}

fn configured(mut args: impl Iterator<Item = String>) -> Result<QuicConnectConfig, Error> {
    let mut addr: SocketAddr = "127.0.0.1:4433".parse()?;
    let (mut alpn, mut name, mut roots) = (None, None, None);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        match arg.as_str() {
            "--alpn" => alpn = Some(value()?),
            "--name" => name = Some(value()?),
            "--ca" => roots = Some(Roots::from_pem_file(value()?)),
            _ => addr = arg.parse()?,
        }
    }
    let tls = match roots {
        Some(roots) => TlsClientConfig::with_roots(roots),
        None => TlsClientConfig::with_roots(Roots::from_der([])).danger().accept_any_certificate(),
    };
    let tls = if let Some(name) = name { tls.server_name(name) } else { tls };
    Ok(QuicConnectConfig::new(addr, tls.alpn(alpn).build()?))
}
