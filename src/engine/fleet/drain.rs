//! How a shard ends, or one of its listeners: nothing that came is lost while there is time.
//!
//! ```text
//! Doors ─────────────────▶ Lingering ───────────────▶ Flushing ──────────────▶ over
//! accept what is there,    until no connection that   what was closed then
//! until nobody came for    came here is left, or the  goes out, for so long
//! a while                  deadline: they are closed
//! ```
//!
//! Role: the stages, and what each connection is told. Not role: keeping new ones away (the
//! cluster's, which brakes the listeners or has other shards take them).
//!
//! *Invariant*: only connections that came to a listener that is closed are waited for or closed;
//! those that the shard made itself are the application's.

use std::time::Duration;

use crate::code;
use crate::conn::Phase;
use crate::engine::Engine;
use crate::engine::fleet::ask::Ask;
use crate::engine::fleet::mail::Mail;
use crate::event::record::{Kind, Record};
use crate::ids::{ConnId, EndpointId, Protocol};
use crate::proto::Speaks;
use crate::ring::Fd;
use crate::time::Time;
use crate::transport::{Endpoint, Kind as EndpointKind, NO_GROUP};

/// Nobody came for that long: a handshake that was under way would have ended.
const QUIET: Duration = Duration::from_millis(200);
/// Between two looks at the connections.
const LOOK: Duration = Duration::from_millis(20);
/// How long what was closed may take to go out.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// What is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Shard,
    Group(u16),
}

/// What becomes of those that come late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doors {
    /// They are accepted until nobody comes any more: the listeners are braked.
    Quiet,
    /// Others accept them.
    Shut,
}

/// What the cluster has a shard do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) of: Of,
    pub(crate) doors: Doors,
    /// How long connections have.
    pub(crate) deadline: Duration,
}

/// One end under way.
pub(super) struct Drain {
    of: Of,
    stage: Stage,
    deadline: Time,
    look_at: Time,
    /// The listeners that are closed.
    listeners: Vec<Listener>,
    /// The cluster is to hear that they are.
    untold: bool,
}

#[derive(Clone, Copy)]
struct Listener {
    /// As connections name it.
    id: u64,
    group: u16,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nobody came since `QUIET` before then.
    Doors {
        quiet_at: Time,
    },
    Lingering,
    Flushing {
        until: Time,
    },
    Over,
}

impl Engine {
    /// Begins to end what it says. There is room for an event.
    pub(super) fn begin_drain(&mut self, order: Order) {
        let Order { of, doors, deadline } = order;
        let is_known =
            |fleet: &super::Fleet| fleet.drains.iter().any(|d| d.of == of || d.of == Of::Shard);
        if self.fleet.as_deref().is_none_or(is_known) {
            return;
        }
        let now = self.now;
        let until = now.saturating_add(deadline);
        let mut drain = Drain {
            of,
            stage: Stage::Doors { quiet_at: now.saturating_add(QUIET).min(until) },
            deadline: until,
            look_at: now,
            listeners: self.listeners_of(of),
            untold: of != Of::Shard,
        };
        if of == Of::Shard {
            let nanos = crate::time::nanos(deadline);
            self.inbox.push(Record::bare(Kind::Draining, 0, nanos));
        }
        for listener in &drain.listeners {
            let endpoint = self.endpoints.at(EndpointId::from_u64(listener.id).index());
            if let Some(Endpoint { kind: EndpointKind::Listener(listener), .. }) = endpoint
                && let Speaks::Http1(server) = &listener.speaks
            {
                server.close_after_next();
            }
        }
        if doors == Doors::Shut || drain.listeners.is_empty() {
            self.shut_doors(&mut drain);
        } else {
            // Theirs are refused in words, and tried elsewhere at once.
            self.close_endpoints(&drain.listeners, |kind| matches!(kind, EndpointKind::Quic(_)));
        }
        if let Some(fleet) = &mut self.fleet {
            fleet.drains.push(drain);
        }
    }

    /// Whom connections come to, of what is to end.
    fn listeners_of(&mut self, of: Of) -> Vec<Listener> {
        let mut listeners = Vec::new();
        for index in self.endpoints.indices() {
            let Some(endpoint) = self.endpoints.at(index) else { continue };
            let is_meant = match of {
                Of::Shard => true,
                Of::Group(group) => endpoint.group == group,
            };
            let is_listener = !matches!(endpoint.kind, EndpointKind::Udp(_)) || of != Of::Shard;
            if is_meant && is_listener && !endpoint.closing && !endpoint.is_lame {
                let group = endpoint.group;
                let id = self.endpoints.id(index).map(EndpointId::as_u64);
                listeners.extend(id.map(|id| Listener { id, group }));
            }
        }
        listeners
    }

    /// Goes on with what is under way, and comes back when there is more to do.
    pub(super) fn drain_step(&mut self) {
        let Some(fleet) = &mut self.fleet else { return };
        let mut drains = std::mem::take(&mut fleet.drains);
        for drain in &mut drains {
            self.step(drain);
        }
        let Some(fleet) = &mut self.fleet else { return };
        fleet.stopped |= drains.iter().any(|d| d.of == Of::Shard && d.stage == Stage::Over);
        drains.retain(|drain| drain.of == Of::Shard || drain.stage != Stage::Over || drain.untold);
        fleet.drains = drains;
        self.lists.retry_at = self.lists.retry_at.min(self.drains_due());
    }

    /// When to go on with what is under way.
    pub(in crate::engine) fn drains_due(&self) -> Time {
        let drains = self.fleet.iter().flat_map(|fleet| &fleet.drains);
        drains.map(Drain::next_at).fold(Time::MAX, Time::min)
    }

    fn step(&mut self, drain: &mut Drain) {
        let now = self.now;
        if let Stage::Doors { quiet_at } = drain.stage
            && (now >= drain.deadline || (now >= quiet_at && self.has_accepted_all(drain)))
        {
            self.shut_doors(drain);
        }
        if now >= drain.look_at {
            drain.look_at = now.saturating_add(LOOK);
            self.look(drain);
        }
        if drain.untold
            && drain.has_shut()
            && let (Of::Group(group), Some(fleet)) = (drain.of, &self.fleet)
        {
            let closed = Ask::Closed { group, shard: fleet.me };
            drain.untold = fleet.shared.ask(closed).is_err();
        }
    }

    /// Whether the last look at each listener found nobody, as far as it could look.
    fn has_accepted_all(&mut self, drain: &Drain) -> bool {
        drain.listeners.iter().all(|listener| {
            let listener = EndpointId::from_u64(listener.id);
            match self.endpoints.get(listener) {
                Ok(Endpoint { ready, kind: EndpointKind::Listener(listener), .. }) => {
                    !*ready || listener.resting_until.is_some()
                }
                _ => true,
            }
        })
    }

    fn shut_doors(&mut self, drain: &mut Drain) {
        self.close_endpoints(&drain.listeners, |_| true);
        drain.stage = Stage::Lingering;
        drain.look_at = self.now;
    }

    fn close_endpoints(&mut self, which: &[Listener], is_meant: impl Fn(&EndpointKind) -> bool) {
        for listener in which {
            let id = EndpointId::from_u64(listener.id);
            if self.endpoints.get(id).is_ok_and(|endpoint| is_meant(&endpoint.kind)) {
                let closed = self.endpoint_close(id);
                debug_assert!(closed.is_ok(), "it is there");
            }
        }
    }

    /// Looks at the connections: idle ones end, and when none is left, or time is up, so does the
    /// stage.
    fn look(&mut self, drain: &mut Drain) {
        let now = self.now;
        let left = self.came_to(&drain.listeners);
        let is_done = left.is_empty() && (drain.of != Of::Shard || !self.quic_has_drains());
        match drain.stage {
            Stage::Lingering if !left.is_empty() && now >= drain.deadline => {
                left.into_iter().for_each(|index| self.cut_off(index));
                drain.stage = Stage::Flushing { until: now.saturating_add(FLUSH_MAX) };
            }
            Stage::Lingering if is_done => drain.stage = self.over(drain),
            Stage::Lingering if left.is_empty() => {
                drain.stage = Stage::Flushing { until: now.saturating_add(FLUSH_MAX) };
            }
            Stage::Doors { .. } | Stage::Lingering => {
                left.into_iter().for_each(|index| self.http_wind_down(index));
            }
            Stage::Flushing { until } if is_done || now >= until => drain.stage = self.over(drain),
            Stage::Flushing { .. } | Stage::Over => {}
        }
    }

    fn came_to(&self, listeners: &[Listener]) -> Vec<u32> {
        let is_its = |endpoint| listeners.iter().any(|listener| listener.id == endpoint);
        let conns = self.conns.iter().filter(|(_, conn)| is_its(conn.endpoint));
        conns.map(|(index, _)| index).collect()
    }

    /// This shard's part of a cluster's endpoint, as connections name it: also when it was closed,
    /// while who came to it is waited for.
    pub(super) fn listener_of_group(&mut self, group: u16) -> Option<u64> {
        let open = self.endpoints.of_group(group).map(EndpointId::as_u64);
        open.or_else(|| self.closed(|listener| listener.group == group).map(|found| found.id))
    }

    /// The cluster's endpoint that a connection came to.
    pub(super) fn group_of(&mut self, listener: u64) -> u16 {
        let open = self.endpoints.get(EndpointId::from_u64(listener)).map(|open| open.group);
        let closed = || self.closed(|closed| closed.id == listener).map(|found| found.group);
        open.ok().or_else(closed).unwrap_or(NO_GROUP)
    }

    fn closed(&self, is_meant: impl Fn(&Listener) -> bool) -> Option<Listener> {
        let drains = self.fleet.iter().flat_map(|fleet| &fleet.drains);
        drains.flat_map(|drain| &drain.listeners).copied().find(is_meant)
    }

    /// The last stage, unless there is time, and a connection on its way here from another shard.
    fn over(&mut self, drain: &Drain) -> Stage {
        let waits = drain.of == Of::Shard && self.now < drain.deadline && !self.shut_mail();
        if waits { Stage::Lingering } else { Stage::Over }
    }

    /// Has the others send nothing any more, unless they have sent a connection, or asked for one.
    /// Whether they have not.
    fn shut_mail(&mut self) -> bool {
        let Some(fleet) = &mut self.fleet else { return true };
        let Some(berth) = fleet.shared.vacate(fleet.me) else { return true };
        fleet.mail.close(|mail| fleet.mail_waits.push_back(mail));
        let mut waiting = fleet.mail_waits.iter();
        let is_owed = |mail: &Mail| matches!(mail, Mail::Moved(_) | Mail::Connect(_));
        let is_needed = !fleet.unplaced.is_empty() || waiting.any(is_owed);
        if is_needed {
            fleet.mail = fleet.shared.moor_again(fleet.me, &berth);
        }
        !is_needed
    }

    /// Ends a connection whose time is up.
    fn cut_off(&mut self, index: u32) {
        let conn = self.conns.at(index);
        if conn.phase >= Phase::Ending {
            return;
        }
        let id: ConnId = conn.id(index);
        match conn.protocol {
            Protocol::Quic => self.quic_cut(id, code::SHUTDOWN),
            _ => self.begin_end(index, code::SHUTDOWN, false),
        }
    }

    /// A connection was accepted at `index`: while doors are about to be shut, that is late.
    pub(in crate::engine) fn note_accepted(&mut self, index: u32, fd: Fd) {
        let until = self.now.saturating_add(QUIET);
        let Some(id) = self.endpoints.id(index).map(EndpointId::as_u64) else { return };
        let Some(fleet) = &mut self.fleet else { return };
        for drain in fleet.drains.iter_mut().filter(|drain| drain.has(id)) {
            if let Stage::Doors { quiet_at } = &mut drain.stage {
                *quiet_at = until.min(drain.deadline);
            }
            self.ring.release_brake(fd);
        }
    }
}

impl Drain {
    pub(super) fn is_of_shard(&self) -> bool {
        self.of == Of::Shard
    }

    fn has(&self, listener: u64) -> bool {
        self.listeners.iter().any(|one| one.id == listener)
    }

    const fn has_shut(&self) -> bool {
        !matches!(self.stage, Stage::Doors { .. })
    }

    fn next_at(&self) -> Time {
        match self.stage {
            Stage::Doors { quiet_at } => quiet_at.max(self.look_at).min(self.deadline),
            Stage::Lingering | Stage::Flushing { .. } => self.look_at,
            Stage::Over if self.untold => self.look_at,
            Stage::Over => Time::MAX,
        }
    }
}
