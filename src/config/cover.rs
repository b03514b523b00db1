//! Speck32/64: what hides the numbers in connection ids lightly.
//!
//! Role: the cipher, as Beaulieu and others publish it ("The Simon and Speck families of
//! lightweight block ciphers", 2013). Not role: secrecy. Its block has 32 bits and its rounds are
//! few enough for a filter in the kernel: it hides the number of shards from onlookers, and
//! protects nothing else.

/// Rounds of the cipher.
const ROUNDS: usize = 22;

/// One for each round.
pub(crate) type RoundKeys = [u16; ROUNDS];

/// The keys of all rounds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Speck(RoundKeys);

impl Speck {
    /// The key's last word is that of the first round.
    pub(crate) const fn new(key: [u16; 4]) -> Self {
        let mut round_keys = [0; ROUNDS];
        let [third, second, first, mut key] = key;
        let mut rest = [first, second, third];
        let mut round = 0;
        while round < ROUNDS {
            round_keys[round] = key;
            let next;
            (next, key) = mix(rest[round % 3], key, round as u16);
            rest[round % 3] = next;
            round += 1;
        }
        Self(round_keys)
    }

    pub(crate) const fn round_keys(&self) -> &RoundKeys {
        &self.0
    }

    /// The cipher of a block: four bytes, the most significant first.
    pub(crate) fn encrypt(&self, block: [u8; 4]) -> u32 {
        let [a, b, c, d] = block;
        let halves = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        let (high, low) = self.0.iter().fold(halves, |(high, low), key| mix(high, low, *key));
        u32::from(high) << 16 | u32::from(low)
    }
}

/// One round.
const fn mix(high: u16, low: u16, key: u16) -> (u16, u16) {
    let high = high.rotate_right(7).wrapping_add(low) ^ key;
    (high, low.rotate_left(2) ^ high)
}

impl std::fmt::Debug for Speck {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Speck(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example() {
        let speck = Speck::new([0x1918, 0x1110, 0x0908, 0x0100]);
        assert_eq!(speck.encrypt([0x65, 0x74, 0x69, 0x4c]), 0xa868_42f2);
        assert_eq!(format!("{speck:?}"), "Speck(..)");
    }
}
