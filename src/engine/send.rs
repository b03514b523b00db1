//! Sending on stream connections: one send under way per connection, the queue gathered into it.
//!
//! *Invariants*: the kernel never has two sends of one connection (43 of the hazards: it would
//! reorder the stream). Memory that a send names is released by its last completion and by nothing
//! else: for a zero-copy send that is the notification, which comes iff the first completion
//! announces it.

use super::{Engine, Lists};
use crate::config::Toggle;
use crate::conn::guard::Guards;
use crate::conn::tx::{NO_BLOCK, Segment, Source};
use crate::conn::{Flags, Phase};
use crate::ids::Protocol;
use crate::pool::{Pool, PressureState};
use crate::ring::{Completion, Op, Tag, Token};
use crate::sys::{SHUT_WR, errno};
use std::time::Duration;

/// Bytes of one send operation at most.
const SEND_BYTES_MAX: usize = 1 << 24;
/// How long a send rests that the kernel could not take for want of memory.
const RESEND_PAUSE: Duration = Duration::from_millis(1);
/// How long all sends copy after the kernel would not pin more memory (`RLIMIT_MEMLOCK`, which is
/// the user's: others may use it up, too).
const ZERO_COPY_PAUSE: Duration = Duration::from_secs(1);

impl Engine {
    /// Puts the connection on the list of those with something to send.
    #[inline]
    pub(super) fn mark_dirty(&mut self, index: u32) {
        let conn = self.conns.at(index);
        let id = conn.id(index);
        self.lists.mark_dirty(conn, id);
    }

    /// Hands everything that was written to the ring. Apart, as `run_reaped` is.
    #[inline(never)]
    pub(super) fn flush(&mut self) {
        let zero_copy_min = self.config.uring.zero_copy_min;
        while let Some(id) = self.lists.dirty.pop() {
            let Some(conn) = self.conns.place(id) else { continue };
            let short = conn.is_plain(Flags::SEND_BUSY | Flags::KERNEL_TX)
                && conn.tx.is_single()
                && (conn.tx.bytes as usize) < zero_copy_min;
            if !short {
                conn.unset(Flags::DIRTY);
                self.flush_any(id.index());
                continue;
            }
            // The short path: one segment, too small for anything but a plain send.
            conn.flags.toggle(Flags::DIRTY | Flags::SEND_BUSY);
            conn.tx.busy = 1;
            let Segment { ptr, len, .. } = *conn.tx.first();
            let (sock, token) = (conn.sock, conn.token(Tag::Send, id.index()));
            self.ring.push(Op::Send { sock, ptr, len }, token);
        }
        self.flush_udp();
        if self.looks_further {
            self.nudge_fleet();
        }
    }

    /// The same in every other case. Apart, as `on_send_any` is.
    #[inline(never)]
    fn flush_any(&mut self, index: u32) {
        let conn = self.conns.at(index);
        if conn.phase != Phase::Open || conn.has(Flags::SEND_BUSY) {
            return;
        }
        let is_all = !conn.has(Flags::TLS) || self.flush_tls(index);
        let is_kernels = self.conns.at(index).has(Flags::KERNEL_TX);
        if is_kernels && !self.flush_kernel(index) {
            return;
        }
        if self.conns.at(index).tx.is_empty() || self.http_send_head(index) {
            if is_all && !self.http_send_file(index) {
                self.shut_if_wanted(index);
            }
            return;
        }
        let zero_copy = self.wants_zero_copy(index);
        let conn = self.conns.at(index);
        let Segment { ptr, len, .. } = *conn.tx.first();
        let single = conn.tx.is_single();
        let sock = conn.sock;
        conn.set(Flags::SEND_BUSY);
        conn.unset(Flags::SEND_IS_ZC);
        let plain = conn.token(Tag::Send, index);
        let is_plain = single && !zero_copy && !is_kernels;
        let block = if is_plain { None } else { self.blocks.take(conn.id(index)) };
        conn.block = block.unwrap_or(NO_BLOCK);
        let Some(block) = block else {
            if is_kernels {
                conn.unset(Flags::SEND_BUSY);
                return self.send_again_later(index);
            }
            conn.tx.busy = 1;
            self.ring.push(Op::Send { sock, ptr, len }, plain);
            return;
        };
        let token = if zero_copy {
            self.stats.zero_copy_sends += 1;
            conn.set(Flags::SEND_IS_ZC);
            Token::new(Tag::SendZc, self.blocks.at(block).generation, block)
        } else {
            plain
        };
        let gather = &mut self.blocks.at(block).gather;
        let mut bytes = 0;
        let mut count = 0;
        for segment in self.segments.iter(&conn.tx) {
            bytes += segment.len as usize;
            if bytes > SEND_BYTES_MAX && count > 0 {
                break;
            }
            if !gather.push(segment.ptr, segment.len as usize) {
                break;
            }
            count += 1;
        }
        conn.tx.busy = count;
        let op = match (zero_copy, single) {
            (true, true) => Op::SendZc { sock, ptr, len: len.min(SEND_BYTES_MAX as u32) },
            (true, false) => Op::SendMsgZc { sock, gather: gather.seal() },
            (false, _) => Op::SendMsg { sock, gather: gather.seal(), whole: !is_kernels },
        };
        self.ring.push(op, token);
    }

    /// Only so much is left pinned to a peer that does not acknowledge it (4 of the hazards): the
    /// rest is copied into the socket's own buffer, which has a bound.
    fn wants_zero_copy(&mut self, index: u32) -> bool {
        let room = self.pressure() == PressureState::Healthy;
        let conn = self.conns.at(index);
        let uring = &self.config.uring;
        self.effective.zero_copy_send
            && uring.zero_copy_send != Toggle::Off
            && conn.protocol == Protocol::Tcp
            && !conn.has(Flags::KERNEL_TX | Flags::NO_ZERO_COPY)
            && conn.tx.bytes as usize >= uring.zero_copy_min
            && room
            && (conn.pinned as usize) < self.config.send_high_water
            && self.blocks.may_be_pinned()
            && self.now >= self.lists.zero_copy_after
    }

    // ---- completions

    #[inline]
    pub(super) fn on_send(&mut self, completion: &Completion) {
        if let Some(conn) = self.conns.of_token(completion.token)
            && conn.is_plain(Flags::KERNEL_TX)
            && conn.tx.is_single()
            && completion.result as u32 == conn.tx.bytes
        {
            // The short path: all of a queue of one was sent. Blocks are for longer ones.
            debug_assert_eq!(conn.block, NO_BLOCK);
            let sent = u64::from(conn.tx.bytes);
            conn.unset(Flags::SEND_BUSY);
            conn.last_tx = self.now;
            conn.bytes_sent += sent;
            self.stats.bytes_sent += sent;
            match conn.tx.pop_single() {
                Source::Buf { buf, own: true } => self.pool.release_own(buf),
                Source::Buf { buf, .. } => self.let_go(buf),
                Source::Guard { guard } => {
                    self.guards.sent(guard, sent as u32);
                    self.guards.release(guard);
                }
            }
            return;
        }
        self.on_send_any(*completion);
    }

    /// The same in every other case. Apart, since both as one are dearer for the short path.
    #[inline(never)]
    fn on_send_any(&mut self, completion: Completion) {
        let index = completion.token.index();
        let Some(conn) = self.conns.of_token(completion.token) else { return };
        let block = std::mem::replace(&mut conn.block, NO_BLOCK);
        if block != NO_BLOCK {
            self.blocks.free(block);
        }
        if completion.result >= 0 {
            self.advance(index, completion.result as u32, None);
        }
        self.after_send(index, completion.result);
    }

    pub(super) fn on_send_zc(&mut self, completion: Completion) {
        let block_index = completion.token.index();
        let Some(block) = self.blocks.of_token(completion.token) else { return };
        let id = block.conn;
        if completion.is_notif() {
            while let Some(source) = block.pinned.pop() {
                release(&mut self.pool, &mut self.guards, source);
            }
            let bytes = std::mem::take(&mut block.pinned_bytes);
            self.blocks.free(block_index);
            if let Some(conn) = self.conns.find(id) {
                conn.pinned -= bytes;
                conn.last_tx = self.now;
                let was_copied = completion.result as u32 & Completion::ZC_COPIED != 0;
                if was_copied && self.config.uring.zero_copy_send == Toggle::Auto {
                    conn.set(Flags::NO_ZERO_COPY);
                }
            }
            return;
        }
        let index = id.index();
        debug_assert!(self.conns.find(id).is_some(), "a connection outlives its send");
        self.conns.at(index).block = NO_BLOCK;
        let pin = completion.more().then_some(block_index);
        if completion.result >= 0 {
            self.advance(index, completion.result as u32, pin);
        } else if pin.is_some() {
            // It failed, but the notification is still to come: the memory stays until then.
            self.pin_busy(index, block_index);
        }
        if pin.is_none() {
            self.blocks.free(block_index);
        }
        self.after_send(index, completion.result);
    }

    /// Takes what was sent off the queue; its memory is released, or pinned to `pin` until the
    /// notification.
    pub(super) fn advance(&mut self, index: u32, sent: u32, pin: Option<u32>) {
        let now = self.now;
        let conn = self.conns.at(index);
        if sent > 0 {
            conn.last_tx = now;
        }
        conn.bytes_sent += u64::from(sent);
        self.stats.bytes_sent += u64::from(sent);
        let (pool, guards) = (&mut self.pool, &mut self.guards);
        let mut pinned = pin.map(|block| {
            let block = self.blocks.at(block);
            block.pinned_bytes = sent;
            conn.pinned += sent;
            &mut block.pinned
        });
        self.segments.advance(&mut conn.tx, sent, |source, len, ends| {
            if let Source::Guard { guard } = source {
                guards.sent(guard, len);
            }
            match (&mut pinned, ends) {
                (Some(pinned), true) => pinned.push(source),
                (Some(pinned), false) => {
                    hold(pool, guards, source);
                    pinned.push(source);
                }
                (None, true) => release(pool, guards, source),
                (None, false) => {}
            }
        });
    }

    /// Keeps the memory of a zero-copy send that failed for as long as the kernel may refer to it.
    fn pin_busy(&mut self, index: u32, block: u32) {
        let conn = self.conns.at(index);
        let busy = conn.tx.busy as usize;
        let pinned = &mut self.blocks.at(block).pinned;
        let (pool, guards) = (&mut self.pool, &mut self.guards);
        self.segments.share_front(&mut conn.tx, busy, |source| {
            hold(pool, guards, source);
            pinned.push(source);
        });
    }

    pub(super) fn after_send(&mut self, index: u32, result: i32) {
        let conn = self.conns.at(index);
        let was_zero_copy = conn.has(Flags::SEND_IS_ZC);
        conn.unset(Flags::SEND_BUSY | Flags::SEND_IS_ZC);
        conn.tx.busy = 0;
        if conn.phase != Phase::Open {
            return self.advance_end(index);
        }
        match -result {
            // Zero from a send of more than zero bytes would spin: treat it as the error it is.
            0 if !conn.tx.is_empty() => return self.on_send_error(index, errno::EPIPE),
            // It may not pin so much: it can still copy.
            errno::ENOBUFS | errno::ENOMEM if was_zero_copy => {
                self.stats.zero_copy_refused += 1;
                self.lists.zero_copy_after = self.now.saturating_add(ZERO_COPY_PAUSE);
            }
            errno::EAGAIN | errno::ENOBUFS | errno::ENOMEM => return self.send_again_later(index),
            errno::EINTR => {}
            errno::EOPNOTSUPP if !conn.has(Flags::NO_ZERO_COPY) => conn.set(Flags::NO_ZERO_COPY),
            error @ 1.. if self.on_kernel_error(index, error) => {}
            error @ 1.. => return self.on_send_error(index, error),
            _ => {}
        }
        self.mark_dirty_if_due(index);
        self.settle_credits();
        self.offer_credit(index);
    }

    /// The kernel is short of memory for the moment: a pause, rather than a spin. For so long the
    /// connection stands on another list of those with something to send.
    pub(super) fn send_again_later(&mut self, index: u32) {
        let conn = self.conns.at(index);
        if !conn.has(Flags::DIRTY) {
            conn.set(Flags::DIRTY);
            let id = conn.id(index);
            self.lists.resend.push(id);
            self.look_again_later();
        }
    }

    /// The lists of what rests are looked at after a pause.
    pub(super) fn look_again_later(&mut self) {
        self.lists.retry_at = self.lists.retry_at.min(self.now.saturating_add(RESEND_PAUSE));
    }

    pub(super) fn resend(&mut self) {
        // They are marked already.
        self.lists.dirty.append(&mut self.lists.resend);
        // What is still without room puts itself behind, for the next time.
        let count = self.lists.unanswered.len();
        for at in 0..count {
            let id = self.lists.unanswered[at];
            if self.conns.get(id).is_ok_and(|conn| conn.phase == Phase::Open) {
                self.http_try_again(id.index());
            }
        }
        self.lists.unanswered.drain(..count);
    }

    pub(super) fn mark_dirty_if_due(&mut self, index: u32) {
        let conn = self.conns.at(index);
        let is_due = !conn.tx.is_empty() || conn.has(Flags::SHUT_WANTED | Flags::UNSEALED);
        if is_due || self.http_has_file(index) {
            self.mark_dirty(index);
        }
    }

    /// What is queued cannot be delivered. What was received still is: the end comes with the
    /// receive's.
    pub(super) fn on_send_error(&mut self, index: u32, error: i32) {
        if self.is_goodbye_alone(index) {
            // The peer said goodbye and did not wait for ours: nothing was lost.
            self.drop_queue(index);
            return self.begin_end(index, crate::code::NONE, true);
        }
        let conn = self.conns.at(index);
        conn.set(Flags::SEND_FAILED);
        if !conn.has(Flags::TLS_FAILED) {
            conn.code = error as u64;
        }
        let reads_on = conn
            .has(Flags::RECV_ARMED | Flags::STARVED | Flags::HOLDING | Flags::STALLED)
            && !conn.has(Flags::PAUSED | Flags::EOF);
        self.drop_queue(index);
        self.http_drop_file(index);
        if !reads_on || self.http_must_send(index) {
            self.begin_end(index, error as u64, false);
        } else {
            // The error was told here: an armed receive may not tell of it any more (K29).
            self.look_at_recv(index);
        }
    }

    /// Frees what waits to be sent; guard writes end as aborted.
    pub(super) fn drop_queue(&mut self, index: u32) {
        self.drop_unsealed(index);
        let conn = self.conns.at(index);
        let (pool, guards) = (&mut self.pool, &mut self.guards);
        self.segments.clear(&mut conn.tx, |source| abort(pool, guards, source));
    }

    /// So many bytes at the front of what waits to be sealed are sealed: elsewhere, or where they
    /// lay, and then their memory goes with them.
    pub(super) fn advance_unsealed(&mut self, index: u32, len: u32, moves: bool) {
        let conn = self.conns.at(index);
        let Some(secure) = &mut conn.secure else { return };
        let (pool, guards) = (&mut self.pool, &mut self.guards);
        self.segments.advance(&mut secure.unsealed, len, |source, len, ends| {
            if let Source::Guard { guard } = source {
                guards.sent(guard, len);
            }
            if ends && !moves {
                release(pool, guards, source);
            }
        });
        if secure.unsealed.is_empty() {
            conn.unset(Flags::UNSEALED);
        }
    }

    /// Lets go of what waits to be sealed and never will be; guard writes end as aborted.
    pub(super) fn drop_unsealed(&mut self, index: u32) {
        let conn = self.conns.at(index);
        conn.unset(Flags::UNSEALED);
        let Some(secure) = &mut conn.secure else { return };
        let (pool, guards) = (&mut self.pool, &mut self.guards);
        self.segments.clear(&mut secure.unsealed, |source| abort(pool, guards, source));
    }

    /// Says `Writable` to those whose write was cut short, when half of the room is back.
    pub(super) fn offer_credit(&mut self, index: u32) {
        let low = (self.config.send_high_water / 2) as u32;
        let conn = self.conns.at(index);
        if conn.has(Flags::WANT_WRITABLE)
            && !conn.has(Flags::WRITABLE_QUEUED | Flags::WAITS_FOR_BUFFERS | Flags::UNSEALED)
            && conn.tx.bytes <= low
            && conn.takes_writes()
        {
            if self.http_offer(index) {
                return;
            }
            let conn = self.conns.at(index);
            conn.unset(Flags::WANT_WRITABLE);
            conn.set(Flags::WRITABLE_QUEUED);
            let id = conn.id(index);
            self.lists.notices.push_back(id);
        }
    }

    // ---- the sending side's end

    /// Shuts the sending side down once the queue is empty.
    fn shut_if_wanted(&mut self, index: u32) {
        let conn = self.conns.at(index);
        let pending = Flags::SHUT_DONE | Flags::SHUTDOWN_BUSY;
        if !conn.has(Flags::SHUT_WANTED) || conn.has(pending) {
            return;
        }
        if self.http_ends(index) {
            return self.begin_end(index, crate::code::NONE, true);
        }
        let conn = self.conns.at(index);
        conn.set(Flags::SHUTDOWN_BUSY);
        let (sock, token) = (conn.sock, conn.token(Tag::Shutdown, index));
        self.ring.push(Op::Shutdown { sock, how: SHUT_WR }, token);
    }

    pub(super) fn on_shutdown(&mut self, completion: Completion) {
        let Some(conn) = self.conns.of_token(completion.token) else { return };
        let index = completion.token.index();
        conn.unset(Flags::SHUTDOWN_BUSY);
        if conn.phase != Phase::Open {
            return self.advance_end(index);
        }
        conn.set(Flags::SHUT_DONE);
        if completion.result < 0 && !(conn.has(Flags::EOF) && conn.has(Flags::TLS)) {
            // ENOTCONN: the peer's reset came first; the receive tells it. Behind the peer's
            // close_notify it says no more than that the peer did not wait for ours.
            conn.set(Flags::SEND_FAILED);
        }
        if conn.has(Flags::EOF) {
            let clean = !conn.has(Flags::SEND_FAILED);
            self.begin_end(index, crate::code::NONE, clean);
        } else {
            self.settle_recv(index);
        }
    }
}

impl Lists {
    /// Whether nothing waits to be flushed.
    pub(super) fn is_flushed(&self) -> bool {
        self.dirty.is_empty() && self.udp_dirty.is_empty()
    }
}

fn hold(pool: &mut Pool, guards: &mut Guards, source: Source) {
    match source {
        Source::Buf { buf, .. } => pool.hold(buf),
        Source::Guard { guard } => guards.hold(guard),
    }
}

#[inline]
pub(super) fn release(pool: &mut Pool, guards: &mut Guards, source: Source) {
    match source {
        Source::Buf { buf, .. } => pool.release(buf),
        Source::Guard { guard } => guards.release(guard),
    }
}

/// Releases what will not be sent.
fn abort(pool: &mut Pool, guards: &mut Guards, source: Source) {
    if let Source::Guard { guard } = source {
        guards.abort(guard);
    }
    release(pool, guards, source);
}
