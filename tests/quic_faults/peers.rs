//! Peers that mean harm, or are gone.

use std::net::UdpSocket;
use std::time::Duration;

use zero_io::{IoError, QuicKeys, StreamDir, code};

use super::kit::{Backend, CLIENT, Net, SERVER, pattern};
use super::relay::{Path, Relay};

/// What is written to one that acknowledges nothing is bounded, and the connection ends.
#[test]
fn a_peer_that_never_acknowledges() {
    let mut net = Net::new(Backend::Uring);
    let idle = Duration::from_secs(2);
    let server = net.listen(|l| {
        l.transport.idle_timeout = Some(idle);
        l.transport.send_window = 300_000;
    });
    let relay = Relay::new(server, 1, Path::CLEAR);
    let conn = net.dial(relay.addr, |_| ());
    let (_, accepted) = net.connected(conn);
    relay.set(Path { holes: [true, false], ..Path::CLEAR });
    let stream = net.nodes[SERVER].io.stream_open(accepted, StreamDir::Uni).expect("a stream");
    let data = pattern(100_000);
    let mut taken = 0;
    while net.nodes[SERVER].end(accepted).is_none() {
        if let Ok(count) = net.nodes[SERVER].io.stream_write(accepted, stream, &data) {
            taken += count;
        }
        net.run_for(Duration::from_millis(20));
        assert!(taken <= 300_000, "{taken} bytes are kept");
    }
    assert!(taken >= 200_000, "{taken}");
    assert_eq!(net.nodes[SERVER].end(accepted).map(|end| end.0), Some(code::IDLE_TIMEOUT));
    relay.set(Path::CLEAR);
    net.all_home();
}

/// RFC 9000 §10.3.3: two that know nothing of each other's connections answer each other with
/// resets, each shorter than the one before.
#[test]
fn stateless_resets_do_not_loop() {
    let mut net = Net::new(Backend::Uring);
    // Three that share their keys, as after a restart: one of them has the connection.
    let keys = QuicKeys::from_bytes(&[7; QuicKeys::LEN]);
    let mut listen = |node| {
        let (_, addr) = net.listen_at(node, "127.0.0.1:0", |l| l.keys = Some(keys.clone()));
        addr
    };
    let (known, one, other) = (listen(SERVER), listen(SERVER), listen(CLIENT));
    let relay = Relay::new(known, 1, Path::CLEAR);
    let conn = net.dial(relay.addr, |_| ());
    let (conn, _) = net.connected(conn);
    let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Uni).expect("a stream");
    // What follows it (an acknowledgement, a probe) may be the last: then another one.
    net.until("a packet", |net| {
        net.nodes[CLIENT].io.stream_write(conn, stream, &pattern(900)).expect("room");
        net.run_for(Duration::from_millis(2));
        (900..1_200).contains(&relay.last().len())
    });
    let sockets = [one, other].map(|at| {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_nonblocking(true).expect("one that does not block");
        socket.connect(at).expect("an address");
        socket
    });
    sockets[0].send(&relay.last()).expect("room");
    let (mut answers, mut buffer) = (Vec::new(), [0; 2_000]);
    for _ in 0..300 {
        net.run_for(Duration::from_millis(2));
        for (from, to) in [(0, 1), (1, 0)] {
            while let Ok(len) = sockets[from].recv(&mut buffer) {
                answers.push(len);
                sockets[to].send(&buffer[..len]).expect("room");
            }
        }
    }
    eprintln!("answers of {answers:?} bytes");
    assert!((1..20).contains(&answers.len()), "{} answers", answers.len());
    assert!(answers.is_sorted_by(|a, b| a > b), "each is shorter than the one before");
    net.all_home();
}

/// Out of the way of others: one who has packets kept has no more of them than there are to spare.
#[test]
fn pinned_packets_do_not_starve() {
    let mut net = Net::with(Backend::Uring, 3, |c| c.quic_recv_buffers = 8);
    net.nodes[SERVER].echoes = true;
    let addr = net.listen(|_| ());
    let conn = net.dial(addr, |_| ());
    let (conn, accepted) = net.connected(conn);
    // Nothing is read, and each byte comes in a packet of its own.
    net.nodes[SERVER].io.pause_recv(accepted).expect("it is open");
    let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Uni).expect("a stream");
    for _ in 0..200 {
        net.nodes[CLIENT].io.stream_write(conn, stream, b"x").expect("room");
        net.round();
        net.run_for(Duration::from_micros(300));
    }
    let copied = net.nodes[SERVER].io.io_stats().quic_rx_copied;
    assert!(copied > 50, "{copied} packets were copied");
    let second = net.dial(addr, |_| ());
    let (second, _) = net.connected(second);
    let stream = net.nodes[CLIENT].io.stream_open(second, StreamDir::Bidi).expect("a stream");
    let data = pattern(2 << 20);
    net.send_all(CLIENT, second, stream, &data);
    net.until("the echo", |net| net.nodes[CLIENT].got(second, stream).closed);
    assert!(net.nodes[CLIENT].got(second, stream).data == data);
    net.all_home();
}

#[test]
fn streams_opened_to_the_limit() {
    let mut net = Net::new(Backend::Uring);
    net.nodes[SERVER].echoes = true;
    let (conn, _) = net.pair(
        |l| {
            l.transport.max_bidi_streams = 1_000;
            l.transport.max_uni_streams = 1_000;
        },
        |c| c.transport.max_uni_streams = 1_000,
    );
    let mut streams = Vec::new();
    for dir in [StreamDir::Bidi, StreamDir::Uni] {
        for _ in 0..1_000 {
            streams.push(net.nodes[CLIENT].io.stream_open(conn, dir).expect("within the limit"));
        }
        let beyond = net.nodes[CLIENT].io.stream_open(conn, dir);
        assert_eq!(beyond, Err(IoError::StreamLimit { conn, dir }));
    }
    for stream in &streams {
        let io = &mut net.nodes[CLIENT].io;
        assert_eq!(io.stream_write(conn, *stream, b"each its own"), Ok(12));
        io.stream_finish(conn, *stream).expect("it is open");
    }
    net.until("all of them", |net| {
        net.nodes[CLIENT].got.values().filter(|got| got.closed).count() == streams.len()
    });
    net.all_home();
}
