//! The client: one kind of load, and what came of it.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use zero_io::{ConnId, Event, Io, IoError, QuicConnectConfig, Roots, Sender, StreamDir, StreamId};
use zero_io::{TlsClientConfig, code};

use super::Error;

/// Datagrams that did not come back by now are taken for lost, and others sent.
const LOST_AFTER: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One endless stream.
    Bulk,
    /// A stream for each.
    Requests,
    /// A connection for each.
    Handshakes,
    /// Echoed ones.
    Datagrams,
}

impl Kind {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "bulk" => Self::Bulk,
            "requests" => Self::Requests,
            "handshakes" => Self::Handshakes,
            "datagrams" => Self::Datagrams,
            _ => return None,
        })
    }
}

pub(super) struct Load {
    kind: Kind,
    payload: Vec<u8>,
    concurrency: usize,
}

impl Load {
    pub(super) fn new(kind: Kind, size: usize, concurrency: Option<usize>) -> Self {
        let usual = match kind {
            Kind::Bulk => 1,
            Kind::Requests => 100,
            Kind::Handshakes => 8,
            Kind::Datagrams => 64,
        };
        Self { kind, payload: vec![b'x'; size], concurrency: concurrency.unwrap_or(usual) }
    }
}

/// What was seen so far.
#[derive(Default)]
struct Seen {
    done: u64,
    bytes: u64,
    failed: u64,
    /// When the requests under way began.
    asked: HashMap<StreamId, Instant>,
    latencies: Vec<Duration>,
    /// What was done when the timer came last.
    done_before: u64,
}

pub(super) fn run(io: &mut Io, addr: SocketAddr, load: &Load, span: Duration) -> Result<(), Error> {
    let tls = TlsClientConfig::with_roots(Roots::from_der([])).danger().accept_any_certificate();
    let config = QuicConnectConfig::new(addr, tls.alpn(["h3"]).build()?);
    let conns = if load.kind == Kind::Handshakes { load.concurrency } else { 1 };
    for _ in 0..conns {
        io.quic_connect_with(config.clone())?;
    }
    io.timer_set(LOST_AFTER, 0)?;
    let (mut seen, mut conn) = (Seen::default(), None);
    let begun = Instant::now();
    while begun.elapsed() < span {
        io.poll(Duration::from_millis(10))?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::Connected { conn: new, .. } if load.kind == Kind::Handshakes => {
                    seen.done += 1;
                    sender.close(new)?;
                }
                Event::Disconnected { error_code, .. } if load.kind == Kind::Handshakes => {
                    seen.failed += u64::from(error_code != code::LOCAL_CLOSE);
                    sender.quic_connect_with(config.clone())?;
                }
                Event::Disconnected { error_code, reason, .. } => {
                    let reason = String::from_utf8_lossy(reason);
                    return Err(format!("disconnected: {error_code:#x} {reason}").into());
                }
                Event::Connected { conn: new, .. } => {
                    conn = Some(new);
                    begin(&mut sender, load, new, &mut seen)?;
                }
                Event::Timer { .. } => {
                    sender.timer_set(LOST_AFTER, 0)?;
                    let is_stuck = seen.done == std::mem::replace(&mut seen.done_before, seen.done);
                    if let (Some(conn), Kind::Datagrams, true) = (conn, load.kind, is_stuck) {
                        begin(&mut sender, load, conn, &mut seen)?;
                    }
                }
                other => on_answer(&mut sender, load, &other, &mut seen)?,
            }
        }
    }
    report(load.kind, &mut seen, begun.elapsed().as_secs_f64())
}

/// Everything that may be under way is.
fn begin(io: &mut Sender<'_>, load: &Load, conn: ConnId, seen: &mut Seen) -> Result<(), Error> {
    match load.kind {
        Kind::Bulk => {
            let stream = io.stream_open(conn, StreamDir::Bidi)?;
            io.stream_write(conn, stream, b"B")?;
        }
        Kind::Requests => ask(io, load, conn, seen)?,
        Kind::Handshakes => {}
        Kind::Datagrams => {
            (0..load.concurrency).try_for_each(|_| io.send_datagram(conn, &load.payload))?;
        }
    }
    Ok(())
}

/// As many requests as may be under way. A peer that does not take as many streams is waited for.
fn ask(io: &mut Sender<'_>, load: &Load, conn: ConnId, seen: &mut Seen) -> Result<(), Error> {
    while seen.asked.len() < load.concurrency {
        let stream = match io.stream_open(conn, StreamDir::Bidi) {
            Err(IoError::StreamLimit { .. }) => return Ok(()),
            opened => opened?,
        };
        let taken = io.stream_write(conn, stream, &load.payload)?;
        if taken < load.payload.len() {
            return Err("--size is more than a stream takes at once".into());
        }
        io.stream_finish(conn, stream)?;
        seen.asked.insert(stream, Instant::now());
    }
    Ok(())
}

fn on_answer(
    io: &mut Sender<'_>,
    load: &Load,
    event: &Event<'_>,
    seen: &mut Seen,
) -> Result<(), Error> {
    match *event {
        Event::StreamFrame { data, .. } => seen.bytes += data.len() as u64,
        Event::ReadClosed { conn, stream } => {
            seen.done += 1;
            seen.latencies.extend(seen.asked.remove(&stream).map(|at| at.elapsed()));
            ask(io, load, conn, seen)?;
        }
        Event::StreamsAvailable { conn, .. } => ask(io, load, conn, seen)?,
        Event::Datagram { conn, .. } => {
            seen.done += 1;
            io.send_datagram(conn, &load.payload)?;
        }
        _ => {}
    }
    Ok(())
}

fn report(kind: Kind, seen: &mut Seen, secs: f64) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    let rate = seen.done as f64 / secs;
    match kind {
        Kind::Bulk => writeln!(out, "{:.1} MB/s", seen.bytes as f64 / secs / 1e6)?,
        Kind::Requests => {
            seen.latencies.sort_unstable();
            let last = seen.latencies.len().saturating_sub(1);
            let at = |part: f64| seen.latencies.get((last as f64 * part) as usize).copied();
            let (p50, p99) = (at(0.5).unwrap_or_default(), at(0.99).unwrap_or_default());
            writeln!(out, "{rate:.0} requests/s, latency p50 {p50:?}, p99 {p99:?}")?;
        }
        Kind::Handshakes => writeln!(out, "{rate:.0} handshakes/s, {} failed", seen.failed)?,
        Kind::Datagrams => writeln!(out, "{rate:.0} datagrams/s, each there and back")?,
    }
    Ok(())
}
