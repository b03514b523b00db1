#![expect(clippy::print_stdout, reason = "an example talks to its user")]
//! A small HTTP server: `GET /` answers 13 bytes of text, `POST /echo` the body as it comes.
//!
//! `cargo run --release --features http,tls --example http_hello -- 127.0.0.1:8080 [--tls [CERT
//! KEY]]`, with the paths of PEM files. Without them it makes a certificate for `localhost`. Try it
//! with `curl -i http://127.0.0.1:8080/`.

use std::time::Duration;

use zero_io::{Config, Event, HttpListenConfig, HttpMethod, HttpRequest, Io, TcpListenConfig};
use zero_io::{TlsServerConfig, ZeroResponse};

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let addr = args.first().map_or("127.0.0.1:8080", String::as_str);
    let mut io = Io::new(Config::default().with(|c| c.max_connections = 16_384))?;
    let config = HttpListenConfig::new(TcpListenConfig::new(addr.parse()?));
    let endpoint = match args.get(1..).unwrap_or_default() {
        [tls, cert, key, ..] if tls == "--tls" => {
            io.http_listen_tls_with(config, TlsServerConfig::from_pem(cert, key).build()?)?
        }
        [tls, ..] if tls == "--tls" => io.http_listen_tls_with(config, self_signed()?)?,
        _ => io.http_listen_with(config)?,
    };
    println!("listening on {}", io.local_addr(endpoint)?);
    loop {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            // An answer to a client that is gone by now is no failure of the server.
            let _ = match event {
                Event::HttpRequest { conn, id, request } => {
                    sender.http_respond(conn, id, answer(&request))
                }
                // A long or chunked body goes back piece by piece, from where it was received.
                Event::HttpBodyChunk { conn, id, data, last } => {
                    let sent = sender.http_forward(conn, id, data);
                    if last { sent.and_then(|()| sender.http_finish(conn, id)) } else { sent }
                }
                _ => Ok(()),
            };
        }
    }
}

fn answer<'a>(request: &HttpRequest<'a>) -> ZeroResponse<'a> {
    match (request.method(), request.path()) {
        (HttpMethod::Get | HttpMethod::Head, "/") => ZeroResponse::ok().text("Hello, World!"),
        (HttpMethod::Post, "/echo") if request.body_follows() => ZeroResponse::ok().stream(),
        (HttpMethod::Post, "/echo") => ZeroResponse::ok().bytes(request.body()),
        (_, "/") => ZeroResponse::method_not_allowed("GET, HEAD"),
        (_, "/echo") => ZeroResponse::method_not_allowed("POST"),
        _ => ZeroResponse::not_found().text("not found\n"),
    }
}

fn self_signed() -> Result<TlsServerConfig, Error> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let config = TlsServerConfig::from_pem_bytes(made.cert.pem(), made.signing_key.serialize_pem());
    Ok(config.build()?)
}
