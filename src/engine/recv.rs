//! Receiving on stream connections: buffers to the kernel, bytes to events.
//!
//! *Invariants*: one function, [`Engine::settle_recv`], decides whether a multishot receive is
//! armed, and it runs after every completion and every change that could matter. Every completion
//! that names a buffer brings it home, whoever it was for.

use std::time::Duration;

use super::lists::list_living;
use super::{Engine, STREAM_GROUP};
use crate::code;
use crate::config::MessageKind;
use crate::conn::secure::Layer;
use crate::conn::{Conn, Flags, Phase, Span};
use crate::error::IoError;
use crate::event::record::{Kind, Record};
use crate::ids::{ConnId, Protocol};
use crate::pool::{BufId, Class, Owner, PressureState, Use};
use crate::proto::Step;
use crate::ring::{Completion, Op, Tag};
use crate::sys::errno;
use crate::time::Time;

/// Stream buffers lent to the kernel at first; doubled whenever it ran out. Few warm buffers beat
/// many cold ones: the kernel takes them in turn.
pub(super) const LEND_MIN: u32 = 128;
/// Starved connections are armed again when so many buffers are with the kernel, or all that can
/// be.
const REARM_MIN: u32 = 16;
/// In `Drain` one in so many of the buffers is still lent.
const DRAIN_SHARE: u32 = 8;
/// A connection that brought something and then nothing for so long is looked at, once: longer than
/// the pauses of most conversations, since it costs two operations.
const LOOK_AFTER: Duration = Duration::from_secs(10);
/// Buffers that every connection may hold.
const HELD_ALWAYS: u32 = 1;
/// A connection may hold one in so many of the free stream buffers.
const HELD_SHARE: u32 = 8;
/// One in so many stream buffers is lent to the kernel only when the others are held.
const RESERVE_SHARE: u32 = 6;
/// Bytes given at least to a machine that asks for one more.
const BLIND_MIN: usize = 64;

impl Engine {
    // ---- buffers to the kernel

    /// Brings the kernel's ring up to its target, and arms those that ran dry. Must come before
    /// every sleep.
    pub(super) fn lend(&mut self) {
        self.settle_credits();
        let mut lent = self.pool.lent(Class::Stream);
        // Also in `Drain` a little is received: what would free the pools may be what has to arrive
        // (the rest of a message, a peer that reads only what it can answer).
        let draining = self.pressure() == PressureState::Drain;
        let goal = self.lend_goal();
        let goal = if draining { (goal / DRAIN_SHARE).max(1) } else { goal };
        // With fewer, one busy connection would take them all again; but all that can be is enough.
        let mut enough = REARM_MIN.min(goal / 4).max(1);
        // What comes home is lent again at once, up to the goal: only what is missing beyond that
        // is taken from the others.
        if lent < goal.div_ceil(2) {
            let size = self.pool.class_size(Class::Stream) as u32;
            while lent < goal {
                let Some(buf) = self.pool.lend(Class::Stream) else {
                    enough = 1;
                    break;
                };
                let bid = self.pool.index_in_class(buf);
                self.ring.group_provide(STREAM_GROUP, bid, self.pool.ptr(buf), size);
                lent += 1;
            }
        }
        // Also what was lent again since the last time.
        self.ring.group_publish(STREAM_GROUP);
        self.lend_now = if draining { 0 } else { goal };
        if !self.lists.starved.is_empty() && lent >= enough {
            self.rearm_starved(lent);
        }
    }

    /// How many buffers to keep with the kernel. One receive may fill all of them before the engine
    /// hears of the first, whatever a connection may hold: so a part stays here, and of that one
    /// connection's share at a time is lent.
    fn lend_goal(&self) -> u32 {
        let receivable = self.receivable();
        let reserve = self.pool.count(Class::Stream) / RESERVE_SHARE;
        let share = receivable / (HELD_SHARE + self.lists.holding);
        receivable.saturating_sub(reserve).max(share).clamp(1, self.lend_target)
    }

    /// Stream buffers that are, or may go, with the kernel.
    pub(super) fn receivable(&self) -> u32 {
        self.pool.free_for(Class::Stream, Use::Rx) + self.pool.lent(Class::Stream)
    }

    /// Arms at most as many starved connections as there are buffers.
    fn rearm_starved(&mut self, lent: u32) {
        for _ in 0..lent {
            let Some(id) = self.lists.starved.pop_front() else { return };
            if let Some(conn) = self.conns.find(id) {
                conn.unset(Flags::STARVED);
                self.settle_recv(id.index());
            }
        }
    }

    /// Arms the receive, or cancels it, as the connection's state wants it.
    pub(crate) fn settle_recv(&mut self, index: u32) {
        let conn = self.conns.at(index);
        // A pause is of the payload: without the peer's part a handshake would time out.
        let paused = conn.has(Flags::PAUSED) && !conn.has(Flags::SHAKING);
        let unwanted =
            Flags::STARVED | Flags::HOLDING | Flags::EOF | Flags::STALLED | Flags::ANNOUNCE_DUE;
        // A record that the kernel could not open would fail again and again.
        let failed = conn.flags.contains(Flags::KERNEL_RX | Flags::TLS_FAILED);
        let is_open = conn.has(Flags::OPEN);
        let wanted = is_open && !paused && !failed && !conn.has(unwanted);
        let hands_over = conn.secure.as_ref().is_some_and(|secure| secure.rx == Layer::OursYet);
        if conn.has(Flags::RECV_ARMED) {
            let held_back = paused || hands_over || conn.has(Flags::HOLDING);
            let must_end = held_back || !is_open;
            if must_end {
                self.look_at_recv(index);
            }
        } else if wanted {
            conn.set(Flags::RECV_ARMED);
            let (sock, token) = (conn.sock, conn.token(Tag::Recv, index));
            let group = STREAM_GROUP;
            // K29: a multishot one may never tell of the end of a Unix socket.
            let is_once = is_received_once(conn);
            conn.calm_held = if is_once { HELD_ALWAYS } else { 0 };
            let op =
                if is_once { Op::RecvOnce { sock, group } } else { Op::RecvMulti { sock, group } };
            self.ring.push(op, token);
        }
    }

    /// Has an armed receive say where the socket stands: it ends, and is armed anew.
    pub(super) fn look_at_recv(&mut self, index: u32) {
        let conn = self.conns.at(index);
        if conn.has(Flags::RECV_ARMED) && !conn.has(Flags::RECV_CANCELLED) {
            conn.set(Flags::RECV_CANCELLED);
            let target = conn.token(Tag::Recv, index);
            self.ring.push(Op::Cancel { target }, crate::ring::Token::IGNORE);
        }
    }

    /// When nothing will have come for so long that the receive is to be looked at.
    pub(super) fn look_due(conn: &Conn) -> Time {
        let may_wait_in_vain = !is_received_once(conn)
            && conn.calm_held > 0
            && conn.has(Flags::RECV_ARMED)
            && !conn.has(Flags::RECV_CANCELLED);
        if may_wait_in_vain { conn.last_rx.saturating_add(LOOK_AFTER) } else { Time::MAX }
    }

    /// K29: whether the peer is silent or gone, a multishot receive that brought something may not
    /// tell. One that is armed does, so each silence is looked into once.
    pub(super) fn look_if_quiet(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.find(id)
            && Self::look_due(conn) <= self.now
        {
            self.look_at_recv(id.index());
        }
    }

    /// Lets go of a buffer. One that was received into goes straight back to the kernel while that
    /// has fewer than it should.
    #[expect(clippy::inline_always, reason = "a third of its cost is the call")]
    #[inline(always)]
    pub(super) fn let_go(&mut self, buf: BufId) {
        if let Some(owner) = self.pool.release_received(buf) {
            self.credit(owner);
            if self.pool.lent(Class::Stream) < self.lend_now {
                let (bid, ptr) = self.pool.lend_again(Class::Stream, buf);
                let size = self.pool.class_size(Class::Stream) as u32;
                self.ring.group_provide(STREAM_GROUP, bid, ptr, size);
            } else {
                self.pool.put_received(Class::Stream, buf);
            }
        }
    }

    /// Credits connections for buffers that came home; those that held too many are read again.
    #[inline]
    pub(super) fn settle_credits(&mut self) {
        if self.pool.has_credit() {
            self.settle_all_credits();
        }
    }

    fn settle_all_credits(&mut self) {
        while let Some(owner) = self.pool.next_credit() {
            self.credit(owner);
        }
    }

    /// A buffer of that connection came home.
    #[inline]
    fn credit(&mut self, owner: Owner) {
        let conn = self.conns.at(owner.index);
        if conn.generation == owner.generation {
            conn.held -= 1;
            if conn.has(Flags::HOLDING) {
                self.read_again(owner.index);
            }
        }
    }

    /// A buffer that was counted as held waits for more to be read.
    pub(super) fn read_if_kept(&mut self, index: u32) {
        if self.conns.at(index).has(Flags::HOLDING) {
            self.read_again(index);
        }
    }

    fn read_again(&mut self, index: u32) {
        let low = self.held_max() / 2;
        let conn = self.conns.at(index);
        // The buffer of a record that is not whole comes home when it is: not before more is read.
        let kept = conn.secure.as_ref().is_some_and(|secure| secure.cipher.is_adopted());
        let low = low.max(kept.into());
        if conn.held <= low {
            conn.unset(Flags::HOLDING);
            self.lists.holding -= 1;
            self.settle_recv(index);
        }
    }

    // ---- completions

    #[inline]
    pub(super) fn on_recv(&mut self, completion: &Completion) {
        if let Some(bid) = completion.filled_and_more()
            && let Some(conn) = self.conns.of_token(completion.token)
            && conn.is_plain(Flags::COOKED)
        {
            // The short path: bytes for a plain connection whose receive goes on.
            let (index, len) = (completion.token.index(), completion.result as u32);
            conn.received(self.now, len);
            let is_calm = conn.held <= conn.calm_held;
            let (owner, id) = (conn.owner(index), conn.id(index).as_u64());
            let buf = self.pool.unlend_to(Class::Stream, bid, owner);
            self.stats.bytes_received += u64::from(len);
            let kind = Kind::StreamFrame(MessageKind::Binary);
            self.inbox.push(Record { kind, buf, offset: 0, len, id, extra: 0 });
            if !is_calm {
                self.check_held(index);
            }
            return;
        }
        self.on_recv_cooked(completion);
    }

    /// The same where a machine stands between. Apart, since both as one are dearer for each.
    #[inline(never)]
    fn on_recv_cooked(&mut self, completion: &Completion) {
        if let Some(bid) = completion.filled_and_more()
            && let Some(conn) = self.conns.of_token(completion.token)
            && conn.is_plain(Flags::TLS)
        {
            let (index, len) = (completion.token.index(), completion.result as u32);
            conn.received(self.now, len);
            let (is_calm, owner) = (conn.held <= conn.calm_held, conn.owner(index));
            let buf = self.pool.unlend_to(Class::Stream, bid, owner);
            self.stats.bytes_received += u64::from(len);
            if !is_calm {
                self.check_held(index);
            }
            self.feed(index, Span { buf, offset: 0, len });
            if !self.conns.at(index).is_plain(Flags::TLS) {
                self.after_recv(index);
            }
            return;
        }
        self.on_recv_any(*completion);
    }

    /// The same in every other case.
    fn on_recv_any(&mut self, completion: Completion) {
        let Some(conn) = self.conns.of_token(completion.token) else {
            if let Some(bid) = completion.buffer() {
                let buf = self.pool.unlend(Class::Stream, bid);
                self.pool.release(buf);
            }
            return;
        };
        let index = completion.token.index();
        if !completion.more() {
            conn.unset(Flags::RECV_ARMED | Flags::RECV_CANCELLED);
        }
        let open = conn.phase == Phase::Open;
        let leaves = conn.is_leaving();
        match (completion.result, completion.buffer()) {
            (n @ 1.., Some(bid)) if leaves => self.keep_for_move(index, bid, n as u32),
            // The socket says it again to whoever reads next.
            (0, None) if leaves => {}
            (n @ 1.., Some(bid)) if open => self.on_bytes(index, bid, n as u32),
            (0, None) if open => self.on_eof(index),
            (error, bid) => {
                if let Some(bid) = bid {
                    let buf = self.pool.unlend(Class::Stream, bid);
                    self.pool.release(buf);
                }
                if error < 0 && open {
                    self.on_recv_error(index, -error);
                }
            }
        }
        self.after_recv(index);
    }

    /// A connection that holds too many buffers is not read until some are free. What came first
    /// sets the clock of [`look_if_quiet`](Self::look_if_quiet).
    pub(super) fn check_held(&mut self, index: u32) {
        let held_max = self.held_max();
        let calm_held = &mut self.conns.at(index).calm_held;
        if std::mem::replace(calm_held, HELD_ALWAYS) < HELD_ALWAYS {
            self.arm_conn_timer(index);
        }
        let conn = self.conns.at(index);
        if conn.held > held_max && !conn.has(Flags::HOLDING) {
            conn.set(Flags::HOLDING);
            self.lists.holding += 1;
            self.settle_recv(index);
        }
    }

    fn after_recv(&mut self, index: u32) {
        if self.conns.at(index).phase == Phase::Ending {
            self.advance_end(index);
        } else {
            self.offer_rx(index);
            self.settle_recv(index);
        }
    }

    /// Buffers that one connection may hold now. The bound falls with what is free (the dynamic
    /// threshold of shared-memory switches, Choudhury and Hahne 1998) and with the number of those
    /// that reached theirs: n of them leave 8 / (8 + n) of the buffers to the others.
    fn held_max(&self) -> u32 {
        let share = HELD_SHARE + self.lists.holding;
        (self.receivable() / share).clamp(1, self.config.held_buffers_max as u32)
    }

    fn on_bytes(&mut self, index: u32, bid: u16, len: u32) {
        let now = self.now;
        let conn = self.conns.at(index);
        conn.received(now, len);
        let owner = conn.owner(index);
        let buf = self.pool.unlend_to(Class::Stream, bid, owner);
        self.stats.bytes_received += u64::from(len);
        self.check_held(index);
        let span = Span { buf, offset: 0, len };
        let conn = self.conns.at(index);
        if conn.has(Flags::KERNEL_RX) && conn.has(Flags::TLS_FAILED | Flags::EOF) {
            self.pool.release(buf);
            self.settle_credits();
        } else if conn.has(Flags::TLS) && !conn.has(Flags::KERNEL_RX) {
            self.feed_tls(index, span);
        } else {
            self.feed(index, span);
        }
    }

    /// Runs the bytes of one buffer through what speaks on the connection, behind what waits there
    /// already. The span's hold is consumed.
    pub(super) fn feed(&mut self, index: u32, span: Span) {
        if !self.http_parks(index, span) {
            self.feed_now(index, span);
        }
    }

    /// The same, before what waits.
    pub(super) fn feed_now(&mut self, index: u32, mut span: Span) {
        let now = self.now;
        while span.len > 0 {
            if self.inbox.room() == 0 {
                return self.stall(index, span);
            }
            if self.http_holds(index, span) {
                return self.http_fed(index);
            }
            let conn = self.conns.at(index);
            let step = if conn.carry.is_empty() {
                // SAFETY: the span holds the buffer, which is frozen since its completion came
                // (P2).
                let input = unsafe { self.pool.slice(span.buf, span.offset, span.len) };
                conn.app.step(input, now)
            } else {
                match self.carry_on(index, &mut span) {
                    Some(step) => step,
                    None => break,
                }
            };
            match step {
                Step::Message { kind, extra, skip, len } => {
                    span.offset += skip as u32;
                    span.len -= skip as u32;
                    self.push_message(index, (kind, extra), &mut span, len as u32);
                }
                Step::Skip { len } => {
                    span.offset += len as u32;
                    span.len -= len as u32;
                }
                Step::Begin { len } => {
                    span.offset += len as u32;
                    span.len -= len as u32;
                    self.begin_behind_preface(index);
                    let conn = self.conns.at(index);
                    if conn.phase != Phase::Open {
                        break;
                    }
                    if conn.has(Flags::TLS) {
                        return self.feed_tls(index, span);
                    }
                }
                Step::Refuse { status, code } => {
                    self.http_refuse(index, status, code);
                    break;
                }
                Step::Need { need } => {
                    if !self.carry_rest(index, &mut span, need) {
                        break;
                    }
                }
                Step::Close { code } => {
                    self.begin_end(index, code, false);
                    break;
                }
            }
        }
        if span.buf != BufId::NONE {
            self.pool.release(span.buf);
            self.settle_credits();
        }
        self.http_fed(index);
    }

    /// A message was found: at the front of the span, or whole in the carry.
    fn push_message(&mut self, index: u32, what: (Kind, u64), span: &mut Span, len: u32) {
        let (kind, extra) = what;
        let conn = self.conns.at(index);
        let id = conn.id(index).as_u64();
        let (buf, offset, len) = if len == 0 {
            (BufId::NONE, 0, 0)
        } else if conn.carry.is_empty() {
            let place = (span.buf, span.offset, len);
            span.offset += len;
            span.len -= len;
            if span.len == 0 {
                span.buf = BufId::NONE;
            } else {
                self.pool.hold(place.0);
            }
            place
        } else {
            conn.carry.take()
        };
        let record = Record { kind, buf, offset, len, id, extra };
        if !self.http_diverts(index, &record) {
            self.inbox.push(record);
        }
    }

    /// Gives the carry the bytes that its unit lacks (P3) and looks at it again. `None`: still not
    /// whole, or the connection is ending.
    ///
    /// A machine that cannot tell how many bytes it lacks (it looks for a delimiter) asks for one
    /// more; it is given as many as it has, doubling, and what turns out to lie behind the message
    /// goes back to the span.
    fn carry_on(&mut self, index: u32, span: &mut Span) -> Option<Step> {
        let now = self.now;
        loop {
            let carry = &self.conns.at(index).carry;
            let (had, need) = (carry.len(), carry.need());
            let lacks = if need == had + 1 { had.max(BLIND_MIN) } else { need - had };
            // What is given blindly must not make a unit too long that is not.
            let fits = self.pool.size_max().saturating_sub(had).max(need - had);
            let given = lacks.min(span.len as usize).min(fits);
            if given == 0 || !self.carry_append(index, span, given, need) {
                return None;
            }
            let conn = self.conns.at(index);
            if conn.carry.len() < need {
                return None;
            }
            match conn.app.step(conn.carry.bytes(&self.pool), now) {
                // It asked for more than it had: a message that ends before would depend on how
                // the bytes were cut (C6).
                Step::Message { len, .. } if len < need => {
                    return Some(Step::Close { code: code::BAD_FRAME });
                }
                message @ Step::Message { len, .. } => {
                    let excess = conn.carry.shrink_to(len);
                    span.offset -= excess;
                    span.len += excess;
                    return Some(message);
                }
                Step::Need { need } => conn.carry.set_need(need),
                Step::Skip { len } | Step::Begin { len } if len < need => {
                    return Some(Step::Close { code: code::BAD_FRAME });
                }
                Step::Begin { len } => {
                    let excess = conn.carry.shrink_to(len);
                    conn.carry.clear(&mut self.pool);
                    span.offset -= excess;
                    span.len += excess;
                    return Some(Step::Begin { len: 0 });
                }
                Step::Skip { len } => {
                    let excess = conn.carry.shrink_to(len);
                    conn.carry.clear(&mut self.pool);
                    span.offset -= excess;
                    span.len += excess;
                    return Some(Step::Skip { len: 0 });
                }
                end @ (Step::Close { .. } | Step::Refuse { .. }) => return Some(end),
            }
        }
    }

    /// Moves the unparsed tail of a buffer into the carry. Whether the connection goes on.
    fn carry_rest(&mut self, index: u32, span: &mut Span, need: usize) -> bool {
        let len = span.len as usize;
        self.carry_append(index, span, len, need)
    }

    fn carry_append(&mut self, index: u32, span: &mut Span, len: usize, need: usize) -> bool {
        // SAFETY: as in `feed`.
        let data = unsafe { self.pool.slice(span.buf, span.offset, len as u32) };
        let conn = self.conns.at(index);
        let size = need.max(conn.carry.len() + len);
        match conn.carry.append(&mut self.pool, need, data) {
            Ok(Some(copied)) => {
                conn.carry.set_need(need);
                span.offset += len as u32;
                span.len -= len as u32;
                self.stats.bytes_copied_rx += copied as u64;
                true
            }
            Ok(None) if self.waits_in_inbox(size) => {
                let whole = std::mem::replace(span, Span::NONE);
                self.stall(index, whole);
                self.inbox.shut();
                false
            }
            Ok(None) => {
                self.begin_end(index, code::CARRY_EXHAUSTED, false);
                false
            }
            Err(IoError::BufferTooLarge { .. }) => {
                self.begin_end(index, code::FRAME_TOO_LONG, false);
                false
            }
            Err(_) => unreachable!("a carry fails for size alone"),
        }
    }

    /// Whether events that are still to be handed out hold a buffer that such a unit would fit:
    /// then nobody is slow, and there will be one.
    pub(super) fn waits_in_inbox(&self, len: usize) -> bool {
        self.inbox.buffers().any(|buf| self.pool.size_of(buf) >= len)
    }

    /// Copies a stretch of received bytes out, and lets go of it.
    pub(super) fn copy_out(&mut self, span: Span, to: &mut Vec<u8>) {
        // SAFETY: as in `feed`.
        to.extend_from_slice(unsafe { self.pool.slice(span.buf, span.offset, span.len) });
        self.stats.bytes_copied_rx += u64::from(span.len);
        self.pool.release(span.buf);
        self.settle_credits();
    }

    // ---- stalls

    pub(super) fn stall(&mut self, index: u32, span: Span) {
        let conn = self.conns.at(index);
        conn.stalled = span;
        conn.set(Flags::STALLED);
        self.lists.stalled = Some(conn.id(index));
    }

    /// Goes on with the bytes that waited for room.
    pub(super) fn resume_stalled(&mut self) {
        if self.inbox.room() == 0 {
            return;
        }
        let Some(id) = self.lists.stalled.take() else { return };
        let index = id.index();
        let Some(conn) = self.conns.find(id) else { return };
        if !conn.has(Flags::STALLED) {
            return;
        }
        conn.unset(Flags::STALLED);
        let span = std::mem::replace(&mut conn.stalled, Span::NONE);
        self.feed_now(index, span);
        self.resume_tls(index);
        self.http_go_on(index);
        self.after_recv(index);
    }

    // ---- ends

    fn on_eof(&mut self, index: u32) {
        let conn = self.conns.at(index);
        if conn.has(Flags::EOF) || self.is_preface_cut(index) || self.is_truncated(index) {
            return;
        }
        self.end_of_data(index);
    }

    /// The peer sends no more.
    pub(super) fn end_of_data(&mut self, index: u32) {
        if self.http_eof(index) {
            return;
        }
        let conn = self.conns.at(index);
        conn.set(Flags::EOF);
        if !conn.carry.is_empty() {
            self.begin_end(index, code::TRUNCATED, false);
            return;
        }
        let id = conn.id(index).as_u64();
        let both = conn.has(Flags::SHUT_DONE | Flags::SEND_FAILED);
        self.inbox.push(Record::bare(Kind::ReadClosed, id, 0));
        if both {
            self.begin_end(index, code::NONE, true);
        }
    }

    fn on_recv_error(&mut self, index: u32, errno: i32) {
        match errno {
            errno::ENOBUFS => self.on_starved(index),
            errno::ECANCELED | errno::EINTR | errno::EAGAIN => {}
            _ if self.on_kernel_error(index, errno) => {}
            _ if self.is_reset_harmless(index) => self.begin_end(index, code::NONE, true),
            _ => self.begin_end(index, errno as u64, false),
        }
    }

    /// The kernel had no buffer: that ends the receive and nothing else. The connection is armed
    /// again when there are some.
    fn on_starved(&mut self, index: u32) {
        self.stats.starved += 1;
        let max = self.pool.count(Class::Stream);
        self.lend_target = (self.lend_target * 2).min(max);
        let conn = self.conns.at(index);
        if !conn.has(Flags::STARVED) {
            conn.set(Flags::STARVED);
            let id = conn.id(index);
            list_living(&mut self.lists.starved, &self.conns, id);
        }
    }
}

/// Whether its bytes come by one operation for each piece (K29).
fn is_received_once(conn: &Conn) -> bool {
    conn.protocol == Protocol::Uds
}
