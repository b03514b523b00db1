//! A thread of the application that waits for a shard: futex(2).
//!
//! Role: one sleeper, any number of wakers, without a handle of the sleeper's thread. Not role:
//! deciding whether to sleep or to wake; the gate in front of it does that.
//!
//! *Invariant*: a wake that precedes a sleep ends that sleep.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const QUIET: u32 = 0;
const WOKEN: u32 = 1;

/// Where one thread at a time sleeps.
#[derive(Debug, Default)]
pub(crate) struct Parker {
    word: AtomicU32,
}

impl Parker {
    /// Ends the current or the next sleep.
    pub(crate) fn wake(&self) {
        // Release: what was done before is seen by the sleeper.
        self.word.store(WOKEN, Ordering::Release);
        // SAFETY: the address is that of a field; waking names it and touches nothing.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.word.as_ptr(),
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                1,
            );
        }
    }

    /// Sleeps until `wake`, until `deadline`, or for no reason.
    pub(crate) fn sleep(&self, deadline: Deadline) {
        if self.word.swap(QUIET, Ordering::Acquire) == WOKEN {
            return;
        }
        let left = deadline.left();
        let timeout = left.map(|left| libc::timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the address is that of a field, the timeout a local or null; both outlive the
        // call.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.word.as_ptr(),
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                QUIET,
                timeout,
            );
        }
        self.word.swap(QUIET, Ordering::Acquire);
    }
}

/// When a wait is over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Option<Instant>);

impl Deadline {
    /// So long from now; without a limit for `None`, and for what no clock can say.
    pub(crate) fn after(timeout: Option<Duration>) -> Self {
        Self(timeout.and_then(|timeout| Instant::now().checked_add(timeout)))
    }

    pub(crate) fn is_over(self) -> bool {
        self.left().is_some_and(|left| left.is_zero())
    }

    fn left(self) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_wake_ends_the_sleep_it_precedes() {
        let (parker, start) = (Parker::default(), Instant::now());
        parker.wake();
        parker.sleep(Deadline::after(None));
        assert!(start.elapsed() < PATIENCE);
    }

    #[test]
    fn a_sleep_ends_in_time() {
        let (parker, short) = (Parker::default(), Duration::from_millis(20));
        let deadline = Deadline::after(Some(short));
        let start = Instant::now();
        while !deadline.is_over() {
            parker.sleep(deadline);
        }
        assert!(start.elapsed() >= short - Duration::from_millis(1));
        assert!(!Deadline::after(Some(Duration::MAX)).is_over());
    }

    #[test]
    fn another_thread_wakes() {
        let rounds = if cfg!(miri) { 10 } else { 1000 };
        let (here, there) = (Arc::new(Parker::default()), Arc::new(Parker::default()));
        let deadline = Deadline::after(Some(PATIENCE));
        let (from, to) = (Arc::clone(&here), Arc::clone(&there));
        let other = std::thread::spawn(move || {
            for _ in 0..rounds {
                to.sleep(deadline);
                from.wake();
            }
        });
        for _ in 0..rounds {
            there.wake();
            here.sleep(deadline);
        }
        // A sleep may end for no reason: the other one must not be left behind.
        while !other.is_finished() {
            there.wake();
        }
        other.join().unwrap();
        assert!(!deadline.is_over());
    }
}
