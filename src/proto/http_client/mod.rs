//! [`HttpClient`]: one client connection of HTTP/1.1, from bytes to the responses that are due.
//!
//! ```text
//! Head ── interim (1xx) ─▶ Head                                  body ends: the next one's Head,
//!   │ ├── whole, body inline ─▶ response ────────────────────▶   or Closed: what follows is
//!   │ └── body behind it ─▶ response, chunks .. last chunk ──▶   thrown away
//!   ├──── 101, CONNECT ──▶ response ─▶ Tunnel: another protocol
//!   └──── nobody asked, or malformed ─▶ the connection is closed
//! ```
//!
//! Role: which response is whose (RFC 9112 §9.2, §9.3.2), where each ends (§6.3, §7.1), and whether
//! the connection may be used again (§9.3). Not role: what is in a head
//! ([`parse_response`]), sending requests, which connection gets which request.
//!
//! *Invariants*: responses are those of `asked`, in order; what nobody asked for ends the
//! connection. What a server sends is bounded: heads by the limits, bodies by theirs, interim
//! responses by [`INTERIM_MAX`].

#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

#[cfg(test)]
mod tests;
mod time;

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::Step;
use super::http1::response::{ParsedResponse, ResponseBody, ResponseHead, parse_response};
use super::http1::{ChunkStep, Chunked, HeadFlags, Limits, Writing, may_be_complete};
use crate::code;
use crate::config::MessageKind;
use crate::event::http_client::ClientKind;
use crate::event::record::Kind;
use crate::http::{HttpMethod, ResponseFlags};
use crate::time::Time;

/// Interim responses of one request at most. Servers send one or two.
const INTERIM_MAX: u8 = 32;

/// What the connections of a pool share.
#[derive(Debug)]
pub(crate) struct ClientShared {
    pub(crate) limits: Limits,
    /// A body of up to so many bytes comes whole with its response.
    pub(crate) body_inline: u64,
    pub(crate) body_max: u64,
    pub(crate) first_byte_timeout: Option<Duration>,
    pub(crate) body_timeout: Option<Duration>,
}

/// A request whose response is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    /// Its number, of [`KEY_BITS`] bits.
    pub(crate) key: u64,
    /// Which of its tries this is.
    pub(crate) hop: u8,
    pub(crate) method: HttpMethod,
    /// It asks for another protocol.
    pub(crate) upgrades: bool,
    /// It asks a proxy for a tunnel, for the connection's own sake: no event comes of it.
    pub(crate) is_tunnel: bool,
    /// Bytes that the socket had taken, or was to take, before it.
    pub(crate) from: u64,
}

/// Bits of a request's number.
pub(crate) const KEY_BITS: u32 = 48;

/// What is read next.
#[derive(Clone, Copy, Debug)]
enum Reading {
    Head,
    Body {
        left: u64,
    },
    Chunked {
        chunked: Chunked,
        left: u64,
    },
    UntilClose {
        left: u64,
    },
    Closed,
    /// Another protocol.
    Tunnel,
}

/// What the end of the stream means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Eof {
    /// Nothing was due.
    Idle,
    /// It ends the body of the response to that request.
    Last(u64),
    /// A response was cut short.
    Truncated,
    /// Not one byte came of a response that is due.
    NoResponse,
    /// It is another protocol's.
    Tunnel,
}

/// One client connection.
pub(crate) struct HttpClient {
    pub(crate) shared: Rc<ClientShared>,
    /// Whose it is: a pool, and the number that the connection has there.
    pub(crate) pool: u32,
    pub(crate) member: u32,
    /// It takes requests.
    pub(crate) is_open: bool,
    /// The server speaks HTTP/1.1.
    pub(crate) is_version_11: bool,
    reading: Reading,
    /// Bytes of the head that were looked at in vain.
    looked_at: u32,
    /// Interim responses to the request whose turn it is.
    interims: u8,
    /// The connection ends behind the response that is being read.
    closes: bool,
    /// `100 Continue` came.
    is_continued: bool,
    /// A proxy opened the tunnel.
    pub(crate) is_tunnelled: bool,
    /// That was seen to.
    pub(crate) has_tunnel: bool,
    /// The proxy has to have opened it by then.
    pub(crate) tunnel_until: Time,
    /// Nothing of what was asked was sent.
    is_unsent: bool,
    /// The last request says that the connection ends behind it.
    pub(crate) says_close: bool,
    /// Not one byte was received yet of a response.
    is_fresh: bool,
    /// Requests whose responses are due.
    asked: VecDeque<Asked>,
    /// Responses that ended since somebody looked.
    answered: u32,
    /// Bytes of responses since somebody looked.
    bytes: u64,
    /// Responses that ended at all.
    answered_ever: u32,
    /// The body of the last request, as far as the application writes it.
    pub(crate) writing: Writing,
    /// It is waited for `100 Continue` until then.
    continue_until: Time,
    /// Since when the response whose turn it is has been waited for.
    since: Time,
    /// When the connection's timer comes next.
    armed_at: Time,
}

impl std::fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpClient")
            .field("reading", &self.reading)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

impl HttpClient {
    pub(crate) const fn new(shared: Rc<ClientShared>, pool: u32, member: u32) -> Self {
        Self {
            shared,
            pool,
            member,
            is_open: false,
            is_version_11: false,
            reading: Reading::Head,
            looked_at: 0,
            interims: 0,
            closes: false,
            is_continued: false,
            is_tunnelled: false,
            has_tunnel: false,
            tunnel_until: Time::MAX,
            is_unsent: false,
            says_close: false,
            is_fresh: true,
            asked: VecDeque::new(),
            answered: 0,
            bytes: 0,
            answered_ever: 0,
            writing: Writing::Nothing,
            continue_until: Time::MAX,
            since: Time::MAX,
            armed_at: Time::MAX,
        }
    }

    // ---- requests

    /// A request was queued: its response is due, behind the others.
    pub(crate) fn ask(&mut self, asked: Asked, now: Time) {
        if self.asked.is_empty() {
            self.since = now;
        }
        self.asked.push_back(asked);
    }

    /// The requests whose responses are due, in order.
    pub(crate) fn asked(&self) -> impl ExactSizeIterator<Item = &Asked> {
        self.asked.iter()
    }

    /// Takes the list of them: there is nothing to come any more.
    pub(crate) fn take_asked(&mut self) -> VecDeque<Asked> {
        std::mem::take(&mut self.asked)
    }

    /// Nothing of the requests was sent yet: what arrives now is no response to any of them.
    pub(crate) const fn note_unsent(&mut self) {
        self.is_unsent = true;
    }

    /// Whether not one byte of the response whose turn it is was received.
    pub(crate) const fn has_no_response(&self) -> bool {
        matches!(self.reading, Reading::Head) && self.is_fresh
    }

    /// Whether a body behind its head is being read.
    pub(crate) const fn is_reading_body(&self) -> bool {
        matches!(
            self.reading,
            Reading::Body { .. } | Reading::Chunked { .. } | Reading::UntilClose { .. }
        )
    }

    /// Responses that ended on it so far.
    pub(crate) const fn answered_ever(&self) -> u32 {
        self.answered_ever
    }

    /// Responses that ended since the last call.
    pub(crate) const fn take_answered(&mut self) -> u32 {
        std::mem::replace(&mut self.answered, 0)
    }

    /// Bytes of heads and bodies that came since the last call.
    pub(crate) const fn take_bytes(&mut self) -> u64 {
        std::mem::replace(&mut self.bytes, 0)
    }

    /// Whether `100 Continue` came since the last call.
    pub(crate) const fn take_continued(&mut self) -> bool {
        std::mem::replace(&mut self.is_continued, false)
    }

    /// Whether no response comes any more.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.reading, Reading::Closed)
    }

    /// Takes no more responses: what arrives is thrown away.
    pub(crate) const fn close_input(&mut self) {
        self.reading = Reading::Closed;
    }

    /// Whether the connection speaks another protocol by now.
    pub(crate) const fn is_tunnel(&self) -> bool {
        matches!(self.reading, Reading::Tunnel)
    }

    /// Whether the body of that request is being written.
    pub(crate) fn is_writing(&self, key: u64) -> bool {
        let is_last = self.asked.back().is_some_and(|asked| asked.key == key);
        is_last && self.writing != Writing::Nothing
    }

    // ---- responses

    /// Looks at the front of `input`, which is not empty.
    pub(crate) fn step(&mut self, input: &[u8]) -> Step {
        match &mut self.reading {
            Reading::Head => self.head(input),
            Reading::Body { left } => {
                let len = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= len as u64;
                let last = *left == 0;
                self.chunk(0, len, last)
            }
            Reading::Chunked { chunked, left } => match chunked.step(input) {
                ChunkStep::Data { len, .. } if len as u64 > *left => TOO_LARGE,
                ChunkStep::Data { skip, len } => {
                    *left -= len as u64;
                    self.chunk(skip, len, false)
                }
                ChunkStep::Skip { len } => Step::Skip { len },
                ChunkStep::End { len } => self.chunk(len, 0, true),
                ChunkStep::Bad(refusal) => Step::Close { code: refusal.code },
            },
            Reading::UntilClose { left } => {
                if input.len() as u64 > *left {
                    return TOO_LARGE;
                }
                *left -= input.len() as u64;
                self.chunk(0, input.len(), false)
            }
            Reading::Closed => Step::Skip { len: input.len() },
            Reading::Tunnel => Step::frame(MessageKind::Binary, input.len()),
        }
    }

    /// A piece of the body of the response whose turn it is.
    fn chunk(&mut self, skip: usize, len: usize, last: bool) -> Step {
        let extra = self.asked.front().map_or(0, |asked| asked.key);
        self.bytes += len as u64;
        if last {
            self.response_read();
        }
        Step::Message { kind: Kind::HttpClient(ClientKind::Body { last }), extra, skip, len }
    }

    /// The response is whole: the next one's head follows, unless that was the last one.
    fn response_read(&mut self) {
        self.asked.pop_front();
        self.answered += 1;
        self.answered_ever = self.answered_ever.saturating_add(1);
        (self.looked_at, self.interims, self.is_continued, self.is_fresh) = (0, 0, false, true);
        // RFC 9112 §9.3: a request that is answered before all of it was sent leaves the
        // connection in the middle of a message.
        let is_cut = self.asked.is_empty() && self.writing != Writing::Nothing;
        let is_last = self.asked.is_empty() && self.says_close;
        self.reading =
            if self.closes || is_cut || is_last { Reading::Closed } else { Reading::Head };
        if self.asked.is_empty() {
            self.writing = Writing::Nothing;
            self.continue_until = Time::MAX;
        }
    }

    fn head(&mut self, input: &[u8]) -> Step {
        let Some(&asked) = self.asked.front().filter(|_| !self.is_unsent) else {
            // RFC 9112 §9.2: "If a client receives data on a connection that doesn't have any
            // outstanding requests, the client MUST NOT consider that data to be a valid
            // response".
            return Step::Close { code: code::HTTP_UNSOLICITED };
        };
        self.is_fresh = false;
        if self.looked_at > 0
            && let Some(new) = input.get(self.looked_at as usize..)
            && !may_be_complete(new)
            && input.len() < self.shared.limits.header_size as usize
        {
            return self.need(input);
        }
        match parse_response(input, &self.shared.limits, asked.method) {
            ParsedResponse::Partial => self.need(input),
            ParsedResponse::Refused(refusal) => Step::Close { code: refusal.code },
            ParsedResponse::Head(head) if head.flags.contains(HeadFlags::INTERIM) => {
                self.interim(&head)
            }
            ParsedResponse::Head(head) if asked.is_tunnel => self.proxy(&head, input.len()),
            ParsedResponse::Head(head) => self.response(&head, input.len(), asked),
        }
    }

    fn need(&mut self, input: &[u8]) -> Step {
        self.looked_at = input.len() as u32;
        Step::Need { need: input.len() + 1 }
    }

    /// RFC 9110 §15.2: "A client MUST be able to parse one or more 1xx responses received prior to
    /// a final response, even if the client does not expect one."
    fn interim(&mut self, head: &ResponseHead) -> Step {
        self.interims += 1;
        if self.interims > INTERIM_MAX {
            return Step::Close { code: code::HTTP_INTERIM_FLOOD };
        }
        self.looked_at = 0;
        self.is_continued |= head.status == 100;
        Step::Skip { len: head.head_len.into() }
    }

    /// The proxy's answer to CONNECT, with `len` bytes of input from its front on.
    fn proxy(&mut self, head: &ResponseHead, len: usize) -> Step {
        if head.status / 100 != 2 {
            return Step::Close { code: code::HTTP_PROXY_REFUSED };
        }
        if len > usize::from(head.head_len) {
            // The server behind the tunnel waits for the client: nothing can have come of it yet.
            return Step::Close { code: code::HTTP_UNSOLICITED };
        }
        self.asked.pop_front();
        (self.looked_at, self.interims, self.is_fresh) = (0, 0, true);
        self.is_tunnelled = true;
        Step::Skip { len }
    }

    /// A whole head, with `len` bytes of input from its front on.
    fn response(&mut self, head: &ResponseHead, len: usize, asked: Asked) -> Step {
        let head_len = usize::from(head.head_len);
        let connects = asked.method == HttpMethod::Connect && head.status / 100 == 2;
        if head.status == 101 && !(asked.upgrades && head.flags.contains(HeadFlags::UPGRADE)) {
            return Step::Close { code: code::HTTP_UNASKED_UPGRADE };
        }
        let inline = match head.body {
            ResponseBody::None => Some(0),
            ResponseBody::Length(n) if n > self.shared.body_max => return TOO_LARGE,
            ResponseBody::Length(n) => (n <= self.shared.body_inline).then_some(n as usize),
            ResponseBody::Chunked | ResponseBody::UntilClose => None,
        };
        let whole = head_len + inline.unwrap_or(0);
        if len < whole {
            // From now on it is not a line that is waited for.
            self.looked_at = 0;
            return Step::Need { need: whole };
        }
        self.bytes += whole as u64;
        self.closes = head.flags.contains(HeadFlags::CLOSE);
        self.is_version_11 = !head.flags.contains(HeadFlags::VERSION_10);
        let mut flags = ResponseFlags::empty();
        flags.set(ResponseFlags::VERSION_10, head.flags.contains(HeadFlags::VERSION_10));
        flags.set(ResponseFlags::BODY_FOLLOWS, inline.is_none());
        let left = self.shared.body_max;
        match head.body {
            _ if connects || head.status == 101 => {
                flags |= ResponseFlags::UPGRADED;
                self.response_read();
                self.reading = Reading::Tunnel;
            }
            ResponseBody::Length(left) if inline.is_none() => self.reading = Reading::Body { left },
            ResponseBody::Chunked => {
                self.reading = Reading::Chunked { chunked: Chunked::new(), left };
            }
            ResponseBody::UntilClose => self.reading = Reading::UntilClose { left },
            ResponseBody::None | ResponseBody::Length(_) => self.response_read(),
        }
        let extra = asked.key | u64::from(head.head_len) << KEY_BITS;
        let kind = Kind::HttpClient(ClientKind::Response { flags });
        Step::Message { kind, extra, skip: 0, len: whole }
    }

    /// The server sends no more.
    pub(crate) fn on_eof(&mut self) -> Eof {
        match self.reading {
            Reading::Tunnel => Eof::Tunnel,
            Reading::Closed => Eof::Idle,
            // RFC 9112 §8: "A response that has neither chunked transfer coding nor Content-Length
            // is terminated by closure of the connection and, thus, is considered complete".
            Reading::UntilClose { .. } => {
                let key = self.asked.front().map_or(0, |asked| asked.key);
                self.response_read();
                Eof::Last(key)
            }
            Reading::Head if self.asked.is_empty() => Eof::Idle,
            Reading::Head if self.is_fresh => Eof::NoResponse,
            Reading::Head | Reading::Body { .. } | Reading::Chunked { .. } => Eof::Truncated,
        }
    }
}

const TOO_LARGE: Step = Step::Close { code: code::HTTP_BODY_TOO_LARGE };
