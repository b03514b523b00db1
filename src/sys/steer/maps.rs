//! The maps of an extended program, and its loading: bpf(2).
//!
//! Role: one call each. Not role: what is in the maps, and when.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::extended::Extended;
use crate::error::{Errno, IoError, Result};
use crate::sys::errno;

// Commands and kinds of linux/bpf.h.
const MAP_CREATE: i32 = 0;
const MAP_UPDATE_ELEM: i32 = 2;
const MAP_DELETE_ELEM: i32 = 3;
const PROG_LOAD: i32 = 5;
const ARRAY: u32 = 2;
const REUSEPORT_SOCKARRAY: u32 = 20;
const SK_REUSEPORT: u32 = 21;
/// None of the helpers that are used asks for another one.
const LICENSE: &std::ffi::CStr = c"MIT";

/// Times that a program is loaded, if signals interrupt it.
const LOADS_MAX: u32 = 8;

#[derive(Default)]
#[repr(C)]
struct NewMap {
    kind: u32,
    key_len: u32,
    value_len: u32,
    entries: u32,
    flags: u32,
}

#[derive(Default)]
#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[derive(Default)]
#[repr(C)]
struct NewProgram {
    kind: u32,
    insn_count: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_len: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The sockets of a group, and who gets what has no id.
#[derive(Debug)]
pub(super) struct Maps {
    pub(super) sockets: OwnedFd,
    pub(super) spread: OwnedFd,
    /// Of the spread: a power of two.
    pub(super) entries: u32,
}

impl Maps {
    pub(super) fn new(shards: u16, entries: usize) -> Result<Self> {
        let entries = entries as u32;
        Ok(Self {
            sockets: new_map(REUSEPORT_SOCKARRAY, 8, shards.into())?,
            spread: new_map(ARRAY, 4, entries)?,
            entries,
        })
    }

    /// Gives a shard its socket, which is in no map yet.
    pub(super) fn put(&self, shard: u16, socket: BorrowedFd<'_>) -> Result<()> {
        const NEW: u64 = 1;
        let value = socket.as_raw_fd() as u64;
        element("bpf(BPF_MAP_UPDATE_ELEM)", MAP_UPDATE_ELEM, &self.sockets, shard, &value, NEW)
    }

    /// Takes a shard's socket out.
    pub(super) fn remove(&self, shard: u16) -> Result<()> {
        element("bpf(BPF_MAP_DELETE_ELEM)", MAP_DELETE_ELEM, &self.sockets, shard, &0_u64, 0)
    }

    /// Says whose an entry of the spread is.
    pub(super) fn set_spread(&self, entry: u16, shard: u32) -> Result<()> {
        element("bpf(BPF_MAP_UPDATE_ELEM)", MAP_UPDATE_ELEM, &self.spread, entry, &shard, 0)
    }
}

fn new_map(kind: u32, value_len: u32, entries: u32) -> Result<OwnedFd> {
    let map = NewMap { kind, key_len: 4, value_len, entries, flags: 0 };
    let fd = bpf("bpf(BPF_MAP_CREATE)", MAP_CREATE, &map)?;
    // SAFETY: the call just made the descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn element<T>(
    call: &'static str,
    command: i32,
    map: &OwnedFd,
    key: u16,
    value: &T,
    flags: u64,
) -> Result<()> {
    let key = u32::from(key);
    let element = Element {
        map: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: (&raw const key) as u64,
        // The command that deletes wants no value.
        value: if command == MAP_DELETE_ELEM { 0 } else { (&raw const *value) as u64 },
        flags,
    };
    bpf(call, command, &element).map(drop)
}

/// Loads a program.
pub(super) fn load(program: &Extended) -> Result<OwnedFd> {
    let attributes = NewProgram {
        kind: SK_REUSEPORT,
        insn_count: program.0.len() as u32,
        insns: program.0.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        ..NewProgram::default()
    };
    let load = || bpf("bpf(BPF_PROG_LOAD)", PROG_LOAD, &attributes);
    let mut loaded = load();
    for _ in 1..LOADS_MAX {
        // The verifier gives way to a signal that waits, and is to be asked again.
        let Err(IoError::Os { errno: Errno(errno::EAGAIN), .. }) = loaded else { break };
        loaded = load();
    }
    let fd = loaded?;
    // SAFETY: the call just made the descriptor, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// One call. Its attributes may hold addresses of values that outlive it, of the lengths that the
/// map or the program was given.
fn bpf<T>(call: &'static str, command: i32, attributes: &T) -> Result<i32> {
    let (attributes, len) = (&raw const *attributes, size_of::<T>());
    // SAFETY: attributes and what they point to are borrowed by the callers for the whole call;
    // the kernel reads them, no more than `len`, and writes none of them.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, len) };
    i32::try_from(answer).ok().filter(|fd| *fd >= 0).ok_or_else(|| IoError::os(call, errno()))
}
