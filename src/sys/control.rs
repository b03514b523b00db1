//! The sleep of a thread that has no ring: until it is rung for, a signal comes, or one of some
//! descriptors can be read.
//!
//! Role: poll(2) on an eventfd and what else there is. Not role: what is done then.
//!
//! *Invariant*: a ring that precedes a sleep ends that sleep.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::null;
use std::sync::Arc;
use std::time::Duration;

use super::signal::Signals;
use super::wake::Waker;
use super::{errno, socket};
use crate::error::{IoError, Result};

/// What such a thread sleeps on.
pub(crate) struct Control {
    bell: Arc<OwnedFd>,
    signals: Option<Signals>,
}

impl Control {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { bell: Arc::new(socket::event_fd()?), signals: None })
    }

    /// What rings for it.
    pub(crate) fn waker(&self) -> Waker {
        Waker::EventFd(Arc::clone(&self.bell))
    }

    /// Blocks the signals that end a program, and reads them from now on.
    pub(crate) fn take_signals(&mut self) -> Result<()> {
        if self.signals.is_none() {
            self.signals = Some(Signals::new()?);
        }
        Ok(())
    }

    /// How many of them came since it was asked last.
    pub(crate) fn signals(&self) -> usize {
        self.signals.as_ref().map_or(0, Signals::take)
    }

    /// Sleeps until there is something, or for `timeout`. What rang has been heard then.
    pub(crate) fn sleep(&self, others: &[RawFd], timeout: Duration) -> Result<()> {
        let bell = self.bell.as_raw_fd();
        let own = [Some(bell), self.signals.as_ref().map(Signals::as_raw_fd)];
        let all = own.into_iter().flatten().chain(others.iter().copied());
        let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut all = all.map(poll).collect::<Vec<_>>();
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().min(i32::MAX as u64) as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let len = all.len() as libc::nfds_t;
        // SAFETY: pointer and length are those of the vector; the time is a local.
        let answer = unsafe { libc::ppoll(all.as_mut_ptr(), len, &raw const timeout, null()) };
        match (answer, errno()) {
            (..0, libc::EINTR) => {}
            (..0, code) => return Err(IoError::os("ppoll", code)),
            _ => {}
        }
        if all[0].revents != 0 {
            socket::event_fd_reset(bell);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::time::Instant;

    use super::*;
    use crate::sys::signal::raise;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn each_reason_ends_a_sleep() {
        std::thread::spawn(|| {
            let start = Instant::now();
            let mut control = Control::new().unwrap();
            control.waker().wake();
            control.sleep(&[], LONG).unwrap();
            control.sleep(&[], Duration::from_millis(20)).unwrap();
            assert!(start.elapsed() >= Duration::from_millis(20), "it was heard once");
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            control.sleep(&[listener.as_raw_fd()], LONG).unwrap();
            control.take_signals().unwrap();
            raise(libc::SIGTERM);
            control.sleep(&[], LONG).unwrap();
            assert_eq!(control.signals(), 1);
            assert!(start.elapsed() < LONG);
        })
        .join()
        .unwrap();
    }
}
