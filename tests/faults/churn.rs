//! Connections that come and go.

use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use zero_io::{ConnId, IoError, ReferencePool};

use crate::world::*;

/// Connections of the churn test; `ZERO_IO_CHURN` changes it.
const CYCLES: usize = 100_000;
const CLIENTS: usize = 2;
/// Connections from here that are there at a time.
const OUTGOING_AT_ONCE: usize = 8;

/// A client with an address of its own in 127/8, so that ports do not run out.
fn connect_from(source: Ipv4Addr, to: SocketAddr) -> TcpStream {
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the descriptor is new, and nobody else's.
    let stream = unsafe { TcpStream::from_raw_fd(fd) };
    let IpAddr::V4(ip) = to.ip() else { panic!("not IPv4") };
    for (ip, port, bind) in [(source, 0, true), (ip, to.port(), false)] {
        let addr = libc::sockaddr_in {
            sin_family: libc::AF_INET as u16,
            sin_port: u16::to_be(port),
            sin_addr: libc::in_addr { s_addr: u32::from(ip).to_be() },
            sin_zero: [0; 8],
        };
        let len = size_of_val(&addr) as u32;
        let call = if bind { libc::bind } else { libc::connect };
        // SAFETY: the address is a local of the stated size that outlives the call.
        let answer = unsafe { call(stream.as_raw_fd(), (&raw const addr).cast(), len) };
        assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    }
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// One client's life: some say nothing, some wait for their echo; some reset, some say goodbye.
fn cycle(client: usize, n: usize, addr: SocketAddr) {
    let source = Ipv4Addr::new(127, 0, 1 + client as u8, 1 + (n % 200) as u8);
    let mut stream = connect_from(source, addr);
    let word = (n as u64).to_ne_bytes();
    if !n.is_multiple_of(4) {
        stream.write_all(&word).unwrap();
    }
    if n % 4 >= 2 {
        let mut echo = [0; 8];
        stream.read_exact(&mut echo).unwrap();
        assert_eq!(echo, word, "another connection's bytes");
    }
    if n % 8 < 7 {
        linger_zero(&stream);
    }
}

/// The other end of a connection from here: some say nothing, some wait for their echo; some reset,
/// some say goodbye. It may be given up at any time. Whether the echo came.
fn answer<S: Read + Write>(mut stream: S, n: usize) -> bool {
    let word = (n as u64).to_ne_bytes();
    if n.is_multiple_of(4) || stream.write_all(&word).is_err() {
        return false;
    }
    let mut echo = [0; 8];
    let came = n % 4 >= 2 && stream.read_exact(&mut echo).is_ok();
    assert!(!came || echo == word, "another connection's bytes");
    came
}

/// Peers of connections from here, on threads of their own, until they are told to stop.
struct Peers {
    addr: SocketAddr,
    path: PathBuf,
    stop: Arc<AtomicBool>,
    /// Each tells how many echoes came.
    threads: [JoinHandle<usize>; 2],
}

impl Peers {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("zero-io-churn-{}", std::process::id()));
        let (tcp, unix) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
        let addr = tcp.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (first, second) = (Arc::clone(&stop), Arc::clone(&stop));
        let tcp = std::thread::spawn(move || {
            let mut echoes = 0;
            for (n, stream) in tcp.incoming().enumerate() {
                if first.load(Ordering::Relaxed) {
                    break;
                }
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                if n % 8 < 7 {
                    linger_zero(&stream);
                }
                echoes += usize::from(answer(stream, n));
            }
            echoes
        });
        let unix = std::thread::spawn(move || {
            let mut echoes = 0;
            for (n, stream) in unix.incoming().enumerate() {
                if second.load(Ordering::Relaxed) {
                    break;
                }
                let stream = stream.unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                echoes += usize::from(answer(stream, n));
            }
            echoes
        });
        Self { addr, path, stop, threads: [tcp, unix] }
    }

    /// How many echoes came to those at TCP, and at the Unix socket.
    fn stop(self) -> [usize; 2] {
        self.stop.store(true, Ordering::Relaxed);
        drop(connect(self.addr));
        drop(UnixStream::connect(&self.path).unwrap());
        std::fs::remove_file(&self.path).unwrap();
        self.threads.map(|thread| thread.join().unwrap())
    }
}

#[test]
fn alone_connects_and_closes_leak_nothing() {
    in_a_process("churn::alone_connects_and_closes_leak_nothing", churn);
}

fn churn() {
    let cycles = CYCLES / slower() as usize;
    let cycles: usize = std::env::var("ZERO_IO_CHURN").map_or(cycles, |n| n.parse().unwrap());
    // Each fourth is begun here, by TCP and Unix sockets in turn.
    let outgoing = cycles / 4;
    let accepted = (cycles - outgoing) / CLIENTS * CLIENTS;
    let quiet = strict().with(|c| c.debug.audit_every_tick = false);
    let mut world =
        World::new(quiet.with(|c| c.max_connections = 64)).with_payload(Payload::Forward);
    let addr = world.listen();
    world.turn(Duration::ZERO);
    let descriptors = open_descriptors();
    let peers = Peers::new();
    let start = Instant::now();
    let (mut begun, mut ended) = (0, 0);
    let mut mine: HashSet<ConnId> = HashSet::new();
    let mut last_used = [0_u64; 64];
    let mut open = BTreeMap::new();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                for n in 0..accepted / CLIENTS {
                    cycle(client, n, addr);
                }
            });
        }
        while ended < accepted + outgoing {
            if start.elapsed() > PATIENCE * 8 {
                let stats =
                    open.iter().map(|(conn, step)| (conn, step, world.io.conn_stats(*conn)));
                let stats: Vec<_> = stats.collect();
                panic!("{ended} ended; open are {stats:?}; {:?}", world.io.io_stats());
            }
            while begun < outgoing && mine.len() < OUTGOING_AT_ONCE {
                let path = peers.path.to_str().unwrap();
                let conn = match begun % 2 {
                    0 => world.io.tcp_connect(peers.addr),
                    _ => world.io.uds_connect(path),
                };
                let conn = conn.unwrap();
                mine.insert(conn);
                open.insert(conn, "begun here");
                // Some are given up before they are there.
                if begun % 10 < 2 {
                    world.io.close(conn).unwrap();
                }
                begun += 1;
            }
            world.turn(Duration::from_millis(50));
            for event in world.log.drain(..) {
                match event {
                    Ev::Disconnected(conn, ..) => {
                        assert!(open.remove(&conn).is_some(), "{conn} ended twice");
                        mine.remove(&conn);
                        ended += 1;
                    }
                    // A half-close: no answer to it, but the end.
                    Ev::ReadClosed(conn) => {
                        open.insert(conn, "the client has closed");
                        let _ = world.io.close(conn);
                    }
                    Ev::Connected(conn) => {
                        let number = conn.as_u64();
                        let place = &mut last_used[(number & 63) as usize];
                        assert!(number > *place, "{conn} was given before");
                        *place = number;
                        open.insert(conn, "connected");
                    }
                    _ => {}
                }
            }
            world.bytes.clear();
        }
    });
    // Nothing that was begun is under way either.
    world.must_be_idle();
    let echoes = peers.stop();
    assert!(echoes.iter().all(|n| n * 5 > outgoing / 2), "{echoes:?} echoes of {outgoing} cycles");
    assert_eq!(open_descriptors(), descriptors, "descriptors leak");
    assert_eq!(world.io.pool_stats().of(ReferencePool::PerConn).used, 0);
    // Every place can still be used, and together.
    let full: Vec<_> = (0..64).map(|_| world.join(addr)).collect();
    for (conn, mut client) in full {
        client.write_all(b"x").unwrap();
        world.until("an echo", |_| look(&client) == Found::Bytes(b"x".to_vec()));
        world.io.close(conn).unwrap();
    }
    world.must_be_idle();
}

#[test]
fn hazard_17_an_old_id_reaches_nobody() {
    let mut world = World::new(strict().with(|c| c.max_connections = 1));
    let addr = world.listen();
    let mut old: Vec<ConnId> = Vec::new();
    for _ in 0..50 {
        let (conn, client) = world.join(addr);
        for stale in &old {
            let stale = *stale;
            let error = Err(IoError::StaleConn { conn: stale });
            assert_eq!(world.io.stream_write(stale, S0, b"for somebody else"), error);
            assert_eq!(world.io.close(stale).unwrap_err(), IoError::StaleConn { conn: stale });
        }
        // A handle is told by nothing: the request is refused when it is run.
        if let Some(last) = old.last() {
            world.io.handle().stream_write(*last, S0, b"for somebody else").unwrap();
            world.io.handle().close(*last).unwrap();
        }
        assert_eq!(world.io.stream_write(conn, S0, b"hello"), Ok(5));
        world.until("hello", |_| look(&client) == Found::Bytes(b"hello".to_vec()));
        world.io.close(conn).unwrap();
        world.until("FIN", |_| look(&client) == Found::End);
        world.end_of(conn);
        old.push(conn);
    }
    world.must_be_idle();
}

#[test]
fn hazard_02_a_closed_connections_sends_never_reach_the_next_one() {
    let mut world = World::new(strict().with(|c| c.max_connections = 1));
    let addr = world.listen_with(|c| c.send_buffer = Some(4096));
    for round in 0..100 {
        let (conn, mut client) = world.join(addr);
        let mine = vec![round; 1 << 20];
        // It reads all the time, so that the kernel goes on with a send that had to wait.
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = client.read(&mut bytes) {
                assert!(bytes[..n].iter().all(|b| *b == round), "bytes of another connection");
            }
        });
        // More than the kernel takes: a send is under way when the connection is closed.
        while world.io.stream_write(conn, S0, &mine).unwrap() == mine.len() {}
        for _ in 0..round % 3 {
            world.turn(Duration::ZERO);
        }
        world.io.close(conn).unwrap();
        world.end_of(conn);
        reader.join().unwrap();
    }
    world.must_be_idle();
}
