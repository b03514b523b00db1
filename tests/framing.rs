//! Messages cut out of byte streams: the same messages come out however the bytes are cut.

mod common;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Duration;

use common::{STREAM, Seen, Shard, assert_same, dial, pattern};
use zero_io::{Config, ConnId, Frame, Framing, MessageKind, TcpConnectConfig, code};

const LENGTHS: MessageKind = MessageKind::User(7);
const LINES: MessageKind = MessageKind::User(8);

/// Four bytes with the length of what follows, the highest first. All ones is nonsense.
fn by_length(bytes: &[u8]) -> Frame {
    let Some(head) = bytes.first_chunk::<4>() else { return Frame::Need(4) };
    let len = u32::from_be_bytes(*head);
    if len == u32::MAX {
        return Frame::Bad;
    }
    let whole = 4 + len as usize;
    if bytes.len() < whole { Frame::Need(whole) } else { Frame::Ready(whole) }
}

/// A line with its line feed; it cannot know how much is missing.
fn by_line(bytes: &[u8]) -> Frame {
    match bytes.iter().position(|b| *b == b'\n') {
        Some(at) => Frame::Ready(at + 1),
        None => Frame::Need(bytes.len() + 1),
    }
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(body);
    out
}

fn line(seed: u64, len: usize) -> Vec<u8> {
    let mut out = pattern(seed, len);
    out.iter_mut().filter(|b| **b == b'\n').for_each(|b| *b = b' ');
    out.push(b'\n');
    out
}

/// Sends `bytes` in pieces of `cut` bytes (0: at once), with a pause now and then so that the
/// pieces are received apart.
fn send_cut(mut stream: TcpStream, bytes: Vec<u8>, cut: usize) {
    let cut = if cut == 0 { bytes.len() } else { cut };
    for (i, piece) in bytes.chunks(cut).enumerate() {
        stream.write_all(piece).unwrap();
        if i % 16 == 0 {
            thread::sleep(Duration::from_micros(300));
        }
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

fn messages_of(shard: &Shard, conn: ConnId, kind: MessageKind) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for seen in &shard.seen {
        if let Seen::Frame { conn: c, kind: k, data } = seen {
            assert_eq!((*c, *k), (conn, kind));
            out.push(data.clone());
        }
    }
    out
}

#[track_caller]
fn check(
    change: impl FnOnce(&mut Config),
    framing: Framing,
    kind: MessageKind,
    wanted: &[Vec<u8>],
    cut: usize,
) {
    let mut shard = Shard::with(change);
    let (conn, peer) = shard.accepted_with(|c| c.framing = Some(framing));
    let bytes = wanted.concat();
    let sender = thread::spawn(move || send_cut(peer, bytes, cut));
    shard.wait_read_closed(conn);
    let got = messages_of(&shard, conn, kind);
    assert_eq!(got.len(), wanted.len(), "cut at {cut}");
    for (got, wanted) in got.iter().zip(wanted) {
        assert_same(got, wanted);
    }
    sender.join().unwrap();
    shard.finish();
}

#[test]
fn small_messages_however_cut() {
    let lengths: Vec<_> = (0..60).map(|n| with_length(&pattern(n, n as usize * 7 % 50))).collect();
    let lines: Vec<_> = (0..60).map(|n| line(n, n as usize * 11 % 60)).collect();
    for cut in [1, 2, 3, 5, 64, 1000, 0] {
        check(|_| (), Framing::new(LENGTHS, by_length), LENGTHS, &lengths, cut);
        check(|_| (), Framing::new(LINES, by_line), LINES, &lines, cut);
    }
}

#[test]
fn messages_that_straddle_small_buffers() {
    let sizes = [0, 1, 1000, 2044, 2045, 3000, 4096, 10_000, 1, 20_000, 500, 65_000];
    let small = |c: &mut Config| c.stream_buffer_size = 2048;
    let lengths: Vec<_> =
        sizes.iter().cycle().take(60).map(|len| with_length(&pattern(3, *len))).collect();
    let lines: Vec<_> = sizes.iter().cycle().take(60).map(|len| line(4, *len)).collect();
    for cut in [997, 2048, 5000, 0] {
        check(small, Framing::new(LENGTHS, by_length), LENGTHS, &lengths, cut);
        check(small, Framing::new(LINES, by_line), LINES, &lines, cut);
    }
}

#[test]
fn messages_as_long_as_a_jumbo_buffer() {
    let sizes = [100, (1 << 20) - 4, 5, 500_000, 32 * 1024, 0, 300_000];
    let lengths: Vec<_> = sizes.iter().map(|len| with_length(&pattern(5, *len))).collect();
    for cut in [10_000, 0] {
        check(|_| (), Framing::new(LENGTHS, by_length), LENGTHS, &lengths, cut);
    }
    let lines: Vec<_> = sizes.iter().map(|len| line(6, len / 2)).collect();
    check(|_| (), Framing::new(LINES, by_line), LINES, &lines, 0);
}

#[test]
fn many_small_messages_in_one_buffer_and_few_events_at_a_time() {
    let lines: Vec<_> = (0..20_000).map(|n| line(n, 1)).collect();
    let few = |c: &mut Config| c.max_events_per_poll = 16;
    check(few, Framing::new(LINES, by_line), LINES, &lines, 0);
}

/// How a connection ends that gets these bytes and then FIN; the messages before.
fn end_of(framing: Framing, bytes: Vec<u8>, fin: bool) -> (u64, bool, Vec<Vec<u8>>) {
    let mut shard = Shard::new();
    let (conn, mut peer) = shard.accepted_with(|c| c.framing = Some(framing));
    let sender = thread::spawn(move || {
        // The other side may end it at any byte.
        let _ = peer.write_all(&bytes);
        if fin {
            let _ = peer.shutdown(Shutdown::Write);
        }
        peer
    });
    let (code, clean) = shard.wait_end(conn);
    let kind = framing_kind(&shard);
    let got = messages_of(&shard, conn, kind);
    drop(sender.join().unwrap());
    shard.finish();
    (code, clean, got)
}

fn framing_kind(shard: &Shard) -> MessageKind {
    let kinds = shard.seen.iter().find_map(|seen| match seen {
        Seen::Frame { kind, .. } => Some(*kind),
        _ => None,
    });
    kinds.unwrap_or(LENGTHS)
}

#[test]
fn nonsense_ends_the_connection_after_the_messages_before_it() {
    let good = with_length(b"good");
    let bytes = [good.clone(), good.clone(), vec![0xFF; 4], good.clone()].concat();
    let end = end_of(Framing::new(LENGTHS, by_length), bytes, false);
    assert_eq!(end, (code::BAD_FRAME, false, vec![good.clone(), good]));
}

#[test]
fn a_function_that_lies_ends_the_connection() {
    let end = end_of(Framing::new(LENGTHS, |_| Frame::Ready(0)), vec![1, 2], false);
    assert_eq!(end, (code::BAD_FRAME, false, vec![]));
    let end = end_of(Framing::new(LENGTHS, |b| Frame::Ready(b.len() + 1)), vec![1, 2], false);
    assert_eq!(end, (code::BAD_FRAME, false, vec![]));
    let end = end_of(Framing::new(LENGTHS, |_| Frame::Need(0)), vec![1; 100], true);
    assert_eq!(end, (code::TRUNCATED, false, vec![]));
    let end = end_of(Framing::new(LENGTHS, |_| Frame::Need(usize::MAX)), vec![1], false);
    assert_eq!(end, (code::FRAME_TOO_LONG, false, vec![]));
}

#[test]
fn a_message_longer_than_allowed_ends_the_connection() {
    let good = with_length(&[1; 96]);
    let long = with_length(&[1; 97]);
    let framing = Framing::new(LENGTHS, by_length).with_len_max(100);
    let end = end_of(framing, [good.clone(), long].concat(), false);
    assert_eq!(end, (code::FRAME_TOO_LONG, false, vec![good]));
    let lines = Framing::new(LINES, by_line).with_len_max(100);
    let end = end_of(lines, line(1, 100), false);
    assert_eq!(end, (code::FRAME_TOO_LONG, false, vec![]));
    let end = end_of(lines, vec![b'x'; 5000], false);
    assert_eq!(end, (code::FRAME_TOO_LONG, false, vec![]), "also one that does not end");
}

#[test]
fn a_message_longer_than_any_buffer_ends_the_connection() {
    let head = ((1_u32 << 20) - 3).to_be_bytes().to_vec();
    let end = end_of(Framing::new(LENGTHS, by_length), head, false);
    assert_eq!(end, (code::FRAME_TOO_LONG, false, vec![]));
    let end = end_of(Framing::new(LINES, by_line), vec![b'x'; 2 << 20], false);
    assert_eq!(end, (code::FRAME_TOO_LONG, false, vec![]));
}

#[test]
fn an_end_in_the_middle_of_a_message_is_told() {
    let good = with_length(b"whole");
    let cut = with_length(b"not whole");
    for len in [1, 3, 4, 5, 12] {
        let bytes = [good.as_slice(), &cut[..len]].concat();
        let end = end_of(Framing::new(LENGTHS, by_length), bytes, true);
        assert_eq!(end, (code::TRUNCATED, false, vec![good.clone()]), "{len} bytes");
    }
}

#[test]
fn what_is_framed_can_be_echoed_and_detached() {
    let mut shard = Shard::new();
    let (endpoint, addr) =
        shard.listen_with(|c| c.framing = Some(Framing::new(LENGTHS, by_length)));
    let config =
        TcpConnectConfig::new(addr).with(|c| c.framing = Some(Framing::new(LENGTHS, by_length)));
    let client = shard.io.tcp_connect_with(config).unwrap();
    let server = shard.wait_connected(Some(endpoint));
    shard.wait_connected(None);
    let all: Vec<_> = (0..50).map(|n| with_length(&pattern(n, n as usize * 100))).collect();
    for message in &all {
        shard.write_all(client, message);
    }
    let mut kept = Vec::new();
    let mut echoed = 0;
    let start = std::time::Instant::now();
    while echoed < all.len() {
        assert!(start.elapsed() < common::PATIENCE);
        shard.io.poll(common::TICK).unwrap();
        let (mut events, mut sender) = shard.io.split();
        while let Some(event) = events.next_event() {
            let zero_io::Event::StreamFrame { conn, data, .. } = event else { continue };
            if conn == server {
                sender.forward(server, STREAM, data).unwrap();
                kept.push(events.detach_event_data().expect("a payload"));
            } else {
                assert_same(data, &all[echoed]);
                echoed += 1;
            }
        }
    }
    for (kept, wanted) in kept.iter().zip(&all) {
        assert_same(kept, wanted);
    }
    drop(kept);
    shard.io.close(client).unwrap();
    shard.io.close(server).unwrap();
    shard.finish();
}

#[test]
fn partial_messages_of_many_connections_are_bounded() {
    const CLIENTS: usize = 40;
    let mut shard = Shard::with(|c| c.jumbo_count = 4);
    let (_, addr) = shard.listen_with(|c| c.framing = Some(Framing::new(LENGTHS, by_length)));
    // Each begins a message that only a jumbo buffer holds, and does not finish it.
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = dial(addr);
            client.write_all(&900_000_u32.to_be_bytes()).unwrap();
            client.write_all(&[1; 1000]).unwrap();
            client
        })
        .collect();
    let ended = |shard: &Shard| shard.count(|seen| matches!(seen, Seen::Disconnected { .. }));
    shard.until("the ends", |shard| ended(shard) >= CLIENTS - 4);
    for seen in &shard.seen {
        if let Seen::Disconnected { code, .. } = seen {
            assert_eq!(*code, code::CARRY_EXHAUSTED);
        }
    }
    shard.run_for(Duration::from_millis(30));
    assert!(ended(&shard) < CLIENTS, "those that got a buffer go on");
    drop(clients);
    shard.finish();
}

#[test]
fn a_burst_of_messages_that_straddle_buffers_is_no_reason_to_end() {
    // More of them than there are jumbo buffers arrive between two looks at the events.
    let mut shard = Shard::with(|c| c.jumbo_count = 2);
    let framing = Framing::new(LENGTHS, by_length);
    let (conn, mut peer) = shard.accepted_with(|c| c.framing = Some(framing));
    let wanted: Vec<Vec<u8>> = (0..40).map(|seed| with_length(&pattern(seed, 40_000))).collect();
    let bytes = wanted.concat();
    let writer = thread::spawn(move || {
        peer.write_all(&bytes).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        peer
    });
    thread::sleep(Duration::from_millis(100));
    shard.wait_read_closed(conn);
    assert_eq!(messages_of(&shard, conn, LENGTHS), wanted);
    drop(writer.join().unwrap());
    shard.finish();
}

#[test]
fn lines_as_long_as_a_jumbo_buffer() {
    let change = |c: &mut Config| {
        c.jumbo_size = 65_536;
        c.stream_buffer_size = 16_384;
    };
    let framing = Framing::new(LINES, by_line);
    for len in [65_535, 65_000, 50_000, 40_000] {
        let wanted: Vec<Vec<u8>> = (0..5).map(|seed| line(seed, len)).collect();
        check(change, framing, LINES, &wanted, 0);
    }
}
