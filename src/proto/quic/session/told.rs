//! What the application is told, in which order.

use bytes::Bytes;

use super::{Phase, Session, Signal};

impl Session {
    /// Whether there may be something to tell.
    pub(super) fn is_ready(&self) -> bool {
        if self.phase == Phase::Closed {
            return false;
        }
        self.is_connected_due
            || self.lost.is_some()
            || !self.notes.is_empty()
            || self.has_moved
            || (!self.is_paused && (self.has_datagrams || self.reader.has_some()))
    }

    /// The next thing to tell. Data is read when it is asked for; that may give something to send:
    /// see `wants_send`.
    pub(crate) fn next(&mut self) -> Option<Signal> {
        match self.phase {
            Phase::Handshaking | Phase::Closed => return None,
            Phase::Open | Phase::Lost => {}
        }
        if let Some(is_taken) = self.early.answer.take() {
            return Some(Signal::EarlyData(is_taken));
        }
        if std::mem::take(&mut self.is_connected_due) {
            return Some(Signal::Connected);
        }
        let (old, new) = (self.told_peer, self.conn.remote_address());
        if old != new {
            self.told_peer = new;
            self.has_moved = false;
            return Some(Signal::Migrated { old, new });
        }
        if let Some(note) = self.notes.pop_front() {
            return Some(note);
        }
        self.received().or_else(|| self.take_lost())
    }

    /// As `next`, when a datagram comes next and nothing else waits.
    #[inline]
    pub(crate) fn next_datagram(&mut self) -> Option<Bytes> {
        if !self.has_datagrams || self.reader.has_some() || !self.is_plain() {
            return None;
        }
        self.take_datagram()
    }

    /// As `next`, when something of a stream comes next and nothing else waits.
    #[inline]
    pub(crate) fn next_of_stream(&mut self) -> Option<Signal> {
        if self.has_datagrams || !self.is_plain() {
            return None;
        }
        self.stream()
    }

    /// Whether there is no more to tell than what was received.
    fn is_plain(&self) -> bool {
        self.phase == Phase::Open
            && !self.is_paused
            && !self.is_connected_due
            && !self.has_moved
            && self.early.answer.is_none()
            && self.notes.is_empty()
    }

    /// Datagrams and streams take turns.
    fn received(&mut self) -> Option<Signal> {
        if self.is_paused {
            return None;
        }
        self.is_datagrams_turn = !self.is_datagrams_turn;
        if self.is_datagrams_turn {
            self.datagram().or_else(|| self.stream())
        } else {
            self.stream().or_else(|| self.datagram())
        }
    }

    fn datagram(&mut self) -> Option<Signal> {
        if self.has_datagrams { self.take_datagram().map(Signal::Datagram) } else { None }
    }

    fn take_datagram(&mut self) -> Option<Bytes> {
        let datagram = self.conn.datagrams().recv();
        self.has_datagrams = datagram.is_some();
        self.datagrams_told += u64::from(self.has_datagrams);
        datagram
    }

    #[inline]
    fn stream(&mut self) -> Option<Signal> {
        let mut credit = false;
        let signal = self.reader.next(&mut self.conn, &mut credit);
        self.wants_send |= credit;
        self.has_used_streams |= signal.is_some();
        signal
    }

    fn take_lost(&mut self) -> Option<Signal> {
        let lost = self.lost.take()?;
        // It is the last thing that is told.
        self.phase = Phase::Closed;
        Some(Signal::Lost { code: lost.code, reason: lost.reason, clean: lost.clean })
    }
}
