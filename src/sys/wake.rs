//! Ending another thread's sleep.
//!
//! Role: one coalescing signal from any thread to a ring. Not role: deciding when one is needed;
//! the queue in front of it does that.
//!
//! *Invariant*: a wake that precedes a sleep ends that sleep.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Wakes one ring.
#[derive(Debug, Clone)]
pub(crate) enum Waker {
    /// The eventfd that the ring polls. The descriptor lives as long as any waker.
    EventFd(Arc<OwnedFd>),
    /// The simulated ring looks at it.
    Flag(Arc<AtomicBool>),
}

impl Waker {
    /// Ends the ring's current or next sleep.
    pub(crate) fn wake(&self) {
        match self {
            Self::EventFd(fd) => {
                let one = 1_u64.to_ne_bytes();
                // EAGAIN means that the counter is full: a wake-up is under way. Nothing else can
                // fail on a descriptor that is held open.
                // SAFETY: the pointer and length are those of a local array.
                let _ = unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
            }
            Self::Flag(flag) => flag.store(true, Ordering::Release),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crosses_threads() {
        let flag = Arc::new(AtomicBool::new(false));
        let waker = Waker::Flag(Arc::clone(&flag));
        std::thread::spawn(move || waker.clone().wake()).join().unwrap();
        assert!(flag.load(Ordering::Acquire));
    }
}
