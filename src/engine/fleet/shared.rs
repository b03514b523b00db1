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

use super::connect::Connect;
use super::mail::Mail;
use super::publish::{Posted, WORDS};
use crate::engine::Command;
use crate::error::{IoError, PoolKind, Result};
use crate::pool::{PoolShared, SendBuffer};
use crate::sync::atomic::{AtomicU32, Ordering, fence};
use crate::sync::board::Board;
use crate::sync::gate::Gate;
use crate::sync::mpsc::{Consumer, Producer, PushError, channel};

/// What the threads of a cluster share.
pub(crate) struct Shared {
    slots: Box<[Slot]>,
    mail_entries: usize,
    /// Whose turn it is among shards with equally many connections.
    turn: AtomicU32,
}

/// One shard, through all of its lives.
#[derive(Default)]
pub(crate) struct Slot {
    berth: OwnPage<ArcSwapOption<Berth>>,
    /// Its shard writes there, and the berth is read by whoever sends.
    board: OwnPage<Board<WORDS>>,
}

/// A value on a page of its own: so that a test can have the kernel watch who writes to it.
#[derive(Default)]
#[repr(align(4096))]
struct OwnPage<T>(T);

/// One life of a shard.
pub(crate) struct Berth {
    mail: Producer<Mail>,
    /// Connections that were asked for and that its board does not count yet.
    asked: Arc<AtomicU32>,
    /// Once it is grown.
    resident: Option<Resident>,
}

/// The way to a shard that runs.
pub(crate) struct Resident {
    pub(crate) gate: Arc<Gate>,
    pub(crate) pool: Arc<PoolShared>,
    /// What its handles ask for goes there.
    pub(crate) commands: Producer<Command>,
    /// Whether it has guard writes.
    pub(crate) guards: bool,
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
    pub(crate) fn new(shards: u16, mail_entries: usize) -> Self {
        let slots = (0..shards).map(|_| Slot::default()).collect();
        Self { slots, mail_entries, turn: AtomicU32::new(0) }
    }

    /// How many shards there are.
    pub(crate) const fn count(&self) -> u16 {
        self.slots.len() as u16
    }

    /// What the mail of one shard holds.
    pub(crate) const fn mail_entries(&self) -> usize {
        self.mail_entries
    }

    fn slot(&self, shard: u16) -> Result<&Slot> {
        let shards = self.count();
        self.slots.get(usize::from(shard)).ok_or(IoError::NoSuchShard { shard, shards })
    }

    /// Begins a life: the end of its mail, for the thread that will run it.
    pub(crate) fn begin(&self, shard: u16) -> Result<Consumer<Mail>> {
        let (mail, consumer) = channel(self.mail_entries);
        self.slot(shard)?.berth.0.store(Some(Arc::new(Berth {
            mail,
            asked: Arc::default(),
            resident: None,
        })));
        Ok(consumer)
    }

    /// The shard runs: it can be woken, and its reserve be written to.
    pub(crate) fn moor(&self, shard: u16, resident: Resident) -> Result<()> {
        let slot = self.slot(shard)?;
        let berth = slot.berth.0.load_full().ok_or(IoError::ShardDown { shard })?;
        let resident = Some(resident);
        let (mail, asked) = (berth.mail.clone(), Arc::clone(&berth.asked));
        slot.berth.0.store(Some(Arc::new(Berth { mail, asked, resident })));
        Ok(())
    }

    /// Its life is over.
    pub(crate) fn vacate(&self, shard: u16) {
        if let Ok(slot) = self.slot(shard) {
            slot.berth.0.store(None);
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
        berth.asked.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = berth.mail.push(Mail::Connect(Box::new(connect))) {
            berth.asked.fetch_sub(1, Ordering::Relaxed);
            return Err(if error.is_closed() { down } else { full(&berth.mail) });
        }
        self.nudge(shard);
        Ok(shard)
    }

    /// The shard itself: so many of those that were asked for are counted on its board.
    pub(super) fn took_asked(&self, shard: u16, count: u32) {
        if count > 0
            && let Ok(slot) = self.slot(shard)
            && let Some(berth) = slot.berth.0.load().as_ref()
        {
            berth.asked.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// The shard with the fewest connections of those that run; among equals they take turns.
    fn least_busy(&self) -> Result<u16> {
        let shards = u32::from(self.count());
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % shards;
        let all = (0..shards).map(|step| ((first + step) % shards) as u16);
        let running = all.filter(|shard| self.runs(*shard));
        let least = running.min_by_key(|shard| self.load_of(*shard));
        least.ok_or(IoError::ShardDown { shard: first as u16 })
    }

    /// Its connections, and those that it was asked for.
    fn load_of(&self, shard: u16) -> u64 {
        let berth = self.slot(shard).map(|slot| slot.berth.0.load());
        let asked = berth
            .ok()
            .as_ref()
            .and_then(|berth| berth.as_ref().map(|berth| berth.asked.load(Ordering::Relaxed)));
        self.posted(shard).connections + u64::from(asked.unwrap_or(0))
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
            Some(berth) => berth.mail.push(mail),
            None => Err(PushError::Closed(mail)),
        }
    }

    /// Sends what a shard that leaves had in its mail to another one that runs, if there is one.
    pub(super) fn pass_on(&self, from: u16, mut mail: Mail) {
        let others = (1..self.count()).map(|step| (from + step) % self.count());
        for shard in others.filter(|shard| self.runs(*shard)) {
            match self.send(shard, mail) {
                Ok(()) => return,
                Err(refused) => mail = refused.into_inner(),
            }
        }
    }
}

fn full(mail: &Producer<Mail>) -> IoError {
    IoError::QueueFull { queue: "mail", capacity: mail.capacity() }
}
