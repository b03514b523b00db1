//! The public surface by its names, types and defaults: what stands here does not change without a
//! test that fails.
//!
//! Most of it is checked by being compiled: a function pointer has the whole signature in its type.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use zero_io::{
    Config, ConnId, ConnStats, DebugConfig, EndpointId, Event, Events, Io, IoError, IoHandle,
    IoSeed, KernelVersion, MessageKind, MulticastGroup, OwnedSlot, PeerAddr, PoolKind,
    PoolPressureInfo, PoolStats, PressureState, Protocol, ReferencePool, Result, SendBuffer,
    Sender, StreamId, TcpConnectConfig, TcpListenConfig, Toggle, UdpEndpointConfig, UringConfig,
};

#[test]
fn a_shard_has_the_methods_that_are_promised() {
    let _: fn(Config) -> Result<Io> = Io::new;
    let _: fn(&mut Io, Duration) -> Result<()> = Io::poll;
    let _: fn(&mut Io) -> Option<Event<'_>> = Io::next_event;
    let _: fn(&mut Io) -> Option<OwnedSlot> = Io::detach_event_data;
    let _: fn(&mut Io, usize) -> Result<SendBuffer> = Io::send_buffer;
    let _: fn(&mut Io, ConnId) -> Result<()> = Io::close;
    let _: fn(&mut Io, ConnId, Duration) -> Result<()> = Io::close_graceful;
    let _: fn(&Io) -> Option<PoolPressureInfo> = Io::pool_pressure;
    let _: fn(&Io) -> PoolStats = Io::pool_stats;
    // By `&mut`: what a QUIC connection counts is had in no other way.
    let _: fn(&mut Io, ConnId) -> Result<ConnStats> = Io::conn_stats;
    let _: fn(&Io) -> IoHandle = Io::handle;
    let _: fn(&mut Io) -> (Events<'_>, Sender<'_>) = Io::split;
    let _: fn(&mut Io, EndpointId) -> Result<PeerAddr> = Io::local_addr;
    let _: fn(&mut Io, EndpointId) -> Result<()> = Io::endpoint_close;
    let _: fn(&mut Io, ConnId, u64) -> Result<()> = Io::set_user_data;
    let _: fn(&mut Io, ConnId) -> Result<u64> = Io::user_data;
}

#[test]
fn tcp_unix_and_udp_have_the_methods_that_are_promised() {
    let _: fn(&mut Io, SocketAddr) -> Result<EndpointId> = Io::tcp_listen;
    let _: fn(&mut Io, TcpListenConfig) -> Result<EndpointId> = Io::tcp_listen_with;
    let _: fn(&mut Io, SocketAddr) -> Result<ConnId> = Io::tcp_connect;
    let _: fn(&mut Io, TcpConnectConfig) -> Result<ConnId> = Io::tcp_connect_with;
    let _: fn(&mut Io, &str) -> Result<EndpointId> = Io::uds_listen;
    let _: fn(&mut Io, &str) -> Result<ConnId> = Io::uds_connect;
    let _: fn(&mut Io, ConnId, StreamId, &[u8]) -> Result<usize> = Io::stream_write;
    let _: fn(&mut Io, ConnId, StreamId, SendBuffer) -> Result<()> = Io::stream_write_buffer;
    let _: fn(&mut Io, ConnId, StreamId, &mut [u8]) -> Result<usize> = Io::stream_read;
    let _: fn(&mut Io, ConnId, StreamId) -> Result<()> = Io::shutdown_write;
    let _: fn(&mut Io, ConnId) -> Result<()> = Io::pause_recv;
    let _: fn(&mut Io, ConnId) -> Result<()> = Io::resume_recv;
    let _: fn(&mut Io, SocketAddr) -> Result<EndpointId> = Io::udp_bind;
    let _: fn(&mut Io, UdpEndpointConfig) -> Result<EndpointId> = Io::udp_bind_with;
    let _: fn(&mut Io, EndpointId, SocketAddr, SendBuffer) -> Result<()> = Io::udp_send;
    let _: fn(&mut Io, EndpointId, SocketAddr, &[u8]) -> Result<()> = Io::udp_send_bytes;
    let _: fn(&mut Io, EndpointId, MulticastGroup) -> Result<()> = Io::multicast_join;
    let _: fn(&mut Io, EndpointId, MulticastGroup) -> Result<()> = Io::multicast_leave;
    let (v4, ip) = (Ipv4Addr::LOCALHOST, IpAddr::V4(Ipv4Addr::LOCALHOST));
    let _ = MulticastGroup::AnySource { group: v4, interface: v4 };
    let _ =
        MulticastGroup::SourceSpecific { group: ip, source: ip, interface_v4: v4, interface_v6: 0 };
}

#[test]
fn a_handle_has_the_methods_that_are_promised() {
    let _: fn(&IoHandle, ConnId, StreamId, &[u8]) -> Result<()> = IoHandle::stream_write;
    let _: fn(&IoHandle, ConnId, StreamId, SendBuffer) -> Result<()> =
        IoHandle::stream_write_buffer;
    let _: fn(&IoHandle, ConnId) -> Result<()> = IoHandle::close;
    let _: fn(&IoHandle, ConnId, Duration) -> Result<()> = IoHandle::close_graceful;
    let _: fn(&IoHandle, u64) -> Result<()> = IoHandle::post;
    let _: fn(&IoHandle) -> Result<()> = IoHandle::wake;
    #[cfg(feature = "quic")]
    {
        let _: fn(&IoHandle, ConnId, &[u8]) -> Result<()> = IoHandle::send_datagram;
        let _: fn(&IoHandle, ConnId, SendBuffer) -> Result<()> = IoHandle::send_datagram_buffer;
    }
    let _: fn(&mut SendBuffer) -> &mut [u8] = SendBuffer::as_mut_slice;
}

/// Implemented once for what is not `Send`, and twice for what is: then it is not known which one
/// is meant, and this does not compile.
trait StaysHere<Which> {
    fn holds() {}
}
impl<T: ?Sized> StaysHere<()> for T {}
impl<T: ?Sized + Send> StaysHere<u8> for T {}

#[test]
fn what_may_cross_threads_does_and_the_rest_does_not() {
    fn crosses<T: Send>() {}
    fn is_shared<T: Send + Sync + Clone>() {}
    <Io as StaysHere<_>>::holds();
    <Events<'static> as StaysHere<_>>::holds();
    <Sender<'static> as StaysHere<_>>::holds();
    crosses::<IoSeed>();
    crosses::<SendBuffer>();
    is_shared::<IoHandle>();
    is_shared::<OwnedSlot>();
}

/// Never called: that it compiles says what events carry.
fn _events_carry(event: Event<'_>) {
    match event {
        Event::UdpRecv { endpoint, from, data, .. } => {
            let _: (EndpointId, SocketAddr, &[u8]) = (endpoint, from, data);
        }
        Event::Connected { conn, peer, protocol, endpoint, .. } => {
            let _: (ConnId, PeerAddr, Protocol, Option<EndpointId>) =
                (conn, peer, protocol, endpoint);
        }
        Event::Disconnected { conn, error_code, reason, clean, user_data } => {
            let _: (ConnId, u64, &[u8], bool, u64) = (conn, error_code, reason, clean, user_data);
        }
        Event::Datagram { conn, data } => {
            let _: (ConnId, &[u8]) = (conn, data);
        }
        Event::StreamFrame { conn, stream, kind, data, .. } => {
            let _: (ConnId, StreamId, MessageKind, &[u8]) = (conn, stream, kind, data);
        }
        Event::StreamReset { conn, stream, error_code }
        | Event::StopSending { conn, stream, error_code } => {
            let _: (ConnId, StreamId, u64) = (conn, stream, error_code);
        }
        Event::PathMigration { conn, old_peer, new_peer } => {
            let _: (ConnId, SocketAddr, SocketAddr) = (conn, old_peer, new_peer);
        }
        Event::Writable { conn, stream, credit } => {
            let _: (ConnId, StreamId, usize) = (conn, stream, credit);
        }
        Event::ReadClosed { conn, stream } => {
            let _: (ConnId, StreamId) = (conn, stream);
        }
        Event::SendDone { token, .. }
        | Event::Timer { token, .. }
        | Event::FdReady { token, .. }
        | Event::User { token, .. } => {
            let _: u64 = token;
        }
        Event::PoolPressure { info } => {
            let _: PoolPressureInfo = info;
        }
        _ => {}
    }
}

#[test]
fn every_kind_of_message_is_there() {
    let kinds = [
        MessageKind::Binary,
        MessageKind::WsText,
        MessageKind::WsBinary,
        MessageKind::MqttPacket,
        MessageKind::GrpcFrame,
        MessageKind::FixText,
        MessageKind::Sbe,
        MessageKind::User(7),
    ];
    let distinct = kinds.iter().collect::<std::collections::HashSet<_>>();
    assert_eq!(distinct.len(), kinds.len());
}

#[test]
fn a_configuration_has_the_defaults_that_are_promised() {
    let config = Config::default();
    assert_eq!((config.pool_slot_count, config.pool_slot_size), (4096, 2048));
    assert_eq!(config.huge_pages, Toggle::Auto);
    assert_eq!((config.max_connections, config.max_events_per_poll), (1024, 256));
    assert_eq!((config.pool_pressure_pct, config.compression_threshold), (80, 128));
    let UringConfig { defer_taskrun, no_sqarray, register_ring_fd, .. } = config.uring;
    assert_eq!([defer_taskrun, no_sqarray, register_ring_fd], [Toggle::Auto; 3]);
    assert_eq!([config.uring.fixed_files, config.uring.zero_copy_send], [Toggle::Auto; 2]);
    let DebugConfig { poison_freed, audit_every_tick, trace_completions, .. } = config.debug;
    assert_eq!((poison_freed, audit_every_tick, trace_completions), (false, false, 0));
    let below = config.with(|c| c.pool_slot_size = 1199);
    let error = below.validate().expect_err("RFC 9000 asks for 1200");
    assert!(matches!(error, IoError::InvalidConfig { field: "Config::pool_slot_size", .. }));
}

#[test]
fn errors_have_the_variants_that_are_promised() {
    let (required, found) =
        (KernelVersion { major: 6, minor: 1 }, KernelVersion { major: 5, minor: 15 });
    let all = [
        (IoError::KernelTooOld { required, found }, "6.1"),
        (IoError::StreamNotPullable { protocol: Protocol::Tcp }, "Event::StreamFrame"),
        (IoError::NotSupportedOnPlatform { platform: "windows" }, "windows"),
        (IoError::NotSupportedOnBackend { backend: "sim", feature: "zero-copy" }, "zero-copy"),
        (IoError::PoolExhausted { pool: PoolKind::Slots }, "pool_slot_count"),
        (IoError::DnsError, "resolv.conf"),
        (IoError::ConnectTimeout { timeout_ms: 30_000 }, "30000 ms"),
        (IoError::TlsHandshakeFailed { alert: 40 }, "40"),
        (IoError::HmacMismatch, "key"),
        (IoError::NonceReplay, "nonce"),
        (IoError::ProfileForbidden, "profile"),
    ];
    for (error, says) in all {
        let text = error.to_string();
        assert!(text.contains(says), "{text}");
        let std: std::io::Error = error.into();
        assert_eq!(IoError::of(&std), Some(error));
    }
}

/// What is exhausted can be raised: the field that an error names is one of `Config`.
#[test]
fn an_exhausted_pool_names_a_field_that_there_is() {
    let fields = format!("{:?}", Config::default());
    let pools = [
        PoolKind::Slots,
        PoolKind::StreamBuffers,
        PoolKind::GroBuffers,
        PoolKind::Jumbo,
        PoolKind::HandleReserve,
        PoolKind::SendQueue,
        PoolKind::Guards,
        PoolKind::Detached,
        PoolKind::Connections,
        PoolKind::Endpoints,
        PoolKind::Timers,
        PoolKind::Watches,
    ];
    for pool in pools {
        let field = pool.config_field();
        assert!(fields.contains(&format!(" {field}: ")), "{pool:?}: {field}");
        assert!(IoError::PoolExhausted { pool }.to_string().contains(field));
    }
}

#[test]
fn the_cascade_has_its_states_and_pools() {
    let states = [
        PressureState::Healthy,
        PressureState::Warning,
        PressureState::Critical,
        PressureState::Drain,
    ];
    assert!(states.is_sorted(), "each is worse than the one before");
    let names = ReferencePool::ALL.map(|pool| format!("{pool:?}"));
    let promised =
        ["FreeStack", "FillRing", "RxRing", "TxRing", "CompletionRing", "ScratchPool", "PerConn"];
    assert_eq!(names, promised);
}

/// A pool that this configuration does not have is none that is full.
#[test]
fn a_pool_that_is_not_there_is_not_applicable() {
    let io = Io::new(Config::default().with(|c| c.jumbo_count = 0)).unwrap();
    let jumbo = io.pool_stats().of(ReferencePool::ScratchPool);
    assert_eq!((jumbo.used, jumbo.capacity, jumbo.percent()), (0, 0, 0));
    assert_eq!(io.pool_pressure(), None);
}
