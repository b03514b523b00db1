//! How a byte stream is cut into messages, and what those messages are called.

use std::fmt;

/// What a message is: the discriminator of `StreamFrame`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageKind {
    /// Bytes without a structure that zero-io knows: the default of TCP and Unix streams.
    Binary,
    /// A WebSocket text message, RFC 6455 §5.6.
    WsText,
    /// A WebSocket binary message, RFC 6455 §5.6.
    WsBinary,
    /// A whole MQTT control packet.
    MqttPacket,
    /// A length-prefixed gRPC message.
    GrpcFrame,
    /// A FIX tag-value message.
    FixText,
    /// An SBE message.
    Sbe,
    /// What the application's own [`Framing`] cuts.
    User(u8),
}

/// What a framing function sees at the front of the bytes it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// Not a whole message yet: ask again when at least this many bytes are there, counted from the
    /// front; more than it was given.
    Need(usize),
    /// The first so many bytes are one message; at least 1, at most what it was given. Anything
    /// else closes the connection with `code::BAD_FRAME`: a message of no bytes would come for
    /// ever.
    Ready(usize),
    /// This is no message of the protocol: the connection is closed with `code::BAD_FRAME`.
    Bad,
}

/// Cuts a byte stream into messages. The function sees the unconsumed bytes from their front and
/// must answer the same for the same bytes, however they arrived.
///
/// ```
/// use zero_io::{Frame, Framing, MessageKind};
/// // A byte with the length, then so many bytes.
/// fn next(bytes: &[u8]) -> Frame {
///     let whole = 1 + bytes.first().map_or(0, |n| usize::from(*n));
///     if bytes.len() < whole { Frame::Need(whole) } else { Frame::Ready(whole) }
/// }
/// let framing = Framing::new(MessageKind::User(1), next);
/// # let _ = framing;
/// ```
#[derive(Clone, Copy)]
pub struct Framing {
    kind: MessageKind,
    next: fn(&[u8]) -> Frame,
    len_max: usize,
}

impl Framing {
    /// Messages of that kind, cut by `next`, as long as a jumbo buffer holds
    /// (`Config::jumbo_size`).
    #[must_use]
    pub const fn new(kind: MessageKind, next: fn(&[u8]) -> Frame) -> Self {
        Self { kind, next, len_max: usize::MAX }
    }

    /// Refuses messages longer than `len_max` bytes with `code::FRAME_TOO_LONG`.
    #[must_use]
    pub const fn with_len_max(mut self, len_max: usize) -> Self {
        self.len_max = len_max;
        self
    }

    pub(crate) const fn kind(&self) -> MessageKind {
        self.kind
    }

    pub(crate) const fn len_max(&self) -> usize {
        self.len_max
    }

    pub(crate) fn next(&self, bytes: &[u8]) -> Frame {
        (self.next)(bytes)
    }
}

impl fmt::Debug for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framing").field("kind", &self.kind).field("len_max", &self.len_max).finish()
    }
}
