//! Several pieces of memory that are sent as one.
//!
//! Role: a `msghdr` with its vectors, for `SENDMSG`. Not role: owning what it points to.
//!
//! *Invariant* K5: it neither moves nor changes from [`Gather::seal`] until the operation's last
//! completion, and neither do the bytes it points to. Its owner keeps it in a table that never
//! grows.

use std::ptr;

/// A message header and room for [`Gather::CAPACITY`] pieces.
#[repr(C)]
pub(crate) struct Gather {
    header: libc::msghdr,
    pieces: [libc::iovec; Self::CAPACITY],
    count: usize,
}

impl Gather {
    /// The most pieces of one send.
    pub(crate) const CAPACITY: usize = 32;

    pub(crate) const fn new() -> Self {
        Self {
            header: libc::msghdr {
                msg_name: ptr::null_mut(),
                msg_namelen: 0,
                msg_iov: ptr::null_mut(),
                msg_iovlen: 0,
                msg_control: ptr::null_mut(),
                msg_controllen: 0,
                msg_flags: 0,
            },
            pieces: [libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; Self::CAPACITY],
            count: 0,
        }
    }

    pub(crate) const fn clear(&mut self) {
        self.count = 0;
    }

    /// Adds a piece; false, and nothing is added, when there is no room.
    pub(crate) const fn push(&mut self, ptr: *const u8, len: usize) -> bool {
        if self.count == Self::CAPACITY {
            return false;
        }
        self.pieces[self.count] = libc::iovec { iov_base: ptr.cast_mut().cast(), iov_len: len };
        self.count += 1;
        true
    }

    #[cfg(test)]
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    #[cfg(test)]
    pub(crate) const fn is_full(&self) -> bool {
        self.count == Self::CAPACITY
    }

    /// The pieces, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (*const u8, usize)> {
        self.pieces[..self.count]
            .iter()
            .map(|piece| (piece.iov_base.cast_const().cast(), piece.iov_len))
    }

    /// Points the header at the pieces. The result is what `Op::SendMsg` takes; it is good until
    /// this is moved or changed.
    pub(crate) const fn seal(&mut self) -> *const Self {
        self.header.msg_iov = self.pieces.as_mut_ptr();
        self.header.msg_iovlen = self.count;
        ptr::from_mut(self).cast_const()
    }

    /// The header of a sealed one, without looking at it.
    pub(crate) const fn header(sealed: *const Self) -> *const libc::msghdr {
        // The header is the first field, `repr(C)`.
        sealed.cast()
    }
}

const _: () = assert!(std::mem::offset_of!(Gather, header) == 0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_32_pieces_and_points_at_itself() {
        let mut gather = Box::new(Gather::new());
        let byte = 7_u8;
        for _ in 0..Gather::CAPACITY {
            assert!(!gather.is_full() && gather.push(&raw const byte, 1));
        }
        assert!(gather.is_full() && !gather.push(&raw const byte, 1));
        assert_eq!((gather.count(), gather.iter().count()), (32, 32));
        let header = Gather::header(gather.seal());
        assert!(ptr::eq(header.cast(), &raw const *gather));
        assert!(ptr::eq(gather.header.msg_iov, &raw const gather.pieces[0]));
        assert_eq!(gather.header.msg_iovlen, 32);
        gather.clear();
        assert_eq!(gather.count(), 0);
    }
}
