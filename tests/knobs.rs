//! Every knob of the ring, off and on: the same behaviour, and `effective()` tells the truth.

mod common;

use std::io::Read;
use std::net::{Shutdown, UdpSocket};
use std::thread;
use std::time::Duration;

use common::{PATIENCE, Seen, Shard, assert_same, localhost, pattern};
use zero_io::{Effective, HugePages, Io, IoError, Spin, Toggle, UringConfig, code};

/// A stream both ways with half-closes, datagrams, a timer, a post: what any shard can do.
fn exercise(shard: &mut Shard) {
    let (conn, peer) = shard.accepted();
    let data = pattern(1, 1 << 20);
    let copy = data.clone();
    let client = thread::spawn(move || {
        let mut reader = peer.try_clone().unwrap();
        let reading = thread::spawn(move || {
            let mut got = Vec::new();
            reader.read_to_end(&mut got).unwrap();
            got
        });
        std::io::Write::write_all(&mut &peer, &copy).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        reading.join().unwrap()
    });
    assert_same(&shard.wait_bytes(conn, data.len()), &data);
    shard.wait_read_closed(conn);
    shard.write_all(conn, &data);
    shard.io.shutdown_write(conn, common::STREAM).unwrap();
    assert_eq!(shard.wait_end(conn), (code::NONE, true));
    assert_same(&shard.join(client), &data);
    shard.seen.clear();
    let endpoint = shard.io.udp_bind(localhost()).unwrap();
    let to = shard.addr_of(endpoint);
    let socket = UdpSocket::bind(localhost()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.send_to(b"datagram", to).unwrap();
    let got = shard.wait_datagram(endpoint);
    shard.io.udp_send_bytes(endpoint, got.from, &got.data).unwrap();
    shard.step(Duration::ZERO);
    assert_eq!(socket.recv(&mut [0; 16]).unwrap(), 8);
    shard.io.endpoint_close(endpoint).unwrap();
    shard.io.timer_set(Duration::from_millis(2), 1).unwrap();
    let handle = shard.io.handle();
    let poster = thread::spawn(move || handle.post(2).unwrap());
    shard.wait("the timer", |seen| matches!(seen, Seen::Timer { token: 1, .. }).then_some(()));
    shard.wait("the post", |seen| matches!(seen, Seen::User { token: 2, .. }).then_some(()));
    poster.join().unwrap();
}

type Knob = (&'static str, fn(&mut UringConfig, Toggle), fn(&Effective) -> bool);

const KNOBS: [Knob; 5] = [
    ("defer_taskrun", |c, t| c.defer_taskrun = t, |e| e.defer_taskrun),
    ("no_sqarray", |c, t| c.no_sqarray = t, |e| e.no_sqarray),
    ("register_ring_fd", |c, t| c.register_ring_fd = t, |e| e.ring_fd_registered),
    ("fixed_files", |c, t| c.fixed_files = t, |e| e.fixed_files > 0),
    ("zero_copy_send", |c, t| c.zero_copy_send = t, |e| e.zero_copy_send),
];

#[test]
fn each_knob_alone() {
    for (name, set, is_on) in KNOBS {
        for toggle in [Toggle::Off, Toggle::On] {
            let config = zero_io::Config::default().with(|c| set(&mut c.uring, toggle));
            match Io::new(config.clone()) {
                Ok(_) => {}
                // On may be more than this kernel has; that is what it is to say.
                Err(IoError::NotSupportedOnBackend { .. }) if toggle == Toggle::On => continue,
                Err(error) => panic!("{name} {toggle:?}: {error}"),
            }
            let mut shard = Shard::of(config);
            assert_eq!(is_on(&shard.io.effective()), toggle == Toggle::On, "{name}");
            exercise(&mut shard);
            shard.finish();
        }
    }
}

#[test]
fn all_knobs_off() {
    let mut shard = Shard::with(|c| {
        for (_, set, _) in KNOBS {
            set(&mut c.uring, Toggle::Off);
        }
        c.huge_pages = Toggle::Off;
        c.spin = Spin::Off;
    });
    let effective = shard.io.effective();
    assert!(KNOBS.iter().all(|(_, _, is_on)| !is_on(&effective)));
    assert_eq!((effective.backend, effective.huge_pages), ("io_uring", HugePages::None));
    exercise(&mut shard);
    shard.finish();
}

#[test]
fn a_small_ring_and_a_full_trace() {
    let mut shard = Shard::with(|c| {
        c.uring.sq_entries = 64;
        c.uring.cq_entries = 128;
        c.debug.trace_completions = 32;
        c.max_events_per_poll = 16;
    });
    assert_eq!((shard.io.effective().sq_entries, shard.io.effective().cq_entries), (64, 128));
    // More connections than the rings have entries.
    let (_, addr) = shard.listen();
    let clients: Vec<_> = (0..300)
        .map(|seed| {
            let mut client = common::dial(addr);
            std::io::Write::write_all(&mut client, &pattern(seed, 2000)).unwrap();
            if seed % 16 == 0 {
                shard.step(Duration::ZERO);
            }
            client
        })
        .collect();
    let total: usize = clients.len() * 2000;
    let bytes = |shard: &Shard| -> usize {
        let frames = shard.seen.iter().map(|seen| match seen {
            Seen::Frame { data, .. } => data.len(),
            _ => 0,
        });
        frames.sum()
    };
    shard.until("all of it", |shard| bytes(shard) == total);
    drop(clients);
    let ends = |shard: &Shard| shard.count(|seen| matches!(seen, Seen::ReadClosed { .. }));
    shard.until("all ends", |shard| ends(shard) == 300);
    exercise(&mut shard);
    shard.finish();
}
