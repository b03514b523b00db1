//! [`Table`]: connections by number, with generations.

use super::tx::{NO_BLOCK, TxQueue};
use super::{Conn, Flags, Phase, Span};
use crate::code;
use crate::error::{IoError, PoolKind, Result};
use crate::ids::{ConnId, GENERATION_BITS, Protocol};
use crate::pool::carry::Carry;
use crate::proto::App;
use crate::ring::{Sock, Token};
use crate::sys::addr::SockAddr;
use crate::time::Time;
use std::collections::VecDeque;

/// Connections that a place has before it stands behind all others. The last one to be freed is the
/// next one to be taken, since it is in the cache: without a rest one place would soon be through
/// with its generations.
const TURNS: u32 = 1 << 16;

/// The connections of one shard. Places are touched when first used, so a large bound costs
/// address space only.
pub(crate) struct Table {
    places: Vec<Conn>,
    /// Those that rest in front.
    free: VecDeque<u32>,
    max: usize,
    used: usize,
    peak: usize,
}

impl Table {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            places: Vec::with_capacity(max),
            free: VecDeque::with_capacity(max),
            max,
            used: 0,
            peak: 0,
        }
    }

    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    pub(crate) const fn peak(&self) -> usize {
        self.peak
    }

    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.used == self.max
    }

    /// # Panics
    /// When it grew past its bound, or a place is neither taken nor free.
    pub(crate) fn audit(&self) {
        let (places, free) = (self.places.len(), self.free.len());
        assert!(places <= self.max && self.used + free == places, "{free} of {places} are free");
    }

    /// Takes a place.
    pub(crate) fn insert(&mut self, phase: Phase, protocol: Protocol, now: Time) -> Result<u32> {
        let index = match self.free.pop_back() {
            Some(index) => index,
            None if self.places.len() < self.max => {
                self.places.push(blank());
                self.places.len() as u32 - 1
            }
            None => return Err(IoError::exhausted(PoolKind::Connections)),
        };
        let conn = &mut self.places[index as usize];
        let generation = conn.generation;
        *conn = Conn { generation, protocol, last_rx: now, last_tx: now, ..blank() };
        conn.enter(phase);
        self.used += 1;
        self.peak = self.peak.max(self.used);
        Ok(index)
    }

    /// Frees a place. The next connection there has another generation.
    pub(crate) fn remove(&mut self, index: u32) {
        let conn = &mut self.places[index as usize];
        debug_assert!(conn.tx.is_empty() && conn.carry.is_empty() && !conn.is_busy());
        conn.flags = Flags::empty();
        conn.secure = None;
        conn.app = App::Raw;
        conn.enter(Phase::Free);
        conn.generation = next_generation(conn.generation);
        let is_to_rest = conn.generation.is_multiple_of(TURNS);
        self.used -= 1;
        if is_to_rest {
            self.free.push_front(index);
        } else {
            self.free.push_back(index);
        }
    }

    #[inline]
    pub(crate) fn at(&mut self, index: u32) -> &mut Conn {
        &mut self.places[index as usize]
    }

    /// The connection with that id, unless it is gone.
    #[inline]
    pub(crate) fn find(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.place(id).filter(|c| c.phase != Phase::Free)
    }

    /// The same, to be looked at only.
    pub(crate) fn peek(&self, id: ConnId) -> Option<&Conn> {
        let conn = self.places.get(id.index() as usize)?;
        (conn.generation == id.generation() && conn.phase != Phase::Free).then_some(conn)
    }

    /// The connection with that id, as the application knows it: not after its end.
    #[inline]
    pub(crate) fn get(&mut self, conn: ConnId) -> Result<&mut Conn> {
        self.find(conn).filter(|c| c.phase < Phase::Ending).ok_or(IoError::StaleConn { conn })
    }

    /// The same, until its end was told, unless the application ended it itself: what came before
    /// the end is still handed out, and belongs to somebody.
    pub(crate) fn told(&mut self, conn: ConnId) -> Result<&mut Conn> {
        let is_closed_here = |c: &Conn| c.has(Flags::MUTED) || c.code == code::LOCAL_CLOSE;
        let found = self.find(conn);
        found.filter(|c| !is_closed_here(c)).ok_or(IoError::StaleConn { conn })
    }

    /// The connection that a completion belongs to, unless it is for an earlier one in the same
    /// place: the generation of a free place is one that no operation has seen.
    #[inline]
    pub(crate) fn of_token(&mut self, token: Token) -> Option<&mut Conn> {
        let conn = self.places.get_mut(token.index() as usize)?;
        if conn.generation == token.generation() { Some(conn) } else { None }
    }

    /// The same for an id. It may name a free place, if somebody made it up.
    #[inline]
    pub(crate) fn place(&mut self, id: ConnId) -> Option<&mut Conn> {
        let conn = self.places.get_mut(id.index() as usize)?;
        if conn.generation == id.generation() { Some(conn) } else { None }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Conn)> {
        (0..).zip(&self.places).filter(|(_, c)| c.phase != Phase::Free)
    }
}

/// Generations fit `user_data`, so that a token compares whole; 0 is skipped, so that `ConnId(0)`
/// names nothing.
const fn next_generation(generation: u32) -> u32 {
    let next = (generation + 1) & ((1 << GENERATION_BITS) - 1);
    if next == 0 { 1 } else { next }
}

const fn blank() -> Conn {
    Conn {
        generation: 1,
        phase: Phase::Free,
        is_announced: false,
        is_clean: false,
        protocol: Protocol::Tcp,
        flags: Flags::empty(),
        sock: Sock::plain(-1),
        tx: TxQueue::EMPTY,
        block: NO_BLOCK,
        pinned: 0,
        held: 0,
        calm_held: 0,
        app: App::Raw,
        secure: None,
        carry: Carry::EMPTY,
        stalled: Span::NONE,
        endpoint: u64::MAX,
        user_data: 0,
        acked: 0,
        bytes_received: 0,
        bytes_sent: 0,
        last_rx: Time::ZERO,
        last_tx: Time::ZERO,
        timer: None,
        timeouts: crate::config::ConnTimeouts { idle: None, read: None, write: None },
        deadline: Time::MAX,
        code: 0,
        peer: SockAddr::EMPTY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Tag;

    #[test]
    fn a_new_tenant_is_not_the_old_one() {
        let mut table = Table::new(1);
        let index = table.insert(Phase::Open, Protocol::Tcp, Time::ZERO).unwrap();
        let (old_id, old_token) = {
            let conn = table.at(index);
            (conn.id(index), conn.token(Tag::Recv, index))
        };
        assert!(table.insert(Phase::Open, Protocol::Tcp, Time::ZERO).is_err(), "the bound holds");
        table.remove(index);
        assert_eq!(table.insert(Phase::Open, Protocol::Tcp, Time::ZERO), Ok(index));
        assert!(table.find(old_id).is_none() && table.of_token(old_token).is_none());
        assert!(table.get(ConnId::from_u64(0)).is_err());
    }

    #[test]
    fn places_take_turns_so_that_ids_come_again_late() {
        let mut table = Table::new(2);
        let take = |table: &mut Table| table.insert(Phase::Open, Protocol::Tcp, Time::ZERO);
        let both = [take(&mut table).unwrap(), take(&mut table).unwrap()];
        both.iter().for_each(|index| table.remove(*index));
        let mut turns = [0; 2];
        for _ in 0..3 * TURNS {
            let index = take(&mut table).unwrap();
            table.remove(index);
            turns[index as usize] += 1;
        }
        assert!(turns.iter().all(|turns| *turns >= TURNS - 2), "{turns:?}");
    }
}
