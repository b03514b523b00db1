//! The signals that end a program, read instead of suffered.
//!
//! Role: SIGTERM and SIGINT by signalfd(2). Not role: what follows from them.
//!
//! *Invariant*: they are blocked in the thread that made the value, and in those that it starts
//! afterwards; when the value goes there, that thread gets back what it had.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{from_mut, null_mut};
use std::thread::ThreadId;

use super::errno;
use super::kernel::fd_error;
use crate::error::{IoError, Result};

const ENDING: [i32; 2] = [libc::SIGTERM, libc::SIGINT];

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    fd: OwnedFd,
    /// Those that were not blocked before.
    blocked: libc::sigset_t,
    thread: ThreadId,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        let mut ending = empty();
        for signal in ENDING {
            add(&mut ending, signal);
        }
        // SAFETY: the set is a local; the call makes a new descriptor.
        let fd = unsafe {
            libc::signalfd(-1, &raw const ending, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        if fd < 0 {
            return Err(fd_error("signalfd", errno()));
        }
        // SAFETY: the descriptor was just made and has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut before = empty();
        mask(libc::SIG_BLOCK, &ending, Some(&mut before))?;
        let mut blocked = empty();
        for signal in ENDING {
            // SAFETY: the set is a whole one, and the signals exist.
            if unsafe { libc::sigismember(&raw const before, signal) } == 0 {
                add(&mut blocked, signal);
            }
        }
        Ok(Self { fd, blocked, thread: std::thread::current().id() })
    }

    pub(crate) fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// How many came since it was asked last; the same one twice may count once.
    pub(crate) fn take(&self) -> usize {
        const LEN: usize = size_of::<libc::signalfd_siginfo>();
        let mut infos = [0_u8; LEN * 4];
        let room = infos.len();
        // SAFETY: pointer and length are those of a local array.
        let len = unsafe { libc::read(self.fd.as_raw_fd(), infos.as_mut_ptr().cast(), room) };
        usize::try_from(len).map_or(0, |len| len / LEN)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        if std::thread::current().id() == self.thread {
            let _ = mask(libc::SIG_UNBLOCK, &self.blocked, None);
        }
    }
}

fn empty() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the call initialises the whole set, and does not fail.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn add(set: &mut libc::sigset_t, signal: i32) {
    // SAFETY: the set is a whole one, and the signal exists.
    let _ = unsafe { libc::sigaddset(set, signal) };
}

fn mask(how: i32, set: &libc::sigset_t, before: Option<&mut libc::sigset_t>) -> Result<()> {
    let before = before.map_or(null_mut(), from_mut);
    // SAFETY: both are whole sets that outlive the call, or none.
    match unsafe { libc::pthread_sigmask(how, set, before) } {
        0 => Ok(()),
        code => Err(IoError::os("pthread_sigmask", code)),
    }
}

/// Sends a signal to the calling thread alone.
#[cfg(test)]
pub(crate) fn raise(signal: i32) {
    // SAFETY: the call takes no pointers, and the thread is the caller's own.
    let answer = unsafe { libc::pthread_kill(libc::pthread_self(), signal) };
    assert_eq!(answer, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_counted_and_the_mask_comes_back() {
        std::thread::spawn(|| {
            let is_blocked = || {
                let mut now = empty();
                mask(libc::SIG_BLOCK, &empty(), Some(&mut now)).unwrap();
                // SAFETY: the set is a whole one, and the signal exists.
                ENDING.map(|signal| unsafe { libc::sigismember(&raw const now, signal) } == 1)
            };
            let signals = Signals::new().unwrap();
            assert_eq!((is_blocked(), signals.take()), ([true; 2], 0));
            raise(libc::SIGTERM);
            raise(libc::SIGINT);
            assert_eq!((signals.take(), signals.take()), (2, 0));
            drop(signals);
            assert_eq!(is_blocked(), [false; 2]);
        })
        .join()
        .unwrap();
    }
}
