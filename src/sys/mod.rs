//! The system underneath: memory, addresses, sockets, facts about the kernel.
//!
//! Role: the only users of `libc`, together with the ring. Not role: any decision of the engine.
//!
//! *Invariant*: whatever a function here opens is closed on each of its error paths.

pub(crate) mod addr;
pub(crate) mod affinity;
pub(crate) mod batch;
pub(crate) mod brake;
pub(crate) mod clock;
pub(crate) mod cmsg;
pub(crate) mod control;
pub(crate) mod entropy;
pub(crate) mod file;
pub(crate) mod gather;
pub(crate) mod kernel;
pub(crate) mod ktls;
pub(crate) mod mem;
pub(crate) mod park;
pub(crate) mod resolve;
pub(crate) mod signal;
pub(crate) mod socket;
pub(crate) mod sockopt;
pub(crate) mod steer;
#[cfg(test)]
pub(crate) mod subprocess;
pub(crate) mod tcp;
pub(crate) mod udp;
pub(crate) mod uds;
pub(crate) mod wake;

use crate::error::{IoError, Result};

/// The calling thread's `errno`.
pub(crate) fn errno() -> i32 {
    // SAFETY: the location is the calling thread's own and always valid.
    unsafe { *libc::__errno_location() }
}

/// The answer of a system call that says -1 on failure.
pub(crate) fn check(op: &'static str, answer: i32) -> Result<i32> {
    if answer < 0 { Err(IoError::os(op, errno())) } else { Ok(answer) }
}

/// The error numbers that the engine tells apart.
pub(crate) mod errno {
    pub(crate) use libc::{
        EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EBADMSG, ECANCELED, ECONNREFUSED, EINTR, EINVAL, EIO,
        EKEYEXPIRED, EMFILE, EMSGSIZE, ENOBUFS, ENOMEM, ENOPROTOOPT, ENOSYS, EOPNOTSUPP, EPERM,
        EPIPE,
    };
}

pub(crate) use libc::{SHUT_RDWR, SHUT_WR};

/// `poll(2)` masks as operations take them.
pub(crate) const POLLIN: u32 = libc::POLLIN as u32;
/// As above.
pub(crate) const POLLOUT: u32 = libc::POLLOUT as u32;

/// Writes to the standard error, for what is said while a thread panics.
pub(crate) fn write_stderr(text: &str) {
    use std::io::Write as _;
    // Nothing can be done when the standard error is closed.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
