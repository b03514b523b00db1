//! Bounds, figures, and many connections at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zero_io::sim::{Fault, Faults, World};
use zero_io::{
    EcnState, Event, OwnedSlot, PeerAddr, PoolPressureInfo, PressureState, Protocol,
    QuicConnectConfig, SendBuffer, StreamDir, code,
};

use super::kit::{BOTH, Backend, CLIENT, Net, PATIENCE, SERVER, Seen, pattern};

#[test]
fn figures_of_a_connection() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        net.nodes[SERVER].echoes = true;
        let (conn, _) = net.pair(|_| (), |_| ());
        let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
        let data = pattern(1 << 20);
        net.send_all(CLIENT, conn, stream, &data);
        net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
        let stats = net.nodes[CLIENT].io.conn_stats(conn).unwrap();
        assert!(stats.bytes_sent > 1 << 20 && stats.bytes_received > 1 << 20, "{stats:?}");
        assert!(stats.rtt_us > 0 && stats.rtt_min_us > 0 && stats.rtt_min_us <= stats.rtt_us * 2);
        assert!(stats.cwnd >= 12_000 && stats.packets_sent > 700);
        let quic = stats.quic.unwrap();
        assert!(quic.mtu >= 1200 && quic.udp_sent > 100 && quic.udp_received > 100, "{quic:?}");
        assert_eq!(u64::from(stats.packets_received), quic.udp_received);
        assert_eq!(quic.ecn, EcnState::On);
        net.all_home();
    }
}

#[test]
fn forty_connections_each_echo() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        net.nodes[SERVER].echoes = true;
        let addr = net.listen(|_| ());
        let conns: Vec<_> = (0..40).map(|_| net.dial(addr, |_| ())).collect();
        net.until("all of them", |net| net.nodes[CLIENT].open.len() == conns.len());
        let data = pattern(20_000);
        let mut streams = Vec::new();
        for conn in &conns {
            let client = &mut net.nodes[CLIENT].io;
            let stream = client.stream_open(*conn, StreamDir::Bidi).unwrap();
            assert_eq!(client.stream_write(*conn, stream, &data), Ok(data.len()));
            client.stream_finish(*conn, stream).unwrap();
            streams.push((*conn, stream));
        }
        net.until("all echoes", |net| {
            streams.iter().all(|(conn, stream)| net.nodes[CLIENT].got(*conn, *stream).closed)
        });
        for (conn, stream) in &streams {
            assert!(net.nodes[CLIENT].got(*conn, *stream).data == data);
        }
        assert_eq!(net.nodes[SERVER].io.io_stats().quic_handshakes, 40);
        net.all_home();
    }
}

#[test]
fn a_socket_sends_so_much_in_a_tick_and_the_rest_in_the_next_ones() {
    /// Of the engine: what a socket sends in a tick, and a connection in its turn.
    const TICK_BYTES_MAX: u64 = (4 << 20) + (256 << 10);
    const CONNS: usize = 60;
    for backend in BOTH {
        let mut net = Net::new(backend);
        let addr = net.listen(|_| ());
        // All that is written may be sent at once.
        let dial = |c: &mut QuicConnectConfig| c.transport.initial_window = Some(16 << 20);
        let conns: Vec<_> = (0..CONNS).map(|_| net.dial(addr, dial)).collect();
        net.until("all of them", |net| {
            net.nodes[SERVER].open.len() == CONNS && net.nodes[CLIENT].open.len() == CONNS
        });
        net.run_for(Duration::from_millis(50));
        let client = &mut net.nodes[CLIENT].io;
        let data: Arc<[u8]> = pattern(200_000).into();
        let mut streams = Vec::new();
        for conn in &conns {
            let stream = client.stream_open(*conn, StreamDir::Uni).unwrap();
            client.stream_write_guard(*conn, stream, Arc::clone(&data), 0).unwrap();
            client.stream_finish(*conn, stream).unwrap();
            streams.push(stream);
        }
        let sent = |net: &mut Net| -> u64 {
            let io = &mut net.nodes[CLIENT].io;
            conns.iter().map(|conn| io.conn_stats(*conn).unwrap().bytes_sent).sum()
        };
        let (first, begun) = (sent(&mut net), Instant::now());
        let mut ticks = 0;
        while sent(&mut net) - first < (CONNS * data.len()) as u64 {
            let before = sent(&mut net);
            net.nodes[CLIENT].io.poll(PATIENCE).unwrap();
            let in_tick = sent(&mut net) - before;
            assert!(in_tick <= TICK_BYTES_MAX, "{backend:?}: {in_tick} bytes");
            ticks += 1;
        }
        assert!((3..20).contains(&ticks), "{backend:?}: {ticks}");
        assert!(begun.elapsed() < PATIENCE, "nothing waits for what is to come");
        net.until("all of it", |net| {
            let ends = net.nodes[SERVER].seen.iter();
            ends.filter(|seen| matches!(seen, Seen::ReadClosed(..))).count() == CONNS
        });
    }
}

/// The place of a connection that its peer ended is free when the end was handed out: who came to a
/// full table is accepted then, and not when the protocol lets go of the rest of it.
#[test]
fn who_waits_for_the_place_of_a_connection_gets_it() {
    let mut net = Net::with(Backend::Uring, 2, |c| c.max_connections = 1);
    let listener = net.nodes[SERVER].io.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = net.nodes[SERVER].io.local_addr(listener).unwrap().inet().unwrap();
    let (conn, _) = net.pair(|_| (), |_| ());
    let _waiting = std::net::TcpStream::connect(addr).unwrap();
    net.nodes[CLIENT].io.close(conn).unwrap();
    // It is told late: no datagram has an endpoint looked at any more.
    for _ in 0..10 {
        net.round_of(CLIENT);
        net.nodes[SERVER].io.poll(Duration::ZERO).unwrap();
    }
    let io = &mut net.nodes[SERVER].io;
    let event = io.next_event();
    assert!(matches!(event, Some(Event::Disconnected { .. })), "{event:?}");
    assert!(io.next_event().is_none());
    io.poll(Duration::ZERO).unwrap();
    let event = io.next_event();
    assert!(matches!(event, Some(Event::Connected { protocol: Protocol::Tcp, .. })), "{event:?}");
}

#[test]
fn noise_is_ignored() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        net.nodes[SERVER].echoes = true;
        let addr = net.listen(|_| ());
        let noise = net.nodes[CLIENT].io.udp_bind("127.0.0.1:0".parse().unwrap()).unwrap();
        for len in [0, 1, 20, 1200, 9000] {
            for fill in [0x00, 0x40, 0xC0, 0xFF] {
                let data = vec![fill; len];
                net.nodes[CLIENT].io.udp_send_bytes(noise, addr, &data).unwrap();
            }
        }
        let conn = net.dial(addr, |_| ());
        net.until("a connection among it", |net| {
            let told = |seen: &Seen| matches!(seen, Seen::Connected { conn: c, .. } if *c == conn);
            net.nodes[CLIENT].seen.iter().any(told)
        });
        net.run_for(Duration::from_millis(5));
        net.nodes[CLIENT].io.endpoint_close(noise).unwrap();
        net.all_home();
    }
}

#[test]
fn connections_come_and_go() {
    for backend in BOTH {
        let mut net = Net::with(backend, 2, |c| c.max_connections = 8);
        let addr = net.listen(|_| ());
        for round in 0..30 {
            let conn = net.dial(addr, |_| ());
            let (conn, accepted) = net.connected(conn);
            let (at, conn) = if round % 2 == 0 { (CLIENT, conn) } else { (SERVER, accepted) };
            net.nodes[at].io.close_with(conn, round, b"next").unwrap();
            net.until("both ends", |net| net.nodes.iter().all(|node| node.open.is_empty()));
        }
        net.all_home();
    }
}

/// Short of the names of its faults, a network as bad as any.
const BAD: [(Fault, u32); 6] = [
    (Fault::UdpLoss, 30_000),
    (Fault::UdpDuplicate, 50_000),
    (Fault::UdpReorder, 100_000),
    (Fault::UdpSendAgain, 50_000),
    (Fault::UdpSendError, 10_000),
    (Fault::CompletionDelay, 100_000),
];

#[test]
fn what_is_written_arrives_over_a_bad_network() {
    for seed in 0..40 {
        let faults =
            BAD.iter().fold(Faults::none(), |faults, (fault, ppm)| faults.with(*fault, *ppm));
        let world = World::new(seed, faults);
        let mut net = Net::in_world(Some(world), 2, |_| ());
        net.nodes[SERVER].echoes = true;
        let (conn, _) = net.pair(|_| (), |_| ());
        let mut streams = Vec::new();
        for i in 0..5 {
            let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
            let data = pattern(i * 20_000);
            net.send_all(CLIENT, conn, stream, &data);
            streams.push((stream, data));
        }
        for (stream, data) in &streams {
            net.until("the echo", |net| net.nodes[CLIENT].got(conn, *stream).closed);
            assert!(net.nodes[CLIENT].got(conn, *stream).data == *data, "seed {seed}");
        }
        let stats = net.nodes[CLIENT].io.conn_stats(conn).unwrap();
        assert!(stats.packets_sent > 100, "{stats:?}");
        net.all_home();
    }
}

/// Has the server keep what is sent to it by plain UDP, and every buffer that it gets.
fn hold_slots(net: &mut Net) -> (Vec<OwnedSlot>, Vec<SendBuffer>) {
    let any = "127.0.0.1:0".parse().unwrap();
    let server = net.nodes[SERVER].io.udp_bind(any).unwrap();
    let client = net.nodes[CLIENT].io.udp_bind(any).unwrap();
    let PeerAddr::Inet(to) = net.nodes[SERVER].io.local_addr(server).unwrap() else { panic!() };
    let mut kept = Vec::new();
    net.run_for(Duration::from_millis(2));
    for _ in 0..100 {
        net.nodes[CLIENT].io.udp_send_bytes(client, to, b"to be kept").ok();
        net.nodes[CLIENT].io.poll(Duration::ZERO).unwrap();
        if let Some(world) = &net.world {
            world.advance_by(Duration::from_micros(100));
        }
        let io = &mut net.nodes[SERVER].io;
        io.poll(Duration::ZERO).unwrap();
        while io.next_event().is_some() {
            kept.extend(io.detach_event_data());
        }
    }
    let io = &mut net.nodes[SERVER].io;
    let buffers = std::iter::from_fn(|| io.send_buffer(1).ok()).collect();
    net.nodes[CLIENT].io.endpoint_close(client).unwrap();
    net.nodes[SERVER].io.endpoint_close(server).unwrap();
    (kept, buffers)
}

#[test]
fn under_pressure_nobody_new_is_taken() {
    for backend in BOTH {
        // Critical is from 55 % on.
        let mut net = Net::with(backend, 3, |c| {
            (c.pool_slot_count, c.handle_reserve_count) = (64, 8);
            (c.pool_pressure_pct, c.detached_max_pct) = (10, 90);
        });
        net.nodes[SERVER].echoes = true;
        let addr = net.listen(|_| ());
        let conn = net.dial(addr, |_| ());
        let (conn, _) = net.connected(conn);
        let held = hold_slots(&mut net);
        net.round();
        let pressure = net.nodes[SERVER].io.pool_pressure();
        let is_critical = |info: &PoolPressureInfo| info.state >= PressureState::Critical;
        assert!(pressure.as_ref().is_some_and(is_critical), "{pressure:?}");
        let before = net.nodes[SERVER].io.io_stats();
        let config = QuicConnectConfig::new(addr, net.client_tls(&["echo"]));
        let late = net.nodes[2].io.quic_connect_with(config).unwrap();
        assert_eq!(net.end_of(2, late).0, code::QUIC_REFUSED);
        let stats = net.nodes[SERVER].io.io_stats();
        assert_eq!(stats.quic_retried, before.quic_retried + 1, "asked first");
        assert_eq!(stats.quic_refused, before.quic_refused + 1);
        let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Bidi).unwrap();
        net.send_all(CLIENT, conn, stream, b"still here");
        net.until("the echo", |net| net.nodes[CLIENT].got(conn, stream).closed);
        drop(held);
        net.all_home();
    }
}

#[test]
fn a_client_that_vanishes_is_given_up_in_time() {
    for backend in BOTH {
        let mut net = Net::with(backend, 3, |_| ());
        let addr = net.listen(|l| l.handshake_timeout = Duration::from_millis(200));
        let config = QuicConnectConfig::new(addr, net.client_tls(&["echo"]));
        net.nodes[2].io.quic_connect_with(config).unwrap();
        // Its first packet leaves, and that was all of it.
        net.nodes[2].io.poll(Duration::ZERO).unwrap();
        drop(net.nodes.pop());
        net.until("the end of it", |net| {
            let mut seen = net.nodes[SERVER].seen.iter();
            seen.any(|seen| matches!(seen, Seen::Disconnected { code: code::CONNECT_TIMEOUT, .. }))
        });
        net.all_home();
    }
}
