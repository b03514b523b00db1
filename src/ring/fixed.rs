//! The fixed file table, and whether it may be used: a fact about the kernel that is tried once.
//!
//! Role: making the table of a ring. Not role: what is in it.
//!
//! *Invariant*: where there is a table, a file that is taken out of it is closed at once. Linux
//! before 6.13 lets go of it only when everything that was begun by the table earlier has ended: a
//! connection's FIN would wait for another connection's next byte, and a reset for the notification
//! of the zero-copy send that it is to end.

use std::io::{self, ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;

use io_uring::{IoUring, opcode, types};

use super::setup::{code_of, give_up};
use crate::config::Toggle;
use crate::error::Result;
use crate::sys::kernel::uring_error;

/// Makes an empty table; how many places it has.
pub(super) fn register(ring: &IoUring, toggle: Toggle, places: u32) -> Result<u32> {
    if toggle == Toggle::Off || places == 0 {
        return Ok(0);
    }
    if !closes_at_once() {
        return give_up(toggle, "a fixed file table whose closes wait for nothing").map(|()| 0);
    }
    match ring.submitter().register_files_sparse(places) {
        Ok(()) => Ok(places),
        Err(error) if toggle == Toggle::On => {
            Err(uring_error("io_uring_register", code_of(&error)))
        }
        Err(_) => Ok(0),
    }
}

/// What this kernel does. Where it cannot be tried, for want of descriptors or memory, the answer
/// is no, and the next ring tries again.
fn closes_at_once() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    if let Some(answer) = ANSWER.get() {
        return *answer;
    }
    try_it().is_ok_and(|answer| *ANSWER.get_or_init(|| answer))
}

/// On a ring of its own: closes one file of a table while an operation waits for the other.
fn try_it() -> io::Result<bool> {
    let mut ring = IoUring::new(2)?;
    let (waits, _silent) = UnixStream::pair()?;
    let (ends, mut peer) = UnixStream::pair()?;
    peer.set_nonblocking(true)?;
    ring.submitter().register_files(&[waits.as_raw_fd(), ends.as_raw_fd()])?;
    let poll = opcode::PollAdd::new(types::Fixed(0), libc::POLLIN as u32).build();
    // SAFETY: the operation points to nothing.
    unsafe { ring.submission().push(&poll) }.map_err(|_| ErrorKind::StorageFull)?;
    ring.submit()?;
    ring.submitter().register_files_update(1, &[-1])?;
    drop(ends);
    // The end of the file, or nothing yet.
    Ok(matches!(peer.read(&mut [0]), Ok(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_can_be_tried_and_the_answer_stays() {
        let answer = try_it().expect("two descriptors and a ring");
        assert_eq!(closes_at_once(), answer);
        assert_eq!(closes_at_once(), answer);
    }
}
