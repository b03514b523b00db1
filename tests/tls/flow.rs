//! A lot of data, in both directions, with slow readers; forwarding; framing.

use std::time::Duration;

use zero_io::{Frame, Framing, MessageKind, TcpConnectConfig, TlsConnectConfig, TlsVersion, code};

use super::certs::World;
use super::common::{STREAM, Seen, Shard, assert_same, pattern};
use super::kit::{ClientPeer, VERSIONS, close_in_order, listen, listen_with, part};
use super::peers::close_pair;

#[test]
fn large_transfers_cross_both_ways_at_once() {
    const LEN: usize = 6_000_000;
    let world = World::new();
    for version in [TlsVersion::Tls12, TlsVersion::Tls13] {
        let mut shard = Shard::new();
        let tls = world.server.server().versions(version, version).build().unwrap();
        let (endpoint, addr) = listen(&mut shard, tls);
        let conn = shard.io.tls_connect(addr, world.ca.client().build().unwrap()).unwrap();
        let served = shard.wait_connected(Some(endpoint));
        shard.wait_connected(None);
        let there = pattern(1, LEN);
        let back = pattern(2, LEN);
        let (mut sent, mut answered) = (0, 0);
        let (mut at, mut got_there, mut got_back) = (0, Vec::new(), Vec::new());
        shard.until("both transfers", |shard| {
            for seen in &shard.seen[at..] {
                match seen {
                    Seen::Frame { conn: c, data, .. } if *c == conn => got_back.extend(data),
                    Seen::Frame { conn: c, data, .. } if *c == served => got_there.extend(data),
                    _ => {}
                }
            }
            at = shard.seen.len();
            sent += shard.io.stream_write(conn, STREAM, &there[sent..]).unwrap();
            answered += shard.io.stream_write(served, STREAM, &back[answered..]).unwrap();
            got_there.len() >= LEN && got_back.len() >= LEN
        });
        assert_same(&got_there, &there);
        assert_same(&got_back, &back);
        close_pair(&mut shard, conn, served);
        shard.finish();
    }
}

#[test]
fn a_slow_reader_is_waited_for_by_the_high_water_mark() {
    const LEN: usize = 4_000_000;
    const HIGH: usize = 64 * 1024;
    let world = World::new();
    for version in VERSIONS {
        let mut shard = Shard::with(|c| c.send_high_water = HIGH);
        let tls = world.server.server().build().unwrap();
        let (endpoint, addr) = listen_with(&mut shard, tls, |c| c.send_buffer = Some(32 * 1024));
        let mut peer = ClientPeer::dial(&world.ca, version, addr);
        let thread = std::thread::spawn(move || {
            peer.shake();
            let mut all = Vec::new();
            while all.len() < LEN {
                if all.len() < 400_000 {
                    std::thread::sleep(Duration::from_millis(2));
                }
                all.extend_from_slice(&peer.read_exact(40_000.min(LEN - all.len())));
            }
            peer.close_notify();
            all
        });
        let conn = shard.wait_connected(Some(endpoint));
        let data = pattern(3, LEN);
        let (mut sent, mut waits) = (0, 0);
        while sent < LEN {
            let taken = shard.io.stream_write(conn, STREAM, &data[sent..]).unwrap();
            assert!(taken <= HIGH + 17_000, "{taken} bytes at once");
            sent += taken;
            if sent < LEN {
                waits += 1;
                let credit = shard.wait("Writable", |seen| match seen {
                    Seen::Writable { conn: c, credit } if *c == conn => Some(*credit),
                    _ => None,
                });
                assert!(credit >= HIGH / 2, "{credit}");
            }
        }
        assert!(waits > 10, "{waits} waits");
        assert_same(&shard.join(thread), &data);
        close_in_order(&mut shard, conn);
        shard.finish();
    }
}

#[test]
fn a_paused_connection_holds_its_peer_back() {
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
    let mut peer = ClientPeer::dial(&world.ca, VERSIONS[1], addr);
    let data = pattern(4, 5_000_000);
    let wanted = data.clone();
    let thread = std::thread::spawn(move || {
        peer.shake();
        peer.write(&data);
        peer.close_notify();
        peer.read_to_end().1
    });
    let conn = shard.wait_connected(Some(endpoint));
    let mut rounds = 0;
    while shard.bytes_of(conn).len() < wanted.len() {
        shard.io.pause_recv(conn).unwrap();
        shard.run_for(Duration::from_millis(20));
        let before = shard.bytes_of(conn).len();
        shard.run_for(Duration::from_millis(20));
        assert_eq!(shard.bytes_of(conn).len(), before, "nothing comes while it is paused");
        shard.io.resume_recv(conn).unwrap();
        shard.step(Duration::from_millis(5));
        rounds += 1;
        assert!(rounds < 500);
    }
    assert_same(&shard.bytes_of(conn), &wanted);
    part(&mut shard, conn, thread);
    shard.finish();
}

#[test]
fn one_tls_connection_is_forwarded_to_another() {
    const LEN: usize = 3_000_000;
    let world = World::new();
    for (inner, version) in [(TlsVersion::Tls12, VERSIONS[1]), (TlsVersion::Tls13, VERSIONS[0])] {
        let mut shard = Shard::new();
        let (front, front_addr) = listen(&mut shard, world.server.server().build().unwrap());
        let tls = world.server.server().versions(inner, inner).build().unwrap();
        let (back, back_addr) = listen(&mut shard, tls);
        let mut peer = ClientPeer::dial(&world.ca, version, front_addr);
        let data = pattern(5, LEN);
        let sent = data.clone();
        let (go, wait) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            peer.shake();
            wait.recv().unwrap();
            peer.write(&sent);
            peer.close_notify();
            peer.read_to_end()
        });
        let from = shard.wait_connected(Some(front));
        let to = shard.io.tls_connect(back_addr, world.ca.client().build().unwrap()).unwrap();
        let end = shard.wait_connected(Some(back));
        shard.wait_connected(None);
        go.send(()).unwrap();
        let (mut ended, mut got) = (false, Vec::new());
        let begun = std::time::Instant::now();
        while !ended {
            assert!(begun.elapsed() < super::common::PATIENCE, "{} came", got.len());
            shard.io.poll(Duration::from_millis(5)).unwrap();
            let (mut events, mut sender) = shard.io.split();
            while let Some(event) = events.next_event() {
                match event {
                    zero_io::Event::StreamFrame { conn, data, .. } if conn == from => {
                        sender.forward(to, STREAM, data).unwrap();
                    }
                    zero_io::Event::StreamFrame { conn, data, .. } if conn == end => {
                        got.extend_from_slice(data);
                    }
                    zero_io::Event::ReadClosed { conn, .. } if conn == from => {
                        sender.shutdown_write(to, STREAM).unwrap();
                    }
                    zero_io::Event::ReadClosed { conn, .. } => ended = conn == end,
                    other => panic!("{other:?}"),
                }
            }
        }
        assert_same(&got, &data);
        for conn in [end, from] {
            shard.io.close_graceful(conn, Duration::from_secs(10)).unwrap();
        }
        for conn in [end, from, to] {
            assert_eq!(shard.wait_end(conn), (code::NONE, true));
        }
        assert_eq!(shard.join(thread), (Vec::new(), None));
        shard.finish();
    }
}

// ---- framing

const MESSAGE: MessageKind = MessageKind::User(7);

/// Four bytes with the length of what follows.
fn by_length(bytes: &[u8]) -> Frame {
    let Some(head) = bytes.first_chunk::<4>() else { return Frame::Need(4) };
    let whole = 4 + u32::from_be_bytes(*head) as usize;
    if bytes.len() < whole { Frame::Need(whole) } else { Frame::Ready(whole) }
}

#[test]
fn messages_straddle_records_and_records_hold_many() {
    let world = World::new();
    for version in VERSIONS {
        let mut shard = Shard::new();
        let tls = world.server.server().build().unwrap();
        let framing = Framing::new(MESSAGE, by_length);
        let (endpoint, addr) = listen_with(&mut shard, tls, |c| c.framing = Some(framing));
        let mut wanted = Vec::new();
        for (i, len) in
            [1, 0, 3, 100, 16_380, 16_384, 16_385, 40_000, 7, 300_000, 2].iter().enumerate()
        {
            let mut message = (*len as u32).to_be_bytes().to_vec();
            message.extend_from_slice(&pattern(i as u64, *len));
            wanted.push(message);
        }
        let all = wanted.concat();
        let mut conns = Vec::new();
        // Records of 1 byte only for the first messages: those are many.
        for (cut, len) in [(1, 3000), (3, 12_000), (1000, all.len()), (16_384, all.len())] {
            let mut peer = ClientPeer::dial(&world.ca, version, addr);
            let bytes = all[..len].to_vec();
            let thread = std::thread::spawn(move || {
                peer.shake();
                bytes.chunks(cut).for_each(|piece| peer.write(piece));
                peer.close_notify();
                peer.read_to_end().1
            });
            let conn = shard.wait_connected(Some(endpoint));
            let mut end = 0;
            let whole: Vec<&Vec<u8>> = wanted
                .iter()
                .take_while(|message| {
                    end += message.len();
                    end <= len
                })
                .collect();
            shard.until("the messages", |s| frames(s, conn).len() == whole.len());
            for (got, wanted) in frames(&shard, conn).iter().zip(whole) {
                assert_same(got, wanted);
            }
            if len == all.len() {
                shard.wait_read_closed(conn);
                close_in_order(&mut shard, conn);
            } else {
                // A message is cut short, by an end that is otherwise in order.
                assert_eq!(shard.wait_end(conn), (code::TRUNCATED, false));
            }
            shard.join(thread);
            conns.push(conn);
        }
        shard.finish();
    }
}

fn frames(shard: &Shard, of: zero_io::ConnId) -> Vec<Vec<u8>> {
    let of_conn = |seen: &Seen| match seen {
        Seen::Frame { conn, kind, data } if *conn == of => {
            assert_eq!(*kind, MESSAGE);
            Some(data.clone())
        }
        _ => None,
    };
    shard.seen.iter().filter_map(of_conn).collect()
}

#[test]
fn a_client_with_framing_and_a_message_that_is_too_long() {
    let world = World::new();
    let mut shard = Shard::new();
    let (endpoint, addr) = listen(&mut shard, world.server.server().build().unwrap());
    let framing = Framing::new(MESSAGE, by_length).with_len_max(1000);
    let socket = TcpConnectConfig::new(addr).with(|c| c.framing = Some(framing));
    let tls = world.ca.client().build().unwrap();
    let conn = shard.io.tls_connect_with(TlsConnectConfig::tcp(socket, tls)).unwrap();
    let served = shard.wait_connected(Some(endpoint));
    shard.wait_connected(None);
    shard.write_all(served, &[&[0, 0, 0, 2][..], b"ok", &[0, 1, 0, 0], &[0; 3000]].concat());
    assert_eq!(shard.wait_end(conn), (code::FRAME_TOO_LONG, false));
    assert_eq!(frames(&shard, conn), [b"\0\0\0\x02ok"]);
    let _ = shard.io.close(served);
    shard.finish();
}
