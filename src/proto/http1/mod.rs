//! HTTP/1.1 (RFC 9110, RFC 9112): heads of messages, and chunked bodies.
//!
//! Role: where a message's parts lie, where it ends, and whether it may be believed. Not role:
//! pipelining, answers, time, and what a request means.
//!
//! httparse cuts a head into its tokens. It is lenient where the RFC lets a recipient be; what
//! stands here is strict, because whoever is in front of us may read a lenient head otherwise, and
//! the difference is a smuggled request. Nothing is repaired.
//!
//! ```text
//!  GET /path HTTP/1.1 CRLF Name: value CRLF .. CRLF CRLF body
//!  |   |     |             |                     |   |
//!  0   m+1   m+1+t+1       m+1+t+11              |   head_len     m = method_len, t = target_len
//!                                                head_len - 2
//! ```
//!
//! *Invariants*: the verdict on a message depends on its bytes alone, not on how they arrive (C6),
//! and on no byte behind `Limits::header_size`; a head that is accepted has exactly the layout
//! above, so that places follow from lengths; nothing allocates, nothing panics.

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod authority;
mod body;
mod bytes;
mod chunked;
mod fault;
mod fields;
mod list;
mod machine;
mod pending;
mod plain;
pub(crate) mod request;
pub(crate) mod response;
mod server;
mod target;
#[cfg(test)]
mod tests;

pub(crate) use authority::KnownHost;
pub(crate) use body::BodyTo;
use body::BodyWay;
pub(crate) use chunked::{ChunkStep, Chunked};
pub(crate) use fault::Refusal;
pub(crate) use machine::{Http1, Writing};
pub(crate) use pending::{Pending, Waited};
pub(crate) use request::{parse_plainly, parse_thoroughly};
pub(crate) use server::HttpServer;

pub(crate) use super::http::Reply;
use crate::http::HttpMethod;

/// Header fields of one message at most, whatever the limits say.
pub(crate) const HEADER_COUNT_MAX: usize = 128;
/// Bytes of a head at most, whatever the limits say.
pub(crate) const HEADER_SIZE_MAX: u32 = u16::MAX as u32;
/// Bytes of a method's token at most: twice what the longest registered one has.
const METHOD_LEN_MAX: usize = 32;
/// Empty lines before a request line that are skipped at most.
const EMPTY_LINES_MAX: usize = 4;

/// What a listener accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Header fields, at most [`HEADER_COUNT_MAX`].
    pub(crate) header_count: u16,
    /// Bytes of the whole head with the empty line behind it, at most [`HEADER_SIZE_MAX`].
    pub(crate) header_size: u32,
}

impl Limits {
    /// What of `input` may be looked at.
    fn window<'a>(&self, input: &'a [u8]) -> &'a [u8] {
        input.get(..self.head_len()).unwrap_or(input)
    }

    /// Bytes of a head at most.
    fn head_len(&self) -> usize {
        self.header_size.min(HEADER_SIZE_MAX) as usize
    }

    /// Fields at most.
    fn field_count(&self) -> usize {
        usize::from(self.header_count).min(HEADER_COUNT_MAX)
    }
}

/// What follows a request's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    /// The next request: no length was given, or zero.
    None,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunks ([`Chunked`]).
    Chunked,
}

bitflags::bitflags! {
    /// What a head says of the connection, and of the answer.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct HeadFlags: u8 {
        /// The connection ends behind this exchange.
        const CLOSE = 1;
        const VERSION_10 = 1 << 1;
        /// HTTP/1.0, and it asked to keep the connection: the answer has to say that it is kept.
        const KEEP_ALIVE_10 = 1 << 2;
        /// A body will follow when it is asked for with `100 Continue`.
        const EXPECT_CONTINUE = 1 << 3;
        /// `Upgrade` names protocols to change to, and `Connection` says so.
        const UPGRADE = 1 << 4;
        /// The answer may be compressed with gzip.
        const ACCEPTS_GZIP = 1 << 5;
        /// A response that another one follows: 1xx, but for 101.
        const INTERIM = 1 << 6;
    }
}

/// A request's head, whose parts follow from their lengths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub(crate) method: HttpMethod,
    pub(crate) method_len: u8,
    pub(crate) target_len: u16,
    pub(crate) head_len: u16,
    pub(crate) flags: HeadFlags,
    pub(crate) body: Body,
}

impl Head {
    /// Whether nothing of the request is behind it, and nothing special follows from it.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.body == Body::None
            && self.flags.difference(HeadFlags::ACCEPTS_GZIP).is_empty()
            && self.method != HttpMethod::Connect
    }
}

/// What a head is made of the bytes at the front of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Parsed {
    /// A head, to be believed.
    Head(Head),
    /// More bytes are needed; see [`may_be_complete`].
    Partial,
    /// Answer with the status, and close: what follows cannot be told from a request.
    Refused(Refusal),
}

/// Bytes of empty lines at the front of `input`, which belong to no request.
///
/// RFC 9112 §2.2: "A server that is expecting to receive and parse a request-line SHOULD ignore at
/// least one empty line (CRLF) received prior to the request-line." Beyond [`EMPTY_LINES_MAX`] they
/// are left, and refused. So that this does not depend on how they arrive, they are consumed
/// together with the head that follows them.
pub(crate) fn leading_empty_lines(input: &[u8]) -> usize {
    let lines = input.chunks_exact(2).take(EMPTY_LINES_MAX);
    2 * lines.take_while(|line| line == b"\r\n").count()
}

/// Whether `more`, which followed a partial head, can have changed that: a head is decided by a
/// line feed, or by the limit of its size. Sparing the parser the rest bounds what a peer costs
/// that sends byte by byte.
pub(crate) fn may_be_complete(more: &[u8]) -> bool {
    more.contains(&b'\n')
}
