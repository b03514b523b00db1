//! Forwarding from one connection to another, whatever happens to either.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use zero_io::{Config, ConnId, Event, Io, StreamId, TcpConnectConfig};

const PATIENCE: Duration = Duration::from_secs(20);
const STREAM: StreamId = StreamId::ZERO;

/// An `Io` whose freed buffers are overwritten, and that checks itself in every tick.
fn strict() -> Io {
    let config = Config::default().with(|c| {
        c.stream_buffer_count = 64;
        c.stream_buffer_size = 4096;
        c.debug.poison_freed = true;
        c.debug.audit_every_tick = true;
    });
    Io::new(config).expect("an Io")
}

/// Polls until `done` says so; what comes from `source` is forwarded to `sink`.
fn relay(io: &mut Io, source: ConnId, sink: ConnId, mut done: impl FnMut(&Event<'_>) -> bool) {
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "it takes too long");
        io.poll(Duration::from_millis(5)).expect("poll");
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            if let Event::StreamFrame { conn, data, .. } = event
                && conn == source
            {
                sender.forward(sink, STREAM, data).expect("room");
            }
            if done(&event) {
                return;
            }
        }
    }
}

fn accepted(io: &mut Io, addr: SocketAddr) -> (ConnId, TcpStream) {
    let client = TcpStream::connect(addr).expect("connect");
    let start = Instant::now();
    loop {
        assert!(start.elapsed() < PATIENCE, "nothing was accepted");
        io.poll(Duration::from_millis(5)).expect("poll");
        while let Some(event) = io.next_event() {
            if let Event::Connected { conn, endpoint: Some(_), .. } = event {
                return (conn, client);
            }
        }
    }
}

/// The buffers that were received on one connection are being sent on another when the first one
/// ends. Others receive into whatever is free meanwhile. Nothing of that may reach the second one.
#[test]
fn hazard_05_a_received_buffer_is_not_recycled_while_it_is_sent_on() {
    let mut io = strict();
    let listener = io.tcp_listen(([127, 0, 0, 1], 0).into()).expect("listen");
    let addr = io.local_addr(listener).expect("bound").inet().expect("an IP address");
    let upstream = TcpListener::bind(("127.0.0.1", 0)).expect("bind");
    let config = TcpConnectConfig::new(upstream.local_addr().expect("bound"))
        .with(|c| c.send_buffer = Some(16_384));
    let sink = io.tcp_connect_with(config).expect("room");
    relay(&mut io, sink, sink, |e| matches!(e, Event::Connected { conn, .. } if *conn == sink));
    let (mut reader, _) = upstream.accept().expect("accept");
    let (source, mut writer) = accepted(&mut io, addr);
    let (noise, mut other) = accepted(&mut io, addr);

    // More than the sink's socket takes while nobody reads, so that a send is under way.
    writer.set_nonblocking(true).expect("a knob");
    let text: Vec<u8> = (0..32_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut written = 0;
    let start = Instant::now();
    while io.conn_stats(sink).expect("open").bytes_queued < 16_384 {
        assert!(start.elapsed() < PATIENCE, "the sink takes everything");
        written += writer.write(&text[written..]).unwrap_or(0);
        io.poll(Duration::ZERO).expect("poll");
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            if let Event::StreamFrame { conn, data, .. } = event {
                assert_eq!(conn, source);
                sender.forward(sink, STREAM, data).expect("room");
            }
        }
    }
    let received = io.conn_stats(source).expect("open").bytes_received as usize;
    io.close(source).expect("open");
    drop(writer);

    other.write_all(&[0xEE; 100_000]).expect("write");
    let mut heard = 0;
    relay(&mut io, source, sink, |event| {
        if let Event::StreamFrame { conn, data, .. } = event {
            assert!(*conn == noise && data.iter().all(|b| *b == 0xEE));
            heard += data.len();
        }
        heard == 100_000
    });
    let thread = std::thread::spawn(move || {
        let mut got = vec![0; received];
        reader.read_exact(&mut got).expect("all that was forwarded");
        got
    });
    while !thread.is_finished() {
        assert!(start.elapsed() < PATIENCE, "the sink does not get it all");
        io.poll(Duration::from_millis(1)).expect("poll");
        while io.next_event().is_some() {}
    }
    let got = thread.join().expect("the reader");
    assert!(got == text[..received], "the sink got other bytes than were forwarded");
}
