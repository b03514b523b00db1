//! Unix sockets on the real kernel.

mod common;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use common::{PATIENCE, STREAM, Seen, Shard, TICK, assert_same, pattern};
use zero_io::{
    ConnTimeouts, Errno, IoError, PeerAddr, Protocol, UdsConnectConfig, UdsListenConfig, code,
};

/// A directory of the test's own, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("zio-uds-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn patient(stream: UnixStream) -> UnixStream {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

#[test]
fn a_path_is_listened_on_and_echoed() {
    let scratch = Scratch::new("echo");
    let path = scratch.path("socket");
    let mut shard = Shard::new();
    let endpoint = shard.io.uds_listen(&path).unwrap();
    assert!(std::fs::symlink_metadata(&path).unwrap().file_type().is_socket());
    assert_eq!(shard.io.local_addr(endpoint), Ok(PeerAddr::Unix));
    let mut peer = patient(UnixStream::connect(&path).unwrap());
    let conn = shard.wait("Connected", |seen| match seen {
        Seen::Connected { conn, endpoint: e, peer, protocol, .. } => {
            assert_eq!((*e, *peer, *protocol), (Some(endpoint), PeerAddr::Unix, Protocol::Uds));
            Some(*conn)
        }
        _ => None,
    });
    peer.write_all(b"to the shard").unwrap();
    assert_same(&shard.wait_bytes(conn, 12), b"to the shard");
    shard.write_all(conn, b"and back");
    shard.step(TICK);
    let mut got = [0; 8];
    peer.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"and back");
    assert_eq!(
        shard.io.stream_read(conn, STREAM, &mut []),
        Err(IoError::StreamNotPullable { protocol: Protocol::Uds })
    );
    drop(peer);
    shard.wait_read_closed(conn);
    shard.io.close_graceful(conn, Duration::ZERO).unwrap();
    assert_eq!(shard.wait_end(conn), (code::NONE, true));
    shard.finish();
}

#[test]
fn abstract_names_leave_no_file() {
    let name = format!("@zero-io-test-{}", std::process::id());
    let mut shard = Shard::new();
    let endpoint = shard.io.uds_listen(&name).unwrap();
    let client = shard.io.uds_connect(&name).unwrap();
    shard.wait_connected(None);
    let server = shard.wait_connected(Some(endpoint));
    assert!(!std::path::Path::new(&name).exists());
    let data = pattern(1, 3 << 20);
    let mut done = 0;
    shard.until("everything to cross", |shard| {
        done += shard.io.stream_write(client, STREAM, &data[done..]).unwrap();
        shard.bytes_of(server).len() == data.len()
    });
    assert_same(&shard.bytes_of(server), &data);
    shard.finish();
}

#[test]
fn a_stale_path_is_taken_over_and_a_live_one_is_not() {
    let scratch = Scratch::new("stale");
    let path = scratch.path("socket");
    drop(UnixListener::bind(&path).unwrap());
    assert!(std::path::Path::new(&path).exists(), "the file outlives its listener");
    let mut shard = Shard::new();
    let polite = UdsListenConfig::new(&path).with(|c| c.unlink_stale = false);
    let in_use = IoError::Os { op: "bind", errno: Errno(libc::EADDRINUSE) };
    assert_eq!(shard.io.uds_listen_with(polite), Err(in_use));
    let endpoint = shard.io.uds_listen(&path).unwrap();
    assert_eq!(shard.io.uds_listen(&path), Err(in_use), "somebody listens there: this shard");
    let peer = UnixStream::connect(&path).unwrap();
    shard.wait_connected(Some(endpoint));
    drop(peer);
    // What is no socket stays.
    let file = scratch.path("file");
    std::fs::write(&file, "text").unwrap();
    assert_eq!(shard.io.uds_listen(&file), Err(in_use));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "text");
    shard.finish();
}

#[test]
fn the_mode_is_set() {
    let scratch = Scratch::new("mode");
    let mut shard = Shard::new();
    for mode in [0o600, 0o666, 0o660] {
        let path = scratch.path(&format!("{mode:o}"));
        let config = UdsListenConfig::new(&path).with(|c| c.mode = Some(mode));
        shard.io.uds_listen_with(config).unwrap();
        let found = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(found & 0o7777, mode);
    }
    let config = UdsListenConfig::new(scratch.path("bad")).with(|c| c.mode = Some(0o10000));
    let error = shard.io.uds_listen_with(config).unwrap_err();
    assert!(matches!(error, IoError::InvalidConfig { field: "UdsListenConfig::mode", .. }));
}

#[test]
fn the_peer_is_known() {
    let scratch = Scratch::new("cred");
    let path = scratch.path("socket");
    let mut shard = Shard::new();
    let endpoint = shard.io.uds_listen(&path).unwrap();
    let client = shard.io.uds_connect(&path).unwrap();
    let server = shard.wait_connected(Some(endpoint));
    shard.wait_connected(None);
    // SAFETY: the calls take nothing and cannot fail.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    for conn in [client, server] {
        let cred = shard.io.peer_cred(conn).unwrap();
        assert_eq!(cred.pid, std::process::id() as i32);
        assert_eq!((cred.uid, cred.gid), (uid, gid));
    }
    let stats = shard.io.conn_stats(client).unwrap();
    assert_eq!((stats.rtt_us, stats.mss), (0, 0));
    shard.finish();
}

#[test]
fn credentials_of_tcp_are_an_error() {
    let mut shard = Shard::new();
    let (conn, _peer) = shard.accepted();
    let error = shard.io.peer_cred(conn).unwrap_err();
    assert_eq!(error, IoError::Os { op: "SO_PEERCRED", errno: Errno(libc::EOPNOTSUPP) });
    shard.finish();
}

#[test]
fn nobody_there_is_told() {
    let scratch = Scratch::new("nobody");
    let path = scratch.path("socket");
    let mut shard = Shard::new();
    let conn = shard.io.uds_connect(&path).unwrap();
    assert_eq!(shard.wait_end(conn), (libc::ENOENT as u64, false));
    drop(UnixListener::bind(&path).unwrap());
    let conn = shard.io.uds_connect(&path).unwrap();
    assert_eq!(shard.wait_end(conn), (libc::ECONNREFUSED as u64, false));
    assert_eq!(shard.seen, []);
    shard.finish();
}

#[test]
fn bad_paths_are_named() {
    let mut shard = Shard::new();
    for path in ["", "@", &"x".repeat(108), "nul\0inside"] {
        for error in [shard.io.uds_listen(path).map(drop), shard.io.uds_connect(path).map(drop)] {
            assert!(matches!(error, Err(IoError::InvalidArgument { .. })), "{path:?}: {error:?}");
        }
    }
    let error = shard.io.uds_listen("/no/such/directory/socket").unwrap_err();
    assert_eq!(error, IoError::Os { op: "bind", errno: Errno(libc::ENOENT) });
    shard.finish();
}

#[test]
fn a_full_backlog_is_waited_for_and_not_for_ever() {
    let scratch = Scratch::new("backlog");
    let path = scratch.path("socket");
    let mut other = Shard::new();
    let config = UdsListenConfig::new(&path).with(|c| c.backlog = 1);
    let listener = other.io.uds_listen_with(config).unwrap();
    let mut shard = Shard::new();
    let limit = Duration::from_millis(200);
    let config = UdsConnectConfig::new(&path).with(|c| c.connect_timeout = limit);
    let conns: Vec<_> =
        (0..5).map(|_| shard.io.uds_connect_with(config.clone()).unwrap()).collect();
    let told = |shard: &mut Shard| {
        let ended = shard.count(|seen| matches!(seen, Seen::Disconnected { .. }));
        (shard.count(|seen| matches!(seen, Seen::Connected { .. })), ended)
    };
    shard.until("all to be told", |shard| told(shard).0 + told(shard).1 == conns.len());
    assert!(told(&mut shard).1 >= 2, "{:?}", shard.seen);
    for seen in &shard.seen {
        if let Seen::Disconnected { code, .. } = seen {
            assert_eq!(*code, code::CONNECT_TIMEOUT);
        }
    }
    // With patience, each gets its turn.
    let waiting: Vec<_> = (0..5).map(|_| shard.io.uds_connect(&path).unwrap()).collect();
    let before = told(&mut shard).0;
    shard.until("all to connect", |shard| {
        other.step(Duration::ZERO);
        told(shard).0 == before + waiting.len()
    });
    other.wait_connected(Some(listener));
    shard.finish();
    other.finish();
}

#[test]
fn unix_descriptors_are_adopted() {
    let scratch = Scratch::new("adopt");
    let path = scratch.path("socket");
    let mut shard = Shard::new();
    let listener = UnixListener::bind(&path).unwrap();
    let timeouts = ConnTimeouts::default();
    let endpoint = shard.io.adopt_listener(OwnedFd::from(listener), timeouts, None).unwrap();
    let _peer = UnixStream::connect(&path).unwrap();
    shard.wait_connected(Some(endpoint));
    let (mine, theirs) = UnixStream::pair().unwrap();
    let conn = shard.io.adopt_stream(OwnedFd::from(mine), None).unwrap();
    shard.wait("Connected", |seen| match seen {
        Seen::Connected { conn: c, endpoint: None, protocol: Protocol::Uds, .. } => {
            (*c == conn).then_some(())
        }
        _ => None,
    });
    let mut theirs = patient(theirs);
    theirs.write_all(b"pair").unwrap();
    assert_same(&shard.wait_bytes(conn, 4), b"pair");
    shard.finish();
}

#[test]
fn half_close_and_peers_that_vanish() {
    let scratch = Scratch::new("half");
    let path = scratch.path("socket");
    let mut shard = Shard::new();
    let endpoint = shard.io.uds_listen(&path).unwrap();
    let mut peer = patient(UnixStream::connect(&path).unwrap());
    let conn = shard.wait_connected(Some(endpoint));
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    shard.wait_read_closed(conn);
    let data = pattern(2, 1 << 20);
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        got
    });
    shard.write_all(conn, &data);
    shard.io.shutdown_write(conn, STREAM).unwrap();
    assert_eq!(shard.wait_end(conn), (code::NONE, true));
    assert_same(&shard.join(reader), &data);
    // Gone with bytes that it had not read: a reset.
    let peer = UnixStream::connect(&path).unwrap();
    let conn = shard.wait_connected(Some(endpoint));
    shard.write_all(conn, b"never read");
    shard.step(TICK);
    drop(peer);
    let (code, clean) = shard.wait_end(conn);
    assert!(matches!(code as i32, libc::ECONNRESET | libc::EPIPE), "{code}");
    assert!(!clean);
    shard.finish();
}

/// K29: bytes and the end right behind them, which come before the receive has run.
#[test]
fn an_end_right_behind_the_last_bytes_is_told() {
    let mut shard = Shard::new();
    for _ in 0..300 {
        let (mine, mut peer) = UnixStream::pair().unwrap();
        let conn = shard.io.adopt_stream(OwnedFd::from(mine), None).unwrap();
        assert_eq!(shard.wait_connected(None), conn);
        shard.step(Duration::ZERO);
        let ends = thread::spawn(move || {
            peer.write_all(&[7; 123]).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
            peer
        });
        shard.wait_read_closed(conn);
        assert_eq!(shard.bytes_of(conn), [7; 123]);
        let peer = shard.join(ends);
        shard.io.close(conn).unwrap();
        shard.wait_end(conn);
        drop(peer);
        shard.seen.clear();
    }
    shard.finish();
}
