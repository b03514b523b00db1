//! Programs that route: what they answer, and what they cost.

use std::net::UdpSocket;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use crate::config::UdpEndpointConfig;
use crate::config::cover::Speck;
use crate::error::{IoError, Result};
use crate::ring::ports::{Passed, Ports};
use crate::sim::classic_run::{View, run};
use crate::sys::socket::set_option;
use crate::sys::steer::{By, Plan, Router, ShardSet, classic};

/// A program that routes by connection id, for some cluster, and a packet: the answer is the shard
/// that the id names, or one that takes what is new.
pub fn steer(bytes: &[u8]) {
    let Some(([bits, server, flags, open, alive], rest)) = bytes.split_first_chunk() else {
        return;
    };
    let shard_bits = u32::from(*bits % 11);
    let shards = 1 << shard_bits;
    let some = |pattern: u8| {
        let chosen = (0..shards).filter(|shard| pattern.rotate_left((*shard).into()) & 1 != 0);
        chosen.fold(ShardSet::EMPTY, ShardSet::with)
    };
    let speck = Speck::new([(*flags).into(), 2, 3, 4]);
    let cover = (flags & 1 != 0).then_some(speck);
    let plan = Plan {
        server_id: u16::from(*server) >> shard_bits.saturating_sub(6),
        shard_bits,
        by: By::Cid(cover.map(|speck| *speck.round_keys())),
        seed: u32::from(*flags) << 24,
        open: some(*open),
        alive: some(*alive),
        cpus: Vec::new(),
    };
    let network: &[u8] = if flags & 2 != 0 { &[0x45; 28] } else { &[0x60; 48] };
    let packet = View { network, payload: rest, cpu: 3 };
    let answer = run(classic(&plan).insns(), &packet);
    match named(&plan, cover, rest).filter(|shard| plan.alive.contains(*shard)) {
        Some(shard) => assert_eq!(answer, u32::from(shard)),
        None if plan.open.len() == 0 => assert_eq!(answer, u32::MAX, "the kernel's hash"),
        None => assert!(u16::try_from(answer).is_ok_and(|shard| plan.open.contains(shard))),
    }
}

/// The shard that a packet's id names.
fn named(plan: &Plan, cover: Option<Speck>, payload: &[u8]) -> Option<u16> {
    let cid = match payload {
        [first, _, _, _, _, 10, cid @ ..] if first & 0x80 != 0 => cid,
        [first, cid @ ..] if first & 0x80 == 0 => cid,
        _ => return None,
    };
    let [a, b, _, c, d, e, f, ..] = *cid else { return None };
    let first = u16::from_be_bytes([a, b]);
    let pad = cover.map_or(0, |speck| speck.encrypt([c, d, e, f]) as u16);
    let id = (first ^ pad) & 0x3FFF;
    let is_ours = payload.len() >= 17
        && first >> 14 == u16::from(cover.is_some())
        && id >> plan.shard_bits == plan.server_id;
    is_ours.then_some(id & (plan.shards() - 1))
}

/// The beginning of a connection id that such sockets are chosen by.
#[must_use]
pub fn steered_id(shard: u16, cover: Option<[u16; 4]>, random: [u8; 5]) -> [u8; 7] {
    let [r, block @ ..] = random;
    let (code, pad) = match cover {
        None => (0, 0),
        Some(key) => (1 << 14, Speck::new(key).encrypt(block) as u16 & 0x3FFF),
    };
    let ([a, b], [c, d, e, f]) = ((code | (shard ^ pad)).to_be_bytes(), block);
    [a, b, r, c, d, e, f]
}

/// UDP sockets of one address of the loopback, and what chooses among them.
pub struct SteeredSockets {
    /// In the order of their shards.
    pub members: Vec<UdpSocket>,
    shard_bits: u32,
    /// Keeps its maps while something else chooses: a socket can be in no second one.
    extended: Router,
}

impl SteeredSockets {
    /// 2^`shard_bits` of them, chosen among by the kernel's hash.
    ///
    /// # Errors
    /// `Os`.
    pub fn new(shard_bits: u32) -> Result<Self> {
        let mut config =
            UdpEndpointConfig::new(([127, 0, 0, 1], 0).into()).with(|c| c.reuseport = true);
        let mut members = Vec::new();
        for _ in 0..1 << shard_bits {
            let Passed::Os(member) = Ports::Os.udp_bind(&config)? else { continue };
            let member = UdpSocket::from(member);
            config.bind.set_port(member.local_addr().map_or(0, |addr| addr.port()));
            members.push(member);
        }
        Ok(Self { members, shard_bits, extended: Router::Extended(None) })
    }

    /// Has them chosen by connection id from now on, by a `"classic"` or an `"extended"` program,
    /// with a cover or not; or again by the kernel's `"hash"`.
    ///
    /// # Errors
    /// `Os`, when the kernel does not take the program.
    pub fn steer(&mut self, router: &str, cover: Option<[u16; 4]>) -> Result<()> {
        let all = ShardSet::first(1 << self.shard_bits);
        let plan = Plan {
            server_id: 0,
            shard_bits: self.shard_bits,
            by: By::Cid(cover.map(|key| *Speck::new(key).round_keys())),
            seed: 1,
            open: all,
            alive: all,
            cpus: Vec::new(),
        };
        let fds = self.members.iter().map(AsFd::as_fd).collect::<Vec<_>>();
        match router {
            "classic" => Router::Classic.reload(&fds, &plan),
            "extended" => self.extended.reload(&fds, &plan),
            _ => detach(fds[0].as_raw_fd()),
        }
    }
}

impl std::fmt::Debug for SteeredSockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SteeredSockets").field("members", &self.members).finish_non_exhaustive()
    }
}

/// Leaves the choice to the kernel's hash; one that has it already says so.
fn detach(member: RawFd) -> Result<()> {
    let (sol, option) = (libc::SOL_SOCKET, libc::SO_DETACH_REUSEPORT_BPF);
    match set_option(member, "setsockopt(SO_DETACH_REUSEPORT_BPF)", sol, option, &0_i32) {
        Err(IoError::Os { errno, .. }) if errno.0 == libc::ENOENT => Ok(()),
        answer => answer,
    }
}
