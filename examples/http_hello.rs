//! A small HTTP server: `GET /` answers 13 bytes of text, `POST /echo` the body as it comes.
//!
//! `cargo run --release --features http --example http_hello -- 127.0.0.1:8080`

use std::time::Duration;

use zero_io::{Config, ConnId, Event, HttpMethod, HttpRequest, Io, RequestId, ZeroResponse};
use zero_io::{HttpListenConfig, TcpListenConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_string()).parse()?;
    let mut io = Io::new(Config::default().with(|c| c.max_connections = 16_384))?;
    let endpoint = io.http_listen_with(HttpListenConfig::new(TcpListenConfig::new(addr)))?;
    println!("listening on {}", io.local_addr(endpoint)?);
    loop {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            let done = match event {
                Event::HttpRequest { conn, id, request } => answer(&mut sender, conn, id, &request),
                Event::HttpBodyChunk { conn, id, data, last } => {
                    let sent = sender.http_forward(conn, id, data);
                    if last { sent.and_then(|()| sender.http_finish(conn, id)) } else { sent }
                }
                _ => Ok(()),
            };
            if let Err(error) = done {
                eprintln!("{error}");
            }
        }
    }
}

fn answer(
    sender: &mut zero_io::Sender<'_>,
    conn: ConnId,
    id: RequestId,
    request: &HttpRequest<'_>,
) -> zero_io::Result<()> {
    let response = match (request.method(), request.path()) {
        (HttpMethod::Get | HttpMethod::Head, "/") => ZeroResponse::ok().text("Hello, World!"),
        (HttpMethod::Post, "/echo") if request.body_follows() => ZeroResponse::ok().stream(),
        (HttpMethod::Post, "/echo") => ZeroResponse::ok().bytes(request.body()),
        (_, "/") => ZeroResponse::method_not_allowed("GET, HEAD"),
        (_, "/echo") => ZeroResponse::method_not_allowed("POST"),
        _ => ZeroResponse::not_found().text("not found\n"),
    };
    sender.http_respond(conn, id, response)
}
