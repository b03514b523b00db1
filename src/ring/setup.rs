//! Making a ring: what to ask for, what to do without, and how to say why not.
//!
//! Role: the ladder of set-up flags, the self-test, the registrations that happen once. Not role:
//! operations.
//!
//! *Invariant*: a ring that comes out of here has passed one operation through `io_uring_enter` and
//! one call through `io_uring_register`: a sandbox that denies either is found here and named.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::{IoUring, Probe, opcode};

use super::fixed;
use crate::config::{Effective, HugePages, Toggle, UringConfig};
use crate::error::{IoError, Result};
use crate::sys::kernel::{self, uring_error};

/// The fewest submission entries that are worth a ring.
const SQ_ENTRIES_MIN: u32 = 64;
/// The memory of a ring that was closed is given back a little later.
const MEMORY_RETRIES: u32 = 4;
const INTERRUPTIONS_MAX: usize = 16;
/// The operations that the engine asks for.
const NEEDED: [u8; 11] = [
    opcode::SendMsgZc::CODE,
    opcode::SendZc::CODE,
    opcode::RecvMulti::CODE,
    opcode::Send::CODE,
    opcode::SendMsg::CODE,
    opcode::Connect::CODE,
    opcode::FilesUpdate::CODE,
    opcode::PollAdd::CODE,
    opcode::AsyncCancel::CODE,
    opcode::Shutdown::CODE,
    opcode::Close::CODE,
];
const IORING_REGISTER_RING_FDS: libc::c_long = 20;
const IORING_UNREGISTER_RING_FDS: libc::c_long = 21;
/// `IORING_ENTER_REGISTERED_RING`.
const ENTER_REGISTERED: u32 = 1 << 4;

/// A ring that works, and what it is made of.
pub(super) struct Built {
    pub(super) ring: IoUring,
    /// What `io_uring_enter` takes as its first argument, and the flag that goes with it.
    pub(super) enter_fd: i32,
    pub(super) enter_flags: u32,
    pub(super) effective: Effective,
}

/// Makes a ring with a fixed file table of up to `fixed_wanted` places.
pub(super) fn build(config: &UringConfig, fixed_wanted: u32) -> Result<Built> {
    config.validate()?;
    let nofile = kernel::raise_nofile();
    let (ring, plan) = create(config)?;
    require(&ring)?;
    pass_a_nop(&ring)?;
    let fixed_max = u32::try_from(nofile).unwrap_or(u32::MAX);
    let fixed_files = fixed::register(&ring, config.fixed_files, fixed_wanted.min(fixed_max))?;
    // The last step: it takes one of the thread's places, and only `Drop` gives that back.
    let registered = register_ring_fd(&ring, config.register_ring_fd)?;
    let effective = Effective {
        backend: "io_uring",
        kernel: Some(kernel::version()),
        sq_entries: ring.params().sq_entries(),
        cq_entries: ring.params().cq_entries(),
        defer_taskrun: plan.defer_taskrun,
        no_sqarray: plan.no_sqarray,
        ring_fd_registered: registered.is_some(),
        fixed_files,
        zero_copy_send: config.zero_copy_send != Toggle::Off,
        huge_pages: HugePages::None,
    };
    let enter_flags = if registered.is_some() { ENTER_REGISTERED } else { 0 };
    let enter_fd = registered.unwrap_or_else(|| ring.as_raw_fd());
    Ok(Built { ring, enter_fd, enter_flags, effective })
}

/// The flags that may have to be given up, and the sizes.
#[derive(Debug, Clone, Copy)]
struct Plan {
    defer_taskrun: bool,
    no_sqarray: bool,
    sq_entries: u32,
    cq_entries: u32,
}

impl Plan {
    fn try_it(self) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_submit_all().setup_clamp().setup_taskrun_flag();
        builder.setup_cqsize(self.cq_entries);
        if self.defer_taskrun {
            builder.setup_defer_taskrun();
        } else {
            builder.setup_coop_taskrun();
        }
        if self.no_sqarray {
            builder.setup_no_sqarray();
        }
        builder.build(self.sq_entries)
    }
}

/// Climbs down until the kernel agrees.
fn create(config: &UringConfig) -> Result<(IoUring, Plan)> {
    let mut plan = Plan {
        defer_taskrun: config.defer_taskrun != Toggle::Off,
        no_sqarray: config.no_sqarray != Toggle::Off,
        sq_entries: config.sq_entries,
        cq_entries: config.cq_entries_wanted(),
    };
    let mut retries = 0;
    loop {
        let code = match plan.try_it() {
            Ok(ring) => return Ok((ring, plan)),
            Err(error) => code_of(&error),
        };
        match code {
            libc::EINVAL if plan.no_sqarray => {
                give_up(config.no_sqarray, "IORING_SETUP_NO_SQARRAY")?;
                plan.no_sqarray = false;
            }
            libc::EINVAL if plan.defer_taskrun => {
                give_up(config.defer_taskrun, "IORING_SETUP_DEFER_TASKRUN")?;
                plan.defer_taskrun = false;
            }
            libc::EINVAL if kernel::version() < kernel::REQUIRED => return Err(too_old()),
            libc::EINTR | libc::ENOMEM if retries < MEMORY_RETRIES => {
                retries += 1;
                std::thread::sleep(Duration::from_millis(1 << retries));
            }
            libc::ENOMEM if plan.sq_entries > SQ_ENTRIES_MIN => {
                plan.sq_entries /= 2;
                plan.cq_entries /= 2;
            }
            _ => return Err(uring_error("io_uring_setup", code)),
        }
    }
}

/// Whether something can be done without.
pub(super) fn give_up(toggle: Toggle, feature: &'static str) -> Result<()> {
    match toggle {
        Toggle::On => Err(IoError::NotSupportedOnBackend { backend: "io_uring", feature }),
        Toggle::Auto | Toggle::Off => Ok(()),
    }
}

fn too_old() -> IoError {
    IoError::KernelTooOld { required: kernel::REQUIRED, found: kernel::version() }
}

pub(super) fn code_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

/// Asks the kernel what it can do; the newest operation that is needed came with 6.1.
fn require(ring: &IoUring) -> Result<()> {
    let mut probe = Probe::new();
    ring.submitter()
        .register_probe(&mut probe)
        .map_err(|error| uring_error("io_uring_register", code_of(&error)))?;
    let params = ring.params();
    let has_features = params.is_feature_ext_arg() && params.is_feature_nodrop();
    judge(has_features, |code| probe.is_supported(code))
}

/// Whether a kernel with those features, which knows those operations, will do.
fn judge(has_features: bool, knows: impl Fn(u8) -> bool) -> Result<()> {
    if has_features && NEEDED.into_iter().all(knows) { Ok(()) } else { Err(too_old()) }
}

/// One operation there and back.
fn pass_a_nop(ring: &IoUring) -> Result<()> {
    const MARK: u64 = 0x5e1f_7e57;
    let nop = opcode::Nop::new().build().user_data(MARK);
    // SAFETY: the ring was just made, so that no other view of the queue exists; a nop names no
    // memory.
    let pushed = unsafe { ring.submission_shared().push(&nop) };
    debug_assert!(pushed.is_ok(), "a new ring has room");
    for _ in 0..INTERRUPTIONS_MAX {
        match ring.submit_and_wait(1).map_err(|error| code_of(&error)) {
            Err(libc::EINTR) => {}
            Err(code) => return Err(uring_error("io_uring_enter", code)),
            Ok(_) => break,
        }
    }
    // SAFETY: no other view of the queue exists.
    let answer = unsafe { ring.completion_shared() }.next();
    match answer {
        Some(cqe) if cqe.user_data() == MARK && cqe.result() == 0 => Ok(()),
        Some(cqe) => Err(IoError::os("io_uring nop", -cqe.result())),
        None => Err(IoError::os("io_uring nop", libc::EIO)),
    }
}

/// `struct io_uring_rsrc_update`.
#[repr(C)]
struct Update {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// Takes the registration back. It is a reference that the calling thread has: while it stands, the
/// ring outlives its descriptor, and with it the sockets of the fixed file table.
pub(super) fn unregister_ring_fd(ring: &IoUring, index: i32) {
    let mut update = Update { offset: index as u32, reserved: 0, data: 0 };
    // SAFETY: one structure of the layout that this operation takes, which outlives the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            ring.as_raw_fd(),
            IORING_UNREGISTER_RING_FDS,
            &raw mut update,
            1_u32,
        )
    };
    debug_assert!(answer == 1, "the ring's descriptor was registered by this thread");
}

/// Registers the ring's own descriptor; its index.
fn register_ring_fd(ring: &IoUring, toggle: Toggle) -> Result<Option<i32>> {
    if toggle == Toggle::Off {
        return Ok(None);
    }
    let fd = ring.as_raw_fd();
    let mut update = Update { offset: u32::MAX, reserved: 0, data: fd as u64 };
    // SAFETY: one structure of the layout that this operation takes, which outlives the call.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            fd,
            IORING_REGISTER_RING_FDS,
            &raw mut update,
            1_u32,
        )
    };
    if answer == 1 {
        return Ok(i32::try_from(update.offset).ok());
    }
    give_up(toggle, "registering the ring's descriptor").map(|()| None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_lacks_something_is_too_old() {
        let too_old =
            IoError::KernelTooOld { required: kernel::REQUIRED, found: kernel::version() };
        assert_eq!(judge(true, |_| true), Ok(()));
        assert_eq!(judge(false, |_| true), Err(too_old));
        for missing in NEEDED {
            assert_eq!(judge(true, |code| code != missing), Err(too_old), "operation {missing}");
        }
        // What Linux 6.0 knows: all but the newest.
        assert_eq!(judge(true, |code| code < opcode::SendMsgZc::CODE), Err(too_old));
        assert!(NEEDED.into_iter().all(|code| code <= opcode::SendMsgZc::CODE));
    }
}
