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

    /// Whether a datagram is what comes next; then it is in `payload`. The short way: where streams
    /// or anything else may have something to tell too, it says no.
    #[inline]
    pub(crate) fn next_datagram(&mut self, payload: &mut Bytes) -> bool {
        let is_next = self.has_datagrams
            && !self.reader.has_some()
            && !self.is_paused
            && self.notes.is_empty()
            && self.is_plain();
        is_next && self.datagram(payload).is_some()
    }

    /// The next thing to tell; what it is about, if bytes, goes to `payload`. Data is read when it
    /// is asked for; that may give something to send: see `wants_send`.
    #[inline]
    pub(crate) fn next(&mut self, payload: &mut Bytes) -> Option<Signal> {
        if !self.is_plain() {
            return self.next_of_all(payload);
        }
        match self.notes.pop_front() {
            None => self.received(payload),
            note => note,
        }
    }

    /// Whether there is nothing of what is told a few times in the life of a connection.
    #[inline]
    fn is_plain(&self) -> bool {
        self.phase == Phase::Open
            && !self.is_connected_due
            && !self.has_moved
            && self.early.answer.is_none()
    }

    /// The same where there may be something that is told a few times in the life of a connection.
    #[cold]
    fn next_of_all(&mut self, payload: &mut Bytes) -> Option<Signal> {
        if matches!(self.phase, Phase::Handshaking | Phase::Closed) {
            return None;
        }
        if let Some(is_taken) = self.early.answer.take() {
            return Some(Signal::EarlyData(is_taken));
        }
        if std::mem::take(&mut self.is_connected_due) {
            return Some(Signal::Connected);
        }
        if std::mem::take(&mut self.has_moved) {
            let (old, new) = (self.told_peer, self.conn.remote_address());
            self.told_peer = new;
            return Some(Signal::Migrated { old, new });
        }
        if let Some(note) = self.notes.pop_front() {
            return Some(note);
        }
        self.received(payload).or_else(|| self.take_lost(payload))
    }

    #[inline]
    fn received(&mut self, payload: &mut Bytes) -> Option<Signal> {
        if self.is_paused {
            return None;
        }
        match (self.has_datagrams, self.reader.has_some()) {
            (false, _) => self.stream(payload),
            (true, false) => self.datagram(payload),
            (true, true) => self.received_by_turns(payload),
        }
    }

    /// Datagrams and streams take turns.
    #[inline(never)]
    fn received_by_turns(&mut self, payload: &mut Bytes) -> Option<Signal> {
        self.is_datagrams_turn = !self.is_datagrams_turn;
        match self.is_datagrams_turn {
            true => self.datagram(payload).or_else(|| self.stream(payload)),
            false => self.stream(payload).or_else(|| self.datagram(payload)),
        }
    }

    #[inline]
    fn datagram(&mut self, payload: &mut Bytes) -> Option<Signal> {
        let datagram = self.conn.datagrams().recv();
        self.has_datagrams = datagram.is_some();
        *payload = datagram?;
        self.datagrams_told += 1;
        Some(Signal::Datagram(()))
    }

    #[inline]
    fn stream(&mut self, payload: &mut Bytes) -> Option<Signal> {
        let mut credit = false;
        let signal = self.reader.next(&mut self.conn, payload, &mut credit);
        self.wants_send |= credit;
        self.has_used_streams |= signal.is_some();
        signal
    }

    fn take_lost(&mut self, payload: &mut Bytes) -> Option<Signal> {
        let lost = self.lost.take()?;
        // It is the last thing that is told.
        self.phase = Phase::Closed;
        *payload = lost.reason;
        Some(Signal::Lost { code: lost.code, reason: (), clean: lost.clean })
    }
}
