//! What the ring does with a submission.
//!
//! Role: take operations in order, try them, try them again when their file woke. Not role: how
//! completions reach the engine (`complete`).
//!
//! *Invariants*: K1 operations are taken in the order they were pushed; each completes for the last
//! time exactly once (K2).

use super::fault::{Fault, NOTIFICATION_LATE_MAX};
use super::file::{FileId, Kind, Phase};
use super::kernel::{Event, Kernel};
use super::mem;
use super::node::{Claim, Memory, OpRef, Pending, Sending, Work};
use super::stream::Readable;
use super::trace::What;
use crate::ring::op::{Completion, Op, Sock, Tag, Token};
use crate::sys::addr::SockAddr;

/// Pieces that one receive delivers before others get their turn.
const RECV_BURST_MAX: u64 = 8;

/// What is left to do after an attempt.
enum Attempt {
    /// It waits for its file.
    Wait,
    /// It wants another turn at once.
    Again,
    /// It is complete.
    Done,
}

impl Kernel {
    // ---- taking

    /// Takes everything that is queued, or a part of it.
    pub(super) fn submit(&mut self, node: usize, count_max: usize) {
        for _ in 0..count_max {
            let Some((op, token)) = self.nodes[node].sq.pop_front() else { return };
            self.trace(node, What::Submit(op, token));
            self.take(node, op, token);
        }
    }

    fn take(&mut self, node: usize, op: Op, token: Token) {
        let serial = self.serial();
        let me = OpRef { node, serial };
        // K2: of the operations under way, each has a token of its own.
        if token != Token::IGNORE && self.nodes[node].claim(Claim::Token(token.0)) {
            self.violation(node, format!("K2: two operations under way as {token:?}"));
        }
        let Some((sock, work)) = Self::prepare(op) else {
            return self.immediate(me, op, token);
        };
        let file = match sock.map(|sock| self.resolve(node, sock, token)) {
            Some(None) => return self.refuse(me, token, libc::EBADF),
            Some(Some(file)) => Some(file),
            None => None,
        };
        if let Some(file) = file {
            self.hold(file);
            self.claim_file(me, &work, file);
            if let Some(file) = self.files.get_mut(file) {
                file.waiters.push(me);
            }
        }
        self.nodes[node].pending.insert(serial, Pending::new(token, work, file));
        if let Some(errno) = self.forced_failure(name(&op)) {
            return self.fail(me, errno);
        }
        // K17: an installation is done in its turn, so that what follows may name the slot.
        let in_turn = matches!(op, Op::Install { .. });
        if !in_turn && self.hit(Fault::ExecuteLate) {
            let delay_ns = self.delay_ns();
            return self.schedule(delay_ns, Event::Run(me));
        }
        self.attempt(me, true);
    }

    /// The parts of operations that can wait.
    fn prepare(op: Op) -> Option<(Option<Sock>, Work)> {
        let send = |sock, pieces: Vec<mem::Piece>, zero_copy| {
            let total_len = pieces.iter().map(|piece| piece.len).sum();
            let memory = Memory::new(pieces);
            let sending = Sending { memory, total_len, done_len: 0, zero_copy, notifying: false };
            Some((Some(sock), Work::Send(sending)))
        };
        let one = |ptr, len: u32| vec![mem::Piece { ptr, len: len as usize }];
        match op {
            Op::RecvMulti { sock, group } => Some((Some(sock), Work::Recv { group, once: false })),
            Op::RecvOnce { sock, group } => Some((Some(sock), Work::Recv { group, once: true })),
            Op::Send { sock, ptr, len } => send(sock, one(ptr, len), false),
            Op::SendZc { sock, ptr, len } => send(sock, one(ptr, len), true),
            Op::SendMsg { sock, gather, .. } => send(sock, mem::pieces(gather), false),
            Op::SendMsgZc { sock, gather } => send(sock, mem::pieces(gather), true),
            Op::Connect { sock, addr } => {
                let addr = mem::address(addr);
                Some((Some(sock), Work::Connect { addr, started: false }))
            }
            Op::Poll { sock, mask, multi } => Some((Some(sock), Work::Poll { mask, multi })),
            Op::Shutdown { sock, .. } => Some((Some(sock), Work::Later(op))),
            Op::Install { .. } => Some((None, Work::Later(op))),
            Op::Cancel { .. } | Op::CloseFd { .. } | Op::CloseSlot { .. } => None,
        }
    }

    /// The file of a socket: K11.
    fn resolve(&mut self, node: usize, sock: Sock, token: Token) -> Option<FileId> {
        let found = if sock.is_fixed() {
            self.nodes[node].slot_file(sock.slot)
        } else {
            self.nodes[node].fd_file(sock.fd)
        };
        // What follows a failed installation finds nothing, and a watched descriptor is the
        // application's to close.
        let excused = self.nodes[node].failed_slots.contains(&sock.slot) && sock.is_fixed();
        if found.is_none() && !excused && token.tag() != Tag::Watch {
            self.violation(node, format!("K11: {token:?} names {sock:?}, which is not open"));
        }
        found
    }

    /// K6, K7: one send and one multishot receive per stream.
    fn claim_file(&mut self, me: OpRef, work: &Work, file: FileId) {
        let (claim, text) = match work {
            Work::Send(_) => (Claim::Send(file), "K6: two sends"),
            Work::Recv { .. } => (Claim::Recv(file), "K7: two receives"),
            _ => return,
        };
        if self.nodes[me.node].claim(claim) {
            self.violation(me.node, format!("{text} under way on {file:?}"));
        }
    }

    /// An operation that never was.
    fn refuse(&mut self, me: OpRef, token: Token, errno: i32) {
        self.nodes[me.node].pending.insert(me.serial, Pending::new(token, Work::Nothing, None));
        self.post(me, -errno, 0);
    }

    /// The operations that are done when they were taken.
    fn immediate(&mut self, me: OpRef, op: Op, token: Token) {
        let result = match op {
            Op::Cancel { target } => self.cancel(me.node, target),
            Op::CloseFd { fd } => self.close_fd(me.node, fd),
            Op::CloseSlot { slot, or_nothing } => self.close_slot(me.node, slot, or_nothing),
            _ => -libc::EINVAL,
        };
        self.nodes[me.node].pending.insert(me.serial, Pending::new(token, Work::Nothing, None));
        self.post(me, result, 0);
    }

    fn close_fd(&mut self, node: usize, fd: i32) -> i32 {
        let Some(file) = self.nodes[node].fd_remove(fd) else {
            self.violation(node, format!("K11: close of descriptor {fd}, which is not open"));
            return -libc::EBADF;
        };
        self.release(file);
        // K19: whatever a close answers, the descriptor is gone.
        if let Some(errno) = self.forced_failure("IORING_OP_CLOSE") {
            return -errno;
        }
        if self.hit(Fault::CloseError) { -self.pick(&[libc::EINTR, libc::EIO]) } else { 0 }
    }

    fn close_slot(&mut self, node: usize, slot: u32, or_nothing: bool) -> i32 {
        let Some(file) = self.nodes[node].slots.remove(&slot) else {
            if !or_nothing {
                self.violation(node, format!("K17: close of slot {slot}, which is empty"));
            }
            return -libc::EBADF;
        };
        self.release(file);
        self.forced_failure("IORING_OP_CLOSE").map_or(0, |errno| -errno)
    }

    // ---- trying

    /// Puts an operation into the run queue of its node.
    pub(super) fn queue_op(&mut self, op: OpRef) {
        let node = &mut self.nodes[op.node];
        if let Some(pending) = node.pending.get_mut(&op.serial)
            && !pending.queued
        {
            pending.queued = true;
            node.run.push(op.serial);
        }
    }

    /// Tries everything in the run queue once.
    pub(super) fn run_queue(&mut self, node: usize) {
        let mut queue = std::mem::take(&mut self.nodes[node].run);
        if self.faults.rate_ppm(Fault::CompletionReorder) > 0 {
            self.rng.shuffle(&mut queue);
        }
        for serial in queue {
            if let Some(pending) = self.nodes[node].pending.get_mut(&serial) {
                pending.queued = false;
                self.attempt(OpRef { node, serial }, false);
            }
        }
    }

    fn attempt(&mut self, me: OpRef, first: bool) {
        let Some(pending) = self.nodes[me.node].pending.get_mut(&me.serial) else { return };
        let file = pending.file;
        let outcome = match (&mut pending.what, file) {
            (Work::Recv { group, once }, Some(file)) => {
                let (group, once) = (*group, *once);
                self.try_recv(me, file, group, first, once)
            }
            (Work::Send(sending), Some(file)) if !sending.notifying => self.try_send(me, file),
            (Work::Connect { addr, started }, Some(file)) => {
                let (addr, started) = (*addr, std::mem::replace(started, true));
                self.try_connect(me, file, addr, started)
            }
            (Work::Poll { mask, multi }, Some(file)) => {
                let (mask, multi) = (*mask, *multi);
                self.try_poll(me, file, mask, multi)
            }
            (Work::Later(op), file) => {
                let op = *op;
                self.do_later(me, op, file)
            }
            _ => Attempt::Wait,
        };
        if matches!(outcome, Attempt::Again) {
            self.queue_op(me);
        }
    }

    fn try_recv(
        &mut self,
        me: OpRef,
        file: FileId,
        group: u16,
        first: bool,
        once: bool,
    ) -> Attempt {
        if !self.nodes[me.node].groups.contains_key(&group) {
            self.violation(me.node, format!("K4: receive into group {group}, which is unknown"));
            return self.done(me, -libc::ENOBUFS);
        }
        let burst = self.between(1, RECV_BURST_MAX);
        for _ in 0..burst {
            let readable = self.readable(file);
            let empty = self.nodes[me.node].groups[&group].visible.is_empty();
            // The buffer is chosen before the socket is asked, so that an empty group ends the
            // receive even when there is nothing to receive.
            let at_arm = first && self.rng.chance(1, 2);
            if empty && (at_arm || readable != Readable::Nothing) {
                return self.done(me, -libc::ENOBUFS);
            }
            match readable {
                Readable::Nothing => return Attempt::Wait,
                Readable::Eof => return self.done(me, 0),
                Readable::Error(errno) => {
                    self.take_error(file);
                    return self.done(me, -errno);
                }
                Readable::Data(_) if self.hit(Fault::RecvError) => {
                    self.break_connection(file);
                    self.take_error(file);
                    return self.done(me, -libc::ECONNRESET);
                }
                // K4: an ENOBUFS ends the receive, and the data stays.
                Readable::Data(_) if self.hit(Fault::RecvNoBufs) => {
                    return self.done(me, -libc::ENOBUFS);
                }
                Readable::Data(len) => {
                    if !self.deliver(me, file, group, len, once) {
                        return Attempt::Done;
                    }
                    // K29. At its submission it looks once more before it waits.
                    if !first && self.is_about_to_fail(file) && self.hit(Fault::EndUntold) {
                        return Attempt::Wait;
                    }
                }
            }
        }
        Attempt::Again
    }

    /// Delivers one piece into a provided buffer; whether the receive goes on.
    fn deliver(
        &mut self,
        me: OpRef,
        file: FileId,
        group: u16,
        available: usize,
        once: bool,
    ) -> bool {
        let short = self.hit(Fault::RecvShort);
        // K3: a multishot may end at any completion, one with valid data too.
        let more = !once && !self.is_crowded(me.node) && !self.hit(Fault::RecvEnds);
        let state = self.nodes[me.node].groups.get_mut(&group);
        let Some(buffer) = state.and_then(|state| state.visible.pop_front()) else { return false };
        let mut len = available.min(buffer.len as usize);
        if short {
            len = self.between(1, len as u64) as usize;
        }
        self.read_into(file, buffer.ptr, len);
        if let Some(state) = self.nodes[me.node].groups.get_mut(&group) {
            state.written_len.insert(buffer.bid, len as u32);
        }
        let mut flags = Completion::BUFFER | u32::from(buffer.bid) << 16;
        if more {
            flags |= Completion::MORE;
        }
        if len < available {
            flags |= Completion::NONEMPTY;
        }
        self.post_buffer(me, len as i32, flags, group);
        more
    }

    fn try_send(&mut self, me: OpRef, file: FileId) -> Attempt {
        let again = self.hit(Fault::SendAgain);
        let short = self.hit(Fault::SendShort);
        if self.hit(Fault::SendError) {
            self.break_connection(file);
        }
        let Some(Work::Send(sending)) = self.work_mut(me) else { return Attempt::Done };
        let (from, left) = (sending.done_len, sending.total_len - sending.done_len);
        let is_zero_copy = sending.zero_copy;
        let pieces = std::mem::take(&mut sending.memory.pieces);
        let is_unix = self.files.stream(file).is_some_and(|s| s.is_unix);
        // K6: sends that are under way together take turns byte by byte, if it must be.
        let claims = &self.nodes[me.node].claims;
        let contested = claims.get(&Claim::Send(file)).is_some_and(|count| *count > 1);
        let outcome = if again && from == 0 {
            Err(libc::EAGAIN)
        } else if is_unix && is_zero_copy {
            Err(libc::EOPNOTSUPP)
        } else {
            let partly = short || contested;
            let len_max = if partly { self.between(1, left.max(1) as u64) as usize } else { left };
            self.write_from(file, &pieces, from, len_max)
        };
        let Some(Work::Send(sending)) = self.work_mut(me) else { return Attempt::Done };
        sending.memory.pieces = pieces;
        match outcome {
            Ok(taken) => {
                sending.done_len += taken;
                let done_len = sending.done_len;
                // K9: a short send is a success, MSG_WAITALL or not.
                if done_len == sending.total_len || (short && taken > 0) {
                    return self.sent(me, done_len as i32);
                }
                if contested && taken > 0 { Attempt::Again } else { Attempt::Wait }
            }
            Err(_) if sending.done_len > 0 => {
                let done_len = sending.done_len;
                self.sent(me, done_len as i32)
            }
            Err(errno) => self.sent(me, -errno),
        }
    }

    /// Completes a send: once, or with a notification to come (K8).
    fn sent(&mut self, me: OpRef, result: i32) -> Attempt {
        let Some(Work::Send(sending)) = self.work_mut(me) else { return Attempt::Done };
        let zero_copy = sending.zero_copy;
        if !zero_copy || (result < 0 && !self.hit(Fault::ZcErrorTwice)) {
            return self.done(me, result);
        }
        if let Some(Work::Send(sending)) = self.work_mut(me) {
            sending.notifying = true;
        }
        self.post(me, result, Completion::MORE);
        let late = self.hit(Fault::ZcLate);
        let late_max_ns = NOTIFICATION_LATE_MAX.as_nanos() as u64;
        let delay_ns = if late { self.between(1_000_000, late_max_ns) } else { self.delay_ns() };
        self.schedule(delay_ns, Event::Notify(me));
        Attempt::Done
    }

    pub(super) fn notify(&mut self, me: OpRef) {
        let copied = self.hit(Fault::ZcCopied);
        let result = if copied { Completion::ZC_COPIED.cast_signed() } else { 0 };
        self.post(me, result, Completion::NOTIF);
    }

    fn try_connect(&mut self, me: OpRef, file: FileId, addr: SockAddr, started: bool) -> Attempt {
        if !started {
            let Some(to) = addr.ip() else { return self.done(me, -libc::EAFNOSUPPORT) };
            return match self.connect_start(file, to) {
                Ok(()) => Attempt::Wait,
                Err(errno) => self.done(me, -errno),
            };
        }
        match self.files.stream(file).map(|s| (s.phase, s.error)) {
            Some((Phase::Open, _)) => self.done(me, 0),
            Some((Phase::SynSent, _)) => Attempt::Wait,
            Some((_, error)) => {
                self.take_error(file);
                self.done(me, -if error == 0 { libc::ECONNABORTED } else { error })
            }
            None => self.done(me, -libc::ENOTSOCK),
        }
    }

    fn try_poll(&mut self, me: OpRef, file: FileId, mask: u32, multi: bool) -> Attempt {
        let always = (libc::POLLERR | libc::POLLHUP) as u32;
        let mut ready = self.readiness(file) & (mask | always);
        // K16: a poll may report what is not there (any more).
        if ready == 0 && self.hit(Fault::PollSpurious) {
            ready = mask;
        }
        if ready == 0 {
            return Attempt::Wait;
        }
        let more = multi && !self.is_crowded(me.node) && !self.hit(Fault::PollEnds);
        self.post(me, ready as i32, if more { Completion::MORE } else { 0 });
        if more { Attempt::Wait } else { Attempt::Done }
    }

    /// Readiness as poll(2) tells it.
    pub(super) fn readiness(&mut self, id: FileId) -> u32 {
        match self.files.get(id).map(|file| &file.kind) {
            Some(Kind::Stream(_)) => self.stream_readiness(id),
            Some(Kind::Listener(l)) if l.shut => (libc::POLLIN | libc::POLLHUP) as u32,
            Some(Kind::Listener(l)) if l.backlog.is_empty() => 0,
            Some(Kind::Listener(_)) => libc::POLLIN as u32,
            Some(Kind::Udp(udp)) => udp.readiness(),
            Some(Kind::Pollable(ready)) => *ready,
            None => libc::POLLNVAL as u32,
        }
    }

    fn do_later(&mut self, me: OpRef, op: Op, file: Option<FileId>) -> Attempt {
        let result = match (op, file) {
            (Op::Shutdown { how, .. }, Some(file)) => self.shutdown(file, how),
            (Op::Install { fd, slot }, _) => {
                let result = self.install(me.node, mem::descriptor(fd), slot);
                self.note_install(me.node, slot, result);
                result
            }
            _ => -libc::EINVAL,
        };
        self.done(me, result)
    }

    fn install(&mut self, node: usize, fd: i32, slot: u32) -> i32 {
        if self.hit(Fault::InstallError) {
            return -self.pick(&[libc::ENOMEM, libc::EMFILE]);
        }
        let Ok(file) = self.fd_file(node, fd, "install") else { return -libc::EBADF };
        if slot >= self.nodes[node].slot_count {
            self.violation(node, format!("K17: slot {slot} is beyond the table"));
            return -libc::EINVAL;
        }
        self.hold(file);
        if let Some(old) = self.nodes[node].slots.insert(slot, file) {
            self.violation(node, format!("K17: slot {slot} is installed over another file"));
            self.release(old);
        }
        // As IORING_OP_FILES_UPDATE answers: the number of places.
        1
    }

    fn note_install(&mut self, node: usize, slot: u32, result: i32) {
        let failed = &mut self.nodes[node].failed_slots;
        if result < 0 {
            failed.insert(slot);
        } else {
            failed.remove(&slot);
        }
    }

    // ---- cancelling

    /// Cancels whatever runs under `target`; the answer of the cancellation itself.
    fn cancel(&mut self, node: usize, target: Token) -> i32 {
        if target == Token::IGNORE {
            self.violation(node, "K12: a cancellation names no operation".into());
            return -libc::ENOENT;
        }
        let found = self.nodes[node].pending.iter().find(|(_, pending)| {
            let notifying = matches!(&pending.what, Work::Send(s) if s.notifying);
            pending.token == target && !notifying
        });
        let Some((&serial, pending)) = found else { return -libc::ENOENT };
        let me = OpRef { node, serial };
        // What runs on a thread of the kernel's own is not stopped.
        if matches!(pending.what, Work::Later(_)) {
            return -libc::EALREADY;
        }
        if self.hit(Fault::CancelLate) {
            let delay_ns = self.delay_ns();
            self.schedule(delay_ns, Event::CancelNow(me));
            return -libc::EALREADY;
        }
        self.cancel_now(me);
        0
    }

    pub(super) fn cancel_now(&mut self, me: OpRef) {
        let racing = self.hit(Fault::CancelRace);
        if racing {
            // K12: the target may get what it waited for, and complete or be cancelled after that.
            self.attempt(me, false);
        }
        match self.work_mut(me) {
            Some(Work::Send(sending)) if sending.notifying => {}
            Some(Work::Send(sending)) => {
                let done_len = sending.done_len;
                let result = if done_len > 0 { done_len as i32 } else { -libc::ECANCELED };
                self.sent(me, result);
            }
            Some(_) => {
                self.done(me, -libc::ECANCELED);
            }
            None => {}
        }
    }

    // ---- ends

    fn work_mut(&mut self, me: OpRef) -> Option<&mut Work> {
        self.nodes[me.node].pending.get_mut(&me.serial).map(|pending| &mut pending.what)
    }

    fn done(&mut self, me: OpRef, result: i32) -> Attempt {
        self.post(me, result, 0);
        Attempt::Done
    }

    /// A failure that a test asked for.
    fn fail(&mut self, me: OpRef, errno: i32) {
        if let Some(Work::Later(Op::Install { slot, .. })) = self.work_mut(me) {
            let slot = *slot;
            self.note_install(me.node, slot, -errno);
        }
        match self.work_mut(me) {
            Some(Work::Send(_)) => drop(self.sent(me, -errno)),
            _ => drop(self.done(me, -errno)),
        }
    }

    /// The wake-up of the handles, as a multishot poll.
    pub(super) fn arm_wake(&mut self, node: usize) {
        let token = Token::new(Tag::Wake, 0, 0);
        if self.nodes[node].claim(Claim::Token(token.0)) {
            self.violation(node, "K2: the wake-up is armed twice".into());
        }
        let serial = self.serial();
        self.nodes[node].pending.insert(serial, Pending::new(token, Work::Wake, None));
        self.nodes[node].wake_serial = Some(serial);
    }
}

/// What a test calls an operation.
const fn name(op: &Op) -> &'static str {
    match op {
        Op::RecvMulti { .. } | Op::RecvOnce { .. } => "IORING_OP_RECV",
        Op::Send { .. } => "IORING_OP_SEND",
        Op::SendMsg { .. } => "IORING_OP_SENDMSG",
        Op::SendZc { .. } => "IORING_OP_SEND_ZC",
        Op::SendMsgZc { .. } => "IORING_OP_SENDMSG_ZC",
        Op::Connect { .. } => "IORING_OP_CONNECT",
        Op::Install { .. } => "IORING_OP_FILES_UPDATE",
        Op::Poll { .. } => "IORING_OP_POLL_ADD",
        Op::Cancel { .. } => "IORING_OP_ASYNC_CANCEL",
        Op::Shutdown { .. } => "IORING_OP_SHUTDOWN",
        Op::CloseFd { .. } | Op::CloseSlot { .. } => "IORING_OP_CLOSE",
    }
}
