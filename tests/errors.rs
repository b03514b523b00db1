//! Bad input gives a named error, never a panic, and loses nothing that was accepted.

mod common;

use std::io::{IoSlice, Read};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use common::{PATIENCE, STREAM, Seen, Shard, TICK, assert_same, localhost, pattern};
use zero_io::{
    Config, ConnId, EndpointId, Errno, Event, HostOrAddr, Io, IoError, IoSeed, Keepalive, PoolKind,
    Protocol, Spin, StreamId, TcpConnectConfig, TcpListenConfig, TimerId, UdpEndpointConfig,
    UdpTransmit, WatchId, code,
};

// ---- configurations

#[test]
fn every_field_of_the_configuration_is_checked() {
    type Change = fn(&mut Config);
    let bad: &[(Change, &str, u64)] = &[
        (|c| c.pool_slot_count = 15, "Config::pool_slot_count", 15),
        (|c| c.pool_slot_count = 65_537, "Config::pool_slot_count", 65_537),
        (|c| c.pool_slot_size = 1199, "Config::pool_slot_size", 1199),
        (|c| c.pool_slot_size = 2000, "Config::pool_slot_size", 2000),
        (|c| c.pool_slot_size = 65_600, "Config::pool_slot_size", 65_600),
        (|c| c.stream_buffer_count = 7, "Config::stream_buffer_count", 7),
        (|c| c.stream_buffer_count = 32_769, "Config::stream_buffer_count", 32_769),
        (|c| c.stream_buffer_size = 2047, "Config::stream_buffer_size", 2047),
        (|c| c.stream_buffer_size = 3000, "Config::stream_buffer_size", 3000),
        (|c| c.stream_buffer_size = 1_050_624, "Config::stream_buffer_size", 1_050_624),
        (|c| c.gro_buffer_count = 4097, "Config::gro_buffer_count", 4097),
        (|c| c.jumbo_count = 1025, "Config::jumbo_count", 1025),
        (|c| c.jumbo_size = 65_535, "Config::jumbo_size", 65_535),
        (|c| c.jumbo_size = (64 << 20) + 1, "Config::jumbo_size", (64 << 20) + 1),
        (|c| c.handle_reserve_count = 2049, "Config::handle_reserve_count", 2049),
        (|c| c.quic_recv_buffers = 7, "Config::quic_recv_buffers", 7),
        (|c| c.quic_recv_buffers = 4097, "Config::quic_recv_buffers", 4097),
        (|c| c.quic_send_cells = 7, "Config::quic_send_cells", 7),
        (|c| c.quic_send_cells = 65_537, "Config::quic_send_cells", 65_537),
        (|c| c.detached_max_pct = 0, "Config::detached_max_pct", 0),
        (|c| c.detached_max_pct = 91, "Config::detached_max_pct", 91),
        (|c| c.max_connections = 0, "Config::max_connections", 0),
        (|c| c.max_connections = 1_000_001, "Config::max_connections", 1_000_001),
        (|c| c.max_connections = usize::MAX, "Config::max_connections", u64::MAX),
        (|c| c.max_endpoints = 0, "Config::max_endpoints", 0),
        (|c| c.max_endpoints = 4097, "Config::max_endpoints", 4097),
        (|c| c.max_timers = 1_000_001, "Config::max_timers", 1_000_001),
        (|c| c.max_watches = 65_537, "Config::max_watches", 65_537),
        (|c| c.max_events_per_poll = 15, "Config::max_events_per_poll", 15),
        (|c| c.max_events_per_poll = 65_537, "Config::max_events_per_poll", 65_537),
        (|c| c.send_high_water = 4095, "Config::send_high_water", 4095),
        (|c| c.send_high_water = (1 << 30) + 1, "Config::send_high_water", (1 << 30) + 1),
        (|c| c.send_queue_entries = 63, "Config::send_queue_entries", 63),
        (|c| c.send_queue_entries = (1 << 20) + 1, "Config::send_queue_entries", (1 << 20) + 1),
        (|c| c.guard_count = (1 << 20) + 1, "Config::guard_count", (1 << 20) + 1),
        (|c| c.held_buffers_max = 0, "Config::held_buffers_max", 0),
        (|c| c.held_buffers_max = 32_769, "Config::held_buffers_max", 32_769),
        (|c| c.handle_queue_entries = 1, "Config::handle_queue_entries", 1),
        (|c| c.handle_queue_entries = (1 << 20) + 1, "Config::handle_queue_entries", (1 << 20) + 1),
        (|c| c.pool_pressure_pct = 9, "Config::pool_pressure_pct", 9),
        (|c| c.pool_pressure_pct = 96, "Config::pool_pressure_pct", 96),
        (|c| c.spin = Spin::Auto { max_us: 0 }, "Config::spin.max_us", 0),
        (|c| c.spin = Spin::Auto { max_us: 1_000_001 }, "Config::spin.max_us", 1_000_001),
        (|c| c.spin = Spin::Always { max_us: 0 }, "Config::spin.max_us", 0),
        (|c| c.spin = Spin::Always { max_us: 1_000_001 }, "Config::spin.max_us", 1_000_001),
        (|c| c.debug.trace_completions = 65_537, "DebugConfig::trace_completions", 65_537),
        (|c| c.uring.sq_entries = 32, "UringConfig::sq_entries", 32),
        (|c| c.uring.sq_entries = 1000, "UringConfig::sq_entries", 1000),
        (|c| c.uring.sq_entries = 65_536, "UringConfig::sq_entries", 65_536),
        (|c| c.uring.cq_entries = 1024, "UringConfig::cq_entries", 1024),
        (|c| c.uring.cq_entries = 5000, "UringConfig::cq_entries", 5000),
        (|c| c.uring.cq_entries = 131_072, "UringConfig::cq_entries", 131_072),
        (|c| c.uring.zero_copy_min = 1023, "UringConfig::zero_copy_min", 1023),
        (|c| c.uring.zero_copy_min = (1 << 30) + 1, "UringConfig::zero_copy_min", (1 << 30) + 1),
    ];
    for (change, field, value) in bad {
        let config = Config::default().with(*change);
        let error = Io::new(config.clone()).map(drop).unwrap_err();
        match error {
            IoError::InvalidConfig { field: f, value: v, range } => {
                assert_eq!((f, v), (*field, *value));
                assert!(!range.is_empty());
                assert!(error.to_string().contains(field), "{error}");
            }
            other => panic!("{field}: {other}"),
        }
        assert_eq!(IoSeed::new(config).map(drop), Err(error));
    }
}

#[test]
fn the_smallest_configuration_works() {
    let mut shard = Shard::with(|c| {
        c.pool_slot_count = 16;
        c.pool_slot_size = 1216;
        c.stream_buffer_count = 8;
        c.stream_buffer_size = 2048;
        c.gro_buffer_count = 0;
        c.jumbo_count = 0;
        c.handle_reserve_count = 0;
        c.max_connections = 1;
        c.max_endpoints = 1;
        c.max_timers = 0;
        c.max_watches = 0;
        c.max_events_per_poll = 16;
        c.send_high_water = 4096;
        c.send_queue_entries = 64;
        c.guard_count = 0;
        c.held_buffers_max = 1;
        c.handle_queue_entries = 2;
        c.uring.sq_entries = 64;
    });
    let (conn, mut peer) = shard.accepted();
    let data = pattern(1, 1 << 20);
    let copy = data.clone();
    let echo = std::thread::spawn(move || {
        let mut got = vec![0; copy.len()];
        peer.read_exact(&mut got).unwrap();
        assert_same(&got, &copy);
        std::io::Write::write_all(&mut peer, &copy).unwrap();
        peer
    });
    shard.write_all(conn, &data);
    assert_same(&shard.wait_bytes(conn, data.len()), &data);
    drop(echo.join().unwrap());
    assert!(matches!(
        shard.io.timer_set(TICK, 1),
        Err(IoError::PoolExhausted { pool: PoolKind::Timers })
    ));
    assert!(matches!(
        shard.io.stream_write_guard(conn, STREAM, "x", 1),
        Err(IoError::PoolExhausted { pool: PoolKind::Guards })
    ));
    let handle = shard.io.handle();
    assert!(matches!(
        handle.send_buffer(1),
        Err(IoError::PoolExhausted { pool: PoolKind::HandleReserve })
    ));
    // What takes a guard write is refused at the call, not later and in silence.
    let max = Config::default().pool_slot_size;
    let error = handle.stream_write(conn, STREAM, &vec![0; max + 1]).unwrap_err();
    assert!(matches!(error, IoError::BufferTooLarge { .. }), "{error}");
    let error = handle.stream_write_guard(conn, STREAM, "x", 1).unwrap_err();
    assert_eq!(error, IoError::PoolExhausted { pool: PoolKind::Guards });
    assert_eq!(shard.io.io_stats().commands_refused, 0);
    shard.finish();
}

#[test]
fn bad_listeners_are_named() {
    let mut shard = Shard::new();
    let base = || TcpListenConfig::new(localhost());
    let keepalive = |idle, interval, count| {
        Some(Keepalive {
            idle: Duration::from_millis(idle),
            interval: Duration::from_millis(interval),
            count,
        })
    };
    let bad = [
        base().with(|c| c.backlog = 0),
        base().with(|c| c.keepalive = keepalive(0, 1000, 1)),
        base().with(|c| c.keepalive = keepalive(1500, 1000, 1)),
        base().with(|c| c.keepalive = keepalive(1000, 0, 1)),
        base().with(|c| c.keepalive = keepalive(1000, 1000, 0)),
        base().with(|c| c.user_timeout = Some(Duration::ZERO)),
        base().with(|c| c.recv_buffer = Some(0)),
        base().with(|c| c.send_buffer = Some(u32::MAX)),
        base().with(|c| c.fastopen_queue = u32::MAX),
    ];
    for config in bad {
        let error = shard.io.tcp_listen_with(config.clone()).unwrap_err();
        assert!(matches!(error, IoError::InvalidConfig { .. }), "{config:?}: {error}");
    }
    let (_, addr) = shard.listen();
    assert_eq!(shard.io.tcp_listen(addr), Err(IoError::AddrInUse { addr }));
    let foreign: SocketAddr = "192.0.2.77:0".parse().unwrap();
    let error = shard.io.tcp_listen(foreign).unwrap_err();
    assert_eq!(error, IoError::Os { op: "bind", errno: Errno(libc::EADDRNOTAVAIL) });
    shard.finish();
}

#[test]
fn bad_connects_are_named() {
    let mut shard = Shard::new();
    let there: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let six: SocketAddr = "[::1]:0".parse().unwrap();
    let mixed = TcpConnectConfig::new(there).with(|c| c.bind = Some(six));
    let error = shard.io.tcp_connect_with(mixed).unwrap_err();
    assert!(matches!(error, IoError::InvalidArgument { .. }), "{error}");
    let foreign: SocketAddr = "192.0.2.77:0".parse().unwrap();
    let bound = TcpConnectConfig::new(there).with(|c| c.bind = Some(foreign));
    let error = shard.io.tcp_connect_with(bound).unwrap_err();
    assert_eq!(error, IoError::Os { op: "bind", errno: Errno(libc::EADDRNOTAVAIL) });
    let zero = TcpConnectConfig::new(there).with(|c| c.user_timeout = Some(Duration::ZERO));
    let error = shard.io.tcp_connect_with(zero).unwrap_err();
    assert!(matches!(error, IoError::InvalidConfig { .. }), "{error}");
    for ms in [0, 9, 2_001] {
        let delay = Duration::from_millis(ms);
        let raced = TcpConnectConfig::new(("host", 9)).with(|c| c.attempt_delay = delay);
        let error = shard.io.tcp_connect_with(raced).unwrap_err();
        assert!(error.to_string().contains("attempt_delay (ms)"), "{error}");
    }
    // A host is not even looked up.
    let keepalive = |secs, count| Keepalive {
        idle: Duration::from_secs(secs),
        interval: Duration::from_secs(secs),
        count,
    };
    let hosted = || TcpConnectConfig::new(("host", 9));
    for (bad, field) in [
        (hosted().with(|c| c.user_timeout = Some(Duration::ZERO)), "user_timeout"),
        (hosted().with(|c| c.keepalive = Some(keepalive(0, 1))), "Keepalive::idle"),
        (hosted().with(|c| c.keepalive = Some(keepalive(1, 128))), "Keepalive::count"),
        (hosted().with(|c| c.recv_buffer = Some(u32::MAX)), "TcpConnectConfig::recv_buffer"),
        (hosted().with(|c| c.send_buffer = Some(u32::MAX)), "TcpConnectConfig::send_buffer"),
    ] {
        let error = shard.io.tcp_connect_with(bad).unwrap_err();
        assert!(matches!(error, IoError::InvalidConfig { .. }), "{error}");
        assert!(error.to_string().contains(field), "{error}");
    }
    // What only the kernel or the resolver can tell comes as an event, and once.
    for target in [
        HostOrAddr::Addr("127.0.0.1:0".parse().unwrap()),
        HostOrAddr::Addr("0.0.0.0:0".parse().unwrap()),
        HostOrAddr::Addr("255.255.255.255:9".parse().unwrap()),
        HostOrAddr::Addr("239.1.2.3:9".parse().unwrap()),
        HostOrAddr::Host(String::new(), 9),
        HostOrAddr::Host("nul\0inside".to_owned(), 9),
        HostOrAddr::Host("127.0.0.1".to_owned(), 0),
    ] {
        let conn = match shard.io.tcp_connect_with(TcpConnectConfig::new(target.clone())) {
            Ok(conn) => conn,
            Err(error) => {
                assert!(matches!(error, IoError::InvalidArgument { .. }), "{target:?}: {error}");
                continue;
            }
        };
        let (code, clean) = shard.wait_end(conn);
        assert!(code != 0 && !clean, "{target:?}");
        assert_eq!(shard.seen, [], "{target:?}");
    }
    assert_eq!(shard.io.conn_stats(ConnId::from_u64(0)).map(drop), Err(stale(0)));
    shard.finish();
}

#[test]
fn bad_udp_sockets_are_named() {
    let mut shard = Shard::new();
    let base = || UdpEndpointConfig::new(localhost());
    let bad = [
        base().with(|c| c.datagram_max = Some(0)),
        base().with(|c| c.datagram_max = Some(65_528)),
        base().with(|c| c.send_queue = 0),
        base().with(|c| c.send_queue = 65_537),
        base().with(|c| c.ttl = Some(0)),
        base().with(|c| c.recv_buffer = Some(0)),
    ];
    for config in bad {
        let error = shard.io.udp_bind_with(config.clone()).unwrap_err();
        assert!(matches!(error, IoError::InvalidConfig { .. }), "{config:?}: {error}");
    }
    let taken = UdpSocket::bind(localhost()).unwrap();
    let addr = taken.local_addr().unwrap();
    assert_eq!(shard.io.udp_bind(addr), Err(IoError::AddrInUse { addr }));
    shard.finish();
    let mut none = Shard::with(|c| c.gro_buffer_count = 0);
    let error = none.io.udp_bind_with(base().with(|c| c.gro = true)).unwrap_err();
    assert_eq!(error, IoError::PoolExhausted { pool: PoolKind::GroBuffers });
    let error = none.io.udp_bind_with(base().with(|c| c.datagram_max = Some(9000))).unwrap_err();
    assert_eq!(error, IoError::PoolExhausted { pool: PoolKind::GroBuffers });
    none.finish();
}

#[test]
fn endpoints_have_a_bound_and_places_are_used_again() {
    let mut shard = Shard::with(|c| c.max_endpoints = 3);
    let full = IoError::PoolExhausted { pool: PoolKind::Endpoints };
    for _ in 0..20 {
        let (a, addr) = shard.listen();
        let b = shard.io.udp_bind(localhost()).unwrap();
        let c = shard.io.udp_bind(localhost()).unwrap();
        assert_eq!(shard.io.udp_bind(localhost()), Err(full));
        assert_eq!(shard.io.tcp_listen(localhost()), Err(full));
        for endpoint in [a, b, c] {
            shard.io.endpoint_close(endpoint).unwrap();
        }
        for _ in 0..3 {
            shard.step(Duration::from_millis(1));
        }
        std::net::TcpListener::bind(addr).expect("the port is free again");
    }
    shard.finish();
}

// ---- ids

fn stale(number: u64) -> IoError {
    IoError::StaleConn { conn: ConnId::from_u64(number) }
}

/// Every method that takes a connection, on one that is not there.
fn use_conn(io: &mut Io, conn: ConnId) {
    let error = IoError::StaleConn { conn };
    let memory: Arc<[u8]> = Arc::from(&b"x"[..]);
    assert_eq!(io.stream_write(conn, STREAM, b"x"), Err(error));
    assert_eq!(io.stream_writev(conn, STREAM, &[IoSlice::new(b"x")]), Err(error));
    assert!(matches!(io.send_buffer_for(conn, 1), Err(e) if e == error));
    let buffer = io.send_buffer(1).unwrap();
    assert_eq!(io.stream_write_buffer(conn, STREAM, buffer), Err(error));
    assert_eq!(io.stream_write_guard(conn, STREAM, Arc::clone(&memory), 1), Err(error));
    assert_eq!(Arc::strong_count(&memory), 1, "refused memory is released");
    assert_eq!(io.forward(conn, STREAM, b"x"), Err(error));
    assert_eq!(io.stream_read(conn, STREAM, &mut []), Err(error));
    assert_eq!(io.shutdown_write(conn, STREAM), Err(error));
    assert_eq!(io.pause_recv(conn), Err(error));
    assert_eq!(io.resume_recv(conn), Err(error));
    assert_eq!(io.close(conn), Err(error));
    assert_eq!(io.close_graceful(conn, PATIENCE), Err(error));
    assert_eq!(io.reset_on_close(conn), Err(error));
    assert_eq!(io.conn_stats(conn), Err(error));
    assert_eq!(io.peer_addr(conn), Err(error));
    assert_eq!(io.conn_local_addr(conn), Err(error));
    assert_eq!(io.set_user_data(conn, 1), Err(error));
    assert_eq!(io.user_data(conn), Err(error));
    assert_eq!(io.peer_cred(conn), Err(error));
}

#[test]
fn stale_and_invented_connections_are_refused_everywhere() {
    let mut shard = Shard::new();
    let (conn, _peer) = shard.accepted();
    shard.io.close(conn).unwrap();
    use_conn(&mut shard.io, conn);
    shard.wait_end(conn);
    use_conn(&mut shard.io, conn);
    // Its place has another tenant now.
    let (next, _peer) = shard.accepted();
    use_conn(&mut shard.io, conn);
    for number in [0, 1, u64::MAX, 1 << 32, next.as_u64() ^ 1 << 40, next.as_u64() + 1] {
        use_conn(&mut shard.io, ConnId::from_u64(number));
    }
    assert_eq!(shard.io.user_data(next), Ok(0), "and that one is untouched");
    shard.finish();
}

#[test]
fn stale_and_invented_endpoints_timers_and_watches_are_refused() {
    let mut shard = Shard::new();
    let (listener, addr) = shard.listen();
    let udp = shard.io.udp_bind(localhost()).unwrap();
    for number in [0, u64::MAX, 1 << 32 | 77, listener.as_u64() ^ 1 << 50] {
        let endpoint = EndpointId::from_u64(number);
        let error = IoError::StaleEndpoint { endpoint };
        assert_eq!(shard.io.local_addr(endpoint), Err(error));
        assert_eq!(shard.io.endpoint_close(endpoint), Err(error));
        assert_eq!(shard.io.udp_send_bytes(endpoint, addr, b"x"), Err(error));
        assert_eq!(shard.io.udp_recv_buffer(endpoint), Err(error));
        let buffer = shard.io.send_buffer(1).unwrap();
        let how = UdpTransmit::to(addr);
        assert_eq!(shard.io.udp_send_with(endpoint, buffer, how), Err(error));
        assert!(!shard.io.timer_cancel(TimerId::from_u64(number)));
        assert!(!shard.io.unwatch_fd(WatchId::from_u64(number)));
    }
    let wrong = IoError::WrongEndpoint { endpoint: listener, protocol: Protocol::Tcp };
    assert_eq!(shard.io.udp_send_bytes(listener, addr, b"x"), Err(wrong));
    assert_eq!(shard.io.udp_forward(listener, addr, b"x"), Err(wrong));
    assert_eq!(shard.io.udp_recv_buffer(listener), Err(wrong));
    shard.io.endpoint_close(udp).unwrap();
    shard.finish();
}

#[test]
fn a_stream_that_is_not_there_is_named() {
    let mut shard = Shard::new();
    let (conn, _peer) = shard.accepted();
    let two = StreamId::from_u64(2);
    let error = IoError::NoSuchStream { conn };
    assert_eq!(shard.io.stream_write(conn, two, b"x"), Err(error));
    assert_eq!(shard.io.shutdown_write(conn, two), Err(error));
    assert_eq!(shard.io.stream_write_guard(conn, two, "x", 1), Err(error));
    let buffer = shard.io.send_buffer(1).unwrap();
    assert_eq!(shard.io.stream_write_buffer(conn, two, buffer), Err(error));
    shard.finish();
}

// ---- the wrong moment

#[test]
fn a_connection_that_is_not_there_yet_says_so() {
    let mut shard = Shard::new();
    let (_listener, addr) = common::plain_listener();
    let conn = shard.io.tcp_connect(addr).unwrap();
    let early = IoError::NotConnected { conn };
    assert!(early.is_retryable());
    assert_eq!(shard.io.stream_write(conn, STREAM, b"x"), Err(early));
    assert_eq!(shard.io.shutdown_write(conn, STREAM), Err(early));
    assert_eq!(shard.io.stream_write_guard(conn, STREAM, "x", 1), Err(early));
    shard.io.set_user_data(conn, 5).expect("it has an id, and so a place for a number");
    shard.wait_connected(None);
    assert_eq!(shard.io.user_data(conn), Ok(5));
    assert_eq!(shard.io.stream_write(conn, STREAM, b"x"), Ok(1));
    shard.finish();
}

#[test]
fn writes_after_the_end_of_writing_lose_nothing_that_was_accepted() {
    let mut shard = Shard::with(|c| c.send_high_water = 4 << 20);
    let (conn, peer) = shard.accepted();
    let data = pattern(1, 2 << 20);
    shard.write_all(conn, &data);
    shard.io.shutdown_write(conn, STREAM).unwrap();
    let closed = IoError::WriteClosed { conn };
    assert_eq!(shard.io.stream_write(conn, STREAM, b"x"), Err(closed));
    assert_eq!(shard.io.stream_writev(conn, STREAM, &[IoSlice::new(b"x")]), Err(closed));
    assert_eq!(shard.io.stream_write_guard(conn, STREAM, "x", 1), Err(closed));
    let buffer = shard.io.send_buffer(1).unwrap();
    assert_eq!(shard.io.stream_write_buffer(conn, STREAM, buffer), Err(closed));
    let reader = std::thread::spawn(move || common::read_to_end(peer));
    assert_eq!(shard.wait_end(conn), (code::NONE, true));
    assert_same(&shard.join(reader), &data);
    shard.finish();
}

// ---- buffers

#[test]
fn buffers_that_are_too_large_are_named() {
    let mut shard = Shard::new();
    let error = shard.io.send_buffer((1 << 20) + 1).map(drop).unwrap_err();
    assert_eq!(error, IoError::BufferTooLarge { len: (1 << 20) + 1, max: 1 << 20 });
    let error = shard.io.send_buffer(usize::MAX).map(drop).unwrap_err();
    assert_eq!(error, IoError::BufferTooLarge { len: usize::MAX, max: 1 << 20 });
    let error = shard.io.handle().send_buffer(2049).map(drop).unwrap_err();
    assert_eq!(error, IoError::BufferTooLarge { len: 2049, max: 2048 });
    shard.finish();
}

#[test]
fn a_pool_that_is_empty_says_so_and_recovers() {
    let mut shard = Shard::with(|c| {
        c.pool_slot_count = 64;
        c.handle_reserve_count = 0;
    });
    let (conn, mut peer) = shard.accepted();
    let mut buffers = Vec::new();
    let error = loop {
        match shard.io.send_buffer(1) {
            Ok(buffer) => buffers.push(buffer),
            Err(error) => break error,
        }
    };
    assert_eq!(error, IoError::PoolExhausted { pool: PoolKind::Slots });
    assert!(error.is_retryable() && error.to_string().contains("pool_slot_count"), "{error}");
    assert!(buffers.len() > 16, "{}", buffers.len());
    // Copying writes find another class meanwhile; nothing that is accepted is lost.
    let data = pattern(1, 100_000);
    let n = shard.io.stream_write(conn, STREAM, &data).unwrap();
    shard.step(TICK);
    let mut got = vec![0; n];
    peer.read_exact(&mut got).unwrap();
    assert_same(&got, &data[..n]);
    drop(buffers);
    shard.step(Duration::ZERO);
    shard.io.send_buffer(1).map(drop).expect("they came home");
    shard.finish();
}

#[test]
fn a_buffer_of_another_io_is_refused_and_goes_home() {
    let (mut a, mut b) = (Shard::new(), Shard::new());
    let (conn, _peer) = a.accepted();
    let udp = a.io.udp_bind(localhost()).unwrap();
    let to: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let wanted = |error: IoError| {
        assert!(matches!(error, IoError::InvalidArgument { what: "send buffer", .. }), "{error}");
    };
    let buffer = b.io.send_buffer(100).unwrap();
    wanted(a.io.stream_write_buffer(conn, STREAM, buffer).unwrap_err());
    let buffer = b.io.send_buffer(100).unwrap();
    wanted(a.io.udp_send(udp, to, buffer).unwrap_err());
    let buffer = b.io.handle().send_buffer(10).unwrap();
    wanted(a.io.handle().stream_write_buffer(conn, STREAM, buffer).unwrap_err());
    a.run_for(Duration::from_millis(20));
    assert_eq!(a.io.io_stats().commands_refused, 0);
    assert_eq!(a.seen, []);
    b.step(Duration::ZERO);
    a.finish();
    b.finish();
}

#[test]
fn what_is_not_of_the_current_event_is_not_forwarded() {
    let mut shard = Shard::new();
    let (conn, mut peer) = shard.accepted();
    let foreign = shard.io.forward(conn, STREAM, b"not received");
    assert!(matches!(foreign, Err(IoError::InvalidArgument { .. })), "{foreign:?}");
    std::io::Write::write_all(&mut peer, b"received").unwrap();
    let mut done = false;
    while !done {
        shard.io.poll(TICK).unwrap();
        let (mut events, mut sender) = shard.io.split();
        while let Some(event) = events.next_event() {
            let Event::StreamFrame { conn, stream, data, .. } = event else { continue };
            let error = sender.forward(conn, stream, b"not received");
            assert!(matches!(error, Err(IoError::InvalidArgument { .. })), "{error:?}");
            sender.forward(conn, stream, &data[3..3]).expect("nothing is nothing");
            sender.forward(conn, stream, data).unwrap();
            done = true;
        }
    }
    shard.step(TICK);
    let mut got = [0; 8];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"received");
    shard.finish();
}

#[test]
fn nothing_to_detach_is_named() {
    let mut shard = Shard::new();
    let none = shard.io.try_detach_event_data();
    assert!(matches!(none, Err(IoError::InvalidArgument { what: "detach", .. })), "{none:?}");
    assert!(shard.io.detach_event_data().is_none());
    shard.io.handle().post(1).unwrap();
    shard.io.poll(TICK).unwrap();
    while shard.io.next_event().is_some() {
        assert!(shard.io.detach_event_data().is_none(), "it has no payload");
    }
    shard.finish();
}

#[test]
fn a_full_send_queue_is_named_and_then_told() {
    let mut shard = Shard::with(|c| {
        c.send_queue_entries = 64;
        c.send_high_water = 1 << 20;
    });
    let (conn, peer) = shard.accepted();
    let mut queued = 0;
    let error = loop {
        let mut buffer = shard.io.send_buffer(100).unwrap();
        buffer.fill(queued as u8);
        match shard.io.stream_write_buffer(conn, STREAM, buffer) {
            Ok(()) => queued += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error, queued), (IoError::PoolExhausted { pool: PoolKind::SendQueue }, 65));
    assert_eq!(shard.io.stream_write(conn, STREAM, b"more"), Ok(0), "a copying write: cut to 0");
    shard.wait("Writable", |seen| matches!(seen, Seen::Writable { .. }).then_some(()));
    shard.io.close_graceful(conn, PATIENCE).unwrap();
    let reader = std::thread::spawn(move || common::read_to_end(peer));
    shard.wait_end(conn);
    let wanted: Vec<u8> = (0..65_u8).flat_map(|n| [n; 100]).collect();
    assert_same(&shard.join(reader), &wanted);
    shard.finish();
}

#[test]
fn errors_say_what_to_do() {
    let rows: [(IoError, &str); 7] = [
        (IoError::PoolExhausted { pool: PoolKind::Guards }, "Config::guard_count"),
        (IoError::QueueFull { queue: "handle", capacity: 4 }, "retry"),
        (IoError::StreamNotPullable { protocol: Protocol::Tcp }, "Event::StreamFrame"),
        (IoError::NotConnected { conn: ConnId::from_u64(1) }, "Event::Connected"),
        (IoError::HandshakeUnconfirmed { conn: ConnId::from_u64(1) }, "call again"),
        (IoError::IoGone, "nothing was sent"),
        (IoError::AddrInUse { addr: localhost() }, "127.0.0.1:0"),
    ];
    for (error, words) in rows {
        assert!(error.to_string().contains(words), "{error}");
        let through_std = std::io::Error::from(error);
        assert_eq!(IoError::of(&through_std), Some(error));
    }
}
