//! The vocabulary between the engine and a backend: operations, tokens, completions.
//!
//! Role: say exactly what is asked of the kernel and what it answers, so that the simulated kernel
//! can stand in for the real one. The contract K1.. that both keep is in docs/KERNEL.md.
//!
//! *Invariant* K5: memory named by an [`Op`] stays valid and untouched until the op's last
//! completion.

use std::fmt;
use std::time::Duration;

use crate::sys::addr::SockAddr;
use crate::sys::gather::Gather;

/// A raw descriptor number. It has no `Drop`: its owner closes it through the ring.
pub(crate) type Fd = i32;

/// A socket as operations name it: the descriptor, and its place in the fixed file table if it has
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sock {
    pub(crate) fd: Fd,
    pub(crate) slot: u32,
}

impl Sock {
    /// `slot` of a socket that is not in the fixed file table.
    pub(crate) const NO_SLOT: u32 = u32::MAX;

    pub(crate) const fn plain(fd: Fd) -> Self {
        Self { fd, slot: Self::NO_SLOT }
    }

    pub(crate) const fn is_fixed(self) -> bool {
        self.slot != Self::NO_SLOT
    }
}

/// What a completion belongs to: the upper 8 bits of `user_data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Tag {
    /// Nobody waits for it (cancels, closes of what is already forgotten).
    Ignore = 0,
    /// The wake-up descriptor of the handles.
    Wake = 1,
    /// A listener became acceptable.
    Accept = 2,
    /// A UDP socket became readable.
    UdpReadable = 3,
    /// A UDP socket became writable.
    UdpWritable = 4,
    /// A watched descriptor.
    Watch = 5,
    /// A stream connection is being established.
    Connect = 6,
    /// The multishot receive of a connection.
    Recv = 7,
    /// The send of a connection; `index` is the connection.
    Send = 8,
    /// A zero-copy send; `index` is the transmit block.
    SendZc = 9,
    /// A connection's socket entered the fixed file table.
    Install = 10,
    /// A connection's descriptor was closed.
    Close = 11,
    /// A connection was shut down in one or both directions.
    Shutdown = 12,
    /// One of several attempts to connect; `index` is the attempt.
    Attempt = 13,
    /// A connection's socket takes more: of a file, or where the kernel seals.
    Room = 14,
}

impl Tag {
    /// The bits of the two tags that come most often, to be compared without a table.
    pub(crate) const RECV: u8 = Self::Recv as u8;
    /// As above.
    pub(crate) const SEND: u8 = Self::Send as u8;

    const ALL: [Self; 15] = [
        Self::Ignore,
        Self::Wake,
        Self::Accept,
        Self::UdpReadable,
        Self::UdpWritable,
        Self::Watch,
        Self::Connect,
        Self::Recv,
        Self::Send,
        Self::SendZc,
        Self::Install,
        Self::Close,
        Self::Shutdown,
        Self::Attempt,
        Self::Room,
    ];
}

/// `user_data`: tag (8 bits), generation (24 bits), index (32 bits).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Token(pub(crate) u64);

impl Token {
    pub(crate) const IGNORE: Self = Self::new(Tag::Ignore, 0, 0);

    pub(crate) const fn new(tag: Tag, generation: u32, index: u32) -> Self {
        debug_assert!(generation < 1 << crate::ids::GENERATION_BITS);
        Self((tag as u64) << 56 | (generation as u64) << 32 | index as u64)
    }

    /// The tag, unchecked.
    #[inline]
    pub(crate) const fn tag_bits(self) -> u8 {
        (self.0 >> 56) as u8
    }

    /// The tag; one that was never made reads as [`Tag::Ignore`].
    pub(crate) fn tag(self) -> Tag {
        Tag::ALL.get((self.0 >> 56) as usize).copied().unwrap_or(Tag::Ignore)
    }

    /// The low 24 bits of the generation.
    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> 32) as u32 & ((1 << crate::ids::GENERATION_BITS) - 1)
    }

    pub(crate) const fn index(self) -> u32 {
        self.0 as u32
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({}.{})", self.tag(), self.index(), self.generation())
    }
}

/// What a poll waits for: `POLLIN`, `POLLOUT` and so on.
pub(crate) type PollMask = u32;

/// One submission.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    /// Multishot receive into the buffers of `group`: a completion with a buffer for each piece.
    RecvMulti { sock: Sock, group: u16 },
    /// Receive into one buffer of `group`.
    RecvOnce { sock: Sock, group: u16 },
    /// Send all of `len` bytes (`MSG_WAITALL | MSG_NOSIGNAL`); may still be short.
    Send { sock: Sock, ptr: *const u8, len: u32 },
    /// The same, gathered; unless it is to be `whole` without `MSG_WAITALL`, which the kernel's TLS
    /// refuses.
    SendMsg { sock: Sock, gather: *const Gather, whole: bool },
    /// `SEND_ZC` with `REPORT_USAGE`: a second completion with `NOTIF` iff the first has `MORE`.
    SendZc { sock: Sock, ptr: *const u8, len: u32 },
    /// The same, gathered.
    SendMsgZc { sock: Sock, gather: *const Gather },
    /// Connect a stream socket.
    Connect { sock: Sock, addr: *const SockAddr },
    /// Put the descriptor at `fd` into the fixed file table at `slot`.
    Install { fd: *const Fd, slot: u32 },
    /// Wait for readiness, once or until cancelled.
    Poll { sock: Sock, mask: PollMask, multi: bool },
    /// Cancel the operation with this token. Its own completion is best ignored: the target
    /// completes with `ECANCELED` or with what it had.
    Cancel { target: Token },
    /// shutdown(2) with `SHUT_WR` or `SHUT_RDWR`.
    Shutdown { sock: Sock, how: i32 },
    /// Close a descriptor that is not in the fixed file table.
    CloseFd { fd: Fd },
    /// Empty a place of the fixed file table. `or_nothing`: an installation was asked for, and
    /// whether it succeeded is not known.
    CloseSlot { slot: u32, or_nothing: bool },
}

/// One completion, as the kernel lays it out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) token: Token,
    /// A count, or a negative errno.
    pub(crate) result: i32,
    /// `IORING_CQE_F_*`.
    pub(crate) flags: u32,
}

impl Completion {
    /// The upper half of `flags` is the id of a provided buffer.
    pub(crate) const BUFFER: u32 = 1;
    /// The operation will complete again.
    pub(crate) const MORE: u32 = 2;
    /// The socket had more to read.
    pub(crate) const NONEMPTY: u32 = 4;
    /// This is the notification of a zero-copy send: its memory is free.
    pub(crate) const NOTIF: u32 = 8;
    /// In the result of a notification: the kernel copied after all.
    pub(crate) const ZC_COPIED: u32 = 1 << 31;

    pub(crate) const EMPTY: Self = Self { token: Token::IGNORE, result: 0, flags: 0 };

    /// The buffer of a multishot receive that goes on and brought something.
    #[inline]
    pub(crate) const fn filled_and_more(&self) -> Option<u16> {
        let both = Self::BUFFER | Self::MORE;
        if self.flags & both == both && self.result > 0 {
            Some((self.flags >> 16) as u16)
        } else {
            None
        }
    }

    pub(crate) const fn more(&self) -> bool {
        self.flags & Self::MORE != 0
    }

    pub(crate) const fn is_notif(&self) -> bool {
        self.flags & Self::NOTIF != 0
    }

    /// The provided buffer that was used.
    pub(crate) const fn buffer(&self) -> Option<u16> {
        if self.flags & Self::BUFFER != 0 { Some((self.flags >> 16) as u16) } else { None }
    }
}

/// How long `enter` may block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Not at all: submit, run what is due, return.
    None,
    /// Until a completion, or this many nanoseconds (at least 1).
    For(u64),
    /// Until a completion.
    Forever,
}

impl Wait {
    /// Until a completion, or for that long.
    pub(crate) fn up_to(span: Duration) -> Self {
        match u64::try_from(span.as_nanos()) {
            Ok(0) => Self::None,
            Ok(ns) => Self::For(ns),
            // Centuries.
            Err(_) => Self::Forever,
        }
    }
}
