//! [`Drains`]: connections that are over for the application, but not for their peers; and attempts
//! that are no connection yet (`race`).
//!
//! RFC 9000 §10.2: "The closing and draining connection states exist to ensure that connections
//! close cleanly and that delayed or reordered packets are properly discarded. These states SHOULD
//! persist for at least three times the current PTO interval".
//!
//! A connection that both sides know to be over has nothing to say any more: RFC 9000 §10.2.2, "an
//! endpoint in the draining state MUST NOT send any packets". Of such a one only its place is kept,
//! so that what comes late is known to be of nobody: its [`Husk`].
//!
//! *Invariant*: of either kind there are never more than the bound; the next one that drains puts
//! an old one out.

use crate::ids::ConnId;
use crate::proto::quic::endpoint::Endpoint;
use crate::proto::quic::session::{Husk, Session};
use crate::time::wheel::TimerKey;

/// What is left of a connection.
pub(super) enum Rest {
    Session(Box<Session>),
    Husk(Husk),
}

impl Rest {
    /// Drops it, drained or not.
    pub(super) fn forget(self, endpoint: &mut Endpoint) {
        match self {
            Self::Session(session) => session.forget(endpoint),
            Self::Husk(husk) => husk.forget(endpoint),
        }
    }
}

/// One of them.
pub(super) struct Drain {
    pub(super) rest: Rest,
    pub(super) socket: u32,
    pub(super) timer: Option<TimerKey>,
    /// The connection that it may become.
    pub(super) races_for: Option<ConnId>,
    /// Why the kernel does not send what it has; 0 while it does.
    pub(super) refused: i32,
}

/// All of a shard.
pub(super) struct Drains {
    places: Vec<Option<Drain>>,
    free: Vec<u32>,
    max: usize,
    /// The next place to be put out of when all are taken: it comes round.
    oldest: usize,
}

impl Drain {
    pub(super) fn session(&mut self) -> Option<&mut Session> {
        match &mut self.rest {
            Rest::Session(session) => Some(session),
            Rest::Husk(_) => None,
        }
    }

    /// Lets go of all but its place, if nothing more is to be said.
    pub(super) fn shrink(&mut self) {
        if let Rest::Session(session) = &self.rest
            && session.is_spent()
        {
            self.rest = Rest::Husk(session.husk());
        }
    }
}

impl Drains {
    pub(super) const fn new(max: usize) -> Self {
        Self { places: Vec::new(), free: Vec::new(), max, oldest: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub(super) fn has_racers(&self) -> bool {
        self.racers().next().is_some()
    }

    /// Attempts that fit besides.
    pub(super) fn racers_left(&self) -> usize {
        self.max - self.racers().count().min(self.max)
    }

    fn racers(&self) -> impl Iterator<Item = &Drain> {
        self.places.iter().flatten().filter(|drain| drain.races_for.is_some())
    }

    /// Whose attempt is under way on that socket.
    pub(super) fn racer_on(&self, socket: u32) -> Option<ConnId> {
        self.racers().find(|drain| drain.socket == socket).and_then(|drain| drain.races_for)
    }

    /// Checks that there are no more of either kind than there are timers for.
    ///
    /// # Panics
    /// When there are.
    pub(super) fn audit(&self) {
        let racers = self.racers().count();
        let (drains, max) = (self.len() - racers, self.max);
        assert!(racers <= max && drains <= max, "{racers} race and {drains} drain, of {max} each");
    }

    /// Who has to go before another one fits.
    pub(super) fn next_to_go(&mut self) -> Option<u32> {
        if self.len() < self.max || self.len() - self.racers().count() < self.max {
            return None;
        }
        let count = self.places.len();
        let mut turn = (self.oldest..self.oldest + count).map(|at| at % count);
        let drains =
            |at: &usize| self.places[*at].as_ref().is_some_and(|drain| drain.races_for.is_none());
        let at = turn.find(drains)?;
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
        self.get(at)?.session()
    }

    /// The same, if it is one of that socket.
    pub(super) fn session_on(&mut self, socket: u32, at: u32) -> Option<&mut Session> {
        self.get(at).filter(|drain| drain.socket == socket)?.session()
    }

    /// All of them, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u32, &mut Drain)> {
        (0..).zip(&mut self.places).filter_map(|(at, place)| Some((at, place.as_mut()?)))
    }

    pub(super) fn remove(&mut self, at: u32) -> Option<Drain> {
        let drain = self.places.get_mut(at as usize)?.take()?;
        self.free.push(at);
        Some(drain)
    }
}
