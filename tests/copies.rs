//! Bytes copied in user space, as `IoStats` counts them: exactly none where none is promised, and
//! exactly once where one copy is.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use common::{PATIENCE, STREAM, Shard, TICK, assert_same, localhost, pattern};
use zero_io::{Config, ConnId, Event, Frame, Framing, MessageKind};

const TOTAL: usize = 3 << 20;
const NINES: &[u8] = &[9; 9_000];

/// Sends and receives the same bytes.
fn client(peer: TcpStream) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut writer = peer.try_clone().unwrap();
        let sender = thread::spawn(move || {
            writer.write_all(&pattern(1, TOTAL)).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut got = vec![0; TOTAL];
        (&peer).read_exact(&mut got).unwrap();
        assert_same(&got, &pattern(1, TOTAL));
        sender.join().unwrap();
    })
}

/// Echoes with `echo`; bytes copied on the way in and on the way out.
fn copied_by(mut echo: impl FnMut(&mut Shard, ConnId, &mut Vec<u8>)) -> (u64, u64) {
    let mut shard = Shard::of(Config::default().with(|c| c.send_high_water = 2 * TOTAL));
    let (conn, peer) = shard.accepted();
    let client = client(peer);
    let start = Instant::now();
    let mut scratch = Vec::with_capacity(TOTAL);
    while !client.is_finished() {
        assert!(start.elapsed() < PATIENCE);
        shard.io.poll(TICK).unwrap();
        loop {
            match shard.io.next_event() {
                None => break,
                Some(Event::StreamFrame { data, .. }) => {
                    scratch.clear();
                    scratch.extend_from_slice(data);
                }
                Some(_) => continue,
            }
            echo(&mut shard, conn, &mut scratch);
        }
    }
    client.join().unwrap();
    let stats = shard.io.io_stats();
    assert_eq!((stats.bytes_received, stats.bytes_sent), (TOTAL as u64, TOTAL as u64));
    eprintln!("{} rx, {} tx of {TOTAL}", stats.bytes_copied_rx, stats.bytes_copied_tx);
    (stats.bytes_copied_rx, stats.bytes_copied_tx)
}

#[test]
fn an_owned_slot_that_becomes_a_send_buffer_is_not_copied() {
    let copied = copied_by(|shard, conn, _| {
        let slot = shard.io.detach_event_data().expect("a payload");
        let buffer = slot.try_into_send_buffer().expect("it is not shared");
        shard.io.stream_write_buffer(conn, STREAM, buffer).unwrap();
    });
    assert_eq!(copied, (0, 0));
}

#[test]
fn a_slice_is_copied_once() {
    let copied = copied_by(|shard, conn, data| {
        assert_eq!(shard.io.stream_write(conn, STREAM, data), Ok(data.len()));
    });
    assert_eq!(copied, (0, TOTAL as u64));
}

#[test]
fn a_guard_write_is_not_copied() {
    let copied = copied_by(|shard, conn, data| {
        let memory = Arc::new(std::mem::take(data));
        shard.io.stream_write_guard(conn, STREAM, memory, 1).unwrap();
    });
    assert_eq!(copied, (0, 0));
}

#[test]
fn forward_is_not_copied() {
    let mut shard = Shard::of(Config::default());
    let (_, peer) = shard.accepted();
    let client = client(peer);
    let start = Instant::now();
    while !client.is_finished() {
        assert!(start.elapsed() < PATIENCE);
        shard.io.poll(TICK).unwrap();
        let (mut events, mut sender) = shard.io.split();
        while let Some(event) = events.next_event() {
            if let Event::StreamFrame { conn, stream, data, .. } = event {
                sender.forward(conn, stream, data).unwrap();
            }
        }
    }
    client.join().unwrap();
    let stats = shard.io.io_stats();
    assert_eq!(stats.bytes_sent, TOTAL as u64);
    assert_eq!((stats.bytes_copied_rx, stats.bytes_copied_tx), (0, 0));
}

#[test]
fn split_and_write_is_copied_once() {
    let mut shard = Shard::of(Config::default().with(|c| c.send_high_water = 2 * TOTAL));
    let (_, peer) = shard.accepted();
    let client = client(peer);
    let start = Instant::now();
    while !client.is_finished() {
        assert!(start.elapsed() < PATIENCE);
        shard.io.poll(TICK).unwrap();
        let (mut events, mut sender) = shard.io.split();
        while let Some(event) = events.next_event() {
            if let Event::StreamFrame { conn, stream, data, .. } = event {
                assert_eq!(sender.stream_write(conn, stream, data), Ok(data.len()));
            }
        }
    }
    client.join().unwrap();
    let stats = shard.io.io_stats();
    assert_eq!((stats.bytes_copied_rx, stats.bytes_copied_tx), (0, TOTAL as u64));
}

#[test]
fn datagrams_are_forwarded_without_a_copy_and_sent_with_one() {
    const COUNT: usize = 200;
    const LEN: usize = 1000;
    let mut shard = Shard::of(Config::default());
    let endpoint = shard.io.udp_bind(localhost()).unwrap();
    let addr = shard.addr_of(endpoint);
    let socket = UdpSocket::bind(localhost()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut got = [0; 2048];
    for forward in [true, false] {
        let before = shard.io.io_stats().bytes_copied_tx;
        for _ in 0..COUNT {
            socket.send_to(&[7; LEN], addr).unwrap();
            let mut sent = false;
            while !sent {
                shard.io.poll(TICK).unwrap();
                let (mut events, mut sender) = shard.io.split();
                while let Some(event) = events.next_event() {
                    let Event::UdpRecv { endpoint, from, data, .. } = event else { continue };
                    if forward {
                        sender.udp_forward(endpoint, from, data).unwrap();
                    } else {
                        sender.udp_send_bytes(endpoint, from, data).unwrap();
                    }
                    sent = true;
                }
            }
            shard.io.poll(std::time::Duration::ZERO).unwrap();
            assert_eq!(socket.recv(&mut got).unwrap(), LEN);
        }
        let stats = shard.io.io_stats();
        let wanted = if forward { 0 } else { COUNT * LEN };
        assert_eq!(stats.bytes_copied_tx - before, wanted as u64);
        assert_eq!(stats.bytes_copied_rx, 0);
    }
}

/// 100 bytes each.
fn hundreds(bytes: &[u8]) -> Frame {
    if bytes.len() < 100 { Frame::Need(100) } else { Frame::Ready(100) }
}

#[test]
fn framed_messages_are_copied_only_where_they_straddle() {
    const COUNT: usize = 5000;
    let mut shard = Shard::of(Config::default());
    let (conn, mut peer) =
        shard.accepted_with(|c| c.framing = Some(Framing::new(MessageKind::User(0), hundreds)));
    let sender = thread::spawn(move || {
        peer.write_all(&pattern(1, COUNT * 100)).unwrap();
        peer
    });
    let got = shard.wait_bytes(conn, COUNT * 100);
    assert_same(&got, &pattern(1, COUNT * 100));
    drop(sender.join().unwrap());
    let stats = shard.io.io_stats();
    // At most one message at the end of each buffer, and each received piece has its own buffer.
    assert!(stats.bytes_copied_rx <= stats.completions * 100, "{stats:?}");
    assert!(stats.bytes_copied_rx < (COUNT * 100 / 10) as u64, "{stats:?}");
    assert_eq!(stats.bytes_copied_tx, 0);
}

#[test]
fn what_a_handle_copies_is_counted_by_the_shard_that_sends_it() {
    let mut shard = Shard::of(Config::default());
    let (conn, mut peer) = shard.accepted();
    let handle = shard.io.handle();
    let endpoint = shard.io.udp_bind(localhost()).unwrap();
    let to = shard.addr_of(endpoint);
    // From the reserve, by an allocation of its own, and as a datagram.
    handle.stream_write(conn, STREAM, &[1; 700]).unwrap();
    handle.stream_write(conn, STREAM, &[2; 30_000]).unwrap();
    handle.udp_send_bytes(endpoint, to, &[3; 50]).unwrap();
    // What is written where it is sent from is not copied.
    let mut buffer = handle.send_buffer(300).unwrap();
    buffer.as_mut_slice().fill(4);
    handle.stream_write_buffer(conn, STREAM, buffer).unwrap();
    handle.stream_write_guard(conn, STREAM, NINES, 1).unwrap();
    assert_eq!(shard.wait_datagram(endpoint).data, [3; 50]);
    let reader = thread::spawn(move || {
        let mut got = vec![0; 700 + 30_000 + 300 + 9_000];
        peer.read_exact(&mut got).unwrap();
        (got, peer)
    });
    let (got, _peer) = shard.join(reader);
    assert_eq!((got[0], got[700], got[30_700], got[31_000]), (1, 2, 4, 9));
    let stats = shard.io.io_stats();
    assert_eq!((stats.bytes_copied_rx, stats.bytes_copied_tx), (0, 700 + 30_000 + 50));
}
