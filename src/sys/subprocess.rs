//! Tests that change their whole process: limits, seccomp filters.
//!
//! *Invariant*: the body runs in a process of its own, or the test fails.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use super::steer::asm::{Asm, Classic, Test, Width};

const MARK: &str = "ZERO_IO_SUBPROCESS";
/// Seccomp's actions, seccomp(2): of the first the low 16 bits are the error.
const ERRNO: u32 = 0x0005_0000;
const ALLOW: u32 = 0x7fff_0000;

/// Runs `body` in a new process that runs the test `name` alone. The name is that of the calling
/// test, its module path included.
pub(crate) fn run(name: &str, body: impl FnOnce()) {
    if std::env::var_os(MARK).is_some_and(|test| test == name) {
        return body();
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, name)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let whole = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && text.contains("1 passed"), "{name}: {whole}");
}

/// Sets both limits of a resource.
pub(crate) fn set_limit(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) {
    let limit = libc::rlimit { rlim_cur: soft, rlim_max: hard };
    // SAFETY: the structure is a local that outlives the call.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const limit) }, 0);
}

/// Makes the kernel call itself 2.6 from now on, personality(2).
pub(crate) fn look_old() {
    const UNAME26: libc::c_ulong = 0x0002_0000;
    // SAFETY: the call takes no pointers.
    assert_ne!(unsafe { libc::personality(UNAME26) }, -1);
}

/// Makes a system call answer with an error from now on.
pub(crate) fn deny(call: libc::c_long, code: i32) {
    let program = filter(call, ERRNO | code as u32);
    let filter = program.for_kernel();
    // SAFETY: the call takes no pointers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the program outlives the call.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) }, 0);
}

/// A filter that answers one system call so, and lets all others pass.
fn filter(call: libc::c_long, answer: u32) -> Classic {
    let mut asm = Asm::default();
    let pass = asm.label();
    asm.load(Width::Word, 0);
    asm.unless(Test::Equal, call as u32, pass);
    asm.answer(answer);
    asm.here(pass);
    asm.answer(ALLOW);
    asm.finish()
}

/// Makes a system call of this thread answer with an error for a while: another thread decides on
/// each call, seccomp_unotify(2). A process has one of them.
pub(crate) struct Busy(Arc<Verdict>);

#[derive(Default)]
struct Verdict {
    /// The error; 0: calls are let through.
    code: AtomicI32,
    /// Calls that were refused.
    refused: AtomicU64,
}

impl Busy {
    /// Calls are let through for now.
    pub(crate) fn new(call: libc::c_long) -> Self {
        let program = filter(call, libc::SECCOMP_RET_USER_NOTIF);
        let filter = program.for_kernel();
        // SAFETY: the call takes no pointers.
        assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
        // SAFETY: the program outlives the call.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
                &raw const filter,
            )
        };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: the descriptor is new, and nobody else's.
        let listener = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let verdict = Arc::new(Verdict::default());
        let busy = Self(Arc::clone(&verdict));
        // It goes on for as long as the process: the filter cannot be taken back.
        std::thread::spawn(move || while decide(&listener, &verdict) {});
        busy
    }

    /// Calls fail with that error from now on.
    pub(crate) fn begin(&self, code: i32) {
        self.0.refused.store(0, Ordering::Relaxed);
        self.0.code.store(code, Ordering::Relaxed);
    }

    /// Calls are let through again; how many were refused.
    pub(crate) fn end(&self) -> u64 {
        self.0.code.store(0, Ordering::Relaxed);
        self.0.refused.load(Ordering::Relaxed)
    }
}

/// Answers one call. Whether there may be more.
fn decide(listener: &OwnedFd, verdict: &Verdict) -> bool {
    // `SECCOMP_IOCTL_NOTIF_RECV` and `SECCOMP_IOCTL_NOTIF_SEND`.
    const RECV: libc::c_ulong = 0xC050_2100;
    const SEND: libc::c_ulong = 0xC018_2101;
    // SAFETY: a structure of numbers, for which zero is a value.
    let mut asked: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: the request takes a structure of that layout, which outlives the call.
    if unsafe { libc::ioctl(listener.as_raw_fd(), RECV as _, &raw mut asked) } != 0 {
        return false;
    }
    let code = verdict.code.load(Ordering::Relaxed);
    verdict.refused.fetch_add(u64::from(code != 0), Ordering::Relaxed);
    let goes_on = if code == 0 { libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32 } else { 0 };
    let mut answer =
        libc::seccomp_notif_resp { id: asked.id, val: 0, error: -code, flags: goes_on };
    // SAFETY: as above.
    let _ = unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, &raw mut answer) };
    true
}

/// Gives up all privileges: the process is nobody's from now on, without capabilities.
pub(crate) fn become_nobody() {
    const NOBODY: libc::uid_t = 65_534;
    // SAFETY: the call takes no pointers.
    assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
}
