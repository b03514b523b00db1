//! Facts about the running kernel, and why it refuses io_uring.
//!
//! Role: version, limits, and the diagnosis of a failed `io_uring_*` call. Not role: setting a ring
//! up.
//!
//! *Invariant*: the version alone decides nothing but the wording of an error.

use std::fs;

use super::{check, errno};
use crate::error::{Errno, IoError, KernelVersion, Result, UringDenied};

/// The oldest kernel that has all the ring is built on: deferred task work and zero-copy `sendmsg`.
pub(crate) const REQUIRED: KernelVersion = KernelVersion { major: 6, minor: 1 };
/// The first kernel with `io_uring_setup`.
const FIRST_WITH_URING: KernelVersion = KernelVersion { major: 5, minor: 1 };
/// The bit of `CAP_SYS_ADMIN`, capabilities(7).
const CAP_SYS_ADMIN: u32 = 21;

/// The running version; 0.0 when it cannot be read.
pub(crate) fn version() -> KernelVersion {
    // SAFETY: all zeroes is a valid value of an array of characters.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the structure is a local that outlives the call.
    if unsafe { libc::uname(&raw mut names) } != 0 {
        return KernelVersion { major: 0, minor: 0 };
    }
    let release: Vec<u8> = names.release.iter().map(|c| *c as u8).take_while(|c| *c != 0).collect();
    parse_version(&String::from_utf8_lossy(&release))
}

fn parse_version(release: &str) -> KernelVersion {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(|digits| digits.parse::<u16>().unwrap_or(0));
    let major = numbers.next().unwrap_or(0);
    KernelVersion { major, minor: numbers.next().unwrap_or(0) }
}

/// A resource limit, soft and hard; `u64::MAX` is no limit.
pub(crate) fn limit(resource: libc::__rlimit_resource_t) -> (u64, u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the structure is a local that outlives the call.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } != 0 {
        return (u64::MAX, u64::MAX);
    }
    (limit.rlim_cur, limit.rlim_max)
}

/// The soft limit on descriptors.
pub(crate) fn nofile_limit() -> u64 {
    limit(libc::RLIMIT_NOFILE).0
}

/// Raises the soft limit on descriptors to the hard one; the soft limit that is then in force.
pub(crate) fn raise_nofile() -> u64 {
    let (soft, hard) = limit(libc::RLIMIT_NOFILE);
    if soft >= hard {
        return soft;
    }
    let wanted = libc::rlimit { rlim_cur: hard, rlim_max: hard };
    // SAFETY: the structure is a local that outlives the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const wanted) } == 0 {
        hard
    } else {
        soft
    }
}

/// The error for a descriptor that could not be had, or for any other failure of `op`.
pub(crate) fn fd_error(op: &'static str, code: i32) -> IoError {
    match code {
        libc::EMFILE | libc::ENFILE => IoError::NofileLimit { syscall: op, limit: nofile_limit() },
        _ => IoError::os(op, code),
    }
}

/// What a failed `io_uring_setup`, `io_uring_register` or `io_uring_enter` means here.
pub(crate) fn uring_error(syscall: &'static str, code: i32) -> IoError {
    let denied = |denied| IoError::UringDenied { syscall, errno: Errno(code), denied };
    match code {
        libc::ENOSYS => {
            let found = version();
            if found < FIRST_WITH_URING {
                return IoError::KernelTooOld { required: REQUIRED, found };
            }
            denied(Facts::read().hidden_by())
        }
        libc::EPERM | libc::EACCES => denied(Facts::read().forbidden_by(syscall)),
        libc::ENOMEM => {
            let (limit_bytes, _) = limit(libc::RLIMIT_MEMLOCK);
            if limit_bytes == u64::MAX {
                return IoError::os(syscall, code);
            }
            IoError::MemlockLimit { syscall, limit_bytes }
        }
        _ => fd_error(syscall, code),
    }
}

/// What /proc says about who may use io_uring. `None`: it does not say.
#[derive(Debug, Clone, Copy, Default)]
struct Facts {
    /// `kernel.io_uring_disabled`.
    disabled: Option<u32>,
    /// The process is in `kernel.io_uring_group`.
    in_group: bool,
    /// The process has `CAP_SYS_ADMIN`.
    is_admin: bool,
    /// The process runs under a seccomp filter.
    is_filtered: Option<bool>,
}

impl Facts {
    fn read() -> Self {
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<i64>().ok();
        // A filter may be the calling thread's alone.
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let group = number("/proc/sys/kernel/io_uring_group").unwrap_or(-1);
        let capabilities =
            field("CapEff:").and_then(|hex| u64::from_str_radix(hex, 16).ok()).unwrap_or(0);
        Self {
            disabled: number("/proc/sys/kernel/io_uring_disabled").map(|n| n.clamp(0, 2) as u32),
            in_group: u32::try_from(group).is_ok_and(is_member),
            is_admin: capabilities >> CAP_SYS_ADMIN & 1 == 1,
            is_filtered: field("Seccomp:").map(|mode| mode == "2"),
        }
    }

    /// The cause of an `ENOSYS` on a kernel that knows the call.
    fn hidden_by(&self) -> UringDenied {
        match self.is_filtered {
            Some(false) => UringDenied::Unknown,
            Some(true) | None => UringDenied::SeccompEnosys,
        }
    }

    /// The cause of an `EPERM`. The sysctl stands before the setup call only.
    fn forbidden_by(&self, syscall: &str) -> UringDenied {
        let is_setup = syscall == "io_uring_setup";
        match (self.disabled, self.is_filtered) {
            (Some(2), _) if is_setup => UringDenied::SysctlAll,
            (Some(1), _) if is_setup && !self.is_admin && !self.in_group => {
                UringDenied::SysctlUnprivileged
            }
            (_, Some(true)) => UringDenied::SeccompEperm,
            _ => UringDenied::Unknown,
        }
    }
}

/// Whether the process is in that group.
fn is_member(group: u32) -> bool {
    const GROUPS_MAX: usize = 1 << 16;
    // SAFETY: the call has no arguments and cannot fail.
    if unsafe { libc::getegid() } == group {
        return true;
    }
    // SAFETY: with length 0 nothing is written.
    let count = unsafe { libc::getgroups(0, std::ptr::null_mut()) };
    let mut groups = vec![0; usize::try_from(count).unwrap_or(0).min(GROUPS_MAX)];
    // SAFETY: the array has room for as many as it says.
    let count = unsafe { libc::getgroups(groups.len() as i32, groups.as_mut_ptr()) };
    groups.truncate(usize::try_from(count).unwrap_or(0));
    groups.contains(&group)
}

/// The monotonic clock, nanoseconds.
#[inline]
pub(crate) fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure is a local that outlives the call, which cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    (now.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec as u64)
}

/// The time of day in whole seconds since 1970; 0 before that.
pub(crate) fn wall_secs() -> u64 {
    let epoch = std::time::SystemTime::UNIX_EPOCH;
    epoch.elapsed().map_or(0, |since| since.as_secs())
}

/// A page that reads 1 in the process that made it and 0 in every child that was forked since.
#[derive(Debug)]
pub(crate) struct ForkMark {
    page: std::ptr::NonNull<u8>,
}

impl ForkMark {
    /// The smallest page there is; the system rounds up.
    const LEN: usize = 4096;

    pub(crate) fn new() -> Result<Self> {
        // SAFETY: a new mapping, at an address that the system chooses.
        let page = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                Self::LEN,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            return Err(IoError::os("mmap", errno()));
        }
        let Some(page) = std::ptr::NonNull::new(page.cast::<u8>()) else {
            return Err(IoError::os("mmap", libc::ENOMEM));
        };
        let mark = Self { page };
        // SAFETY: the range is the mapping that was just made.
        let answer =
            unsafe { libc::madvise(page.as_ptr().cast(), Self::LEN, libc::MADV_WIPEONFORK) };
        check("madvise", answer)?;
        // SAFETY: the page is mapped for writing and nobody else has its address.
        unsafe { page.as_ptr().write_volatile(1) };
        Ok(mark)
    }

    /// Whether this process is not the one that made the mark.
    #[inline]
    pub(crate) fn is_child(&self) -> bool {
        // SAFETY: the page is mapped for as long as `self` lives.
        unsafe { self.page.as_ptr().read_volatile() == 0 }
    }
}

impl Drop for ForkMark {
    fn drop(&mut self) {
        // SAFETY: the range is the mapping made in `new`, and nothing refers to it any more.
        unsafe { libc::munmap(self.page.as_ptr().cast(), Self::LEN) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_leniently() {
        let v = |text| {
            let v = parse_version(text);
            (v.major, v.minor)
        };
        assert_eq!(v("6.18.3-cloud-amd64"), (6, 18));
        assert_eq!(v("5.4"), (5, 4));
        assert_eq!(v("6.1+"), (6, 1));
        assert_eq!(v("nonsense"), (0, 0));
        assert!(version() >= FIRST_WITH_URING);
    }

    #[test]
    fn causes_are_told_apart() {
        let nobody = Facts { disabled: Some(0), is_filtered: Some(false), ..Facts::default() };
        let setup = "io_uring_setup";
        let rows = [
            (Facts { disabled: Some(2), ..nobody }, setup, UringDenied::SysctlAll),
            (Facts { disabled: Some(1), ..nobody }, setup, UringDenied::SysctlUnprivileged),
            (Facts { disabled: Some(1), is_admin: true, ..nobody }, setup, UringDenied::Unknown),
            (Facts { disabled: Some(1), in_group: true, ..nobody }, setup, UringDenied::Unknown),
            (Facts { is_filtered: Some(true), ..nobody }, setup, UringDenied::SeccompEperm),
            (
                Facts { disabled: Some(2), is_filtered: Some(true), ..nobody },
                "io_uring_enter",
                UringDenied::SeccompEperm,
            ),
            (nobody, setup, UringDenied::Unknown),
        ];
        for (facts, syscall, expected) in rows {
            assert_eq!(facts.forbidden_by(syscall), expected, "{facts:?} {syscall}");
        }
        assert_eq!(nobody.hidden_by(), UringDenied::Unknown);
        assert_eq!(Facts::default().hidden_by(), UringDenied::SeccompEnosys);
    }

    #[test]
    fn limits_have_their_own_errors() {
        assert!(matches!(fd_error("socket", libc::EMFILE), IoError::NofileLimit { .. }));
        assert!(matches!(uring_error("io_uring_setup", libc::EMFILE), IoError::NofileLimit { .. }));
        let memory = uring_error("io_uring_setup", libc::ENOMEM);
        let expected = limit(libc::RLIMIT_MEMLOCK).0 != u64::MAX;
        assert_eq!(matches!(memory, IoError::MemlockLimit { .. }), expected, "{memory}");
        assert_eq!(
            uring_error("io_uring_enter", libc::EIO),
            IoError::os("io_uring_enter", libc::EIO)
        );
    }

    #[test]
    fn a_forked_child_sees_an_empty_mark() {
        let mark = ForkMark::new().unwrap();
        assert!(!mark.is_child());
        // SAFETY: the child calls nothing but `_exit`.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(i32::from(mark.is_child())) };
        }
        let mut status = 0;
        // SAFETY: the status is a local that outlives the call.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        assert_eq!(libc::WEXITSTATUS(status), 1);
        assert!(!mark.is_child());
    }
}
