//! Streams whose bytes the application asks for.

use std::time::Duration;

use zero_io::{ConnId, IoError, Protocol, QuicListenConfig, QuicReceive, StreamDir, StreamId};

use super::kit::{BOTH, Backend, CLIENT, Net, SERVER, Seen, pattern};

/// A connection whose server pulls, and a stream of the client's.
fn pulled(
    backend: Backend,
    change: impl FnOnce(&mut QuicListenConfig),
) -> (Net, ConnId, ConnId, StreamId) {
    let mut net = Net::new(backend);
    let listen = |l: &mut QuicListenConfig| {
        l.transport.receive = QuicReceive::Pull;
        change(l);
    };
    let (conn, accepted) = net.pair(listen, |_| ());
    let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).expect("a stream");
    (net, conn, accepted, stream)
}

fn read(net: &mut Net, conn: ConnId, stream: StreamId, into: &mut [u8]) -> usize {
    net.nodes[SERVER].io.stream_read(conn, stream, into).expect("a read")
}

fn times(net: &Net, wanted: &Seen) -> usize {
    net.nodes[SERVER].seen.iter().filter(|seen| *seen == wanted).count()
}

#[test]
fn what_is_read_is_what_was_written_and_copied_once() {
    for backend in BOTH {
        let (mut net, conn, accepted, stream) = pulled(backend, |_| ());
        let data = pattern(500_000);
        let (mut sent, mut got) = (0, Vec::new());
        let mut room = [0; 7001];
        let before = net.nodes[SERVER].io.io_stats().bytes_copied_rx;
        net.until("all of it", |net| {
            if sent < data.len() {
                let client = &mut net.nodes[CLIENT].io;
                sent += client.stream_write(conn, stream, &data[sent..]).unwrap();
                if sent == data.len() {
                    client.stream_finish(conn, stream).unwrap();
                }
            }
            if net.nodes[SERVER].has(&Seen::Readable(accepted, stream)) {
                loop {
                    let n = read(net, accepted, stream, &mut room);
                    got.extend_from_slice(&room[..n]);
                    if n == 0 {
                        break;
                    }
                }
            }
            net.nodes[SERVER].has(&Seen::ReadClosed(accepted, stream))
        });
        assert!(got == data, "{backend:?}");
        assert!(net.nodes[SERVER].got(accepted, stream).data.is_empty(), "no frames");
        let after = net.nodes[SERVER].io.io_stats().bytes_copied_rx;
        assert_eq!(after - before, data.len() as u64);
        assert_eq!(read(&mut net, accepted, stream, &mut room), 0, "and nothing after the end");
        net.all_home();
    }
}

#[test]
fn readable_is_told_again_only_after_a_read_found_nothing() {
    for backend in BOTH {
        let (mut net, conn, accepted, stream) = pulled(backend, |_| ());
        let readable = Seen::Readable(accepted, stream);
        for _ in 0..3 {
            net.nodes[CLIENT].io.stream_write(conn, stream, b"some").unwrap();
            net.run_for(Duration::from_millis(40));
        }
        assert_eq!(times(&net, &readable), 1);
        let mut room = [0; 12];
        assert_eq!(read(&mut net, accepted, stream, &mut room[..10]), 10);
        net.nodes[CLIENT].io.stream_write(conn, stream, b"more").unwrap();
        net.run_for(Duration::from_millis(40));
        assert_eq!(times(&net, &readable), 1);
        assert_eq!(read(&mut net, accepted, stream, &mut room), 6);
        assert_eq!(read(&mut net, accepted, stream, &mut room), 0);
        net.nodes[CLIENT].io.stream_write(conn, stream, b"again").unwrap();
        net.until("Readable", |net| times(net, &readable) == 2);
        assert_eq!(read(&mut net, accepted, stream, &mut room), 5);
        net.all_home();
    }
}

#[test]
fn ends_without_bytes_are_told_without_a_read() {
    for backend in BOTH {
        let (mut net, conn, accepted, stream) = pulled(backend, |_| ());
        net.nodes[CLIENT].io.stream_finish(conn, stream).unwrap();
        net.until("the end", |net| net.nodes[SERVER].has(&Seen::ReadClosed(accepted, stream)));
        let other = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Uni).unwrap();
        net.nodes[CLIENT].io.stream_write(conn, other, b"never read").unwrap();
        net.until("Readable", |net| net.nodes[SERVER].has(&Seen::Readable(accepted, other)));
        net.nodes[CLIENT].io.stream_reset(conn, other, 9).unwrap();
        net.run_for(Duration::from_millis(40));
        assert_eq!(read(&mut net, accepted, other, &mut [0; 9]), 0);
        net.until("the code", |net| net.nodes[SERVER].has(&Seen::Reset(accepted, other, 9)));
        net.all_home();
    }
}

#[test]
fn who_stops_a_stream_is_not_told_of_the_end_that_a_read_found() {
    for backend in BOTH {
        let (mut net, conn, accepted, stream) = pulled(backend, |_| ());
        let client = &mut net.nodes[CLIENT].io;
        client.stream_write(conn, stream, b"some").unwrap();
        client.stream_finish(conn, stream).unwrap();
        net.run_for(Duration::from_millis(40));
        assert_eq!(read(&mut net, accepted, stream, &mut [0; 10]), 4);
        net.nodes[SERVER].io.stop_sending(accepted, stream, 7).unwrap();
        net.run_for(Duration::from_millis(40));
        assert!(!net.nodes[SERVER].got(accepted, stream).closed);
        net.all_home();
    }
}

#[test]
fn what_is_not_read_stops_the_peer() {
    for backend in BOTH {
        let (mut net, conn, accepted, stream) =
            pulled(backend, |l| l.transport.stream_window = 20_000);
        let data = pattern(50_000);
        let client = &mut net.nodes[CLIENT].io;
        assert_eq!(client.stream_write(conn, stream, &data), Ok(20_000));
        net.run_for(Duration::from_millis(40));
        assert!(!net.nodes[CLIENT].has(&Seen::Writable(conn, stream)));
        let (mut room, mut got) = (vec![0; 20_000], 0);
        net.until("what the window allows", |net| {
            got += read(net, accepted, stream, &mut room[got..]);
            got == 20_000
        });
        assert!(room == data[..20_000]);
        net.until("Writable", |net| net.nodes[CLIENT].has(&Seen::Writable(conn, stream)));
        net.all_home();
    }
}

#[test]
fn what_came_before_the_end_of_the_connection_can_be_read() {
    for backend in BOTH {
        let (mut net, conn, accepted, stream) = pulled(backend, |_| ());
        net.nodes[CLIENT].io.stream_write(conn, stream, b"last words").unwrap();
        net.round_of(CLIENT);
        let end = std::time::Instant::now() + super::kit::PATIENCE;
        let (mut got, mut is_over) = (0, false);
        let mut closed = false;
        while !is_over {
            assert!(std::time::Instant::now() < end);
            let io = &mut net.nodes[SERVER].io;
            io.poll(Duration::ZERO).unwrap();
            while let Some(event) = io.next_event() {
                match event {
                    zero_io::Event::Readable { conn, stream } => {
                        got = io.stream_read(conn, stream, &mut [0; 100]).unwrap();
                    }
                    zero_io::Event::Disconnected { .. } => is_over = true,
                    _ => {}
                }
            }
            if !closed {
                closed = true;
                net.nodes[CLIENT].io.close(conn).unwrap();
            }
            net.round_of(CLIENT);
            if let Some(world) = &net.world {
                world.advance_by(Duration::from_millis(1));
            }
        }
        assert_eq!(got, 10, "{backend:?}");
        let late = net.nodes[SERVER].io.stream_read(accepted, stream, &mut [0; 1]);
        assert_eq!(late, Err(IoError::StaleConn { conn: accepted }));
    }
}

#[test]
fn wrong_reads_are_named() {
    for backend in BOTH {
        let (mut net, conn, accepted, stream) = pulled(backend, |_| ());
        let pushes = Err(IoError::StreamNotPullable { protocol: Protocol::Quic });
        assert_eq!(net.nodes[CLIENT].io.stream_read(conn, stream, &mut [0; 1]), pushes);
        let server = &mut net.nodes[SERVER].io;
        let none = Err(IoError::NoSuchStream { conn: accepted });
        assert_eq!(server.stream_read(accepted, stream, &mut [0; 1]), none, "not heard of");
        let ours = server.stream_open(accepted, StreamDir::Uni).unwrap();
        assert_eq!(server.stream_read(accepted, ours, &mut [0; 1]), none);
        net.all_home();
    }
}
