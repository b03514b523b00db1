//! Plans and packets for tests.

use crate::config::cover::Speck;
use crate::sys::steer::{By, Plan, ShardSet};

pub(crate) const KEY: [u16; 4] = [0x1234, 0x5678, 0x9ABC, 0xDEF0];

pub(crate) fn light() -> By {
    By::Cid(Some(*Speck::new(KEY).round_keys()))
}

/// All shards are there.
pub(crate) fn plan(shard_bits: u32, server_id: u16, by: By) -> Plan {
    let all = ShardSet::first(1 << shard_bits);
    Plan { server_id, shard_bits, by, seed: 0xA5A5_1234, open: all, alive: all, cpus: Vec::new() }
}

/// Which header a packet has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    Short,
    Long,
}

/// An id of those 14 bits, covered if the plan says so.
pub(crate) fn cid(by: By, id: u16, random: [u8; 5]) -> [u8; 10] {
    let [_, rest @ ..] = random;
    let first = match by {
        By::Cid(Some(_)) => 1 << 14 | (id ^ Speck::new(KEY).encrypt(rest) as u16 & 0x3FFF),
        _ => id,
    };
    let [a, b] = first.to_be_bytes();
    let [c, d, e, f, g] = random;
    [a, b, c, d, e, f, g, 0xAA, 0xBB, 0xCC]
}

/// A packet to a connection id, with 20 bytes of nonsense behind it.
pub(crate) fn packet(header: Header, cid: &[u8]) -> Vec<u8> {
    let mut packet = match header {
        Header::Short => vec![0x40],
        Header::Long => vec![0xE0, 0, 0, 0, 1, cid.len() as u8],
    };
    packet.extend(cid);
    packet.extend([0x77; 20]);
    packet
}

/// Random bytes that follow from a number.
pub(crate) fn random(number: u32) -> [u8; 5] {
    let mixed = (u64::from(number) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    *mixed.to_be_bytes().first_chunk().unwrap()
}
