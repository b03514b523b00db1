//! Packets with ids that somebody made up.

use std::net::UdpSocket;
use std::time::Duration;

use zero_io::FleetStats;

use super::site::Site;
use crate::kit::slower;

const PACKETS: usize = 100_000;

struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x ^ (x >> 27)
    }
}

/// A packet of one kind or another: noise, runts, short and long headers, with ids of shards of
/// this server that no shard made.
fn packet(noise: &mut Noise, to: &mut [u8; 1300]) -> usize {
    let len = 22 + noise.next() as usize % 1200;
    for byte in &mut to[..64] {
        *byte = noise.next() as u8;
    }
    let shard = (noise.next() % 4) as u8;
    match noise.next() % 6 {
        0 => return len,
        1 => return noise.next() as usize % 22,
        2 => {
            to[0] = 0x40 | (to[0] & 0x3F);
            to[1..3].copy_from_slice(&[0, shard]);
        }
        kind => {
            // Initial, 0-RTT, and Handshake, of version 1.
            to[0] = 0xC0 | ((kind as u8 - 3) << 4);
            to[1..5].copy_from_slice(&1_u32.to_be_bytes());
            to[5..8].copy_from_slice(&[10, 0, shard]);
        }
    }
    len.max(100)
}

#[test]
fn made_up_ids_are_passed_on_to_nobody() {
    let mut site = Site::new(4);
    let alive = Some(Duration::from_secs(1));
    let (at, ..) = site.connect_with(site.addr, |c| c.transport.keep_alive = alive);
    let sockets: Vec<UdpSocket> = (0..8).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    let (mut noise, mut bytes) = (Noise(11), [0; 1300]);
    for round in 0..PACKETS / 100 / slower() as usize {
        for at in 0..100 {
            let len = packet(&mut noise, &mut bytes);
            let _ = sockets[(round + at) % sockets.len()].send_to(&bytes[..len], site.addr);
        }
        site.round();
    }
    site.run_for(Duration::from_millis(50));
    // One in 2^24 of those with a shard's id has its MAC.
    assert_eq!(site.fleet(), FleetStats::default());
    site.echo(at, 100_000);
}
