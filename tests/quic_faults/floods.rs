//! More than can be served.

use std::time::{Duration, Instant};

use zero_io::{QuicConnectConfig, StreamDir};

use super::kit::{Backend, CLIENT, Net, SERVER, pattern};

const FLOOD: usize = 2;
const CLIENTS: usize = 600;
/// Ticks of the server that an echo may take: how long it waits behind handshakes, whatever else
/// the machine does. Each begins 8 of them, of half a millisecond.
const TICKS_MAX: u64 = 8;

/// Who floods is asked to show where it is, what is kept of it is bounded, and who is there is
/// served in between.
#[test]
fn a_flood_of_handshakes() {
    let mut net = Net::with(Backend::Uring, 3, |c| c.max_connections = 1_024);
    net.nodes[SERVER].echoes = true;
    let addr = net.listen(|l| {
        l.incoming_max = 64;
        l.handshake_timeout = Duration::from_secs(1);
    });
    let conn = net.dial(addr, |_| ());
    let (conn, _) = net.connected(conn);
    let config = QuicConnectConfig::new(addr, net.client_tls(&["echo"]));
    let mut times = Vec::new();
    for _ in 0..CLIENTS / 20 {
        // Each leaves its first packet, and is never heard of again.
        for _ in 0..20 {
            net.nodes[FLOOD].io.quic_connect_with(config.clone()).expect("room");
        }
        net.nodes[FLOOD].io.poll(Duration::ZERO).expect("a tick");
        times.push(echo(&mut net, conn));
    }
    let stats = net.nodes[SERVER].io.io_stats();
    times.sort_unstable();
    let (ticks, _) = times[times.len() * 99 / 100];
    eprintln!("of {} echoes, ticks and time: {times:?}; {stats:?}", times.len());
    assert!(stats.quic_retried > 50, "{} were asked to retry", stats.quic_retried);
    assert!(ticks <= TICKS_MAX, "{ticks} ticks for an echo");
    net.nodes.truncate(FLOOD);
    net.all_home();
}

/// How many ticks of the server and how long one takes.
fn echo(net: &mut Net, conn: zero_io::ConnId) -> (u64, Duration) {
    let (start, before) = (Instant::now(), net.nodes[SERVER].io.io_stats().polls);
    let io = &mut net.nodes[CLIENT].io;
    let stream = io.stream_open(conn, StreamDir::Bidi).expect("a stream");
    assert_eq!(io.stream_write(conn, stream, &pattern(100)), Ok(100));
    io.stream_finish(conn, stream).expect("it is open");
    // The flood is not polled.
    while !net.nodes[CLIENT].got(conn, stream).closed {
        let flood = net.nodes.pop().expect("the flood");
        net.round();
        net.nodes.push(flood);
        assert!(start.elapsed() < super::kit::PATIENCE, "no echo");
    }
    (net.nodes[SERVER].io.io_stats().polls - before, start.elapsed())
}
