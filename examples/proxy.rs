#![expect(clippy::print_stdout, reason = "an example talks to its user")]
//! A TCP proxy: `cargo run --release --example proxy -- 127.0.0.1:7000 127.0.0.1:80`.
//!
//! `forward` sends a payload from the buffer it was received in. A slow receiver holds its sender's
//! buffers, and a sender whose buffers are held is not read: backpressure, with nothing to do here.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use zero_io::{Config, ConnId, Event, Io, Result, Sender, StreamId};

/// One side, by its connection: the other one; what came before that was connected; the end of it.
struct Side(ConnId, Option<Vec<u8>>, bool);
type Sides = HashMap<ConnId, Side>;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let arg = |n| std::env::args().nth(n).ok_or("usage: proxy LISTEN UPSTREAM");
    let (listen, upstream) = (arg(1)?.parse()?, arg(2)?.parse()?);
    let mut io = Io::new(Config::default())?;
    let endpoint = io.tcp_listen(listen)?;
    println!("listening on {}", io.local_addr(endpoint)?);
    let mut sides = HashMap::new();
    loop {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            // An error says that one of the two has ended; its `Disconnected` ends the other one.
            let _ = relay(&mut sides, &mut sender, event, upstream);
        }
    }
}

fn relay(sides: &mut Sides, io: &mut Sender, event: Event, upstream: SocketAddr) -> Result<()> {
    match event {
        Event::Connected { conn, endpoint: Some(_), .. } => {
            // Read it when there is somebody to send to. What is here already comes nevertheless.
            io.pause_recv(conn)?;
            let other = io.tcp_connect(upstream).or_else(|error| io.close(conn).and(Err(error)))?;
            sides.insert(conn, Side(other, Some(Vec::new()), false));
            sides.insert(other, Side(conn, None, false));
        }
        Event::Connected { conn, .. } => {
            let Some(client) = sides.get(&conn).map(|side| side.0) else { return Ok(()) };
            let Some(Side(_, early, ended)) = sides.get_mut(&client) else { return Ok(()) };
            io.stream_write_guard(
                conn,
                StreamId::ZERO,
                Arc::new(early.take().unwrap_or_default()),
                0,
            )?;
            if *ended {
                io.shutdown_write(conn, StreamId::ZERO)?;
            }
            io.resume_recv(client)?;
        }
        Event::StreamFrame { conn, stream, data, .. } => {
            let Some(Side(other, early, _)) = sides.get_mut(&conn) else { return io.close(conn) };
            match early {
                Some(early) => early.extend_from_slice(data),
                None => io.forward(*other, stream, data).or_else(|_| io.close(conn))?,
            }
        }
        Event::ReadClosed { conn, stream } => match sides.get_mut(&conn) {
            Some(Side(other, None, _)) => io.shutdown_write(*other, stream)?,
            Some(Side(_, _, ended)) => *ended = true,
            None => {}
        },
        Event::Disconnected { conn, clean, .. } => {
            // A clean end was passed on already, as two half-closes.
            let other = sides.remove(&conn).filter(|_| !clean);
            other.map_or(Ok(()), |Side(other, ..)| io.close_graceful(other, Duration::ZERO))?;
        }
        _ => {}
    }
    Ok(())
}
