//! Target `framing`: a byte stream, cut on its way however the input says, into a connection with a
//! framing.
//!
//! Held: an honest framing function gives exactly the messages that it gives when it sees the whole
//! stream at once, and the same end; one that lies does no harm; everything comes home.

use crate::input::Input;
use std::io::BufRead as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use zero_io::sim::{Fault, Faults, World};
use zero_io::{
    Config, ConnId, Event, Frame, Framing, Io, MessageKind, StreamId, TcpConnectConfig,
    TcpListenConfig, Toggle, code,
};

const PORT: u16 = 9;
/// How long a stream may be. Short ones show most of what there is, and a long one costs as much
/// as fifty of them; but only long ones wait for a jumbo buffer, and two of them for each other.
const STREAM_LENS_MAX: [u64; 8] = [2_000, 2_000, 2_000, 2_000, 6_000, 6_000, 20_000, 150_000];
const PIECES_MAX: u64 = 250;
const ROUNDS_MAX: usize = 60_000;
const KIND: MessageKind = MessageKind::User(7);
const MILLION: u32 = 1_000_000;

/// A way to cut a stream into messages.
type Cut = fn(&[u8]) -> Frame;

/// A byte with the length, then so many bytes; 255 is refused.
fn short_prefix(bytes: &[u8]) -> Frame {
    match bytes.first() {
        None => Frame::Need(1),
        Some(255) => Frame::Bad,
        Some(len) => whole(bytes, 1 + usize::from(*len)),
    }
}

/// Two bytes with the length, then so many bytes: longer than any stream buffer.
fn long_prefix(bytes: &[u8]) -> Frame {
    match bytes {
        [high, low, ..] => whole(bytes, 2 + usize::from(u16::from_be_bytes([*high, *low]))),
        _ => Frame::Need(2),
    }
}

/// Lines. The search is `std`'s, which is not instrumented: a loop over the bytes of a long line
/// that comes in small pieces would be all that this target does.
fn lines(bytes: &[u8]) -> Frame {
    let mut rest = bytes;
    let len = rest.skip_until(b'\n').expect("memory can be read");
    if bytes[..len].ends_with(b"\n") { Frame::Ready(len) } else { Frame::Need(len + 1) }
}

fn whole(bytes: &[u8], len: usize) -> Frame {
    if bytes.len() < len { Frame::Need(len) } else { Frame::Ready(len) }
}

/// Says whatever the bytes make it say.
fn liar(bytes: &[u8]) -> Frame {
    match bytes.first().map_or(0, |byte| byte % 8) {
        0 => Frame::Need(0),
        1 => Frame::Need(usize::MAX),
        2 => Frame::Ready(0),
        3 => Frame::Ready(usize::MAX),
        4 => Frame::Ready(bytes.len() + 1),
        5 => Frame::Bad,
        6 => Frame::Need(bytes.len()),
        _ => Frame::Ready(bytes.len().min(3)),
    }
}

/// What came out: messages, and why it ended.
#[derive(Debug, PartialEq)]
struct Outcome {
    messages: Vec<Vec<u8>>,
    code: u64,
}

/// The outcome for someone who sees all bytes at once.
fn expected(cut: Cut, len_max: usize, mut bytes: &[u8]) -> Outcome {
    let mut messages = Vec::new();
    let code = loop {
        if bytes.is_empty() {
            break code::NONE;
        }
        match cut(bytes) {
            Frame::Ready(len) | Frame::Need(len) if len > len_max => break code::FRAME_TOO_LONG,
            Frame::Ready(len) => {
                messages.push(bytes[..len].to_vec());
                bytes = &bytes[len..];
            }
            Frame::Need(_) => break code::TRUNCATED,
            _ => break code::BAD_FRAME,
        }
    };
    Outcome { messages, code }
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let cuts: [Cut; 4] = [short_prefix, long_prefix, lines, liar];
    let first = usize::from(input.byte());
    let choice = first % cuts.len();
    let stream_len_max = STREAM_LENS_MAX[first / cuts.len() % STREAM_LENS_MAX.len()];
    let len_max = [usize::from(u16::MAX), 300, 5_000][usize::from(input.byte()) % 3];
    // What goes wrong here only cuts the stream differently.
    let faults = Faults::none()
        .with(Fault::RecvShort, u32::from(input.byte()) * (MILLION / 512))
        .with(Fault::RecvEnds, u32::from(input.byte()) * (MILLION / 512))
        .with(Fault::RecvNoBufs, u32::from(input.byte()) * (MILLION / 1024))
        .with(Fault::SendShort, u32::from(input.byte()) * (MILLION / 512));
    let world = World::new(input.number(), faults);
    let len = input.number() % stream_len_max;
    // Byte by byte, but not for long streams: a run has an end.
    let piece_len = (1 + input.number() % 9_000).max(len / PIECES_MAX);
    let stream = input.repeated(len as usize);
    let framing = Framing::new(KIND, cuts[choice]).with_len_max(len_max);
    let got = transfer(&world, framing, &stream, piece_len as usize);
    if cuts[choice] as usize != liar as Cut as usize {
        assert_eq!(got, expected(cuts[choice], len_max, &stream), "a cut was noticed");
    }
}

/// Sends the stream and its end; what the framed side saw.
fn transfer(world: &World, framing: Framing, stream: &[u8], piece_len: usize) -> Outcome {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let mut server = Io::in_world(config(), world).expect("a node");
    let mut client = Io::in_world(config(), world).expect("a node");
    let listen = TcpListenConfig::new(addr).with(|c| c.framing = Some(framing));
    let listener = server.tcp_listen_with(listen).expect("nobody else is there");
    let to_send = client.tcp_connect_with(TcpConnectConfig::new(addr)).expect("a connect");
    let mut sender = Sender { conn: Some(to_send), connected: false, left: stream };
    let mut outcome = Outcome { messages: Vec::new(), code: code::NONE };
    let mut is_over = false;
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "the transfer does not end\n{}", world.trace());
        sender.step(&mut client, piece_len);
        is_over |= receive(&mut server, &mut outcome);
        if is_over && sender.conn.is_none() {
            break;
        }
        advance(world);
    }
    server.endpoint_close(listener).expect("it is open");
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "not everything comes home\n{}", world.trace());
        receive(&mut server, &mut outcome);
        sender.step(&mut client, piece_len);
        if server.is_idle() && client.is_idle() && world.open_fds(0) == 0 {
            break;
        }
        advance(world);
    }
    assert_eq!(world.violations(), [""; 0], "{}", world.trace());
    outcome
}

fn advance(world: &World) {
    if !world.advance_to_next() {
        world.advance_by(Duration::from_millis(1));
    }
}

/// The side without a framing.
struct Sender<'a> {
    conn: Option<ConnId>,
    connected: bool,
    left: &'a [u8],
}

impl Sender<'_> {
    fn step(&mut self, io: &mut Io, piece_len: usize) {
        io.poll(Duration::ZERO).expect("a tick");
        while let Some(event) = io.next_event() {
            match event {
                Event::Connected { .. } => self.connected = true,
                Event::Disconnected { .. } => self.conn = None,
                _ => {}
            }
        }
        let Some(conn) = self.conn.filter(|_| self.connected) else { return };
        let piece = &self.left[..self.left.len().min(piece_len)];
        // The other side may have ended it.
        if let Ok(taken) = io.stream_write(conn, StreamId::ZERO, piece) {
            self.left = &self.left[taken..];
        }
        if self.left.is_empty() {
            let _ = io.shutdown_write(conn, StreamId::ZERO);
        }
    }
}

/// Takes events of the framed side; whether its connection ended.
fn receive(io: &mut Io, outcome: &mut Outcome) -> bool {
    io.poll(Duration::ZERO).expect("a tick");
    let (mut events, mut sender) = io.split();
    let mut is_over = false;
    while let Some(event) = events.next_event() {
        match event {
            Event::StreamFrame { kind, data, .. } => {
                assert_eq!(kind, KIND);
                assert!(!data.is_empty(), "no message is empty");
                outcome.messages.push(data.to_vec());
            }
            Event::ReadClosed { conn, .. } => {
                let _ = sender.close_graceful(conn, Duration::from_secs(60));
            }
            Event::Disconnected { error_code, .. } => {
                outcome.code = error_code;
                is_over = true;
            }
            _ => {}
        }
    }
    is_over
}

fn config() -> Config {
    Config::default().with(|c| {
        c.huge_pages = Toggle::Off;
        c.pool_slot_count = 64;
        c.handle_reserve_count = 0;
        c.stream_buffer_count = 16;
        c.stream_buffer_size = 4_096;
        c.gro_buffer_count = 0;
        c.jumbo_count = 2;
        c.jumbo_size = 65_536;
        c.max_connections = 2;
        c.max_events_per_poll = 16;
        c.send_high_water = 20_000;
        c.debug.poison_freed = true;
        c.debug.audit_every_tick = true;
    })
}
