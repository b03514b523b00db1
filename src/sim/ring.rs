//! The simulated ring: what `Ring::Sim` forwards to.
//!
//! Role: the methods of the backend, each one borrow of the world. Not role: any behaviour.
//!
//! *Invariant*: no method calls back into the engine, so that the borrow is never taken twice.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::fault::Fault;
use super::file::{Addr, FileId, Kind, Listener, Stream};
use super::kernel::Kernel;
use super::node::{Buffer, OpRef};
use super::ports::{ELSEWHERE, SimPassed};
use super::trace::What;
use crate::config::{
    Effective, HugePages, MulticastGroup, TcpConnectConfig, TcpListenConfig, UdpEndpointConfig,
    UdsListenConfig,
};
use crate::error::{Errno, IoError, Result};
use crate::ids::Protocol;
use crate::ring::op::{Completion, Fd, Op, Token, Wait};
use crate::ring::ports::Passed;
use crate::rng::Rng;
use crate::sys::addr::{SockAddr, UnixAddr};
use crate::sys::batch::{RecvBatch, SendBatch};
use crate::sys::file;
use crate::sys::ktls;
use crate::sys::resolve::{Done, Found};
use crate::sys::sockopt::{Adopted, PeerCred, TcpInfo};
use crate::sys::steer::asm::Insn;
use crate::sys::wake::Waker;
use crate::time::Time;

/// `somaxconn`.
const BACKLOG_MAX: u32 = 4096;
/// Bytes of a file that one call sends at most.
const FILE_READ_MAX: usize = 1 << 18;
/// Keeps entropy apart from the other uses of a seed.
const ENTROPY_SALT: u64 = 0x51c6_d3f8_0a97_e42b;
/// What the simulated peers say of themselves.
const CREDENTIALS: PeerCred = PeerCred { pid: 1, uid: 1000, gid: 1000 };

/// One node's ring.
pub(crate) struct SimRing {
    kernel: Rc<RefCell<Kernel>>,
    node: usize,
    /// What nobody could guess.
    entropy: Rng,
}

impl SimRing {
    pub(super) const fn new(kernel: Rc<RefCell<Kernel>>, node: usize, seed: u64) -> Self {
        let entropy = Rng::from_seed(seed.wrapping_add(ENTROPY_SALT).wrapping_add(node as u64));
        Self { kernel, node, entropy }
    }

    /// The number of the node, from 0.
    #[cfg(test)]
    pub(crate) const fn node(&self) -> usize {
        self.node
    }

    /// One cold call that can fail: counted, traced, and failed if a test asked for it.
    fn call<T>(
        &mut self,
        name: &'static str,
        run: impl FnOnce(&mut Kernel, usize) -> Result<T, i32>,
        shown: impl FnOnce(&T) -> i64,
    ) -> Result<T> {
        let kernel = &mut *self.kernel.borrow_mut();
        let result = match kernel.forced_failure(name) {
            Some(errno) => Err(errno),
            None => run(kernel, self.node),
        };
        kernel.called(self.node, name, result, shown)
    }

    /// The same for calls about a file.
    fn call_on<T>(
        &mut self,
        name: &'static str,
        fd: Fd,
        run: impl FnOnce(&mut Kernel, FileId) -> Result<T, i32>,
        shown: impl FnOnce(&T) -> i64,
    ) -> Result<T> {
        self.call(
            name,
            |kernel, node| {
                let file = kernel.fd_file(node, fd, name)?;
                run(kernel, file)
            },
            shown,
        )
    }

    // ---- the ring proper

    #[inline(never)]
    pub(crate) fn now(&mut self) -> Time {
        Time::from_nanos(self.kernel.borrow_mut().clock_ns())
    }

    /// The world began at the first second of 2026.
    pub(crate) fn wall_secs(&mut self) -> u64 {
        1_767_225_600 + self.kernel.borrow_mut().clock_ns() / 1_000_000_000
    }

    /// Any moment will do: only differences count.
    #[expect(clippy::unused_self, reason = "the rings have one interface")]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the rings have one interface")]
    pub(crate) fn instant_base(&mut self) -> std::time::Instant {
        crate::sys::clock::instant_base()
    }

    /// From a generator of its own, so that whoever draws nothing changes nothing.
    pub(crate) fn entropy(&mut self, out: &mut [u8]) -> Result<()> {
        for chunk in out.chunks_mut(8) {
            let word = self.entropy.u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }

    #[inline(never)]
    pub(crate) fn push(&mut self, op: Op, token: Token) {
        let kernel = &mut *self.kernel.borrow_mut();
        if kernel.nodes[self.node].sq.len() >= kernel.faults.shape.sq_entries as usize {
            kernel.submit(self.node, usize::MAX);
        }
        kernel.nodes[self.node].sq.push_back((op, token));
    }

    #[expect(clippy::unnecessary_wraps, reason = "every backend has this shape")]
    #[inline(never)]
    pub(crate) fn enter(&mut self, wait: Wait) -> Result<()> {
        self.kernel.borrow_mut().enter(self.node, wait);
        Ok(())
    }

    #[inline(never)]
    pub(crate) fn has_work(&mut self) -> bool {
        self.kernel.borrow().has_work(self.node)
    }

    #[inline(never)]
    pub(crate) fn reap(&mut self, into: &mut [Completion]) -> usize {
        self.kernel.borrow_mut().reap(self.node, into)
    }

    // ---- provided buffers

    #[inline(never)]
    pub(crate) fn group_register(&mut self, group: u16, entries: u16) -> Result<()> {
        let kernel = &mut *self.kernel.borrow_mut();
        let result = kernel.group_register(self.node, group, entries);
        kernel.called(self.node, "register_buf_ring", result, |()| i64::from(entries))
    }

    #[inline(never)]
    pub(crate) fn group_provide(&mut self, group: u16, bid: u16, ptr: *mut u8, len: u32) {
        self.kernel.borrow_mut().group_provide(self.node, group, Buffer { bid, ptr, len });
    }

    #[inline(never)]
    pub(crate) fn group_publish(&mut self, group: u16) {
        self.kernel.borrow_mut().group_publish(self.node, group);
    }

    // ---- facts

    #[inline(never)]
    pub(crate) fn effective(&mut self) -> Effective {
        let shape = self.kernel.borrow().faults.shape;
        Effective {
            backend: "sim",
            kernel: None,
            sq_entries: shape.sq_entries,
            cq_entries: shape.cq_entries,
            defer_taskrun: true,
            no_sqarray: false,
            ring_fd_registered: false,
            fixed_files: self.kernel.borrow().nodes[self.node].slot_count,
            zero_copy_send: shape.zero_copy,
            huge_pages: HugePages::None,
        }
    }

    #[inline(never)]
    pub(crate) fn waker(&mut self) -> Waker {
        Waker::Flag(Arc::clone(&self.kernel.borrow().nodes[self.node].wake_flag))
    }

    #[inline(never)]
    pub(crate) fn arm_wake(&mut self) {
        self.kernel.borrow_mut().arm_wake(self.node);
    }

    /// Cancels everything and waits for it; whether all memory came home (K5, K24).
    #[inline(never)]
    pub(crate) fn shutdown(&mut self) -> bool {
        self.kernel.borrow_mut().shutdown_ring(self.node)
    }

    /// From the world's own table. There is no other thread: the answer is there at once, or an
    /// event of the world.
    #[inline(never)]
    pub(crate) fn resolve(&mut self, host: String, port: u16, done: Done) -> Result<Found> {
        let run = |kernel: &mut Kernel, _| kernel.look_up(&host, port);
        let found = self.call("resolve", run, |found: &Vec<SocketAddr>| found.len() as i64)?;
        Ok(self.kernel.borrow_mut().answer(found, done))
    }

    // ---- sockets

    #[inline(never)]
    pub(crate) fn tcp_listen(&mut self, config: &TcpListenConfig) -> Result<Fd> {
        let (wanted, shared) = (config.addr, config.reuseport);
        let run = |kernel: &mut Kernel, node| {
            kernel.socket_fault()?;
            let listener = kernel.listener(config.backlog, config.send_buffer, config.recv_buffer);
            kernel.listen_ip(node, wanted, listener, shared, config.dual_stack)
        };
        self.call("listen", run, |fd| (*fd).into()).map_err(|error| in_use(error, wanted))
    }

    #[inline(never)]
    pub(crate) fn uds_listen(&mut self, config: &UdsListenConfig) -> Result<Fd> {
        UnixAddr::new(&config.path)?;
        let name = config.path.as_os_str().as_bytes();
        let run = |kernel: &mut Kernel, node| {
            kernel.socket_fault()?;
            let mut listener = kernel.listener(config.backlog, None, None);
            listener.unix_name = Some(name.to_vec());
            kernel.listen_unix(node, name, listener)
        };
        self.call("listen", run, |fd| (*fd).into()).map_err(|error| match error {
            // A name that is taken is bind(2)'s answer.
            IoError::Os { errno, .. } if errno.0 == libc::EADDRINUSE => {
                IoError::os("bind", errno.0)
            }
            other => other,
        })
    }

    #[inline(never)]
    pub(crate) fn import(&mut self, passed: Passed) -> Result<Fd> {
        match passed {
            Passed::Sim(passed) => passed.arrive(&self.kernel, self.node),
            Passed::Os(_) => Err(ELSEWHERE),
        }
    }

    /// What a braked listener accepts has no brake here.
    pub(crate) const fn release_brake(&mut self, _: Fd) {}

    #[inline(never)]
    #[expect(clippy::unnecessary_wraps, reason = "the rings have one interface")]
    pub(crate) fn export(&mut self, fd: Fd) -> Result<Passed> {
        Ok(Passed::Sim(SimPassed::new(&self.kernel, self.node, fd)))
    }

    /// Another descriptor of the same socket.
    pub(super) fn dup(&mut self, fd: Fd) -> Result<Fd> {
        let run = |kernel: &mut Kernel, node: usize| {
            kernel.socket_fault()?;
            if kernel.nodes[node].fd_count() >= kernel.faults.shape.fd_count_max as usize {
                return Err(libc::EMFILE);
            }
            let file = kernel.fd_file(node, fd, "dup")?;
            kernel.hold(file);
            Ok(kernel.nodes[node].fd_insert(file))
        };
        self.call("dup", run, |fd| (*fd).into())
    }

    /// Whether nobody is bound there.
    pub(super) fn is_free(&mut self, addr: SocketAddr, is_udp: bool) -> Result<()> {
        let run = |kernel: &mut Kernel, _| kernel.free_addr(addr, is_udp, false).map(drop);
        self.call("bind", run, |()| 0).map_err(|error| in_use(error, addr))
    }

    /// Has a program choose among the sockets that share the address of this one.
    pub(super) fn attach(&mut self, fd: Fd, program: &[Insn]) -> Result<()> {
        let run = |kernel: &mut Kernel, file| kernel.attach(file, program);
        self.call_on("setsockopt(SO_ATTACH_REUSEPORT_CBPF)", fd, run, |()| 0)
    }

    /// From now on a listener takes nothing new.
    pub(super) fn brake(&mut self, fd: Fd) -> Result<()> {
        let run = |kernel: &mut Kernel, file| match kernel.files.listener_mut(file) {
            Some(listener) => {
                listener.is_braked = true;
                Ok(())
            }
            None => Err(libc::EINVAL),
        };
        self.call_on("setsockopt(SO_ATTACH_FILTER)", fd, run, |()| 0)
    }

    #[inline(never)]
    pub(crate) fn accept(&mut self, listener: Fd) -> Result<Option<(Fd, SockAddr)>> {
        let kernel = &mut *self.kernel.borrow_mut();
        let result = match kernel.forced_failure("accept4") {
            Some(errno) => kernel.accept_fails(self.node, listener, errno),
            None => kernel.accept(self.node, listener),
        };
        let shown = |got: &Option<(Fd, Addr)>| got.as_ref().map_or(-1, |(fd, _)| (*fd).into());
        let got = kernel.called(self.node, "accept4", result, shown)?;
        Ok(got.map(|(fd, addr)| (fd, sock_addr(&addr))))
    }

    #[inline(never)]
    pub(crate) fn tcp_socket(&mut self, config: &TcpConnectConfig, peer: &SockAddr) -> Result<Fd> {
        let any = if peer.is_v4_on_the_wire() { "0.0.0.0:0" } else { "[::]:0" };
        let any = any.parse::<SocketAddr>().unwrap_or_else(|_| ([0, 0, 0, 0], 0).into());
        let local = config.bind.unwrap_or(any);
        let run = |kernel: &mut Kernel, node| {
            kernel.socket_fault()?;
            let shape = kernel.faults.shape;
            let local =
                if local.port() == 0 { local } else { kernel.free_addr(local, false, false)? };
            let send_len = config.send_buffer.unwrap_or(shape.send_buffer_len);
            let recv_len = config.recv_buffer.unwrap_or(shape.recv_buffer_len);
            kernel.open(node, Kind::Stream(Stream::new(false, Addr::Ip(local), send_len, recv_len)))
        };
        self.call("socket", run, |fd| (*fd).into()).map_err(|error| in_use(error, local))
    }

    #[inline(never)]
    pub(crate) fn uds_connect(&mut self, path: &Path) -> Result<Option<Fd>> {
        UnixAddr::new(path)?;
        let name = path.as_os_str().as_bytes();
        let run = |kernel: &mut Kernel, node| {
            kernel.socket_fault()?;
            kernel.connect_unix(node, name)
        };
        self.call("connect", run, |fd| fd.map_or(-1, i64::from))
    }

    #[inline(never)]
    pub(crate) fn udp_bind(&mut self, config: &UdpEndpointConfig) -> Result<Fd> {
        let run = |kernel: &mut Kernel, node| {
            kernel.socket_fault()?;
            kernel.udp_bind(node, config)
        };
        self.call("bind", run, |fd| (*fd).into()).map_err(|error| in_use(error, config.bind))
    }

    #[inline(never)]
    pub(crate) fn udp_recv(&mut self, fd: Fd, batch: &mut RecvBatch) -> Result<usize> {
        let run = |kernel: &mut Kernel, file| kernel.udp_recv(file, batch);
        self.call_on("recvmmsg", fd, run, |count| *count as i64)
    }

    #[inline(never)]
    pub(crate) fn udp_send(&mut self, fd: Fd, batch: &mut SendBatch) -> Result<usize> {
        let run = |kernel: &mut Kernel, file| kernel.udp_send(file, batch);
        self.call_on("sendmmsg", fd, run, |count| *count as i64)
    }

    #[inline(never)]
    pub(crate) fn multicast(&mut self, fd: Fd, group: &MulticastGroup, join: bool) -> Result<()> {
        let run = |kernel: &mut Kernel, file| kernel.udp_member(file, group, join);
        self.call_on("setsockopt", fd, run, |()| 0)
    }

    #[inline(never)]
    pub(crate) fn local_addr(&mut self, fd: Fd) -> Result<SockAddr> {
        let run = |kernel: &mut Kernel, file| kernel.local_addr(file);
        self.call_on("getsockname", fd, run, |_| 0)
    }

    #[inline(never)]
    pub(crate) fn peer_addr(&mut self, fd: Fd) -> Result<SockAddr> {
        let run = |kernel: &mut Kernel, file| match kernel.files.stream(file) {
            Some(s) => s.remote.as_ref().map(sock_addr).ok_or(libc::ENOTCONN),
            None => Err(libc::ENOTCONN),
        };
        self.call_on("getpeername", fd, run, |_| 0)
    }

    #[inline(never)]
    pub(crate) fn adopt(&mut self, fd: Fd) -> Result<Adopted> {
        let run = |kernel: &mut Kernel, file| match kernel.files.get(file).map(|file| &file.kind) {
            Some(Kind::Listener(l)) => Ok(Adopted::Listener(protocol(l.unix_name.is_some()))),
            Some(Kind::Stream(s)) => Ok(Adopted::Stream(protocol(s.is_unix))),
            Some(Kind::Udp(_)) => Ok(Adopted::Datagram),
            _ => Err(libc::ENOTSOCK),
        };
        self.call_on("getsockopt", fd, run, |_| 0)
    }

    #[inline(never)]
    pub(crate) fn tcp_info(&mut self, fd: Fd) -> Result<TcpInfo> {
        let run = |kernel: &mut Kernel, file| {
            let rtt_us = (kernel.faults.shape.latency_min_ns / 500) as u32;
            let now_ns = kernel.now_ns;
            let Some(s) = kernel.files.stream(file).filter(|s| !s.is_unix) else {
                return Err(libc::EOPNOTSUPP);
            };
            Ok(TcpInfo {
                rtt_us,
                rtt_min_us: rtt_us,
                cwnd_packets: 10,
                mss: 1460,
                bytes_sent: s.bytes_sent,
                bytes_acked: s.bytes_sent - s.outbound.len() as u64,
                sent_ago: Duration::from_nanos(now_ns - s.sent_at_ns),
                bytes_received: s.bytes_received,
                ..TcpInfo::default()
            })
        };
        self.call_on("getsockopt", fd, run, |_| 0)
    }

    #[inline(never)]
    pub(crate) fn peer_cred(&mut self, fd: Fd) -> Result<PeerCred> {
        let run = |kernel: &mut Kernel, file| match kernel.files.stream(file) {
            Some(s) if s.is_unix => Ok(CREDENTIALS),
            _ => Err(libc::EOPNOTSUPP),
        };
        self.call_on("getsockopt", fd, run, |_| 0)
    }

    #[inline(never)]
    pub(crate) fn recv_buffer_len(&mut self, fd: Fd) -> Result<u32> {
        let run = |kernel: &mut Kernel, _| Ok(kernel.faults.shape.recv_buffer_len);
        self.call_on("getsockopt", fd, run, |len| (*len).into())
    }

    /// The simulated kernel has no TLS.
    pub(crate) fn ktls_hand_over(
        &mut self,
        _: Fd,
        _: ktls::Side,
        _: &ktls::Key<'_>,
    ) -> std::result::Result<(), ktls::Refusal> {
        Err(ktls::Refusal::NoModule)
    }

    pub(crate) fn ktls_seq(&mut self, _: Fd, _: ktls::Suite) -> Option<u64> {
        None
    }

    pub(crate) fn ktls_send(&mut self, _: Fd, _: u8, _: &[u8]) -> std::result::Result<(), Errno> {
        Err(Errno(libc::EOPNOTSUPP))
    }

    pub(crate) fn ktls_recv(
        &mut self,
        _: Fd,
        _: &mut [u8],
    ) -> std::result::Result<(u8, usize), Errno> {
        Err(Errno(libc::EOPNOTSUPP))
    }

    pub(crate) fn tcp_handed(&mut self, _: Fd, _: bool) -> Option<u64> {
        None
    }

    #[inline(never)]
    pub(crate) fn linger_zero(&mut self, fd: Fd) -> Result<()> {
        let run = |kernel: &mut Kernel, file| match kernel.files.stream_mut(file) {
            Some(s) => {
                s.linger_zero = true;
                Ok(())
            }
            None => Err(libc::ENOTSOCK),
        };
        self.call_on("setsockopt", fd, run, |()| 0)
    }

    #[inline(never)]
    pub(crate) fn sendfile(&mut self, fd: Fd, file: Fd, at: u64, len: usize) -> i32 {
        let mut data = vec![0; len.min(FILE_READ_MAX)];
        let read = file::read_at(file, at, &mut data);
        match usize::try_from(read) {
            Ok(0) | Err(_) => read,
            Ok(len) => self.send_at_once("sendfile", fd, &data[..len]),
        }
    }

    #[inline(never)]
    pub(crate) fn send_before_file(&mut self, fd: Fd, data: &[u8]) -> i32 {
        self.send_at_once("send", fd, data)
    }

    /// Files are those of the system: what a test wrote to them.
    #[inline(never)]
    pub(crate) fn read_file(&mut self, file: Fd, at: u64, into: &mut [u8]) -> i32 {
        let kernel = &mut *self.kernel.borrow_mut();
        let short = kernel.hit(Fault::SendShort);
        let len =
            if short { kernel.between(1, into.len().max(1) as u64) as usize } else { into.len() };
        let read = file::read_at(file, at, &mut into[..len]);
        kernel.trace(self.node, What::Call("pread", read.into()));
        read
    }

    /// A send that does not wait; answers as a completion.
    fn send_at_once(&mut self, name: &'static str, fd: Fd, data: &[u8]) -> i32 {
        let kernel = &mut *self.kernel.borrow_mut();
        let sent = match kernel.fd_file(self.node, fd, name) {
            _ if data.is_empty() => 0,
            Ok(id) => kernel.send_at_once(self.node, name, id, data),
            Err(errno) => -errno,
        };
        kernel.trace(self.node, What::Call(name, sent.into()));
        sent
    }

    #[inline(never)]
    pub(crate) fn close_now(&mut self, fd: Fd) {
        let kernel = &mut *self.kernel.borrow_mut();
        match kernel.nodes[self.node].fd_remove(fd) {
            Some(file) => {
                let is_own = |op: &OpRef| op.node == self.node;
                let busy = kernel.files.get(file).is_some_and(|f| f.waiters.iter().any(is_own));
                if busy {
                    kernel.violation(self.node, format!("K11: close_now of {fd}, which is in use"));
                }
                kernel.release(file);
            }
            None => kernel.violation(self.node, format!("K11: close_now of {fd}, which is closed")),
        }
        kernel.trace(self.node, What::Call("close", fd.into()));
    }
}

impl Drop for SimRing {
    fn drop(&mut self) {
        self.kernel.borrow_mut().close_ring(self.node);
    }
}

impl Kernel {
    fn socket_fault(&mut self) -> Result<(), i32> {
        if self.hit(Fault::SocketError) {
            let all = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
            return Err(self.pick(&all));
        }
        Ok(())
    }

    fn listener(&self, backlog: u32, send_len: Option<u32>, recv_len: Option<u32>) -> Listener {
        let shape = self.faults.shape;
        Listener {
            local: Addr::Unix,
            backlog: std::collections::VecDeque::new(),
            half_open_count: 0,
            backlog_max: backlog.min(BACKLOG_MAX),
            shut: false,
            is_braked: false,
            send_len: send_len.unwrap_or(shape.send_buffer_len),
            recv_len: recv_len.unwrap_or(shape.recv_buffer_len),
            unix_name: None,
        }
    }

    fn local_addr(&mut self, id: FileId) -> Result<SockAddr, i32> {
        match self.files.get(id).map(|file| &file.kind) {
            Some(Kind::Stream(s)) => Ok(sock_addr(&s.local)),
            Some(Kind::Listener(l)) => Ok(sock_addr(&l.local)),
            Some(Kind::Udp(udp)) => Ok(udp.local.into()),
            _ => Err(libc::ENOTSOCK),
        }
    }
}

fn sock_addr(addr: &Addr) -> SockAddr {
    match addr {
        Addr::Ip(addr) => (*addr).into(),
        Addr::Unix => SockAddr::unix(),
    }
}

const fn protocol(is_unix: bool) -> Protocol {
    if is_unix { Protocol::Uds } else { Protocol::Tcp }
}

/// The address belongs into the error.
fn in_use(error: IoError, addr: SocketAddr) -> IoError {
    match error {
        IoError::Os { errno, .. } if errno.0 == libc::EADDRINUSE => IoError::AddrInUse { addr },
        other => other,
    }
}
