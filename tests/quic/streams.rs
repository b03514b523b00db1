//! Streams: what is written arrives, in order, to its end.

use std::time::Duration;

use zero_io::{ConnId, IoError, StreamDir, StreamId};

use super::kit::{BOTH, Backend, CLIENT, Net, SERVER, Seen, pattern};

/// A connected pair whose server echoes.
fn echo(backend: Backend) -> (Net, ConnId) {
    let mut net = Net::new(backend);
    net.nodes[SERVER].echoes = true;
    let (conn, _) = net.pair(|_| (), |_| ());
    (net, conn)
}

fn open(net: &mut Net, conn: ConnId, dir: StreamDir) -> StreamId {
    net.nodes[CLIENT].io.stream_open(conn, dir).expect("a stream")
}

#[test]
fn any_length_comes_back() {
    for backend in BOTH {
        let (mut net, conn) = echo(backend);
        let longest = if backend == Backend::Uring { 16 << 20 } else { 2 << 20 };
        for len in [0, 1, 1199, 65_537, 1 << 20, longest] {
            let stream = open(&mut net, conn, StreamDir::Bidi);
            let data = pattern(len);
            net.send_all(CLIENT, conn, stream, &data);
            net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
            assert!(net.nodes[CLIENT].got(conn, stream).data == data, "{backend:?}: {len}");
            net.until("its end to be acknowledged", |net| {
                net.nodes[CLIENT].has(&Seen::Finished(conn, stream))
            });
            net.nodes.iter_mut().for_each(|node| node.got.clear());
        }
        let stats = net.nodes[CLIENT].io.io_stats();
        assert_eq!(stats.quic_rx_copied, 0, "no packet was copied");
        net.all_home();
    }
}

#[test]
fn a_short_stream_is_one_frame_that_is_the_last() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, accepted) = net.pair(|_| (), |_| ());
        let stream = open(&mut net, conn, StreamDir::Uni);
        let client = &mut net.nodes[CLIENT].io;
        assert_eq!(client.stream_write(conn, stream, b"all"), Ok(3));
        client.stream_finish(conn, stream).unwrap();
        net.until("its end", |net| net.nodes[SERVER].got(accepted, stream).closed);
        let got = net.nodes[SERVER].got(accepted, stream);
        assert_eq!((&got.data[..], got.frames, got.fin), (&b"all"[..], 1, true));
        net.all_home();
    }
}

#[test]
fn a_hundred_streams_of_both_kinds() {
    for backend in BOTH {
        let (mut net, conn) = echo(backend);
        let mut sent = Vec::new();
        for i in 0..100 {
            let dir = if i % 2 == 0 { StreamDir::Bidi } else { StreamDir::Uni };
            let stream = open(&mut net, conn, dir);
            let data = pattern(i * 37);
            let client = &mut net.nodes[CLIENT].io;
            assert_eq!(client.stream_write(conn, stream, &data), Ok(data.len()));
            client.stream_finish(conn, stream).unwrap();
            sent.push((dir, stream, data));
        }
        net.until("all of them", |net| {
            net.nodes[CLIENT].got.values().filter(|got| got.closed).count() == 100
        });
        let mut lens: Vec<usize> = Vec::new();
        for ((_, stream), got) in &net.nodes[CLIENT].got {
            if stream.dir() == StreamDir::Uni {
                assert!(!stream.opened_by_client());
                lens.push(got.data.len());
            }
        }
        lens.sort_unstable();
        assert_eq!(lens, (0..50).map(|i| (2 * i + 1) * 37).collect::<Vec<_>>());
        for (dir, stream, data) in &sent {
            if *dir == StreamDir::Bidi {
                assert_eq!(net.nodes[CLIENT].got(conn, *stream).data, *data);
            }
        }
        net.all_home();
    }
}

#[test]
fn beyond_the_window_a_write_is_cut_and_writable_follows() {
    for backend in BOTH {
        // What closes: the stream's window, the connection's, our own send window.
        for (stream_window, conn_window, send_window) in
            [(8192, 1 << 20, 1 << 20), (65_536, 65_536, 1 << 20), (1 << 20, 1 << 20, 16 << 10)]
        {
            let mut net = Net::new(backend);
            let (conn, accepted) = net.pair(
                |l| {
                    l.transport.stream_window = stream_window;
                    l.transport.conn_window = conn_window;
                },
                |c| c.transport.send_window = send_window,
            );
            let stream = open(&mut net, conn, StreamDir::Bidi);
            let data = pattern(300_000);
            let first = net.nodes[CLIENT].io.stream_write(conn, stream, &data).unwrap();
            assert!(first > 0 && first < data.len(), "{first}");
            let mut done = first;
            let mut waits = 0;
            while done < data.len() {
                waits += 1;
                net.until("Writable", |net| net.nodes[CLIENT].has(&Seen::Writable(conn, stream)));
                net.nodes[CLIENT].seen.retain(|seen| *seen != Seen::Writable(conn, stream));
                let client = &mut net.nodes[CLIENT].io;
                let taken = client.stream_write(conn, stream, &data[done..]).unwrap();
                assert!(taken > 0, "Writable means what it says");
                done += taken;
            }
            net.nodes[CLIENT].io.stream_finish(conn, stream).unwrap();
            net.until("its end", |net| net.nodes[SERVER].got(accepted, stream).closed);
            assert!(net.nodes[SERVER].got(accepted, stream).data == data && waits > 0);
            net.all_home();
        }
    }
}

#[test]
fn a_reader_that_pauses_stops_the_writer() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, accepted) = net.pair(
            |l| {
                l.transport.stream_window = 65_536;
                l.transport.conn_window = 65_536;
            },
            |_| (),
        );
        net.nodes[SERVER].io.pause_recv(accepted).unwrap();
        let stream = open(&mut net, conn, StreamDir::Bidi);
        let data = pattern(200_000);
        let mut done = 0;
        for _ in 0..50 {
            let client = &mut net.nodes[CLIENT].io;
            done += client.stream_write(conn, stream, &data[done..]).unwrap();
            net.run_for(Duration::from_millis(2));
        }
        assert_eq!(done, 65_536, "its window and no more");
        assert!(net.nodes[SERVER].got.is_empty());
        net.nodes[SERVER].io.resume_recv(accepted).unwrap();
        net.send_all(CLIENT, conn, stream, &data[done..]);
        net.until("its end", |net| net.nodes[SERVER].got(accepted, stream).closed);
        assert!(net.nodes[SERVER].got(accepted, stream).data == data);
        net.all_home();
    }
}

#[test]
fn a_reset_and_a_stop_tell_their_codes() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, accepted) = net.pair(|_| (), |_| ());
        let stream = open(&mut net, conn, StreamDir::Bidi);
        let client = &mut net.nodes[CLIENT].io;
        client.stream_write(conn, stream, b"begun").unwrap();
        net.until("the first frame", |net| {
            !net.nodes[SERVER].got(accepted, stream).data.is_empty()
        });
        net.nodes[CLIENT].io.stream_reset(conn, stream, 77).unwrap();
        net.nodes[CLIENT].io.stop_sending(conn, stream, 78).unwrap();
        net.until("both codes", |net| {
            let server = &net.nodes[SERVER];
            server.has(&Seen::Reset(accepted, stream, 77))
                && server.has(&Seen::Stop(accepted, stream, 78))
        });
        assert!(!net.nodes[SERVER].got(accepted, stream).closed, "reset, not ended");
        let late = net.nodes[SERVER].io.stream_write(accepted, stream, b"late");
        assert!(late.is_err(), "{late:?}");
        let late = net.nodes[CLIENT].io.stream_write(conn, stream, b"late");
        assert_eq!(late, Err(IoError::WriteClosed { conn }));
        net.all_home();
    }
}

#[test]
fn streams_are_as_many_as_the_peer_allows() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        net.nodes[SERVER].echoes = true;
        let (conn, _) = net.pair(|l| l.transport.max_bidi_streams = 3, |_| ());
        let streams: Vec<_> = (0..3).map(|_| open(&mut net, conn, StreamDir::Bidi)).collect();
        let dir = StreamDir::Bidi;
        let more = net.nodes[CLIENT].io.stream_open(conn, dir);
        assert_eq!(more, Err(IoError::StreamLimit { conn, dir }));
        net.send_all(CLIENT, conn, streams[0], b"one");
        net.until("room for another", |net| net.nodes[CLIENT].has(&Seen::Available(conn, dir)));
        let next = open(&mut net, conn, dir);
        assert_eq!(next.index(), 3);
        net.all_home();
    }
}

#[test]
fn wrong_streams_are_named() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, accepted) = net.pair(|_| (), |_| ());
        let uni = open(&mut net, conn, StreamDir::Uni);
        let client = &mut net.nodes[CLIENT].io;
        let none = Err(IoError::NoSuchStream { conn });
        for number in [0, 1, 3, 6, 1 << 62, u64::MAX] {
            let stream = StreamId::from_u64(number);
            assert_eq!(client.stream_write(conn, stream, b"x").map(drop), none, "{number}");
            assert_eq!(client.stream_finish(conn, stream), none);
            assert_eq!(client.stream_reset(conn, stream, 0), none);
            assert_eq!(client.stream_priority(conn, stream, 1), none);
            assert_eq!(client.stop_sending(conn, stream, 0), none);
        }
        assert_eq!(client.stop_sending(conn, uni, 0), none, "we do not receive on it");
        assert_eq!(client.stream_priority(conn, uni, 5), Ok(()));
        client.stream_write(conn, uni, b"x").unwrap();
        net.until("it", |net| !net.nodes[SERVER].got(accepted, uni).data.is_empty());
        let server = &mut net.nodes[SERVER].io;
        let none = Err(IoError::NoSuchStream { conn: accepted });
        assert_eq!(server.stream_write(accepted, uni, b"x").map(drop), none);
        net.all_home();
    }
}

#[test]
fn what_is_shown_can_be_kept_and_sent_elsewhere() {
    use zero_io::Event;
    let (mut net, conn) = echo(Backend::Uring);
    let stream = open(&mut net, conn, StreamDir::Bidi);
    let io = &mut net.nodes[CLIENT].io;
    let listener = io.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let zero_io::PeerAddr::Inet(addr) = io.local_addr(listener).unwrap() else { panic!() };
    let mut tcp = std::net::TcpStream::connect(addr).unwrap();
    io.stream_write(conn, stream, b"to be kept").unwrap();
    let (mut kept, mut bridge) = (None, None);
    let end = std::time::Instant::now() + super::kit::PATIENCE;
    while kept.is_none() {
        assert!(std::time::Instant::now() < end);
        net.nodes[SERVER].io.poll(Duration::ZERO).unwrap();
        while let Some(event) = net.nodes[SERVER].io.next_event() {
            let Event::StreamFrame { conn, stream, data, .. } = event else { continue };
            let data = data.to_vec();
            net.nodes[SERVER].io.stream_write(conn, stream, &data).unwrap();
        }
        let io = &mut net.nodes[CLIENT].io;
        io.poll(Duration::from_millis(1)).unwrap();
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::Connected { conn, .. } => bridge = Some(conn),
                Event::StreamFrame { data, .. } => {
                    let other = b"other bytes";
                    let to = bridge.expect("TCP was first");
                    assert!(sender.forward(to, StreamId::ZERO, other).is_err());
                    sender.forward(to, StreamId::ZERO, &data[3..]).unwrap();
                    kept = events.detach_event_data();
                    assert!(events.detach_event_data().is_none(), "once");
                }
                _ => {}
            }
        }
    }
    let mut got = [0; 7];
    net.nodes[CLIENT].io.poll(Duration::ZERO).unwrap();
    std::io::Read::read_exact(&mut tcp, &mut got).unwrap();
    assert_eq!(&got, b"be kept");
    assert_eq!(&kept.unwrap()[..], b"to be kept");
}
