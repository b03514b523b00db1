//! [`Reader`]: which streams have something to read, and what was read of one of them.
//!
//! *Invariant*: a stream is in the queue at most once, so that a peer that sends many frames makes
//! it no longer.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use quinn_proto::{Connection, ReadError};

use super::signal::Signal;
use super::streams::{Plain, wire_id};
use crate::ids::StreamId;

/// Pieces that are read of a stream at a time; then it is another one's turn.
const PIECES_PER_TURN: usize = 16;

/// How a stream ended.
#[derive(Debug, Clone, Copy)]
enum End {
    Fin,
    Reset(u64),
}

#[derive(Debug, Default)]
pub(super) struct Reader {
    ready: VecDeque<StreamId>,
    queued: HashSet<u64, Plain>,
    /// What was read of `stream` and not handed out, and how it ended behind that.
    stream: StreamId,
    pieces: VecDeque<Bytes>,
    end: Option<End>,
}

impl Reader {
    /// The stream may have something.
    pub(super) fn push(&mut self, stream: StreamId) {
        if self.queued.insert(stream.as_u64()) {
            self.ready.push_back(stream);
        }
    }

    pub(super) fn has_some(&self) -> bool {
        !self.ready.is_empty() || !self.pieces.is_empty() || self.end.is_some()
    }

    #[cfg(test)]
    pub(super) fn backlog(&self) -> usize {
        assert_eq!(self.ready.len(), self.queued.len());
        self.ready.len()
    }

    /// Nothing more of the stream is wanted.
    pub(super) fn forget(&mut self, stream: StreamId) {
        if self.stream == stream {
            self.pieces.clear();
            self.end = None;
        }
    }

    /// Nothing more of any stream is wanted.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The next piece, or end, of a stream. Whether something was given back to the peer's windows
    /// is added to `credit`.
    pub(super) fn next(&mut self, conn: &mut Connection, credit: &mut bool) -> Option<Signal> {
        loop {
            if let Some(signal) = self.pop() {
                return Some(signal);
            }
            let stream = self.ready.pop_front()?;
            self.queued.remove(&stream.as_u64());
            self.read(conn, stream, credit);
        }
    }

    fn pop(&mut self) -> Option<Signal> {
        let stream = self.stream;
        if let Some(data) = self.pieces.pop_front() {
            let fin = self.pieces.is_empty() && matches!(self.end, Some(End::Fin));
            return Some(Signal::Frame { stream, data, fin });
        }
        Some(match self.end.take()? {
            End::Fin => Signal::ReadClosed(stream),
            End::Reset(error_code) => Signal::Reset { stream, error_code },
        })
    }

    /// Reads some of a stream, and how it ended if that is all.
    fn read(&mut self, conn: &mut Connection, stream: StreamId, credit: &mut bool) {
        self.stream = stream;
        let mut source = conn.recv_stream(wire_id(stream));
        // One that is closed was stopped, or its end was handed out.
        let Ok(mut chunks) = source.read(true) else { return };
        let mut is_cut = false;
        while self.end.is_none() && !is_cut {
            let is_full = self.pieces.len() == PIECES_PER_TURN;
            // Asking for nothing tells whether the stream ends here.
            match chunks.next(if is_full { 0 } else { usize::MAX }) {
                Ok(Some(_)) if is_full => is_cut = true,
                Ok(Some(chunk)) if chunk.bytes.is_empty() => {}
                Ok(Some(chunk)) => self.pieces.push_back(chunk.bytes),
                Ok(None) => self.end = Some(End::Fin),
                Err(ReadError::Reset(code)) => self.end = Some(End::Reset(code.into_inner())),
                Err(ReadError::Blocked) => break,
            }
        }
        *credit |= chunks.finalize().should_transmit();
        if is_cut {
            self.push(stream);
        }
    }
}
