//! What a shard knows of itself, and what those of a cluster tell the first one, which prints the
//! status of all.

use std::collections::BTreeMap;

use zero_io::{Io, ReferencePool};

/// Connections now, and since the shard began messages, and bytes that came and that were copied.
type Report = [u64; 4];

/// What each said last.
#[derive(Default)]
pub(super) struct Others(BTreeMap<u64, Report>);

impl Others {
    /// Takes a report; how many messages and bytes came since the one before.
    pub(super) fn hear(&mut self, shard: u64, bytes: &[u8]) -> (u64, u64) {
        let mut words = bytes
            .chunks_exact(8)
            .map(|word| word.iter().fold(0_u64, |word, byte| word << 8 | u64::from(*byte)));
        let report: Report = std::array::from_fn(|_| words.next().unwrap_or(0));
        let before = self.0.insert(shard, report).unwrap_or_default();
        (report[1] - before[1], report[2] - before[2])
    }

    pub(super) fn sum(&self) -> Report {
        let add = |sum: Report, one: &Report| std::array::from_fn(|at| sum[at] + one[at]);
        self.0.values().fold(Report::default(), add)
    }
}

/// As it is posted.
pub(super) fn report(words: Report) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Those that are there, told of or not.
pub(super) fn connections(io: &Io) -> u64 {
    io.pool_stats().of(ReferencePool::PerConn).used.into()
}

/// Bytes of payload that were copied.
pub(super) fn copied(io: &Io) -> u64 {
    let stats = io.io_stats();
    stats.bytes_copied_rx + stats.bytes_copied_tx
}
