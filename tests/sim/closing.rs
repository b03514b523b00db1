//! Sockets of datagrams that are closed with something to send.

use std::time::Duration;

use zero_io::sim::{Fault, Faults, World};
use zero_io::{Event, Io};

use crate::nth;

const COUNT: u32 = 10;
const ROUNDS_MAX: usize = 10_000;
/// How long a closed socket tries, and a little more than that.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_MAX: Duration = Duration::from_millis(1_300);

/// What became of datagrams that were queued when their socket was closed.
struct Outcome {
    arrived: Vec<u32>,
    sent: u64,
    dropped: u64,
    /// From the call until the socket was gone.
    took: Duration,
}

fn close_with_datagrams(seed: u64, faults: Faults) -> Outcome {
    let world = World::new(seed, faults);
    let [mut here, mut there] =
        [0, 1].map(|_| Io::in_world(nth::config(), &world).expect("a node"));
    let any = "127.0.0.1:0".parse().expect("an address");
    let from = here.udp_bind(any).expect("a socket");
    let to = there.udp_bind(any).expect("a socket");
    let to = there.local_addr(to).expect("bound").inet().expect("an IP address");
    for n in 0..COUNT {
        here.udp_send_bytes(from, to, &n.to_le_bytes()).expect("room");
    }
    here.endpoint_close(from).expect("open");
    let (start_ns, mut took) = (world.now_ns(), None);
    let mut arrived = Vec::new();
    for _ in 0..ROUNDS_MAX {
        // Until it would sleep: no time passes between two polls.
        for _ in 0..3 {
            here.poll(Duration::from_secs(60)).expect("a tick");
            assert!(here.next_event().is_none());
        }
        there.poll(Duration::ZERO).expect("a tick");
        while let Some(event) = there.next_event() {
            let Event::UdpRecv { data, .. } = event else { panic!("{event:?}") };
            arrived.push(u32::from_le_bytes(data.try_into().expect("four bytes")));
        }
        let passed = Duration::from_nanos(world.now_ns() - start_ns);
        if here.is_idle() && world.open_fds(0) == 0 {
            took = took.or(Some(passed));
        }
        if passed > LINGER_MAX * 2 {
            break;
        }
        if !world.advance_to_next() {
            world.advance_by(Duration::from_millis(1));
        }
    }
    assert_eq!(world.violations(), [""; 0], "seed {seed}");
    let (stats, took) = (here.io_stats(), took.expect("the socket is never closed"));
    Outcome { arrived, sent: stats.datagrams_sent, dropped: stats.datagrams_dropped, took }
}

/// The kernel takes some of them at a time.
#[test]
fn what_is_queued_goes_out_before_its_socket() {
    for seed in 0..20 {
        let faults = Faults::none().with(Fault::UdpSendAgain, 400_000);
        let Outcome { arrived, sent, dropped, took } = close_with_datagrams(seed, faults);
        assert_eq!(arrived, (0..COUNT).collect::<Vec<_>>(), "seed {seed}: {took:?}");
        assert_eq!((sent, dropped), (u64::from(COUNT), 0), "seed {seed}");
    }
}

/// The kernel takes none of them at all: they are given up, and counted.
#[test]
fn what_cannot_go_out_is_counted_and_its_socket_closed_in_time() {
    for seed in 0..20 {
        let faults = Faults::none().with(Fault::UdpSendAgain, 1_000_000);
        let Outcome { arrived, sent, dropped, took } = close_with_datagrams(seed, faults);
        assert_eq!((arrived.len(), sent, dropped), (0, 0, u64::from(COUNT)), "seed {seed}");
        assert!((LINGER..LINGER_MAX).contains(&took), "seed {seed}: {took:?}");
    }
}
