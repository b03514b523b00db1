//! [`Http1`]: one server connection, from bytes to requests, and whose answer is due.
//!
//! ```text
//! Head ── whole, body inline ──────────────▶ request ── Head
//!   │ └── body of a known length or chunked ▶ request, chunks .. last chunk ── Head
//!   └──── refused, or the last request ─────▶ Closed: what follows is thrown away
//! ```
//!
//! Role: cutting requests (RFC 9112 §2 to §7), and the order of answers (§9.3.2). Not role: what is
//! in a head ([`parse_plainly`]), what an answer looks like (`proto::http`).
//!
//! *Invariants*: requests are numbered in order, and answered in order: `answered <= asked`, and
//! the difference is at most the bound. What arrives beyond it stays unread.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use super::pending::{Pending, PendingRing, Waited, micros};
use super::{
    Body, BodyTo, BodyWay, ChunkStep, Chunked, EMPTY_LINES_MAX, Head, HeadFlags, HttpServer,
    Parsed, Refusal, may_be_complete, parse_plainly, parse_thoroughly,
};
use crate::code;
use crate::config::{MessageKind, PIPELINED_MAX};
use crate::event::http::HttpKind;
use crate::event::record::Kind;
use crate::http::{FileSpan, FileTurn, HttpMethod, RequestFlags};
use crate::pool::Span;
use crate::proto::Step;
use crate::proto::http::Reply;
use crate::time::Time;

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
    Closed,
    /// Another protocol.
    Tunnel,
}

/// How the answer that is being written ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Writing {
    /// None is: the next answer has not begun.
    Nothing,
    /// So many bytes of its body are due.
    Known {
        left: u64,
    },
    Chunked,
    /// With the connection.
    UntilClose,
    /// The request was HEAD: what is written is thrown away.
    Headless,
    /// By the engine, out of a file.
    File,
}

/// One server connection.
pub(crate) struct Http1 {
    pub(crate) server: Rc<HttpServer>,
    reading: Reading,
    /// Bytes of the head that were looked at in vain.
    looked_at: u32,
    /// Empty lines before the next head (RFC 9112 §2.2).
    empty_bytes: u8,
    /// `100 Continue` was asked for, for the request that is being read.
    continued: bool,
    /// It waits for the answers before it, with this number.
    continue_for: Option<u32>,
    /// The request that may make another protocol of the connection: what follows it is not read.
    gate: Option<u32>,
    asked: u32,
    answered: u32,
    pending: PendingRing,
    pub(crate) writing: Writing,
    /// Of the answer that is being written.
    pub(crate) status: u16,
    pub(crate) body_bytes: u64,
    /// What of it is still to be sent, if that is a part of a file.
    pub(crate) file: Option<FileSpan>,
    pub(crate) file_turn: FileTurn,
    /// Why the connection is to end, when zero-io decided that.
    pub(crate) code: u64,
    /// The last request is the last one by our own bound.
    pub(crate) closes_by_limit: bool,
    /// Where the body goes that is being read.
    body: BodyWay,
    /// What was refused is a body.
    refused_body: bool,
    /// The connection ends after the answer that is being written.
    pub(crate) closes: bool,
    /// It is closed as soon as everything was sent.
    pub(crate) ends_when_sent: bool,
    /// The client sends on, behind the last request.
    is_followed: bool,
    /// Answers that were given before their turn.
    early: Vec<(u32, Reply)>,
    /// What arrived and is not read yet.
    pub(crate) parked: VecDeque<Span>,
    /// On the list of those to go on with.
    pub(crate) is_due: bool,
    /// On the list of those whose answer is tried again.
    pub(crate) tries_again: bool,
    /// When the head that is being read began, in microseconds that wrap around.
    head_since_us: u32,
    /// When the connection's timer comes next.
    armed_at: Time,
    /// A request that comes later than this is answered, or late, when it does.
    answers_armed_from: Time,
}

impl std::fmt::Debug for Http1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http1")
            .field("reading", &self.reading)
            .field("asked", &self.asked)
            .field("answered", &self.answered)
            .finish_non_exhaustive()
    }
}

impl Http1 {
    pub(crate) const fn new(server: Rc<HttpServer>) -> Self {
        Self {
            server,
            reading: Reading::Head,
            looked_at: 0,
            empty_bytes: 0,
            continued: false,
            continue_for: None,
            gate: None,
            asked: 0,
            answered: 0,
            pending: PendingRing::EMPTY,
            writing: Writing::Nothing,
            status: 0,
            body_bytes: 0,
            file: None,
            file_turn: FileTurn::new(),
            code: code::NONE,
            closes_by_limit: false,
            body: BodyWay::EVENTS,
            refused_body: false,
            closes: false,
            ends_when_sent: false,
            is_followed: false,
            early: Vec::new(),
            parked: VecDeque::new(),
            is_due: false,
            tries_again: false,
            head_since_us: 0,
            armed_at: Time::MAX,
            answers_armed_from: Time::MAX,
        }
    }

    // ---- requests

    /// Looks at the front of `input`, which is not empty.
    pub(crate) fn step(&mut self, input: &[u8], now: Time) -> Step {
        match &mut self.reading {
            Reading::Head => self.head(input, now),
            Reading::Body { left } => {
                let len = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= len as u64;
                let last = *left == 0;
                if last {
                    self.body_read(now);
                }
                self.chunk(0, len, last)
            }
            Reading::Chunked { chunked, left } => match chunked.step(input) {
                ChunkStep::Data { len, .. } if len as u64 > *left => {
                    self.refuse(Refusal { status: 413, code: code::HTTP_BODY_TOO_LARGE })
                }
                ChunkStep::Data { skip, len } => {
                    *left -= len as u64;
                    self.chunk(skip, len, false)
                }
                ChunkStep::Skip { len } => {
                    self.server.counters.bytes_received.add(len as u64);
                    Step::Skip { len }
                }
                ChunkStep::End { len } => {
                    self.body_read(now);
                    self.chunk(len, 0, true)
                }
                ChunkStep::Bad(refusal) => self.refuse(refusal),
            },
            Reading::Closed => {
                self.is_followed = true;
                Step::Skip { len: input.len() }
            }
            Reading::Tunnel => Step::frame(MessageKind::Binary, input.len()),
        }
    }

    /// A piece of the body of the last request.
    fn chunk(&self, skip: usize, len: usize, last: bool) -> Step {
        self.server.counters.bytes_received.add((skip + len) as u64);
        let extra = u64::from(self.asked.wrapping_sub(1));
        Step::Message { kind: Kind::Http(HttpKind::Body { last }), extra, skip, len }
    }

    /// The body is whole: the next head follows, unless that was the last request. From now on the
    /// answer is waited for.
    fn body_read(&mut self, now: Time) {
        let last = self.asked.wrapping_sub(1);
        let pending = Pending { since_us: micros(now), ..self.pending(last) };
        self.pending.set(last, pending);
        let closes = pending.flags.contains(HeadFlags::CLOSE);
        self.reading = if closes { Reading::Closed } else { Reading::Head };
    }

    fn head(&mut self, input: &[u8], now: Time) -> Step {
        if matches!(input, [b'\r' | b'\n', ..]) || self.empty_bytes % 2 == 1 {
            return self.empty_line(input);
        }
        if self.looked_at == 0 {
            self.head_since_us = micros(now);
        } else if let Some(new) = input.get(self.looked_at as usize..)
            && !may_be_complete(new)
            && input.len() < self.server.limits.header_size as usize
        {
            // Not before another line is whole: a peer that sends single bytes costs a look each.
            return self.need(input);
        }
        let server = &self.server;
        match parse_plainly(input, &server.limits, &server.known_host) {
            Some(head) if head.is_plain() && server.requests_max.get() == 0 => {
                self.plain_request(&head, now)
            }
            Some(head) => self.request(&head, input.len(), now),
            None => self.rare_head(input, now),
        }
    }

    /// A head that is not whole, not good, or unusual.
    #[cold]
    fn rare_head(&mut self, input: &[u8], now: Time) -> Step {
        match parse_thoroughly(input, &self.server.limits) {
            Parsed::Partial => self.need(input),
            Parsed::Refused(refusal) => self.refuse(refusal),
            Parsed::Head(head) => self.request(&head, input.len(), now),
        }
    }

    /// A head that is all of its request, and asks for nothing special.
    #[inline]
    fn plain_request(&mut self, head: &Head, now: Time) -> Step {
        let pending = Pending { since_us: micros(now), method: head.method, flags: head.flags };
        (self.looked_at, self.empty_bytes) = (0, 0);
        self.asked(head, head.head_len.into(), pending, RequestFlags::empty())
    }

    fn need(&mut self, input: &[u8]) -> Step {
        self.looked_at = input.len() as u32;
        Step::Need { need: input.len() + 1 }
    }

    /// RFC 9112 §2.2: a server ought to ignore an empty line before a request line.
    fn empty_line(&mut self, input: &[u8]) -> Step {
        let expected = if self.empty_bytes % 2 == 1 { b'\n' } else { b'\r' };
        if input.first() != Some(&expected) || usize::from(self.empty_bytes) == 2 * EMPTY_LINES_MAX
        {
            return self.refuse(Refusal { status: 400, code: code::HTTP_BAD_REQUEST_LINE });
        }
        self.empty_bytes += 1;
        Step::Skip { len: 1 }
    }

    fn refuse(&mut self, refusal: Refusal) -> Step {
        self.refused_body = self.is_mid_request(false);
        self.reading = Reading::Closed;
        self.looked_at = 0;
        Step::Refuse { status: refusal.status, code: refusal.code }
    }

    /// A whole head, with `len` bytes of input from its front on.
    fn request(&mut self, head: &Head, len: usize, now: Time) -> Step {
        let head_len = usize::from(head.head_len);
        let inline = match head.body {
            Body::None => Some(0),
            Body::Length(n) if n > self.server.body_max => {
                return self.refuse(Refusal { status: 413, code: code::HTTP_BODY_TOO_LARGE });
            }
            Body::Length(n) => (n <= self.server.body_inline).then_some(n as usize),
            Body::Chunked => None,
        };
        let mut flags = RequestFlags::empty();
        flags.set(RequestFlags::VERSION_10, head.flags.contains(HeadFlags::VERSION_10));
        flags.set(RequestFlags::UPGRADE, head.flags.contains(HeadFlags::UPGRADE));
        let expects = head.flags.contains(HeadFlags::EXPECT_CONTINUE) && len == head_len;
        let whole = head_len + inline.unwrap_or(0);
        if inline.is_some() && len < whole {
            if expects && !self.continued {
                self.continued = true;
                self.continue_for = Some(self.asked);
            }
            // From now on it is not a line that is waited for.
            self.looked_at = 0;
            return Step::Need { need: whole };
        }
        if inline.is_none() {
            flags |= RequestFlags::BODY_FOLLOWS;
            if expects && self.server.auto_continue {
                self.continue_for = Some(self.asked);
            } else if expects {
                flags |= RequestFlags::EXPECTS;
            }
        }
        self.hand_out(head, whole, flags, now)
    }

    fn hand_out(&mut self, head: &Head, whole: usize, flags: RequestFlags, now: Time) -> Step {
        let id = self.asked;
        let mut head_flags = head.flags;
        let requests_max = self.server.requests_max.get();
        if requests_max > 0 && id.wrapping_add(1) >= requests_max {
            self.closes_by_limit = !head_flags.contains(HeadFlags::CLOSE);
            head_flags |= HeadFlags::CLOSE;
        }
        let since_us = if self.continued { self.head_since_us } else { micros(now) };
        (self.looked_at, self.empty_bytes, self.continued) = (0, 0, false);
        let becomes_another =
            flags.contains(RequestFlags::UPGRADE) || head.method == HttpMethod::Connect;
        self.reading = match head.body {
            Body::Length(left) if flags.contains(RequestFlags::BODY_FOLLOWS) => {
                Reading::Body { left }
            }
            Body::Chunked => {
                Reading::Chunked { chunked: Chunked::new(), left: self.server.body_max }
            }
            // What follows is another protocol's, if it is accepted.
            _ if becomes_another => Reading::Head,
            _ if head_flags.contains(HeadFlags::CLOSE) => Reading::Closed,
            _ => Reading::Head,
        };
        if becomes_another {
            self.gate = Some(id);
        }
        let pending = Pending { since_us, method: head.method, flags: head_flags };
        self.asked(head, whole, pending, flags)
    }

    /// A request of `whole` bytes is handed out.
    #[inline]
    fn asked(&mut self, head: &Head, whole: usize, pending: Pending, flags: RequestFlags) -> Step {
        let id = self.asked;
        self.pending.set(id, pending);
        self.asked = id.wrapping_add(1);
        self.server.counters.requests.add(1);
        self.server.counters.bytes_received.add(whole as u64);
        let extra =
            u64::from(id) | u64::from(head.target_len) << 32 | u64::from(head.head_len) << 48;
        let kind = Kind::Http(HttpKind::Request { method: head.method, flags });
        Step::Message { kind, extra, skip: 0, len: whole }
    }

    /// Whether what arrives stays unread for now: another request, or a body that is held. Others
    /// are read, or nobody could answer from them.
    #[inline]
    pub(crate) fn must_wait(&self) -> bool {
        match self.reading {
            Reading::Head => self.due() >= self.server.pipelined_max || self.gate.is_some(),
            Reading::Body { .. } | Reading::Chunked { .. } => self.is_body_held(),
            Reading::Closed | Reading::Tunnel => false,
        }
    }

    pub(crate) const fn is_body_held(&self) -> bool {
        self.body.to.is_held()
    }

    /// Where the body goes that is being read.
    pub(crate) const fn body_to(&self) -> BodyTo {
        self.body.to
    }

    /// It goes there from now on.
    pub(crate) const fn send_body(&mut self, to: BodyTo, now: Time) {
        self.body = BodyWay { to, since: now };
    }

    /// Whether a request is in the middle of being read; `has_partial`: some of its head is kept.
    pub(crate) const fn is_mid_request(&self, has_partial: bool) -> bool {
        match self.reading {
            Reading::Head => has_partial,
            Reading::Closed | Reading::Tunnel => false,
            Reading::Body { .. } | Reading::Chunked { .. } => true,
        }
    }

    /// A place in the order for the answer to what is refused: that of the request whose body it
    /// is, or one of its own. `None` when that request has its answer, or no place is free.
    pub(crate) fn begin_refusal(&mut self, now: Time) -> Option<u64> {
        let is_body = self.refused_body || self.is_mid_request(false);
        self.close_input();
        if is_body {
            let id = u64::from(self.asked.wrapping_sub(1));
            return self.place_of(id).map(|_| id);
        }
        if self.due() as usize >= PIPELINED_MAX {
            return None;
        }
        let id = self.asked;
        self.pending.set(id, Pending { since_us: micros(now), ..Pending::NONE });
        self.asked = id.wrapping_add(1);
        Some(id.into())
    }

    /// What follows is not HTTP.
    pub(crate) const fn become_tunnel(&mut self) {
        self.reading = Reading::Tunnel;
        self.gate = None;
    }

    pub(crate) const fn is_tunnel(&self) -> bool {
        matches!(self.reading, Reading::Tunnel)
    }

    /// Takes no more requests, and asks for no more of the one that is being read.
    pub(crate) const fn close_input(&mut self) {
        self.reading = Reading::Closed;
        self.gate = None;
        self.continue_for = None;
    }

    /// The request that was asked last is the last one: its answer says so, as far as it has not
    /// begun. Whether there is none to wait for, on a connection that was used before, or whose
    /// first request does not come (`is_fresh`: it may).
    pub(crate) fn wind_down(&mut self, has_partial: bool, is_fresh: bool) -> bool {
        if !matches!(self.reading, Reading::Head | Reading::Body { .. } | Reading::Chunked { .. }) {
            return false;
        }
        if self.due() == 0 {
            return !has_partial && self.parked.is_empty() && (self.asked > 0 || !is_fresh);
        }
        let last = self.asked.wrapping_sub(1);
        let pending = self.pending(last);
        if !pending.flags.contains(HeadFlags::CLOSE) {
            self.closes_by_limit = true;
            let flags = pending.flags | HeadFlags::CLOSE;
            self.pending.set(last, Pending { flags, ..pending });
        }
        self.closes |= self.writing != Writing::Nothing && self.answered == last;
        if matches!(self.reading, Reading::Head) && self.gate.is_none() {
            self.close_input();
        }
        false
    }

    /// Whether requests were all read that will be.
    pub(crate) const fn is_closed(&self) -> bool {
        matches!(self.reading, Reading::Closed)
    }

    /// Whether the client sends on, behind the last request.
    pub(crate) const fn is_followed(&self) -> bool {
        self.is_followed
    }

    // ---- answers

    /// Requests whose answers are due.
    pub(crate) const fn due(&self) -> u32 {
        self.asked.wrapping_sub(self.answered)
    }

    /// The same without the request whose body is being read.
    pub(crate) const fn due_before_what_is_read(&self) -> u32 {
        self.due().saturating_sub(self.is_mid_request(false) as u32)
    }

    pub(crate) const fn turn(&self) -> u32 {
        self.answered
    }

    /// What is known of a request whose answer is due.
    #[inline]
    pub(crate) fn pending(&self, id: u32) -> Pending {
        self.pending.get(id)
    }

    /// Whether an answer to that request can be given: 0 for at once, more for later; `None` when
    /// there is no such request, it was answered, or it is being answered.
    pub(crate) fn place_of(&self, id: u64) -> Option<u32> {
        let id = u32::try_from(id).ok()?;
        let place = id.wrapping_sub(self.answered);
        let is_early = || self.early.iter().any(|(early, _)| *early == id);
        let begun = place == 0 && self.writing != Writing::Nothing;
        (place < self.due() && !begun && !is_early()).then_some(place)
    }

    /// Whether an answer to that request is written at once and nothing follows from it: it is its
    /// turn, it asked for nothing special, and nothing waits for it.
    #[inline(always)]
    pub(crate) fn is_simple(&self, id: u64) -> bool {
        let pending = self.pending.get(self.answered);
        id == u64::from(self.answered)
            && self.asked != self.answered
            && self.writing == Writing::Nothing
            && pending.flags.difference(HeadFlags::ACCEPTS_GZIP).is_empty()
            && !matches!(pending.method, HttpMethod::Head | HttpMethod::Connect)
            && self.early.is_empty()
            && self.parked.is_empty()
            && self.continue_for.is_none()
            && self.body.to == BodyTo::Events
            && self.server.access_log().is_none()
            && !self.lacks_timer()
    }

    /// Whether the answer to that request is being written, by the application.
    pub(crate) fn is_writing(&self, id: u64) -> bool {
        let is_ours = matches!(self.writing, Writing::Nothing | Writing::File);
        id == u64::from(self.answered) && !is_ours
    }

    /// Whether a file is being sent.
    #[inline]
    pub(crate) const fn has_file(&self) -> bool {
        self.file.is_some()
    }

    /// Keeps an answer until its turn.
    pub(crate) fn keep(&mut self, id: u64, reply: Reply) {
        self.early.push((id as u32, reply));
    }

    /// Where the answer whose turn it is lies, if it was given already.
    pub(crate) fn early_at(&self) -> Option<usize> {
        self.early.iter().position(|(id, _)| *id == self.answered)
    }

    pub(crate) fn take_early(&mut self, at: usize) -> Reply {
        self.early.swap_remove(at).1
    }

    /// There was no room for the answer whose turn it is.
    pub(crate) fn put_back_early(&mut self, reply: Reply) {
        self.early.push((self.answered, reply));
    }

    pub(crate) fn drop_early(&mut self) {
        self.early.clear();
    }

    /// The answer whose turn it was is written: how long that took since the request came.
    #[inline]
    pub(crate) fn finish(&mut self, now: Time) -> Waited {
        let id = self.answered;
        self.answered = id.wrapping_add(1);
        self.writing = Writing::Nothing;
        if self.gate == Some(id) {
            self.gate = None;
        }
        self.pending(id).waited(now)
    }

    /// Whether `100 Continue` is to be sent now; it is asked for once.
    pub(crate) fn take_continue(&mut self) -> bool {
        let now = self.continue_for == Some(self.answered) && self.writing == Writing::Nothing;
        if now {
            self.continue_for = None;
        }
        now
    }

    /// Has `100 Continue` sent for a request whose body is not here yet.
    pub(crate) const fn ask_continue(&mut self, id: u32) {
        self.continue_for = Some(id);
    }

    /// The request whose body is being read.
    pub(crate) fn is_reading_body_of(&self, id: u64) -> bool {
        id == u64::from(self.asked.wrapping_sub(1)) && self.is_mid_request(false)
    }

    // ---- time

    /// When something falls due: an answer, the rest of a request, the next request. `is_unread`:
    /// the connection is not read, for want of buffers or because the application says so.
    pub(crate) fn next_deadline(
        &self,
        now: Time,
        (last_rx, last_tx): (Time, Time),
        has_partial: bool,
        is_unread: bool,
    ) -> Time {
        let at = |from: Time, limit: Option<Duration>| {
            limit.map_or(Time::MAX, |limit| from.saturating_add(limit))
        };
        let ago = |passed: Duration, limit: Option<Duration>| {
            limit.map_or(Time::MAX, |limit| now.saturating_add(limit.saturating_sub(passed)))
        };
        let mut due = Time::MAX;
        if self.awaits_answer() {
            let waited = self.pending(self.answered).waited(now).duration();
            due = ago(waited, self.server.request_timeout);
        }
        if matches!(self.reading, Reading::Body { .. } | Reading::Chunked { .. }) {
            due = due.min(self.body.deadline(&self.server, last_rx, is_unread));
        } else if has_partial {
            let waited = Waited::since(now, self.head_since_us).duration();
            due = due.min(ago(waited, self.server.receive_timeout));
        } else if self.due() == 0 && matches!(self.reading, Reading::Head) {
            return at(last_rx.max(last_tx), self.server.keep_alive_timeout);
        }
        // Not idle yet, but soon perhaps: then it is looked at again.
        due.min(at(now, self.server.keep_alive_timeout))
    }

    /// The request whose turn it is has not come whole: its own limit holds.
    fn is_body_of_turn_due(&self) -> bool {
        self.due() == 1 && self.is_mid_request(false)
    }

    /// Whether it is the application's turn: the limit of answers runs.
    fn awaits_answer(&self) -> bool {
        self.due() > 0 && self.writing == Writing::Nothing && !self.is_body_of_turn_due()
    }

    /// Whether an answer is late, rather than a request.
    pub(crate) fn is_answer_late(&self, now: Time) -> bool {
        let waited = self.pending(self.answered).waited(now).duration();
        self.awaits_answer() && self.server.request_timeout.is_some_and(|limit| waited >= limit)
    }

    /// Whether the connection's timer comes too late for what waits now: an answer, or the rest of
    /// a request. It is looked at again when it comes, so that it is seldom moved.
    pub(crate) fn wants_timer(&self, now: Time, has_partial: bool) -> bool {
        if self.awaits_answer() && now < self.answers_armed_from {
            return true;
        }
        let comes_late = |limit: Duration| now.saturating_add(limit) < self.armed_at;
        self.is_mid_request(has_partial)
            && self.body.pause_max(&self.server, false).is_some_and(comes_late)
    }

    /// Whether no timer is to come although something may fall due: it came while an answer was
    /// being given, or waited for without a limit, which has none.
    pub(crate) fn lacks_timer(&self) -> bool {
        let server = &self.server;
        self.armed_at.is_never()
            && (server.keep_alive_timeout.is_some() || server.request_timeout.is_some())
    }

    /// Whether nothing follows from what was read.
    #[inline]
    pub(crate) fn is_calm(&self, now: Time) -> bool {
        now >= self.answers_armed_from
            && self.continue_for.is_none()
            && matches!(self.reading, Reading::Head)
    }

    /// The connection's timer comes then.
    pub(crate) fn timer_armed(&mut self, due: Time) {
        self.armed_at = due;
        self.answers_armed_from = match self.server.request_timeout {
            Some(limit) => due.saturating_sub(limit),
            None => Time::ZERO,
        };
    }
}
