//! [`Streams`]: which streams there are, and what was written to them and is not the
//! machine's yet.
//!
//! The machine asserts that a direction exists when it is asked for it, and has state for streams
//! that the peer may open but has not; both are looked up here first.

use std::hash::{BuildHasher, Hasher};

use quinn_proto::{Dir, Side};

use super::halves::{Halves, SendHalf};
use crate::ids::{StreamDir, StreamId};

/// RFC 9000 §2.1: "a 62-bit integer".
const STREAM_ID_BITS: u32 = 62;

/// The number of a stream in the machine's terms.
pub(super) fn wire_id(id: StreamId) -> quinn_proto::StreamId {
    let initiator = if id.opened_by_client() { Side::Client } else { Side::Server };
    quinn_proto::StreamId::new(initiator, wire_dir(id.dir()), id.index())
}

/// And back.
pub(super) fn own_id(id: quinn_proto::StreamId) -> StreamId {
    StreamId::from_u64(quinn_proto::VarInt::from(id).into_inner())
}

pub(super) const fn wire_dir(dir: StreamDir) -> Dir {
    match dir {
        StreamDir::Bidi => Dir::Bi,
        StreamDir::Uni => Dir::Uni,
    }
}

pub(super) const fn own_dir(dir: Dir) -> StreamDir {
    match dir {
        Dir::Bi => StreamDir::Bidi,
        Dir::Uni => StreamDir::Uni,
    }
}

/// Numbers of one kind, by direction.
#[derive(Debug, Clone, Copy, Default)]
struct PerDir<T> {
    bidi: T,
    uni: T,
}

impl<T> PerDir<T> {
    const fn at(&self, dir: StreamDir) -> &T {
        match dir {
            StreamDir::Bidi => &self.bidi,
            StreamDir::Uni => &self.uni,
        }
    }

    const fn of(&mut self, dir: StreamDir) -> &mut T {
        match dir {
            StreamDir::Bidi => &mut self.bidi,
            StreamDir::Uni => &mut self.uni,
        }
    }
}

#[derive(Debug)]
pub(super) struct Streams {
    is_client: bool,
    /// Streams that were opened, by us and by the peer.
    opened: PerDir<u64>,
    accepted: PerDir<u64>,
    /// Opening one was refused, and `Available` is owed.
    wanted: PerDir<bool>,
    /// What was not acknowledged to its end, nor reset.
    sending: Halves,
    /// What becomes known is finished at once: the connection is being closed.
    is_finishing: bool,
}

impl Streams {
    pub(super) fn new(is_client: bool) -> Self {
        Self {
            is_client,
            opened: PerDir::default(),
            accepted: PerDir::default(),
            wanted: PerDir::default(),
            sending: Halves::default(),
            is_finishing: false,
        }
    }

    /// We opened one.
    pub(super) fn on_opened(&mut self, id: StreamId) {
        *self.opened.of(id.dir()) += 1;
        self.sending.insert(id);
    }

    /// The peer opened one.
    pub(super) fn on_accepted(&mut self, id: StreamId) {
        *self.accepted.of(id.dir()) += 1;
        if id.dir() == StreamDir::Bidi {
            self.sending.insert(id);
        }
    }

    /// Whether there is, or was, such a stream with a half that we send on.
    pub(super) const fn can_send(&self, id: StreamId) -> bool {
        self.exists(id) && (matches!(id.dir(), StreamDir::Bidi) || self.is_ours(id))
    }

    /// Whether there is, or was, such a stream with a half that we receive on.
    pub(super) const fn can_receive(&self, id: StreamId) -> bool {
        self.exists(id) && (matches!(id.dir(), StreamDir::Bidi) || !self.is_ours(id))
    }

    const fn exists(&self, id: StreamId) -> bool {
        let known = if self.is_ours(id) { &self.opened } else { &self.accepted };
        id.as_u64() >> STREAM_ID_BITS == 0 && id.index() < *known.at(id.dir())
    }

    const fn is_ours(&self, id: StreamId) -> bool {
        id.opened_by_client() == self.is_client
    }

    /// The half that we send on, unless it is over.
    #[inline]
    pub(super) fn half(&mut self, id: StreamId) -> Option<&mut SendHalf> {
        self.sending.find(id)
    }

    /// The same, to be looked at only.
    pub(super) fn peek(&self, id: StreamId) -> Option<&SendHalf> {
        self.sending.peek(id)
    }

    /// The halves that wait for the machine, or of which `Writable` is owed.
    pub(super) fn waiting(&self) -> Vec<StreamId> {
        let waiting = self.sending.iter().filter(|(_, half)| half.is_waiting || half.is_closed);
        waiting.map(|(id, _)| id).collect()
    }

    /// Nothing more of it is sent.
    pub(super) fn on_over(&mut self, id: StreamId) {
        self.sending.remove(id);
    }

    /// From now on, streams that become known are ended at once. Those that are not.
    pub(super) fn finish_all(&mut self) -> Vec<StreamId> {
        self.is_finishing = true;
        let open = self.sending.iter().filter(|(_, half)| !half.is_ended);
        open.map(|(id, _)| id).collect()
    }

    /// Forgets all halves that we send on.
    pub(super) fn give_up(&mut self) -> Vec<(StreamId, SendHalf)> {
        self.sending.drain()
    }

    pub(super) const fn is_finishing(&self) -> bool {
        self.is_finishing
    }

    /// Those that we opened are gone, and the next one is the first again.
    pub(super) fn forget_ours(&mut self) {
        let is_client = self.is_client;
        self.opened = PerDir::default();
        self.wanted = PerDir::default();
        let ids = self.sending.iter().map(|(id, _)| id);
        let ours: Vec<_> = ids.filter(|id| id.opened_by_client() == is_client).collect();
        ours.into_iter().for_each(|id| self.on_over(id));
    }

    /// Opening one was refused.
    pub(super) const fn want(&mut self, dir: StreamDir) {
        *self.wanted.of(dir) = true;
    }

    /// Whether `Available` was owed; it is no longer.
    pub(super) const fn take_wanted(&mut self, dir: StreamDir) -> bool {
        std::mem::replace(self.wanted.of(dir), false)
    }
}

/// Hashes numbers of streams, which peers choose only within their limits: one multiplication.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Plain;

impl BuildHasher for Plain {
    type Hasher = PlainHasher;

    fn build_hasher(&self) -> PlainHasher {
        PlainHasher(0)
    }
}

#[derive(Debug)]
pub(super) struct PlainHasher(u64);

impl Hasher for PlainHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, number: u64) {
        // The table looks at the highest bits and at the lowest ones.
        let mixed = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        self.0 = (mixed >> 64) as u64 ^ mixed as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(self.0 ^ u64::from(*byte));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_exist_as_rfc_9000_says() {
        let mut streams = Streams::new(true);
        streams.on_opened(StreamId::from_u64(0));
        streams.on_opened(StreamId::from_u64(2));
        streams.on_accepted(StreamId::from_u64(1));
        streams.on_accepted(StreamId::from_u64(3));
        let rows = [
            (0, true, true),
            (1, true, true),
            (2, true, false),
            (3, false, true),
            (4, false, false),
            (5, false, false),
            (6, false, false),
            (7, false, false),
            (1 << 62, false, false),
            (u64::MAX, false, false),
        ];
        for (number, sends, receives) in rows {
            let id = StreamId::from_u64(number);
            assert_eq!(
                (streams.can_send(id), streams.can_receive(id)),
                (sends, receives),
                "{id:?}"
            );
        }
    }

    #[test]
    fn numbers_are_the_same_on_both_sides() {
        for number in [0, 1, 2, 3, 4, 1003, (1 << 62) - 1] {
            let id = StreamId::from_u64(number);
            assert_eq!(own_id(wire_id(id)), id);
            assert_eq!(own_dir(wire_dir(id.dir())), id.dir());
        }
    }

    #[test]
    fn halves_are_known_until_they_are_over() {
        let mut streams = Streams::new(false);
        let id = StreamId::from_u64(1);
        assert!(streams.half(id).is_none(), "not opened");
        streams.on_opened(id);
        assert!(streams.half(id).is_some_and(|half| !half.is_waiting && half.waits.is_empty()));
        streams.want(StreamDir::Uni);
        assert!(streams.take_wanted(StreamDir::Uni) && !streams.take_wanted(StreamDir::Uni));
        assert!(!streams.take_wanted(StreamDir::Bidi));
        assert_eq!(streams.finish_all(), [id]);
        streams.half(id).expect("it is not acknowledged").is_ended = true;
        assert!(streams.is_finishing() && streams.finish_all().is_empty());
        assert_eq!(streams.give_up().len(), 1);
        assert!(streams.half(id).is_none());
    }
}
