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
//! - Nothing here is written while shards serve, but by those who send something or sleep.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::ask::{Ask, Bell, Desk, Left, desk};
use super::mail::Mail;
use super::ready::ClusterReadiness::{Draining, Ready, Starting, Stopped};
use super::ready::{ClusterReadiness, Readiness};
use crate::config::{ClusterConfig, DrainOptions};
use crate::engine::quic::Ferry;
use crate::error::{IoError, PoolKind, Result};
use crate::pool::{PoolShared, SendBuffer};
use crate::sync::Padded;
use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::sync::gate::Gate;
use crate::sync::mpsc::{Consumer, Producer, PushError, channel};
use crate::sys::wake::Waker;

/// What the threads of a cluster share.
pub(crate) struct Shared {
    slots: Box<[Padded<Slot>]>,
    config: ClusterConfig,
    bell: Bell,
    /// Of the whole; of a cluster that neither drains nor is over it is looked up.
    readiness: Readiness,
}

/// One shard, through all of its lives.
pub(crate) struct Slot {
    berth: ArcSwapOption<Berth>,
    readiness: Readiness,
    /// It was grown once.
    has_been_up: AtomicBool,
}

impl Slot {
    fn new() -> Self {
        let berth = ArcSwapOption::empty();
        Self { berth, readiness: Readiness::new(Starting), has_been_up: AtomicBool::new(false) }
    }
}

/// One life of a shard.
pub(crate) struct Berth {
    mail: Producer<Mail>,
    /// Once it is grown.
    resident: Option<Resident>,
}

/// The way to a shard that runs.
#[derive(Clone)]
struct Resident {
    gate: Arc<Gate>,
    pool: Arc<PoolShared>,
    /// Once it has a listener of QUIC.
    ferry: Option<Ferry>,
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
        let mut buffer = self.pool.reserve_buffer(data.len()).inspect_err(|error| {
            // What was dropped is made up by the shard, which may sleep.
            if matches!(error, IoError::PoolExhausted { pool: PoolKind::HandleReserve }) {
                self.nudge();
            }
        })?;
        buffer.as_mut_slice().copy_from_slice(data);
        Ok(buffer)
    }
}

impl Shared {
    /// `supervisor` ends the sleep of who has the desk.
    pub(crate) fn new(config: &ClusterConfig, supervisor: Waker) -> (Self, Desk) {
        let slots = (0..config.shard_count).map(|_| Padded(Slot::new())).collect();
        let (bell, desk) = desk(config.shard_count, supervisor);
        let (config, readiness) = (config.clone(), Readiness::new(Ready));
        (Self { slots, config, bell, readiness }, desk)
    }

    /// What the cluster was made with.
    pub(crate) const fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// How many shards there are.
    pub(crate) const fn count(&self) -> u16 {
        self.slots.len() as u16
    }

    fn slot(&self, shard: u16) -> Result<&Slot> {
        let shards = self.count();
        let slot = self.slots.get(usize::from(shard)).ok_or(IoError::NoSuchShard { shard, shards });
        slot.map(|slot| &slot.0)
    }

    /// Begins a life: the end of its mail, for the thread that will run it.
    pub(crate) fn begin(&self, shard: u16) -> Result<Consumer<Mail>> {
        let (mail, consumer) = channel(self.config.mail_entries);
        self.slot(shard)?.readiness.set(Starting);
        self.slot(shard)?.berth.store(Some(Arc::new(Berth { mail, resident: None })));
        Ok(consumer)
    }

    /// The shard runs: it can be woken, and its reserve be written to.
    pub(crate) fn moor(&self, shard: u16, gate: Arc<Gate>, pool: Arc<PoolShared>) -> Result<()> {
        let slot = self.slot(shard)?;
        let berth = slot.berth.load_full().ok_or(IoError::ShardDown { shard })?;
        let resident = Some(Resident { gate, pool, ferry: None });
        slot.berth.store(Some(Arc::new(Berth { mail: berth.mail.clone(), resident })));
        slot.has_been_up.store(true, Ordering::Release);
        // It may have been told to drain before it was grown.
        let _ = slot.readiness.change(Starting, Ready);
        Ok(())
    }

    /// The shard takes datagrams.
    pub(crate) fn equip(&self, shard: u16, ferry: Ferry) {
        let Ok(slot) = self.slot(shard) else { return };
        let Some(berth) = slot.berth.load_full() else { return };
        let resident = berth.resident.clone().map(|r| Resident { ferry: Some(ferry), ..r });
        slot.berth.store(Some(Arc::new(Berth { mail: berth.mail.clone(), resident })));
    }

    /// Has `pass` send something by the ferry of a shard, if that runs and has one.
    pub(crate) fn by_ferry<R>(&self, shard: u16, pass: impl FnOnce(&Ferry) -> R) -> Option<R> {
        let berth = self.slot(shard).ok()?.berth.load();
        let resident = berth.as_ref()?.resident.as_ref()?;
        resident.ferry.as_ref().map(pass)
    }

    /// Nobody reaches it any more.
    pub(crate) fn vacate(&self, shard: u16) {
        if let Ok(slot) = self.slot(shard) {
            slot.berth.store(None);
        }
    }

    /// Its life is over, grown or not.
    pub(crate) fn left(&self, left: Left) {
        self.set_down(left.shard);
        self.bell.left(left);
    }

    /// Nobody reaches it, and it serves no more.
    pub(crate) fn set_down(&self, shard: u16) {
        self.vacate(shard);
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
        let slots = || self.slots.iter().map(|slot| &slot.0);
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

    /// Puts a post into the mail of a shard that runs; the caller wakes it.
    pub(crate) fn post(&self, shard: u16, token: u64, data: Option<&[u8]>) -> Result<()> {
        let down = IoError::ShardDown { shard };
        let berth = self.slot(shard)?.berth.load();
        let berth = berth.as_ref().ok_or(down)?;
        let resident = berth.resident.as_ref().filter(|r| !r.pool.is_gone()).ok_or(down)?;
        let buffer = data.map(|data| resident.filled(data)).transpose()?;
        let pushed = berth.mail.push(Mail::Post { token, buffer });
        pushed.map_err(|error| match error {
            PushError::Closed(_) => down,
            PushError::Full(_) => full(&berth.mail),
        })
    }

    /// Wakes a shard, if it sleeps and nobody else has; whether it did.
    pub(crate) fn nudge(&self, shard: u16) -> bool {
        let Ok(slot) = self.slot(shard) else { return false };
        let berth = slot.berth.load();
        berth.as_ref().and_then(|berth| berth.resident.as_ref()).is_some_and(Resident::nudge)
    }

    /// Puts something into the mail of a shard that need not run yet, and wakes it if it does.
    /// What could not be put there comes back.
    pub(crate) fn send(&self, shard: u16, mail: Mail) -> Result<(), PushError<Mail>> {
        let Ok(slot) = self.slot(shard) else { return Err(PushError::Closed(mail)) };
        match slot.berth.load().as_ref() {
            Some(berth) => berth.mail.push(mail)?,
            None => return Err(PushError::Closed(mail)),
        }
        // If it was grown since, it sees the push before its first sleep, or is seen here: each
        // side has a fence between what it writes and what it reads (G1).
        fence(Ordering::SeqCst);
        self.nudge(shard);
        Ok(())
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
