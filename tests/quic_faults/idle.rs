//! Connections that do nothing: what they cost.

use std::time::{Duration, Instant};

use super::kit::{Backend, CLIENT, Net, SERVER};

const FEW: usize = 10;
const MANY: usize = 1_000;
const TICKS: u32 = 20_000;

/// Resident bytes of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("/proc");
    let pages: u64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a number");
    pages * 4_096
}

/// Connects until there are so many.
fn grow(net: &mut Net, addr: std::net::SocketAddr, count: usize) {
    while net.nodes[CLIENT].open.len() < count {
        let batch = (count - net.nodes[CLIENT].open.len()).min(50);
        let goal = net.nodes[CLIENT].open.len() + batch;
        for _ in 0..batch {
            net.dial(addr, |c| c.transport.idle_timeout = None);
        }
        net.until("all of them", |net| {
            net.nodes[CLIENT].open.len() == goal && net.nodes[SERVER].open.len() == goal
        });
    }
    // Acknowledgements and probes of the path's length are over.
    net.run_for(Duration::from_millis(1_500));
}

/// The shortest tick of some, on average.
fn tick(net: &mut Net) -> Duration {
    let io = &mut net.nodes[SERVER].io;
    let best = (0..5).map(|_| {
        let start = Instant::now();
        for _ in 0..TICKS {
            io.poll(Duration::ZERO).expect("a tick");
            assert!(io.next_event().is_none(), "nobody does anything");
        }
        start.elapsed() / TICKS
    });
    best.min().expect("some")
}

#[test]
fn a_thousand_idle_connections() {
    // Checking everything in each tick is what must not be measured.
    let mut net = Net::with(Backend::Uring, 2, |c| {
        c.max_connections = 2_048;
        c.debug.audit_every_tick = false;
    });
    let addr = net.listen(|l| {
        l.transport.idle_timeout = None;
        l.handshake_timeout = Duration::from_secs(60);
    });
    grow(&mut net, addr, FEW);
    let (few, before) = (tick(&mut net), resident());
    grow(&mut net, addr, MANY);
    let (many, after) = (tick(&mut net), resident());
    let each = after.saturating_sub(before) / (2 * (MANY - FEW) as u64);
    eprintln!("{each} bytes each end; a tick {few:?} with {FEW}, {many:?} with {MANY}");
    assert!(each < 128 << 10, "{each} bytes for an idle end");
    assert!(many < few * 3 + Duration::from_micros(2), "{few:?} with {FEW}, {many:?} with {MANY}");
    net.all_home();
}
