//! [`parse_response`]: the head of a response, as a client receives it.
//!
//! As strict as with requests, and for the same reason: a response that two readers cut differently
//! is the next request's answer for one of them. RFC 9112 would have a client repair folded lines
//! (§5.2) and allows it to take bare line feeds (§2.2); here both are refused.

use std::mem::MaybeUninit;

use httparse::{Error, Response, Status};

use super::fault::{Fault, Refusal};
use super::fields::{Fields, Seen};
use super::{HEADER_COUNT_MAX, HeadFlags, Limits};
use crate::http::HttpMethod;

/// `HTTP/1.1`.
const VERSION_LEN: usize = 8;

/// What follows a response's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ResponseBody {
    /// Nothing, or nothing that is of this message: a tunnel, another protocol.
    None,
    /// So many bytes, at least one.
    Length(u64),
    /// Chunks ([`super::Chunked`]).
    Chunked,
    /// Whatever comes until the server closes: an end that cannot be told from a lost one.
    UntilClose,
}

/// A response's head. Its fields lie from `line_len` to two bytes before `head_len`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ResponseHead {
    /// Three digits; above 599 it is to be treated as 5xx (RFC 9110 §15).
    pub(crate) status: u16,
    /// The status line with its CRLF.
    pub(crate) line_len: u16,
    pub(crate) head_len: u16,
    pub(crate) flags: HeadFlags,
    pub(crate) body: ResponseBody,
}

/// What a response's head is made of the bytes at the front of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ParsedResponse {
    /// A head, to be believed.
    Head(ResponseHead),
    /// More bytes are needed; see [`super::may_be_complete`].
    Partial,
    /// Discard it, and close.
    Refused(Refusal),
}

/// Looks at the front of `input`, which is not empty, for the response to a request with
/// `request_method`.
pub(crate) fn parse_response(
    input: &[u8],
    limits: &Limits,
    request_method: HttpMethod,
) -> ParsedResponse {
    let window = limits.window(input);
    // Unlike a server (RFC 9112 §2.2), a client has no reason to pass over empty lines.
    if let [b'\r' | b'\n', ..] = window {
        return refused(Fault::StatusLine);
    }
    let mut room = [const { MaybeUninit::uninit() }; HEADER_COUNT_MAX];
    let room = room.get_mut(..limits.field_count()).unwrap_or_default();
    let mut response = Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut response, window, room) {
        Ok(Status::Complete(len)) => {
            let head = window.get(..len).unwrap_or(window);
            check(&response, head, request_method).map_or_else(refused, ParsedResponse::Head)
        }
        Ok(Status::Partial) => incomplete(window, limits),
        Err(error) => match fault_of(error, window) {
            Some(fault) => refused(fault),
            None => incomplete(window, limits),
        },
    }
}

#[cold]
fn refused(fault: Fault) -> ParsedResponse {
    ParsedResponse::Refused(fault.refusal())
}

fn check(
    response: &Response<'_, '_>,
    head: &[u8],
    request_method: HttpMethod,
) -> Result<ResponseHead, Fault> {
    let (Some(status), Some(minor)) = (response.code, response.version) else {
        return Err(Fault::StatusLine);
    };
    // RFC 9110 §15: the first digit is the class, and there is none below 1.
    if status < 100 {
        return Err(Fault::StatusLine);
    }
    let line_len = line_len(head).ok_or(Fault::StatusLine)?;
    let fields = Fields::read(head, response.headers)?;
    let is_version_10 = minor == 0;
    fields.check_framing(is_version_10)?;
    let body = body_of(&fields, status, request_method);
    let is_closed = !fields.keeps_connection(is_version_10) || body == ResponseBody::UntilClose;
    let mut flags = HeadFlags::empty();
    flags.set(HeadFlags::CLOSE, is_closed);
    flags.set(HeadFlags::VERSION_10, is_version_10);
    flags.set(HeadFlags::KEEP_ALIVE_10, is_version_10 && !is_closed);
    flags.set(HeadFlags::UPGRADE, fields.upgrades(is_version_10));
    // RFC 9110 §15.2.2: with 101 the protocol changes, so that no other response follows.
    flags.set(HeadFlags::INTERIM, matches!(status, 100 | 102..=199));
    // What is narrowed is no longer than the window, and that fits.
    Ok(ResponseHead { status, line_len, head_len: head.len() as u16, flags, body })
}

/// RFC 9112 §6.3, in its order.
fn body_of(fields: &Fields<'_>, status: u16, request_method: HttpMethod) -> ResponseBody {
    match (request_method, status) {
        // "Any response to a HEAD request and any response with a 1xx (Informational), 204 (No
        // Content), or 304 (Not Modified) status code is always terminated by the first empty line"
        (HttpMethod::Head, _) | (_, 100..=199 | 204 | 304) => ResponseBody::None,
        // "Any 2xx (Successful) response to a CONNECT request implies that the connection will
        // become a tunnel"
        (HttpMethod::Connect, 200..=299) => ResponseBody::None,
        _ if fields.seen.contains(Seen::CHUNKED) => ResponseBody::Chunked,
        _ if !fields.seen.contains(Seen::LENGTH) => ResponseBody::UntilClose,
        _ if fields.length == 0 => ResponseBody::None,
        _ => ResponseBody::Length(fields.length),
    }
}

/// The first line with its CRLF; `None` when a bare line feed ends it.
fn line_len(head: &[u8]) -> Option<u16> {
    let end = head.iter().position(|&byte| byte == b'\n')?;
    let is_crlf = head.get(end.checked_sub(1)?) == Some(&b'\r');
    is_crlf.then_some(end as u16 + 1)
}

/// The head does not end in the window: whether it still may.
fn incomplete(window: &[u8], limits: &Limits) -> ParsedResponse {
    match window.len() < limits.head_len() {
        true => ParsedResponse::Partial,
        false => refused(Fault::HeadTooLarge),
    }
}

/// What httparse found wrong; `None` when it takes more bytes to tell.
#[cold]
fn fault_of(error: Error, window: &[u8]) -> Option<Fault> {
    Some(match error {
        Error::Version => return version_fault(window),
        Error::TooManyHeaders => Fault::HeadTooLarge,
        Error::HeaderName | Error::HeaderValue | Error::NewLine => Fault::Header,
        Error::Status | Error::Token => Fault::StatusLine,
    })
}

/// A version that httparse does not know, or no version.
fn version_fault(window: &[u8]) -> Option<Fault> {
    let front = window.get(..VERSION_LEN).unwrap_or(window);
    let is_version = front.iter().zip(b"HTTP/0.0").all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == form,
    });
    match (is_version, front) {
        (false, _) => Some(Fault::StatusLine),
        (true, _) if front.len() < VERSION_LEN => None,
        // The version is ours: what follows it is no space.
        (true, b"HTTP/1.0" | b"HTTP/1.1") => Some(Fault::StatusLine),
        (true, _) => Some(Fault::Version),
    }
}
