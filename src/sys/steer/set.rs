//! [`ShardSet`]: some of a cluster's shards.

use crate::config::SHARDS_MAX;

const WORDS: usize = SHARDS_MAX as usize / 64;

/// Some of a cluster's shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ShardSet([u64; WORDS]);

impl ShardSet {
    /// None.
    pub(crate) const EMPTY: Self = Self([0; WORDS]);

    /// The first so many.
    pub(crate) fn first(count: u16) -> Self {
        (0..count).fold(Self::EMPTY, Self::with)
    }

    /// The same, and that one.
    pub(crate) fn with(mut self, shard: u16) -> Self {
        self.0[usize::from(shard / 64)] |= 1 << (shard % 64);
        self
    }

    /// The same, but that one.
    pub(crate) fn without(mut self, shard: u16) -> Self {
        self.0[usize::from(shard / 64)] &= !(1 << (shard % 64));
        self
    }

    pub(crate) fn contains(&self, shard: u16) -> bool {
        self.0[usize::from(shard / 64)] >> (shard % 64) & 1 != 0
    }

    pub(crate) fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u16> + Clone {
        (0..SHARDS_MAX).filter(move |shard| self.contains(*shard))
    }

    /// Those of the first `count` that are not in it.
    pub(crate) fn missing(&self, count: u16) -> Self {
        (0..count).filter(|shard| !self.contains(*shard)).fold(Self::EMPTY, Self::with)
    }

    /// The bits of 32 shards each.
    pub(crate) fn words(self) -> impl Iterator<Item = u32> {
        self.0.into_iter().flat_map(|word| [word as u32, (word >> 32) as u32])
    }

    /// The first and the last one of each row without a gap, in order.
    pub(crate) fn runs(&self) -> Vec<(u16, u16)> {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for shard in self.iter() {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == shard => *last = shard,
                _ => runs.push((shard, shard)),
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_rows_without_gaps() {
        assert_eq!(ShardSet::EMPTY.runs(), []);
        assert_eq!(ShardSet::first(1024).runs(), [(0, 1023)]);
        let some = ShardSet::first(200).without(0).without(64).without(65).with(1023);
        assert_eq!(some.runs(), [(1, 63), (66, 199), (1023, 1023)]);
        assert_eq!(some.len(), 198);
        assert_eq!(some.missing(200).iter().collect::<Vec<_>>(), [0, 64, 65]);
        assert!(some.contains(1) && !some.contains(0));
    }
}
