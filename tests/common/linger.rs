//! Ends of sockets that are resets.

use std::os::fd::AsRawFd;

/// Makes the coming close of a socket a reset, RFC 9293 §3.10.7: `SO_LINGER` of zero.
pub(crate) fn linger_zero(stream: &impl AsRawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the value is a local of the stated size, and the descriptor is open.
    let answer = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as libc::socklen_t,
        )
    };
    assert_eq!(answer, 0);
}
