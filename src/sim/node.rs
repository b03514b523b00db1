//! One process with its ring: descriptors, fixed file table, queues, buffer groups.
//!
//! Role: the state of a node as plain data with small queries. Not role: what operations do.
//!
//! *Invariant* K11: descriptor numbers are given out lowest first, so that a stale number names the
//! next file as soon as there is one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::fault::Shape;
use super::file::FileId;
use super::mem::{self, Piece};
use crate::ring::op::{Completion, Fd, Op, Token};
use crate::sys::addr::SockAddr;

/// The first descriptor that a node gives out; below are the standard ones.
const FIRST_FD: usize = 3;

/// Names an operation under way, for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OpRef {
    pub(super) node: usize,
    pub(super) serial: u64,
}

/// An operation that the kernel has and that has not completed for the last time.
pub(super) struct Pending {
    pub(super) token: Token,
    pub(super) what: Work,
    /// The file it refers to.
    pub(super) file: Option<FileId>,
    /// It is in the run queue.
    pub(super) queued: bool,
    /// No completion of it may become visible before this: K1.
    pub(super) not_before_ns: u64,
}

impl Pending {
    pub(super) const fn new(token: Token, what: Work, file: Option<FileId>) -> Self {
        Self { token, what, file, queued: false, not_before_ns: 0 }
    }
}

pub(super) enum Work {
    Recv {
        group: u16,
        /// It ends with its first piece.
        once: bool,
    },
    Send(Sending),
    Connect {
        addr: SockAddr,
        started: bool,
    },
    Poll {
        mask: u32,
        multi: bool,
    },
    /// The wake-up of the handles.
    Wake,
    /// Done when it was taken.
    Nothing,
    /// `Shutdown` and `Install`, which the kernel may do on a thread of its own.
    Later(Op),
}

pub(super) struct Sending {
    pub(super) memory: Memory,
    pub(super) total_len: usize,
    pub(super) done_len: usize,
    pub(super) zero_copy: bool,
    /// Completed, and the notification is still to come.
    pub(super) notifying: bool,
}

/// What an operation names, as it was when it was submitted.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    pub(super) pieces: Vec<Piece>,
    pub(super) checksum: u64,
}

impl Memory {
    pub(super) fn new(pieces: Vec<Piece>) -> Self {
        let checksum = mem::checksum(&pieces);
        Self { pieces, checksum }
    }

    /// Whether a byte of it is not what it was.
    pub(super) fn has_changed(&self) -> bool {
        mem::checksum(&self.pieces) != self.checksum
    }
}

/// What an operation occupies until its last completion was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    /// The token itself.
    Token(u64),
    /// The one send of a stream.
    Send(FileId),
    /// The one multishot receive of a stream.
    Recv(FileId),
}

/// A completion on its way into the queue.
pub(super) struct Posted {
    pub(super) due_ns: u64,
    /// When it was posted, among all.
    pub(super) order: u64,
    pub(super) serial: u64,
    pub(super) completion: Completion,
    /// Compared when the engine learns of it.
    pub(super) memory: Option<Memory>,
    pub(super) claims: [Option<Claim>; 2],
    /// The group of the provided buffer.
    pub(super) group: u16,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Buffer {
    pub(super) bid: u16,
    pub(super) ptr: *mut u8,
    pub(super) len: u32,
}

/// A group of provided buffers.
#[derive(Default)]
pub(super) struct Group {
    pub(super) entries: usize,
    pub(super) staged: Vec<Buffer>,
    pub(super) visible: VecDeque<Buffer>,
    /// Provided, and not yet seen by the engine in a completion: bid to address.
    pub(super) held: BTreeMap<u16, usize>,
    /// How much was last written into each buffer.
    pub(super) written_len: BTreeMap<u16, u32>,
}

/// One process.
pub(super) struct Node {
    pub(super) fds: Vec<Option<FileId>>,
    /// The occupied places of the fixed file table.
    pub(super) slots: BTreeMap<u32, FileId>,
    /// Places of that table.
    pub(super) slot_count: u32,
    /// Slots whose last installation failed.
    pub(super) failed_slots: BTreeSet<u32>,
    pub(super) sq: VecDeque<(Op, Token)>,
    pub(super) pending: BTreeMap<u64, Pending>,
    /// Operations to be tried at the next `enter`.
    pub(super) run: Vec<u64>,
    pub(super) posted: Vec<Posted>,
    pub(super) cq: VecDeque<Posted>,
    pub(super) overflow: VecDeque<Posted>,
    /// How often a multishot ended because the queue was full.
    pub(super) overflow_count: u64,
    pub(super) claims: BTreeMap<Claim, u32>,
    pub(super) groups: BTreeMap<u16, Group>,
    /// Provided memory: address to length.
    pub(super) provided: BTreeMap<usize, u32>,
    pub(super) wake_flag: Arc<AtomicBool>,
    /// The armed wake-up.
    pub(super) wake_serial: Option<u64>,
    pub(super) wants_wake_at_ns: Option<u64>,
    /// Its ring is open.
    pub(super) alive: bool,
}

impl Node {
    pub(super) fn new(shape: &Shape) -> Self {
        Self {
            fds: Vec::new(),
            slots: BTreeMap::new(),
            slot_count: shape.fixed_files,
            failed_slots: BTreeSet::new(),
            sq: VecDeque::new(),
            pending: BTreeMap::new(),
            run: Vec::new(),
            posted: Vec::new(),
            cq: VecDeque::new(),
            overflow: VecDeque::new(),
            overflow_count: 0,
            claims: BTreeMap::new(),
            groups: BTreeMap::new(),
            provided: BTreeMap::new(),
            wake_flag: Arc::new(AtomicBool::new(false)),
            wake_serial: None,
            wants_wake_at_ns: None,
            alive: true,
        }
    }

    pub(super) fn fd_count(&self) -> usize {
        self.fds.iter().flatten().count()
    }

    /// The lowest free descriptor now names `file`.
    pub(super) fn fd_insert(&mut self, file: FileId) -> Fd {
        let index = self.fds.iter().position(Option::is_none).unwrap_or(self.fds.len());
        if index == self.fds.len() {
            self.fds.push(None);
        }
        self.fds[index] = Some(file);
        (index + FIRST_FD) as Fd
    }

    pub(super) fn fd_file(&self, fd: Fd) -> Option<FileId> {
        let index = usize::try_from(fd).ok()?.checked_sub(FIRST_FD)?;
        self.fds.get(index).copied().flatten()
    }

    pub(super) fn fd_remove(&mut self, fd: Fd) -> Option<FileId> {
        let index = usize::try_from(fd).ok()?.checked_sub(FIRST_FD)?;
        self.fds.get_mut(index)?.take()
    }

    pub(super) fn slot_file(&self, slot: u32) -> Option<FileId> {
        self.slots.get(&slot).copied()
    }

    /// Another of the same is under way.
    pub(super) fn claim(&mut self, claim: Claim) -> bool {
        let count = self.claims.entry(claim).or_insert(0);
        *count += 1;
        *count > 1
    }

    pub(super) fn has_claim(&self, claim: Claim) -> bool {
        self.claims.contains_key(&claim)
    }

    pub(super) fn unclaim(&mut self, claim: Claim) {
        if let Some(count) = self.claims.get_mut(&claim) {
            *count -= 1;
            if *count == 0 {
                self.claims.remove(&claim);
            }
        }
    }

    /// Completions that were not taken yet.
    pub(super) fn unreaped_count(&self) -> usize {
        self.posted.len() + self.cq.len() + self.overflow.len()
    }
}
