//! Which processor a thread runs on.
//!
//! Role: pin the calling thread. Not role: choosing the processor.

use std::mem::size_of;

use super::check;
use crate::error::{IoError, Result};

const CPUS_MAX: usize = size_of::<libc::cpu_set_t>() * 8;

/// The processors that the calling thread may run on, ascending.
pub fn allowed_cpus() -> Result<Vec<usize>> {
    let set = current()?;
    // SAFETY: the index is below the size of the set.
    Ok((0..CPUS_MAX).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) }).collect())
}

/// Lets the calling thread run on that processor alone.
///
/// # Errors
/// [`IoError::InvalidArgument`] when the process may not use that processor.
pub fn pin_current_thread(cpu: usize) -> Result<()> {
    const DENIED: IoError = IoError::InvalidArgument {
        what: "cpu",
        why: "this process may not run on it; see sched_getaffinity(2) or the container's cpuset",
    };
    if cpu >= CPUS_MAX {
        return Err(DENIED);
    }
    // SAFETY: all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the index is below the size of the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is a local that outlives the call; thread 0 is the calling one.
    let answer =
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    check("sched_setaffinity", answer).map(drop).map_err(|error| match error {
        IoError::Os { errno, .. } if errno.0 == libc::EINVAL => DENIED,
        other => other,
    })
}

fn current() -> Result<libc::cpu_set_t> {
    // SAFETY: all zeroes is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is a local that outlives the call.
    let answer = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) };
    check("sched_getaffinity", answer)?;
    Ok(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_a_thread_to_an_allowed_processor() {
        std::thread::spawn(|| {
            let last = *allowed_cpus().unwrap().last().unwrap();
            pin_current_thread(last).unwrap();
            assert_eq!(allowed_cpus().unwrap(), [last]);
            for bad in [CPUS_MAX - 1, usize::MAX] {
                let error = pin_current_thread(bad).unwrap_err();
                assert!(matches!(error, IoError::InvalidArgument { .. }), "{error}");
            }
        })
        .join()
        .unwrap();
    }
}
