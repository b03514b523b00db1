//! The other shards of a cluster, as one shard knows them.
//!
//! Role: joining and leaving, and when in a tick something is done with or for the others. Not
//! role: making sockets, routing, supervising (the cluster's); what lies between the threads
//! ([`shared`]); what is sent ([`mail`]).
//!
//! *Invariants*
//! - An engine that has joined nothing pays one look at `Engine::looks_further` for all of it.
//! - Who left is down for everybody before its mail is closed, and nothing in it is forgotten.

pub(crate) mod ask;
pub(crate) mod connect;
pub(crate) mod drain;
pub(crate) mod listen;
pub(crate) mod mail;
pub(crate) mod move_conn;
pub(crate) mod publish;
pub(crate) mod ready;
pub(crate) mod shared;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::Engine;
use super::quic::Pier;
use crate::error::{IoError, Result};
use crate::ids::{ClusterEndpoint, EndpointId, Protocol};
use crate::ring::Wait;
use crate::ring::ports::Passed;
use crate::stats::FleetStats;
use crate::sync::mpsc::Consumer;
use crate::time::Time;
use crate::transport::{Endpoint, NO_GROUP};
use drain::Drain;
use listen::ListenPlan;
use mail::Mail;
use move_conn::{Arriving, Leaving, Moved};
use publish::Posted;
use shared::{Resident, Shared};

/// How long the kernel has to take the last datagrams of a shard.
const LAST_SENDS_MAX: Duration = Duration::from_millis(100);
/// Between two attempts.
const LAST_SENDS_TRY_NS: u64 = 1_000_000;

/// What one shard has of its cluster.
pub(crate) struct Fleet {
    shared: Arc<Shared>,
    me: u16,
    mail: Consumer<Mail>,
    /// The oldest ones, when they found no room.
    mail_waits: VecDeque<Mail>,
    /// Shards that were sent something and not woken yet, each once.
    to_nudge: Vec<u16>,
    /// What is about to end of it.
    drains: Vec<Drain>,
    stopped: bool,
    /// Where datagrams come that others received; open once there is a QUIC listener.
    pub(super) pier: Pier,
    pub(super) stats: FleetStats,
    /// What the lives before this one had posted up.
    before: Posted,
    /// When to post up what was done.
    publish_at: Time,
    /// Connections that were asked for, and are not counted on the board yet.
    asked_taken: u32,
    /// Why those failed whose `ConnectFailed` waits, in order.
    connects_failed: VecDeque<IoError>,
    /// Connections that are to go to another shard.
    leaving: Vec<Leaving>,
    /// Connections whose unread bytes are not handed out yet.
    arriving: Vec<Arriving>,
    /// Connections of other shards for which the table has no place; with those in the mail no more
    /// than that has entries.
    unplaced: VecDeque<Box<Moved>>,
}

impl Fleet {
    fn new(shared: Arc<Shared>, me: u16, mail: Consumer<Mail>) -> Self {
        Self {
            me,
            mail,
            mail_waits: VecDeque::new(),
            to_nudge: Vec::with_capacity(shared.count().into()),
            drains: Vec::new(),
            stopped: false,
            pier: Pier::default(),
            stats: FleetStats::default(),
            before: shared.posted(me),
            publish_at: publish::AT_ONCE,
            asked_taken: 0,
            connects_failed: VecDeque::new(),
            leaving: Vec::new(),
            arriving: Vec::new(),
            unplaced: VecDeque::new(),
            shared,
        }
    }

    /// Has a shard woken with the others that were sent something.
    pub(super) fn nudge_later(&mut self, shard: u16) {
        if shard != self.me && !self.to_nudge.contains(&shard) {
            self.to_nudge.push(shard);
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whether the whole shard is about to end.
    fn is_ending(&self) -> bool {
        self.stopped || self.drains.iter().any(Drain::is_of_shard)
    }
}

impl Engine {
    /// Becomes shard `me` of a cluster: takes its sockets in, and can be reached from then on.
    /// `mail` is the end of the queue that the shard's berth has the other end of.
    pub(crate) fn join(
        &mut self,
        shared: Arc<Shared>,
        me: u16,
        mail: Consumer<Mail>,
        plans: Vec<(ListenPlan, Passed)>,
    ) -> Result<()> {
        for (plan, passed) in plans {
            self.take_in(plan, passed)?;
        }
        let (commands, gate) = self.handle_parts();
        let (pool, guards) = (Arc::clone(self.pool.shared()), self.config.guard_count > 0);
        shared.moor(me, Resident { gate, pool, commands, guards, ferry: None })?;
        self.fleet = Some(Box::new(Fleet::new(shared, me, mail)));
        self.looks_further = true;
        self.open_pier();
        Ok(())
    }

    /// With the first QUIC listener there is a way for datagrams.
    fn open_pier(&mut self) {
        let is_of_quic = |e: &Endpoint| e.group != NO_GROUP && e.protocol == Protocol::Quic;
        let has_quic = self.endpoints.place_of(is_of_quic).is_some();
        if let Some(fleet) = &mut self.fleet
            && has_quic
            && let Some(ferry) = fleet.pier.open(fleet.shared.config())
        {
            fleet.shared.equip(fleet.me, ferry);
        }
    }

    /// What was written to sockets of datagrams since the last poll is sent, as far as the kernel
    /// takes it in time: the shard that was told to stop may have answered in that very turn.
    pub(super) fn send_last_datagrams(&mut self) {
        if self.fleet.is_none() || std::thread::panicking() {
            return;
        }
        self.flush_udp();
        let until = self.ring.now().saturating_add(LAST_SENDS_MAX);
        while self.has_unsent_datagrams() && self.ring.now() < until {
            if self.ring.enter(Wait::For(LAST_SENDS_TRY_NS)).is_err() {
                return;
            }
            // What else completes is of no use any more.
            while self.ring.reap(&mut self.reaped) > 0 {}
            self.list_unsent_datagrams();
            self.flush_udp();
        }
    }

    /// Ends all that the others have with this shard.
    pub(super) fn leave(&mut self) {
        self.nudge_fleet();
        let Some(fleet) = &mut self.fleet else { return };
        let _ = fleet.shared.vacate(fleet.me);
        let mut left = Vec::new();
        left.extend(fleet.mail_waits.drain(..));
        left.extend(fleet.unplaced.drain(..).map(Mail::Moved));
        fleet.mail.close(|mail| left.push(mail));
        for mail in left {
            match mail {
                Mail::Post { .. } => fleet.stats.posts_lost += 1,
                Mail::Moved(_) | Mail::Accepted { .. } => {
                    let goes_on = fleet.shared.pass_on(fleet.me, mail).is_ok();
                    fleet.stats.moved_lost += u64::from(!goes_on);
                }
                Mail::Connect(_) => {
                    let goes_on = fleet.shared.pass_on(fleet.me, mail).is_ok();
                    fleet.stats.connects_lost += u64::from(!goes_on);
                }
                Mail::Control(_) => {}
            }
        }
        self.publish_last();
        self.fleet = None;
    }

    /// What the others sent; in each tick of a shard that has joined.
    pub(super) fn run_fleet(&mut self) {
        if self.fleet.is_some() {
            self.place_unplaced();
            self.run_mail();
            self.run_ferried();
            self.run_arriving();
            self.run_leaving();
            self.publish_when_due();
            if self.fleet.as_ref().is_some_and(|fleet| !fleet.drains.is_empty()) {
                self.drain_step();
            }
        }
    }

    /// Whether `run_fleet` would do anything; asked before each sleep, and by who spins.
    pub(super) fn fleet_has_work(&self) -> bool {
        let Some(fleet) = &self.fleet else { return false };
        self.has_mail_to_run()
            || self.has_place_for_unplaced()
            || fleet.pier.has_work()
            || self.has_arriving_to_feed()
            || self.has_ready_to_leave()
    }

    /// A connection that came has to wait for one of this shard to end.
    fn wait_for_place(&mut self, moved: Box<Moved>) {
        if let Some(fleet) = &mut self.fleet {
            fleet.unplaced.push_back(moved);
        }
    }

    /// Whether `place_unplaced` would do anything.
    fn has_place_for_unplaced(&self) -> bool {
        let waits = self.fleet.as_ref().is_some_and(|fleet| !fleet.unplaced.is_empty());
        waits && self.inbox.room() > 0 && !self.conns.is_full()
    }

    /// Takes in those that waited, as far as there is room.
    fn place_unplaced(&mut self) {
        while self.has_place_for_unplaced() {
            let Some(fleet) = &mut self.fleet else { return };
            let Some(moved) = fleet.unplaced.pop_front() else { return };
            if let Some(moved) = self.take_moved(moved) {
                return self.wait_for_place(moved);
            }
        }
    }

    /// Wakes the shards that were sent something, as far as they sleep. Whoever calls it may sleep
    /// next, and what it has of theirs is theirs again before.
    pub(super) fn nudge_fleet(&mut self) {
        let Some(fleet) = &mut self.fleet else { return };
        fleet.pier.reclaim();
        while let Some(shard) = fleet.to_nudge.pop() {
            fleet.stats.wakes += u64::from(fleet.shared.nudge(shard));
        }
    }

    /// The number of this shard; 0 where there is no cluster.
    pub(crate) fn shard_id(&self) -> u16 {
        self.fleet.as_ref().map_or(0, |fleet| fleet.me)
    }

    /// How many there are.
    pub(crate) fn shard_count(&self) -> u16 {
        self.fleet.as_ref().map_or(1, |fleet| fleet.shared.count())
    }

    /// Whether the shard is to go on.
    pub(crate) fn is_running(&self) -> bool {
        self.fleet.as_ref().is_some_and(|fleet| !fleet.stopped)
    }

    pub(crate) fn fleet_stats(&self) -> FleetStats {
        self.fleet.as_ref().map_or_else(FleetStats::default, |fleet| fleet.stats)
    }

    /// This shard's part of an endpoint of the cluster.
    pub(crate) fn endpoint_of(&mut self, of: ClusterEndpoint) -> Result<EndpointId> {
        const ELSEWHERE: IoError = IoError::InvalidArgument {
            what: "cluster endpoint",
            why: "this shard has not heard of it yet, has closed it, or is of another cluster",
        };
        self.endpoints.of_group(of.group()).ok_or(ELSEWHERE)
    }

    /// The endpoint of the cluster that this is part of.
    pub(crate) fn cluster_endpoint(&mut self, of: EndpointId) -> Option<ClusterEndpoint> {
        let group = self.endpoints.get(of).ok()?.group;
        (group != NO_GROUP).then(|| ClusterEndpoint::new(group))
    }
}
