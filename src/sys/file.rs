//! Files that are sent: from the page cache to a socket, or into memory.
//!
//! Role: one plain system call each, on descriptors that others own. Each answers as a completion
//! does: with a count, or a negative error number. Not role: opening, waiting for room.
//!
//! *Invariant*: no call changes where a file is read from next, so that many can send one file.

use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::ptr;

use super::{errno, signal};

/// Opening a pipe by mistake does not wait for its other end; a terminal does not become ours.
pub(crate) const OPEN_FLAGS: i32 = libc::O_NONBLOCK | libc::O_NOCTTY;

/// Sends up to `len` bytes of a file, from byte `at` on, to a non-blocking socket: `EAGAIN` when it
/// takes none, 0 at the end of the file.
pub(crate) fn sendfile(sock: RawFd, file: RawFd, at: u64, len: usize) -> i32 {
    if is_sigpipe_ignored() {
        return sendfile_now(sock, file, at, len);
    }
    // sendfile(2) has no MSG_NOSIGNAL: a socket whose peer is gone would end a program that does
    // not ignore the signal.
    let Some(mask) = block_sigpipe() else { return sendfile_now(sock, file, at, len) };
    let sent = sendfile_now(sock, file, at, len);
    mask.restore(sent == -libc::EPIPE);
    sent
}

fn sendfile_now(sock: RawFd, file: RawFd, at: u64, len: usize) -> i32 {
    let Ok(mut offset) = i64::try_from(at) else { return -libc::EOVERFLOW };
    // SAFETY: the offset is a local that outlives the call.
    let sent = unsafe { libc::sendfile(sock, file, &raw mut offset, len) };
    if sent < 0 { -errno() } else { sent as i32 }
}

/// Reads a file from byte `at` on; 0 at its end.
pub(crate) fn read_at(file: RawFd, at: u64, into: &mut [u8]) -> i32 {
    let Ok(offset) = i64::try_from(at) else { return -libc::EOVERFLOW };
    // SAFETY: pointer and length describe the slice, which outlives the call.
    let read = unsafe { libc::pread(file, into.as_mut_ptr().cast(), into.len(), offset) };
    if read < 0 { -errno() } else { read as i32 }
}

/// Sends what comes right before a file: as much as the socket takes at once, and held back until
/// the file follows it, so that both go in one packet.
pub(crate) fn send_before_file(sock: RawFd, data: &[u8]) -> i32 {
    let flags = libc::MSG_DONTWAIT | libc::MSG_MORE | libc::MSG_NOSIGNAL;
    // SAFETY: pointer and length describe the slice, which outlives the call.
    let sent = unsafe { libc::send(sock, data.as_ptr().cast(), data.len(), flags) };
    if sent < 0 { -errno() } else { sent as i32 }
}

/// Whether an attempt to send failed on the file's side, rather than the socket's.
pub(crate) const fn is_of_the_file(error: i32) -> bool {
    matches!(
        error,
        libc::EIO | libc::EINVAL | libc::EBADF | libc::EISDIR | libc::EOVERFLOW | libc::ESTALE
    )
}

/// What the thread's signal mask was, and whether the signal waited already.
struct Mask {
    before: libc::sigset_t,
    was_pending: bool,
}

/// Rust's runtime ignores the signal, and so do most servers in other languages.
fn is_sigpipe_ignored() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: the structure is a local that the call fills in.
    let asked = unsafe { libc::sigaction(libc::SIGPIPE, ptr::null(), action.as_mut_ptr()) };
    // SAFETY: the call filled it in.
    asked == 0 && unsafe { action.assume_init() }.sa_sigaction == libc::SIG_IGN
}

fn is_sigpipe_pending() -> bool {
    let mut set = signal::set_of([]);
    // SAFETY: the set is a local that the call fills in.
    let answer = unsafe { libc::sigpending(&raw mut set) };
    answer == 0 && signal::is_in(&set, libc::SIGPIPE)
}

fn block_sigpipe() -> Option<Mask> {
    let was_pending = is_sigpipe_pending();
    let mut before = signal::set_of([]);
    let sigpipe = signal::set_of([libc::SIGPIPE]);
    signal::mask(libc::SIG_BLOCK, &sigpipe, Some(&mut before)).ok()?;
    Some(Mask { before, was_pending })
}

impl Mask {
    /// As it was before. A signal that the call raised is taken away.
    fn restore(&self, is_raised: bool) {
        if is_raised && !self.was_pending {
            let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            let set = signal::set_of([libc::SIGPIPE]);
            // SAFETY: set and time are locals; nothing is to be told about the signal.
            unsafe { libc::sigtimedwait(&raw const set, ptr::null_mut(), &raw const none) };
        }
        let _ = signal::mask(libc::SIG_SETMASK, &self.before, None);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsRawFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::sys::subprocess;

    fn file(content: &[u8]) -> std::fs::File {
        let name = std::ffi::CString::new("test").unwrap();
        // SAFETY: the name ends with a zero and outlives the call.
        let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
        assert!(fd >= 0);
        // SAFETY: the descriptor was just made and is nobody else's.
        let mut file = unsafe { <std::fs::File as std::os::fd::FromRawFd>::from_raw_fd(fd) };
        file.write_all(content).unwrap();
        file
    }

    fn pair() -> (UnixStream, UnixStream) {
        let (a, b) = UnixStream::pair().unwrap();
        a.set_nonblocking(true).unwrap();
        (a, b)
    }

    #[test]
    fn sends_and_reads_stretches() {
        let (file, (ours, mut theirs)) = (file(b"0123456789"), pair());
        let (sock, fd) = (ours.as_raw_fd(), file.as_raw_fd());
        assert_eq!(send_before_file(sock, b"head "), 5);
        assert_eq!(sendfile(sock, fd, 2, 5), 5);
        assert_eq!(sendfile(sock, fd, 8, 5), 2);
        assert_eq!(sendfile(sock, fd, 10, 5), 0);
        drop(ours);
        let mut got = String::new();
        theirs.read_to_string(&mut got).unwrap();
        assert_eq!(got, "head 2345689");
        let mut into = [0; 4];
        assert_eq!((read_at(fd, 7, &mut into), &into[..3]), (3, &b"789"[..]));
        assert_eq!(read_at(fd, 10, &mut into), 0);
        assert_eq!(read_at(fd, u64::MAX, &mut into), -libc::EOVERFLOW);
        assert_eq!(sendfile(sock, fd, u64::MAX, 1), -libc::EOVERFLOW);
    }

    #[test]
    fn a_full_socket_takes_nothing() {
        let (file, (ours, _theirs)) = (file(&[7; 1 << 20]), pair());
        let mut at = 0;
        let last = loop {
            match sendfile(ours.as_raw_fd(), file.as_raw_fd(), at, 1 << 20) {
                n @ 1.. => at += n as u64,
                answer => break answer,
            }
        };
        assert_eq!(last, -libc::EAGAIN);
    }

    #[test]
    fn a_peer_that_is_gone_raises_no_signal() {
        subprocess::run("sys::file::tests::a_peer_that_is_gone_raises_no_signal", || {
            let (file, (ours, theirs)) = (file(b"0123456789"), pair());
            drop(theirs);
            let (sock, fd) = (ours.as_raw_fd(), file.as_raw_fd());
            assert!(is_sigpipe_ignored(), "by the test's own start-up code");
            assert_eq!(sendfile(sock, fd, 0, 10), -libc::EPIPE);
            // SAFETY: the default action is no function; the process is this test's own.
            unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
            assert!(!is_sigpipe_ignored());
            for _ in 0..3 {
                assert_eq!(sendfile(sock, fd, 0, 10), -libc::EPIPE);
                assert!(!is_sigpipe_pending());
            }
        });
    }
}
