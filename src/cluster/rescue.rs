//! Who takes the connections that come to the socket of a shard that is gone, or about to.
//!
//! Role: accepting them here, and sending them to shards that are open, in turn. Not role: keeping
//! them from coming (the router's).
//!
//! *Invariant*: nothing is accepted that nobody takes: without an open shard, connections wait in
//! the backlog for the next life.

use std::os::fd::RawFd;
use std::time::Duration;

use super::IoCluster;
use super::supervise::State;
use crate::engine::fleet::mail::Mail;
use crate::time::Time;

/// Connections accepted for one socket in a turn at most.
const RESCUES_PER_TURN_MAX: usize = 64;
/// How long that rests when descriptors are exhausted, or all mail is full.
const REST: Duration = Duration::from_millis(20);

/// What there is of it between two turns.
pub(super) struct Rescue {
    /// Whose turn it is.
    next: usize,
    /// One that nobody took yet.
    stray: Option<Mail>,
    rests_until: Time,
}

impl Rescue {
    pub(super) const NEW: Self = Self { next: 0, stray: None, rests_until: Time::ZERO };

    /// When to go on after a rest.
    pub(super) fn next_at(&self, now: Time) -> Time {
        if self.rests_until > now { self.rests_until } else { Time::MAX }
    }
}

impl IoCluster {
    /// Takes what waits for shards that are gone.
    pub(super) fn rescue(&mut self, now: Time) {
        if let Some(stray) = self.rescue.stray.take()
            && !self.give_away(stray)
        {
            return self.rest(now);
        }
        for (group, shard) in self.unattended(now) {
            for _ in 0..RESCUES_PER_TURN_MAX {
                let Some(listener) = self.groups[group].listener_of(shard) else { break };
                let (fd, peer) = match self.ports.accept(listener) {
                    Ok(Some(accepted)) => accepted,
                    Ok(None) => break,
                    Err(_) => return self.rest(now),
                };
                if !self.give_away(Mail::Accepted { group: group as u16, fd, peer }) {
                    return self.rest(now);
                }
            }
        }
    }

    fn rest(&mut self, now: Time) {
        self.rescue.rests_until = now.saturating_add(REST);
    }

    /// What is to be watched for connections.
    pub(super) fn watched(&mut self, now: Time) -> Vec<RawFd> {
        let mut watched = Vec::new();
        for (group, shard) in self.unattended(now) {
            if let Some(listener) = self.groups[group].listener_of(shard) {
                watched.push(self.ports.watched(listener));
            }
        }
        watched
    }

    /// The sockets, by group and shard, that their shards do not listen on any more, while others
    /// could take what comes there.
    fn unattended(&self, now: Time) -> Vec<(usize, u16)> {
        let is_due = now >= self.rescue.rests_until && now < self.rescues_until();
        if !is_due || !self.places.iter().any(|place| place.is_open()) {
            return Vec::new();
        }
        let gone = (0..)
            .zip(&self.places)
            .filter(|(_, place)| !place.is_open() && !matches!(place.state, State::Waiting));
        let gone = gone.map(|(shard, _)| shard).collect::<Vec<u16>>();
        let groups = 0..self.groups.len();
        groups.flat_map(|group| gone.iter().map(move |shard| (group, *shard))).collect()
    }

    /// Sends it to the next open shard with room in its mail. Without one it is kept.
    fn give_away(&mut self, mut mail: Mail) -> bool {
        let count = self.places.len();
        for _ in 0..count {
            let shard = self.rescue.next;
            self.rescue.next = (shard + 1) % count;
            if !self.places[shard].is_open() {
                continue;
            }
            match self.shared.send(shard as u16, mail) {
                Ok(()) => return true,
                Err(error) => mail = error.into_inner(),
            }
        }
        self.rescue.stray = Some(mail);
        false
    }
}
