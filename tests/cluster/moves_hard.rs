//! Connections that move while everything is in the way: readers that are slow, queues that are
//! full, mail that is short, and shards that end.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use zero_io::{
    ClusterConfig, ClusterReadiness, ConnId, DrainOptions, Event, IoCluster, IoError, Sender,
    TcpListenConfig, code,
};

use crate::common::{PATIENCE, STREAM};
use crate::kit::{Running, config, serve};
use crate::moves::{Dice, pattern_at};

/// Connections at a time.
const CLIENTS: u64 = 32;
/// What each client sends, and what it is sent.
const UP: u64 = 48 * 1024;
const DOWN: u64 = 512 * 1024;

/// Mail for two, few places and buffers, and no patience with what cannot go.
fn narrow(shards: u16) -> ClusterConfig {
    config(shards).with(|c| {
        c.mail_entries = 2;
        c.io.max_connections = CLIENTS as usize * 3 / 4;
        c.io.stream_buffer_count = 32;
        c.io.pool_slot_count = 256;
        c.io.handle_reserve_count = 32;
        c.io.max_events_per_poll = 64;
        c.io.close_timeout = Duration::from_millis(20);
        c.drain_deadline = PATIENCE;
    })
}

/// One connection as the server knows it, whichever shard has it.
struct Served {
    dice: Dice,
    received: u64,
    sent: u64,
    has_all: bool,
    moves: u64,
    /// The shard that has it.
    at: u16,
}

/// What the shards share.
#[derive(Default)]
struct World {
    served: Mutex<Vec<Served>>,
    /// Of 100 occasions, how many are used to give a connection away.
    eager_pct: AtomicU64,
    moved: AtomicU64,
    stayed: AtomicU64,
    ended: AtomicU64,
}

impl World {
    fn on_event(&self, me: u16, shards: u16, event: Event<'_>, sender: &mut Sender<'_>) {
        match event {
            Event::Connected { conn, .. } => {
                let mut served = self.served.lock().unwrap();
                if sender.user_data(conn) == Ok(0) {
                    let number = served.len() as u64 + 1;
                    sender.set_user_data(conn, number).unwrap();
                    let dice = Dice(number);
                    served.push(Served {
                        dice,
                        received: 0,
                        sent: 0,
                        has_all: false,
                        moves: 0,
                        at: me,
                    });
                }
                let entry = &mut served[sender.user_data(conn).unwrap() as usize - 1];
                entry.at = me;
                self.go_on(me, shards, entry, conn, sender);
            }
            Event::StreamFrame { conn, data, .. } => self.with(conn, sender, |entry, sender| {
                assert_eq!(entry.at, me, "who gave it away hears no more of it");
                let is = data == pattern_at(7, entry.received, data.len());
                assert!(is, "at {}", entry.received);
                entry.received += data.len() as u64;
                self.go_on(me, shards, entry, conn, sender);
            }),
            // It was told where the connection was before, too, and may have been closed since.
            Event::ReadClosed { conn, .. } if sender.user_data(conn).is_err() => {}
            Event::ReadClosed { conn, .. } => self.with(conn, sender, |entry, sender| {
                entry.has_all = true;
                self.go_on(me, shards, entry, conn, sender);
            }),
            Event::Writable { conn, .. } => self.with(conn, sender, |entry, sender| {
                self.go_on(me, shards, entry, conn, sender);
            }),
            Event::HandOverFailed { conn } => self.with(conn, sender, |entry, sender| {
                self.stayed.fetch_add(1, Relaxed);
                entry.at = me;
                self.go_on(me, shards, entry, conn, sender);
            }),
            Event::Disconnected { error_code: code::HANDED_OVER, .. } => {
                self.moved.fetch_add(1, Relaxed);
            }
            Event::Disconnected { error_code, clean, .. } => {
                assert!(clean, "{error_code:#x}");
                self.ended.fetch_add(1, Relaxed);
            }
            Event::PoolPressure { .. } | Event::User { .. } | Event::Draining { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn with(
        &self,
        conn: ConnId,
        sender: &mut Sender<'_>,
        f: impl FnOnce(&mut Served, &mut Sender<'_>),
    ) {
        let number = sender.user_data(conn).unwrap();
        f(&mut self.served.lock().unwrap()[number as usize - 1], sender);
    }

    /// Writes until it is full, all is written, or the connection is given away.
    fn go_on(
        &self,
        me: u16,
        shards: u16,
        entry: &mut Served,
        conn: ConnId,
        sender: &mut Sender<'_>,
    ) {
        while entry.at == me {
            if entry.dice.below(100) < self.eager_pct.load(Relaxed) {
                let to = (me + 1 + entry.dice.below(u64::from(shards) - 1) as u16) % shards;
                match sender.hand_over(conn, to) {
                    Ok(()) => {
                        entry.at = u16::MAX;
                        entry.moves += 1;
                        return;
                    }
                    Err(IoError::ShardDown { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            let len = (1 + entry.dice.below(8_000)).min(DOWN - entry.sent) as usize;
            let written = sender.stream_write(conn, STREAM, &pattern_at(9, entry.sent, len));
            entry.sent += written.unwrap() as u64;
            if entry.sent == DOWN {
                if entry.has_all {
                    sender.close_graceful(conn, PATIENCE).unwrap();
                    entry.at = u16::MAX;
                }
                return;
            }
            if written.unwrap() < len {
                return;
            }
        }
    }
}

/// Sends all of it in pieces, and reads all of the answer, slowly.
fn client(addr: SocketAddr, seed: u64) {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut dice, mut sent) = (Dice(seed), 0);
            while sent < UP {
                let len = (1 + dice.below(6000)).min(UP - sent);
                (&stream).write_all(&pattern_at(7, sent, len as usize)).unwrap();
                sent += len;
                std::thread::sleep(Duration::from_micros(dice.below(4000)));
            }
            stream.shutdown(Shutdown::Write).unwrap();
        });
        let (mut dice, mut got, mut buf) = (Dice(!seed), 0, vec![0; 16 * 1024]);
        loop {
            let len = 1 + dice.below(buf.len() as u64) as usize;
            match (&stream).read(&mut buf[..len]).expect("it goes on") {
                0 => break,
                n => {
                    assert!(buf[..n] == pattern_at(9, got, n), "at {got}");
                    got += n as u64;
                }
            }
            std::thread::sleep(Duration::from_micros(dice.below(2000)));
        }
        assert_eq!(got, DOWN);
    });
}

fn start(shards: u16, eager_pct: u64) -> (Running, Arc<World>, SocketAddr) {
    let mut cluster = IoCluster::new(narrow(shards)).unwrap();
    let listen = TcpListenConfig::new("127.0.0.1:0".parse().unwrap()).with(|c| {
        c.send_buffer = Some(8 * 1024);
        c.recv_buffer = Some(8 * 1024);
    });
    let endpoint = cluster.tcp_listen_with(listen).unwrap();
    let addr = cluster.local_addr(endpoint).unwrap().inet().unwrap();
    let world = Arc::new(World::default());
    world.eager_pct.store(eager_pct, Relaxed);
    let its = Arc::clone(&world);
    let running = Running::start(cluster, move |shard| {
        let me = shard.shard();
        serve(shard, |event, sender| its.on_event(me, shards, event, sender))
    });
    running.wait_for(None, ClusterReadiness::Ready);
    (running, world, addr)
}

/// Runs the clients beside `meanwhile`.
fn visit(addr: SocketAddr, meanwhile: impl FnOnce()) -> Duration {
    let start = Instant::now();
    std::thread::scope(|scope| {
        (1..=CLIENTS).for_each(|seed| drop(scope.spawn(move || client(addr, seed))));
        meanwhile();
    });
    start.elapsed()
}

fn all_moved_and_ended(running: Running, world: &World, took: Duration) {
    let handle = running.handle.clone();
    running.shut_down();
    let (moved, stayed) = (world.moved.load(Relaxed), world.stayed.load(Relaxed));
    eprintln!("{moved} moved, {stayed} stayed, in {} ms", took.as_millis());
    assert_eq!(world.ended.load(Relaxed), CLIENTS);
    let (_, fleet) = handle.stats().total();
    assert_eq!((fleet.moved_out, fleet.moved_in), (moved, moved));
    let tried = world.served.lock().unwrap().iter().map(|entry| entry.moves).sum::<u64>();
    assert_eq!(tried, moved + stayed);
    assert!(moved > CLIENTS);
}

/// More connections than a shard has places, and mail for two of them.
#[test]
fn full_queues_and_slow_readers_hold_up_no_move_for_ever() {
    let (running, world, addr) = start(2, 30);
    let took = visit(addr, || ());
    all_moved_and_ended(running, &world, took);
}

/// Four shards, each of which begins anew while connections fly.
#[test]
fn moves_between_shards_that_begin_anew() {
    let (running, world, addr) = start(4, 30);
    let took = visit(addr, || {
        for shard in 0..4 {
            std::thread::sleep(Duration::from_millis(100));
            running.handle.restart_shard(shard, DrainOptions::default()).unwrap();
            running.wait_for(Some(shard), ClusterReadiness::Ready);
        }
    });
    all_moved_and_ended(running, &world, took);
}

/// What is on its way from one shard to another, that both end, is served by one of them.
#[test]
fn moves_during_a_shutdown() {
    let (running, world, addr) = start(2, 50);
    let took = visit(addr, || {
        let end = Instant::now() + PATIENCE;
        while (world.served.lock().unwrap().len() as u64) < CLIENTS {
            assert!(Instant::now() < end);
            std::thread::sleep(Duration::from_millis(1));
        }
        running.handle.shutdown(DrainOptions::default()).unwrap();
    });
    all_moved_and_ended(running, &world, took);
}
