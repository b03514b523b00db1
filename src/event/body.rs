//! [`BodyStream`]: the body of a request that was detached, on its way to another thread.
//!
//! Role: the taking end, and how the two sides reach each other ([`Line`]). Not role: what goes
//! into the ring, and when (`engine::http`).

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::pool::{OwnedSlot, PoolShared};
use crate::sync::gate::Gate;
use crate::sync::marks::Marks;
use crate::sync::spsc::{Bells, Consumer, Next, Producer, channel};
use crate::sys::park::{Deadline, Parker};

/// The end of a body that came whole. No code is so large.
const WHOLE: u64 = u64::MAX;

/// How a ring ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BodyEnd {
    Whole,
    Cut { error_code: u64 },
}

impl BodyEnd {
    /// Never 0: that is a ring which has not ended.
    const fn to_bits(self) -> u64 {
        match self {
            Self::Whole => WHOLE,
            Self::Cut { error_code } => error_code.saturating_add(1),
        }
    }
}

/// How workers reach a shard: which bodies it has to look at.
pub(crate) struct BodyMarks {
    pub(crate) marks: Marks,
    gate: Arc<Gate>,
    pool: Arc<PoolShared>,
}

impl BodyMarks {
    pub(crate) fn new(capacity: usize, gate: Arc<Gate>, pool: Arc<PoolShared>) -> Self {
        Self { marks: Marks::with_capacity(capacity), gate, pool }
    }
}

/// What the two sides of one body reach each other by.
pub(crate) struct Line {
    shard: Arc<BodyMarks>,
    /// The body's place in the shard.
    place: u32,
    parker: Parker,
}

impl Bells for Line {
    fn wake_consumer(&self) {
        self.parker.wake();
    }

    fn tell_producer(&self, urgent: bool) {
        self.shard.marks.mark(self.place);
        if urgent && self.shard.gate.needs_wake() {
            self.shard.pool.wake();
        }
    }
}

/// The shard's end.
pub(crate) struct BodyRing(Producer<OwnedSlot, Line>);

impl BodyRing {
    pub(crate) fn new(shard: Arc<BodyMarks>, place: u32) -> (Self, BodyStream) {
        let (producer, consumer) = channel(Line { shard, place, parker: Parker::default() });
        (Self(producer), BodyStream { consumer })
    }

    /// A stream of the same ring, when the last one is gone.
    pub(crate) fn renew(&mut self) -> Option<BodyStream> {
        self.0.renew().map(|consumer| BodyStream { consumer })
    }

    /// Whether the stream was dropped. What it had left is dropped too.
    pub(crate) fn is_alone(&mut self) -> bool {
        self.0.clear();
        self.0.is_alone()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// Pieces that were taken so far, a number that wraps around.
    pub(crate) fn taken(&self) -> u32 {
        self.0.taken()
    }

    /// There must be room.
    pub(crate) fn push(&mut self, chunk: OwnedSlot) {
        let pushed = self.0.push(chunk);
        debug_assert!(pushed.is_ok(), "it was pushed into a full ring");
    }

    /// Whether the ring is too full, and its place will be marked when it no longer is.
    pub(crate) fn waits_for_room(&mut self) -> bool {
        self.0.wait_for_room()
    }

    pub(crate) fn finish(&mut self, end: BodyEnd) {
        self.0.finish(end.to_bits());
    }
}

/// The body of a request that was detached before all of it had come:
/// [`HttpOwnedRequest::body_stream`](crate::HttpOwnedRequest::body_stream). `Send`: for the thread
/// that handles the request.
///
/// At most 8 pieces wait in it, each in the buffer that it was received in. While that many do, the
/// connection is not read, and TCP holds the client back. Dropping the stream gives up the rest of
/// the body: it is read and thrown away.
///
/// ```no_run
/// # fn work(mut request: zero_io::HttpOwnedRequest, handle: zero_io::IoHandle) {
/// use zero_io::{BodyPart, ZeroResponse};
///
/// let Some(mut body) = request.body_stream() else { return };
/// let mut len = 0;
/// loop {
///     match body.next(None) {
///         Some(BodyPart::Chunk(chunk)) => len += chunk.len(),
///         Some(BodyPart::End) => break,
///         // The client is gone, or the request was refused: nobody waits for an answer.
///         _ => return,
///     }
/// }
/// let said = format!("{len} bytes");
/// let answer = ZeroResponse::ok().text(&said);
/// let _ = handle.http_respond(request.conn(), request.id(), answer);
/// # }
/// ```
pub struct BodyStream {
    consumer: Consumer<OwnedSlot, Line>,
}

impl BodyStream {
    /// The next part; `None` when nothing of it is here yet. Does not wait.
    pub fn try_next(&mut self) -> Option<BodyPart> {
        match self.consumer.next() {
            Next::Value(slot) => Some(BodyPart::Chunk(BodyChunk { slot })),
            Next::End(WHOLE) => Some(BodyPart::End),
            Next::End(bits) => Some(BodyPart::Cut { error_code: bits - 1 }),
            Next::Nothing => None,
        }
    }

    /// The next part. Blocks this thread for at most `timeout` until it is here, or without a limit
    /// for `None`; `None` comes back when the time is over. Not for the thread of the `Io`, which
    /// would wait for itself.
    pub fn next(&mut self, timeout: Option<Duration>) -> Option<BodyPart> {
        let found = self.try_next();
        if found.is_some() {
            return found;
        }
        let deadline = Deadline::after(timeout);
        loop {
            if self.consumer.prepare_wait() {
                self.consumer.bells().parker.sleep(deadline);
                self.consumer.awake();
            }
            let found = self.try_next();
            if found.is_some() || deadline.is_over() {
                return found;
            }
        }
    }
}

impl fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyStream").finish_non_exhaustive()
    }
}

/// What comes out of a [`BodyStream`].
#[derive(Debug)]
#[non_exhaustive]
pub enum BodyPart {
    /// A piece of the body; never empty.
    Chunk(BodyChunk),
    /// All of the body has come.
    End,
    /// No more of it will come.
    Cut {
        /// Why, see [`code`](crate::code): the client vanished ([`TRUNCATED`], or an errno), the
        /// request was refused or timed out, it was answered already
        /// ([`HTTP_BODY_UNWANTED`]), or the `Io` was dropped ([`IO_GONE`]).
        ///
        /// [`TRUNCATED`]: crate::code::TRUNCATED
        /// [`HTTP_BODY_UNWANTED`]: crate::code::HTTP_BODY_UNWANTED
        /// [`IO_GONE`]: crate::code::IO_GONE
        error_code: u64,
    },
}

/// A piece of a body, in the buffer where it was received. Dropping it gives the buffer back to the
/// shard.
pub struct BodyChunk {
    slot: OwnedSlot,
}

impl BodyChunk {
    /// The same as an [`OwnedSlot`]: to be cloned, cut, or made a send buffer of.
    #[must_use]
    pub fn into_slot(self) -> OwnedSlot {
        self.slot
    }
}

impl Deref for BodyChunk {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.slot
    }
}

impl AsRef<[u8]> for BodyChunk {
    fn as_ref(&self) -> &[u8] {
        &self.slot
    }
}

impl fmt::Debug for BodyChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyChunk").field("len", &self.len()).finish()
    }
}

const fn assert_sent<T: Send>() {}
const _: () = assert_sent::<BodyStream>();
const _: () = assert_sent::<BodyChunk>();
