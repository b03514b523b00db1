//! What choosing among the sockets of an address costs, by router:
//! `cargo bench --features _sim --bench steering`.
//!
//! One thread sends datagrams of QUIC's form over the loopback, a burst at a time, and receives
//! them again from four sockets that share the address. The kernel delivers in the sender's own
//! time, so the thread's CPU time, divided by datagrams, has all of it: send, choice, delivery,
//! receive. Everybody has the same sockets and the same load: 64 flows, whose ids name the four in
//! turn: each gets a quarter by its ids, and about as much by the hash. Routers take turns in short
//! slices, each round in another order; a slice is compared with that of the kernel's hash in its
//! round. Programs are attached between slices, and a burst goes before the clock is read.
//!
//! Pin it to a CPU, and leave the machine alone: `taskset -c 0 cargo bench ..`. It takes some 20 s.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::time::Instant;

use zero_io::fuzz::{SteeredSockets, steered_id};

const SHARD_BITS: u32 = 2;
const FLOWS: usize = 64;
/// Bursts of one datagram of each flow.
const BURSTS: usize = 64;
const KEY: [u16; 4] = [1, 2, 3, 4];
/// What a router may cost over the hash.
const BAR: f64 = 1.05;
/// Unoptimised, it only shows that it runs: as a test of it does.
const ROUNDS: usize = if cfg!(debug_assertions) { 3 } else { 201 };

struct Kind {
    name: &'static str,
    router: &'static str,
    cover: Option<[u16; 4]>,
    packets: Vec<Vec<u8>>,
    /// CPU time per datagram, in nanoseconds, of each round.
    costs: Vec<f64>,
    /// Datagrams that came out where their ids say.
    at_home: usize,
}

impl Kind {
    fn new(name: &'static str, router: &'static str, is_covered: bool) -> Self {
        let cover = is_covered.then_some(KEY);
        let packet = |number: usize| {
            let shard = (number % (1 << SHARD_BITS)) as u8;
            let id = steered_id(shard.into(), cover, [9, 9, 9, 9, number as u8]);
            let mut packet = [&[0x40][..], &id, &[7; 3], &[shard]].concat();
            packet.resize(1200, number as u8);
            packet
        };
        let packets = (0..FLOWS).map(packet).collect();
        Self { name, router, cover, packets, costs: Vec::new(), at_home: 0 }
    }

    fn slice(&mut self, sockets: &mut SteeredSockets, flows: &[UdpSocket]) {
        sockets.steer(self.router, self.cover).expect("it was taken before");
        // What follows from attaching is over then.
        self.burst(&sockets.members, flows);
        let before = cpu_ns();
        let at_home = (0..BURSTS).map(|_| self.burst(&sockets.members, flows)).sum::<usize>();
        self.costs.push((cpu_ns() - before) as f64 / (FLOWS * BURSTS) as f64);
        self.at_home += at_home;
    }

    fn burst(&self, members: &[UdpSocket], flows: &[UdpSocket]) -> usize {
        for (flow, packet) in flows.iter().zip(&self.packets) {
            flow.send(packet).expect("room on the loopback");
        }
        let (mut buffer, mut count, mut at_home) = ([0; 2048], 0, 0);
        for (number, member) in members.iter().enumerate() {
            loop {
                match member.recv(&mut buffer) {
                    Ok(_) => {
                        count += 1;
                        at_home += usize::from(usize::from(buffer[11]) == number);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
        assert_eq!(count, FLOWS, "datagrams were lost");
        at_home
    }
}

/// The calling thread's CPU time.
fn cpu_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is a local that outlives the call.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(answer, 0);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// The middle, and the quarters around it.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[values.len() * quarter / 4])
}

fn main() {
    let start = Instant::now();
    let mut sockets = SteeredSockets::new(SHARD_BITS).expect("sockets");
    let addr = sockets.members[0].local_addr().expect("an address");
    let flow = |_| {
        let flow = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        flow.connect(addr).expect("an address");
        flow
    };
    let flows = (0..FLOWS).map(flow).collect::<Vec<_>>();
    let mut kinds = vec![
        Kind::new("the kernel's hash", "hash", false),
        Kind::new("the same again", "hash", false),
        Kind::new("classic, clear ids", "classic", false),
        Kind::new("classic, `Light`", "classic", true),
        Kind::new("extended, clear ids", "extended", false),
        Kind::new("extended, `Light`", "extended", true),
    ];
    kinds.retain(|kind| match sockets.steer(kind.router, kind.cover) {
        Ok(()) => true,
        Err(error) => {
            println!("{} cannot be measured here: {error}", kind.name);
            false
        }
    });
    for round in 0..ROUNDS {
        for turn in 0..kinds.len() {
            let kind = (round + turn) % kinds.len();
            kinds[kind].slice(&mut sockets, &flows);
        }
    }
    println!(
        "{ROUNDS} rounds of {} datagrams for each router, in {} s; over the hash is a slice over \
         that of its round{}",
        FLOWS * BURSTS,
        start.elapsed().as_secs(),
        if cfg!(debug_assertions) { "; NOT OPTIMISED, NO MEASUREMENT" } else { "" }
    );
    println!("| router | CPU ns a datagram | over the hash | quartiles | bar | at home |");
    println!("|---|---|---|---|---|---|");
    let hash = kinds[0].costs.clone();
    for Kind { name, router, costs, at_home, .. } in kinds {
        let ratios = costs.iter().zip(&hash).map(|(cost, hash)| cost / hash).collect();
        let ([_, cost, _], [low, middle, high]) = (quartiles(costs), quartiles(ratios));
        let at_home = at_home as f64 / (FLOWS * BURSTS * ROUNDS) as f64;
        let bar = match router {
            "hash" => "",
            _ if middle <= BAR => "met",
            _ => "missed",
        };
        println!(
            "| {name} | {cost:.0} | {middle:.3} | {low:.3}..{high:.3} | {bar} | {at_home:.2} |"
        );
    }
}
