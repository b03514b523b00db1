//! Deadlines: of connections, of the application, and watched descriptors.

use super::Engine;
use crate::code;
use crate::conn::{Conn, Flags, Phase};
use crate::error::{IoError, PoolKind, Result};
use crate::event::Readiness;
use crate::event::record::{Kind, Record};
use crate::ids::{ConnId, GENERATION_BITS, Protocol, TimerId, WatchId};
use crate::proto::App;
use crate::ring::{Completion, Fd, Op, Sock, Tag, Token};
use crate::time::Time;
use crate::time::wheel::TimerKey;

/// One watched descriptor.
#[derive(Clone, Copy)]
struct Watch {
    generation: u32,
    fd: Fd,
    mask: u32,
    token: u64,
    armed: bool,
    live: bool,
}

/// The watched descriptors.
pub(super) struct Watches {
    places: Vec<Watch>,
    max: usize,
}

impl Watches {
    pub(super) const fn new(max: usize) -> Self {
        Self { places: Vec::new(), max }
    }

    fn insert(&mut self, fd: Fd, mask: u32, token: u64) -> Result<u32> {
        let watch = Watch { generation: 1, fd, mask, token, armed: true, live: true };
        if let Some(at) = self.places.iter().position(|w| !w.live && !w.armed) {
            let generation = self.places[at].generation;
            self.places[at] = Watch { generation, ..watch };
            return Ok(at as u32);
        }
        if self.places.len() == self.max {
            return Err(IoError::exhausted(PoolKind::Watches));
        }
        self.places.push(watch);
        Ok(self.places.len() as u32 - 1)
    }

    fn find(&mut self, index: u32, generation: u32) -> Option<&mut Watch> {
        self.places.get_mut(index as usize).filter(|w| w.generation == generation)
    }

    /// How many polls are under way.
    pub(super) fn polls(&self) -> u64 {
        self.places.iter().filter(|w| w.armed).count() as u64
    }

    pub(super) fn is_live(&mut self, id: WatchId) -> bool {
        self.find(id.index(), id.generation()).is_some_and(|w| w.live)
    }
}

impl Watch {
    /// The place may be used again.
    fn retire(&mut self) {
        let next = (self.generation + 1) & ((1 << GENERATION_BITS) - 1);
        self.generation = next.max(1);
    }
}

impl Engine {
    // ---- connections

    /// Arms the connection's timer at its earliest deadline.
    pub(super) fn arm_conn_timer(&mut self, index: u32) {
        let now = self.now;
        let conn = self.conns.at(index);
        let id = conn.id(index);
        let mut due = next_deadline(conn, now);
        if conn.phase == Phase::Open {
            due = due.min(Self::http_deadline(conn, now)).min(Self::look_due(conn));
        }
        if conn.phase == Phase::Connecting
            && let Some(race) = self.plans.race(id)
        {
            due = due.min(race.next_at());
        }
        let conn = self.conns.at(index);
        Self::http_armed(conn, due);
        let data = id.as_u64();
        match conn.timer {
            Some(key) => {
                self.conn_timers.update(key, due);
            }
            None if due.is_never() => {}
            None => conn.timer = self.conn_timers.insert(due, data).ok(),
        }
    }

    pub(super) fn run_conn_timers(&mut self) {
        let now = self.now;
        self.conn_timers.advance(now);
        self.user_timers.advance(now);
        while let Some((_, data)) = self.conn_timers.pop_due() {
            let id = ConnId::from_u64(data);
            let Some(conn) = self.conns.find(id) else {
                self.quic_drain_timeout(id);
                continue;
            };
            conn.timer = None;
            if conn.protocol == Protocol::Quic {
                self.quic_timeout(id);
                continue;
            }
            match overdue(conn, now) {
                Some(_) if self.stays_overdue(id) => {}
                Some(code::WRITE_TIMEOUT | code::IDLE_TIMEOUT) if self.sends_on(id.index()) => {
                    self.arm_unless_over(id);
                }
                Some(code) => self.begin_end(id.index(), code, false),
                None => {
                    self.look_if_quiet(id);
                    self.run_race(id);
                    self.http_overdue(id);
                    self.arm_unless_over(id);
                }
            }
        }
    }

    /// Whether the peer takes a send in that is longer than the limit that has passed: one
    /// completion tells of all of it. Of a peer that is gone that is said once more than is true,
    /// since what is sent again counts as sent, and what it last acknowledged is not known before.
    fn sends_on(&mut self, index: u32) -> bool {
        let conn = self.conns.at(index);
        let is_sending = conn.has(Flags::SEND_BUSY) || conn.pinned > 0;
        if !is_sending || conn.protocol != Protocol::Tcp {
            return false;
        }
        let since = self.now.saturating_since(conn.last_tx);
        let Ok(info) = self.ring.tcp_info(conn.sock.fd) else { return false };
        let conn = self.conns.at(index);
        let was_acked = std::mem::replace(&mut conn.acked, info.bytes_acked) != info.bytes_acked;
        let sends_on = was_acked && info.sent_ago < since;
        if sends_on {
            conn.last_tx = self.now;
        }
        sends_on
    }

    /// The same, unless the connection has ended in the meantime.
    pub(super) fn arm_unless_over(&mut self, id: ConnId) {
        if self.conns.get(id).is_ok() {
            self.arm_conn_timer(id.index());
        }
    }

    // ---- the application's timers

    pub(crate) fn timer_set(&mut self, after: std::time::Duration, token: u64) -> Result<TimerId> {
        let due = self.ring.now().saturating_add(after);
        match self.user_timers.insert(due, token) {
            Ok(key) => Ok(timer_id(key)),
            Err(_) => Err(IoError::exhausted(PoolKind::Timers)),
        }
    }

    /// Whether it was still to be handed out.
    pub(crate) fn timer_cancel(&mut self, timer: TimerId) -> bool {
        TimerKey::from_bits(u64::from(timer.index()) << 32 | u64::from(timer.generation()))
            .is_some_and(|key| self.user_timers.cancel(key).is_some())
    }

    pub(super) fn pop_timer(&mut self) -> Option<(TimerId, u64)> {
        let (key, token) = self.user_timers.pop_due()?;
        Some((timer_id(key), token))
    }

    // ---- watched descriptors

    pub(crate) fn watch_fd(&mut self, fd: Fd, interest: Readiness, token: u64) -> Result<WatchId> {
        if fd < 0 {
            return Err(IoError::InvalidArgument {
                what: "descriptor",
                why: "it is negative; watch an open descriptor",
            });
        }
        let mask = interest.bits();
        let index = self.watches.insert(fd, mask, token)?;
        self.arm_watch(index);
        Ok(WatchId::new(index, self.watches.places[index as usize].generation))
    }

    fn arm_watch(&mut self, index: u32) {
        let watch = &self.watches.places[index as usize];
        let token = Token::new(Tag::Watch, watch.generation, index);
        let sock = Sock::plain(watch.fd);
        self.ring.push(Op::Poll { sock, mask: watch.mask, multi: true }, token);
    }

    /// Stops watching. Whether it was watched. No event of it is handed out any more.
    pub(crate) fn unwatch_fd(&mut self, id: WatchId) -> bool {
        let Some(watch) = self.watches.find(id.index(), id.generation()) else { return false };
        if !watch.live {
            return false;
        }
        watch.live = false;
        let target = Token::new(Tag::Watch, id.generation(), id.index());
        if watch.armed {
            self.ring.push(Op::Cancel { target }, Token::IGNORE);
        } else {
            watch.retire();
        }
        true
    }

    pub(super) fn on_watch(&mut self, completion: Completion) {
        let (index, generation) = (completion.token.index(), completion.token.generation());
        let Some(watch) = self.watches.find(index, generation) else { return };
        let ended = !completion.more();
        watch.armed = !ended;
        if !watch.live {
            if ended {
                watch.retire();
            }
            return;
        }
        let cancelled = completion.result == -crate::sys::errno::ECANCELED;
        let failed = completion.result < 0 && !cancelled;
        let readiness = match completion.result {
            mask @ 0.. => mask as u32,
            _ => Readiness::INVALID.bits(),
        };
        let token = watch.token;
        if ended && !failed {
            watch.armed = true;
            self.arm_watch(index);
        }
        if !cancelled {
            let id = WatchId::new(index, generation).as_u64();
            let record = Record { len: readiness, ..Record::bare(Kind::FdReady, id, token) };
            self.inbox.push(record);
        }
    }
}

/// The public name of a timer: the key's index and generation.
const fn timer_id(key: TimerKey) -> TimerId {
    let bits = key.to_bits();
    TimerId::new((bits >> 32) as u32, bits as u32)
}

/// The earliest moment at which `overdue` may find something. Limits that do not run now are
/// looked at again after their own length.
fn next_deadline(conn: &Conn, now: Time) -> Time {
    let mut due = conn.deadline;
    if conn.phase == Phase::Open {
        let limits = conn.timeouts;
        if let Some(idle) = limits.idle {
            due = due.min(conn.last_rx.max(conn.last_tx).saturating_add(idle));
        }
        if let Some(read) = limits.read {
            let from = if reads(conn) { conn.last_rx } else { now };
            due = due.min(from.saturating_add(read));
        }
        if let Some(write) = limits.write {
            let from = if conn.has_unsent() { conn.last_tx } else { now };
            due = due.min(from.saturating_add(write));
        }
    }
    due
}

/// Whether the peer is expected to send.
fn reads(conn: &Conn) -> bool {
    !conn.has(Flags::EOF | Flags::PAUSED | Flags::HOLDING)
}

/// The limit that has passed.
fn overdue(conn: &Conn, now: Time) -> Option<u64> {
    if now >= conn.deadline {
        return Some(match conn.phase {
            Phase::Open if matches!(conn.app, App::Preface(_)) => code::PROXY_HEADER,
            Phase::Open if conn.has(Flags::SHAKING) => code::TLS_HANDSHAKE_TIMEOUT,
            Phase::Open => code::CLOSE_TIMEOUT,
            _ => code::CONNECT_TIMEOUT,
        });
    }
    if conn.phase != Phase::Open {
        return None;
    }
    let passed = |from: Time, limit: Option<std::time::Duration>| {
        limit.is_some_and(|limit| now >= from.saturating_add(limit))
    };
    let limits = conn.timeouts;
    if conn.has_unsent() && passed(conn.last_tx, limits.write) {
        return Some(code::WRITE_TIMEOUT);
    }
    if passed(conn.last_rx.max(conn.last_tx), limits.idle) {
        return Some(code::IDLE_TIMEOUT);
    }
    if reads(conn) && passed(conn.last_rx, limits.read) {
        return Some(code::READ_TIMEOUT);
    }
    None
}
