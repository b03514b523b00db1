//! What a shard tells of itself to whoever asks the cluster: posted up by the shard, so that nobody
//! has to ask it.
//!
//! *Invariants*
//! - A shard posts before it sleeps, and every [`PUBLISH_EVERY`] while it does not; nothing else of
//!   it that others read is written per message.
//! - Counters go on where the life before left them: totals of a cluster only grow.

use std::time::Duration;

use crate::engine::Engine;
use crate::stats::{FleetStats, IoStats};
use crate::sync::board::Board;
use crate::time::Time;

/// A shard that does not sleep posts up its counters so often.
const PUBLISH_EVERY: Duration = Duration::from_millis(10);

/// Words of a board: both rows of counters, and the open connections.
pub(super) const WORDS: usize = IoStats::WORDS + FleetStats::WORDS + 1;

/// What is posted up.
#[derive(Clone, Copy, Default)]
pub(crate) struct Posted {
    pub(crate) io: IoStats,
    pub(crate) fleet: FleetStats,
    pub(crate) connections: u64,
}

impl Posted {
    /// As a board has it.
    pub(super) fn words(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        let (io, rest) = words.split_at_mut(IoStats::WORDS);
        let (fleet, rest) = rest.split_at_mut(FleetStats::WORDS);
        io.copy_from_slice(&self.io.words());
        fleet.copy_from_slice(&self.fleet.words());
        rest.copy_from_slice(&[self.connections]);
        words
    }

    pub(super) fn read(board: &Board<WORDS>) -> Self {
        let words = board.read();
        let fleet_at = IoStats::WORDS;
        let connections_at = fleet_at + FleetStats::WORDS;
        Self {
            io: IoStats::from_words(std::array::from_fn(|at| words[at])),
            fleet: FleetStats::from_words(std::array::from_fn(|at| words[fleet_at + at])),
            connections: words[connections_at],
        }
    }
}

impl Engine {
    /// Posts up what this shard has done.
    pub(in crate::engine) fn publish(&mut self) {
        self.publish_with(self.conns.used() as u64);
    }

    fn publish_with(&mut self, connections: u64) {
        let Some(fleet) = &mut self.fleet else { return };
        fleet.publish_at = self.now.saturating_add(PUBLISH_EVERY);
        let Posted { mut io, fleet: mut others, .. } = fleet.before;
        io += self.stats;
        others += fleet.stats;
        fleet.shared.post_up(fleet.me, &Posted { io, fleet: others, connections });
        fleet.shared.took_asked(fleet.me, std::mem::take(&mut fleet.asked_taken));
    }

    /// The same if it is time to.
    pub(super) fn publish_when_due(&mut self) {
        let now = self.now;
        if self.fleet.as_ref().is_some_and(|fleet| now >= fleet.publish_at) {
            self.publish();
        }
    }

    /// What stays posted up when the shard is gone.
    pub(super) fn publish_last(&mut self) {
        self.publish_with(0);
    }
}

/// Publishing is due at once.
pub(super) const AT_ONCE: Time = Time::ZERO;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_gives_back_what_was_posted() {
        let board = Board::default();
        let mut posted = Posted { connections: 3, ..Posted::default() };
        (posted.io.polls, posted.io.commands_refused) = (1, 2);
        (posted.fleet.posts_in, posted.fleet.wakes) = (4, 5);
        board.post(&posted.words());
        let read = Posted::read(&board);
        assert_eq!((read.io, read.fleet, read.connections), (posted.io, posted.fleet, 3));
    }
}
