//! What the threads of a cluster share.
//!
//! Role: one [`Slot`] per shard, and in it the [`Berth`] of its present life: where its mail goes,
//! and how it is woken. Not role: what is in the mail.
//!
//! ```text
//! seeded     grown (moor)            left (vacate)
//!   berth ──▶ berth with a resident ──▶ none            a new seed begins anew
//! ```
//!
//! *Invariants*
//! - A berth never changes: it is replaced. So whoever has one may use all of it, and learns from
//!   the queue that its life is over.
//! - What is written here while shards serve: what a berth leads to, by those who send something or
//!   sleep; and a board, by its own shard, now and then.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::ask::{Ask, Bell, Desk, Left, desk};
use super::connect::Connect;
use super::mail::Mail;
use super::publish::{Posted, WORDS};
use super::ready::ClusterReadiness::{Draining, Ready, Starting, Stopped};
use super::ready::{ClusterReadiness, Readiness};
use crate::config::{ClusterConfig, ClusterWarnings, DrainOptions, EffectiveRouting};
use crate::engine::Requests;
use crate::engine::quic::Ferry;
use crate::error::{IoError, PoolKind, Result};
use crate::pool::{PoolShared, SendBuffer};
use crate::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use crate::sync::board::Board;
use crate::sync::gate::Gate;
use crate::sync::mpsc::{Consumer, Producer, PushError, channel};
use crate::sys::wake::Waker;

/// What the threads of a cluster share.
pub(crate) struct Shared {
    slots: Box<[Slot]>,
    config: ClusterConfig,
    bell: Bell,
    /// As it was found out; what is odd about it now is in `warnings`.
    routing: EffectiveRouting,
    warnings: AtomicU32,
    /// How often all routers were made anew.
    reloads: AtomicU32,
    /// Of the whole; of a cluster that neither drains nor is over it is looked up.
    readiness: Readiness,
    /// Whose turn it is among shards with equally many connections.
    turn: AtomicU32,
}

/// One shard, through all of its lives.
pub(crate) struct Slot {
    berth: OwnPage<ArcSwapOption<Berth>>,
    /// Its shard writes there, and the berth is read by whoever sends.
    board: OwnPage<Board<WORDS>>,
    readiness: Readiness,
    /// It was grown once.
    has_been_up: AtomicBool,
}

/// A value on a page of its own: so that a test can have the kernel watch who writes to it.
#[derive(Default)]
#[repr(align(4096))]
struct OwnPage<T>(T);

impl Slot {
    fn new() -> Self {
        let (berth, board) = (OwnPage::default(), OwnPage::default());
        let (readiness, has_been_up) = (Readiness::new(Starting), AtomicBool::new(false));
        Self { berth, board, readiness, has_been_up }
    }
}

/// One life of a shard.
pub(crate) struct Berth {
    mail: Producer<Mail>,
    /// Connections that were asked for and that its board does not count yet.
    asked: Arc<AtomicU32>,
    /// Connections of other shards that are in its mail, or wait for a place in its table.
    moving: Arc<AtomicU32>,
    /// Once it is grown.
    resident: Option<Resident>,
}

/// The way to a shard that runs.
#[derive(Clone)]
pub(crate) struct Resident {
    pub(crate) gate: Arc<Gate>,
    pub(crate) pool: Arc<PoolShared>,
    /// What its handles ask for goes there.
    pub(crate) commands: Requests,
    /// Whether it has guard writes.
    pub(crate) guards: bool,
    /// Once it has a listener of QUIC.
    pub(crate) ferry: Option<Ferry>,
}

impl Berth {
    /// The same life, that far.
    fn with(&self, resident: Option<Resident>) -> Self {
        let (asked, moving) = (Arc::clone(&self.asked), Arc::clone(&self.moving));
        Self { mail: self.mail.clone(), asked, moving, resident }
    }

    /// Puts something into the mail.
    fn push(&self, mail: Mail) -> Result<(), PushError<Mail>> {
        match mail {
            Mail::Moved(_) => self.push_moved(mail),
            Mail::Connect(_) => {
                self.asked.fetch_add(1, Ordering::Relaxed);
                self.mail.push(mail).inspect_err(|_| self.took_asked(1))
            }
            _ => self.mail.push(mail),
        }
    }

    /// A connection leaves the mail when the table is full too, and waits for a place elsewhere:
    /// together there are no more of them than the mail has entries.
    fn push_moved(&self, mail: Mail) -> Result<(), PushError<Mail>> {
        let room = self.mail.capacity() as u32;
        let one_more = |moving: u32| (moving < room).then_some(moving + 1);
        if self.moving.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            return Err(PushError::Full(mail));
        }
        self.mail.push(mail).inspect_err(|_| self.moved())
    }

    /// One of those on their way is not any more.
    fn moved(&self) {
        self.moving.fetch_sub(1, Ordering::Relaxed);
    }

    /// So many of those that were asked for are not only that any more.
    fn took_asked(&self, count: u32) {
        self.asked.fetch_sub(count, Ordering::Relaxed);
    }
}

impl Resident {
    /// Ends its sleep, if it sleeps and nobody else has; whether it did.
    fn nudge(&self) -> bool {
        let wakes = self.gate.needs_wake();
        if wakes {
            self.pool.wake();
        }
        wakes
    }

    /// A filled buffer of its reserve.
    fn filled(&self, data: &[u8]) -> Result<SendBuffer> {
        self.pool.reserve_filled(data).inspect_err(|error| {
            // What was dropped is made up by the shard, which may sleep.
            if matches!(error, IoError::PoolExhausted { pool: PoolKind::HandleReserve }) {
                self.nudge();
            }
        })
    }
}

impl Shared {
    /// `supervisor` ends the sleep of who has the desk.
    pub(crate) fn new(
        config: &ClusterConfig,
        routing: EffectiveRouting,
        supervisor: Waker,
    ) -> (Self, Desk) {
        let slots = (0..config.shard_count).map(|_| Slot::new()).collect();
        let (bell, desk) = desk(config.shard_count, supervisor);
        let shared = Self {
            slots,
            config: config.clone(),
            bell,
            routing,
            warnings: AtomicU32::new(routing.warnings.bits()),
            reloads: AtomicU32::new(0),
            readiness: Readiness::new(Ready),
            turn: AtomicU32::new(0),
        };
        (shared, desk)
    }

    /// What the cluster was made with.
    pub(crate) const fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// How packets are routed now.
    pub(crate) fn routing(&self) -> EffectiveRouting {
        let warnings = ClusterWarnings::from_bits_retain(self.warnings.load(Ordering::Relaxed));
        EffectiveRouting { warnings, ..self.routing }
    }

    /// The supervisor: something is odd about it. Whether that is new.
    pub(crate) fn warn(&self, of: ClusterWarnings) -> bool {
        self.warnings.fetch_or(of.bits(), Ordering::Relaxed) & of.bits() != of.bits()
    }

    /// The supervisor: it is not odd in that way any more.
    pub(crate) fn unwarn(&self, of: ClusterWarnings) {
        self.warnings.fetch_and(!of.bits(), Ordering::Relaxed);
    }

    /// The supervisor: all routers were made anew.
    pub(crate) fn reloaded(&self) {
        self.reloads.fetch_add(1, Ordering::Release);
    }

    /// How often they were.
    pub(crate) fn reloads(&self) -> u32 {
        self.reloads.load(Ordering::Acquire)
    }

    /// How many shards there are.
    pub(crate) const fn count(&self) -> u16 {
        self.slots.len() as u16
    }

    fn slot(&self, shard: u16) -> Result<&Slot> {
        let shards = self.count();
        self.slots.get(usize::from(shard)).ok_or(IoError::NoSuchShard { shard, shards })
    }

    /// Begins a life: the end of its mail, for the thread that will run it.
    pub(crate) fn begin(&self, shard: u16) -> Result<Consumer<Mail>> {
        let (mail, consumer) = channel(self.config.mail_entries);
        self.slot(shard)?.readiness.set(Starting);
        let (asked, moving) = (Arc::default(), Arc::default());
        let berth = Berth { mail, asked, moving, resident: None };
        self.slot(shard)?.berth.0.store(Some(Arc::new(berth)));
        Ok(consumer)
    }

    /// The shard runs: it can be woken, and its reserve be written to.
    pub(crate) fn moor(&self, shard: u16, resident: Resident) -> Result<()> {
        let slot = self.slot(shard)?;
        let berth = slot.berth.0.load_full().ok_or(IoError::ShardDown { shard })?;
        slot.berth.0.store(Some(Arc::new(berth.with(Some(resident)))));
        slot.has_been_up.store(true, Ordering::Release);
        // It may have been told to drain before it was grown.
        let _ = slot.readiness.change(Starting, Ready);
        Ok(())
    }

    /// The shard takes datagrams.
    pub(crate) fn equip(&self, shard: u16, ferry: Ferry) {
        let Ok(slot) = self.slot(shard) else { return };
        let Some(berth) = slot.berth.0.load_full() else { return };
        let resident = berth.resident.clone().map(|r| Resident { ferry: Some(ferry), ..r });
        slot.berth.0.store(Some(Arc::new(berth.with(resident))));
    }

    /// Has `pass` send something by the ferry of a shard, if that runs and has one.
    pub(crate) fn by_ferry<R>(&self, shard: u16, pass: impl FnOnce(&Ferry) -> R) -> Option<R> {
        let berth = self.slot(shard).ok()?.berth.0.load();
        let resident = berth.as_ref()?.resident.as_ref()?;
        resident.ferry.as_ref().map(pass)
    }

    /// Nobody reaches it any more; what was its berth.
    pub(crate) fn vacate(&self, shard: u16) -> Option<Arc<Berth>> {
        self.slot(shard).ok()?.berth.0.swap(None)
    }

    /// The life that left a berth goes on after all: the end of its new mail.
    pub(super) fn moor_again(&self, shard: u16, berth: &Berth) -> Consumer<Mail> {
        let (mail, consumer) = channel(self.config.mail_entries);
        let berth = Berth { mail, ..berth.with(berth.resident.clone()) };
        if let Ok(slot) = self.slot(shard) {
            slot.berth.0.store(Some(Arc::new(berth)));
        }
        consumer
    }

    /// Its life is over, grown or not.
    pub(crate) fn left(&self, left: Left) {
        self.set_down(left.shard);
        self.bell.left(left);
    }

    /// Nobody reaches it, and it serves no more.
    pub(crate) fn set_down(&self, shard: u16) {
        let _ = self.vacate(shard);
        if let Ok(slot) = self.slot(shard) {
            slot.readiness.set(Stopped);
        }
    }

    /// Asks the supervisor. Whether it will hear it: not when it is gone.
    pub(crate) fn ask(&self, ask: Ask) -> Result<bool> {
        self.bell.ask(ask)
    }

    /// Asks for the end of one shard, unless one is under way or over.
    pub(crate) fn ask_to_leave(&self, shard: u16, drain: DrainOptions, again: bool) -> Result<()> {
        let slot = self.slot(shard)?;
        let (busy, down) = (IoError::ClusterBusy { shard }, IoError::ShardDown { shard });
        if self.readiness.get() != Ready {
            return Err(busy);
        }
        let (was, is) = match slot.readiness.change(Ready, Draining) {
            Ok(()) => (Ready, Draining),
            Err(Stopped) if again && slot.readiness.change(Stopped, Starting).is_ok() => {
                (Stopped, Starting)
            }
            Err(Stopped) => return Err(down),
            Err(_) => return Err(busy),
        };
        let asked = self.ask(Ask::Leave { shard, drain, again });
        if asked != Ok(true) {
            let _ = slot.readiness.change(is, was);
        }
        if asked? { Ok(()) } else { Err(down) }
    }

    /// How ready a shard is.
    pub(crate) fn shard_readiness(&self, shard: u16) -> Result<ClusterReadiness> {
        Ok(self.slot(shard)?.readiness.get())
    }

    /// How ready the whole is.
    pub(crate) fn readiness(&self) -> ClusterReadiness {
        let whole = self.readiness.get();
        let slots = || self.slots.iter();
        let has_begun = slots().all(|slot| slot.has_been_up.load(Ordering::Acquire));
        match whole {
            Ready if has_begun && slots().any(|slot| slot.readiness.get() == Ready) => Ready,
            Ready => Starting,
            Starting | Draining | Stopped => whole,
        }
    }

    /// The whole drains, or is over.
    pub(crate) fn set_readiness(&self, to: ClusterReadiness) {
        if self.readiness.get() != Stopped {
            self.readiness.set(to);
        }
    }

    /// The shard drains.
    pub(crate) fn set_draining(&self, shard: u16) {
        if let Ok(slot) = self.slot(shard) {
            let _ = slot.readiness.change(Starting, Draining);
            let _ = slot.readiness.change(Ready, Draining);
        }
    }

    /// What a shard posted up last.
    pub(crate) fn posted(&self, shard: u16) -> Posted {
        self.slot(shard).map_or_else(|_| Posted::default(), |slot| Posted::read(&slot.board.0))
    }

    /// The shard itself: posts up what it has done.
    pub(super) fn post_up(&self, shard: u16, posted: &Posted) {
        if let Ok(slot) = self.slot(shard) {
            slot.board.0.post(&posted.words());
        }
    }

    /// The pages that nobody writes to while shard `but` serves and neither sends nor begins.
    #[cfg(test)]
    pub(crate) fn quiet_pages(&self, but: u16) -> Vec<(*const u8, usize)> {
        fn page<T>(page: &OwnPage<T>) -> (*const u8, usize) {
            (std::ptr::from_ref(page).cast(), size_of::<OwnPage<T>>())
        }
        let boards = (0..).zip(&self.slots).filter(|(shard, _)| *shard != but);
        let boards = boards.map(|(_, slot)| page(&slot.board));
        boards.chain(self.slots.iter().map(|slot| page(&slot.berth))).collect()
    }

    /// Puts a post into the mail of a shard that runs; the caller wakes it.
    pub(crate) fn post(&self, shard: u16, token: u64, data: Option<&[u8]>) -> Result<()> {
        let down = IoError::ShardDown { shard };
        let berth = self.slot(shard)?.berth.0.load();
        let berth = berth.as_ref().ok_or(down)?;
        let resident = berth.resident.as_ref().filter(|r| !r.pool.is_gone()).ok_or(down)?;
        let buffer = data.map(|data| resident.filled(data)).transpose()?;
        let pushed = berth.mail.push(Mail::Post { token, buffer });
        pushed.map_err(|error| match error {
            PushError::Closed(_) => down,
            PushError::Full(_) => full(&berth.mail),
        })
    }

    /// Whether a shard can be reached now.
    pub(crate) fn runs(&self, shard: u16) -> bool {
        self.with_resident(shard, |_| ()).is_ok()
    }

    /// Does something with the way to a shard that runs.
    pub(crate) fn with_resident<R>(&self, shard: u16, f: impl FnOnce(&Resident) -> R) -> Result<R> {
        let down = IoError::ShardDown { shard };
        let berth = self.slot(shard)?.berth.0.load();
        let resident = berth.as_ref().and_then(|berth| berth.resident.as_ref());
        Ok(f(resident.filter(|r| !r.pool.is_gone()).ok_or(down)?))
    }

    /// Asks the shard with the fewest connections for another one; which it is.
    pub(crate) fn ask_to_connect(&self, connect: Connect) -> Result<u16> {
        let shard = self.least_busy()?;
        let down = IoError::ShardDown { shard };
        let berth = self.slot(shard)?.berth.0.load();
        let berth = berth.as_ref().ok_or(down)?;
        let asked = berth.push(Mail::Connect(Box::new(connect)));
        asked.map_err(|error| if error.is_closed() { down } else { full(&berth.mail) })?;
        self.nudge(shard);
        Ok(shard)
    }

    /// The shard itself: so many of those that were asked for are counted on its board.
    pub(super) fn took_asked(&self, shard: u16, count: u32) {
        if count > 0
            && let Ok(slot) = self.slot(shard)
            && let Some(berth) = slot.berth.0.load().as_ref()
        {
            berth.took_asked(count);
        }
    }

    /// The shard itself: it has done with a connection that was on its way.
    pub(super) fn took_moved(&self, shard: u16) {
        if let Ok(slot) = self.slot(shard)
            && let Some(berth) = slot.berth.0.load().as_ref()
        {
            berth.moved();
        }
    }

    /// The shard with the fewest connections of those that begin new ones; among equals they take
    /// turns.
    fn least_busy(&self) -> Result<u16> {
        let shards = u32::from(self.count());
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % shards;
        let all = (0..shards).map(|step| ((first + step) % shards) as u16);
        let open = all.filter(|shard| self.begins(*shard));
        let least = open.min_by_key(|shard| self.load_of(*shard));
        least.ok_or(IoError::ShardDown { shard: first as u16 })
    }

    /// Whether a shard can be asked for connections: it runs, and is not about to end.
    fn begins(&self, shard: u16) -> bool {
        self.shard_readiness(shard) == Ok(Ready) && self.runs(shard)
    }

    /// Its connections, and those that it was asked for.
    fn load_of(&self, shard: u16) -> u64 {
        let Ok(slot) = self.slot(shard) else { return 0 };
        let asked = slot.berth.0.load().as_ref().map_or(0, |b| b.asked.load(Ordering::Relaxed));
        self.posted(shard).connections + u64::from(asked)
    }

    /// Wakes a shard, if it sleeps and nobody else has; whether it did.
    pub(crate) fn nudge(&self, shard: u16) -> bool {
        let Ok(slot) = self.slot(shard) else { return false };
        let berth = slot.berth.0.load();
        berth.as_ref().and_then(|berth| berth.resident.as_ref()).is_some_and(Resident::nudge)
    }

    /// Puts something into the mail of a shard that need not run yet, and wakes it if it does.
    /// What could not be put there comes back.
    pub(crate) fn send(&self, shard: u16, mail: Mail) -> Result<(), PushError<Mail>> {
        self.send_quietly(shard, mail)?;
        // If it was grown since, it sees the push before its first sleep, or is seen here: each
        // side has a fence between what it writes and what it reads (G1).
        fence(Ordering::SeqCst);
        self.nudge(shard);
        Ok(())
    }

    /// The same; the caller wakes it.
    pub(super) fn send_quietly(&self, shard: u16, mail: Mail) -> Result<(), PushError<Mail>> {
        let Ok(slot) = self.slot(shard) else { return Err(PushError::Closed(mail)) };
        match slot.berth.0.load().as_ref() {
            Some(berth) => berth.push(mail),
            None => Err(PushError::Closed(mail)),
        }
    }

    /// Sends what a shard that leaves had in its mail to another one, if one takes it: what is to
    /// be begun goes to one that begins something, and what is there to any that runs.
    pub(super) fn pass_on(&self, from: u16, mut mail: Mail) -> Result<(), Mail> {
        let is_new = matches!(mail, Mail::Connect(_));
        let others = (1..self.count()).map(|step| (from + step) % self.count());
        let takes = |shard: &u16| if is_new { self.begins(*shard) } else { self.runs(*shard) };
        for shard in others.filter(takes) {
            match self.send(shard, mail) {
                Ok(()) => return Ok(()),
                Err(refused) => mail = refused.into_inner(),
            }
        }
        Err(mail)
    }
}

fn full(mail: &Producer<Mail>) -> IoError {
    IoError::QueueFull { queue: "mail", capacity: mail.capacity() }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("shards", &self.count()).finish_non_exhaustive()
    }
}
