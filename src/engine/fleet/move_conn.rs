//! Connections that move to another shard.
//!
//! ```text
//! here    Open ─ hand_over ─▶ leaving ─ nothing under way, all sent ─▶ mail ─▶ Disconnected
//!           ▲                    │ there is no room for one more, or its time is up
//!           └─ HandOverFailed ───┘
//! there   mail ─▶ Connected ─▶ what was not handed out here ─▶ what the socket gives
//! ```
//!
//! *Invariants*
//! - A leaving connection takes no writes and tells nothing. What it was given is sent before it
//!   goes; what arrived and was not handed out goes with it, in order.
//! - What travels with a connection is bounded: where it is handed out it counts as held, and
//!   nothing is read before all of it was.
//! - Those on their way to a shard are bounded too, by the entries of its mail: in there, and while
//!   its table is full.
//! - A socket is sent to or received from by one shard at a time: it goes when no operation of this
//!   one names it.

use super::Fleet;
use super::mail::Mail;
use crate::code;
use crate::config::{ConnTimeouts, Framing};
use crate::conn::{Conn, Flags, Phase, Span};
use crate::engine::Engine;
use crate::engine::preface::Via;
use crate::error::{IoError, Result};
use crate::event::record::{Kind, Record};
use crate::ids::{ConnId, Protocol};
use crate::pool::{Class, Use};
use crate::proto::App;
use crate::ring::ports::Passed;
use crate::ring::{Op, Token};
use crate::sys::addr::SockAddr;
use crate::time::Time;
use crate::transport::NO_GROUP;

/// A connection on its way.
pub(crate) struct Moved {
    fd: Passed,
    /// The cluster's endpoint that accepted it, or [`NO_GROUP`].
    group: u16,
    protocol: Protocol,
    framing: Option<Framing>,
    timeouts: ConnTimeouts,
    peer: SockAddr,
    user_data: u64,
    /// Who spoke for it.
    via: Option<Box<Via>>,
    unread: Vec<u8>,
}

/// A connection that is about to go.
pub(super) struct Leaving {
    conn: ConnId,
    to: u16,
    /// What arrived and was not handed out.
    unread: Vec<u8>,
    /// The peer's end was to be told.
    saw_end: bool,
}

/// A connection that is not read before what came with it was handed out.
pub(super) struct Arriving {
    conn: ConnId,
    /// It could not go, which is told first.
    has_failed: bool,
    unread: Vec<u8>,
    /// So many bytes of that were handed out.
    done: usize,
}

impl Engine {
    /// Moves a connection to another shard.
    pub(crate) fn hand_over(&mut self, conn: ConnId, to: u16) -> Result<()> {
        self.check_target(conn, to)?;
        self.check_movable(conn)?;
        let deadline = self.ring.now().saturating_add(self.config.close_timeout);
        let index = conn.index();
        let (unread, saw_end) = self.take_unread(conn);
        let entry = self.conns.at(index);
        entry.unset(Flags::OPEN | Flags::WANT_WRITABLE);
        entry.deadline = deadline;
        self.arm_conn_timer(index);
        self.settle_recv(index);
        self.mark_dirty(index);
        if let Some(fleet) = &mut self.fleet {
            fleet.leaving.push(Leaving { conn, to, unread, saw_end });
        }
        Ok(())
    }

    fn check_target(&self, conn: ConnId, to: u16) -> Result<()> {
        let (me, shards) = (self.shard_id(), self.shard_count());
        if to >= shards {
            return Err(IoError::NoSuchShard { shard: to, shards });
        }
        if to == me {
            return Err(IoError::NotMovable { conn, why: "it is on that shard" });
        }
        let runs = self.fleet.as_ref().is_some_and(|fleet| fleet.shared.runs(to));
        if runs { Ok(()) } else { Err(IoError::ShardDown { shard: to }) }
    }

    fn check_movable(&mut self, conn: ConnId) -> Result<()> {
        const OVER: Flags = Flags::SHUT_WANTED
            .union(Flags::SHUT_DONE)
            .union(Flags::GRACEFUL)
            .union(Flags::SEND_FAILED);
        let is_untold = self.has_untold(conn);
        let is_client = self.is_client(conn.index());
        let is_asked = self.parked.has_conn(conn);
        let entry = self.conns.get(conn)?;
        let why = if entry.protocol == Protocol::Quic {
            Some("it is one of QUIC, whose socket others share")
        } else if entry.secure.is_some() {
            Some("it speaks TLS, whose keys stay here")
        } else if entry.phase != Phase::Open || !entry.is_announced {
            Some("it is not established, or its Connected was not handed out")
        } else if is_client || !matches!(entry.app, App::Raw | App::Framed(_)) {
            Some("it speaks HTTP, whose requests stay here")
        } else if is_untold {
            Some("its Connected, or that it could not go, was not handed out")
        } else if entry.is_leaving() {
            Some("it is on its way already")
        } else if entry.has(OVER) {
            Some("it is being closed")
        } else if is_asked {
            Some("what handles asked of it waits there")
        } else {
            None
        };
        why.map_or(Ok(()), |why| Err(IoError::NotMovable { conn, why }))
    }

    /// Whether the application has yet to hear that the connection is there, or still is.
    fn has_untold(&self, conn: ConnId) -> bool {
        let begins = |kind| matches!(kind, Kind::Connected | Kind::HandOverFailed);
        let mut waiting = self.inbox.waiting();
        let mut arriving = self.fleet.iter().flat_map(|fleet| &fleet.arriving);
        waiting.any(|record| record.id == conn.as_u64() && begins(record.kind))
            || arriving.any(|entry| entry.conn == conn && entry.has_failed)
    }

    /// Takes what arrived and was not handed out, and whether the peer's end is part of that.
    fn take_unread(&mut self, conn: ConnId) -> (Vec<u8>, bool) {
        let index = conn.index();
        let mut spans = Vec::new();
        let mut saw_end = false;
        self.inbox.take_out(|record| {
            let is_its = record.id == conn.as_u64();
            match record.kind {
                Kind::StreamFrame(_) if is_its => {
                    let Record { buf, offset, len, .. } = *record;
                    spans.push(Span { buf, offset, len });
                    true
                }
                Kind::ReadClosed if is_its => {
                    saw_end = true;
                    true
                }
                _ => false,
            }
        });
        let entry = self.conns.at(index);
        if !entry.carry.is_empty() {
            let (buf, offset, len) = entry.carry.take();
            spans.push(Span { buf, offset, len });
        }
        if entry.has(Flags::STALLED) {
            entry.unset(Flags::STALLED);
            spans.push(std::mem::replace(&mut entry.stalled, Span::NONE));
            self.lists.stalled = None;
        }
        let mut unread = Vec::new();
        spans.into_iter().for_each(|span| self.copy_out(span, &mut unread));
        if let Some(fleet) = &mut self.fleet
            && let Some(at) = fleet.arriving.iter().position(|entry| entry.conn == conn)
        {
            // It goes on before all that came with it was handed out.
            let entry = fleet.arriving.swap_remove(at);
            unread.extend_from_slice(&entry.unread[entry.done..]);
            self.conns.at(index).unset(Flags::ANNOUNCE_DUE);
        }
        (unread, saw_end)
    }

    /// Bytes that came for a leaving connection.
    pub(in crate::engine) fn keep_for_move(&mut self, index: u32, bid: u16, len: u32) {
        let buf = self.pool.unlend(Class::Stream, bid);
        self.stats.bytes_received += u64::from(len);
        let conn = self.conns.at(index);
        conn.bytes_received += u64::from(len);
        let id = conn.id(index);
        let leaving = |fleet: &mut Box<Fleet>| {
            let entry = fleet.leaving.iter_mut().find(|entry| entry.conn == id);
            entry.map(|entry| std::mem::take(&mut entry.unread))
        };
        let mut unread = self.fleet.as_mut().and_then(leaving).unwrap_or_default();
        self.copy_out(Span { buf, offset: 0, len }, &mut unread);
        let mut all = self.fleet.iter_mut().flat_map(|fleet| &mut fleet.leaving);
        if let Some(entry) = all.find(|entry| entry.conn == id) {
            entry.unread = unread;
        }
    }

    /// Sends off those that are ready to go.
    pub(super) fn run_leaving(&mut self) {
        let mut at = 0;
        loop {
            let Some(fleet) = &mut self.fleet else { return };
            let Some(entry) = fleet.leaving.get(at) else { return };
            match self.conns.peek(entry.conn).map(Stage::of) {
                Some(Stage::Busy) => at += 1,
                stage => {
                    let entry = fleet.leaving.swap_remove(at);
                    match stage {
                        Some(Stage::Ready) => self.send_off(entry),
                        Some(Stage::Stays) => self.stay(entry),
                        _ => {}
                    }
                }
            }
        }
    }

    /// Whether `run_leaving` would do anything.
    pub(super) fn has_ready_to_leave(&self) -> bool {
        let leaving = self.fleet.as_ref().map(|fleet| fleet.leaving.iter());
        let busy =
            |entry: &Leaving| self.conns.peek(entry.conn).map(Stage::of) == Some(Stage::Busy);
        leaving.is_some_and(|mut all| !all.all(busy))
    }

    fn send_off(&mut self, entry: Leaving) {
        let Leaving { conn, to, unread, saw_end } = entry;
        let index = conn.index();
        let stays = |unread| Leaving { conn, to, unread, saw_end };
        let endpoint = self.conns.at(index).endpoint;
        let group = self.group_of(endpoint);
        let from = self.conns.at(index);
        let (sock, protocol, timeouts) = (from.sock, from.protocol, from.timeouts);
        let (peer, user_data, framing) = (from.peer, from.user_data, from.app.framing());
        let Ok(fd) = self.ring.export(sock.fd) else { return self.stay(stays(unread)) };
        let via = self.take_via(index);
        let moved = Moved { fd, group, protocol, framing, timeouts, peer, user_data, via, unread };
        let Some(fleet) = &mut self.fleet else { return };
        if let Err(refused) = fleet.shared.send_quietly(to, Mail::Moved(Box::new(moved))) {
            let Mail::Moved(moved) = refused.into_inner() else { return };
            let conn = self.conns.at(index);
            conn.sock.fd = -1;
            self.keep_via(index, moved.via);
            return match self.ring.import(moved.fd) {
                Ok(fd) => {
                    self.conns.at(index).sock.fd = fd;
                    self.stay(stays(moved.unread));
                }
                Err(_) => self.begin_end(index, code::LOCAL_CLOSE, false),
            };
        }
        fleet.stats.moved_out += 1;
        fleet.nudge_later(to);
        self.conns.at(index).sock.fd = -1;
        if sock.is_fixed() {
            // Before the place can be another's: operations are done in their order.
            let close = Op::CloseSlot { slot: sock.slot, or_nothing: false };
            self.ring.push(close, Token::IGNORE);
        }
        self.begin_end(index, code::HANDED_OVER, true);
    }

    /// It cannot go: it is told, and goes on as if nothing had been.
    fn stay(&mut self, entry: Leaving) {
        let Leaving { conn, unread, saw_end, .. } = entry;
        let index = conn.index();
        let entry = self.conns.at(index);
        entry.enter(Phase::Open);
        entry.set(Flags::ANNOUNCE_DUE);
        if saw_end {
            // The socket will say so again.
            entry.unset(Flags::EOF);
        }
        if !entry.has(Flags::GRACEFUL) {
            entry.deadline = Time::MAX;
        }
        self.arm_conn_timer(index);
        self.mark_dirty_if_due(index);
        if let Some(fleet) = &mut self.fleet {
            fleet.arriving.push(Arriving { conn, has_failed: true, unread, done: 0 });
        }
    }

    /// Whether a connection whose time is up was leaving: then it stays instead of ending.
    pub(in crate::engine) fn stays_overdue(&mut self, conn: ConnId) -> bool {
        let Some(fleet) = &mut self.fleet else { return false };
        let at = fleet.leaving.iter().position(|entry| entry.conn == conn);
        let Some(at) = at else { return false };
        let entry = fleet.leaving.swap_remove(at);
        self.stay(entry);
        true
    }

    // ---- on the other side

    /// Takes in a connection of another shard, there being room for its event; gives it back while
    /// the table is full.
    pub(super) fn take_moved(&mut self, moved: Box<Moved>) -> Option<Box<Moved>> {
        let Ok(index) = self.conns.insert(Phase::Open, moved.protocol, self.now) else {
            return Some(moved);
        };
        if let Some(fleet) = &self.fleet {
            fleet.shared.took_moved(fleet.me);
        }
        let endpoint = match moved.group {
            NO_GROUP => None,
            group => self.listener_of_group(group),
        };
        let Moved { fd, framing, timeouts, peer, user_data, via, unread, .. } = *moved;
        let Ok(fd) = self.ring.import(fd) else {
            self.conns.remove(index);
            return None;
        };
        let conn = self.conns.at(index);
        conn.endpoint = endpoint.unwrap_or(u64::MAX);
        (conn.peer, conn.user_data) = (peer, user_data);
        conn.configure(App::new(framing), timeouts);
        conn.set(Flags::ANNOUNCE_DUE);
        conn.is_announced = true;
        let id = conn.id(index);
        let record = Record::bare(Kind::Connected, id.as_u64(), conn.endpoint);
        self.inbox.push(record);
        self.keep_via(index, via);
        self.opened(index, fd);
        if let Some(fleet) = &mut self.fleet {
            fleet.stats.moved_in += 1;
            fleet.arriving.push(Arriving { conn: id, has_failed: false, unread, done: 0 });
        }
        None
    }

    /// Hands out what came with connections, as far as there is room; then they are read.
    pub(super) fn run_arriving(&mut self) {
        let Some(fleet) = &mut self.fleet else { return };
        let mut arriving = std::mem::take(&mut fleet.arriving);
        arriving.retain_mut(|entry| !self.feed_arriving(entry));
        if let Some(fleet) = &mut self.fleet {
            fleet.arriving = arriving;
        }
    }

    /// Whether that was all of it.
    fn feed_arriving(&mut self, entry: &mut Arriving) -> bool {
        let (id, index) = (entry.conn, entry.conn.index());
        loop {
            let Some(conn) = self.conns.peek(id).filter(|conn| conn.phase == Phase::Open) else {
                return true;
            };
            let holds_enough = conn.has(Flags::HOLDING);
            if holds_enough || self.lists.stalled.is_some() || self.inbox.room() == 0 {
                return false;
            }
            if std::mem::take(&mut entry.has_failed) {
                self.inbox.push(Record::bare(Kind::HandOverFailed, id.as_u64(), 0));
                continue;
            }
            let rest = &entry.unread[entry.done..];
            if rest.is_empty() {
                break;
            }
            let len = rest.len().min(self.pool.class_size(Class::Stream));
            let Some(buf) = self.pool.take(Class::Stream, Use::Rx) else { return false };
            self.pool.write(buf, 0, &rest[..len]);
            self.stats.bytes_copied_rx += len as u64;
            entry.done += len;
            let conn = self.conns.at(index);
            conn.held += 1;
            self.pool.charge(buf, conn.owner(index));
            self.check_held(index);
            self.feed(index, Span { buf, offset: 0, len: len as u32 });
        }
        self.conns.at(index).unset(Flags::ANNOUNCE_DUE);
        self.settle_recv(index);
        true
    }

    /// Whether `run_arriving` would do anything.
    pub(super) fn has_arriving_to_feed(&self) -> bool {
        let Some(fleet) = &self.fleet else { return false };
        if fleet.arriving.is_empty() || self.lists.stalled.is_some() || self.inbox.room() == 0 {
            return false;
        }
        let has_buffer = self.pool.has_for(Class::Stream, Use::Rx);
        let goes_on = |entry: &Arriving| match self.conns.peek(entry.conn) {
            Some(conn) => {
                let is_last = entry.done == entry.unread.len();
                !conn.has(Flags::HOLDING) && (has_buffer || entry.has_failed || is_last)
            }
            None => true,
        };
        fleet.arriving.iter().any(goes_on)
    }

    /// Whether a buffer that comes home would let what came with connections be handed out.
    pub(in crate::engine) fn fleet_is_starved(&self) -> bool {
        let waits = self.fleet.as_ref().is_some_and(|fleet| !fleet.arriving.is_empty());
        waits && !self.pool.has_for(Class::Stream, Use::Rx)
    }
}

/// How far a connection is that was to leave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Something is under way, or not sent.
    Busy,
    Ready,
    /// It was closed meanwhile in order, or cannot send any more.
    Stays,
    /// It has ended.
    Over,
}

impl Stage {
    fn of(conn: &Conn) -> Self {
        if !conn.is_leaving() {
            return Self::Over;
        }
        if conn.has(Flags::GRACEFUL | Flags::SHUT_WANTED | Flags::SEND_FAILED) {
            return Self::Stays;
        }
        if conn.is_busy() || conn.has_unsent() {
            return Self::Busy;
        }
        Self::Ready
    }
}
