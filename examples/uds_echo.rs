#![expect(clippy::print_stdout, reason = "an example talks to its user")]
//! A Unix socket echo server: `cargo run --release --example uds_echo -- /tmp/echo.sock`, or
//! `-- @name` for a name in the abstract namespace. Try it with `nc -U /tmp/echo.sock`.

use std::time::Duration;

use zero_io::{Config, Event, Io};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "/tmp/zero-io-echo.sock".to_owned());
    let mut io = Io::new(Config::default())?;
    io.uds_listen(&path)?;
    println!("listening on {path}");
    loop {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::Connected { conn, .. } => {
                    let Ok(peer) = sender.peer_cred(conn) else { continue };
                    println!("{conn}: process {} of user {}", peer.pid, peer.uid);
                }
                Event::StreamFrame { conn, stream, data, .. } => {
                    // Without a copy. What cannot be answered ends; it may have ended already.
                    let sent = sender.forward(conn, stream, data);
                    let _ = sent.or_else(|_| sender.close(conn));
                }
                Event::ReadClosed { conn, .. } => {
                    let _ = sender.close_graceful(conn, Duration::ZERO);
                }
                Event::Disconnected { conn, reason, .. } => {
                    println!("{conn}: {}", String::from_utf8_lossy(reason));
                }
                _ => {}
            }
        }
    }
}
