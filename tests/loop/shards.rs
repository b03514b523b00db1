//! Shards that are made elsewhere, one after the other, and beside each other.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use zero_io::{Config, Event, Io, IoError, IoSeed, Readiness};

use crate::common::{PATIENCE, Shard, TICK, assert_same, dial, localhost};
use crate::watches::pipe;

#[test]
fn a_seed_grows_on_another_thread() {
    let seed = IoSeed::new(Config::default().with(|c| c.max_connections = 7)).unwrap();
    let (addr_to, addr) = mpsc::channel();
    let server = thread::spawn(move || {
        let mut io: Io = seed.grow().unwrap();
        let endpoint = io.tcp_listen(localhost()).unwrap();
        addr_to.send(io.local_addr(endpoint).unwrap().inet().unwrap()).unwrap();
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE);
            io.poll(TICK).unwrap();
            let (mut events, mut sender) = io.split();
            while let Some(event) = events.next_event() {
                match event {
                    Event::StreamFrame { conn, stream, data, .. } => {
                        sender.stream_write(conn, stream, data).unwrap();
                    }
                    Event::ReadClosed { conn, .. } => {
                        sender.close_graceful(conn, Duration::ZERO).unwrap();
                    }
                    Event::Disconnected { .. } => return,
                    _ => {}
                }
            }
        }
    });
    let mut client = dial(addr.recv().unwrap());
    client.write_all(b"grown").unwrap();
    let mut got = [0; 5];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"grown");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    server.join().unwrap();
    let bad = IoSeed::new(Config::default().with(|c| c.max_connections = 0));
    assert!(matches!(bad, Err(IoError::InvalidConfig { field: "Config::max_connections", .. })));
}

#[test]
fn many_ios_one_after_the_other_on_one_thread() {
    for n in 0..24 {
        let config = Config::default().with(|c| {
            c.uring.register_ring_fd = zero_io::Toggle::On;
            c.pool_slot_count = 64;
            c.handle_reserve_count = 16;
        });
        let mut shard = Shard::of(config);
        assert!(shard.io.effective().ring_fd_registered, "the {n}th");
        let (_, mut peer) = shard.accepted();
        drop(shard);
        assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0, "closed with its Io");
    }
}

#[test]
fn ios_beside_each_other_on_one_thread() {
    let (mut a, mut b) = (Shard::new(), Shard::new());
    let (endpoint, addr) = a.listen();
    let client = b.io.tcp_connect(addr).unwrap();
    b.wait_connected(None);
    let server = a.wait_connected(Some(endpoint));
    b.write_all(client, b"across");
    b.step(Duration::ZERO);
    assert_same(&a.wait_bytes(server, 6), b"across");
    drop(b);
    a.wait_read_closed(server);
    a.finish();
    // A descriptor that is watched belongs to its owner, also after the Io.
    let (reader, _writer) = pipe();
    let mut shard = Shard::new();
    shard.io.watch_fd(reader.as_raw_fd(), Readiness::READABLE, 1).unwrap();
    drop(shard);
    drop(OwnedFd::from(reader));
}
