//! TCP on the real kernel: connecting, writing, reading, options.

mod common;

use std::collections::BTreeMap;
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use common::{
    PATIENCE, STREAM, Seen, Shard, TICK, assert_same, dial, localhost, patient, pattern,
    plain_listener, read_to_end,
};
use zero_io::{
    ConnTimeouts, Event, IoError, Keepalive, MessageKind, PeerAddr, PoolKind, Protocol,
    SendOutcome, TcpConnectConfig, TcpListenConfig, Toggle, code,
};

// ---- connecting

#[test]
fn connected_says_who_and_how() {
    let mut shard = Shard::new();
    let (endpoint, addr) = shard.listen();
    let client = dial(addr);
    let conn = shard.wait("Connected", |seen| match seen {
        Seen::Connected { conn, endpoint: e, peer, protocol } => {
            assert_eq!(*e, Some(endpoint));
            assert_eq!(*peer, PeerAddr::Inet(client.local_addr().unwrap()));
            assert_eq!(*protocol, Protocol::Tcp);
            Some(*conn)
        }
        _ => None,
    });
    assert_eq!(shard.io.peer_addr(conn).unwrap().inet(), Some(client.local_addr().unwrap()));
    assert_eq!(shard.io.conn_local_addr(conn).unwrap().inet(), Some(addr));
    shard.finish();
}

#[test]
fn an_outgoing_connection_has_no_endpoint() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    let asked = shard.io.tcp_connect(addr).unwrap();
    let early = shard.io.stream_write(asked, STREAM, b"too early");
    assert_eq!(early, Err(IoError::NotConnected { conn: asked }));
    shard.step(TICK);
    let (peer, _) = listener.accept().unwrap();
    let told = shard.wait("Connected", |seen| match seen {
        Seen::Connected { conn, endpoint: None, peer, protocol: Protocol::Tcp } => {
            assert_eq!(*peer, PeerAddr::Inet(addr));
            Some(*conn)
        }
        _ => None,
    });
    assert_eq!(asked, told);
    assert_eq!(shard.io.conn_local_addr(told).unwrap().inet(), Some(peer.peer_addr().unwrap()));
    shard.finish();
}

#[test]
fn refused_is_one_disconnected() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    drop(listener);
    let conn = shard.io.tcp_connect(addr).unwrap();
    let reason = shard.wait("Disconnected", |seen| match seen {
        Seen::Disconnected { conn: c, code: 111, reason, clean: false } if *c == conn => {
            Some(reason.clone())
        }
        _ => None,
    });
    assert!(reason.contains("ECONNREFUSED"), "{reason}");
    shard.run_for(Duration::from_millis(50));
    assert_eq!(shard.seen, [], "nothing before and nothing after");
    shard.finish();
}

#[test]
fn a_host_name_is_resolved() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    let config = TcpConnectConfig::new(("localhost", addr.port()));
    let asked = shard.io.tcp_connect_with(config).unwrap();
    assert_eq!(shard.wait_connected(None), asked);
    let (mut peer, _) = listener.accept().unwrap();
    shard.write_all(asked, b"by name");
    shard.step(TICK);
    let mut got = [0; 7];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"by name");
    shard.finish();
}

#[test]
fn an_unknown_host_is_told() {
    let mut shard = Shard::new();
    // A label of more than 63 bytes is no name: the resolver need not ask anybody.
    let host = "a".repeat(70);
    let conn = shard.io.tcp_connect_with(TcpConnectConfig::new((host.as_str(), 80))).unwrap();
    assert_eq!(shard.wait_end(conn), (code::RESOLVE_FAILED, false));
    assert_eq!(shard.seen, []);
    shard.finish();
}

#[test]
fn a_connect_is_given_up_while_the_name_is_resolved() {
    let mut shard = Shard::new();
    let conn = shard.io.tcp_connect_with(TcpConnectConfig::new(("localhost", 9))).unwrap();
    shard.io.close(conn).unwrap();
    assert_eq!(shard.wait_end(conn), (code::LOCAL_CLOSE, false));
    shard.run_for(Duration::from_millis(100));
    assert_eq!(shard.seen, []);
    shard.finish();
}

#[test]
fn a_bind_address_is_used() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    let bind: SocketAddr = "127.0.0.2:0".parse().unwrap();
    let config = TcpConnectConfig::new(addr).with(|c| c.bind = Some(bind));
    let conn = shard.io.tcp_connect_with(config).unwrap();
    assert_eq!(shard.wait_connected(None), conn);
    let (_peer, from) = listener.accept().unwrap();
    assert_eq!(from.ip(), bind.ip());
    assert_eq!(shard.io.conn_local_addr(conn).unwrap().inet(), Some(from));
    shard.finish();
}

#[test]
fn v6_and_dual_stack() {
    for dual in [true, false] {
        let mut shard = Shard::new();
        let any: SocketAddr = "[::]:0".parse().unwrap();
        let config = TcpListenConfig::new(any).with(|c| c.dual_stack = dual);
        let endpoint = shard.io.tcp_listen_with(config).unwrap();
        let port = shard.addr_of(endpoint).port();
        let six = TcpStream::connect(("::1", port)).unwrap();
        let conn = shard.wait_connected(Some(endpoint));
        let peer = shard.io.peer_addr(conn).unwrap().inet();
        assert_eq!(peer, Some(six.local_addr().unwrap()));
        let four = TcpStream::connect(("127.0.0.1", port));
        assert_eq!(four.is_ok(), dual);
        if let Ok(four) = four {
            let conn = shard.wait_connected(Some(endpoint));
            let peer = shard.io.peer_addr(conn).unwrap().inet();
            assert_eq!(peer, Some(four.local_addr().unwrap()), "as IPv4, not as a mapped address");
        }
        shard.finish();
    }
}

#[test]
fn two_shards_share_a_port() {
    let (mut a, mut b) = (Shard::new(), Shard::new());
    let (_, addr) = a.listen_with(|c| c.reuseport = true);
    let config = TcpListenConfig::new(addr).with(|c| c.reuseport = true);
    b.io.tcp_listen_with(config).unwrap();
    let clients: Vec<_> = (0..64).map(|_| dial(addr)).collect();
    let is_connected = |seen: &Seen| matches!(seen, Seen::Connected { .. });
    let mut counts = (0, 0);
    a.until("both to accept", |a| {
        b.step(TICK);
        counts = (a.count(is_connected), b.count(is_connected));
        counts.0 + counts.1 == clients.len()
    });
    assert!(counts.0 > 0 && counts.1 > 0, "{counts:?}");
    a.finish();
    b.finish();
}

#[test]
fn fast_open_is_taken() {
    let mut shard = Shard::new();
    let (endpoint, addr) = shard.listen_with(|c| c.fastopen_queue = 16);
    // The first connection may bring the cookie with which the second one sends at once.
    for _ in 0..3 {
        let config = TcpConnectConfig::new(addr).with(|c| c.fastopen = true);
        let client = shard.io.tcp_connect_with(config).unwrap();
        assert_eq!(shard.wait_connected(None), client);
        shard.write_all(client, b"with the SYN, perhaps");
        let server = shard.wait_connected(Some(endpoint));
        assert_same(&shard.wait_bytes(server, 21), b"with the SYN, perhaps");
        shard.io.close(client).unwrap();
        shard.wait_end(client);
        shard.io.close(server).unwrap();
        shard.wait_end(server);
    }
    shard.finish();
}

#[test]
fn fast_open_refused_is_told() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    drop(listener);
    let config = TcpConnectConfig::new(addr).with(|c| c.fastopen = true);
    let conn = shard.io.tcp_connect_with(config).unwrap();
    assert_eq!(shard.wait_end(conn).0, 111);
    shard.finish();
}

#[test]
fn an_adopted_listener_accepts_also_what_waited() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    let early = dial(addr);
    let timeouts = ConnTimeouts::default();
    let endpoint = shard.io.adopt_listener(OwnedFd::from(listener), timeouts, None).unwrap();
    let conn = shard.wait_connected(Some(endpoint));
    assert_eq!(shard.io.peer_addr(conn).unwrap().inet(), Some(early.local_addr().unwrap()));
    let late = dial(addr);
    let conn = shard.wait_connected(Some(endpoint));
    assert_eq!(shard.io.peer_addr(conn).unwrap().inet(), Some(late.local_addr().unwrap()));
    shard.finish();
}

#[test]
fn an_adopted_stream_works() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    let mut peer = dial(addr);
    let (socket, _) = listener.accept().unwrap();
    peer.write_all(b"sent before it was adopted").unwrap();
    let asked = shard.io.adopt_stream(OwnedFd::from(socket), None).unwrap();
    assert_eq!(shard.wait_connected(None), asked);
    assert_same(&shard.wait_bytes(asked, 26), b"sent before it was adopted");
    shard.write_all(asked, b"answer");
    shard.step(TICK);
    let mut got = [0; 6];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"answer");
    shard.finish();
}

#[test]
fn what_cannot_be_adopted_is_refused_and_closed() {
    let mut shard = Shard::new();
    let (listener, addr) = plain_listener();
    let mut peer = dial(addr);
    let (socket, _) = listener.accept().unwrap();
    let timeouts = ConnTimeouts::default();
    let error = shard.io.adopt_listener(OwnedFd::from(socket), timeouts, None).unwrap_err();
    assert!(matches!(error, IoError::InvalidArgument { what: "descriptor", .. }), "{error}");
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "the descriptor was closed");
    let error = shard.io.adopt_stream(OwnedFd::from(listener), None).unwrap_err();
    assert!(matches!(error, IoError::InvalidArgument { what: "descriptor", .. }), "{error}");
    let udp = std::net::UdpSocket::bind(localhost()).unwrap();
    let error = shard.io.adopt_stream(OwnedFd::from(udp), None).unwrap_err();
    assert!(matches!(error, IoError::InvalidArgument { what: "descriptor", .. }), "{error}");
    let file = std::fs::File::open("/dev/null").unwrap();
    let error = shard.io.adopt_stream(OwnedFd::from(file), None).unwrap_err();
    assert!(matches!(error, IoError::InvalidArgument { .. } | IoError::Os { .. }), "{error}");
    shard.finish();
}

#[test]
fn a_closed_listener_refuses_and_its_connections_go_on() {
    let mut shard = Shard::new();
    let (endpoint, addr) = shard.listen();
    let mut client = dial(addr);
    let conn = shard.wait_connected(Some(endpoint));
    shard.io.endpoint_close(endpoint).unwrap();
    let again = shard.io.endpoint_close(endpoint);
    assert_eq!(again, Err(IoError::StaleEndpoint { endpoint }));
    shard.run_for(Duration::from_millis(20));
    let error = TcpStream::connect(addr).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    client.write_all(b"still here").unwrap();
    assert_same(&shard.wait_bytes(conn, 10), b"still here");
    shard.finish();
}

#[test]
fn a_full_table_leaves_the_rest_in_the_backlog() {
    let mut shard = Shard::with(|c| c.max_connections = 4);
    let (endpoint, addr) = shard.listen();
    let _clients: Vec<_> = (0..10).map(|_| dial(addr)).collect();
    let is_connected = |seen: &Seen| matches!(seen, Seen::Connected { .. });
    shard.until("four connections", |shard| shard.count(is_connected) == 4);
    let full = shard.io.tcp_connect(addr);
    assert_eq!(full, Err(IoError::PoolExhausted { pool: PoolKind::Connections }));
    shard.run_for(Duration::from_millis(30));
    assert_eq!(shard.count(is_connected), 4);
    for _ in 0..10 {
        let conn = shard.wait_connected(Some(endpoint));
        shard.io.close(conn).unwrap();
        shard.wait_end(conn);
    }
    shard.finish();
}

// ---- data

/// Echoes by `split` until `clients` connections have ended.
fn serve_echo(shard: &mut Shard, clients: usize) {
    let mut ended = 0;
    // What a connection did not take at once.
    let mut rest: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    let start = std::time::Instant::now();
    while ended < clients {
        assert!(start.elapsed() < PATIENCE, "{ended} of {clients} ended");
        shard.io.poll(TICK).unwrap();
        let (mut events, mut sender) = shard.io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::StreamFrame { conn, stream, kind, data } => {
                    assert_eq!(kind, MessageKind::Binary);
                    let waiting = rest.entry(conn).or_default();
                    let n = if waiting.is_empty() {
                        sender.stream_write(conn, stream, data).unwrap()
                    } else {
                        0
                    };
                    waiting.extend_from_slice(&data[n..]);
                }
                Event::Writable { conn, stream, credit } => {
                    let waiting = rest.entry(conn).or_default();
                    let n = sender.stream_write(conn, stream, waiting).unwrap();
                    assert!(n >= credit.min(waiting.len()), "the credit is kept");
                    waiting.drain(..n);
                }
                Event::ReadClosed { conn, .. } if rest.get(&conn).is_none_or(Vec::is_empty) => {
                    sender.close_graceful(conn, Duration::ZERO).unwrap();
                }
                Event::Disconnected { conn, error_code, clean, .. } => {
                    assert_eq!((error_code, clean), (code::NONE, true));
                    assert!(rest.remove(&conn).is_none_or(|rest| rest.is_empty()));
                    ended += 1;
                }
                _ => {}
            }
        }
    }
}

#[test]
fn echo_with_split() {
    const CLIENTS: usize = 24;
    let mut shard = Shard::new();
    let (_, addr) = shard.listen();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|seed| {
            thread::spawn(move || {
                let stream = dial(addr);
                let data = pattern(seed as u64, 20_000 + seed * 997);
                let mut writer = stream.try_clone().unwrap();
                let sent = data.clone();
                let sending = thread::spawn(move || {
                    let mut at = 0;
                    for size in (1..).step_by(37) {
                        let end = sent.len().min(at + size);
                        writer.write_all(&sent[at..end]).unwrap();
                        at = end;
                        if at == sent.len() {
                            break;
                        }
                    }
                });
                let mut got = vec![0; data.len()];
                let mut reader = &stream;
                reader.read_exact(&mut got).unwrap();
                sending.join().unwrap();
                assert_same(&got, &data);
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                assert_eq!(read_to_end(&stream), []);
            })
        })
        .collect();
    serve_echo(&mut shard, CLIENTS);
    for client in clients {
        client.join().unwrap();
    }
    shard.finish();
}

#[test]
fn a_write_is_cut_at_the_high_water_mark_and_nothing_is_lost() {
    const HIGH: usize = 64 * 1024;
    const TOTAL: usize = 8 << 20;
    let mut shard = Shard::with(|c| c.send_high_water = HIGH);
    let (conn, peer) = shard.accepted();
    let data = pattern(1, TOTAL);
    let first = shard.io.stream_write(conn, STREAM, &data).unwrap();
    assert!((1..=HIGH).contains(&first), "{first}");
    assert_eq!(shard.io.stream_write(conn, STREAM, &data[first..]), Ok(0));
    let reader = thread::spawn(move || read_to_end(peer));
    let mut done = first;
    let mut told = 0;
    while done < TOTAL {
        let credit = shard.wait("Writable", |seen| match seen {
            Seen::Writable { conn: c, credit } if *c == conn => Some(*credit),
            _ => None,
        });
        told += 1;
        assert!((1..=HIGH).contains(&credit), "{credit}");
        let n = shard.io.stream_write(conn, STREAM, &data[done..]).unwrap();
        assert!(n >= credit.min(TOTAL - done), "{n} of a credit of {credit}");
        done += n;
    }
    assert!(told >= TOTAL / HIGH / 2, "{told}");
    shard.io.close_graceful(conn, PATIENCE).unwrap();
    assert_eq!(shard.wait_end(conn), (code::NONE, true));
    assert_same(&reader.join().unwrap(), &data);
    let late = shard.count(|seen| matches!(seen, Seen::Writable { .. }));
    assert_eq!(late, 0, "no Writable without a write that was cut");
    shard.finish();
}

#[test]
fn writev_keeps_the_order_and_counts() {
    let mut shard = Shard::with(|c| c.send_high_water = 4096);
    let (conn, mut peer) = shard.accepted();
    let parts = [&b"one "[..], b"", b"two ", b"three"];
    let slices = parts.map(IoSlice::new);
    assert_eq!(shard.io.stream_writev(conn, STREAM, &slices), Ok(13));
    shard.step(TICK);
    let mut got = [0; 13];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"one two three");
    shard.run_for(Duration::from_millis(10));
    let large = [pattern(1, 3000), pattern(2, 3000), pattern(3, 10)];
    let slices: Vec<_> = large.iter().map(|part| IoSlice::new(part)).collect();
    assert_eq!(shard.io.stream_writev(conn, STREAM, &slices), Ok(4096), "cut inside the second");
    assert_eq!(shard.io.stream_writev(conn, STREAM, &[]), Ok(0));
    shard.step(TICK);
    let mut got = [0; 4096];
    peer.read_exact(&mut got).unwrap();
    assert_same(&got, &large.concat()[..4096]);
    shard.wait("Writable", |seen| matches!(seen, Seen::Writable { .. }).then_some(()));
    shard.finish();
}

#[test]
fn send_buffers_of_every_class_are_sent_in_order() {
    let mut shard = Shard::with(|c| c.send_high_water = 8 << 20);
    let (conn, peer) = shard.accepted();
    let reader = thread::spawn(move || read_to_end(peer));
    let mut all = Vec::new();
    let sizes = [1, 2048, 2049, 32 * 1024, 33_000, 64 * 1024, 65_537, 1 << 20];
    for (seed, len) in sizes.into_iter().cycle().take(40).enumerate() {
        let data = pattern(seed as u64, len);
        let mut sent = false;
        shard.until("a send buffer", |shard| {
            match shard.io.send_buffer(len) {
                Ok(mut buffer) => {
                    assert_eq!(buffer.len(), len);
                    assert!(buffer.capacity() >= len);
                    buffer.as_mut_slice().copy_from_slice(&data);
                    match shard.io.stream_write_buffer(conn, STREAM, buffer) {
                        Ok(()) => sent = true,
                        Err(error) => assert!(error.is_retryable(), "{error}"),
                    }
                }
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            sent
        });
        all.extend_from_slice(&data);
    }
    // Made by appending, and cut short.
    let mut buffer = shard.io.send_buffer(100).unwrap();
    buffer.clear();
    buffer.write_all(b"appended, and then cut").unwrap();
    buffer.set_len(8);
    shard.io.stream_write_buffer(conn, STREAM, buffer).unwrap();
    all.extend_from_slice(b"appended");
    // An empty one is nothing.
    let empty = shard.io.send_buffer_for(conn, 0).unwrap();
    shard.io.stream_write_buffer(conn, STREAM, empty).unwrap();
    // One that is dropped goes home.
    drop(shard.io.send_buffer(2000).unwrap());
    shard.io.close_graceful(conn, PATIENCE).unwrap();
    assert_eq!(shard.wait_end(conn), (code::NONE, true));
    assert_same(&reader.join().unwrap(), &all);
    shard.finish();
}

#[test]
fn write_buffer_at_the_high_water_mark_is_refused_and_then_told() {
    let mut shard = Shard::with(|c| c.send_high_water = 4096);
    let (conn, peer) = shard.accepted();
    let mut buffer = shard.io.send_buffer(4096).unwrap();
    buffer.fill(b'x');
    shard.io.stream_write_buffer(conn, STREAM, buffer).unwrap();
    let before = shard.io.pool_stats();
    let buffer = shard.io.send_buffer(1).unwrap();
    let error = shard.io.stream_write_buffer(conn, STREAM, buffer).unwrap_err();
    assert_eq!(error, IoError::QueueFull { queue: "connection send", capacity: 4096 });
    assert!(error.is_retryable());
    shard.wait("Writable", |seen| matches!(seen, Seen::Writable { .. }).then_some(()));
    let after = shard.io.pool_stats();
    assert!(after.pools[0].used <= before.pools[0].used, "the refused buffer went home");
    drop(peer);
    shard.finish();
}

#[test]
fn forward_echoes_from_where_it_was_received() {
    const TOTAL: usize = 4 << 20;
    let mut shard = Shard::new();
    let (endpoint, addr) = shard.listen();
    let client = thread::spawn(move || {
        let stream = dial(addr);
        let mut writer = stream.try_clone().unwrap();
        let sending = thread::spawn(move || {
            writer.write_all(&pattern(5, TOTAL)).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let got = read_to_end(stream);
        sending.join().unwrap();
        assert_same(&got, &pattern(5, TOTAL));
    });
    let conn = shard.wait_connected(Some(endpoint));
    let start = std::time::Instant::now();
    let mut ended = false;
    while !ended {
        assert!(start.elapsed() < PATIENCE, "{:?}", shard.io.conn_stats(conn));
        shard.io.poll(TICK).unwrap();
        let (mut events, mut sender) = shard.io.split();
        while let Some(event) = events.next_event() {
            match event {
                // In two parts, since a part of an event's data is good too.
                Event::StreamFrame { conn, stream, data, .. } => {
                    let (head, tail) = data.split_at(data.len() / 3);
                    sender.forward(conn, stream, head).unwrap();
                    sender.forward(conn, stream, tail).unwrap();
                }
                Event::ReadClosed { conn, .. } => {
                    sender.close_graceful(conn, Duration::ZERO).unwrap();
                }
                Event::Disconnected { error_code, clean, .. } => {
                    assert_eq!((error_code, clean), (0, true));
                    ended = true;
                }
                _ => {}
            }
        }
    }
    client.join().unwrap();
    let stats = shard.io.io_stats();
    assert_eq!((stats.bytes_copied_rx, stats.bytes_copied_tx), (0, 0));
    shard.seen.clear();
    shard.until("nothing to be left", |shard| shard.io.is_idle());
}

#[test]
fn a_proxy_slows_its_source_down_to_its_sink() {
    const TOTAL: usize = 8 << 20;
    let mut shard = Shard::with(|c| c.held_buffers_max = 8);
    let (source, from) = shard.accepted_with(|c| c.recv_buffer = Some(64 * 1024));
    let (sink, to) = shard.accepted_with(|c| c.send_buffer = Some(64 * 1024));
    let sending = thread::spawn(move || {
        let mut from = from;
        from.write_all(&pattern(9, TOTAL)).unwrap();
        from.shutdown(std::net::Shutdown::Write).unwrap();
    });
    let reading = thread::spawn(move || {
        // Slow at first: the queue has to be bounded meanwhile.
        thread::sleep(Duration::from_millis(300));
        read_to_end(to)
    });
    let mut queued_most = 0;
    let start = std::time::Instant::now();
    let mut open = 2;
    while open > 0 {
        assert!(start.elapsed() < PATIENCE, "the proxy is stuck");
        shard.io.poll(TICK).unwrap();
        let (mut events, mut sender) = shard.io.split();
        while let Some(event) = events.next_event() {
            match event {
                Event::StreamFrame { conn, stream, data, .. } => {
                    assert_eq!(conn, source);
                    sender.forward(sink, stream, data).unwrap();
                    queued_most = queued_most.max(sender.conn_stats(sink).unwrap().bytes_queued);
                }
                Event::ReadClosed { conn, .. } if conn == source => {
                    sender.close_graceful(source, PATIENCE).unwrap();
                    sender.close_graceful(sink, PATIENCE).unwrap();
                }
                Event::Disconnected { error_code, .. } => {
                    assert_eq!(error_code, 0);
                    open -= 1;
                }
                _ => {}
            }
        }
    }
    sending.join().unwrap();
    assert_same(&reading.join().unwrap(), &pattern(9, TOTAL));
    // The bound, and the buffers that the kernel had when it was reached.
    assert!(queued_most <= (8 + 128) * 32 * 1024, "{queued_most} bytes were queued");
}

// ---- guard writes

fn guard_writes(zero_copy: Toggle) {
    let mut shard = Shard::with(|c| {
        c.uring.zero_copy_send = zero_copy;
        c.send_high_water = 64 << 20;
    });
    let (conn, peer) = shard.accepted();
    let reader = thread::spawn(move || read_to_end(peer));
    let fixed: &'static [u8] = b"static bytes";
    let slice: Arc<[u8]> = Arc::from(pattern(1, 100_000));
    let vector = Arc::new(pattern(2, 3 << 20));
    let text = Arc::new("a shared string ".repeat(5000));
    let mut all = Vec::new();
    shard.io.stream_write_guard(conn, STREAM, fixed, 10).unwrap();
    all.extend_from_slice(fixed);
    shard.write_all(conn, b"a copied write between");
    all.extend_from_slice(b"a copied write between");
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&slice), 11).unwrap();
    all.extend_from_slice(&slice);
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&vector), 12).unwrap();
    all.extend_from_slice(&vector);
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&text), 13).unwrap();
    all.extend_from_slice(text.as_bytes());
    let empty: &'static [u8] = b"";
    shard.io.stream_write_guard(conn, STREAM, empty, 14).unwrap();
    shard.io.stream_write_guard(conn, STREAM, "the same memory twice: ", 15).unwrap();
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&slice), 16).unwrap();
    all.extend_from_slice(b"the same memory twice: ");
    all.extend_from_slice(&slice);
    shard.io.shutdown_write(conn, STREAM).unwrap();
    let is_done = |seen: &Seen| matches!(seen, Seen::SendDone { .. });
    shard.until("seven SendDone", |shard| shard.count(is_done) == 7);
    let mut tokens = Vec::new();
    for seen in &shard.seen {
        if let Seen::SendDone { conn: c, token, bytes, outcome } = seen {
            assert_eq!((*c, *outcome), (conn, SendOutcome::Sent));
            let len = match token {
                10 => fixed.len(),
                11 | 16 => slice.len(),
                12 => vector.len(),
                13 => text.len(),
                14 => 0,
                15 => 23,
                other => panic!("a token that was never given: {other}"),
            };
            assert_eq!(*bytes, len, "token {token}");
            tokens.push(*token);
        }
    }
    // The empty one has nothing to wait for.
    tokens.retain(|token| *token != 14);
    if zero_copy == Toggle::Off {
        assert_eq!(tokens, [10, 11, 12, 13, 15, 16], "in order");
    }
    assert_eq!((Arc::strong_count(&slice), Arc::strong_count(&vector)), (1, 1), "released");
    assert_eq!(Arc::strong_count(&text), 1, "released");
    assert_eq!(shard.io.io_stats().bytes_copied_tx, 22, "the copied write alone");
    assert_same(&shard.join(reader), &all);
    shard.finish();
}

#[test]
fn guard_writes_are_kept_alive_and_told() {
    guard_writes(Toggle::Off);
}

#[test]
fn guard_writes_by_zero_copy_sends() {
    guard_writes(Toggle::On);
    guard_writes(Toggle::Auto);
}

#[test]
fn a_guard_write_that_does_not_get_through_is_aborted() {
    let mut shard = Shard::with(|c| {
        c.send_high_water = 64 << 20;
        c.uring.zero_copy_send = Toggle::Off;
    });
    let (conn, peer) = shard.accepted();
    let memory = Arc::new(pattern(3, 32 << 20));
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&memory), 1).unwrap();
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&memory), 2).unwrap();
    shard.run_for(Duration::from_millis(50));
    assert_eq!(Arc::strong_count(&memory), 3);
    shard.io.close(conn).unwrap();
    shard.until("the end", |shard| {
        shard.count(|seen| matches!(seen, Seen::Disconnected { .. })) == 1
    });
    shard.run_for(Duration::from_millis(50));
    let [first, second, third] = shard.seen.as_slice() else { panic!("{:?}", shard.seen) };
    let aborted = SendOutcome::Aborted;
    assert!(
        matches!(first, Seen::SendDone { token: 1, outcome, bytes, .. }
            if *outcome == aborted && (1..32 << 20).contains(bytes)),
        "{first:?}"
    );
    assert_eq!(*second, Seen::SendDone { conn, token: 2, bytes: 0, outcome: aborted });
    assert!(matches!(third, Seen::Disconnected { code: code::LOCAL_CLOSE, .. }), "{third:?}");
    assert_eq!(Arc::strong_count(&memory), 1, "released");
    drop(peer);
    shard.finish();
}

#[test]
fn memory_of_an_aborted_zero_copy_write_is_kept_while_the_kernel_refers_to_it() {
    let mut shard = Shard::with(|c| {
        c.send_high_water = 64 << 20;
        c.uring.zero_copy_send = Toggle::On;
    });
    let (conn, mut peer) = shard.accepted();
    let data = pattern(3, 16 << 20);
    let memory = Arc::new(data.clone());
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&memory), 1).unwrap();
    shard.run_for(Duration::from_millis(50));
    shard.io.close(conn).unwrap();
    assert_eq!(shard.wait_end(conn).0, code::LOCAL_CLOSE);
    // What the kernel took is still delivered, and it is right.
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        let _ = peer.read_to_end(&mut got);
        got
    });
    let got = shard.join(reader);
    assert!(!got.is_empty());
    assert_same(&got, &data[..got.len()]);
    let bytes = shard.wait("SendDone", |seen| match seen {
        Seen::SendDone { token: 1, bytes, outcome: SendOutcome::Aborted, .. } => Some(*bytes),
        _ => None,
    });
    assert_eq!(bytes, got.len());
    assert_eq!(Arc::strong_count(&memory), 1, "released");
    shard.finish();
}

#[test]
fn guards_have_a_bound() {
    let mut shard = Shard::with(|c| {
        c.guard_count = 2;
        c.send_high_water = 64 << 20;
    });
    let (conn, mut peer) = shard.accepted();
    let memory = Arc::new(pattern(3, 1000));
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&memory), 1).unwrap();
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&memory), 2).unwrap();
    let error = shard.io.stream_write_guard(conn, STREAM, Arc::clone(&memory), 3).unwrap_err();
    assert_eq!(error, IoError::PoolExhausted { pool: PoolKind::Guards });
    shard.until("two SendDone", |shard| {
        shard.count(|seen| matches!(seen, Seen::SendDone { .. })) == 2
    });
    shard.io.stream_write_guard(conn, STREAM, Arc::clone(&memory), 4).unwrap();
    shard.step(TICK);
    let mut got = vec![0; 3000];
    peer.read_exact(&mut got).unwrap();
    shard.finish();
}

// ---- reading

#[test]
fn paused_receiving_closes_the_window_and_loses_nothing() {
    const TOTAL: usize = 16 << 20;
    let mut shard = Shard::new();
    let (conn, mut peer) = shard.accepted();
    shard.io.pause_recv(conn).unwrap();
    let sender = thread::spawn(move || {
        peer.write_all(&pattern(8, TOTAL)).unwrap();
        peer
    });
    shard.run_for(Duration::from_millis(300));
    let early = shard.bytes_of(conn).len();
    assert!(early < 1 << 20, "{early} bytes came while it was paused");
    shard.run_for(Duration::from_millis(100));
    assert_eq!(shard.bytes_of(conn).len(), early, "nothing more comes");
    assert!(!sender.is_finished(), "the peer has to wait");
    shard.io.resume_recv(conn).unwrap();
    assert_same(&shard.wait_bytes(conn, TOTAL), &pattern(8, TOTAL));
    // Again and again, in the middle of a stream.
    let mut peer = sender.join().unwrap();
    let sender = thread::spawn(move || {
        peer.write_all(&pattern(9, TOTAL)).unwrap();
        peer
    });
    shard.seen.clear();
    let mut got = 0;
    let mut rounds = 0;
    shard.until("the rest", |shard| {
        rounds += 1;
        if rounds % 2 == 0 {
            shard.io.pause_recv(conn).unwrap();
        } else {
            shard.io.resume_recv(conn).unwrap();
        }
        got = shard.bytes_of(conn).len();
        got == TOTAL
    });
    assert_same(&shard.bytes_of(conn), &pattern(9, TOTAL));
    drop(sender.join().unwrap());
    shard.finish();
}

#[test]
fn few_buffers_starve_nobody() {
    const CLIENTS: usize = 40;
    const EACH: usize = 300_000;
    let mut shard = Shard::with(|c| {
        c.stream_buffer_count = 8;
        c.stream_buffer_size = 4096;
        c.max_events_per_poll = 16;
    });
    let (_, addr) = shard.listen();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|seed| {
            thread::spawn(move || dial(addr).write_all(&pattern(seed as u64, EACH)).unwrap())
        })
        .collect();
    let ends = |shard: &mut Shard| shard.count(|seen| matches!(seen, Seen::ReadClosed { .. }));
    shard.until("every byte", |shard| ends(shard) == CLIENTS);
    let mut by_conn: BTreeMap<_, Vec<u8>> = BTreeMap::new();
    for seen in &shard.seen {
        if let Seen::Frame { conn, data, .. } = seen {
            by_conn.entry(*conn).or_default().extend_from_slice(data);
        }
    }
    let mut wanted: Vec<_> = (0..CLIENTS).map(|seed| pattern(seed as u64, EACH)).collect();
    for got in by_conn.values() {
        let at = wanted.iter().position(|w| w[..16] == got[..16]).expect("one of the streams");
        assert_same(got, &wanted.swap_remove(at));
    }
    assert!(wanted.is_empty());
    for client in clients {
        client.join().unwrap();
    }
    assert!(shard.io.io_stats().starved > 0, "the test is to exhaust the buffers");
    shard.finish();
}

#[test]
fn streams_are_not_pulled() {
    let mut shard = Shard::new();
    let (conn, _peer) = shard.accepted();
    let error = shard.io.stream_read(conn, STREAM, &mut [0; 8]).unwrap_err();
    assert_eq!(error, IoError::StreamNotPullable { protocol: Protocol::Tcp });
    shard.finish();
}

// ---- what is known of a connection

#[test]
fn stats_are_plausible() {
    let mut shard = Shard::new();
    let (conn, mut peer) = shard.accepted();
    peer.write_all(&[1; 5000]).unwrap();
    shard.wait_bytes(conn, 5000);
    shard.write_all(conn, &[2; 3000]);
    assert_eq!(shard.io.conn_stats(conn).unwrap().bytes_queued, 3000);
    shard.step(TICK);
    peer.read_exact(&mut [0; 3000]).unwrap();
    shard.step(TICK);
    let stats = shard.io.conn_stats(conn).unwrap();
    assert_eq!((stats.bytes_received, stats.bytes_sent, stats.bytes_queued), (5000, 3000, 0));
    assert!((1..1_000_000).contains(&stats.rtt_us), "{stats:?}");
    assert!(stats.mss > 500 && stats.cwnd >= u64::from(stats.mss), "{stats:?}");
    assert!(stats.packets_sent > 1 && stats.packets_received > 1, "{stats:?}");
    assert_eq!((stats.retransmits, stats.packets_lost), (0, 0));
    shard.finish();
}

#[test]
fn user_data_is_kept_and_starts_at_0() {
    let mut shard = Shard::new();
    let (conn, peer) = shard.accepted();
    assert_eq!(shard.io.user_data(conn), Ok(0));
    shard.io.set_user_data(conn, u64::MAX - 1).unwrap();
    assert_eq!(shard.io.user_data(conn), Ok(u64::MAX - 1));
    drop(peer);
    shard.io.close(conn).unwrap();
    shard.wait_end(conn);
    assert_eq!(shard.io.user_data(conn), Err(IoError::StaleConn { conn }));
    let (next, _peer) = shard.accepted();
    assert_ne!(next, conn);
    assert_eq!(shard.io.user_data(next), Ok(0), "the place is the same, the connection is not");
    shard.finish();
}

/// The options of the process's own socket with these addresses.
fn option_of(local: SocketAddr, peer: SocketAddr, level: i32, option: i32) -> i32 {
    for entry in std::fs::read_dir("/proc/self/fd").unwrap() {
        let Ok(fd) = entry.unwrap().file_name().to_string_lossy().parse::<i32>() else { continue };
        // SAFETY: duplicates a descriptor, which fails for one that is gone.
        let copy = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 0) };
        if copy < 0 {
            continue;
        }
        // SAFETY: the duplicate is this function's own.
        let owned = unsafe { <OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(copy) };
        let stream = TcpStream::from(owned);
        let same = stream.local_addr().is_ok_and(|a| a == local)
            && stream.peer_addr().is_ok_and(|a| a == peer);
        if !same {
            continue;
        }
        let mut value: libc::c_int = -1;
        let mut len = size_of_val(&value) as libc::socklen_t;
        // SAFETY: `value` and `len` outlive the call.
        let answer =
            unsafe { libc::getsockopt(copy, level, option, (&raw mut value).cast(), &raw mut len) };
        assert_eq!(answer, 0);
        return value;
    }
    panic!("no socket from {local} to {peer}");
}

#[test]
fn options_reach_the_socket() {
    let mut shard = Shard::new();
    let keepalive =
        Keepalive { idle: Duration::from_secs(60), interval: Duration::from_secs(7), count: 5 };
    let (endpoint, addr) = shard.listen_with(|c| {
        c.keepalive = Some(keepalive);
        c.user_timeout = Some(Duration::from_secs(11));
        c.nodelay = false;
    });
    let config = TcpConnectConfig::new(addr).with(|c| {
        c.keepalive = Some(Keepalive { count: 9, ..keepalive });
        c.user_timeout = Some(Duration::from_secs(12));
    });
    let client = shard.io.tcp_connect_with(config).unwrap();
    let server = shard.wait_connected(Some(endpoint));
    shard.wait_connected(None);
    let local = shard.io.conn_local_addr(client).unwrap().inet().unwrap();
    let remote = shard.io.conn_local_addr(server).unwrap().inet().unwrap();
    let tcp = libc::IPPROTO_TCP;
    let rows = [
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1, 1),
        (tcp, libc::TCP_KEEPIDLE, 60, 60),
        (tcp, libc::TCP_KEEPINTVL, 7, 7),
        (tcp, libc::TCP_KEEPCNT, 9, 5),
        (tcp, libc::TCP_USER_TIMEOUT, 12_000, 11_000),
        (tcp, libc::TCP_NODELAY, 1, 0),
    ];
    for (level, option, of_client, of_server) in rows {
        assert_eq!(option_of(local, remote, level, option), of_client, "{option}");
        assert_eq!(option_of(remote, local, level, option), of_server, "{option}");
    }
    shard.finish();
}

#[test]
fn events_beyond_the_bound_wait_and_none_is_lost() {
    let mut shard = Shard::with(|c| c.max_events_per_poll = 16);
    let (_, addr) = shard.listen();
    let clients: Vec<_> = (0..100)
        .map(|seed| {
            let mut client = dial(addr);
            client.write_all(&pattern(seed, 100)).unwrap();
            client
        })
        .collect();
    let mut most = 0;
    shard.until("all", |shard| {
        let before = shard.seen.len();
        shard.step(Duration::ZERO);
        most = most.max(shard.seen.len() - before);
        let bytes: usize = shard
            .seen
            .iter()
            .map(|seen| if let Seen::Frame { data, .. } = seen { data.len() } else { 0 })
            .sum();
        bytes == clients.len() * 100
    });
    assert!(most <= 20, "{most} events in one poll");
    assert_eq!(shard.count(|seen| matches!(seen, Seen::Connected { .. })), 100);
    drop(clients);
    shard.finish();
}

#[test]
fn events_that_are_not_taken_stay() {
    let mut shard = Shard::with(|c| c.max_events_per_poll = 16);
    let (conn, mut peer) = shard.accepted();
    let writer = thread::spawn(move || {
        peer.write_all(&pattern(4, 3 << 20)).unwrap();
        peer
    });
    for _ in 0..200 {
        shard.io.poll(Duration::from_millis(1)).unwrap();
    }
    assert_same(&shard.wait_bytes(conn, 3 << 20), &pattern(4, 3 << 20));
    drop(patient(writer.join().unwrap()));
    shard.finish();
}
