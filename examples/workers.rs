#![expect(clippy::print_stdout, reason = "an example talks to its user")]
//! Work on other threads: `cargo run --release --example workers -- 127.0.0.1:7000`.
//!
//! A received payload goes to a worker and its answer back to the shard, both without a copy. A
//! connection has one worker, so that its answers keep their order. What may wait for workers is
//! bounded by the pool: see `Config::detached_max_pct` and `Config::held_buffers_max`.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use zero_io::{Config, ConnId, Event, Io, IoHandle, OwnedSlot, Result, StreamId};

const WORKERS: u64 = 4;

enum Job {
    Payload(ConnId, StreamId, OwnedSlot),
    End(ConnId),
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let addr = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7000".to_owned());
    let mut io = Io::new(Config::default())?;
    let endpoint = io.tcp_listen(addr.parse()?)?;
    let workers: Vec<Sender<Job>> = (0..WORKERS)
        .map(|_| {
            let ((jobs, todo), handle) = (channel(), io.handle());
            std::thread::spawn(move || work(&todo, &handle));
            jobs
        })
        .collect();
    println!("listening on {}", io.local_addr(endpoint)?);
    loop {
        io.poll(Duration::from_secs(1))?;
        while let Some(event) = io.next_event() {
            let (conn, job) = match event {
                Event::StreamFrame { conn, stream, .. } => match io.detach_event_data() {
                    Some(payload) => (conn, Job::Payload(conn, stream, payload)),
                    // All that may be out is out: this client asks for more than the workers do.
                    None => {
                        let _ = io.close(conn);
                        continue;
                    }
                },
                Event::ReadClosed { conn, .. } => (conn, Job::End(conn)),
                _ => continue,
            };
            workers[(conn.as_u64() % WORKERS) as usize].send(job)?;
        }
    }
}

fn work(todo: &Receiver<Job>, io: &IoHandle) {
    for job in todo {
        let (conn, done) = match job {
            Job::Payload(conn, stream, payload) => (conn, answer(io, conn, stream, payload)),
            Job::End(conn) => (conn, io.close_graceful(conn, Duration::ZERO)),
        };
        if let Err(error) = done {
            println!("{conn}: {error}");
            let _ = io.close(conn);
        }
    }
}

/// Answers in capitals: in the receive buffer itself if nobody else refers to it.
fn answer(io: &IoHandle, conn: ConnId, stream: StreamId, payload: OwnedSlot) -> Result<()> {
    match payload.try_into_send_buffer() {
        Ok(mut buffer) => {
            buffer.make_ascii_uppercase();
            io.stream_write_buffer(conn, stream, buffer)
        }
        Err(shared) => io.stream_write(conn, stream, &shared.to_ascii_uppercase()),
    }
}
