//! "The N-th operation fails", for every N of a short conversation and every errno that fits.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use zero_io::sim::{Fault, Faults, Shape, World};
use zero_io::{
    Config, ConnId, Event, HostOrAddr, Io, Sender, StreamId, TcpConnectConfig, TcpListenConfig,
    Toggle,
};

use crate::chance::Chance;
use crate::secure::{self, Secure};

const STREAM: StreamId = StreamId::ZERO;
const TEXT_LEN: usize = 10_000;
/// No quarter of it is like another.
pub(crate) static TEXT: [u8; TEXT_LEN] = {
    let mut text = [0; TEXT_LEN];
    let mut at = 0;
    while at < TEXT_LEN {
        text[at] = (at * 7 % 251) as u8;
        at += 1;
    }
    text
};
/// What the client writes of it at once, each in another way.
const QUARTER: usize = TEXT_LEN / 4;
pub(crate) const ROUNDS_MAX: usize = 20_000;
/// The addresses of the host, and a latency at which all of their attempts are under way together.
const ADDRESSES: [IpAddr; 3] = [
    IpAddr::V6(Ipv6Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9)),
];
const LATENCY_NS: u64 = 30_000_000;

/// What an operation may fail with (K4, K8, K9, K16, K17, K19, K21 to K23, and the manual's page of
/// the call), and an odd one.
pub(crate) fn errnos(operation: &str) -> &'static [i32] {
    use libc::*;
    match operation {
        "IORING_OP_RECV" => {
            &[ENOBUFS, ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH, EINTR, EAGAIN, ENOMEM, EIO]
        }
        "IORING_OP_SEND" | "IORING_OP_SENDMSG" => {
            &[EAGAIN, ENOBUFS, ENOMEM, EINTR, ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH, EIO]
        }
        "IORING_OP_SEND_ZC" | "IORING_OP_SENDMSG_ZC" => {
            &[EOPNOTSUPP, EAGAIN, ENOBUFS, ENOMEM, EINTR, ECONNRESET, EPIPE, ETIMEDOUT, EIO]
        }
        "IORING_OP_CONNECT" => &[
            ECONNREFUSED,
            ETIMEDOUT,
            EHOSTUNREACH,
            ENETUNREACH,
            ECONNRESET,
            EADDRNOTAVAIL,
            ENOMEM,
            EIO,
        ],
        "IORING_OP_POLL_ADD" => &[ECANCELED, EINTR, ENOMEM, EIO],
        "IORING_OP_SHUTDOWN" => &[ENOTCONN, ENOMEM, EIO],
        "IORING_OP_FILES_UPDATE" => &[ENOMEM, EMFILE, ENFILE, EBADF, EIO],
        "IORING_OP_CLOSE" => &[EINTR, EIO, ENOSPC, EDQUOT],
        "accept4" => &[ECONNABORTED, EPROTO, EPERM, EMFILE, ENFILE, ENOBUFS, ENOMEM, EINTR],
        "socket" | "listen" | "bind" => {
            &[EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRINUSE, EADDRNOTAVAIL, EACCES, EIO]
        }
        // That of a Unix socket; the others are the ring's.
        "connect" => &[ECONNREFUSED, ENOENT, EACCES, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTOTYPE],
        "resolve" => &[EAGAIN, ENOMEM, EMFILE],
        "recvmmsg" => &[ECONNREFUSED, EHOSTUNREACH, EINTR, ENOBUFS, ENOMEM, EIO],
        "sendmmsg" => {
            &[ECONNREFUSED, EPERM, ENETUNREACH, EHOSTUNREACH, EMSGSIZE, ENOBUFS, ENOMEM, EIO]
        }
        "getsockname" | "getpeername" | "getsockopt" | "setsockopt" => {
            &[ENOBUFS, ENOMEM, ENOTCONN, EIO]
        }
        "register_buf_ring" => &[ENOMEM, EINVAL, EEXIST],
        other => panic!("nobody knows what {other} may fail with"),
    }
}

/// Whether an operation that fails so harms nobody: it is done again, or goes without (K4, K8, K9,
/// K16, K17, K19, K22).
fn is_harmless(operation: &str, errno: i32) -> bool {
    use libc::*;
    match operation {
        "IORING_OP_RECV" => [ENOBUFS, EAGAIN, EINTR].contains(&errno),
        "IORING_OP_SEND" | "IORING_OP_SENDMSG" => [EAGAIN, ENOBUFS, ENOMEM, EINTR].contains(&errno),
        "IORING_OP_SEND_ZC" | "IORING_OP_SENDMSG_ZC" => {
            [EOPNOTSUPP, EAGAIN, ENOBUFS, ENOMEM, EINTR].contains(&errno)
        }
        "accept4" => [EMFILE, ENFILE, ENOBUFS, ENOMEM, EINTR].contains(&errno),
        "IORING_OP_POLL_ADD" | "IORING_OP_FILES_UPDATE" | "IORING_OP_CLOSE" => true,
        _ => false,
    }
}

/// Runs `script` with each failure of each operation that a run without one has, and whether that
/// is harmless. `script` gives the world back that it used.
pub(crate) fn each_fails_once(script: impl Fn(Faults, bool) -> World + std::panic::RefUnwindSafe) {
    let smooth = script(Faults::none(), true);
    for n in 1..=smooth.operations() {
        let name = smooth.operation_name(n).expect("few enough for their names to be kept");
        // A zero-copy send that fails may have a notification to come, or none.
        let twice_ppm = if name.ends_with("_ZC") { &[0, 1_000_000][..] } else { &[0] };
        for (errno, twice_ppm) in
            errnos(name).iter().flat_map(|e| twice_ppm.iter().map(move |t| (e, t)))
        {
            let faults = Faults::fail_nth(n, *errno).with(Fault::ZcErrorTwice, *twice_ppm);
            let harmless = is_harmless(name, *errno);
            let outcome = std::panic::catch_unwind(|| script(faults, harmless));
            if let Err(panic) = outcome {
                eprintln!("operation {n}, {name}, failed with errno {errno} ({twice_ppm} ppm)");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

/// What a side of the conversation saw.
#[derive(Default)]
struct Saw {
    connected: u32,
    disconnected: u32,
    /// Bytes that were accepted, and those that came.
    said: usize,
    heard: usize,
    frames: u32,
    /// Guard writes that were accepted, and those that were told as done.
    given: Vec<u64>,
    done: Vec<u64>,
}

/// Pools so small that a few connections meet their bounds.
pub(crate) fn config() -> Config {
    Config::default().with(|c| {
        c.huge_pages = Toggle::Off;
        c.pool_slot_count = 64;
        c.handle_reserve_count = 4;
        c.stream_buffer_count = 8;
        c.stream_buffer_size = 4_096;
        c.gro_buffer_count = 0;
        c.jumbo_count = 1;
        c.jumbo_size = 65_536;
        c.max_connections = 4;
        c.debug.poison_freed = true;
        c.debug.audit_every_tick = true;
    })
}

/// How the client gets there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Tcp,
    /// The same, with sends that are zero-copy but for the smallest.
    ZeroCopy,
    Unix,
    /// By a name whose addresses race: somebody listens at one of them.
    Host,
    /// TLS over TCP, with configurations by this number.
    Tls(u64),
}

/// Listen, connect, write, echo, close; as much of it as is possible.
fn script(faults: Faults, way: Way) -> (World, Saw) {
    let slow = |s: &mut Shape| s.latency_min_ns = LATENCY_NS;
    let faults = if way == Way::Host { faults.shaped(slow) } else { faults };
    let world = World::new(7, faults);
    world.name_host("service", &ADDRESSES);
    let mut saw = [Saw::default(), Saw::default()];
    let config = config().with(|c| {
        if way == Way::ZeroCopy {
            c.uring.zero_copy_min = 1_024;
        }
    });
    let server = Io::in_world(config.clone(), &world);
    let client = Io::in_world(config, &world);
    if let (Ok(mut server), Ok(mut client)) = (server, client) {
        talk(&world, &mut server, &mut client, &mut saw, way);
        for (node, io) in [&server, &client].into_iter().enumerate() {
            assert!(io.is_idle(), "node {node} is not idle: {:?}", io.pool_stats());
            assert_eq!(world.open_fds(node), 0, "descriptors of node {node}");
            assert_eq!(world.open_slots(node), 0, "slots of node {node}");
        }
    }
    assert_eq!(world.violations(), [""; 0]);
    world.advance_by(Duration::from_secs(60));
    assert_eq!(world.files(), 0);
    for saw in &mut saw {
        saw.done.sort_unstable();
        assert_eq!(saw.done, saw.given, "each guard write is told once");
    }
    let [server, client] = saw;
    // A handshake that fails ends without having begun.
    let unheard = server.disconnected - server.connected;
    assert!(unheard == 0 || matches!(way, Way::Tls(_)), "each accepted connection ends once");
    assert!(client.connected <= client.disconnected && client.disconnected <= 1);
    (world, client)
}

fn talk(world: &World, server: &mut Io, client: &mut Io, saw: &mut [Saw; 2], way: Way) {
    let any = "127.0.0.1:0".parse().expect("an address");
    let secure = match way {
        Way::Tls(number) => Some(Secure::new(&mut Chance::new(number))),
        _ => None,
    };
    let listener = match (way, &secure) {
        (Way::Unix, _) => server.uds_listen("@nth"),
        (_, Some(secure)) => secure.listen(&mut server.split().1, TcpListenConfig::new(any)),
        _ => server.tcp_listen(any),
    };
    let Ok(listener) = listener else { return };
    let conn = if way == Way::Unix {
        client.uds_connect("@nth").ok()
    } else {
        let addr = server.local_addr(listener).ok().and_then(|addr| addr.inet());
        addr.and_then(|addr| {
            let target = match way {
                Way::Host => HostOrAddr::Host("service".to_owned(), addr.port()),
                _ => HostOrAddr::Addr(addr),
            };
            let config = TcpConnectConfig::new(target).with(|c| {
                c.connect_timeout = Duration::from_secs(2);
                c.attempt_delay = Duration::from_millis(10);
            });
            match &secure {
                Some(secure) => secure.connect(&mut client.split().1, config).ok(),
                None => client.tcp_connect_with(config).ok(),
            }
        })
    };
    let asked = conn.is_some();
    let mut closed = false;
    for round in 0..ROUNDS_MAX {
        // Twice, as a loop that does nothing else: what falls due is done before time passes.
        for _ in 0..2 {
            serve(server, &mut saw[0]);
            ask(client, &mut saw[1]);
        }
        let over = !asked || saw[1].disconnected == 1;
        if over && saw[0].connected <= saw[0].disconnected && !closed && round > 20 {
            closed = true;
            server.endpoint_close(listener).expect("the listener is open");
        }
        if closed && server.is_idle() && client.is_idle() && world.open_fds(0) == 0 {
            return;
        }
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(10));
        }
    }
    panic!("the conversation does not end\n{}", world.trace());
}

fn serve(io: &mut Io, saw: &mut Saw) {
    io.poll(Duration::from_secs(1)).expect("a tick");
    let (mut events, mut sender) = io.split();
    while let Some(event) = events.next_event() {
        match event {
            Event::Connected { .. } => saw.connected += 1,
            Event::StreamFrame { conn, data, .. } => {
                saw.frames += 1;
                echo(&mut sender, conn, data, saw.frames);
            }
            Event::ReadClosed { conn, .. } => {
                let _ = sender.close_graceful(conn, Duration::from_secs(1));
            }
            Event::SendDone { token, .. } => saw.done.push(token),
            Event::Disconnected { .. } => saw.disconnected += 1,
            _ => {}
        }
    }
}

/// Sends what came back: from where it lies and as a copy by turns. The answer is shorter than the
/// high-water mark, and an ended connection is told later; what does not go out whole ends it.
fn echo(sender: &mut Sender<'_>, conn: ConnId, data: &[u8], number: u32) {
    let forwarded = number % 2 == 1 && sender.forward(conn, STREAM, data).is_ok();
    if !forwarded && sender.stream_write(conn, STREAM, data).ok() != Some(data.len()) {
        let _ = sender.close(conn);
    }
}

fn ask(io: &mut Io, saw: &mut Saw) {
    io.poll(Duration::from_secs(1)).expect("a tick");
    let (mut events, mut sender) = io.split();
    while let Some(event) = events.next_event() {
        match event {
            Event::Connected { conn, .. } => {
                saw.connected += 1;
                for way in 0..4 {
                    let taken = say(&mut sender, conn, way, saw);
                    saw.said += taken;
                    if taken < QUARTER {
                        break;
                    }
                }
                let _ = sender.close_graceful(conn, Duration::from_secs(3));
            }
            Event::StreamFrame { data, .. } => {
                assert!(TEXT[saw.heard..saw.said].starts_with(data), "it is not what was said");
                saw.heard += data.len();
            }
            Event::SendDone { token, .. } => saw.done.push(token),
            Event::Disconnected { .. } => saw.disconnected += 1,
            _ => {}
        }
    }
}

/// Writes a quarter of the text; how much of it was accepted.
fn say(sender: &mut Sender<'_>, conn: ConnId, way: usize, saw: &mut Saw) -> usize {
    let piece: &'static [u8] = &TEXT[way * QUARTER..][..QUARTER];
    let outcome = match way {
        0 => sender.stream_write_guard(conn, STREAM, piece, 1).map(|()| {
            saw.given.push(1);
            QUARTER
        }),
        1 => sender.send_buffer(QUARTER).and_then(|mut buffer| {
            buffer.as_mut_slice()[..QUARTER].copy_from_slice(piece);
            buffer.set_len(QUARTER);
            sender.stream_write_buffer(conn, STREAM, buffer).map(|()| QUARTER)
        }),
        2 => {
            let (front, back) = piece.split_at(QUARTER / 3);
            sender.stream_writev(conn, STREAM, &[front, &[], back].map(IoSlice::new))
        }
        _ => sender.stream_write(conn, STREAM, piece),
    };
    outcome.unwrap_or(0)
}

fn every_operation(way: Way) {
    let (world, saw) = script(Faults::none(), way);
    let seen = (saw.connected, saw.disconnected, saw.said, saw.heard, saw.done.len());
    assert_eq!(seen, (1, 1, TEXT_LEN, TEXT_LEN, 1));
    let names: Vec<_> = (1..=world.operations()).filter_map(|n| world.operation_name(n)).collect();
    assert!(names.len() > 10, "{names:?}");
    let is_zero_copy = names.iter().any(|name| name.ends_with("_ZC"));
    assert_eq!(is_zero_copy, way == Way::ZeroCopy, "{names:?}");
    each_fails_once(|faults, harmless| {
        let (world, saw) = script(faults, way);
        assert!(!harmless || saw.heard == TEXT_LEN, "{} bytes came\n{}", saw.heard, world.trace());
        world
    });
}

#[test]
fn every_operation_of_a_tcp_conversation_fails_once() {
    every_operation(Way::Tcp);
}

#[test]
fn every_operation_of_a_zero_copy_conversation_fails_once() {
    every_operation(Way::ZeroCopy);
}

#[test]
fn every_operation_of_a_unix_conversation_fails_once() {
    every_operation(Way::Unix);
}

#[test]
fn every_operation_of_a_tls_conversation_fails_once() {
    // TLS 1.3 and 1.2, with and without tickets.
    for number in (0..6).filter(|_| secure::ON) {
        every_operation(Way::Tls(number));
    }
}

#[test]
fn every_operation_of_a_race_of_addresses_fails_once() {
    every_operation(Way::Host);
}
