//! The brake: a listener that takes nothing new, and finishes what has begun.
//!
//! Role: two system calls. Not role: when, and what becomes of the backlog.
//!
//! A listener that is closed resets who is in its backlog, and whose handshake is about to end. So
//! a filter drops SYNs first: who sent one tries again a second later, and finds whoever has the
//! address then. Handshakes under way go on, and the backlog is accepted. What such handshakes make
//! inherits the filter: [`release`] takes it off.

use super::check;
use super::socket::set_option;
use super::steer::asm::{Alu, Asm, Classic, Test, Width};
use crate::error::Result;

/// Drops segments with SYN and without ACK; `tcp[13]` is the flags (RFC 9293 §3.1).
fn no_syn() -> Classic {
    const SYN: u32 = 0x02;
    const SYN_OR_ACK: u32 = 0x12;
    const WHOLE: u32 = u32::MAX;
    let mut asm = Asm::default();
    let pass = asm.label();
    asm.load(Width::Byte, 13);
    asm.alu(Alu::And, SYN_OR_ACK);
    asm.unless(Test::Equal, SYN, pass);
    asm.answer(0);
    asm.here(pass);
    asm.answer(WHOLE);
    asm.finish()
}

/// A TCP listener drops what would begin a connection.
pub(crate) fn tcp(fd: i32) -> Result<()> {
    let filter = no_syn();
    let (sol, option) = (libc::SOL_SOCKET, libc::SO_ATTACH_FILTER);
    set_option(fd, "SO_ATTACH_FILTER", sol, option, &filter.for_kernel())
}

/// A Unix listener refuses who connects. Its backlog can still be accepted.
pub(crate) fn uds(fd: i32) -> Result<()> {
    // SAFETY: the call takes no pointers.
    check("shutdown", unsafe { libc::shutdown(fd, libc::SHUT_RD) }).map(drop)
}

/// A connection that a braked listener accepted drops nothing.
pub(crate) fn release(fd: i32) {
    // Without a filter it says ENOENT; on a Unix socket there is none.
    let _ = set_option(fd, "SO_DETACH_FILTER", libc::SOL_SOCKET, libc::SO_DETACH_FILTER, &0_i32);
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::time::Duration;

    use super::*;

    const SHORT: Duration = Duration::from_millis(300);

    #[test]
    fn a_braked_tcp_listener_keeps_its_backlog_and_takes_nothing_new() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(any).unwrap();
            let addr: SocketAddr = listener.local_addr().unwrap();
            let mut early = TcpStream::connect(addr).unwrap();
            tcp(listener.as_raw_fd()).unwrap();
            let late = TcpStream::connect_timeout(&addr, SHORT).unwrap_err();
            assert_eq!(late.kind(), ErrorKind::TimedOut, "neither accepted nor refused");
            let (mut accepted, _) = listener.accept().unwrap();
            release(accepted.as_raw_fd());
            drop(listener);
            early.write_all(b"x").unwrap();
            accepted.read_exact(&mut [0]).unwrap();
            let after = TcpStream::connect_timeout(&addr, SHORT).unwrap_err();
            assert_eq!(after.kind(), ErrorKind::ConnectionRefused);
        }
    }

    #[test]
    fn a_braked_unix_listener_keeps_its_backlog_and_refuses() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("zero-io-brake-{}", std::process::id());
        let addr = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&addr).unwrap();
        let mut early = UnixStream::connect_addr(&addr).unwrap();
        uds(listener.as_raw_fd()).unwrap();
        let late = UnixStream::connect_addr(&addr).unwrap_err();
        assert_eq!(late.kind(), ErrorKind::ConnectionRefused);
        let (mut accepted, _) = listener.accept().unwrap();
        release(accepted.as_raw_fd());
        early.write_all(b"x").unwrap();
        accepted.read_exact(&mut [0]).unwrap();
    }
}
