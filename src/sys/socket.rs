//! Socket calls that all kinds share: make, bind, accept, ask, close.
//!
//! Role: one plain system call each, non-blocking and close-on-exec, with an error that says what
//! to do. Not role: owning the descriptors that are given out; the engine closes them.
//!
//! *Invariant*: a descriptor made here is in a [`NewSocket`] until all of its options have been
//! set, so that no error path leaks it.

use std::net::SocketAddr;

use super::addr::SockAddr;
use super::kernel::fd_error;
use super::sockopt::{Adopted, PeerCred};
use super::{check, errno};
use crate::error::{IoError, Result};
use crate::ids::Protocol;

/// Connections that were reset before they were accepted, which one call passes over.
const ACCEPT_RETRY_MAX: usize = 64;

/// A socket that is closed unless it is handed out.
pub(super) struct NewSocket {
    fd: i32,
}

impl NewSocket {
    pub(super) fn new(family: i32, kind: i32, protocol: i32) -> Result<Self> {
        let kind = kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: the call takes no pointers.
        let fd = unsafe { libc::socket(family, kind, protocol) };
        if fd < 0 { Err(fd_error("socket", errno())) } else { Ok(Self { fd }) }
    }

    pub(super) const fn fd(&self) -> i32 {
        self.fd
    }

    /// Hands it out.
    pub(super) const fn release(self) -> i32 {
        let fd = self.fd;
        std::mem::forget(self);
        fd
    }

    pub(super) fn bind(&self, addr: SocketAddr) -> Result<()> {
        let raw = SockAddr::from(addr);
        // SAFETY: pointer and length describe a whole address, which outlives the call.
        if unsafe { libc::bind(self.fd, raw.as_ptr(), raw.len()) } == 0 {
            return Ok(());
        }
        match errno() {
            libc::EADDRINUSE => Err(IoError::AddrInUse { addr }),
            code => Err(IoError::os("bind", code)),
        }
    }

    pub(super) fn listen(&self, backlog: i32, addr: Option<SocketAddr>) -> Result<()> {
        // SAFETY: the call takes no pointers.
        if unsafe { libc::listen(self.fd, backlog) } == 0 {
            return Ok(());
        }
        // Two sockets may share a port until one of them listens.
        match (errno(), addr) {
            (libc::EADDRINUSE, Some(addr)) => Err(IoError::AddrInUse { addr }),
            (code, _) => Err(IoError::os("listen", code)),
        }
    }

    /// Sets an option that is an `int`.
    pub(super) fn set(
        &self,
        name: &'static str,
        level: i32,
        option: i32,
        value: i32,
    ) -> Result<()> {
        set_option(self.fd, name, level, option, &value)
    }

    /// Sets an option that is a switch, when it is on.
    pub(super) fn switch_on(
        &self,
        name: &'static str,
        level: i32,
        option: i32,
        on: bool,
    ) -> Result<()> {
        if on { self.set(name, level, option, 1) } else { Ok(()) }
    }

    /// `SO_RCVBUF` and `SO_SNDBUF`, beyond the system's limit where the process may.
    pub(super) fn set_buffers(&self, recv: Option<i32>, send: Option<i32>) -> Result<()> {
        let sol = libc::SOL_SOCKET;
        if let Some(bytes) = recv
            && self.set("SO_RCVBUFFORCE", sol, libc::SO_RCVBUFFORCE, bytes).is_err()
        {
            self.set("SO_RCVBUF", sol, libc::SO_RCVBUF, bytes)?;
        }
        if let Some(bytes) = send
            && self.set("SO_SNDBUFFORCE", sol, libc::SO_SNDBUFFORCE, bytes).is_err()
        {
            self.set("SO_SNDBUF", sol, libc::SO_SNDBUF, bytes)?;
        }
        Ok(())
    }
}

impl Drop for NewSocket {
    fn drop(&mut self) {
        close(self.fd);
    }
}

/// A number that must fit an `int` option, from `low` up.
pub(super) fn int(field: &'static str, value: u64, low: u64, range: &'static str) -> Result<i32> {
    match i32::try_from(value) {
        Ok(int) if value >= low => Ok(int),
        _ => Err(IoError::InvalidConfig { field, value, range }),
    }
}

/// The range of buffer sizes and backlogs.
pub(super) const POSITIVE_INT: &str = "1 to 2,147,483,647";

/// The same for an optional field.
pub(super) fn optional_int(field: &'static str, value: Option<u32>) -> Result<Option<i32>> {
    value.map(|value| int(field, u64::from(value), 1, POSITIVE_INT)).transpose()
}

/// Sets an option from a plain value.
pub(crate) fn set_option<T: Copy>(
    fd: i32,
    name: &'static str,
    level: i32,
    option: i32,
    value: &T,
) -> Result<()> {
    let len = size_of::<T>() as u32;
    // SAFETY: pointer and length are those of a value that outlives the call.
    let answer = unsafe { libc::setsockopt(fd, level, option, (&raw const *value).cast(), len) };
    check(name, answer).map(drop)
}

/// Reads an option into `value`; how many bytes the kernel wrote.
pub(super) fn read_option(
    fd: i32,
    name: &'static str,
    level: i32,
    option: i32,
    value: &mut [u8],
) -> Result<usize> {
    let mut len = value.len() as u32;
    // SAFETY: pointer and length are those of a slice that outlives the call.
    let answer =
        unsafe { libc::getsockopt(fd, level, option, value.as_mut_ptr().cast(), &raw mut len) };
    check(name, answer)?;
    Ok(len as usize)
}

/// Reads an option that is an `int`.
pub(super) fn int_option(fd: i32, name: &'static str, level: i32, option: i32) -> Result<i32> {
    let mut bytes = [0; 4];
    read_option(fd, name, level, option, &mut bytes)?;
    Ok(i32::from_ne_bytes(bytes))
}

/// The next connection of a listener, non-blocking, with the peer's address; `None` when there is
/// none.
///
/// # Errors
/// [`IoError::NofileLimit`] when there is no descriptor for it: it waits in the backlog.
pub(crate) fn accept(listener: i32) -> Result<Option<(i32, SockAddr)>> {
    let mut last = 0;
    for _ in 0..ACCEPT_RETRY_MAX {
        let mut peer = SockAddr::EMPTY;
        let mut len = SockAddr::CAPACITY;
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: the address has room for `len` bytes, and both outlive the call.
        let fd = unsafe { libc::accept4(listener, peer.as_mut_ptr(), &raw mut len, flags) };
        if fd >= 0 {
            peer.set_len(len);
            return Ok(Some((fd, peer)));
        }
        last = errno();
        match last {
            libc::EAGAIN => return Ok(None),
            // What befell one connection before it was accepted is no failure of the listener,
            // accept(2).
            libc::ECONNABORTED
            | libc::EINTR
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::ENETUNREACH => {}
            code => return Err(fd_error("accept4", code)),
        }
    }
    Err(IoError::os("accept4", last))
}

type NameCall =
    unsafe extern "C" fn(libc::c_int, *mut libc::sockaddr, *mut libc::socklen_t) -> libc::c_int;

fn name(fd: i32, op: &'static str, call: NameCall) -> Result<SockAddr> {
    let mut addr = SockAddr::EMPTY;
    let mut len = SockAddr::CAPACITY;
    // SAFETY: the address has room for `len` bytes, and both outlive the call.
    let answer = unsafe { call(fd, addr.as_mut_ptr(), &raw mut len) };
    check(op, answer)?;
    addr.set_len(len);
    Ok(addr)
}

/// The socket's own address.
pub(crate) fn local_addr(fd: i32) -> Result<SockAddr> {
    name(fd, "getsockname", libc::getsockname)
}

/// The peer's address.
pub(crate) fn peer_addr(fd: i32) -> Result<SockAddr> {
    name(fd, "getpeername", libc::getpeername)
}

/// What a descriptor from outside is; it is made non-blocking and close-on-exec.
///
/// # Errors
/// [`IoError::InvalidArgument`] when it is not a TCP, UDP or Unix stream socket, or a stream socket
/// that neither listens nor is connected.
pub(crate) fn adopt(fd: i32) -> Result<Adopted> {
    const NO_SOCKET: IoError = IoError::InvalidArgument {
        what: "descriptor",
        why: "it is not a TCP, UDP or Unix stream socket",
    };
    const UNCONNECTED: IoError = IoError::InvalidArgument {
        what: "descriptor",
        why: "this stream socket neither listens nor is connected; do one of them first",
    };
    let ask = |name, option| int_option(fd, name, libc::SOL_SOCKET, option).map_err(|_| NO_SOCKET);
    let kind = ask("SO_TYPE", libc::SO_TYPE)?;
    let family = ask("SO_DOMAIN", libc::SO_DOMAIN)?;
    let protocol = ask("SO_PROTOCOL", libc::SO_PROTOCOL)?;
    let is_ip = family == libc::AF_INET || family == libc::AF_INET6;
    let adopted = match (kind, protocol) {
        (libc::SOCK_DGRAM, libc::IPPROTO_UDP) if is_ip => Adopted::Datagram,
        (libc::SOCK_STREAM, _) => {
            let protocol = match (family, protocol) {
                (libc::AF_UNIX, _) => Protocol::Uds,
                (_, libc::IPPROTO_TCP) if is_ip => Protocol::Tcp,
                _ => return Err(NO_SOCKET),
            };
            if ask("SO_ACCEPTCONN", libc::SO_ACCEPTCONN)? != 0 {
                Adopted::Listener(protocol)
            } else if peer_addr(fd).is_ok() {
                Adopted::Stream(protocol)
            } else {
                return Err(UNCONNECTED);
            }
        }
        _ => return Err(NO_SOCKET),
    };
    // SAFETY: the call takes no pointers.
    let flags = check("fcntl(F_GETFL)", unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
    // SAFETY: the call takes no pointers.
    let set = unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) };
    check("fcntl(F_SETFL)", set)?;
    // SAFETY: the call takes no pointers.
    let set = unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    check("fcntl(F_SETFD)", set)?;
    Ok(adopted)
}

/// `SO_PEERCRED`.
pub(crate) fn peer_cred(fd: i32) -> Result<PeerCred> {
    let mut bytes = [0; 12];
    read_option(fd, "SO_PEERCRED", libc::SOL_SOCKET, libc::SO_PEERCRED, &mut bytes)?;
    let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    Ok(PeerCred {
        pid: i32::from_ne_bytes(word(0)),
        uid: u32::from_ne_bytes(word(4)),
        gid: u32::from_ne_bytes(word(8)),
    })
}

/// The size of the receive buffer that the kernel really gave, in bytes of payload and bookkeeping.
pub(crate) fn recv_buffer_len(fd: i32) -> Result<u32> {
    int_option(fd, "SO_RCVBUF", libc::SOL_SOCKET, libc::SO_RCVBUF).map(|len| len.max(0) as u32)
}

/// With linger 0 the close is a reset, RFC 9293 §3.10.7.
pub(crate) fn linger_zero(fd: i32) -> Result<()> {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    set_option(fd, "SO_LINGER", libc::SOL_SOCKET, libc::SO_LINGER, &linger)
}

/// Whether an address can be had without sharing it: by a socket that is bound to it for a moment.
///
/// # Errors
/// [`IoError::AddrInUse`] when another socket has it, though it might share it; `Os` as bind(2).
pub(crate) fn is_free(addr: SocketAddr, is_datagram: bool, dual_stack: bool) -> Result<()> {
    let kind = if is_datagram { libc::SOCK_DGRAM } else { libc::SOCK_STREAM };
    let socket = NewSocket::new(SockAddr::from(addr).family(), kind, 0)?;
    // Connections in TIME-WAIT do not hold a TCP address. Among UDP sockets the option would share.
    socket.switch_on("SO_REUSEADDR", libc::SOL_SOCKET, libc::SO_REUSEADDR, !is_datagram)?;
    if addr.is_ipv6() {
        let only = i32::from(!dual_stack);
        socket.set("IPV6_V6ONLY", libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, only)?;
    }
    socket.bind(addr)
}

/// Closes a descriptor that the caller owns.
pub(crate) fn close(fd: i32) {
    // Linux has given the number up even when it answers EINTR, close(2): never again.
    // SAFETY: the call takes no pointers; the caller owns the descriptor.
    unsafe { libc::close(fd) };
}

/// An eventfd, non-blocking.
pub(crate) fn event_fd() -> Result<std::os::fd::OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: the call takes no pointers.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(fd_error("eventfd", errno()));
    }
    // SAFETY: the descriptor was just made and has no other owner.
    Ok(unsafe { std::os::fd::OwnedFd::from_raw_fd(fd) })
}

/// Sets an eventfd back to 0.
pub(crate) fn event_fd_reset(fd: i32) {
    let mut count = [0_u8; 8];
    // SAFETY: pointer and length are those of a local array.
    let _ = unsafe { libc::read(fd, count.as_mut_ptr().cast(), count.len()) };
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;

    use super::*;
    use crate::sys::subprocess;

    #[test]
    fn hazard_37_without_descriptors_the_connection_stays_in_the_backlog() {
        let name =
            "sys::socket::tests::hazard_37_without_descriptors_the_connection_stays_in_the_backlog";
        subprocess::run(name, || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut spare = vec![event_fd().unwrap()];
            subprocess::set_limit(libc::RLIMIT_NOFILE, 32, 32);
            let full = loop {
                match event_fd() {
                    Ok(fd) => spare.push(fd),
                    Err(error) => break error,
                }
            };
            assert_eq!(full, IoError::NofileLimit { syscall: "eventfd", limit: 32 });
            let fd = listener.as_raw_fd();
            let expected = IoError::NofileLimit { syscall: "accept4", limit: 32 };
            assert_eq!(accept(fd), Err(expected));
            spare.clear();
            let (conn, _) = accept(fd).unwrap().unwrap();
            close(conn);
            assert_eq!(accept(fd), Ok(None));
        });
    }

    #[test]
    fn what_is_no_socket_is_refused() {
        let event = event_fd().unwrap();
        for fd in [event.as_raw_fd(), -1] {
            assert!(matches!(adopt(fd), Err(IoError::InvalidArgument { .. })));
        }
        assert!(local_addr(-1).is_err() && peer_addr(-1).is_err() && peer_cred(-1).is_err());
    }

    #[test]
    fn an_error_while_making_a_socket_closes_it() {
        let before = std::fs::read_dir("/proc/self/fd").unwrap().count();
        for _ in 0..64 {
            let socket = NewSocket::new(libc::AF_INET, libc::SOCK_STREAM, 0).unwrap();
            assert!(socket.set("test", libc::SOL_SOCKET, -1, 1).is_err());
        }
        // Other tests open and close descriptors meanwhile, but not 64 of them at once.
        let after = std::fs::read_dir("/proc/self/fd").unwrap().count();
        assert!(after < before + 64, "{before} then {after}");
    }
}
