//! What the supervisor of a cluster is asked by handles, and told by shards.
//!
//! *Invariant*: that a shard left finds room always: each of them leaves once before the supervisor
//! lets it begin anew.

use crate::config::DrainOptions;
use crate::error::{IoError, Result};
use crate::sync::mpsc::{Consumer, Producer, PushError, channel};
use crate::sys::wake::Waker;

/// Questions that may wait, besides two for each shard.
const ASKED_MAX: usize = 64;

/// A question, or a piece of news that can wait for room.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    /// End the cluster.
    Shutdown(DrainOptions),
    /// Make all routers anew.
    Reload,
    /// End one shard, to begin `again` or not.
    Leave { shard: u16, drain: DrainOptions, again: bool },
    /// The shard has closed its socket of that group.
    Closed { group: u16, shard: u16 },
}

/// A life is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    pub(crate) shard: u16,
    pub(crate) panicked: bool,
}

/// The way to the supervisor.
pub(crate) struct Bell {
    asked: Producer<Ask>,
    left: Producer<Left>,
    waker: Waker,
}

/// The supervisor's end of it.
pub(crate) struct Desk {
    pub(crate) asked: Consumer<Ask>,
    pub(crate) left: Consumer<Left>,
}

/// Both ends, for so many shards; `waker` ends the supervisor's sleep.
pub(crate) fn desk(shards: u16, waker: Waker) -> (Bell, Desk) {
    let shards = usize::from(shards);
    let (asked, asked_end) = channel(ASKED_MAX + 2 * shards);
    let (left, left_end) = channel(shards);
    (Bell { asked, left, waker }, Desk { asked: asked_end, left: left_end })
}

impl Bell {
    /// Whether the supervisor will hear it: not when it is gone, and nobody is to be asked.
    pub(crate) fn ask(&self, ask: Ask) -> Result<bool> {
        match self.asked.push(ask) {
            Ok(()) => {
                self.waker.wake();
                Ok(true)
            }
            Err(PushError::Closed(_)) => Ok(false),
            Err(PushError::Full(_)) => {
                Err(IoError::QueueFull { queue: "supervisor", capacity: self.asked.capacity() })
            }
        }
    }

    pub(crate) fn left(&self, left: Left) {
        let told = self.left.push(left);
        debug_assert!(!matches!(told, Err(PushError::Full(_))), "it left twice");
        self.waker.wake();
    }
}
