//! Connections that move from shard to shard.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use zero_io::{
    ClusterConfig, ConnId, Event, Frame, Framing, IoCluster, IoError, MessageKind, Sender, ShardIo,
    TcpListenConfig, code,
};

use crate::common::{PATIENCE, STREAM};
use crate::kit::{Running, config, serve};

const MOVES: u64 = 100;
const CLIENTS: u64 = 4;

/// The byte at a place of a stream, and the next places.
pub(crate) fn pattern_at(seed: u64, at: u64, len: usize) -> Vec<u8> {
    (at..at + len as u64).map(|at| (at.wrapping_mul(31) ^ (at >> 8) ^ seed) as u8).collect()
}

/// A generator that is good enough to vary a test.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

/// One connection as the server knows it, whichever shard has it.
struct Served {
    dice: Dice,
    received: u64,
    sent: u64,
    moves: u64,
    /// The shard that has it.
    at: u16,
}

/// What the shards share, and the clients look at.
struct World {
    served: Mutex<Vec<Served>>,
    ends: [AtomicU64; 2],
}

impl World {
    fn on_event(&self, me: u16, event: Event<'_>, sender: &mut Sender<'_>) {
        match event {
            Event::Connected { conn, endpoint, .. } => {
                assert!(endpoint.is_some(), "of the cluster's listener");
                self.connected(me, conn, sender);
            }
            Event::StreamFrame { conn, data, kind, .. } => {
                let number = sender.user_data(conn).unwrap();
                self.received(me, number, data);
                if kind == MessageKind::User(1) {
                    assert_eq!(data.len(), 100, "a frame is one on every shard");
                }
                self.answer(me, number, data.len() as u64, conn, sender);
            }
            Event::ReadClosed { conn, .. } => {
                sender.close_graceful(conn, PATIENCE).unwrap();
            }
            Event::Disconnected { error_code, clean, .. } => {
                assert!(clean, "{error_code:#x}");
                self.ends[usize::from(error_code == code::HANDED_OVER)].fetch_add(1, Relaxed);
            }
            Event::Writable { .. } | Event::Draining { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn connected(&self, me: u16, conn: ConnId, sender: &mut Sender<'_>) {
        let mut served = self.served.lock().unwrap();
        match sender.user_data(conn).unwrap() {
            0 => {
                let number = served.len() as u64 + 1;
                sender.set_user_data(conn, number).unwrap();
                let dice = Dice(number);
                served.push(Served { dice, received: 0, sent: 0, moves: 0, at: me });
            }
            number => served[number as usize - 1].at = me,
        }
    }

    fn received(&self, me: u16, number: u64, data: &[u8]) {
        let mut served = self.served.lock().unwrap();
        let entry = &mut served[number as usize - 1];
        assert_eq!(entry.at, me, "who gave it away hears no more of it");
        assert!(data == pattern_at(7, entry.received, data.len()), "at {}", entry.received);
        entry.received += data.len() as u64;
    }

    /// Writes something, and perhaps gives the connection away.
    fn answer(&self, me: u16, number: u64, len: u64, conn: ConnId, sender: &mut Sender<'_>) {
        let mut served = self.served.lock().unwrap();
        let entry = &mut served[number as usize - 1];
        if entry.at != me {
            return;
        }
        let len = entry.dice.below(2 * len) as usize;
        let data = pattern_at(9, entry.sent, len);
        entry.sent += sender.stream_write(conn, STREAM, &data).unwrap() as u64;
        if entry.moves < MOVES && entry.dice.below(3) == 0 {
            sender.hand_over(conn, 1 - me).unwrap();
            entry.at = u16::MAX;
            entry.moves += 1;
            assert!(sender.stream_write(conn, STREAM, b"late").is_err());
            let again = sender.hand_over(conn, 1 - me);
            assert!(matches!(again, Err(IoError::NotMovable { .. })), "{again:?}");
        }
    }

    fn has_moved(&self) -> bool {
        let served = self.served.lock().unwrap();
        served.len() as u64 == CLIENTS && served.iter().all(|entry| entry.moves == MOVES)
    }
}

/// Sends random pieces until all connections have moved often enough, and checks what comes back.
fn client(addr: SocketAddr, world: &World, seed: u64, piece: u64) -> (u64, u64) {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reading = stream.try_clone().unwrap();
    let reader = thread::spawn(move || {
        let (mut got, mut buf) = (0, vec![0; 5000]);
        loop {
            match reading.read(&mut buf).unwrap() {
                0 => return got,
                n => {
                    assert!(buf[..n] == pattern_at(9, got, n), "at {got}");
                    got += n as u64;
                }
            }
        }
    });
    let (mut dice, mut sent) = (Dice(seed), 0);
    let start = Instant::now();
    while !world.has_moved() {
        assert!(start.elapsed() < 3 * PATIENCE);
        let len = (1 + dice.below(50)) * piece;
        (&stream).write_all(&pattern_at(7, sent, len as usize)).unwrap();
        sent += len;
        thread::sleep(Duration::from_micros(dice.below(300)));
    }
    stream.shutdown(Shutdown::Write).unwrap();
    (sent, reader.join().unwrap())
}

fn nothing_is_lost_doubled_or_reordered(framing: Option<Framing>, piece: u64) {
    let mut cluster = IoCluster::new(config(2)).unwrap();
    let listen = TcpListenConfig::new("127.0.0.1:0".parse().unwrap()).with(|c| c.framing = framing);
    let endpoint = cluster.tcp_listen_with(listen).unwrap();
    let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
    let world = Arc::new(World { served: Mutex::default(), ends: Default::default() });
    let shards = Arc::clone(&world);
    let running = Running::start(cluster, move |shard| {
        let me = shard.shard();
        serve(shard, |event, sender| match event {
            Event::User { token: u64::MAX, .. } => {}
            event => shards.on_event(me, event, sender),
        })
    });
    running.wait_until_up();
    let (sent, got) = thread::scope(|scope| {
        let world = &*world;
        let start = |seed| scope.spawn(move || client(addr, world, seed, piece));
        let clients: Vec<_> = (1..=CLIENTS).map(start).collect();
        let sums = clients.into_iter().map(|client| client.join().unwrap());
        sums.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    });
    let served = world.served.lock().unwrap();
    assert_eq!(served.iter().map(|entry| entry.received).sum::<u64>(), sent);
    assert_eq!(served.iter().map(|entry| entry.sent).sum::<u64>(), got);
    let handle = running.handle.clone();
    running.shut_down();
    let ends = world.ends.each_ref().map(|ends| ends.load(Relaxed));
    assert_eq!(ends[1], CLIENTS * MOVES);
    let (_, fleet) = handle.stats().total();
    assert_eq!((fleet.moved_out, fleet.moved_in), (CLIENTS * MOVES, CLIENTS * MOVES));
}

#[test]
fn nothing_is_lost_while_connections_move() {
    nothing_is_lost_doubled_or_reordered(None, 1);
}

#[test]
fn frames_stay_whole_while_connections_move() {
    fn next(bytes: &[u8]) -> Frame {
        if bytes.len() < 100 { Frame::Need(100) } else { Frame::Ready(100) }
    }
    nothing_is_lost_doubled_or_reordered(Some(Framing::new(MessageKind::User(1), next)), 100);
}

/// Shards on this thread, with a listener on each, so that the test says who runs when.
struct Hand {
    cluster: IoCluster,
    shards: Vec<Option<ShardIo>>,
    addr: SocketAddr,
}

impl Hand {
    fn new(config: ClusterConfig) -> Self {
        let mut cluster = IoCluster::new(config).unwrap();
        let endpoint = cluster.tcp_listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
        let seeds = cluster.seeds().unwrap();
        let shards = seeds.into_iter().map(|seed| Some(seed.grow().unwrap())).collect();
        Self { cluster, shards, addr }
    }

    fn shard(&mut self, at: usize) -> &mut ShardIo {
        self.shards[at].as_mut().unwrap()
    }

    /// Polls all until one of them tells what is looked for; whose it was.
    fn until<T>(&mut self, what: impl Fn(&Event<'_>) -> Option<T>) -> (usize, T) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            for at in 0..self.shards.len() {
                let Some(shard) = &mut self.shards[at] else { continue };
                shard.poll(Duration::from_millis(1)).unwrap();
                while let Some(event) = shard.next_event() {
                    if let Some(found) = what(&event) {
                        return (at, found);
                    }
                }
            }
        }
        panic!("nobody told it");
    }

    /// A client, who has it, and its name there.
    fn connect(&mut self) -> (TcpStream, usize, ConnId) {
        let stream = TcpStream::connect(self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let (at, conn) = self.until(connected);
        (stream, at, conn)
    }
}

fn connected(event: &Event<'_>) -> Option<ConnId> {
    match event {
        Event::Connected { conn, .. } => Some(*conn),
        _ => None,
    }
}

fn frame(event: &Event<'_>) -> Option<Vec<u8>> {
    match event {
        Event::StreamFrame { data, .. } => Some(data.to_vec()),
        _ => None,
    }
}

fn ended(event: &Event<'_>) -> Option<(u64, bool)> {
    match event {
        Event::Disconnected { error_code, clean, .. } => Some((*error_code, *clean)),
        _ => None,
    }
}

/// What arrived and was not looked at goes along, the end of the stream included.
#[test]
fn unread_bytes_go_along() {
    let mut hand = Hand::new(config(2));
    let (mut client, at, conn) = hand.connect();
    let other = 1 - at;
    client.write_all(b"before").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // They are events that wait by now, and so is the end.
    for _ in 0..20 {
        hand.shard(at).poll(Duration::from_millis(1)).unwrap();
    }
    hand.shard(at).stream_write(conn, STREAM, b"from one").unwrap();
    hand.shard(at).set_user_data(conn, 77).unwrap();
    hand.shard(at).hand_over(conn, other as u16).unwrap();
    assert_eq!(hand.until(ended), (at, (code::HANDED_OVER, true)));
    let (there, moved) = hand.until(connected);
    assert_eq!(there, other);
    assert_eq!(hand.shard(other).user_data(moved), Ok(77));
    assert_eq!(hand.until(frame), (other, b"before".to_vec()));
    hand.until(|event| matches!(event, Event::ReadClosed { .. }).then_some(()));
    hand.shard(other).stream_write(moved, STREAM, b" and the other").unwrap();
    hand.shard(other).close_graceful(moved, PATIENCE).unwrap();
    assert_eq!(hand.until(ended), (other, (code::NONE, true)));
    let mut got = String::new();
    client.read_to_string(&mut got).unwrap();
    assert_eq!(got, "from one and the other");
    assert!(hand.shards.iter_mut().flatten().all(|shard| shard.is_idle()));
}

/// A peer that does not read what was written keeps its connection where it is; nothing is lost.
#[test]
fn what_cannot_go_stays_and_is_told() {
    let quick = |c: &mut ClusterConfig| c.io.close_timeout = Duration::from_millis(50);
    let mut hand = Hand::new(config(2).with(quick));
    let (mut client, at, conn) = hand.connect();
    let mut written = 0;
    loop {
        let n = hand.shard(at).stream_write(conn, STREAM, &[5; 60_000]).unwrap();
        hand.shard(at).poll(Duration::from_millis(1)).unwrap();
        written += n;
        if n == 0 {
            break;
        }
    }
    hand.shard(at).hand_over(conn, 1 - at as u16).unwrap();
    client.write_all(b"meanwhile").unwrap();
    let failed = |event: &Event<'_>| match event {
        Event::HandOverFailed { conn } => Some(*conn),
        other => frame(other).map(|_| panic!("told before")),
    };
    assert_eq!(hand.until(failed), (at, conn));
    assert_eq!(hand.until(frame), (at, b"meanwhile".to_vec()));
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        got.len()
    });
    hand.shard(at).close_graceful(conn, PATIENCE).unwrap();
    hand.until(ended);
    assert_eq!(reader.join().unwrap(), written);
}

#[test]
fn a_full_mail_and_a_shard_that_ended_are_told() {
    let mut hand = Hand::new(config(2).with(|c| c.mail_entries = 2));
    let (mut client, at, conn) = hand.connect();
    let other = 1 - at as u16;
    assert_eq!(
        hand.shard(at).hand_over(conn, 2),
        Err(IoError::NoSuchShard { shard: 2, shards: 2 })
    );
    let here = hand.shard(at).hand_over(conn, at as u16);
    assert!(matches!(here, Err(IoError::NotMovable { .. })), "{here:?}");
    (0..2).for_each(|token| hand.shard(at).post_to(other, token).unwrap());
    hand.shard(at).hand_over(conn, other).unwrap();
    let start = Instant::now();
    'told: loop {
        assert!(start.elapsed() < PATIENCE);
        hand.shard(at).poll(Duration::from_millis(1)).unwrap();
        while let Some(event) = hand.shard(at).next_event() {
            if matches!(event, Event::HandOverFailed { .. }) {
                break 'told;
            }
        }
    }
    hand.shards[usize::from(other)] = None;
    assert_eq!(hand.shard(at).hand_over(conn, other), Err(IoError::ShardDown { shard: other }));
    // It goes on here.
    client.write_all(b"still").unwrap();
    assert_eq!(hand.until(frame), (at, b"still".to_vec()));
}

#[test]
fn some_do_not_move() {
    let mut hand = Hand::new(config(2));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let shard = hand.shard(0);
    let waiting = shard.tcp_connect(listener.local_addr().unwrap()).unwrap();
    let refused = |result| matches!(result, Err(IoError::NotMovable { .. }));
    assert!(refused(shard.hand_over(waiting, 1)));
    let (_client, at, conn) = hand.connect();
    let other = 1 - at as u16;
    hand.shard(at).shutdown_write(conn, STREAM).unwrap();
    assert!(refused(hand.shard(at).hand_over(conn, other)));
    hand.shard(at).close(conn).unwrap();
    assert_eq!(hand.shard(at).hand_over(conn, other), Err(IoError::StaleConn { conn }));
}

/// What has keys, requests or a socket in common with others stays.
#[cfg(all(feature = "quic", feature = "http-client", feature = "tls-webpki-roots"))]
#[test]
fn those_of_other_protocols_do_not_move() {
    use zero_io::{HttpListenConfig, QuicConnectConfig, Roots, TlsClientConfig};
    let mut hand = Hand::new(config(2));
    let addr = hand.addr;
    let refused = |result: Result<(), IoError>, word: &str| {
        let Err(IoError::NotMovable { why, .. }) = result else { panic!("{result:?}") };
        assert!(why.contains(word), "{why}");
    };
    let shard = hand.shard(0);
    let tls = TlsClientConfig::with_roots(Roots::webpki()).build().unwrap();
    let conn = shard.tls_connect(addr, tls.clone()).unwrap();
    refused(shard.hand_over(conn, 1), "TLS");
    let conn = shard.quic_connect_with(QuicConnectConfig::new(addr, tls)).unwrap();
    refused(shard.hand_over(conn, 1), "QUIC");
    let listen = TcpListenConfig::new("127.0.0.1:0".parse().unwrap());
    let endpoint = shard.http_listen_with(HttpListenConfig::new(listen)).unwrap();
    let addr = shard.local_addr(endpoint).unwrap().inet().unwrap();
    let mut client = TcpStream::connect(addr).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").unwrap();
    let (at, conn) = hand.until(|event| match event {
        Event::HttpRequest { conn, .. } => Some(*conn),
        _ => None,
    });
    refused(hand.shard(at).hand_over(conn, 1), "HTTP");
}

/// One that came to a full table is taken in when there is a place, and room to tell of it.
#[test]
fn who_waits_for_a_place_is_not_forgotten() {
    let full = |c: &mut ClusterConfig| {
        (c.io.max_connections, c.io.max_events_per_poll) = (1, 16);
    };
    let mut hand = Hand::new(config(2).with(full));
    let (_client, at, conn) = hand.connect();
    let other = 1 - at;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = hand.shard(other).tcp_connect(listener.local_addr().unwrap()).unwrap();
    hand.until(connected);
    hand.shard(at).hand_over(conn, other as u16).unwrap();
    assert_eq!(hand.until(ended), (at, (code::HANDED_OVER, true)));
    hand.shard(other).poll(Duration::ZERO).unwrap();
    hand.shard(other).close(own).unwrap();
    assert_eq!(hand.until(ended).0, other);
    let handle = hand.cluster.handle().io_handle(other as u16).unwrap();
    let shard = hand.shard(other);
    let mut posts = |count: usize| {
        (0..count).for_each(|token| handle.post(token as u64).unwrap());
        shard.poll(Duration::ZERO).unwrap();
        let mut told = 0;
        while let Some(event) = shard.next_event() {
            assert!(matches!(event, Event::User { .. }), "{event:?}");
            told += 1;
        }
        told
    };
    // As many as the queue of events has room for, and in the end again just as many. The first
    // time a part of it is kept for endpoints, since a place was vacated.
    let first = posts(100);
    let room = posts(0);
    let mut left = (100_usize - first - room).next_multiple_of(room);
    left -= posts(left + first + room - 100);
    while left > 0 {
        left -= posts(0);
    }
    let start = Instant::now();
    shard.poll(PATIENCE).unwrap();
    assert!(start.elapsed() < PATIENCE / 2, "it slept");
    assert!(shard.next_event().as_ref().and_then(connected).is_some());
}

/// No more connections wait for a place than the mail has entries: the others stay where they are,
/// and go when there is room.
#[test]
fn who_finds_no_room_to_wait_stays() {
    const PLACES: usize = 6;
    const WAIT_MAX: usize = 4;
    let narrow = |c: &mut ClusterConfig| {
        (c.mail_entries, c.io.max_connections) = (WAIT_MAX, PLACES);
    };
    let mut hand = Hand::new(config(2).with(narrow));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let [own, others] = [0, 1].map(|at| {
        let conns: [ConnId; PLACES] =
            std::array::from_fn(|_| hand.shard(at).tcp_connect(addr).unwrap());
        conns.iter().for_each(|_| assert_eq!(hand.until(connected).0, at));
        conns
    });
    let give = |hand: &mut Hand, conn: ConnId| {
        hand.shard(0).hand_over(conn, 1).unwrap();
        let (_, went) = hand.until(|event| match event {
            Event::HandOverFailed { conn: failed } => Some((*failed == conn).then_some(false)),
            Event::Disconnected { conn: gone, error_code: code::HANDED_OVER, .. } => {
                Some((*gone == conn).then_some(true))
            }
            _ => None,
        });
        went.expect("of the connection that was given away")
    };
    // All of them are looked at there before the next one is sent.
    for (at, conn) in own.into_iter().enumerate() {
        assert_eq!(give(&mut hand, conn), at < WAIT_MAX, "{at}");
        hand.shard(1).poll(Duration::ZERO).unwrap();
    }
    assert_eq!(hand.shard(1).fleet_stats().moved_in, 0);
    assert_eq!(hand.shard(0).stream_write(own[WAIT_MAX], STREAM, b"here"), Ok(4));
    for conn in &others[..WAIT_MAX] {
        hand.shard(1).close(*conn).unwrap();
    }
    (0..WAIT_MAX).for_each(|_| assert_eq!(hand.until(connected).0, 1));
    for conn in &own[WAIT_MAX..] {
        assert!(give(&mut hand, *conn), "there is room again");
    }
}

/// One that waits for a place at a shard that ends, and for which nobody else has one, is counted.
#[test]
fn who_waits_for_a_place_that_never_comes_is_counted() {
    let mut hand = Hand::new(config(2).with(|c| c.io.max_connections = 1));
    let (mut client, at, conn) = hand.connect();
    let other = 1 - at;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    hand.shard(other).tcp_connect(listener.local_addr().unwrap()).unwrap();
    hand.until(connected);
    hand.shard(at).hand_over(conn, other as u16).unwrap();
    assert_eq!(hand.until(ended), (at, (code::HANDED_OVER, true)));
    hand.shard(other).poll(Duration::ZERO).unwrap();
    hand.shards[at] = None;
    hand.shards[other] = None;
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let stats = hand.cluster.handle().stats();
    assert_eq!(stats.shards[other].fleet.moved_lost, 1);
}

/// A connection in the mail of a shard that ends goes to another one.
#[test]
fn nothing_in_the_mail_is_lost() {
    let mut hand = Hand::new(config(4));
    let (mut client, at, conn) = hand.connect();
    let dead = (at + 1) % 4;
    client.write_all(b"unread").unwrap();
    for _ in 0..20 {
        hand.shard(at).poll(Duration::from_millis(1)).unwrap();
    }
    hand.shard(at).hand_over(conn, dead as u16).unwrap();
    hand.shard(at).post_to(dead as u16, 5).unwrap();
    let start = Instant::now();
    while hand.shard(at).fleet_stats().moved_out == 0 {
        assert!(start.elapsed() < PATIENCE);
        hand.shard(at).poll(Duration::from_millis(1)).unwrap();
    }
    hand.shards[dead] = None;
    let (there, moved) = hand.until(connected);
    assert!(there != dead && there != at);
    assert_eq!(hand.until(frame), (there, b"unread".to_vec()));
    hand.shard(there).stream_write(moved, STREAM, b"served").unwrap();
    hand.shard(there).close_graceful(moved, PATIENCE).unwrap();
    for _ in 0..5 {
        hand.shard(there).poll(Duration::from_millis(1)).unwrap();
    }
    let mut got = [0; 6];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"served");
    let stats = hand.cluster.handle().stats();
    assert_eq!(stats.shards[dead].fleet.posts_lost, 1);
    assert_eq!(stats.shards[dead].connections, 0);
}
