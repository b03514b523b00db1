//! The same stories on the real ring and on the simulated one, beyond `differential`: ends of TCP
//! connections, datagrams, Unix sockets, timers and posts, watched descriptors, a full table,
//! guards.
//!
//! What is compared is what each node was told, by its connection, socket or kind of event: between
//! those, timing decides.

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use zero_io::sim::{Faults, World};
use zero_io::{Config, ConnId, EndpointId, Readiness, Toggle, UdpEndpointConfig, UdpTransmit};

use crate::stage::{PATIENCE, STREAM, Seen, Stage};

const SEEDS: u64 = 5;
/// Turns after which what has not come does not come.
const QUIET_TURNS: usize = 20;

fn config() -> Config {
    Config::default().with(|c| {
        c.huge_pages = Toggle::Off;
        c.uring.zero_copy_min = 1_024;
        c.uring.zero_copy_send = Toggle::On;
    })
}

/// What a story notes by itself: what its calls returned.
type Notes = Vec<String>;

fn same_story(configs: &[Config], story: fn(&mut Stage) -> Notes) {
    let tell = |mut stage: Stage| {
        let notes = story(&mut stage);
        let told: Vec<_> = stage.seen.iter().map(|seen| told(seen)).collect();
        (notes, told)
    };
    let real = tell(Stage::real(configs));
    for seed in 0..SEEDS {
        let world = World::new(seed, Faults::none());
        let simulated = tell(Stage::simulated(configs, world.clone()));
        assert_eq!(real, simulated, "seed {seed}");
        assert_eq!(world.violations(), [""; 0]);
    }
}

/// What a node was told, by what it is of.
fn told(seen: &[Seen]) -> Notes {
    let mut lines: Vec<(String, String)> = seen.iter().map(line).collect();
    lines.sort_by(|a, b| a.0.cmp(&b.0));
    lines.into_iter().map(|(of, line)| format!("{of}: {line}")).collect()
}

fn line(seen: &Seen) -> (String, String) {
    match seen {
        Seen::Connected { conn, by, protocol } => {
            (conn.to_string(), format!("connected by {by:?}, {protocol}"))
        }
        Seen::Data { conn, bytes } => (conn.to_string(), digest(bytes)),
        Seen::ReadClosed { conn } => (conn.to_string(), "read closed".to_owned()),
        Seen::Ended { conn, code, clean } => (conn.to_string(), format!("ended {code} {clean}")),
        // It may come behind the end, and how much was handed over before an abort is chance.
        Seen::Done { conn, token, bytes, outcome } => {
            let bytes = if *outcome == zero_io::SendOutcome::Sent { *bytes } else { 0 };
            (format!("guard {token:03} of {conn}"), format!("{outcome:?} {bytes}"))
        }
        Seen::Datagram { endpoint, bytes, facts, .. } => {
            (endpoint.to_string(), format!("{} {facts}", digest(bytes)))
        }
        Seen::Timer { token } => ("timers".to_owned(), token.to_string()),
        Seen::User { token, bytes } => ("posts".to_owned(), format!("{token} {bytes:?}")),
        Seen::Ready { token, readiness } => (format!("watch {token}"), format!("{readiness:?}")),
    }
}

fn digest(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
    format!("{} bytes {sum:x}", bytes.len())
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 % 251) as u8).collect()
}

/// The outcome of a call, without what differs between machines.
fn outcome<T>(result: zero_io::Result<T>) -> String {
    result.map_or_else(|error| format!("error: {error}"), |_| "done".to_owned())
}

impl Stage {
    /// As many turns as it takes for what is not to come to come.
    fn quiet(&mut self) {
        (0..QUIET_TURNS).for_each(|_| self.turn());
    }

    fn datagrams(&self, node: usize) -> usize {
        self.seen[node].iter().filter(|seen| matches!(seen, Seen::Datagram { .. })).count()
    }

    fn count(&self, node: usize, of: fn(&Seen) -> bool) -> usize {
        self.seen[node].iter().filter(|seen| of(seen)).count()
    }
}

// ---- datagrams

/// A socket of node 0 and its address.
fn receiver(stage: &mut Stage, config: UdpEndpointConfig) -> (EndpointId, SocketAddr) {
    let id = stage.ios[0].udp_bind_with(config).expect("bound");
    (id, stage.addr(0, id))
}

/// Sends from node 1 what node 0 is to be told of as so many datagrams.
fn send(
    stage: &mut Stage,
    from: EndpointId,
    bytes: &[u8],
    how: UdpTransmit,
    count: usize,
    notes: &mut Notes,
) {
    let due = stage.datagrams(0) + count;
    let mut buffer = stage.ios[1].send_buffer(bytes.len()).expect("a buffer");
    buffer.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
    buffer.set_len(bytes.len());
    notes.push(outcome(stage.ios[1].udp_send_with(from, buffer, how)));
    stage.until("the datagrams", |stage| stage.datagrams(0) >= due);
    let peer = stage.addr(1, from);
    let strangers =
        |seen: &&Seen| matches!(seen, Seen::Datagram { from, .. } if from.port() != peer.port());
    assert!(count == 0 || !stage.seen[0].iter().rev().take(count).any(|seen| strangers(&seen)));
}

fn datagrams(stage: &mut Stage) -> Notes {
    let mut notes = Notes::new();
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    let (_, plain) = receiver(
        stage,
        UdpEndpointConfig::new(any).with(|c| {
            c.local_addr = true;
            c.timestamps = true;
        }),
    );
    let (_, short) =
        receiver(stage, UdpEndpointConfig::new(any).with(|c| c.datagram_max = Some(300)));
    let (_, train) = receiver(
        stage,
        UdpEndpointConfig::new(any).with(|c| {
            c.gro = true;
            c.ecn = true;
        }),
    );
    let from = stage.ios[1].udp_bind(any).expect("bound");
    let is_ours = |stage: &mut Stage, to, len, count, notes: &mut Notes| {
        send(stage, from, &text(len), UdpTransmit::to(to), count, notes);
    };
    for to in [plain, short, train] {
        // Small, empty, as long as fits and longer: cut and marked where it does not fit.
        for len in [5, 0, 1, 299, 300, 301, 1_472, 2_048, 2_049, 9_000] {
            is_ours(stage, to, len, 1, &mut notes);
        }
        // Trains: the last may be shorter, one of one is a datagram.
        for (len, segment, count) in [(1_000, 100, 10), (450, 100, 5), (100, 100, 1), (50, 100, 1)]
        {
            let how = UdpTransmit::to(to).with_segment(segment);
            send(stage, from, &text(len), how, count, &mut notes);
        }
        // Of datagrams that are cut, and of the largest number.
        for (len, segment, count) in [(1_000, 400, 3), (6_400, 100, 64)] {
            let how = UdpTransmit::to(to).with_segment(segment);
            send(stage, from, &text(len), how, count, &mut notes);
        }
        let how = UdpTransmit::to(to).with_segment(100);
        send(stage, from, &text(6_401), how, 0, &mut notes);
        for ecn in 0..4 {
            let how = UdpTransmit::to(to).with_ecn(ecn);
            send(stage, from, &text(10), how, 1, &mut notes);
        }
    }
    notes.push(outcome(stage.ios[1].udp_send_bytes(from, plain, &text(65_508))));
    notes.push(outcome(stage.ios[1].udp_send_connected(from, b"to whom?")));
    let refused = UdpEndpointConfig::new("0.0.0.0:0".parse().expect("an address"))
        .with(|c| c.connect = Some("127.0.0.1:9".parse().expect("an address")));
    let alone = stage.ios[1].udp_bind_with(refused).expect("bound");
    for _ in 0..3 {
        // Nobody is there, and it goes on.
        notes.push(outcome(stage.ios[1].udp_send_connected(alone, b"anybody?")));
        stage.quiet();
    }
    notes
}

#[test]
fn datagrams_on_both_rings() {
    same_story(&[config(), config()], datagrams);
}

/// Both families, and a socket that takes either.
fn families(stage: &mut Stage) -> Notes {
    let mut notes = Notes::new();
    for (bind, dual, to) in [
        ("[::1]:0", false, "[::1]"),
        ("[::]:0", true, "127.0.0.1"),
        ("[::]:0", true, "[::1]"),
        ("0.0.0.0:0", false, "127.0.0.1"),
    ] {
        let bind: SocketAddr = bind.parse().expect("an address");
        let (_, at) = receiver(
            stage,
            UdpEndpointConfig::new(bind).with(|c| {
                c.dual_stack = dual;
                c.local_addr = true;
                c.ecn = true;
            }),
        );
        let to: SocketAddr = format!("{to}:{}", at.port()).parse().expect("an address");
        let any = SocketAddr::new(to.ip(), 0);
        let from = stage.ios[1].udp_bind(any).expect("bound");
        let how = UdpTransmit::to(to).with_ecn(2);
        send(stage, from, b"from one family to another", how, 1, &mut notes);
        let last = stage.seen[0].iter().rev().find_map(|seen| match seen {
            Seen::Datagram { from, .. } => Some(from.ip()),
            _ => None,
        });
        notes.push(format!("from {last:?}"));
    }
    notes
}

#[test]
fn both_families_on_both_rings() {
    same_story(&[config(), config()], families);
}

// ---- Unix sockets

fn unix(stage: &mut Stage) -> Notes {
    let mut notes = Notes::new();
    let name = format!("@zero-io-stories-{}", std::process::id());
    stage.ios[0].uds_listen(&name).expect("nobody listens there");
    notes.push(outcome(stage.ios[0].uds_listen(&name)));
    notes.push(outcome(stage.ios[0].uds_listen("")));
    let connect = |stage: &mut Stage| -> [ConnId; 2] {
        let before = stage.accepted(0).len();
        let conn = stage.ios[1].uds_connect(&name).expect("room");
        stage.until("a connection", |stage| {
            stage.accepted(0).len() > before && stage.is_connected(1, conn)
        });
        [stage.accepted(0)[before], conn]
    };
    // An echo, to its end.
    stage.echoes[0] = true;
    let [_, client] = connect(stage);
    notes.push(format!(
        "{:?} {:?}",
        stage.ios[1].peer_addr(client),
        stage.ios[1].peer_cred(client).is_ok()
    ));
    let memory: Arc<[u8]> = text(300_000).into();
    stage.ios[1].stream_write_guard(client, STREAM, memory, 1).expect("room");
    stage.ios[1].shutdown_write(client, STREAM).expect("open");
    stage.until("the echo", |stage| stage.is_read_closed(1, client));
    stage.until("the end", |stage| !stage.ends(1, client).is_empty());
    stage.until("the servers end", |stage| stage.count(0, is_end) == 1);
    // The server closes with something unread.
    stage.echoes[0] = false;
    let [server, client] = connect(stage);
    stage.ios[0].pause_recv(server).expect("open");
    stage.quiet();
    assert_eq!(stage.ios[1].stream_write(client, STREAM, b"unread"), Ok(6));
    stage.quiet();
    stage.ios[0].close(server).expect("open");
    stage.until("both ends", |stage| {
        !stage.ends(1, client).is_empty() && !stage.ends(0, server).is_empty()
    });
    // It says FIN, and is written to all the same; then it is gone.
    let [server, client] = connect(stage);
    stage.ios[0].shutdown_write(server, STREAM).expect("open");
    stage.until("the FIN", |stage| stage.is_read_closed(1, client));
    assert_eq!(stage.ios[1].stream_write(client, STREAM, b"still there?"), Ok(12));
    stage.until("the words", |stage| stage.data(0, server) == b"still there?");
    stage.ios[0].close(server).expect("open");
    stage.until("the servers end", |stage| !stage.ends(0, server).is_empty());
    stage.quiet();
    let _ = stage.ios[1].stream_write(client, STREAM, b"and now?");
    stage.until("the end", |stage| !stage.ends(1, client).is_empty());
    // Nobody is there.
    for path in ["@zero-io-nobody", "/zero-io-nobody/at-all"] {
        let conn = stage.ios[1].uds_connect(path).expect("room");
        stage.until("the failure", |stage| !stage.ends(1, conn).is_empty());
    }
    notes
}

const fn is_end(seen: &Seen) -> bool {
    matches!(seen, Seen::Ended { .. })
}

#[test]
fn unix_sockets_on_both_rings() {
    same_story(&[config(), config()], unix);
}

// ---- timers and posts

fn timers(stage: &mut Stage) -> Notes {
    let mut notes = Notes::new();
    let io = &mut stage.ios[0];
    let handle = io.handle();
    let set = |io: &mut zero_io::Io, ms: u64, token| {
        io.timer_set(Duration::from_millis(ms), token).expect("room")
    };
    let never = io.timer_set(Duration::MAX, 90).expect("room");
    let late = set(io, 60_000, 91);
    let first = set(io, 0, 0);
    // In another order than they fall due.
    for (ms, token) in [(30, 3), (10, 1), (20, 2)] {
        set(io, ms, token);
    }
    notes.push(outcome(handle.post(10)));
    notes.push(outcome(handle.post_data(11, b"eleven")));
    notes.push(outcome(handle.post_data(12, b"")));
    notes.push(outcome(handle.post_data(13, &text(2_048))));
    notes.push(outcome(handle.post_data(14, &text(2_049))));
    notes.push(outcome(handle.wake()));
    notes.push(format!("{} {}", io.timer_cancel(late), io.timer_cancel(late)));
    stage.until("the first", |stage| !stage.seen[0].is_empty());
    let timers = |seen: &Seen| matches!(seen, Seen::Timer { .. });
    stage.until("the timers", |stage| stage.count(0, timers) == 4);
    stage.until("the posts", |stage| stage.count(0, |seen| matches!(seen, Seen::User { .. })) == 4);
    let io = &mut stage.ios[0];
    notes.push(format!("{} {}", io.timer_cancel(first), io.timer_cancel(never)));
    // A post behind a timer that is due already, and one that comes to a shard that sleeps.
    handle.post(20).expect("room");
    stage.quiet();
    handle.post(21).expect("room");
    stage.quiet();
    notes
}

#[test]
fn timers_and_posts_on_both_rings() {
    same_story(&[config()], timers);
}

// ---- watched descriptors

/// A descriptor that is ready when a test says so: the end of a pipe, or one of the world's.
enum Watched {
    Pipe { reader: PipeReader, writer: Option<PipeWriter> },
    Simulated(RawFd),
}

impl Watched {
    fn new(stage: &Stage) -> Self {
        match &stage.world {
            Some(world) => Self::Simulated(world.pollable(0)),
            None => {
                let (reader, writer) = std::io::pipe().expect("a pipe");
                Self::Pipe { reader, writer: Some(writer) }
            }
        }
    }

    fn fd(&self) -> RawFd {
        match self {
            Self::Pipe { reader, .. } => reader.as_raw_fd(),
            Self::Simulated(fd) => *fd,
        }
    }

    fn readable(&mut self, stage: &Stage, is_on: bool) {
        match self {
            Self::Pipe { writer: Some(writer), .. } if is_on => {
                writer.write_all(b"x").expect("room");
            }
            Self::Pipe { reader, .. } => reader.read_exact(&mut [0]).expect("a byte"),
            Self::Simulated(fd) => {
                let ready = if is_on { Readiness::READABLE } else { Readiness::empty() };
                self::set(stage, *fd, ready);
            }
        }
    }

    /// The writing end goes away.
    fn hang_up(&mut self, stage: &Stage) {
        match self {
            Self::Pipe { writer, .. } => drop(writer.take()),
            Self::Simulated(fd) => set(stage, *fd, Readiness::HANGUP),
        }
    }
}

fn set(stage: &Stage, fd: RawFd, ready: Readiness) {
    let world = stage.world.as_ref().expect("a world");
    world.set_readiness(0, fd, ready.bits());
}

fn watches(stage: &mut Stage) -> Notes {
    let mut notes = Notes::new();
    let mut watched = Watched::new(stage);
    let watch = stage.ios[0].watch_fd(watched.fd(), Readiness::READABLE, 1).expect("room");
    stage.quiet();
    notes.push(format!("{} told", stage.seen[0].len()));
    for round in 1..=3 {
        watched.readable(stage, true);
        stage.until("readiness", |stage| stage.seen[0].len() >= round);
        watched.readable(stage, false);
        stage.quiet();
        notes.push(format!("{} told", stage.seen[0].len()));
    }
    watched.hang_up(stage);
    stage.until("the hang-up", |stage| stage.seen[0].len() >= 4);
    notes.push(format!("{} {}", stage.ios[0].unwatch_fd(watch), stage.ios[0].unwatch_fd(watch)));
    stage.quiet();

    // Ready before it is watched; and unwatched before it is ready.
    let mut other = Watched::new(stage);
    other.readable(stage, true);
    let watch = stage.ios[0].watch_fd(other.fd(), Readiness::READABLE, 2).expect("room");
    stage.until("readiness", |stage| stage.seen[0].len() >= 5);
    other.readable(stage, false);
    assert!(stage.ios[0].unwatch_fd(watch));
    other.readable(stage, true);
    stage.quiet();
    notes.push(format!("{} told", stage.seen[0].len()));

    // What is no descriptor.
    notes.push(outcome(stage.ios[0].watch_fd(-1, Readiness::READABLE, 3)));
    let watch = stage.ios[0].watch_fd(999_999, Readiness::READABLE, 4).expect("room");
    stage.until("the refusal", |stage| stage.seen[0].len() >= 6);
    notes.push(format!("{}", stage.ios[0].unwatch_fd(watch)));
    notes
}

#[test]
fn watched_descriptors_on_both_rings() {
    same_story(&[config()], watches);
}

// ---- a full table

fn full_table(stage: &mut Stage) -> Notes {
    const CLIENTS: usize = 5;
    let mut notes = Notes::new();
    stage.echoes[0] = true;
    let (_, addr) = stage.listen(0);
    let conns: Vec<ConnId> =
        (0..CLIENTS).map(|_| stage.ios[1].tcp_connect(addr).expect("room")).collect();
    notes.push(outcome(stage.ios[1].tcp_connect(addr)));
    // The kernel connects all of them; the table takes two.
    stage.until("all connections", |stage| conns.iter().all(|conn| stage.is_connected(1, *conn)));
    for (conn, number) in conns.iter().zip(0_u8..) {
        assert_eq!(stage.ios[1].stream_write(*conn, STREAM, &[number; 3]), Ok(3));
    }
    stage.until("two", |stage| stage.accepted(0).len() == 2);
    stage.quiet();
    notes.push(format!("{} accepted", stage.accepted(0).len()));
    for (conn, nth) in conns.iter().zip(1..) {
        stage.until("its echo", |stage| stage.data(1, *conn).len() == 3);
        stage.ios[1].close_graceful(*conn, PATIENCE).expect("open");
        stage.until("its end", |stage| !stage.ends(1, *conn).is_empty());
        stage.until("the next one", |stage| stage.accepted(0).len() >= CLIENTS.min(nth + 2));
    }
    stage.until("all ends", |stage| stage.count(0, is_end) == CLIENTS);
    notes
}

#[test]
fn a_full_table_on_both_rings() {
    let configs = [2, 5].map(|max| config().with(|c| c.max_connections = max));
    same_story(&configs, full_table);
}

// ---- guards

fn guards(stage: &mut Stage) -> Notes {
    static STATIC: [u8; 3_000] = [3; 3_000];
    let mut notes = Notes::new();
    stage.echoes[0] = true;
    let (_, addr) = stage.listen(0);
    let [_, client] = stage.connect(addr);
    // One by one, and several at once: each is told when all of it was sent.
    for (len, token) in [(1, 1), (1_023, 2), (1_024, 3), (100_000, 4)] {
        let memory: Arc<[u8]> = text(len).into();
        stage.ios[1].stream_write_guard(client, STREAM, memory, token).expect("room");
        stage.until("a guard", |stage| stage.done(1).len() as u64 == token);
    }
    for token in 5..15 {
        let write = |io: &mut zero_io::Io| match token % 3 {
            0 => io.stream_write_guard(client, STREAM, &STATIC[..], token),
            1 => io.stream_write_guard(client, STREAM, Arc::<[u8]>::from(text(7_000)), token),
            _ => io.stream_write_guard(client, STREAM, Arc::<[u8]>::from([]), token),
        };
        notes.push(outcome(write(&mut stage.ios[1])));
        let _ = stage.ios[1].stream_write(client, STREAM, b"between");
    }
    stage.ios[1].shutdown_write(client, STREAM).expect("open");
    stage.until("the end", |stage| !stage.ends(1, client).is_empty());
    let told = notes.iter().filter(|note| *note == "done").count() + 4;
    stage.until("the guards", |stage| stage.done(1).len() == told);

    // The peer reads nothing: what it does not take is aborted.
    stage.echoes[0] = false;
    let [server, client] = stage.connect(addr);
    stage.ios[0].pause_recv(server).expect("open");
    stage.quiet();
    for token in 20..23 {
        let memory: Arc<[u8]> = vec![7; 16 << 20].into();
        notes.push(outcome(stage.ios[1].stream_write_guard(client, STREAM, memory, token)));
    }
    stage.quiet();
    stage.ios[1].close(client).expect("open");
    stage.until("the end", |stage| !stage.ends(1, client).is_empty());
    stage.ios[0].close(server).expect("open");
    stage.until("the peer's end", |stage| !stage.ends(0, server).is_empty());
    let told = notes.iter().filter(|note| *note == "done").count() + 4;
    stage.until("all guards", |stage| stage.done(1).len() == told);
    notes
}

#[test]
fn guards_on_both_rings() {
    same_story(&[config(), config()], guards);
}

// ---- ends of TCP connections

fn ends(stage: &mut Stage) -> Notes {
    let mut notes = Notes::new();
    let (listener, addr) = stage.listen(0);
    notes.push(kind(stage.ios[1].tcp_listen(addr)));
    let [server, client] = stage.connect(addr);
    let own = stage.ios[1].conn_local_addr(client).expect("open");
    notes.push(format!("{}", stage.ios[0].peer_addr(server) == Ok(own)));
    notes.push(outcome(stage.ios[1].peer_cred(client)));
    // With something unread.
    stage.ios[0].pause_recv(server).expect("open");
    stage.quiet();
    assert_eq!(stage.ios[1].stream_write(client, STREAM, b"unread"), Ok(6));
    stage.quiet();
    stage.ios[0].close(server).expect("open");
    stage.until("its end", |stage| !stage.ends(1, client).is_empty());
    // By a reset: of an idle connection, behind our FIN, behind the peer's FIN.
    for fin in [None, Some(1), Some(0)] {
        let [server, client] = stage.connect(addr);
        match fin {
            Some(0) => {
                stage.ios[0].shutdown_write(server, STREAM).expect("open");
                stage.until("FIN", |stage| stage.is_read_closed(1, client));
            }
            Some(_) => {
                stage.ios[1].shutdown_write(client, STREAM).expect("open");
                stage.until("FIN", |stage| stage.is_read_closed(0, server));
            }
            None => {}
        }
        stage.ios[0].reset_on_close(server).expect("open");
        stage.ios[0].close(server).expect("open");
        stage.until("the server's end", |stage| !stage.ends(0, server).is_empty());
        stage.quiet();
        if fin == Some(0) {
            // Nothing is read any more: the next write finds it out.
            notes.push(format!("{}", stage.ends(1, client).len()));
            notes.push(outcome(stage.ios[1].stream_write(client, STREAM, b"anybody?")));
        }
        stage.until("its end", |stage| !stage.ends(1, client).is_empty());
    }
    // A peer that said FIN and is gone: the first write is answered by a reset.
    let [server, client] = stage.connect(addr);
    stage.ios[0].close(server).expect("open");
    stage.until("FIN", |stage| stage.is_read_closed(1, client));
    notes.push(outcome(stage.ios[1].stream_write(client, STREAM, b"anybody?")));
    stage.quiet();
    let _ = stage.ios[1].stream_write(client, STREAM, b"and now?");
    stage.until("its end", |stage| !stage.ends(1, client).is_empty());
    // Both say FIN at the same time, and nothing else.
    let [server, client] = stage.connect(addr);
    stage.ios[0].close_graceful(server, PATIENCE).expect("open");
    stage.ios[1].close_graceful(client, PATIENCE).expect("open");
    stage.until("both ends", |stage| {
        !stage.ends(1, client).is_empty() && !stage.ends(0, server).is_empty()
    });
    // A graceful end that the peer does not agree to in time.
    let [server, client] = stage.connect(addr);
    stage.ios[1].close_graceful(client, Duration::from_millis(30)).expect("open");
    stage.until("its end", |stage| !stage.ends(1, client).is_empty());
    stage.until("FIN", |stage| stage.is_read_closed(0, server));
    stage.ios[0].close_graceful(server, PATIENCE).expect("open");
    stage.until("the server's end", |stage| !stage.ends(0, server).is_empty());
    // The backlog of a listener that closes.
    let filler: Vec<_> = (0..3).map(|_| stage.connect(addr)).collect();
    let waiting = stage.ios[1].tcp_connect(addr).expect("room");
    stage.until("a connection", |stage| stage.is_connected(1, waiting));
    stage.quiet();
    stage.ios[0].endpoint_close(listener).expect("open");
    stage.until("its end", |stage| !stage.ends(1, waiting).is_empty());
    let refused = stage.ios[1].tcp_connect(addr).expect("room");
    stage.until("the refusal", |stage| !stage.ends(1, refused).is_empty());
    for [_, client] in filler {
        assert!(stage.ends(1, client).is_empty());
    }
    notes
}

/// The kind of an error, where its text has an address.
fn kind<T>(result: zero_io::Result<T>) -> String {
    let io = result.map_err(|error| std::io::Error::from(error).kind());
    format!("{:?}", io.err())
}

#[test]
fn ends_of_connections_on_both_rings() {
    let configs = [3, 16].map(|max| config().with(|c| c.max_connections = max));
    same_story(&configs, ends);
}
