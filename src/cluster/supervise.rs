//! `IoCluster::supervise`: what keeps shards alive, or ends them.
//!
//! ```text
//! Waiting ─ seed ─▶ Out ─ asked to leave ─▶ Leaving ─ its thread is done with it ─▶ Down
//!                    ▲ └── failed, panicked, returned ─────────────────────────────▶ │
//!                    └────────────────────── Again ◀── is to begin anew ─────────────┘
//! ```
//!
//! Role: the states of the shards, and what is sent to whom when. Not role: threads (`run`), what a
//! shard does to end (`engine::fleet::drain`), who takes what comes to one that is gone (`rescue`).
//!
//! *Invariant*: a shard begins anew only after its last life has said that it is over.

use std::os::fd::RawFd;
use std::time::Duration;

use super::{ClusterReadiness, IoCluster, ShardSeed};
use crate::config::{DrainOptions, OnPanic};
use crate::engine::fleet::ask::{Ask, Left};
use crate::engine::fleet::drain::{Doors, Of, Order};
use crate::engine::fleet::mail::{Control, Mail};
use crate::error::{IoError, Result};
use crate::time::Time;

/// What a shard may take beyond its deadline before it is stopped.
const OVERTIME: Duration = Duration::from_secs(2);
/// When to try again what found no room.
const RETRY: Duration = Duration::from_millis(5);

/// What came of a turn of [`IoCluster::supervise`].
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per life of a shard")]
#[non_exhaustive]
pub enum Supervised {
    /// Nothing that its caller has to do.
    Idle,
    /// A shard is to begin anew: grow this on a thread of its own.
    Reseed(ShardSeed),
    /// All shards are over, and none is to begin anew.
    Over,
}

/// One shard, as the supervisor has it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) state: State,
    /// How often it began anew.
    pub(super) restarts: u32,
    /// How many of its lives ended by a panic.
    panics: u32,
    /// Why it could not begin anew.
    pub(super) failure: Option<IoError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Its seed was not given out yet.
    Waiting,
    /// It serves, or will.
    Out,
    /// It is to end.
    Leaving(Leaving),
    /// Its next seed is to be made.
    Again,
    /// It is gone.
    Down,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaving {
    again: bool,
    /// When it is told; `None`: it was.
    order_at: Option<Time>,
    deadline: Duration,
    doors: Doors,
    /// When it is stopped; never: it was.
    stop_at: Time,
}

/// The end of the whole.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopping {
    brake_at: Time,
    is_braked: bool,
}

impl Place {
    pub(super) const NEW: Self =
        Self { state: State::Waiting, restarts: 0, panics: 0, failure: None };

    /// Whether a thread has it, or will.
    pub(super) const fn is_out(&self) -> bool {
        matches!(self.state, State::Out | State::Leaving(_))
    }

    /// Whether it takes connections.
    pub(super) const fn is_open(&self) -> bool {
        match self.state {
            State::Out => true,
            State::Leaving(Leaving { order_at, doors, .. }) => {
                order_at.is_some() || matches!(doors, Doors::Quiet)
            }
            State::Waiting | State::Again | State::Down => false,
        }
    }

    /// Whether what is new may be given to it: now, or as soon as it is there.
    pub(super) const fn takes_new(&self) -> bool {
        matches!(self.state, State::Waiting | State::Again) || self.is_open()
    }

    /// Whether what has its number in it may.
    pub(super) const fn takes_its_own(&self) -> bool {
        !matches!(self.state, State::Down)
    }

    fn begin_anew(&mut self) {
        self.restarts += 1;
        self.failure = None;
        self.state = State::Again;
    }
}

impl IoCluster {
    /// One turn for who has threads of his own: hears what handles, shards and signals say, and
    /// does what follows; sleeps for at most `timeout` while there is nothing. Shutdowns, restarts
    /// and drains happen here and nowhere else: call it in a loop.
    ///
    /// # Errors
    /// `Os` when the system cannot sleep on descriptors.
    pub fn supervise(&mut self, timeout: Duration) -> Result<Supervised> {
        let until = self.ports.now().saturating_add(timeout);
        loop {
            let now = self.ports.now();
            self.hear(now);
            self.go_on(now);
            if let Some(seed) = self.reseed() {
                // What comes from now on waits for it.
                self.follow();
                return Ok(Supervised::Reseed(seed));
            }
            if self.is_over() {
                return Ok(Supervised::Over);
            }
            if now >= until {
                return Ok(Supervised::Idle);
            }
            let (watched, at) = self.what_to_wait_for(now);
            self.control.sleep(&watched, at.min(until).saturating_since(now))?;
        }
    }

    /// SIGTERM and SIGINT shut the cluster down, as
    /// [`ClusterHandle::shutdown`](crate::ClusterHandle::shutdown) does with the options of the
    /// configuration; the second one closes everything at once.
    ///
    /// They are blocked in this thread from now on, and in the threads that it starts afterwards;
    /// [`run`](Self::run) it here. Threads that run already have to block them themselves. When the
    /// cluster is dropped on this thread, they are what they were.
    ///
    /// # Errors
    /// `NofileLimit`, `Os`.
    pub fn stop_on_signals(&mut self) -> Result<()> {
        self.control.take_signals()
    }

    // ---- what was said

    fn hear(&mut self, now: Time) {
        for _ in 0..self.control.signals() {
            match self.stopping {
                None => self.begin_shutdown(now, DrainOptions::default()),
                Some(_) => self.hasten(now),
            }
        }
        while let Some(ask) = self.desk.asked.pop() {
            match ask {
                Ask::Shutdown(drain) if self.stopping.is_none() => self.begin_shutdown(now, drain),
                Ask::Shutdown(drain) => self.hasten(now.saturating_add(self.span(drain))),
                // Who asked looks at `effective_routing`.
                Ask::Reload => drop(self.reload_ports()),
                Ask::Leave { shard, drain, again } => self.begin_leave(now, shard, drain, again),
                Ask::Closed { group, shard } => self.closed(group, shard),
            }
        }
        while let Some(left) = self.desk.left.pop() {
            self.left(left);
        }
    }

    fn deadline(&self, drain: DrainOptions) -> Duration {
        drain.deadline.unwrap_or(self.config.drain_deadline)
    }

    fn grace(&self, drain: DrainOptions) -> Duration {
        drain.grace.unwrap_or(self.config.drain_grace)
    }

    fn span(&self, drain: DrainOptions) -> Duration {
        self.grace(drain).saturating_add(self.deadline(drain))
    }

    fn leaving(&self, now: Time, drain: DrainOptions, doors: Doors, again: bool) -> State {
        let order_at = now.saturating_add(self.grace(drain));
        let deadline = self.deadline(drain);
        let stop_at = order_at.saturating_add(deadline).saturating_add(OVERTIME);
        State::Leaving(Leaving { again, order_at: Some(order_at), deadline, doors, stop_at })
    }

    fn begin_shutdown(&mut self, now: Time, drain: DrainOptions) {
        self.shared.set_readiness(ClusterReadiness::Draining);
        let brake_at = now.saturating_add(self.grace(drain));
        self.stopping = Some(Stopping { brake_at, is_braked: false });
        let leaving = self.leaving(now, drain, Doors::Quiet, false);
        for (shard, place) in (0..).zip(&mut self.places) {
            match &mut place.state {
                State::Out => {
                    self.shared.set_draining(shard);
                    place.state = leaving;
                }
                State::Leaving(its) => its.again = false,
                State::Waiting | State::Again => place.state = State::Down,
                State::Down => {}
            }
        }
    }

    /// Who is still there at `at` is stopped.
    fn hasten(&mut self, at: Time) {
        for place in &mut self.places {
            if let State::Leaving(leaving) = &mut place.state
                && !leaving.stop_at.is_never()
            {
                leaving.stop_at = leaving.stop_at.min(at);
            }
        }
    }

    /// The handle has made sure that nothing else is under way with that shard.
    fn begin_leave(&mut self, now: Time, shard: u16, drain: DrainOptions, again: bool) {
        let leaving = self.leaving(now, drain, Doors::Shut, again);
        let is_stopping = self.stopping.is_some();
        let Some(place) = self.places.get_mut(usize::from(shard)) else { return };
        match &mut place.state {
            State::Out => place.state = leaving,
            // That life is over; its end is heard next.
            State::Leaving(last) if again && !is_stopping => last.again = true,
            State::Down if again && !is_stopping => place.begin_anew(),
            _ => {}
        }
    }

    fn left(&mut self, left: Left) {
        let Left { shard, panicked } = left;
        let restarts_max = match self.config.on_panic {
            OnPanic::Leave => 0,
            OnPanic::Restart { max } => max,
        };
        let Some(place) = self.places.get_mut(usize::from(shard)) else { return };
        let begins_anew = match place.state {
            State::Leaving(leaving) => leaving.again,
            _ => panicked && place.panics < restarts_max,
        };
        place.panics += u32::from(panicked);
        place.state = State::Down;
        if begins_anew && self.stopping.is_none() {
            place.begin_anew();
        }
        let again = place.state == State::Again;
        crate::trace::shard_left(shard, panicked, again);
        // What it was to be told is not for its next life, which is given all of it.
        self.outbox.retain(|(to, _)| *to != shard);
        self.left_groups(shard);
    }

    // ---- what is due

    fn go_on(&mut self, now: Time) {
        if let Some(stopping) = &mut self.stopping
            && !stopping.is_braked
            && now >= stopping.brake_at
        {
            stopping.is_braked = true;
            self.brake_all();
        }
        for shard in 0..self.config.shard_count {
            let State::Leaving(leaving) = &mut self.places[usize::from(shard)].state else {
                continue;
            };
            if leaving.order_at.is_some_and(|at| now >= at) {
                leaving.order_at = None;
                let Leaving { doors, deadline, .. } = *leaving;
                let order = Order { of: Of::Shard, doors, deadline };
                self.outbox.push((shard, Mail::Control(Box::new(Control::Drain(order)))));
            }
            if now >= leaving.stop_at {
                leaving.stop_at = Time::MAX;
                self.outbox.push((shard, Mail::Control(Box::new(Control::Stop))));
            }
        }
        // What is new goes elsewhere before a shard hears that it is to end.
        self.follow();
        self.rescue(now);
        self.deliver();
    }

    /// Until when connections to shards that are gone are looked for: while the doors of the others
    /// stand open, when all end.
    pub(super) fn rescues_until(&self) -> Time {
        const HALF_OPEN: Duration = Duration::from_millis(100);
        self.stopping.map_or(Time::MAX, |stopping| stopping.brake_at.saturating_add(HALF_OPEN))
    }

    fn reseed(&mut self) -> Option<ShardSeed> {
        loop {
            let at = self.places.iter().position(|place| place.state == State::Again)?;
            let seed = self.seed(at as u16);
            let place = &mut self.places[at];
            match seed {
                Ok(seed) => {
                    place.state = State::Out;
                    return Some(seed);
                }
                Err(error) => {
                    place.failure = Some(error);
                    place.state = State::Down;
                    self.shared.set_down(at as u16);
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.places.iter().all(|place| place.state == State::Down)
    }

    /// What ends the next sleep, and when it is over at the latest.
    fn what_to_wait_for(&mut self, now: Time) -> (Vec<RawFd>, Time) {
        let due = self.places.iter().filter_map(|place| match place.state {
            State::Leaving(leaving) => {
                Some(leaving.stop_at.min(leaving.order_at.unwrap_or(Time::MAX)))
            }
            _ => None,
        });
        let retry = if self.outbox.is_empty() { Time::MAX } else { now.saturating_add(RETRY) };
        let at = due.fold(retry, Time::min).min(self.rescue.next_at(now));
        (self.watched(now), at)
    }

    /// Tells all shards to leave at once, whatever is under way. For a supervisor that cannot go
    /// on.
    pub(super) fn abandon(&mut self) {
        for (shard, place) in (0..).zip(&mut self.places) {
            if place.is_out() {
                self.outbox.push((shard, Mail::Control(Box::new(Control::Stop))));
            }
        }
        self.deliver();
        while !self.outbox.is_empty() {
            std::thread::yield_now();
            while let Some(left) = self.desk.left.pop() {
                self.left(left);
            }
            self.deliver();
        }
    }
}

impl Drop for IoCluster {
    fn drop(&mut self) {
        self.shared.set_readiness(ClusterReadiness::Stopped);
    }
}
