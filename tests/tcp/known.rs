//! What is known of a connection: figures, user data, socket options.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use zero_io::{Config, Event, Io, IoError, Keepalive, TcpConnectConfig};

use crate::common::{PATIENCE, Shard, TICK, dial, localhost, plain_listener};
use crate::linger::linger_zero;

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

/// A connection that ended before the application heard of it is still told of from its beginning,
/// and has its number until its end was told: so that what is told has an owner.
#[test]
fn user_data_lasts_until_the_end_is_told() {
    let mut io = Io::new(Config::default()).unwrap();
    let endpoint = io.tcp_listen(localhost()).unwrap();
    let addr = io.local_addr(endpoint).unwrap().inet().unwrap();
    let mut peer = dial(addr);
    peer.write_all(b"last words").unwrap();
    for _ in 0..5 {
        io.poll(TICK).unwrap();
    }
    linger_zero(&peer);
    drop(peer);
    for _ in 0..5 {
        io.poll(TICK).unwrap();
    }
    let (mut events, mut sender) = io.split();
    let mut told = Vec::new();
    while let Some(event) = events.next_event() {
        match event {
            Event::Connected { conn, .. } => {
                assert_eq!(sender.user_data(conn), Ok(0));
                sender.set_user_data(conn, 5).unwrap();
                told.push("connected");
            }
            Event::StreamFrame { conn, data, .. } => {
                assert_eq!((sender.user_data(conn), data), (Ok(5), &b"last words"[..]));
                told.push("bytes");
            }
            Event::Disconnected { conn, user_data, .. } => {
                assert_eq!(user_data, 5);
                assert_eq!(sender.user_data(conn), Err(IoError::StaleConn { conn }));
                told.push("disconnected");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, ["connected", "bytes", "disconnected"]);
}

/// Who connects to nobody learns by its number which attempt that was.
#[test]
fn user_data_comes_with_a_failed_connect() {
    let mut io = Io::new(Config::default()).unwrap();
    let (listener, addr) = plain_listener();
    drop(listener);
    let conn = io.tcp_connect(addr).unwrap();
    io.set_user_data(conn, 9).unwrap();
    io.poll(PATIENCE).unwrap();
    let Some(Event::Disconnected { conn: of, user_data, .. }) = io.next_event() else {
        panic!("nobody listens there");
    };
    assert_eq!((of, user_data), (conn, 9));
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
