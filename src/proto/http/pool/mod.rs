//! [`Book`]: which request goes onto which connection of a pool, and when one is made or closed.
//!
//! Role: hosts, connections by state, requests that wait, limits, idle time. Not role: sockets,
//! names' addresses, what a request is: all are numbers here. Requests are numbered by the caller,
//! connections (members) and hosts by the book.
//!
//! ```text
//!            enqueue                    next
//! caller  ─────────────► waiting ─── Assign ──► busy ──┐ answered
//!                           │                    ▲     ▼
//!                           └─ Dial ─► dialing ──┴── idle ── Close ──► closed
//!                                      connected
//! ```
//!
//! After whatever was told to it, [`Book::next`] is asked until it has nothing more.
//!
//! *Invariants*: the limits hold at any time. Requests of a host are assigned in the order in which
//! they came. A request is assigned or failed at most once for each time that it was queued, and at
//! last is, while its host can be connected: where the limit of all connections keeps a host from
//! having any, those of others make room, idle ones at once, busy ones after [`TURN`] requests.

mod hosts;
mod lists;
#[cfg(test)]
mod tests;

use std::time::Duration;

use super::HostKey;
use crate::config::HttpPoolConfig;
use crate::time::Time;
use hosts::Host;
use lists::{Chain, List, Table};

/// Requests that a connection serves before it makes room for a host that has none.
const TURN: u32 = 16;
/// How long no further connection to a host is tried after one failed while others are open.
const PAUSE: Duration = Duration::from_millis(500);

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Send the request on the member's connection.
    Assign {
        request: u32,
        member: u32,
        /// Another request was sent on it before.
        is_reused: bool,
        /// No other may follow it: it says `Connection: close`.
        is_last: bool,
    },
    /// Make a connection to the host; then say [`Book::connected`] or [`Book::dial_failed`].
    Dial { host: u32, member: u32 },
    /// Close the member's connection; then say [`Book::closed`].
    Close { member: u32 },
    /// The request's host cannot be connected, for the reason that `dial_failed` was given.
    Fail { request: u32, code: u64 },
}

/// Why a request was not queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unqueued {
    /// So many wait as may.
    Full,
    /// The pool is being closed.
    Closed,
}

/// What a connection is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// There is none.
    #[default]
    Free,
    Dialing,
    Idle {
        since: Time,
    },
    /// With so many requests, one at least.
    Busy {
        underway: u16,
    },
    /// To be closed.
    Doomed,
}

/// One connection.
#[derive(Clone, Copy, Debug, Default)]
struct Member {
    host: u32,
    state: State,
    /// Requests that were sent on it.
    served: u32,
    /// Whether it has shown that requests may be sent behind others.
    pipelines: bool,
    /// Whether all that is under way on it may have others behind.
    is_joinable: bool,
}

/// One request.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    host: u32,
    /// It may be sent behind others, and others behind it.
    is_safe: bool,
}

/// What the book may do.
#[derive(Clone, Copy, Debug)]
struct Limits {
    per_host: u32,
    open: u32,
    idle_per_host: usize,
    waiting: usize,
    pipeline: u16,
    served: u32,
    /// `None`: for ever.
    idle_time: Option<Duration>,
}

/// The book of one pool.
#[derive(Debug)]
pub(crate) struct Book {
    limits: Limits,
    hosts: Table<Host>,
    members: Table<Member>,
    requests: Table<Waiting>,
    /// Members that are none.
    free: List,
    open: u32,
    waiting: usize,
    idle: usize,
    /// Members in `Doomed`.
    doomed: usize,
    is_closing: bool,
    /// `waiting` of hosts.
    request_chain: Chain,
    /// `idle` and `joinable` of hosts, and `free`.
    member_chain: Chain,
    /// Idle members, the one that has been for longest first.
    aged: List,
    age_chain: Chain,
    /// Members whose `Close` was not handed out yet.
    to_close: List,
    close_chain: Chain,
    /// Hosts to be looked at.
    agenda: List,
    agenda_chain: Chain,
    /// Hosts without a member that are kept from making one by the limit of all, and such with.
    starving: List,
    hungry: List,
    hunger_chain: Chain,
    /// Hosts that wait before they try again, in the order of their time.
    paused: List,
    pause_chain: Chain,
}

impl Book {
    pub(crate) fn new(config: &HttpPoolConfig) -> Self {
        let idle_time = Duration::from_millis(config.idle_timeout_ms);
        let served = config.keep_alive_requests;
        let limits = Limits {
            per_host: config.max_connections_per_host as u32,
            open: config.max_connections as u32,
            idle_per_host: config.max_idle_per_host,
            waiting: config.max_waiting,
            pipeline: config.pipeline as u16,
            served: if served == 0 { u32::MAX } else { served },
            idle_time: (!idle_time.is_zero()).then_some(idle_time),
        };
        Self {
            limits,
            hosts: Table::new(),
            members: Table::new(),
            requests: Table::new(),
            free: List::default(),
            open: 0,
            waiting: 0,
            idle: 0,
            doomed: 0,
            is_closing: false,
            request_chain: Chain::new(),
            member_chain: Chain::new(),
            aged: List::default(),
            age_chain: Chain::new(),
            to_close: List::default(),
            close_chain: Chain::new(),
            agenda: List::default(),
            agenda_chain: Chain::new(),
            starving: List::default(),
            hungry: List::default(),
            hunger_chain: Chain::new(),
            paused: List::default(),
            pause_chain: Chain::new(),
        }
    }

    /// Connections, those being established or closed included.
    pub(crate) const fn open(&self) -> usize {
        self.open as usize
    }

    /// Connections without a request.
    pub(crate) const fn idle(&self) -> usize {
        self.idle
    }

    /// Requests that wait.
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Who a host is.
    pub(crate) fn key(&self, host: u32) -> HostKey<'_> {
        self.hosts.at(host).key()
    }

    /// Whose connection a member is.
    pub(crate) fn host_of(&self, member: u32) -> u32 {
        self.members.at(member).host
    }

    // ---- requests

    /// Queues a request under a number that is not in the queue. `is_safe`: it may be sent behind
    /// others, and others behind it.
    pub(crate) fn enqueue(
        &mut self,
        request: u32,
        key: &HostKey<'_>,
        is_safe: bool,
    ) -> Result<(), Unqueued> {
        if self.is_closing {
            return Err(Unqueued::Closed);
        }
        let host = self.hosts.find(key);
        // One that does not wait takes no place.
        let entry = self.hosts.at(host);
        let goes_at_once = entry.waiting.is_empty() && !entry.idle.is_empty();
        if self.waiting >= self.limits.waiting && !goes_at_once {
            return Err(Unqueued::Full);
        }
        self.put(request, host, is_safe, false);
        Ok(())
    }

    /// Queues a request again, before all others: it was assigned, and not one byte of it was sent,
    /// or it may be sent twice. It was accepted before, so that there is room.
    pub(crate) fn requeue(&mut self, request: u32, key: &HostKey<'_>, is_safe: bool) {
        let host = self.hosts.find(key);
        self.put(request, host, is_safe, true);
    }

    fn put(&mut self, request: u32, host: u32, is_safe: bool, first: bool) {
        if self.request_chain.has(request) {
            return;
        }
        self.requests.reach(request);
        *self.requests.at_mut(request) = Waiting { host, is_safe };
        let list = &mut self.hosts.at_mut(host).waiting;
        match first {
            true => self.request_chain.push_first(list, request),
            false => self.request_chain.push_last(list, request),
        }
        self.waiting += 1;
        self.look_at(host);
    }

    /// Takes a request out of the queue; whether it was there.
    pub(crate) fn cancel(&mut self, request: u32) -> bool {
        let host = self.requests.at(request).host;
        let entry = self.hosts.at_mut(host);
        let was_there = self.request_chain.remove(&mut entry.waiting, request);
        entry.failing.0 = entry.failing.0.min(entry.waiting.len() as u32);
        self.waiting -= usize::from(was_there);
        self.settle_hunger(host);
        was_there
    }

    // ---- members

    /// The connection is there, and idle.
    pub(crate) fn connected(&mut self, member: u32, now: Time) {
        let entry = self.members.at_mut(member);
        if entry.state != State::Dialing {
            return;
        }
        let host = entry.host;
        self.hosts.at_mut(host).dialing -= 1;
        self.end_pause(host);
        self.rest(member, now);
    }

    /// The connection could not be made. When its host has no other, the requests that wait for it
    /// fail with `code`.
    pub(crate) fn dial_failed(&mut self, member: u32, code: u64, now: Time) {
        let host = self.members.at(member).host;
        self.closed(member);
        let entry = self.hosts.at_mut(host);
        if entry.open == 0 {
            entry.failing = (entry.waiting.len() as u32, code);
            return self.look_at(host);
        }
        self.end_pause(host);
        self.hosts.at_mut(host).paused_until = now.saturating_add(PAUSE);
        self.pause_chain.push_last(&mut self.paused, host);
    }

    /// A request on the member is done with, to the last byte of its response. `keeps`: the
    /// connection goes on. `pipelines`: its peer speaks HTTP/1.1, and so answers what is sent
    /// behind other requests.
    pub(crate) fn answered(&mut self, member: u32, keeps: bool, pipelines: bool, now: Time) {
        let entry = self.members.at_mut(member);
        let State::Busy { underway } = entry.state else { return };
        entry.pipelines = pipelines;
        if !keeps {
            return self.doom(member);
        }
        if underway <= 1 {
            self.leave_joinable(member);
            return self.rest(member, now);
        }
        entry.state = State::Busy { underway: underway - 1 };
        let host = entry.host;
        self.join_if_room(member);
        self.look_at(host);
    }

    /// The connection is gone, or is none of the pool's any more. Its number may become that of
    /// another. What was under way on it is the caller's to queue again or to fail.
    pub(crate) fn closed(&mut self, member: u32) {
        let Member { host, state, .. } = *self.members.at(member);
        self.leave_joinable(member);
        match state {
            State::Free => return,
            State::Dialing => self.hosts.at_mut(host).dialing -= 1,
            State::Idle { .. } => self.leave_idle(member),
            State::Busy { .. } => {}
            State::Doomed => {
                self.doomed -= 1;
                self.close_chain.remove(&mut self.to_close, member);
            }
        }
        *self.members.at_mut(member) = Member::default();
        self.member_chain.push_last(&mut self.free, member);
        self.open -= 1;
        let entry = self.hosts.at_mut(host);
        entry.open -= 1;
        if entry.open == 0 {
            self.end_pause(host);
        }
        self.settle_hunger(host);
        self.look_at(host);
    }

    /// From now on nothing is accepted; what idles is closed, and what ends.
    pub(crate) fn close(&mut self) {
        self.is_closing = true;
        while let Some(member) = self.aged.first() {
            let host = self.members.at(member).host;
            self.doom(member);
            self.look_at(host);
        }
    }

    /// Whether it was closed, and nothing is left.
    pub(crate) const fn is_finished(&self) -> bool {
        self.is_closing && self.open == 0 && self.waiting == 0
    }

    // ---- time

    /// When [`on_time`](Self::on_time) is due.
    pub(crate) fn next_deadline(&self) -> Time {
        let idle = self.aged.first().map_or(Time::MAX, |member| self.idle_until(member));
        let paused = self.paused.first();
        idle.min(paused.map_or(Time::MAX, |host| self.hosts.at(host).paused_until))
    }

    pub(crate) fn on_time(&mut self, now: Time) {
        while let Some(member) = self.aged.first()
            && self.idle_until(member) <= now
        {
            self.doom(member);
        }
        while let Some(host) = self.paused.first()
            && self.hosts.at(host).paused_until <= now
        {
            self.end_pause(host);
            self.look_at(host);
        }
    }

    fn end_pause(&mut self, host: u32) {
        self.pause_chain.remove(&mut self.paused, host);
        self.hosts.at_mut(host).paused_until = Time::ZERO;
    }

    fn idle_until(&self, member: u32) -> Time {
        match (self.members.at(member).state, self.limits.idle_time) {
            (State::Idle { since }, Some(time)) => since.saturating_add(time),
            _ => Time::MAX,
        }
    }

    // ---- what follows

    /// What is to be done next.
    pub(crate) fn next(&mut self, now: Time) -> Option<Action> {
        loop {
            if let Some(member) = self.close_chain.pop_first(&mut self.to_close) {
                return Some(Action::Close { member });
            }
            if let Some(host) = self.agenda.first() {
                let action = self.step(host, now);
                if action.is_some() {
                    return action;
                }
                self.agenda_chain.remove(&mut self.agenda, host);
                continue;
            }
            let Some(host) = self.next_hungry() else {
                if self.make_room() {
                    continue;
                }
                return None;
            };
            self.look_at(host);
            if self.wants_dial(host, now) {
                return Some(self.dial(host));
            }
        }
    }

    /// One thing that is to be done for a host.
    fn step(&mut self, host: u32, now: Time) -> Option<Action> {
        let entry = self.hosts.at_mut(host);
        let Some(request) = entry.waiting.first() else {
            self.trim(host);
            return None;
        };
        if let (count @ 1.., code) = entry.failing {
            entry.failing.0 = count - 1;
            self.cancel(request);
            return Some(Action::Fail { request, code });
        }
        while let Some(member) = self.hosts.at(host).idle.first() {
            if !self.must_make_room(member) {
                return Some(self.assign(request, member));
            }
            self.doom(member);
        }
        if self.wants_dial(host, now) {
            let is_first = self.starving.is_empty() && self.hungry.is_empty();
            if is_first && self.open < self.limits.open {
                return Some(self.dial(host));
            }
            self.hunger(host);
        }
        let joinable = self.hosts.at(host).joinable.first();
        let member = joinable.filter(|member| !self.must_make_room(*member))?;
        let is_safe = self.requests.at(request).is_safe;
        is_safe.then(|| self.assign(request, member))
    }

    /// Whether a host may have a further connection, and has use for it.
    fn wants_dial(&self, host: u32, now: Time) -> bool {
        let entry = self.hosts.at(host);
        let is_paused = now < entry.paused_until;
        entry.open < self.limits.per_host
            && (entry.dialing as usize) < entry.waiting.len()
            && !is_paused
    }

    fn dial(&mut self, host: u32) -> Action {
        let unused = self.member_chain.pop_first(&mut self.free);
        let member = unused.unwrap_or_else(|| self.members.push());
        *self.members.at_mut(member) = Member { host, state: State::Dialing, ..Member::default() };
        self.open += 1;
        let entry = self.hosts.at_mut(host);
        entry.open += 1;
        entry.dialing += 1;
        Action::Dial { host, member }
    }

    fn assign(&mut self, request: u32, member: u32) -> Action {
        let is_safe = self.requests.at(request).is_safe;
        self.cancel(request);
        let underway = match self.members.at(member).state {
            State::Busy { underway } => underway,
            _ => {
                self.leave_idle(member);
                0
            }
        };
        let entry = self.members.at_mut(member);
        let is_reused = entry.served > 0;
        entry.served = entry.served.saturating_add(1);
        entry.state = State::Busy { underway: underway + 1 };
        entry.is_joinable = is_safe;
        let is_last = entry.served >= self.limits.served;
        self.leave_joinable(member);
        self.join_if_room(member);
        Action::Assign { request, member, is_reused, is_last }
    }

    /// Whether a member that is idle must go, although requests wait for it: a host without any
    /// has waited for its turn.
    fn must_make_room(&self, member: u32) -> bool {
        self.open >= self.limits.open
            && self.starving.len() > self.doomed
            && self.members.at(member).served >= TURN
    }

    /// The host whose turn it is to have a further connection, if there is room for one.
    fn next_hungry(&mut self) -> Option<u32> {
        let has_room = self.open < self.limits.open;
        let host = self.starving.first().or_else(|| self.hungry.first()).filter(|_| has_room)?;
        self.sate(host);
        Some(host)
    }

    /// Closes what has been idle for longest, if somebody waits for its place.
    fn make_room(&mut self) -> bool {
        let wanted = self.starving.len() + self.hungry.len();
        let member = self.aged.first().filter(|_| wanted > self.doomed);
        member.inspect(|member| self.doom(*member)).is_some()
    }

    // ---- states

    /// The member is idle from now on.
    fn rest(&mut self, member: u32, now: Time) {
        let entry = self.members.at_mut(member);
        entry.state = State::Idle { since: now };
        let host = entry.host;
        self.member_chain.push_first(&mut self.hosts.at_mut(host).idle, member);
        self.age_chain.push_last(&mut self.aged, member);
        self.idle += 1;
        self.look_at(host);
    }

    fn leave_idle(&mut self, member: u32) {
        let host = self.members.at(member).host;
        self.member_chain.remove(&mut self.hosts.at_mut(host).idle, member);
        self.age_chain.remove(&mut self.aged, member);
        self.idle -= 1;
    }

    /// Lets a busy member have further requests, if it may.
    fn join_if_room(&mut self, member: u32) {
        let Member { host, state, served, pipelines, is_joinable } = *self.members.at(member);
        let State::Busy { underway } = state else { return };
        let has_room = underway < self.limits.pipeline && served < self.limits.served;
        if has_room && pipelines && is_joinable {
            self.member_chain.push_last(&mut self.hosts.at_mut(host).joinable, member);
        }
    }

    /// It is busy or free, and so in no other list of that chain.
    fn leave_joinable(&mut self, member: u32) {
        let Member { host, state: State::Busy { .. }, .. } = *self.members.at(member) else {
            return;
        };
        self.member_chain.remove(&mut self.hosts.at_mut(host).joinable, member);
    }

    /// Closes a member that is idle or busy.
    fn doom(&mut self, member: u32) {
        match self.members.at(member).state {
            State::Idle { .. } => self.leave_idle(member),
            State::Busy { .. } => self.leave_joinable(member),
            _ => return,
        }
        self.members.at_mut(member).state = State::Doomed;
        self.doomed += 1;
        self.close_chain.push_last(&mut self.to_close, member);
    }

    /// Closes what idles at a host beyond what may, the one used longest ago first.
    fn trim(&mut self, host: u32) {
        let max = if self.is_closing { 0 } else { self.limits.idle_per_host };
        while self.hosts.at(host).idle.len() > max
            && let Some(member) = self.hosts.at(host).idle.last()
        {
            self.doom(member);
        }
    }

    fn look_at(&mut self, host: u32) {
        self.agenda_chain.push_last(&mut self.agenda, host);
    }

    /// Notes that a host waits for room.
    fn hunger(&mut self, host: u32) {
        let entry = self.hosts.at_mut(host);
        if !self.hunger_chain.has(host) {
            entry.is_starving = entry.open == 0;
        }
        let list = if entry.is_starving { &mut self.starving } else { &mut self.hungry };
        self.hunger_chain.push_last(list, host);
    }

    fn sate(&mut self, host: u32) {
        let is_starving = self.hosts.at(host).is_starving;
        let list = if is_starving { &mut self.starving } else { &mut self.hungry };
        self.hunger_chain.remove(list, host);
    }

    /// What a host waits for may have changed.
    fn settle_hunger(&mut self, host: u32) {
        let entry = self.hosts.at(host);
        let is_settled = !entry.waiting.is_empty() && entry.is_starving == (entry.open == 0);
        if self.hunger_chain.has(host) && !is_settled {
            self.sate(host);
            self.look_at(host);
        }
    }
}
