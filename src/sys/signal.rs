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
        let ending = set_of(ENDING);
        // SAFETY: the set is a local; the call makes a new descriptor.
        let fd = unsafe {
            libc::signalfd(-1, &raw const ending, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
        };
        if fd < 0 {
            return Err(fd_error("signalfd", errno()));
        }
        // SAFETY: the descriptor was just made and has no other owner.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let mut before = set_of([]);
        mask(libc::SIG_BLOCK, &ending, Some(&mut before))?;
        let blocked = set_of(ENDING.into_iter().filter(|signal| !is_in(&before, *signal)));
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

/// These, and no others.
pub(super) fn set_of(signals: impl IntoIterator<Item = i32>) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the first call initialises the whole set, which is a local; signals exist.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

pub(super) fn is_in(set: &libc::sigset_t, signal: i32) -> bool {
    // SAFETY: the set is a whole one.
    unsafe { libc::sigismember(set, signal) == 1 }
}

/// Changes which signals the calling thread does not get; `before` is then what it had.
pub(super) fn mask(
    how: i32,
    set: &libc::sigset_t,
    before: Option<&mut libc::sigset_t>,
) -> Result<()> {
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
                let mut now = set_of([]);
                mask(libc::SIG_BLOCK, &set_of([]), Some(&mut now)).unwrap();
                ENDING.map(|signal| is_in(&now, signal))
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
