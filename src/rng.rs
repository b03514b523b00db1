//! A small seedable generator: jitter, sampling, and every choice of the simulator.
//!
//! Role: the same seed gives the same sequence on every machine and in every build.
//! Not its role: secrets. The state can be computed from a few outputs, so nothing that a peer
//! must not guess (connection ids, keys, tokens, mask keys) comes from here. It reads no entropy:
//! the caller brings the seed.
//!
//! Invariants: the state is never all zero (that is the one state the generator cannot leave); no
//! floating point, so results do not depend on rounding.
//!
//! The algorithms are xoshiro256** 1.0, seeded through splitmix64.

/// Seedable pseudo-random generator with 256 bits of state. Not cryptographic.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A generator whose whole sequence follows from `seed`. Every seed is good, zero too.
    pub(crate) const fn from_seed(seed: u64) -> Self {
        // splitmix64 is a bijection of a counter: four outputs in a row are four different
        // numbers, so at most one of them is zero and the state cannot be all zero.
        let mut counter = seed;
        let mut state = [0; 4];
        let mut word = 0;
        while word < state.len() {
            state[word] = splitmix(&mut counter);
            word += 1;
        }
        Self { state }
    }

    /// The next 64 random bits.
    pub(crate) const fn u64(&mut self) -> u64 {
        let s = &mut self.state;
        let output = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let shifted = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= shifted;
        s[3] = s[3].rotate_left(45);
        output
    }

    /// A number in `0..bound`, each equally likely.
    ///
    /// # Panics
    /// When `bound` is 0: an empty range has no member to return.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "Rng::below needs a bound of at least 1");
        // The high half of a 64x64 product scales 64 bits into the range without a division. Some
        // results have one preimage too many; a low half under `2^64 mod bound` marks those, and
        // they are drawn again (less than half of the draws for any bound, almost none for small).
        let mut wide = self.u64() as u128 * bound as u128;
        if (wide as u64) < bound {
            let surplus = bound.wrapping_neg() % bound;
            while (wide as u64) < surplus {
                wide = self.u64() as u128 * bound as u128;
            }
        }
        (wide >> u64::BITS) as u64
    }

    /// True with probability `numerator / denominator`; always true from 1 upward.
    ///
    /// # Panics
    /// When `denominator` is 0.
    pub(crate) const fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        assert!(denominator > 0, "Rng::chance needs a denominator of at least 1");
        self.below(denominator) < numerator
    }

    /// Puts `items` into a random order, each order equally likely.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for end in (1..items.len()).rev() {
            let pick = self.below(end as u64 + 1) as usize;
            items.swap(end, pick);
        }
    }
}

const fn splitmix(counter: &mut u64) -> u64 {
    *counter = counter.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *counter;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_follows_the_published_sequence() {
        let mut counter = 0;
        assert_eq!(splitmix(&mut counter), 0xe220_a839_7b1d_cdaf);
        assert_eq!(splitmix(&mut counter), 0x6e78_9e6a_a1b9_65f4);
    }

    #[test]
    fn xoshiro_follows_the_published_sequence() {
        let mut rng = Rng { state: [1, 2, 3, 4] };
        let expected = [11_520, 0, 1_509_978_240, 1_215_971_899_390_074_240];
        for value in expected {
            assert_eq!(rng.u64(), value);
        }
    }

    #[test]
    fn a_seed_is_a_sequence() {
        let mut one = Rng::from_seed(7);
        let mut two = Rng::from_seed(7);
        let mut other = Rng::from_seed(8);
        let first: Vec<u64> = (0..16).map(|_| one.u64()).collect();
        assert!(first.iter().all(|value| *value == two.u64()));
        assert!(first.iter().any(|value| *value != other.u64()));
        assert_ne!(Rng::from_seed(0).state, [0; 4]);
    }

    #[test]
    fn below_stays_below_and_reaches_everything() {
        let mut rng = Rng::from_seed(1);
        let mut seen = [0_u32; 6];
        for _ in 0..6_000 {
            seen[rng.below(6) as usize] += 1;
        }
        // 1,000 expected each, with a standard deviation of 29.
        assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
        for bound in [1, 2, 3, u64::from(u32::MAX), u64::MAX / 2 + 2, u64::MAX] {
            for _ in 0..50 {
                assert!(rng.below(bound) < bound);
            }
        }
    }

    #[test]
    fn chance_has_its_ends() {
        let mut rng = Rng::from_seed(2);
        assert!((0..100).all(|_| !rng.chance(0, 10)));
        assert!((0..100).all(|_| rng.chance(10, 10)));
        let hits = (0..1_000).filter(|_| rng.chance(1, 4)).count();
        assert!((180..320).contains(&hits), "{hits}");
    }

    #[test]
    fn shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        Rng::from_seed(3).shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert!(items.iter().copied().eq(0..100));
        Rng::from_seed(3).shuffle::<u32>(&mut []);
    }
}
