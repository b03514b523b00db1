//! One stream connection: its socket, what speaks on it, what waits to be sent, and how it ends.
//!
//! Role: the state of a connection and the table of all. Not role: what to do when something
//! completes (the engine's).
//!
//! *Invariants*
//! - At most one send and at most one multishot receive are under way per connection.
//! - A connection's place is free for another only after its last completion came and its
//!   `Disconnected` was handed out; its generation is then a new one.

pub(crate) mod guard;
pub(crate) mod secure;
pub(crate) mod table;
pub(crate) mod tx;

use crate::config::ConnTimeouts;
use crate::ids::{ConnId, Protocol};
use crate::pool::Owner;
pub(crate) use crate::pool::Span;
use crate::pool::carry::Carry;
use crate::proto::App;
use crate::ring::{Sock, Tag, Token};
use crate::sys::addr::SockAddr;
use crate::time::Time;
use crate::time::wheel::TimerKey;
use secure::Secure;
use tx::TxQueue;

/// Where a connection is in its life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Phase {
    /// The place is free.
    Free,
    /// The host name is being resolved, or a full backlog is waited for.
    Waiting,
    /// The kernel is connecting.
    Connecting,
    /// Established.
    Open,
    /// Over: operations are being ended.
    Ending,
    /// Nothing is under way: the descriptor is being closed.
    Closing,
    /// Closed; `Disconnected` waits to be handed out.
    Ended,
}

bitflags::bitflags! {
    /// What is under way or wanted on a connection.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub(crate) struct Flags: u32 {
        /// A connect is under way.
        const CONNECT_BUSY = 1 << 0;
        /// The multishot receive is armed.
        const RECV_ARMED = 1 << 1;
        /// Its cancellation was asked for.
        const RECV_CANCELLED = 1 << 2;
        /// A send is under way.
        const SEND_BUSY = 1 << 3;
        /// A shutdown is under way.
        const SHUTDOWN_BUSY = 1 << 4;
        /// The application paused receiving.
        const PAUSED = 1 << 5;
        /// No buffer was left: on the list of those to be armed again.
        const STARVED = 1 << 6;
        /// It holds too many receive buffers.
        const HOLDING = 1 << 7;
        /// A stretch of received bytes waits for room in the event queue.
        const STALLED = 1 << 8;
        /// On the list of those with something to send.
        const DIRTY = 1 << 9;
        /// The peer's end of stream came.
        const EOF = 1 << 10;
        /// Established: [`Phase::Open`], as a bit, so that one comparison finds the plain case. A
        /// connection of QUIC never is, nor one that is leaving for another shard.
        const OPEN = 1 << 11;
        /// The application takes no more writes back: shut down when the queue is empty.
        const SHUT_WANTED = 1 << 12;
        /// The sending side was shut down.
        const SHUT_DONE = 1 << 13;
        /// A write was cut short: `Writable` is owed.
        const WANT_WRITABLE = 1 << 14;
        /// `Writable` waits to be handed out.
        const WRITABLE_QUEUED = 1 << 15;
        /// The write waits for buffers rather than for the peer.
        const WAITS_FOR_BUFFERS = 1 << 16;
        /// `close_graceful` was called.
        const GRACEFUL = 1 << 17;
        /// The kernel seals what is sent.
        const KERNEL_TX = 1 << 18;
        /// The kernel opens what is received.
        const KERNEL_RX = 1 << 19;
        /// It is being put into the fixed file table.
        const INSTALL_BUSY = 1 << 20;
        /// Zero-copy sends are of no use here.
        const NO_ZERO_COPY = 1 << 21;
        /// A failed send made the rest of the queue undeliverable.
        const SEND_FAILED = 1 << 22;
        /// The send under way is a zero-copy one: its token names the transmit block.
        const SEND_IS_ZC = 1 << 23;
        /// The application closed it: what is still queued is not handed out.
        const MUTED = 1 << 24;
        /// `Connected`, or what came with it from another shard, waits to be handed out; nothing is
        /// read before.
        const ANNOUNCE_DUE = 1 << 25;
        /// What arrives goes through a machine before it is an event.
        const COOKED = 1 << 26;
        /// There is a limit to how long a write may take.
        const WRITE_LIMIT = 1 << 27;
        /// What is written is sealed first.
        const TLS = 1 << 28;
        /// The TLS handshake is not done, or what comes before it.
        const SHAKING = 1 << 29;
        /// TLS failed: its alert is on its way, and nothing is taken in any more.
        const TLS_FAILED = 1 << 30;
        /// Something that was accepted waits to be sealed.
        const UNSEALED = 1 << 31;
    }
}

impl Flags {
    /// What takes a connection off the short paths.
    pub(crate) const SPECIAL: Self = Self::RECV_CANCELLED
        .union(Self::SHUTDOWN_BUSY)
        .union(Self::PAUSED)
        .union(Self::STARVED)
        .union(Self::HOLDING)
        .union(Self::STALLED)
        .union(Self::EOF)
        .union(Self::SHUT_WANTED)
        .union(Self::SHUT_DONE)
        .union(Self::WANT_WRITABLE)
        .union(Self::WRITABLE_QUEUED)
        .union(Self::WAITS_FOR_BUFFERS)
        .union(Self::GRACEFUL)
        .union(Self::SEND_FAILED)
        .union(Self::SEND_IS_ZC)
        .union(Self::MUTED)
        .union(Self::ANNOUNCE_DUE)
        .union(Self::UNSEALED);
}

/// One connection. What every message touches comes first, in two adjacent cache lines.
#[repr(C, align(128))]
pub(crate) struct Conn {
    pub(crate) generation: u32,
    pub(crate) flags: Flags,
    /// Receive buffers held on its account.
    pub(crate) held: u32,
    /// So many may be held before that is looked into: none where nothing came since the receive
    /// was armed.
    pub(crate) calm_held: u32,
    /// Transmit block of the send under way, or `tx::NO_BLOCK`.
    pub(crate) block: u32,
    pub(crate) sock: Sock,
    pub(crate) bytes_received: u64,
    /// When something last arrived, and when the kernel last took something.
    pub(crate) last_rx: Time,
    pub(crate) tx: TxQueue,
    pub(crate) last_tx: Time,
    pub(crate) bytes_sent: u64,
    pub(crate) phase: Phase,
    pub(crate) protocol: Protocol,
    /// `Connected` was said.
    pub(crate) is_announced: bool,
    /// The end was in order.
    pub(crate) is_clean: bool,
    /// Bytes that zero-copy sends handed over and the peer did not acknowledge: their memory is
    /// held.
    pub(crate) pinned: u32,
    pub(crate) app: App,
    pub(crate) secure: Option<Box<Secure>>,
    pub(crate) carry: Carry,
    pub(crate) stalled: Span,
    /// The listener's number, or `u64::MAX`.
    pub(crate) endpoint: u64,
    pub(crate) user_data: u64,
    /// Bytes that the peer had acknowledged when a limit was last looked at.
    pub(crate) acked: u64,
    pub(crate) timer: Option<TimerKey>,
    pub(crate) timeouts: ConnTimeouts,
    /// When connecting or closing has to be over.
    pub(crate) deadline: Time,
    /// Why it ended.
    pub(crate) code: u64,
    /// The peer; named by a connect operation while it is under way (K5).
    pub(crate) peer: SockAddr,
}

impl Conn {
    pub(crate) const fn id(&self, index: u32) -> ConnId {
        ConnId::new(index, self.generation)
    }

    pub(crate) const fn token(&self, tag: Tag, index: u32) -> Token {
        Token::new(tag, self.generation, index)
    }

    pub(crate) const fn owner(&self, index: u32) -> Owner {
        Owner { index, generation: self.generation }
    }

    pub(crate) fn has(&self, flags: Flags) -> bool {
        self.flags.intersects(flags)
    }

    pub(crate) fn set(&mut self, flags: Flags) {
        self.flags.insert(flags);
    }

    pub(crate) fn unset(&mut self, flags: Flags) {
        self.flags.remove(flags);
    }

    /// Whether it is about to go to another shard: it takes no writes, and tells nothing.
    pub(crate) fn is_leaving(&self) -> bool {
        self.phase == Phase::Open && !self.has(Flags::OPEN) && self.protocol != Protocol::Quic
    }

    /// Whether an operation is under way that the kernel will still answer.
    pub(crate) fn is_busy(&self) -> bool {
        self.has(
            Flags::CONNECT_BUSY
                | Flags::RECV_ARMED
                | Flags::SEND_BUSY
                | Flags::SHUTDOWN_BUSY
                | Flags::INSTALL_BUSY,
        )
    }

    /// Whether there is data that is to be handed to the socket as it is.
    pub(crate) const fn has_data(&self) -> bool {
        !self.tx.is_empty() || self.app.has_unsent()
    }

    /// Whether there is something that the peer did not take yet.
    pub(crate) const fn has_unsent(&self) -> bool {
        !self.tx.is_empty()
            || self.pinned > 0
            || self.flags.contains(Flags::UNSEALED)
            || self.app.has_unsent()
    }

    /// Counts a received buffer.
    #[inline]
    pub(crate) const fn received(&mut self, now: Time, len: u32) {
        self.last_rx = now;
        self.bytes_received += len as u64;
        self.held += 1;
    }

    /// Whether the connection is in the plainest state: open, with nothing special under way, and
    /// with none of `besides`. What happens most often then happens on a short path.
    #[inline]
    pub(crate) const fn is_plain(&self, besides: Flags) -> bool {
        let looked_at = Flags::SPECIAL.union(Flags::OPEN).union(besides);
        self.flags.intersection(looked_at).bits() == Flags::OPEN.bits()
    }

    /// Goes to the next phase.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        let is_open = phase == Phase::Open && !matches!(self.protocol, Protocol::Quic);
        self.flags.set(Flags::OPEN, is_open);
    }

    /// What speaks on it, and its limits.
    pub(crate) fn configure(&mut self, app: App, timeouts: ConnTimeouts) {
        self.flags.set(Flags::COOKED, !matches!(app, App::Raw));
        self.flags.set(Flags::WRITE_LIMIT, timeouts.write.is_some());
        self.app = app;
        self.timeouts = timeouts;
    }

    /// Whether the application may still write.
    pub(crate) fn takes_writes(&self) -> bool {
        let over = Flags::SHUT_WANTED | Flags::SHUT_DONE | Flags::GRACEFUL | Flags::SEND_FAILED;
        // Of QUIC its streams are asked.
        self.has(Flags::OPEN) && !self.has(over | Flags::SHAKING)
    }
}

/// Resident bytes of an idle connection: its place in the table. The figure in docs/BENCHMARKS.md
/// counts allocator and list overhead too.
const _: () = assert!(size_of::<Conn>() <= 384);
