//! What is sent and taken before the handshake is done (0-RTT), and what is known of earlier
//! connections. RFC 9001 §4.6.
//!
//! ```text
//! client: ticket ─▶ Offered ── the server's answer ─▶ EarlyData, Connected
//! server: first flight ─▶ Taken: Connected ── the client's Finished ─▶ Secured
//! ```

use std::sync::Arc;

use quinn_proto::ConnectionId;

use super::{Phase, Session, Signal};
use crate::config::{SessionTicket, Tickets, TlsInfo};
use crate::error::{IoError, Result};
use crate::ids::{StreamDir, StreamId};
use crate::pool::quic::cells::Cells;

/// Where a connection is with early data.
#[derive(Debug, Default)]
pub(super) struct Early {
    state: State,
    /// What the server said, to be told.
    pub(super) answer: Option<bool>,
    /// Bytes that may still be sent early.
    left: usize,
    /// Of a connection of our own.
    tickets: Option<Arc<Tickets>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    None,
    /// We may send some, and do not know whether it is taken.
    Offered,
    /// The client sent some, and nothing yet that a recording would not have.
    Taken,
}

impl Session {
    /// A connection of our own: where its first packets go, and what it resumes.
    pub(in crate::proto::quic) fn dials(&mut self, first: ConnectionId, tickets: Arc<Tickets>) {
        self.first = Some(first);
        self.early.tickets = Some(tickets);
        if self.conn.has_0rtt() {
            self.early.state = State::Offered;
            self.early.left = self.how.early_max;
        }
    }

    /// The handshake is done.
    pub(super) fn shaken(&mut self) {
        if self.phase == Phase::Handshaking {
            self.phase = Phase::Open;
            self.is_connected_due = true;
        }
        match std::mem::take(&mut self.early.state) {
            State::None => {}
            State::Offered => self.answered(),
            State::Taken => self.notes.push_back(Signal::Secured),
        }
    }

    /// The server took what was sent early, or threw it away.
    fn answered(&mut self) {
        let is_taken = self.conn.accepted_0rtt();
        self.early.answer = Some(is_taken);
        if !is_taken {
            // The machine has forgotten our streams, and counts from the first again.
            self.streams.forget_ours();
            self.forget_writes();
            self.notes.clear();
            self.reader.clear();
            return;
        }
        // What was held back, and what the remembered limits did not allow: nothing else tells.
        for id in self.streams.waiting() {
            self.on_room(id);
        }
        for dir in [StreamDir::Bidi, StreamDir::Uni] {
            if self.streams.take_wanted(dir) {
                self.notes.push_back(Signal::Available(dir));
            }
        }
    }

    /// A server that took early data goes on as if the client were there.
    pub(super) fn begin_early(&mut self) {
        let is_server = self.conn.side().is_server();
        if self.phase == Phase::Handshaking && is_server && self.conn.has_0rtt() {
            self.phase = Phase::Open;
            self.is_connected_due = true;
            self.early.state = State::Taken;
        }
    }

    /// Whether we may send before the handshake is done.
    pub(super) fn sends_early(&self) -> bool {
        self.phase == Phase::Handshaking && self.early.state == State::Offered
    }

    /// Whether what comes may be a recording of what came before.
    pub(crate) fn may_be_replayed(&self) -> bool {
        self.early.state == State::Taken
    }

    /// Opens a stream for early data.
    pub(crate) fn open_early(&mut self) -> Result<StreamId> {
        if !self.sends_early() {
            return Err(IoError::EarlyDataUnavailable { conn: self.id });
        }
        self.open_any(StreamDir::Bidi)
    }

    /// Copies as much of `data` as may be sent early.
    pub(super) fn write_early(
        &mut self,
        id: StreamId,
        data: &[u8],
        cells: &mut Cells,
    ) -> Result<usize> {
        let len = data.len().min(self.early.left);
        let taken = self.write_now(id, data.get(..len).unwrap_or(data), cells)?;
        self.early.left -= taken;
        if taken < data.len()
            && let Some(half) = self.streams.half(id)
        {
            half.is_waiting = true;
        }
        Ok(taken)
    }

    /// The newest ticket that came, of a connection of our own.
    pub(crate) fn ticket(&self) -> Option<SessionTicket> {
        self.early.tickets.as_ref()?.newest()
    }

    /// What the handshake agreed on, and with whom, once that is known. It allocates.
    pub(crate) fn tls_info(&self) -> Option<TlsInfo> {
        if self.phase == Phase::Handshaking {
            return None;
        }
        let info = self.conn.crypto_session().peer_identity()?;
        info.downcast::<TlsInfo>().ok().map(|info| *info)
    }
}
