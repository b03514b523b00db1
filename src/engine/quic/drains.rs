//! [`Drains`]: connections that are over for the application, but not for their peers.
//!
//! RFC 9000 §10.2: "The closing and draining connection states exist to ensure that connections
//! close cleanly and that delayed or reordered packets are properly discarded. These states SHOULD
//! persist for at least three times the current PTO interval".
//!
//! *Invariant*: there are never more than the bound; the next one puts an old one out.

use crate::proto::quic::session::Session;
use crate::time::wheel::TimerKey;

/// One of them.
pub(super) struct Drain {
    pub(super) session: Box<Session>,
    pub(super) socket: u32,
    pub(super) timer: Option<TimerKey>,
}

/// All of a shard.
pub(super) struct Drains {
    places: Vec<Option<Drain>>,
    free: Vec<u32>,
    max: usize,
    /// The next place to be put out of when all are taken: it comes round.
    oldest: usize,
}

impl Drains {
    pub(super) const fn new(max: usize) -> Self {
        Self { places: Vec::new(), free: Vec::new(), max, oldest: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Who has to go before another one fits.
    pub(super) fn next_to_go(&mut self) -> Option<u32> {
        if !self.free.is_empty() || self.places.len() < self.max {
            return None;
        }
        let at = self.oldest % self.places.len().max(1);
        self.oldest = at + 1;
        Some(at as u32)
    }

    pub(super) fn insert(&mut self, drain: Drain) -> u32 {
        if let Some(at) = self.free.pop() {
            self.places[at as usize] = Some(drain);
            return at;
        }
        self.places.push(Some(drain));
        self.places.len() as u32 - 1
    }

    pub(super) fn get(&mut self, at: u32) -> Option<&mut Drain> {
        self.places.get_mut(at as usize)?.as_mut()
    }

    pub(super) fn session(&mut self, at: u32) -> Option<&mut Session> {
        self.get(at).map(|drain| &mut *drain.session)
    }

    pub(super) fn remove(&mut self, at: u32) -> Option<Drain> {
        let drain = self.places.get_mut(at as usize)?.take()?;
        self.free.push(at);
        Some(drain)
    }
}
