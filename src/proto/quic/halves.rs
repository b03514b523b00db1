//! [`Halves`]: the directions that we send on.
//!
//! A stream is mostly asked about several times in a row (it is written to, then ended): the half
//! that was found last is found again without a search.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::streams::Plain;
use crate::ids::StreamId;

/// A direction that we send on, until all of it was acknowledged or it was given up.
#[derive(Debug, Default)]
pub(super) struct SendHalf {
    /// A write was cut, and `Writable` is owed.
    pub(super) is_waiting: bool,
    /// The machine refused bytes, and will say when it takes some.
    pub(super) is_closed: bool,
    /// It was given some.
    pub(super) is_used: bool,
    /// The application ended it.
    pub(super) is_ended: bool,
    /// What was accepted and the machine did not take yet; the end is behind it.
    pub(super) waits: VecDeque<Bytes>,
    /// Bytes of `waits`.
    pub(super) waiting: usize,
}

impl SendHalf {
    /// Bytes that wait behind those that do.
    pub(super) fn push(&mut self, bytes: Bytes) {
        self.waiting += bytes.len();
        self.waits.push_back(bytes);
    }
}

/// Halves by the number of their stream.
#[derive(Debug, Default)]
pub(super) struct Halves {
    places: HashMap<u64, usize, Plain>,
    halves: Vec<SendHalf>,
    free: Vec<usize>,
    /// The stream that was found last, and its place.
    last: Option<(StreamId, usize)>,
}

impl Halves {
    /// The stream is none of those that there are.
    pub(super) fn insert(&mut self, id: StreamId) {
        let at = self.free.pop().unwrap_or_else(|| {
            self.halves.push(SendHalf::default());
            self.halves.len() - 1
        });
        self.places.insert(id.as_u64(), at);
    }

    #[inline]
    pub(super) fn find(&mut self, id: StreamId) -> Option<&mut SendHalf> {
        let at = match self.last {
            Some((last, at)) if last == id => at,
            _ => {
                let at = *self.places.get(&id.as_u64())?;
                self.last = Some((id, at));
                at
            }
        };
        self.halves.get_mut(at)
    }

    /// The same, to be looked at only.
    pub(super) fn peek(&self, id: StreamId) -> Option<&SendHalf> {
        self.halves.get(*self.places.get(&id.as_u64())?)
    }

    pub(super) fn remove(&mut self, id: StreamId) -> Option<SendHalf> {
        let at = self.places.remove(&id.as_u64())?;
        self.last = None;
        self.free.push(at);
        self.halves.get_mut(at).map(std::mem::take)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (StreamId, &SendHalf)> {
        let found = |(id, at): (&u64, &usize)| {
            self.halves.get(*at).map(|half| (StreamId::from_u64(*id), half))
        };
        self.places.iter().filter_map(found)
    }

    /// Removes them all.
    pub(super) fn drain(&mut self) -> Vec<(StreamId, SendHalf)> {
        let ids: Vec<_> = self.iter().map(|(id, _)| id).collect();
        ids.into_iter().filter_map(|id| Some((id, self.remove(id)?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_taken_again_and_nobody_finds_the_one_before() {
        let mut halves = Halves::default();
        let [a, b, c] = [0, 4, 8].map(StreamId::from_u64);
        halves.insert(a);
        halves.insert(b);
        halves.find(a).unwrap().waiting = 1;
        assert_eq!(halves.find(a).unwrap().waiting, 1, "found without a search");
        assert_eq!(halves.find(b).unwrap().waiting, 0);
        halves.find(a).unwrap().is_ended = true;
        assert_eq!(halves.remove(a).map(|half| (half.waiting, half.is_ended)), Some((1, true)));
        assert!(halves.find(a).is_none() && halves.remove(a).is_none());
        halves.insert(c);
        let half = halves.find(c).unwrap();
        assert!(half.waiting == 0 && !half.is_ended, "it has the place of the first one");
        assert!(halves.find(a).is_none());
        assert_eq!(halves.halves.len(), 2);
        let mut ids: Vec<_> = halves.drain().into_iter().map(|(id, _)| id.as_u64()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [4, 8]);
        assert!(halves.iter().next().is_none() && halves.find(c).is_none());
    }
}
