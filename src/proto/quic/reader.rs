//! [`Reader`]: which streams have something to read, and what was read of one of them.
//!
//! *Invariants*
//! - A stream is in the queue at most once, so that a peer that sends many frames makes it no
//!   longer.
//! - Nothing of a stream that is paused is read or told, and what was read of it before is kept, in
//!   order.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use quinn_proto::{Connection, ReadError};

use super::signal::Signal;
use super::streams::{Plain, wire_id};
use crate::ids::StreamId;

/// Pieces that are read of a stream at a time; then it is another one's turn.
const PIECES_PER_TURN: usize = 16;

/// Resets that are kept until they are told.
pub(super) const RESETS_MAX: usize = 64;

/// How a stream ended.
#[derive(Debug, Clone, Copy)]
enum End {
    Fin,
    Reset(u64),
}

impl End {
    const fn of(self, stream: StreamId) -> Signal {
        match self {
            Self::Fin => Signal::ReadClosed(stream),
            Self::Reset(error_code) => Signal::Reset { stream, error_code },
        }
    }
}

/// What was read of a stream and not handed out, and how it ended behind that.
#[derive(Debug, Default)]
struct Batch {
    stream: StreamId,
    pieces: VecDeque<Bytes>,
    end: Option<End>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.end.is_none()
    }

    /// Whether the stream ends behind what was handed out.
    fn is_last(&self) -> bool {
        self.pieces.is_empty() && matches!(self.end, Some(End::Fin))
    }

    fn pop(&mut self, payload: &mut Bytes) -> Option<Signal> {
        let stream = self.stream;
        if let Some(piece) = self.pieces.pop_front() {
            *payload = piece;
            return Some(Signal::Frame { stream, data: (), fin: self.is_last() });
        }
        Some(self.end.take()?.of(stream))
    }
}

/// A stream of which nothing is wanted for now.
#[derive(Debug, Default)]
struct Paused {
    /// It may have something.
    is_ready: bool,
    batch: Batch,
}

#[derive(Debug)]
pub(super) struct Reader {
    /// The application asks for bytes: it is told of which streams.
    is_pull: bool,
    ready: VecDeque<StreamId>,
    queued: HashSet<u64, Plain>,
    batch: Batch,
    /// Of streams that were paused and are no longer, were reset, or read to their end on request:
    /// they come first.
    resumed: VecDeque<Batch>,
    paused: HashMap<u64, Paused, Plain>,
    /// Streams of which it was told that there is something, and no read found nothing since.
    told: HashSet<u64, Plain>,
}

impl Reader {
    pub(super) fn new(is_pull: bool) -> Self {
        Self {
            is_pull,
            ready: VecDeque::new(),
            queued: HashSet::default(),
            batch: Batch::default(),
            resumed: VecDeque::new(),
            paused: HashMap::default(),
            told: HashSet::default(),
        }
    }

    pub(super) const fn is_pull(&self) -> bool {
        self.is_pull
    }

    /// The stream may have something.
    pub(super) fn push(&mut self, stream: StreamId) {
        let number = stream.as_u64();
        if !self.paused.is_empty()
            && let Some(paused) = self.paused.get_mut(&number)
        {
            paused.is_ready = true;
            return;
        }
        if self.is_pull && self.told.contains(&number) {
            return;
        }
        if self.queued.insert(number) {
            self.ready.push_back(stream);
        }
    }

    pub(super) fn has_some(&self) -> bool {
        !self.ready.is_empty() || !self.batch.is_empty() || !self.resumed.is_empty()
    }

    #[cfg(test)]
    pub(super) fn backlog(&self) -> usize {
        assert_eq!(self.ready.len(), self.queued.len());
        self.ready.len() + self.resumed.len()
    }

    /// Nothing more of the stream is wanted.
    pub(super) fn forget(&mut self, stream: StreamId) {
        if self.batch.stream == stream {
            self.batch = Batch::default();
        }
        self.resumed.retain(|batch| batch.stream != stream);
        self.paused.remove(&stream.as_u64());
        self.told.remove(&stream.as_u64());
    }

    /// Nothing more of any stream is wanted.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.is_pull);
    }

    /// Whether another reset may be kept until it is told: each makes room for another stream.
    pub(super) fn may_keep_reset(&self) -> bool {
        self.resumed.len() < RESETS_MAX
    }

    /// The stream was reset, which is told behind what was read of it.
    pub(super) fn on_reset(&mut self, stream: StreamId, error_code: u64) {
        self.on_end(stream, End::Reset(error_code));
    }

    /// The stream has no more for the queue; its end waits to be told.
    fn on_end(&mut self, stream: StreamId, end: End) {
        let number = stream.as_u64();
        // Left there it would read nothing, but resets go first: where they are told slowly, the
        // peer opens the next streams meanwhile, and the queue would have no bound.
        if self.queued.remove(&number) {
            self.ready.retain(|ready| *ready != stream);
        }
        self.told.remove(&number);
        let end = Some(end);
        if let Some(paused) = self.paused.get_mut(&number) {
            paused.is_ready = false;
            paused.batch.stream = stream;
            paused.batch.end = end;
        } else if self.batch.stream == stream && !self.batch.is_empty() {
            self.batch.end = end;
        } else if let Some(batch) = self.resumed.iter_mut().find(|batch| batch.stream == stream) {
            batch.end = end;
        } else {
            self.resumed.push_back(Batch { stream, pieces: VecDeque::new(), end });
        }
    }

    /// Nothing of the stream is wanted until `resume`.
    pub(super) fn pause(&mut self, stream: StreamId) {
        let number = stream.as_u64();
        let paused = self.paused.entry(number).or_default();
        if self.queued.remove(&number) {
            paused.is_ready = true;
            self.ready.retain(|ready| *ready != stream);
        }
        if self.batch.stream == stream && !self.batch.is_empty() {
            paused.batch = std::mem::take(&mut self.batch);
        } else if let Some(at) = self.resumed.iter().position(|batch| batch.stream == stream)
            && let Some(batch) = self.resumed.remove(at)
        {
            paused.batch = batch;
        }
    }

    pub(super) fn resume(&mut self, stream: StreamId) {
        let Some(Paused { is_ready, batch }) = self.paused.remove(&stream.as_u64()) else { return };
        if !batch.is_empty() {
            self.resumed.push_back(batch);
        }
        if is_ready {
            self.push(stream);
        }
    }

    /// The next piece, which goes to `payload`, or end, of a stream. Whether something was given
    /// back to the peer's windows is added to `credit`.
    pub(super) fn next(
        &mut self,
        conn: &mut Connection,
        payload: &mut Bytes,
        credit: &mut bool,
    ) -> Option<Signal> {
        loop {
            if let Some(signal) = self.batch.pop(payload) {
                return Some(signal);
            }
            if let Some(batch) = self.resumed.pop_front() {
                self.batch = batch;
                continue;
            }
            let stream = self.ready.pop_front()?;
            self.queued.remove(&stream.as_u64());
            if self.is_pull {
                if let Some(signal) = self.look(conn, stream, credit) {
                    return Some(signal);
                }
            } else if self.fetch(conn, stream, payload, credit) {
                let fin = self.batch.is_last();
                return Some(Signal::Frame { stream, data: (), fin });
            }
        }
    }

    /// Reads some of a stream, and how it ended if that is all. The first piece, if there is one,
    /// goes to `payload`, where it is wanted at once; the others wait.
    fn fetch(
        &mut self,
        conn: &mut Connection,
        stream: StreamId,
        payload: &mut Bytes,
        credit: &mut bool,
    ) -> bool {
        let Batch { stream: current, pieces, end } = &mut self.batch;
        *current = stream;
        let mut source = conn.recv_stream(wire_id(stream));
        // One that is closed was stopped, or its end was handed out.
        let Ok(mut chunks) = source.read(true) else { return false };
        let mut has_first = false;
        let mut is_cut = false;
        while end.is_none() && !is_cut {
            let is_full = pieces.len() + 1 == PIECES_PER_TURN;
            // Asking for nothing tells whether the stream ends here.
            match chunks.next(if is_full { 0 } else { usize::MAX }) {
                Ok(Some(_)) if is_full => is_cut = true,
                Ok(Some(chunk)) if chunk.bytes.is_empty() => {}
                Ok(Some(chunk)) if has_first => pieces.push_back(chunk.bytes),
                Ok(Some(chunk)) => {
                    *payload = chunk.bytes;
                    has_first = true;
                }
                Ok(None) => *end = Some(End::Fin),
                Err(ReadError::Reset(code)) => *end = Some(End::Reset(code.into_inner())),
                Err(ReadError::Blocked) => break,
            }
        }
        *credit |= chunks.finalize().should_transmit();
        if is_cut {
            self.push(stream);
        }
        has_first
    }

    /// Whether a stream has bytes, or how it ended without more.
    fn look(
        &mut self,
        conn: &mut Connection,
        stream: StreamId,
        credit: &mut bool,
    ) -> Option<Signal> {
        let mut source = conn.recv_stream(wire_id(stream));
        let mut chunks = source.read(true).ok()?;
        let signal = match chunks.next(0) {
            Ok(Some(_)) => {
                self.told.insert(stream.as_u64());
                Some(Signal::Readable(stream))
            }
            Ok(None) => Some(End::Fin.of(stream)),
            Err(ReadError::Reset(code)) => Some(End::Reset(code.into_inner()).of(stream)),
            Err(ReadError::Blocked) => None,
        };
        *credit |= chunks.finalize().should_transmit();
        signal
    }

    /// Copies what a stream has, as much as fits; how many bytes. How it ended, if that is all, is
    /// told like any other end.
    pub(super) fn read(
        &mut self,
        conn: &mut Connection,
        stream: StreamId,
        into: &mut [u8],
        credit: &mut bool,
    ) -> usize {
        let mut done = 0;
        let mut source = conn.recv_stream(wire_id(stream));
        let Ok(mut chunks) = source.read(true) else { return 0 };
        let end = loop {
            let room = into.get_mut(done..).unwrap_or_default();
            match chunks.next(room.len()) {
                Ok(Some(chunk)) => {
                    let Some(room) = room.get_mut(..chunk.bytes.len()) else { break None };
                    if room.is_empty() {
                        break None;
                    }
                    room.copy_from_slice(&chunk.bytes);
                    done += room.len();
                }
                Ok(None) => break Some(End::Fin),
                Err(ReadError::Reset(code)) => break Some(End::Reset(code.into_inner())),
                Err(ReadError::Blocked) => {
                    if done == 0 {
                        self.told.remove(&stream.as_u64());
                    }
                    break None;
                }
            }
        };
        *credit |= chunks.finalize().should_transmit();
        if let Some(end) = end {
            self.on_end(stream, end);
        }
        done
    }
}
