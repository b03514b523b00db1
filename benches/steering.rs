//! What choosing among the sockets of an address costs, by router:
//! `cargo bench --features _sim --bench steering`.
//!
//! One thread sends datagrams of QUIC's form over the loopback, a burst at a time, and receives
//! them again from four sockets that share the address. The kernel delivers in the sender's own
//! time, so the thread's CPU time, divided by datagrams, has all of it: send, choice, delivery,
//! receive. The routers take turns in short slices, each round in another order, and a slice is
//! compared with that of the kernel's hash in its round.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::io::ErrorKind;
use std::net::UdpSocket;

use zero_io::fuzz::{steered_id, steered_sockets};

const SHARD_BITS: u32 = 2;
const BURST: usize = 64;
const BURSTS: usize = 64;
const ROUNDS: usize = 201;
const KEY: [u16; 4] = [1, 2, 3, 4];

struct Kind {
    name: &'static str,
    members: Vec<UdpSocket>,
    client: UdpSocket,
    packets: Vec<Vec<u8>>,
    /// CPU time per datagram, in nanoseconds, of each round.
    costs: Vec<f64>,
    /// Datagrams that came out where their ids say.
    at_home: usize,
}

impl Kind {
    fn new(name: &'static str, router: &str, is_covered: bool) -> Option<Self> {
        let cover = is_covered.then_some(KEY);
        let members = match steered_sockets(SHARD_BITS, router, cover) {
            Ok(members) => members,
            Err(error) => {
                println!("{name} cannot be measured here: {error}");
                return None;
            }
        };
        let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        client.connect(members[0].local_addr().expect("an address")).expect("an address");
        let packet = |number: usize| {
            let shard = number as u16 % 4;
            let id = steered_id(shard, cover, [9, 9, 9, 9, number as u8]);
            let mut packet = [&[0x40][..], &id, &[7; 3], &shard.to_be_bytes()].concat();
            packet.resize(1200, number as u8);
            packet
        };
        let packets = (0..BURST).map(packet).collect();
        Some(Self { name, members, client, packets, costs: Vec::new(), at_home: 0 })
    }

    fn slice(&mut self) {
        let before = cpu_ns();
        for _ in 0..BURSTS {
            for packet in &self.packets {
                self.client.send(packet).expect("room on the loopback");
            }
            let (mut buffer, mut count) = ([0; 2048], 0);
            for (number, member) in self.members.iter().enumerate() {
                loop {
                    match member.recv(&mut buffer) {
                        Ok(_) => {
                            count += 1;
                            self.at_home += usize::from(usize::from(buffer[12]) == number);
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
            assert_eq!(count, BURST, "datagrams were lost");
        }
        self.costs.push((cpu_ns() - before) as f64 / (BURST * BURSTS) as f64);
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
    let kinds = [
        ("hash", "hash", false),
        ("hash, again", "hash", false),
        ("classic, clear", "classic", false),
        ("classic, Light", "classic", true),
        ("extended, clear", "extended", false),
        ("extended, Light", "extended", true),
    ];
    let kinds =
        kinds.into_iter().filter_map(|(name, router, cover)| Kind::new(name, router, cover));
    let mut kinds = kinds.collect::<Vec<_>>();
    for round in 0..ROUNDS {
        for turn in 0..kinds.len() {
            let kind = (round + turn) % kinds.len();
            kinds[kind].slice();
        }
    }
    println!("Over the hash is a slice's cost over that of the hash in its round.");
    println!(
        "| router | CPU ns a datagram | over the hash: quarter | median | quarter | at home |"
    );
    println!("|---|---|---|---|---|---|");
    let hash = kinds[0].costs.clone();
    for kind in kinds {
        let ratios = kind.costs.iter().zip(&hash).map(|(cost, hash)| cost / hash).collect();
        let ([_, cost, _], [low, middle, high]) = (quartiles(kind.costs), quartiles(ratios));
        let at_home = kind.at_home as f64 / (BURST * BURSTS * ROUNDS) as f64;
        println!(
            "| {} | {cost:.0} | {low:.3} | {middle:.3} | {high:.3} | {at_home:.2} |",
            kind.name
        );
    }
}
