//! Tests that change their whole process: limits, seccomp filters.
//!
//! *Invariant*: the body runs in a process of its own, or the test fails.

use std::process::Command;

use super::steer::asm::{Asm, Test, Width};

const MARK: &str = "ZERO_IO_SUBPROCESS";

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

/// Makes a system call answer with an error from now on.
pub(crate) fn deny(call: libc::c_long, code: i32) {
    // Seccomp's errno action, seccomp(2): the low 16 bits are the error.
    const ERRNO: u32 = 0x0005_0000;
    const ALLOW: u32 = 0x7fff_0000;
    let mut asm = Asm::default();
    let pass = asm.label();
    asm.load(Width::Word, 0);
    asm.unless(Test::Equal, call as u32, pass);
    asm.answer(ERRNO | code as u32);
    asm.here(pass);
    asm.answer(ALLOW);
    let program = asm.finish();
    let filter = program.for_kernel();
    // SAFETY: the call takes no pointers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the program outlives the call.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const filter) }, 0);
}

/// Gives up all privileges: the process is nobody's from now on, without capabilities.
pub(crate) fn become_nobody() {
    const NOBODY: libc::uid_t = 65_534;
    // SAFETY: the call takes no pointers.
    assert_eq!(unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) }, 0);
}
