//! Anonymous memory from the system, with huge pages where there are any.
//!
//! Role: map, advise, prefault, unmap. Not role: dividing it up; the pool does that.
//!
//! *Invariant*: a region is zeroed, starts at a page, neither moves nor grows, and is unmapped when
//! it is dropped; so it is dropped after everything that points into it.

use std::fs;
use std::ptr::{self, NonNull};

use super::errno;
use crate::config::{HugePages, Toggle};
use crate::error::{IoError, Result};

const PAGE_LEN: usize = 4096;
const HUGE_LEN: usize = 2 << 20;
const FREE_HUGE_PAGES: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages";
const TRANSPARENT: &str = "/sys/kernel/mm/transparent_hugepage/enabled";

/// A mapping of this process's own.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    len: usize,
    huge: HugePages,
}

impl Region {
    /// Maps at least `len` bytes. With `prefault` they are there before the first use.
    ///
    /// Huge pages: from hugetlbfs if enough are free, else transparent ones, else none. A region
    /// below half a huge page is not worth one unless `On` asks for it.
    ///
    /// # Errors
    /// [`IoError::NotSupportedOnBackend`] when `On` asks for huge pages and there are none;
    /// [`IoError::Os`] when there is no memory.
    pub(crate) fn new(len: usize, huge: Toggle, prefault: bool) -> Result<Self> {
        let len = len.max(1);
        let is_worth_it = huge == Toggle::On || (huge == Toggle::Auto && len >= HUGE_LEN / 2);
        if is_worth_it {
            if let Some(region) = Self::hugetlb(len, prefault).or_else(|| Self::transparent(len)) {
                region.prefault_if(prefault)?;
                return Ok(region);
            }
            if huge == Toggle::On {
                return Err(IoError::NotSupportedOnBackend {
                    backend: "io_uring",
                    feature: "huge pages (vm.nr_hugepages is 0 and transparent_hugepage is never)",
                });
            }
        }
        let len = len.next_multiple_of(PAGE_LEN);
        let region = Self { base: map(len, 0)?, len, huge: HugePages::None };
        region.prefault_if(prefault)?;
        Ok(region)
    }

    fn hugetlb(len: usize, prefault: bool) -> Option<Self> {
        let len = len.next_multiple_of(HUGE_LEN);
        let free: usize = fs::read_to_string(FREE_HUGE_PAGES).ok()?.trim().parse().ok()?;
        if free < len / HUGE_LEN {
            return None;
        }
        let base = map(len, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB).ok()?;
        let region = Self { base, len, huge: HugePages::Hugetlb };
        // A control group may refuse at the first use what the mapping had promised.
        if prefault { region.populate().is_ok().then_some(region) } else { Some(region) }
    }

    fn transparent(len: usize) -> Option<Self> {
        if fs::read_to_string(TRANSPARENT).ok()?.contains("[never]") {
            return None;
        }
        let len = len.next_multiple_of(HUGE_LEN);
        let loose = map(len + HUGE_LEN, 0).ok()?;
        let front = loose.as_ptr().align_offset(HUGE_LEN);
        let base = NonNull::new(loose.as_ptr().wrapping_add(front))?;
        unmap(loose.as_ptr(), front);
        unmap(base.as_ptr().wrapping_add(len), HUGE_LEN - front);
        let region = Self { base, len, huge: HugePages::Transparent };
        region.advise(libc::MADV_HUGEPAGE).is_ok().then_some(region)
    }

    fn prefault_if(&self, prefault: bool) -> Result<()> {
        if !prefault {
            return Ok(());
        }
        match self.populate() {
            // Linux before 5.14: touch each page.
            Err(libc::EINVAL) => {
                for offset in (0..self.len).step_by(PAGE_LEN) {
                    // SAFETY: within the mapping, which is zeroed and not yet in use.
                    unsafe { self.base.as_ptr().add(offset).write_volatile(0) };
                }
                Ok(())
            }
            Err(code) => Err(IoError::os("madvise(MADV_POPULATE_WRITE)", code)),
            Ok(()) => Ok(()),
        }
    }

    fn populate(&self) -> Result<(), i32> {
        /// Each signal may cut a populate short; the next one goes on where it stopped.
        const INTERRUPTIONS_MAX: usize = 64;
        for _ in 0..INTERRUPTIONS_MAX {
            match self.advise(libc::MADV_POPULATE_WRITE) {
                Err(libc::EINTR | libc::EAGAIN) => {}
                answer => return answer,
            }
        }
        Err(libc::EINTR)
    }

    fn advise(&self, advice: i32) -> Result<(), i32> {
        // SAFETY: the range is this mapping; none of the advices used changes its content.
        match unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, advice) } {
            0 => Ok(()),
            _ => Err(errno()),
        }
    }

    /// The first byte.
    pub(crate) const fn base(&self) -> NonNull<u8> {
        self.base
    }

    #[cfg(test)]
    /// The bytes mapped: what was asked for, rounded up to pages.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// What backs it.
    pub(crate) const fn huge(&self) -> HugePages {
        self.huge
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        unmap(self.base.as_ptr(), self.len);
    }
}

fn map(len: usize, flags: i32) -> Result<NonNull<u8>> {
    // SAFETY: a new mapping, at an address that the system chooses.
    let base = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
            -1,
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(IoError::os("mmap", errno()));
    }
    NonNull::new(base.cast()).ok_or(IoError::os("mmap", libc::ENOMEM))
}

fn unmap(base: *mut u8, len: usize) {
    if len > 0 {
        // SAFETY: the callers own this part of a mapping and give it up.
        unsafe { libc::munmap(base.cast(), len) };
    }
}

/// Forbids writes to whole pages, or allows them again: a write is the end of the process.
///
/// # Panics
/// When the kernel refuses.
#[cfg(test)]
pub(crate) fn forbid_writes(pages: (*const u8, usize), forbid: bool) {
    let (at, len) = pages;
    let access = if forbid { libc::PROT_READ } else { libc::PROT_READ | libc::PROT_WRITE };
    // SAFETY: mprotect(2) changes no memory; who writes there all the same is killed.
    let result = unsafe { libc::mprotect(at.cast_mut().cast(), len, access) };
    assert_eq!(result, 0, "mprotect");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(len: usize, huge: Toggle, prefault: bool) -> Region {
        let region = Region::new(len, huge, prefault).unwrap();
        assert!(region.len() >= len && region.base().as_ptr().addr().is_multiple_of(PAGE_LEN));
        // SAFETY: the mapping is this test's alone and lives for as long as the slice.
        let bytes = unsafe { std::slice::from_raw_parts_mut(region.base().as_ptr(), region.len()) };
        assert!(bytes.iter().all(|byte| *byte == 0));
        bytes.fill(0xa5);
        region
    }

    #[test]
    fn maps_what_was_asked_for() {
        for prefault in [false, true] {
            assert_eq!(check(1, Toggle::Auto, prefault).len(), PAGE_LEN);
            assert_eq!(check(5 << 20, Toggle::Off, prefault).huge(), HugePages::None);
            let auto = check(5 << 20, Toggle::Auto, prefault);
            if auto.huge() != HugePages::None {
                assert!(auto.base().as_ptr().addr().is_multiple_of(HUGE_LEN));
                assert_eq!(auto.len(), 6 << 20);
            }
        }
    }

    #[test]
    fn on_is_a_promise_or_an_error() {
        match Region::new(1, Toggle::On, false) {
            Ok(region) => assert_ne!(region.huge(), HugePages::None),
            Err(error) => {
                assert!(matches!(error, IoError::NotSupportedOnBackend { .. }), "{error}")
            }
        }
    }

    #[test]
    fn prefaulting_makes_it_resident() {
        let region = check(8 << 20, Toggle::Off, true);
        let mut resident = vec![0_u8; region.len() / PAGE_LEN];
        // SAFETY: the vector has one byte for each page of the mapping.
        let answer = unsafe {
            libc::mincore(region.base().as_ptr().cast(), region.len(), resident.as_mut_ptr())
        };
        assert_eq!(answer, 0);
        assert!(resident.iter().all(|page| page & 1 == 1));
    }

    #[test]
    fn too_much_is_an_error() {
        let error = Region::new(1 << 46, Toggle::Auto, false).err();
        assert!(error.is_none_or(|e| matches!(e, IoError::Os { .. })));
        assert!(Region::new(1 << 62, Toggle::Off, false).is_err());
    }
}
