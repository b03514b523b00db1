//! zero-io HTTP/1.1: 13 bytes of text.
//!
//! Usage: `http-zero PORT [knob=value...]`, with the knobs of `zero_echo::set`.
use std::time::Duration;
use zero_io::{Config, Event, Io, ZeroResponse};
peerkit::counting!();

fn main() -> zero_io::Result<()> {
    peerkit::init();
    let mut config = Config::default().with(|c| c.max_connections = 16_384);
    for arg in std::env::args().skip(2) {
        match arg.split_once('=') {
            Some((knob, value)) if zero_echo::set(&mut config, knob, value) => {}
            _ => panic!("unknown argument {arg}"),
        }
    }
    let mut io = Io::new(config)?;
    io.http_listen(std::net::SocketAddr::from(([127, 0, 0, 1], peerkit::port())))?;
    peerkit::backend!("io_uring");
    loop {
        io.poll(Duration::MAX)?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            if let Event::HttpRequest { conn, id, request } = event {
                let answer = match request.path() {
                    "/" => ZeroResponse::ok().content_type("text/plain").text("Hello, World!"),
                    _ => ZeroResponse::not_found(),
                };
                sender.http_respond(conn, id, answer)?;
            }
        }
    }
}
