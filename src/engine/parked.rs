//! [`Parked`]: commands of handles that cannot be run yet, by what they wait for.
//!
//! Role: lanes, in each of which commands wait in the order in which they came. Not role: whether
//! one can be run (`command`).
//!
//! ```text
//! Stream(a, 0)   write, write, shut down      what one stream was asked for
//! Conn(a)        close gracefully, write      what waits for all streams of a connection, and all
//!                                             that was asked of it later
//! Endpoint(u)    send, send                   datagrams of one socket
//! ```
//!
//! *Invariants*
//! - What is parked is bounded by what handles may have queued: each command that can be parked has
//!   taken a place of `Shares` before it was queued. Nothing is allocated here after the start.
//! - A lane is never empty. Lanes are looked at in each tick while there are some: they are of
//!   connections that are being established, or whose peer does not read.

use std::collections::VecDeque;

use super::command::Command;
use crate::ids::{ConnId, EndpointId, StreamId};
use crate::time::Time;

/// What a command waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    Stream(ConnId, StreamId),
    Conn(ConnId),
    Endpoint(EndpointId),
}

impl Key {
    /// The connection, if it is of one.
    const fn conn(self) -> Option<ConnId> {
        match self {
            Self::Stream(conn, _) | Self::Conn(conn) => Some(conn),
            Self::Endpoint(_) => None,
        }
    }
}

const NONE: u32 = u32::MAX;

/// Where a command waits.
struct Place {
    command: Option<Command>,
    next: u32,
}

/// Commands that wait for the same.
pub(super) struct Lane {
    pub(super) key: Key,
    head: u32,
    tail: u32,
}

pub(super) struct Parked {
    lanes: VecDeque<Lane>,
    places: Vec<Place>,
    free: u32,
    /// When something of it no longer waits, whatever it waits for.
    pub(super) due: Time,
}

impl Parked {
    pub(super) fn new(capacity: usize) -> Self {
        let (lanes, places) = (VecDeque::with_capacity(capacity), Vec::with_capacity(capacity));
        Self { lanes, places, free: NONE, due: Time::MAX }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// How many lanes there are.
    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    /// The first command of each lane.
    pub(super) fn fronts(&self) -> impl Iterator<Item = (Key, &Command)> {
        self.lanes.iter().filter_map(|lane| Some((lane.key, self.front(lane)?)))
    }

    /// Whether something of the connection waits.
    pub(super) fn has_conn(&self, conn: ConnId) -> bool {
        self.lanes.iter().any(|lane| lane.key.conn() == Some(conn))
    }

    /// Whether something of its streams does.
    pub(super) fn has_streams(&self, conn: ConnId) -> bool {
        self.lanes.iter().any(|lane| matches!(lane.key, Key::Stream(of, _) if of == conn))
    }

    /// The lane that a command has to queue in, if there is one: what it waits for, or what waits
    /// for all of its connection.
    pub(super) fn lane_for(&self, key: Key) -> Option<usize> {
        let position = |key| self.lanes.iter().position(|lane| lane.key == key);
        let whole = match key {
            Key::Stream(conn, _) => position(Key::Conn(conn)),
            Key::Conn(_) | Key::Endpoint(_) => None,
        };
        whole.or_else(|| position(key))
    }

    /// Puts a command behind those of a lane, or makes it the first one of its own.
    pub(super) fn push(&mut self, lane: Option<usize>, key: Key, command: Command) {
        let place = Place { command: Some(command), next: NONE };
        let at = if self.free == NONE {
            debug_assert!(self.places.len() < self.places.capacity(), "more than was taken");
            self.places.push(place);
            self.places.len() as u32 - 1
        } else {
            let at = self.free;
            self.free = self.places[at as usize].next;
            self.places[at as usize] = place;
            at
        };
        match lane.and_then(|lane| self.lanes.get_mut(lane)) {
            Some(lane) => {
                self.places[lane.tail as usize].next = at;
                lane.tail = at;
            }
            None => self.lanes.push_back(Lane { key, head: at, tail: at }),
        }
    }

    /// Takes the first lane out, to be looked at.
    pub(super) fn take_lane(&mut self) -> Option<Lane> {
        self.lanes.pop_front()
    }

    /// Puts it behind the others, unless it is empty.
    pub(super) fn put_back(&mut self, lane: Lane) {
        if lane.head != NONE {
            self.lanes.push_back(lane);
        }
    }

    /// Another lane is the first to be looked at.
    pub(super) fn rotate(&mut self) {
        if !self.lanes.is_empty() {
            self.lanes.rotate_left(1);
        }
    }

    /// The first command of a lane.
    pub(super) fn front(&self, lane: &Lane) -> Option<&Command> {
        self.places.get(lane.head as usize)?.command.as_ref()
    }

    /// Takes the first command of a lane that was taken out.
    pub(super) fn pop(&mut self, lane: &mut Lane) -> Option<Command> {
        let place = self.places.get_mut(lane.head as usize)?;
        let command = place.command.take();
        let next = std::mem::replace(&mut place.next, self.free);
        self.free = std::mem::replace(&mut lane.head, next);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(token: u64) -> Command {
        Command::Post { token, buffer: None }
    }

    /// The tokens of a lane, which is empty then.
    fn drain(parked: &mut Parked) -> Option<(Key, Vec<u64>)> {
        let mut lane = parked.take_lane()?;
        let mut tokens = Vec::new();
        while parked.front(&lane).is_some() {
            match parked.pop(&mut lane) {
                Some(Command::Post { token, .. }) => tokens.push(token),
                _ => unreachable!("posts alone were parked"),
            }
        }
        let key = lane.key;
        parked.put_back(lane);
        Some((key, tokens))
    }

    #[test]
    fn lanes_keep_their_order_and_places_are_used_again() {
        let mut parked = Parked::new(8);
        let [a, b] = [ConnId::new(0, 1), ConnId::new(1, 1)];
        let [first, second] = [Key::Stream(a, StreamId::ZERO), Key::Stream(b, StreamId::ZERO)];
        for round in 0..3 {
            for token in 0..8 {
                let key = if token % 3 == 0 { first } else { second };
                parked.push(parked.lane_for(key), key, post(token));
            }
            assert_eq!((parked.len(), parked.fronts().count()), (2, 2));
            assert!(parked.has_conn(a) && parked.has_streams(b));
            parked.rotate();
            assert_eq!(drain(&mut parked), Some((second, vec![1, 2, 4, 5, 7])), "{round}");
            assert_eq!(drain(&mut parked), Some((first, vec![0, 3, 6])), "{round}");
            assert!(parked.is_empty() && parked.places.len() == 8);
        }
    }

    #[test]
    fn what_comes_behind_a_wait_for_the_whole_waits_with_it() {
        let mut parked = Parked::new(8);
        let conn = ConnId::new(0, 1);
        let [zero, other] = [0, 4].map(|id| Key::Stream(conn, StreamId::from_u64(id)));
        parked.push(None, zero, post(1));
        assert_eq!(parked.lane_for(other), None, "streams do not wait for each other");
        parked.push(parked.lane_for(Key::Conn(conn)), Key::Conn(conn), post(2));
        for (key, token) in [(zero, 3), (other, 4)] {
            parked.push(parked.lane_for(key), key, post(token));
        }
        assert_eq!(drain(&mut parked), Some((zero, vec![1])));
        assert!(!parked.has_streams(conn) && parked.has_conn(conn));
        assert_eq!(drain(&mut parked), Some((Key::Conn(conn), vec![2, 3, 4])));
    }
}
