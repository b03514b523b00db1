//! The lists of what is to be looked at: never the whole connection table.
//!
//! *Invariant*: an entry is a [`ConnId`], so that a later connection in the same place is not
//! taken for the one that was meant; and a connection's flag says whether it is on a list, so that
//! it is there once.

use std::collections::VecDeque;

use crate::conn::table::Table;
use crate::conn::{Conn, Flags};
use crate::ids::ConnId;
use crate::pool::Class;
use crate::time::Time;

/// Of [`Lists::endpoint_starved`]: the pressure has to fall.
pub(super) const FOR_PRESSURE: u8 = 1 << 7;

/// Of [`Lists::endpoint_starved`]: a buffer of that class has to come home.
pub(super) const fn starved_bit(class: Class) -> u8 {
    1 << class as u8
}

/// A `Connected`, a `Writable` and a `Disconnected`.
const NOTICES_PER_CONN: usize = 3;

pub(super) struct Lists {
    /// Connections with something to send.
    pub(super) dirty: Vec<ConnId>,
    /// Connections whose receive ended for want of buffers.
    pub(super) starved: VecDeque<ConnId>,
    /// Connections whose write waits for buffers.
    pub(super) buffer_waiters: VecDeque<ConnId>,
    /// Connections with a `Connected`, a `Writable` or a `Disconnected` to be handed out.
    pub(super) notices: VecDeque<ConnId>,
    /// Connections with something to send that the kernel could not take for want of memory: they
    /// rest until `retry_at`.
    pub(super) resend: Vec<ConnId>,
    /// Connections of HTTP with an answer that found no room: they rest, too.
    pub(super) unanswered: Vec<ConnId>,
    /// Until then no send is a zero-copy one: the kernel would not pin more memory.
    pub(super) zero_copy_after: Time,
    /// The connection whose bytes wait for room in the event queue: no completion is taken while
    /// there is one.
    pub(super) stalled: Option<ConnId>,
    /// UDP sockets with something to send.
    pub(super) udp_dirty: VecDeque<u32>,
    /// Some endpoint can be accepted or received from at once.
    pub(super) endpoint_work: bool,
    /// Some endpoint waits for a buffer of these classes, a bit each, or for the pressure to fall.
    pub(super) endpoint_starved: u8,
    /// The endpoint that is looked at first, so that each is at times.
    pub(super) endpoint_first: u32,
    /// When to look again at endpoints that rest and at connects that wait.
    pub(super) retry_at: Time,
    /// Connections that ended by `close` with events still queued.
    pub(super) muted: usize,
    /// Open connections that are not read because they hold too many buffers.
    pub(super) holding: u32,
}

/// Puts a connection on a list that has a place for each one that lives: those that are gone make
/// room.
pub(super) fn list_living(list: &mut VecDeque<ConnId>, conns: &Table, id: ConnId) {
    if list.len() == list.capacity() {
        list.retain(|id| conns.peek(*id).is_some());
    }
    list.push_back(id);
}

impl Lists {
    pub(super) fn new(connections: usize, endpoints: usize) -> Self {
        Self {
            dirty: Vec::with_capacity(connections),
            starved: VecDeque::with_capacity(connections),
            buffer_waiters: VecDeque::with_capacity(connections),
            notices: VecDeque::with_capacity(connections * NOTICES_PER_CONN),
            resend: Vec::new(),
            unanswered: Vec::new(),
            zero_copy_after: Time::ZERO,
            stalled: None,
            udp_dirty: VecDeque::with_capacity(endpoints),
            endpoint_work: false,
            endpoint_starved: 0,
            endpoint_first: 0,
            retry_at: Time::MAX,
            muted: 0,
            holding: 0,
        }
    }

    /// Puts a connection on the list of those with something to send.
    #[inline]
    pub(super) fn mark_dirty(&mut self, conn: &mut Conn, id: ConnId) {
        if !conn.has(Flags::DIRTY) {
            conn.set(Flags::DIRTY);
            self.dirty.push(id);
        }
    }

    pub(super) fn has_notice(&self) -> bool {
        !self.notices.is_empty()
    }

    /// Whether a buffer that comes home from another thread would let something go on.
    pub(super) fn is_starved(&self) -> bool {
        self.endpoint_starved != 0
            || !self.starved.is_empty()
            || !self.buffer_waiters.is_empty()
            || self.holding > 0
    }
}
