//! Payload that is sent on from where it was received, and payload that is kept.

use std::collections::HashMap;
use std::time::Duration;

use zero_io::{ConnId, Event, Io, OwnedSlot, Protocol, StreamDir, StreamId};

use super::kit::{BOTH, Backend, CLIENT, Net, SERVER, pattern};

/// Where the payload of each stream goes on to.
type Routes = HashMap<(ConnId, StreamId), (ConnId, StreamId)>;

/// Sends on what comes, and ends behind it. Connections of TCP that were heard of.
fn relay(io: &mut Io, routes: &mut Routes, tcp: &mut Vec<ConnId>) {
    io.poll(Duration::ZERO).expect("poll");
    let (mut events, mut sender) = io.split();
    while let Some(event) = events.next_event() {
        match event {
            Event::Connected { conn, protocol: Protocol::Tcp, .. } => tcp.push(conn),
            Event::StreamFrame { conn, stream, data, .. } => {
                let (to, on) = routes[&(conn, stream)];
                sender.forward(to, on, data).expect("forward");
            }
            Event::ReadClosed { conn, stream } => {
                let (to, on) = routes[&(conn, stream)];
                sender.shutdown_write(to, on).expect("the end");
            }
            _ => {}
        }
    }
}

/// The client's stream brings back what was written to it, by the server's routes.
fn echo(net: &mut Net, (conn, stream): (ConnId, StreamId), routes: &mut Routes) {
    let data = pattern(300_000);
    let mut done = 0;
    net.until_custom("the echo", |net| {
        let client = &mut net.nodes[CLIENT].io;
        if done < data.len() {
            done += client.stream_write(conn, stream, &data[done..]).unwrap();
            if done == data.len() {
                client.stream_finish(conn, stream).unwrap();
            }
        }
        relay(&mut net.nodes[SERVER].io, routes, &mut Vec::new());
        net.round_of(CLIENT);
        net.nodes[CLIENT].got(conn, stream).closed
    });
    assert!(net.nodes[CLIENT].got(conn, stream).data == data, "what came back");
}

/// A client and a server of QUIC, connected; on the server's shard also both ends of a connection
/// of TCP.
fn with_tcp(backend: Backend) -> (Net, ConnId, ConnId, [ConnId; 2]) {
    let mut net = Net::new(backend);
    let (conn, accepted) = net.pair(|_| (), |_| ());
    let io = &mut net.nodes[SERVER].io;
    let listener = io.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = io.local_addr(listener).unwrap().inet().unwrap();
    io.tcp_connect(addr).unwrap();
    let mut tcp = Vec::new();
    net.until_custom("TCP to be connected", |net| {
        relay(&mut net.nodes[SERVER].io, &mut Routes::new(), &mut tcp);
        tcp.len() == 2
    });
    (net, conn, accepted, [tcp[0], tcp[1]])
}

#[test]
fn between_connections_of_all_kinds_without_a_copy() {
    for backend in BOTH {
        let (mut net, conn, accepted, [one, other]) = with_tcp(backend);
        let client = &mut net.nodes[CLIENT].io;
        let stream = client.stream_open(conn, StreamDir::Bidi).unwrap();
        // What comes by QUIC goes on by TCP, from there by TCP, and back by QUIC.
        let mut routes = Routes::from([
            ((accepted, stream), (one, StreamId::ZERO)),
            ((other, StreamId::ZERO), (accepted, stream)),
        ]);
        let before = net.nodes[SERVER].io.io_stats();
        echo(&mut net, (conn, stream), &mut routes);
        let after = net.nodes[SERVER].io.io_stats();
        assert_eq!(after.bytes_copied_rx - before.bytes_copied_rx, 0);
        assert_eq!(after.bytes_copied_tx - before.bytes_copied_tx, 0);
        assert_eq!(after.quic_rx_copied, 0);
    }
}

#[test]
fn between_connections_of_quic_without_a_copy() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, accepted) = net.pair(|_| (), |_| ());
        let client = &mut net.nodes[CLIENT].io;
        let stream = client.stream_open(conn, StreamDir::Bidi).unwrap();
        let mut routes = Routes::from([((accepted, stream), (accepted, stream))]);
        echo(&mut net, (conn, stream), &mut routes);
        let stats = net.nodes[SERVER].io.io_stats();
        assert_eq!((stats.bytes_copied_rx, stats.bytes_copied_tx, stats.quic_rx_copied), (0, 0, 0));
        net.all_home();
    }
}

/// Keeps the payload of all frames until there are so many bytes.
fn keep(net: &mut Net, bytes: usize) -> Vec<OwnedSlot> {
    let mut kept = Vec::new();
    net.until_custom("payload", |net| {
        net.round_of(CLIENT);
        let io = &mut net.nodes[SERVER].io;
        io.poll(Duration::ZERO).unwrap();
        while let Some(event) = io.next_event() {
            if let Event::StreamFrame { .. } = event {
                kept.push(io.detach_event_data().expect("a payload"));
                assert!(io.detach_event_data().is_none(), "once");
            }
        }
        kept.iter().map(|slot| slot.len()).sum::<usize>() == bytes
    });
    kept
}

#[test]
fn what_is_kept_outlives_everything_and_is_not_copied() {
    for backend in BOTH {
        let mut net = Net::new(backend);
        let (conn, _) = net.pair(|_| (), |_| ());
        let data = pattern(50_000);
        let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Uni).unwrap();
        assert_eq!(net.nodes[CLIENT].io.stream_write(conn, stream, &data), Ok(data.len()));
        let mut kept = keep(&mut net, data.len());
        assert_eq!(net.nodes[SERVER].io.io_stats().bytes_copied_rx, 0);
        let first = kept.remove(0);
        let first = first.try_into_send_buffer().expect_err("it is shared");
        let clone = first.clone();
        let thread = std::thread::spawn(move || {
            let head = first.slice(1..3).to_vec();
            (head, kept.iter().flat_map(|slot| slot.to_vec()).collect::<Vec<u8>>())
        });
        let (head, rest) = thread.join().unwrap();
        assert_eq!(head, data[1..3]);
        net.nodes[CLIENT].io.close(conn).unwrap();
        net.run_for(Duration::from_millis(50));
        drop(net);
        assert!([&clone[..], &rest].concat() == data, "{backend:?}");
    }
}

#[test]
fn beyond_what_can_be_spared_what_is_kept_is_copied() {
    for backend in BOTH {
        let mut net = Net::with(backend, 2, |c| c.quic_recv_buffers = 8);
        let (conn, _) = net.pair(|_| (), |_| ());
        let data = pattern(30_000);
        let stream = net.nodes[CLIENT].io.stream_open(conn, StreamDir::Uni).unwrap();
        let mut kept = Vec::new();
        for piece in data.chunks(1000) {
            // One packet, and so one buffer, each.
            assert_eq!(net.nodes[CLIENT].io.stream_write(conn, stream, piece), Ok(piece.len()));
            kept.extend(keep(&mut net, piece.len()));
        }
        let copied = net.nodes[SERVER].io.io_stats().bytes_copied_rx;
        assert!(copied > 0 && copied < 30_000, "{copied}");
        assert!(kept.iter().flat_map(|slot| slot.to_vec()).eq(data.iter().copied()));
        drop(kept);
        net.all_home();
    }
}
