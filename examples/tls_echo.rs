#![expect(clippy::print_stdout, reason = "an example talks to its user")]
//! A TLS echo server: `cargo run --release --features tls --example tls_echo -- 127.0.0.1:7443
//! [CERT KEY]`, with the paths of PEM files. Without them it makes a certificate for `localhost`,
//! which lasts as long as the process. Try it with `openssl s_client -connect 127.0.0.1:7443`.

use std::time::Duration;

use zero_io::{Config, Event, Io, TlsServerConfig};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let addr = args.first().map_or("127.0.0.1:7443", String::as_str);
    let tls = match args.as_slice() {
        [_, cert, key, ..] => TlsServerConfig::from_pem(cert, key).build()?,
        _ => self_signed()?,
    };
    let mut io = Io::new(Config::default().with(|c| c.max_connections = 16_384))?;
    let endpoint = io.tls_listen(addr.parse()?, tls)?;
    println!("listening on {}", io.local_addr(endpoint)?);
    loop {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                // Sealed straight from where it was received and opened.
                Event::StreamFrame { conn, stream, data, .. } => {
                    let sent = sender.forward(conn, stream, data);
                    let _ = sent.or_else(|_| sender.close(conn));
                }
                // The client said goodbye: so does the server, once everything is sent.
                Event::ReadClosed { conn, .. } => {
                    let _ = sender.close_graceful(conn, Duration::ZERO);
                }
                _ => {}
            }
        }
    }
}

fn self_signed() -> Result<TlsServerConfig, Error> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let config = TlsServerConfig::from_pem_bytes(made.cert.pem(), made.signing_key.serialize_pem());
    Ok(config.build()?)
}
