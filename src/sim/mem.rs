//! The only lines of the simulator that touch the engine's memory.
//!
//! Role: read what a send names, write into provided buffers, checksum. Not role: deciding when.
//!
//! *Invariant* K5: memory that an operation names is valid until its last completion was taken; K4:
//! a provided buffer is the kernel's until a completion names it.

use std::collections::VecDeque;
use std::slice;

use crate::ring::op::Fd;
use crate::sys::addr::SockAddr;
use crate::sys::gather::Gather;

/// Bytes that an operation names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    pub(super) ptr: *const u8,
    pub(super) len: usize,
}

impl Piece {
    fn bytes<'a>(self) -> &'a [u8] {
        if self.len == 0 {
            return &[];
        }
        // SAFETY: K5. The slice is used up before control returns to the engine.
        unsafe { slice::from_raw_parts(self.ptr, self.len) }
    }
}

/// Appends up to `count_max` bytes of `pieces`, from byte `from` on; how many.
pub(super) fn copy_out(
    pieces: &[Piece],
    from: usize,
    count_max: usize,
    into: &mut VecDeque<u8>,
) -> usize {
    let (mut skip, mut left) = (from, count_max);
    for piece in pieces {
        let bytes = piece.bytes();
        let start = skip.min(bytes.len());
        skip -= start;
        let take = left.min(bytes.len() - start);
        into.extend(&bytes[start..start + take]);
        left -= take;
    }
    count_max - left
}

/// The pieces that hold the first `len` bytes.
pub(super) fn front(pieces: &[Piece], len: usize) -> Vec<Piece> {
    let mut left = len;
    let mut out = Vec::new();
    for piece in pieces {
        let len = piece.len.min(left);
        left -= len;
        if len > 0 {
            out.push(Piece { ptr: piece.ptr, len });
        }
    }
    out
}

/// All bytes of one piece.
pub(super) fn to_vec(ptr: *const u8, len: usize) -> Vec<u8> {
    Piece { ptr, len }.bytes().to_vec()
}

/// A number that changes with any byte.
pub(super) fn checksum(pieces: &[Piece]) -> u64 {
    const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut sum = 0x1234_5678_u64;
    let mut mix = |word: u64| sum = (sum.rotate_left(5) ^ word).wrapping_mul(PRIME);
    for piece in pieces {
        mix(piece.ptr.addr() as u64);
        let (words, rest) = piece.bytes().as_chunks::<8>();
        words.iter().for_each(|word| mix(u64::from_ne_bytes(*word)));
        rest.iter().for_each(|byte| mix(u64::from(*byte)));
    }
    sum
}

/// The pieces of a sealed gather.
pub(super) fn pieces(gather: *const Gather) -> Vec<Piece> {
    // SAFETY: K5: it stays where it is, unchanged, until the operation's last completion.
    let gather = unsafe { &*gather };
    gather.iter().map(|(ptr, len)| Piece { ptr, len }).collect()
}

/// The address of a connect, or of a datagram.
pub(super) fn address(addr: *const SockAddr) -> SockAddr {
    // SAFETY: K5.
    unsafe { addr.read() }
}

/// The descriptor of an installation.
pub(super) fn descriptor(fd: *const Fd) -> Fd {
    // SAFETY: K5.
    unsafe { fd.read() }
}

/// Moves the front `len` bytes of `from` into the engine's memory.
pub(super) fn fill(ptr: *mut u8, len: usize, from: &mut VecDeque<u8>) {
    let (first, second) = front_slices(from, len);
    write(ptr, first);
    write(ptr.wrapping_add(first.len()), second);
    from.drain(..len);
}

/// The front `len` bytes of `from`, which are taken out of it. By slices: a simulated network
/// spends most of its time here.
pub(super) fn take_front(from: &mut VecDeque<u8>, len: usize) -> Vec<u8> {
    let (first, second) = front_slices(from, len);
    let bytes = [first, second].concat();
    from.drain(..len);
    bytes
}

fn front_slices(from: &VecDeque<u8>, len: usize) -> (&[u8], &[u8]) {
    let (front, back) = from.as_slices();
    let first = len.min(front.len());
    (&front[..first], &back[..len - first])
}

/// Writes `bytes` into the engine's memory.
pub(super) fn write(ptr: *mut u8, bytes: &[u8]) {
    // SAFETY: K4: the buffer is as long as it was provided, and no longer than that is written.
    unsafe { ptr.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) }
}

/// Overwrites what was handed back, so that a late look at it is noticed.
pub(super) fn poison(ptr: *mut u8, len: usize) {
    // SAFETY: K4.
    unsafe { ptr.write_bytes(0xdb, len) }
}
