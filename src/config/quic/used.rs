//! [`UsedTokens`]: which address tokens have been used, in bounded memory and without locks.
//!
//! RFC 9000 §8.1.4: "servers MUST ensure that replay of tokens is prevented or limited". A table
//! says of each token, by some bits of its number, whether one like it was used. When that has
//! filled up it is emptied, and tokens from before are not taken any more.
//!
//! *Invariant*: no token is found good twice. One that was never used may be found used: its owner
//! is then asked to retry.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst};

/// Places of the table, of a byte each: 128 KiB, once a token is used.
const PLACES: usize = 1 << 17;
/// Tokens that are noted before the table is emptied: a quarter of them would then be refused for
/// others' sake.
const TOKENS_MAX: u32 = PLACES as u32 / 4;
/// Bits of the state that the round has; the others are the oldest time that is taken.
const ROUND_BITS: u32 = 8;
/// No time is taken: a new round begins.
const CLOSED: u64 = u64::MAX >> ROUND_BITS;

pub(crate) struct UsedTokens {
    /// The round in which the place was last used; 0 never.
    places: OnceLock<Box<[AtomicU8]>>,
    /// The round, and the first second at which a token must have been made.
    state: AtomicU64,
    /// Tokens noted in this round.
    count: AtomicU32,
    /// The last second at which a token that is noted was made.
    last: AtomicU64,
    tokens_max: u32,
}

impl UsedTokens {
    pub(crate) fn new() -> Self {
        Self::bounded(TOKENS_MAX)
    }

    fn bounded(tokens_max: u32) -> Self {
        let (state, count, last) = (AtomicU64::new(1), AtomicU32::new(0), AtomicU64::new(0));
        Self { places: OnceLock::new(), state, count, last, tokens_max }
    }

    /// Notes a token, which has a random number and was made at that second; whether it was not
    /// used before, for certain.
    pub(crate) fn note(&self, number: u128, made_secs: u64) -> bool {
        let state = self.state.load(SeqCst);
        let (round, first) = (state as u8, state >> ROUND_BITS);
        let places = self.places.get_or_init(|| (0..PLACES).map(|_| AtomicU8::new(0)).collect());
        let Some(place) = places.get(number as usize % PLACES) else { return false };
        if made_secs < first {
            return false;
        }
        self.last.fetch_max(made_secs, SeqCst);
        let is_new = place.swap(round, SeqCst) != round;
        if is_new
            && self.count.fetch_add(1, SeqCst) + 1 >= self.tokens_max
            && self.begin_round(state)
        {
            return true;
        }
        let now = self.state.load(SeqCst);
        if now == state {
            return is_new;
        }
        // Another thread began a round meanwhile: which of the two it was noted in is not known.
        place.store(now as u8, SeqCst);
        false
    }

    /// Forgets the tokens noted so far: from now on all of them are too old. Nothing is taken while
    /// it is found out how old that is. `false`: another thread has done it.
    fn begin_round(&self, state: u64) -> bool {
        let round = u64::from((state as u8).wrapping_add(1).max(1));
        let closed = CLOSED << ROUND_BITS | round;
        let is_ours = self.state.compare_exchange(state, closed, SeqCst, SeqCst).is_ok();
        if is_ours {
            self.count.store(0, SeqCst);
            let first = self.last.load(SeqCst).saturating_add(1).min(CLOSED - 1);
            self.state.store(first << ROUND_BITS | round, SeqCst);
        }
        is_ours
    }
}

impl fmt::Debug for UsedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UsedTokens({})", self.count.load(SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn number(rng: &mut Rng) -> u128 {
        u128::from(rng.u64()) << 64 | u128::from(rng.u64())
    }

    #[test]
    fn each_is_good_once() {
        let used = UsedTokens::new();
        let mut rng = Rng::from_seed(1);
        let tokens: Vec<_> = (0..5000).map(|i| (number(&mut rng), 1000 + i)).collect();
        let good = tokens.iter().filter(|(number, made)| used.note(*number, *made)).count();
        assert!(good > 4850, "{good}: some look like others, 2 in 100 at the most");
        assert_eq!(tokens.iter().filter(|(number, made)| used.note(*number, *made)).count(), 0);
    }

    #[test]
    fn what_is_forgotten_is_too_old() {
        let used = UsedTokens::bounded(100);
        let mut rng = Rng::from_seed(2);
        let mut tokens = Vec::new();
        // More rounds than there are numbers for.
        for second in 0..600 {
            for _ in 0..100 {
                let token = (number(&mut rng), 1 + second);
                used.note(token.0, token.1);
                tokens.push(token);
            }
        }
        assert_eq!(tokens.iter().filter(|(number, made)| used.note(*number, *made)).count(), 0);
        assert!(used.note(7, 1000), "new ones are taken");
    }

    #[test]
    fn no_two_threads_find_the_same_good() {
        let used = UsedTokens::bounded(50);
        let mut rng = Rng::from_seed(3);
        let tokens: Vec<_> = (0..5000).map(|i| (number(&mut rng), 1 + i / 100)).collect();
        let good = || tokens.iter().map(|(n, made)| used.note(*n, *made)).collect::<Vec<_>>();
        let found: Vec<Vec<bool>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(good)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for at in 0..tokens.len() {
            assert!(found.iter().filter(|found| found[at]).count() <= 1, "{at}");
        }
    }
}
