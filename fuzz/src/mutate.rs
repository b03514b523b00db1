//! Deterministic mutations, for machines without libFuzzer.

/// A small generator (xorshift64*): the same seed gives the same inputs everywhere.
pub struct Mutator {
    state: u64,
}

impl Mutator {
    /// Longest input that is made.
    pub const LEN_MAX: usize = 4096;
    /// Changes made to one input at most.
    const CHANGES_MAX: u64 = 8;
    /// Bytes that parsers tend to treat specially.
    const SPECIAL: [u8; 8] = [0x00, 0x01, 0x7f, 0x80, 0xff, b'\r', b'\n', b' '];

    /// Starts at `seed`; 0 is as good as any.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { state: seed ^ 0x9e37_79b9_7f4a_7c15 }
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// Makes an input out of one of `seeds`, or out of nothing.
    pub fn make(&mut self, seeds: &[Vec<u8>], into: &mut Vec<u8>) {
        into.clear();
        let pick = self.below(seeds.len() + 1);
        match seeds.get(pick) {
            Some(seed) => into.extend_from_slice(&seed[..seed.len().min(Self::LEN_MAX)]),
            None => {
                let len = self.below(Self::LEN_MAX) >> self.below(12);
                into.extend((0..len).map(|_| (self.next() >> 56) as u8));
            }
        }
        for _ in 0..self.next() % Self::CHANGES_MAX {
            self.change(into);
        }
        into.truncate(Self::LEN_MAX);
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let byte = match self.below(2) {
            0 => Self::SPECIAL[self.below(Self::SPECIAL.len())],
            _ => (self.next() >> 56) as u8,
        };
        match self.below(5) {
            0 => bytes.insert(at, byte),
            1 => bytes.truncate(at),
            2 => bytes.extend_from_within(at..),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            _ if at < bytes.len() => bytes[at] = byte,
            _ => bytes.push(byte),
        }
    }
}
