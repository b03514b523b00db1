//! A door to HTTP/1.1's parsers for fuzz targets, benchmarks and tests outside of the crate.
//! Private: no stability promise.

use std::ops::Range;

use super::http1::response::{ParsedResponse, ResponseBody, parse_response};
use super::http1::{
    Body, ChunkStep, HeadFlags, KnownHost, Limits, Parsed, leading_empty_lines, may_be_complete,
    parse_plainly, parse_thoroughly,
};
use crate::http::{HttpHeaders, HttpMethod};

/// A verdict on a head.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is to be believed.
    Head(Head),
    /// More bytes are needed.
    Partial,
    /// Status and code.
    Refused(u16, u64),
}

/// Where the parts of a head lie, and what it says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// 0 for a request.
    pub status: u16,
    /// Empty for a response.
    pub method: Range<usize>,
    /// Empty for a response.
    pub target: Range<usize>,
    /// The field lines.
    pub block: Range<usize>,
    /// The empty line included.
    pub len: usize,
    /// The framing of what follows.
    pub body: Framing,
    /// Whether the connection ends.
    pub closes: bool,
    /// Whether the version is 1.0.
    pub is_version_10: bool,
    /// All flags.
    pub flags: u8,
}

/// How long a body is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Until the peer closes.
    UntilClose,
}

/// A request's head, with limits for fields and bytes.
#[must_use]
pub fn request(input: &[u8], header_count: u16, header_size: u32) -> Verdict {
    verdict(&parse_request(input, &Limits { header_count, header_size }))
}

/// The same without the fast way.
#[must_use]
pub fn request_thoroughly(input: &[u8], header_count: u16, header_size: u32) -> Verdict {
    verdict(&parse_thoroughly(input, &Limits { header_count, header_size }))
}

fn verdict(parsed: &Parsed) -> Verdict {
    let head = match parsed {
        Parsed::Partial => return Verdict::Partial,
        Parsed::Refused(refusal) => return Verdict::Refused(refusal.status, refusal.code),
        Parsed::Head(head) => head,
    };
    let (method, target) = (usize::from(head.method_len), usize::from(head.target_len));
    let len = usize::from(head.head_len);
    Verdict::Head(Head {
        status: 0,
        method: 0..method,
        target: method + 1..method + 1 + target,
        block: method + 1 + target + 11..len.saturating_sub(2),
        len,
        body: match head.body {
            Body::None => Framing::None,
            Body::Length(length) => Framing::Length(length),
            Body::Chunked => Framing::Chunked,
        },
        closes: head.flags.contains(HeadFlags::CLOSE),
        is_version_10: head.flags.contains(HeadFlags::VERSION_10),
        flags: head.flags.bits(),
    })
}

/// The length of a request's head, by the shortest way to it: for measurements.
#[must_use]
pub fn request_len(input: &[u8], header_count: u16, header_size: u32) -> Option<usize> {
    match parse_request(input, &Limits { header_count, header_size }) {
        Parsed::Head(head) => Some(usize::from(head.head_len)),
        _ => None,
    }
}

/// A response's head, to a request with the method that `method` names.
#[must_use]
pub fn response(input: &[u8], header_count: u16, header_size: u32, method: &str) -> Verdict {
    let limits = Limits { header_count, header_size };
    match parse_response(input, &limits, HttpMethod::of(method.as_bytes())) {
        ParsedResponse::Partial => Verdict::Partial,
        ParsedResponse::Refused(refusal) => Verdict::Refused(refusal.status, refusal.code),
        ParsedResponse::Head(head) => Verdict::Head(Head {
            status: head.status,
            method: 0..0,
            target: 0..0,
            block: usize::from(head.line_len)..usize::from(head.head_len).saturating_sub(2),
            len: usize::from(head.head_len),
            body: match head.body {
                ResponseBody::None => Framing::None,
                ResponseBody::Length(length) => Framing::Length(length),
                ResponseBody::Chunked => Framing::Chunked,
                ResponseBody::UntilClose => Framing::UntilClose,
            },
            closes: head.flags.contains(HeadFlags::CLOSE),
            is_version_10: head.flags.contains(HeadFlags::VERSION_10),
            flags: head.flags.bits(),
        }),
    }
}

/// Bytes of empty lines before a request.
#[must_use]
pub fn empty_lines(input: &[u8]) -> usize {
    leading_empty_lines(input)
}

/// Whether these bytes can have completed a head.
#[must_use]
pub fn may_complete(more: &[u8]) -> bool {
    may_be_complete(more)
}

/// The view of field lines.
#[must_use]
pub const fn headers(block: &[u8]) -> HttpHeaders<'_> {
    HttpHeaders::new(block)
}

/// The decoder of one chunked body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunked(super::http1::Chunked);

/// What the decoder made of its input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Bytes passed over, and bytes of the body behind them.
    Data(usize, usize),
    /// Bytes passed over.
    Skip(usize),
    /// Bytes passed over, the last of the body.
    End(usize),
    /// Status and code.
    Bad(u16, u64),
}

impl Default for Chunked {
    fn default() -> Self {
        Self(super::http1::Chunked::new())
    }
}

impl Chunked {
    /// Looks at the front of `input`.
    pub fn step(&mut self, input: &[u8]) -> Piece {
        match self.0.step(input) {
            ChunkStep::Data { skip, len } => Piece::Data(skip, len),
            ChunkStep::Skip { len } => Piece::Skip(len),
            ChunkStep::End { len } => Piece::End(len),
            ChunkStep::Bad(refusal) => Piece::Bad(refusal.status, refusal.code),
        }
    }
}

/// A head, plainly and then thoroughly: as a connection looks at it.
fn parse_request(input: &[u8], limits: &Limits) -> Parsed {
    let plain = parse_plainly(input, limits, &KnownHost::new());
    plain.map_or_else(|| parse_thoroughly(input, limits), Parsed::Head)
}
