//! What the application is told, in which order.

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

    /// As `next`, when what comes next is no more than data, and not of both kinds.
    #[inline]
    pub(crate) fn next_data(&mut self) -> Option<Signal> {
        let is_plain = self.phase == Phase::Open
            && !self.is_paused
            && !self.is_connected_due
            && !self.has_moved
            && self.early.answer.is_none()
            && self.notes.is_empty();
        if !is_plain {
            return None;
        }
        if self.reader.has_some() {
            if self.has_datagrams {
                return None;
            }
            return self.stream();
        }
        self.datagram()
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

    #[inline]
    fn datagram(&mut self) -> Option<Signal> {
        if !self.has_datagrams {
            return None;
        }
        let datagram = self.conn.datagrams().recv();
        self.has_datagrams = datagram.is_some();
        self.datagrams_told += u64::from(self.has_datagrams);
        datagram.map(Signal::Datagram)
    }

    #[inline]
    fn stream(&mut self) -> Option<Signal> {
        let mut credit = false;
        let signal = self.reader.next(&mut self.conn, &mut credit);
        self.wants_send |= credit;
        signal
    }

    fn take_lost(&mut self) -> Option<Signal> {
        let lost = self.lost.take()?;
        // It is the last thing that is told.
        self.phase = Phase::Closed;
        Some(Signal::Lost { code: lost.code, reason: lost.reason, clean: lost.clean })
    }
}
