//! The ring's knobs, and what the kernel made of them.

use super::{Toggle, check};
use crate::error::{KernelVersion, Result};

/// Knobs of the io_uring backend. The defaults suit a shard with a core of its own.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UringConfig {
    /// Submission entries. Default 1024; 64 to 32,768, a power of two. Halved down to 64 when
    /// `RLIMIT_MEMLOCK` does not allow more.
    pub sq_entries: u32,
    /// Completion entries. Default 0: four times `sq_entries`. Else up to 65,536, a power of two,
    /// at least twice `sq_entries`.
    pub cq_entries: u32,
    /// `IORING_SETUP_DEFER_TASKRUN`: completions are produced only when the loop asks. Default
    /// `Auto`.
    pub defer_taskrun: Toggle,
    /// `IORING_SETUP_NO_SQARRAY` (Linux 6.6). Default `Auto`.
    pub no_sqarray: Toggle,
    /// The ring's own descriptor registered, which saves a look-up per system call. Default `Auto`.
    pub register_ring_fd: Toggle,
    /// Sockets in the ring's fixed file table, which saves a look-up per operation. Default `Auto`:
    /// where the kernel closes at once what is taken out of it (Linux 6.13).
    pub fixed_files: Toggle,
    /// `IORING_OP_SEND_ZC` for large sends. Default `Auto`: from `zero_copy_min` bytes, and no
    /// longer for a connection whose notifications say that the kernel copied anyway (as loopback
    /// does).
    pub zero_copy_send: Toggle,
    /// Bytes from which a send may be zero-copy. Default 16,384; 1024 to 1 GiB.
    pub zero_copy_min: usize,
}

impl Default for UringConfig {
    fn default() -> Self {
        Self {
            sq_entries: 1024,
            cq_entries: 0,
            defer_taskrun: Toggle::Auto,
            no_sqarray: Toggle::Auto,
            register_ring_fd: Toggle::Auto,
            fixed_files: Toggle::Auto,
            zero_copy_send: Toggle::Auto,
            zero_copy_min: 16 * 1024,
        }
    }
}

impl UringConfig {
    /// The completion entries that will be asked for.
    pub(crate) fn cq_entries_wanted(&self) -> u32 {
        if self.cq_entries == 0 { (self.sq_entries * 4).min(65_536) } else { self.cq_entries }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let (sq, cq) = (self.sq_entries, self.cq_entries);
        check(
            "UringConfig::sq_entries",
            sq as usize,
            sq.is_power_of_two() && (64..=32_768).contains(&sq),
            "a power of two from 64 to 32,768",
        )?;
        check(
            "UringConfig::cq_entries",
            cq as usize,
            cq == 0 || (cq.is_power_of_two() && cq >= 2 * sq && cq <= 65_536),
            "0, or a power of two from twice sq_entries to 65,536",
        )?;
        check(
            "UringConfig::zero_copy_min",
            self.zero_copy_min,
            (1024..=1 << 30).contains(&self.zero_copy_min),
            "1024 to 1,073,741,824",
        )
    }
}

/// What backs the slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HugePages {
    /// Ordinary pages.
    #[default]
    None,
    /// Transparent huge pages were asked for (`MADV_HUGEPAGE`).
    Transparent,
    /// Pages of hugetlbfs.
    Hugetlb,
}

/// What the kernel gave: the answer to every [`Toggle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Effective {
    /// `io_uring` or `sim`.
    pub backend: &'static str,
    /// The running kernel, if there is one.
    pub kernel: Option<KernelVersion>,
    /// Submission entries.
    pub sq_entries: u32,
    /// Completion entries.
    pub cq_entries: u32,
    /// `DEFER_TASKRUN` is on.
    pub defer_taskrun: bool,
    /// `NO_SQARRAY` is on.
    pub no_sqarray: bool,
    /// The ring's descriptor is registered.
    pub ring_fd_registered: bool,
    /// Entries in the fixed file table; 0 when it is not used.
    pub fixed_files: u32,
    /// Zero-copy sends may be used.
    pub zero_copy_send: bool,
    /// What backs the slots.
    pub huge_pages: HugePages,
}
