//! User-space instructions of the engine per datagram that is echoed, counted by callgrind on the
//! simulated ring: `cargo bench --features _sim --bench udp_instructions`.
//!
//! Two shards send each datagram back from where it was received, 64 of them at a time. What both
//! spend, divided by two, is what one echo costs; how it is counted is said in `instructions`.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod callgrind;

use std::time::Duration;

use zero_io::sim::{Faults, World};
use zero_io::{Config, Event, Io, Toggle};

const MESSAGE: [u8; 64] = [42; 64];
const UNDER_WAY: usize = 64;
const SHORT: u64 = 2_000;
const LONG: u64 = 12_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let Some(at) = args.iter().position(|arg| arg == "--echoes") {
        return echo(args[at + 1].parse().expect("a number"));
    }
    let [short, long] =
        [SHORT, LONG].map(|echoes| callgrind::count(&["--echoes", &echoes.to_string()]));
    // Both shards echo.
    let parts = callgrind::difference(&short, &long, (LONG - SHORT) as f64 * 2.0);
    println!("| UDP | {:.0} instructions per echo |", parts.values().sum::<f64>());
    callgrind::print(parts);
}

/// Both shards until `echoes` datagrams came back.
fn echo(echoes: u64) {
    let any = "127.0.0.1:0".parse().expect("an address");
    let world = World::new(1, Faults::none());
    let config = Config::default().with(|c| c.huge_pages = Toggle::Off);
    let mut ios = [(); 2].map(|()| Io::in_world(config.clone(), &world).expect("an Io"));
    let [server, client] = [0, 1].map(|at| ios[at].udp_bind(any).expect("bound"));
    let to = ios[0].local_addr(server).expect("bound").inet().expect("an IP address");
    for _ in 0..UNDER_WAY {
        ios[1].udp_send_bytes(client, to, &MESSAGE).expect("room");
    }
    let mut done = 0;
    // Each that came back was echoed by both.
    while done < 2 * echoes {
        for io in &mut ios {
            done += turn(io);
        }
        assert!(world.advance_to_next(), "the conversation stopped");
    }
}

/// Sends everything back that came; how many that were.
fn turn(io: &mut Io) -> u64 {
    io.poll(Duration::from_secs(1)).expect("poll");
    let (mut events, mut sender) = io.split();
    let mut count = 0;
    while let Some(event) = events.next_event() {
        if let Event::UdpRecv { endpoint, from, data, .. } = event {
            sender.udp_forward(endpoint, from, data).expect("room");
            count += 1;
        }
    }
    count
}
