//! The io_uring backend.
//!
//! Role: turn operations into submission entries and completion entries into completions. Not role:
//! what they mean.
//!
//! *Invariants*
//! - K1: operations reach the kernel in the order in which they were pushed, also when the queue
//!   overflowed.
//! - K25: a push neither fails nor blocks.
//! - K25: without work, looking for it makes no system call.
//! - K5: memory named by an operation stays valid until its last completion. [`Uring::shutdown`]
//!   says whether all of them have come.
//! - K26: in a process that was forked from the one that made the ring, nothing is written to the
//!   memory that the two share, and the ring is not entered.
//! - Taking down goes: operations, buffer groups, ring, the groups' memory. `Drop` spells it out.

use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{CancelBuilder, Fd as RawFd, Fixed, SubmitArgs, Timespec};
use io_uring::{CompletionStatus, EnterFlags, IoUring, SubmissionQueue, opcode};

use super::bufring::BufRing;
use super::op::{Completion, Fd, Op, Sock, Tag, Token, Wait};
use super::ports::Passed;
use super::setup::{self, Built};
use crate::config::{
    Effective, MulticastGroup, TcpConnectConfig, TcpListenConfig, UdpEndpointConfig,
    UdsListenConfig, UringConfig,
};
use crate::error::{Errno, IoError, Result};
use crate::sys::addr::SockAddr;
use crate::sys::batch::{RecvBatch, SendBatch};
use crate::sys::gather::Gather;
use crate::sys::kernel::{ForkMark, monotonic_ns, uring_error};
use crate::sys::sockopt::{Adopted, PeerCred, TcpInfo};
use crate::sys::wake::Waker;
use crate::sys::{brake, clock, entropy, errno, file, ktls, resolve, socket, tcp, udp, uds};
use crate::time::Time;

/// Buffer groups of one ring; their numbers are below this.
const GROUPS_MAX: usize = 16;
/// `IORING_SEND_ZC_REPORT_USAGE`.
const ZC_REPORT_USAGE: u16 = 1 << 3;
const SEND_FLAGS: i32 = libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
/// How long [`Uring::shutdown`] waits for completions.
const SHUTDOWN_NS: u64 = 1_000_000_000;
/// How often it cancels anew what has started since.
const SHUTDOWN_CANCEL_NS: u64 = 100_000_000;
/// System calls of one shutdown at most.
const SHUTDOWN_ROUNDS_MAX: usize = 100_000;

/// One io_uring, of one thread.
pub(crate) struct Uring {
    /// The view through which all submissions go. It points into `*ring` and is never dropped: its
    /// `Drop` writes to memory that a forked child shares.
    sq: ManuallyDrop<SubmissionQueue<'static>>,
    /// Looks at the completion queue without touching it.
    cq_status: CompletionStatus,
    /// Submissions whose last completion is still to be reaped.
    in_flight: u64,
    fork: ForkMark,
    enter_fd: i32,
    enter_flags: u32,
    /// Pushed while the queue was full and the kernel took nothing; not empty only while the queue
    /// is full. Holds at most what the engine has tables for.
    backlog: VecDeque<Entry>,
    groups: [Option<BufRing>; GROUPS_MAX],
    /// A `Box`, held as a pointer because `sq` points into it.
    ring: NonNull<IoUring>,
    wake: Arc<OwnedFd>,
    effective: Effective,
    /// The answer of the first shutdown.
    is_down: Option<bool>,
}

impl Uring {
    /// Makes a ring for the calling thread, with a fixed file table of up to `fixed_wanted` places.
    ///
    /// # Errors
    /// [`IoError::KernelTooOld`], [`IoError::UringDenied`], [`IoError::MemlockLimit`],
    /// [`IoError::NofileLimit`]; [`IoError::NotSupportedOnBackend`] for a capability that is `On`.
    pub(crate) fn new(config: &UringConfig, fixed_wanted: u32) -> Result<Self> {
        let fork = ForkMark::new()?;
        let wake = Arc::new(socket::event_fd()?);
        let Built { ring, enter_fd, enter_flags, effective } = setup::build(config, fixed_wanted)?;
        let ring = NonNull::from(Box::leak(Box::new(ring)));
        // SAFETY: the box lives until `Drop`, which comes after the last use of `sq`.
        let shared: &'static IoUring = unsafe { ring.as_ref() };
        // SAFETY: this is the only view of the submission queue.
        let sq = ManuallyDrop::new(unsafe { shared.submission_shared() });
        // SAFETY: the only view of the completion queue at this time, and the status lives no
        // longer than the ring.
        let cq_status = unsafe { shared.completion_shared().status() };
        Ok(Self {
            sq,
            cq_status,
            in_flight: 0,
            fork,
            enter_fd,
            enter_flags,
            backlog: VecDeque::new(),
            groups: [const { None }; GROUPS_MAX],
            ring,
            wake,
            effective,
            is_down: None,
        })
    }

    fn ring(&self) -> &IoUring {
        // SAFETY: the box lives until `Drop`, and nobody has a unique reference to it before.
        unsafe { self.ring.as_ref() }
    }

    #[inline]
    pub(crate) fn now(&mut self) -> Time {
        Time::from_nanos(monotonic_ns())
    }

    #[expect(clippy::unused_self, reason = "the rings have one interface")]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the rings have one interface")]
    pub(crate) fn wall_secs(&mut self) -> u64 {
        crate::sys::kernel::wall_secs()
    }

    #[expect(clippy::unused_self, reason = "the rings have one interface")]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the rings have one interface")]
    pub(crate) fn instant_base(&mut self) -> std::time::Instant {
        clock::instant_base()
    }

    #[expect(clippy::unused_self, reason = "the rings have one interface")]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the rings have one interface")]
    pub(crate) fn entropy(&mut self, out: &mut [u8]) -> Result<()> {
        entropy::fill(out)
    }

    #[inline]
    pub(crate) fn push(&mut self, op: Op, token: Token) {
        self.push_entry(&entry(op).user_data(token.0));
    }

    #[inline]
    fn push_entry(&mut self, entry: &Entry) {
        if self.fork.is_child() {
            return;
        }
        self.in_flight += 1;
        // SAFETY: the engine keeps what the operation names, K5.
        if unsafe { self.sq.push(entry) }.is_err() {
            self.push_when_full(entry);
        }
    }

    /// Submits to make room; what the kernel leaves in the queue makes this entry wait its turn.
    #[cold]
    fn push_when_full(&mut self, entry: &Entry) {
        if self.backlog.is_empty() {
            let _ = self.submit(0, EnterFlags::empty(), ptr::null(), 0);
        }
        // SAFETY: as in `push_entry`.
        if !self.backlog.is_empty() || unsafe { self.sq.push(entry) }.is_err() {
            self.backlog.push_back(entry.clone());
        }
    }

    pub(crate) fn enter(&mut self, wait: Wait) -> Result<()> {
        if self.fork.is_child() {
            return Err(IoError::Forked);
        }
        let get = EnterFlags::GETEVENTS;
        while !self.backlog.is_empty() {
            let before = self.backlog.len();
            self.submit(0, get, ptr::null(), 0)?;
            if self.backlog.len() == before {
                // The kernel takes nothing until completions have been reaped.
                return Ok(());
            }
        }
        match wait {
            Wait::None => self.submit(0, get, ptr::null(), 0),
            Wait::Forever => self.submit(1, get, ptr::null(), 0),
            Wait::For(ns) => {
                // A time of 0 would still be slept for, tens of microseconds.
                let span = std::time::Duration::from_nanos(ns.max(1));
                let time = Timespec::from(span);
                let args = SubmitArgs::new().timespec(&time);
                let len = size_of_val(&args);
                self.submit(1, get | EnterFlags::EXT_ARG, (&raw const args).cast(), len)
            }
        }
    }

    /// One `io_uring_enter` with all that is queued, and the backlog's turn after it.
    fn submit(
        &mut self,
        min_complete: u32,
        flags: EnterFlags,
        arg: *const libc::c_void,
        arg_len: usize,
    ) -> Result<()> {
        self.sq.sync();
        // SAFETY: the queue's entries name memory that the engine keeps (K5); `arg` is null or a
        // structure of `arg_len` bytes that outlives the call.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                self.enter_fd,
                self.sq.len() as u32,
                min_complete,
                flags.bits() | self.enter_flags,
                arg,
                arg_len,
            )
        };
        let code = if answer < 0 { errno() } else { 0 };
        self.sq.sync();
        while !self.backlog.is_empty() && !self.sq.is_full() {
            if let Some(entry) = self.backlog.pop_front() {
                // SAFETY: as in `push_entry`; there is room.
                let _ = unsafe { self.sq.push(&entry) };
            }
        }
        match code {
            // Interrupted, timed out, or told to reap first: all of them are ordinary.
            0 | libc::EINTR | libc::ETIME | libc::EBUSY | libc::EAGAIN => Ok(()),
            libc::EEXIST => Err(IoError::InvalidArgument {
                what: "thread",
                why: "an Io is polled on the thread that made it",
            }),
            code => Err(uring_error("io_uring_enter", code)),
        }
    }

    #[inline]
    pub(crate) fn has_work(&mut self) -> bool {
        !self.sq.is_empty()
            || !self.cq_status.is_empty()
            || self.sq.taskrun()
            || self.sq.cq_overflow()
            || self.fork.is_child()
    }

    #[inline]
    pub(crate) fn reap(&mut self, into: &mut [Completion]) -> usize {
        if self.fork.is_child() {
            return 0;
        }
        // SAFETY: the only view of the completion queue while it lives.
        let mut queue = unsafe { self.ring.as_ref().completion_shared() };
        let mut count = 0;
        let mut last = 0;
        for (slot, cqe) in into.iter_mut().zip(&mut queue) {
            let flags = cqe.flags();
            *slot = Completion { token: Token(cqe.user_data()), result: cqe.result(), flags };
            last += u64::from(flags & Completion::MORE == 0);
            count += 1;
        }
        self.in_flight -= last;
        count
    }

    pub(crate) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(crate) fn group_register(&mut self, group: u16, entries: u16) -> Result<()> {
        let index = usize::from(group);
        if index >= GROUPS_MAX || self.groups[index].is_some() {
            return Err(IoError::InvalidArgument {
                what: "buffer group",
                why: "its number is below 16 and not in use",
            });
        }
        let made = BufRing::register(&self.ring().submitter(), group, entries)?;
        self.groups[index] = Some(made);
        Ok(())
    }

    #[inline]
    pub(crate) fn group_provide(&mut self, group: u16, bid: u16, ptr: *mut u8, len: u32) {
        if let Some(ring) = &mut self.groups[usize::from(group)] {
            ring.provide(bid, ptr, len);
        }
    }

    #[inline]
    pub(crate) fn group_publish(&mut self, group: u16) {
        if let Some(ring) = &mut self.groups[usize::from(group)] {
            ring.publish();
        }
    }

    pub(crate) fn effective(&mut self) -> Effective {
        self.effective
    }

    pub(crate) fn waker(&mut self) -> Waker {
        Waker::EventFd(Arc::clone(&self.wake))
    }

    pub(crate) fn arm_wake(&mut self) {
        let fd = self.wake.as_raw_fd();
        // A wake-up between the two is seen by the poll.
        socket::event_fd_reset(fd);
        let poll = Op::Poll { sock: Sock::plain(fd), mask: libc::POLLIN as u32, multi: true };
        self.push(poll, Token::new(Tag::Wake, 0, 0));
    }

    /// Cancels everything and waits for it, a second at most. True: the kernel has no operation
    /// left and names no memory. False: the memory of operations must not be freed or used again.
    pub(crate) fn shutdown(&mut self) -> bool {
        match self.is_down {
            Some(answer) => answer,
            None => {
                let answer = !self.fork.is_child() && self.cancel_and_reap();
                if answer && self.effective.fixed_files > 0 {
                    // A socket in the table would stay open for as long as the ring does.
                    let _ = self.ring().submitter().unregister_files();
                }
                self.is_down = Some(answer);
                answer
            }
        }
    }

    fn cancel_and_reap(&mut self) -> bool {
        let start = monotonic_ns();
        let mut next_cancel = start;
        let mut seen = [Completion::EMPTY; 64];
        for _ in 0..SHUTDOWN_ROUNDS_MAX {
            while self.reap(&mut seen) > 0 {}
            if self.in_flight == 0 {
                return true;
            }
            let now = monotonic_ns();
            if now - start >= SHUTDOWN_NS {
                break;
            }
            if now >= next_cancel {
                let all = opcode::AsyncCancel2::new(CancelBuilder::any().all()).build();
                self.push_entry(&all.user_data(Token::IGNORE.0));
                next_cancel = now + SHUTDOWN_CANCEL_NS;
            }
            if self.enter(Wait::For(SHUTDOWN_CANCEL_NS / 2)).is_err() {
                break;
            }
        }
        false
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        let is_child = self.fork.is_child();
        if !is_child {
            self.shutdown();
        }
        for group in self.groups.iter_mut().filter_map(Option::take) {
            // The group's memory goes right after the group; no operation is left to fill a buffer,
            // and one that is finds no group.
            if is_child {
                group.abandon();
            } else {
                // SAFETY: the box is alive.
                group.unregister(&unsafe { self.ring.as_ref() }.submitter());
            }
        }
        if !is_child && self.effective.ring_fd_registered {
            setup::unregister_ring_fd(self.ring(), self.enter_fd);
        }
        // SAFETY: made from a box in `new`; `sq` and `cq_status` are not used any more. Unmapping
        // and closing concern this process alone, also in a child.
        drop(unsafe { Box::from_raw(self.ring.as_ptr()) });
    }
}

/// The submission entry of an operation.
#[inline]
fn entry(op: Op) -> Entry {
    match op {
        Op::RecvMulti { sock, group } => {
            on(sock, opcode::RecvMulti::new(target(sock), group).build())
        }
        Op::RecvOnce { sock, group } => {
            let recv = opcode::Recv::new(target(sock), ptr::null_mut(), 0).buf_group(group);
            on(sock, recv.build().flags(Flags::BUFFER_SELECT))
        }
        Op::Send { sock, ptr, len } => {
            on(sock, opcode::Send::new(target(sock), ptr, len).flags(SEND_FLAGS).build())
        }
        Op::SendMsg { sock, gather, whole } => {
            let send = opcode::SendMsg::new(target(sock), Gather::header(gather));
            let flags = if whole { SEND_FLAGS } else { libc::MSG_NOSIGNAL };
            on(sock, send.flags(flags as u32).build())
        }
        Op::SendZc { sock, ptr, len } => {
            let send = opcode::SendZc::new(target(sock), ptr, len).flags(SEND_FLAGS);
            on(sock, send.zc_flags(ZC_REPORT_USAGE).build())
        }
        Op::SendMsgZc { sock, gather } => {
            let send = opcode::SendMsgZc::new(target(sock), Gather::header(gather));
            on(sock, send.flags(SEND_FLAGS as u32).ioprio(ZC_REPORT_USAGE).build())
        }
        Op::Connect { sock, addr } => {
            // SAFETY: the engine keeps the address until the completion, K5.
            let (ptr, len) = unsafe { ((*addr).as_ptr(), (*addr).len()) };
            on(sock, opcode::Connect::new(target(sock), ptr, len).build())
        }
        Op::Install { fd, slot } => opcode::FilesUpdate::new(fd, 1).offset(slot as i32).build(),
        Op::Poll { sock, mask, multi } => {
            on(sock, opcode::PollAdd::new(target(sock), mask).multi(multi).build())
        }
        Op::Cancel { target } => opcode::AsyncCancel::new(target.0).build(),
        Op::Shutdown { sock, how } => on(sock, opcode::Shutdown::new(target(sock), how).build()),
        Op::CloseFd { fd } => opcode::Close::new(RawFd(fd)).build(),
        Op::CloseSlot { slot, .. } => opcode::Close::new(Fixed(slot)).build(),
    }
}

/// The number of the socket: a descriptor, or a place in the fixed file table when [`on`] says so.
#[inline]
const fn target(sock: Sock) -> RawFd {
    RawFd(if sock.is_fixed() { sock.slot as i32 } else { sock.fd })
}

#[inline]
fn on(sock: Sock, entry: Entry) -> Entry {
    entry.flags(if sock.is_fixed() { Flags::FIXED_FILE } else { Flags::empty() })
}

/// The cold calls: plain system calls, answered at once.
impl Uring {
    pub(crate) fn resolve(
        &mut self,
        host: String,
        port: u16,
        done: resolve::Done,
    ) -> Result<resolve::Found> {
        resolve::start(host, port, done)
    }

    pub(crate) fn tcp_listen(&mut self, config: &TcpListenConfig) -> Result<Fd> {
        tcp::listen(config)
    }

    pub(crate) fn uds_listen(&mut self, config: &UdsListenConfig) -> Result<Fd> {
        uds::listen(config)
    }

    pub(crate) fn accept(&mut self, listener: Fd) -> Result<Option<(Fd, SockAddr)>> {
        socket::accept(listener)
    }

    pub(crate) fn tcp_socket(&mut self, config: &TcpConnectConfig, peer: &SockAddr) -> Result<Fd> {
        tcp::connecting(config, peer)
    }

    pub(crate) fn uds_connect(&mut self, path: &Path) -> Result<Option<Fd>> {
        uds::connect(path)
    }

    pub(crate) fn udp_bind(&mut self, config: &UdpEndpointConfig) -> Result<Fd> {
        udp::bind(config)
    }

    pub(crate) fn import(&mut self, passed: Passed) -> Result<Fd> {
        match passed {
            Passed::Os(fd) => Ok(fd.into_raw_fd()),
            Passed::Sim(_) => Err(super::worlds::ELSEWHERE),
        }
    }

    #[expect(clippy::unused_self, reason = "the rings have one interface")]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the rings have one interface")]
    pub(crate) fn release_brake(&mut self, fd: Fd) {
        brake::release(fd);
    }

    pub(crate) fn export(&mut self, fd: Fd) -> Result<Passed> {
        Ok(Passed::os(fd))
    }

    pub(crate) fn udp_recv(&mut self, fd: Fd, batch: &mut RecvBatch) -> Result<usize> {
        udp::recv(fd, batch)
    }

    pub(crate) fn udp_send(&mut self, fd: Fd, batch: &mut SendBatch) -> Result<usize> {
        udp::send(fd, batch)
    }

    pub(crate) fn multicast(&mut self, fd: Fd, group: &MulticastGroup, join: bool) -> Result<()> {
        udp::multicast(fd, group, join)
    }

    pub(crate) fn local_addr(&mut self, fd: Fd) -> Result<SockAddr> {
        socket::local_addr(fd)
    }

    pub(crate) fn peer_addr(&mut self, fd: Fd) -> Result<SockAddr> {
        socket::peer_addr(fd)
    }

    pub(crate) fn adopt(&mut self, fd: Fd) -> Result<Adopted> {
        socket::adopt(fd)
    }

    pub(crate) fn tcp_info(&mut self, fd: Fd) -> Result<TcpInfo> {
        tcp::info(fd)
    }

    pub(crate) fn peer_cred(&mut self, fd: Fd) -> Result<PeerCred> {
        socket::peer_cred(fd)
    }

    pub(crate) fn recv_buffer_len(&mut self, fd: Fd) -> Result<u32> {
        socket::recv_buffer_len(fd)
    }

    pub(crate) fn linger_zero(&mut self, fd: Fd) -> Result<()> {
        if self.fork.is_child() {
            // The socket is its parent's, too, and so is the option.
            return Err(IoError::Forked);
        }
        socket::linger_zero(fd)
    }

    pub(crate) fn ktls_hand_over(
        &mut self,
        fd: Fd,
        side: ktls::Side,
        key: &ktls::Key<'_>,
    ) -> std::result::Result<(), ktls::Refusal> {
        ktls::hand_over(fd, side, key)
    }

    pub(crate) fn ktls_seq(&mut self, fd: Fd, suite: ktls::Suite) -> Option<u64> {
        ktls::seq(fd, ktls::Side::Tx, suite.cipher).ok()
    }

    pub(crate) fn ktls_send(
        &mut self,
        fd: Fd,
        kind: u8,
        content: &[u8],
    ) -> std::result::Result<(), Errno> {
        ktls::send(fd, kind, content)
    }

    pub(crate) fn ktls_recv(
        &mut self,
        fd: Fd,
        room: &mut [u8],
    ) -> std::result::Result<(u8, usize), Errno> {
        ktls::recv(fd, room)
    }

    pub(crate) fn tcp_handed(&mut self, fd: Fd, exactly: bool) -> Option<u64> {
        if exactly { ktls::handed_exactly(fd) } else { ktls::handed(fd).ok() }
    }

    pub(crate) fn sendfile(&mut self, fd: Fd, file: Fd, at: u64, len: usize) -> i32 {
        file::sendfile(fd, file, at, len)
    }

    pub(crate) fn send_before_file(&mut self, fd: Fd, data: &[u8]) -> i32 {
        file::send_before_file(fd, data)
    }

    pub(crate) fn read_file(&mut self, file: Fd, at: u64, into: &mut [u8]) -> i32 {
        file::read_at(file, at, into)
    }

    pub(crate) fn close_now(&mut self, fd: Fd) {
        socket::close(fd);
    }
}

#[cfg(test)]
#[path = "uring_tests.rs"]
mod tests;
