//! Programs by which the kernel chooses among the sockets of a cluster's endpoint.
//!
//! Role: the programs, classic and extended BPF, their attachment, and what a kernel says to them.
//! Not role: which of them a cluster uses, and for what.
//!
//! *Invariants*
//! - A program answers with a number below the count of shards, or leaves the choice to the
//!   kernel's hash: whatever is in a packet. What is too short, and ids that are not this server's,
//!   are spread; every load is within what was found to be there.
//! - A new flow is given to an open shard, as long as there is one; an id's packets to the shard
//!   that it names, as long as that one is alive.
//! - Flows of a shard that stays open stay with it when another one closes or opens, but for those
//!   that it took over from one that was closed.

pub(crate) mod asm;
mod attach;
mod classic;
mod extended;
mod maps;
mod set;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use asm::Classic;
pub(crate) use attach::{Router, probe_classic, probe_extended};
pub(crate) use classic::classic;
pub(crate) use set::ShardSet;

use crate::config::ID_BITS;
use crate::config::cover::RoundKeys;

/// By what a socket is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// Source address and port.
    Spread,
    /// The processor that received the packet.
    Cpu,
    /// The connection id of a QUIC packet, covered under these round keys, or clear.
    Cid(Option<RoundKeys>),
}

/// How packets are to be spread over the sockets of a group.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) server_id: u16,
    /// There are 2^`shard_bits` of them.
    pub(crate) shard_bits: u32,
    pub(crate) by: By,
    /// What makes the spread ours.
    pub(crate) seed: u32,
    /// Take what is new.
    pub(crate) open: ShardSet,
    /// Get what their ids name. Those that are alive and not open are draining.
    pub(crate) alive: ShardSet,
    /// The shards that have a processor of their own. Another one's packets go by its number.
    pub(crate) cpus: Vec<(u32, u16)>,
}

/// The bits of server and shard in an id.
const ID_MASK: u32 = (1 << ID_BITS) - 1;
/// The length of our ids.
const CID_LEN: u32 = 10;
/// What a long header has before the destination's id: the first byte, the version, the length.
const LONG_CID_AT: u32 = 6;
/// What a short header has before it.
const SHORT_CID_AT: u32 = 1;
/// No packet is shorter: RFC 9001 §5.4.2 wants 4 bytes after the id, and a tag of 16.
const PACKET_LEN_MIN: u32 = LONG_CID_AT + CID_LEN + 1;
/// The first bit of a long header: RFC 8999 §5.1.
const LONG_HEADER: u32 = 0x80;
/// Where the random bytes are that an id is covered with.
const COVER_AT: u32 = 3;

impl Plan {
    /// How many sockets there are.
    pub(crate) const fn shards(&self) -> u16 {
        1 << self.shard_bits
    }

    /// The first two bits of ids: clear ones have 0, covered ones 1.
    const fn cover_code(&self) -> u32 {
        matches!(self.by, By::Cid(Some(_))) as u32
    }

    /// The shard of each value of a hash. Those of open shards are theirs whoever else is open;
    /// another's are spread so that no third one's move when one more opens or closes.
    fn spread_table(&self) -> Vec<u32> {
        let entries = (usize::from(self.shards()) * 4).clamp(256, 4096);
        let open = self.open.iter().collect::<Vec<_>>();
        let entry = |entry| {
            let home = (entry % usize::from(self.shards())) as u16;
            let heir = || open.iter().max_by_key(|shard| self.weight(entry as u32, **shard));
            if self.open.contains(home) { home } else { heir().copied().unwrap_or(home) }
        };
        (0..entries).map(|number| entry(number).into()).collect()
    }

    /// How much an entry of the table likes a shard.
    fn weight(&self, entry: u32, shard: u16) -> u64 {
        crate::rng::Rng::from_seed(
            u64::from(self.seed) << 32 | u64::from(entry) << 16 | u64::from(shard),
        )
        .u64()
    }
}
