//! Datagrams by the dozen: the arrays of recvmmsg(2) and sendmmsg(2).
//!
//! Role: stage buffers and datagrams, and read the results, without an allocation. Not role: owning
//! the buffers, choosing segment sizes.
//!
//! *Invariant*: the pointers between the arrays are set right before each call, so that a batch may
//! be moved between calls; the memory behind the staged pointers is the caller's until they are
//! cleared.

use std::net::IpAddr;
use std::ptr;

use super::addr::SockAddr;
use super::cmsg::{Ancillary, Writer, space};

/// Datagrams, or trains of datagrams, of one call.
pub(crate) const BATCH_MAX: usize = 64;

/// Room for every control message that a socket can ask for, both families at once.
const RECV_CONTROL_LEN: usize = space(16) + space(12) + space(1) + space(20) + space(4) + space(4);
/// Segment size and both families' traffic class.
const SEND_CONTROL_LEN: usize = space(2) + space(4) + space(4);

/// One received datagram, or a train of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Received {
    /// What the buffer was staged with.
    pub(crate) key: u32,
    /// Bytes in the buffer.
    pub(crate) len: u32,
    /// Its sender.
    pub(crate) from: SockAddr,
    /// The address it was sent to, when the socket reports it.
    pub(crate) local: Option<IpAddr>,
    /// The ECN bits, when the socket reports them.
    pub(crate) ecn: u8,
    /// When the kernel received it, nanoseconds since 1970; 0 when the socket does not report it.
    pub(crate) timestamp_ns: u64,
    /// The length of each datagram of a train but the last; 0 when it is a single datagram.
    pub(crate) segment: u16,
    /// The datagram was longer than the buffer.
    pub(crate) truncated: bool,
}

impl Received {
    pub(crate) const EMPTY: Self = Self {
        key: 0,
        len: 0,
        from: SockAddr::EMPTY,
        local: None,
        ecn: 0,
        timestamp_ns: 0,
        segment: 0,
        truncated: false,
    };
}

/// A control area with the alignment that the kernel likes.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control<const N: usize>([u8; N]);

const HEADER: libc::mmsghdr = libc::mmsghdr {
    msg_hdr: libc::msghdr {
        msg_name: ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: ptr::null_mut(),
        msg_iovlen: 0,
        msg_control: ptr::null_mut(),
        msg_controllen: 0,
        msg_flags: 0,
    },
    msg_len: 0,
};

const NO_PIECE: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

struct RecvArrays {
    headers: [libc::mmsghdr; BATCH_MAX],
    pieces: [libc::iovec; BATCH_MAX],
    names: [SockAddr; BATCH_MAX],
    controls: [Control<RECV_CONTROL_LEN>; BATCH_MAX],
    results: [Received; BATCH_MAX],
}

/// Buffers to receive into, and what arrived in them.
pub(crate) struct RecvBatch {
    arrays: Box<RecvArrays>,
    len: usize,
}

impl RecvBatch {
    pub(crate) fn new() -> Self {
        let arrays = Box::new(RecvArrays {
            headers: [HEADER; BATCH_MAX],
            pieces: [NO_PIECE; BATCH_MAX],
            names: [SockAddr::EMPTY; BATCH_MAX],
            controls: [Control([0; RECV_CONTROL_LEN]); BATCH_MAX],
            results: [Received::EMPTY; BATCH_MAX],
        });
        Self { arrays, len: 0 }
    }

    /// Forgets the staged buffers.
    pub(crate) const fn clear(&mut self) {
        self.len = 0;
    }

    /// Staged buffers.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.len == BATCH_MAX
    }

    /// Stages a buffer; false, and nothing is staged, when there is no room.
    pub(crate) fn push(&mut self, ptr: *mut u8, len: usize, key: u32) -> bool {
        if self.is_full() {
            return false;
        }
        self.arrays.pieces[self.len] = libc::iovec { iov_base: ptr.cast(), iov_len: len };
        self.arrays.results[self.len].key = key;
        self.len += 1;
        true
    }

    /// The staged buffers, in order: where, how long, and the key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (*mut u8, usize, u32)> {
        let arrays = &*self.arrays;
        (0..self.len).map(move |i| {
            let piece = &arrays.pieces[i];
            (piece.iov_base.cast(), piece.iov_len, arrays.results[i].key)
        })
    }

    /// What arrived in buffer `i`; of meaning for as many as the receive call said.
    pub(crate) fn received(&self, i: usize) -> &Received {
        &self.arrays.results[i]
    }

    /// Says what arrived in buffer `i`. The key stays the one it was staged with.
    pub(crate) fn fill(&mut self, i: usize, received: Received) {
        let key = self.arrays.results[i].key;
        self.arrays.results[i] = Received { key, ..received };
    }

    #[cfg(test)]
    /// Forgets the first `count` buffers; those behind them stay staged and move to the front.
    pub(crate) fn consume(&mut self, count: usize) {
        let count = count.min(self.len);
        self.arrays.pieces.copy_within(count..self.len, 0);
        self.arrays.results.copy_within(count..self.len, 0);
        self.len -= count;
    }

    /// The headers for recvmmsg(2), good until this batch is moved or changed.
    pub(crate) fn prepare(&mut self) -> *mut libc::mmsghdr {
        let arrays = &mut *self.arrays;
        let names = arrays.names.as_mut_ptr();
        let controls = arrays.controls.as_mut_ptr();
        let pieces = arrays.pieces.as_mut_ptr();
        for (i, header) in arrays.headers[..self.len].iter_mut().enumerate() {
            header.msg_hdr = libc::msghdr {
                msg_name: names.wrapping_add(i).cast(),
                msg_namelen: SockAddr::CAPACITY,
                msg_iov: pieces.wrapping_add(i),
                msg_iovlen: 1,
                msg_control: controls.wrapping_add(i).cast(),
                msg_controllen: RECV_CONTROL_LEN,
                msg_flags: 0,
            };
            header.msg_len = 0;
        }
        arrays.headers.as_mut_ptr()
    }

    /// Reads what the kernel wrote into the first `count` headers.
    pub(crate) fn collect(&mut self, count: usize) {
        let arrays = &mut *self.arrays;
        for i in 0..count.min(self.len) {
            let header = &arrays.headers[i].msg_hdr;
            let control = &arrays.controls[i].0;
            let beside = Ancillary::parse(&control[..header.msg_controllen.min(control.len())]);
            arrays.names[i].set_len(header.msg_namelen);
            arrays.results[i] = Received {
                key: arrays.results[i].key,
                len: arrays.headers[i].msg_len,
                from: arrays.names[i],
                local: beside.local,
                ecn: beside.ecn,
                timestamp_ns: beside.timestamp_ns,
                segment: beside.segment,
                truncated: header.msg_flags & libc::MSG_TRUNC != 0,
            };
        }
    }
}

/// One datagram to send, or a train of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendEntry {
    /// The receiver; `None` on a connected socket.
    pub(crate) to: Option<SockAddr>,
    pub(crate) ptr: *const u8,
    pub(crate) len: usize,
    /// Cut into datagrams of this length; 0 for one datagram.
    pub(crate) segment: u16,
    /// `IP_TOS`/`IPV6_TCLASS`, the ECN bits included; `None` for the socket's own.
    pub(crate) tos: Option<u8>,
}

impl SendEntry {
    const EMPTY: Self = Self { to: None, ptr: ptr::null(), len: 0, segment: 0, tos: None };

    /// Writes the control messages; their length.
    fn write_control(&self, room: &mut [u8]) -> usize {
        let mut out = Writer::new(room);
        if self.segment != 0 {
            out.push(libc::SOL_UDP, libc::UDP_SEGMENT, &self.segment.to_ne_bytes());
        }
        if let Some(tos) = self.tos {
            // Each family skips the other's message. IPV6_TCLASS has no effect towards a mapped
            // address, so the kind is chosen by what travels; a connected socket gets both.
            let is_v4 = self.to.map(|to| to.is_v4_on_the_wire());
            let value = i32::from(tos).to_ne_bytes();
            if is_v4 != Some(false) {
                out.push(libc::IPPROTO_IP, libc::IP_TOS, &value);
            }
            if is_v4 != Some(true) {
                out.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &value);
            }
        }
        out.len()
    }
}

struct SendArrays {
    entries: [SendEntry; BATCH_MAX],
    headers: [libc::mmsghdr; BATCH_MAX],
    pieces: [libc::iovec; BATCH_MAX],
    controls: [Control<SEND_CONTROL_LEN>; BATCH_MAX],
}

/// Datagrams to send.
pub(crate) struct SendBatch {
    arrays: Box<SendArrays>,
    len: usize,
}

impl SendBatch {
    pub(crate) fn new() -> Self {
        let arrays = Box::new(SendArrays {
            entries: [SendEntry::EMPTY; BATCH_MAX],
            headers: [HEADER; BATCH_MAX],
            pieces: [NO_PIECE; BATCH_MAX],
            controls: [Control([0; SEND_CONTROL_LEN]); BATCH_MAX],
        });
        Self { arrays, len: 0 }
    }

    /// Forgets the staged datagrams.
    pub(crate) const fn clear(&mut self) {
        self.len = 0;
    }

    /// Staged datagrams.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.len == BATCH_MAX
    }

    /// Stages a datagram, or a train of datagrams of `segment` bytes (0: one datagram); false, and
    /// nothing is staged, when there is no room.
    pub(crate) fn push(
        &mut self,
        to: Option<SockAddr>,
        ptr: *const u8,
        len: usize,
        segment: u16,
        tos: Option<u8>,
    ) -> bool {
        if self.is_full() {
            return false;
        }
        self.arrays.entries[self.len] = SendEntry { to, ptr, len, segment, tos };
        self.len += 1;
        true
    }

    /// A staged datagram.
    pub(crate) fn entry(&self, i: usize) -> SendEntry {
        self.arrays.entries[..self.len][i]
    }

    #[cfg(test)]
    /// Forgets the first `count` datagrams; those behind them stay staged and move to the front.
    pub(crate) fn consume(&mut self, count: usize) {
        let count = count.min(self.len);
        self.arrays.entries.copy_within(count..self.len, 0);
        self.len -= count;
    }

    /// The headers for sendmmsg(2), good until this batch is moved or changed.
    pub(crate) fn prepare(&mut self) -> *mut libc::mmsghdr {
        let arrays = &mut *self.arrays;
        for (i, entry) in arrays.entries[..self.len].iter().enumerate() {
            arrays.pieces[i] =
                libc::iovec { iov_base: entry.ptr.cast_mut().cast(), iov_len: entry.len };
            let control = &mut arrays.controls[i].0;
            let control_len = entry.write_control(control);
            let (name, name_len) =
                entry.to.as_ref().map_or((ptr::null(), 0), |to| (to.as_ptr(), to.len()));
            arrays.headers[i].msg_hdr = libc::msghdr {
                msg_name: name.cast_mut().cast(),
                msg_namelen: name_len,
                msg_iov: &raw mut arrays.pieces[i],
                msg_iovlen: 1,
                msg_control: if control_len == 0 {
                    ptr::null_mut()
                } else {
                    control.as_mut_ptr().cast()
                },
                msg_controllen: control_len,
                msg_flags: 0,
            };
        }
        arrays.headers.as_mut_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_64_and_keeps_what_was_not_consumed() {
        let mut batch = RecvBatch::new();
        let mut buffer = [0_u8; 4];
        for key in 0..BATCH_MAX as u32 {
            assert!(batch.push(buffer.as_mut_ptr(), 4, key));
        }
        assert!(batch.is_full() && !batch.push(buffer.as_mut_ptr(), 4, 0));
        batch.fill(0, Received { len: 3, key: 99, ..Received::EMPTY });
        assert_eq!((batch.received(0).len, batch.received(0).key), (3, 0));
        batch.consume(60);
        assert_eq!(batch.iter().map(|(_, _, key)| key).collect::<Vec<_>>(), [60, 61, 62, 63]);
        batch.consume(99);
        assert_eq!(batch.len(), 0);
    }

    #[test]
    fn the_traffic_class_follows_what_travels() {
        let level = |to: Option<&str>| {
            let to = to.map(|text| text.parse::<std::net::SocketAddr>().unwrap().into());
            let mut room = [0; SEND_CONTROL_LEN];
            let entry = SendEntry { to, tos: Some(2), ..SendEntry::EMPTY };
            let len = entry.write_control(&mut room);
            (len, i32::from_ne_bytes(room[8..12].try_into().unwrap()))
        };
        assert_eq!(level(Some("1.2.3.4:1")), (24, libc::IPPROTO_IP));
        assert_eq!(level(Some("[::ffff:1.2.3.4]:1")), (24, libc::IPPROTO_IP));
        assert_eq!(level(Some("[::1]:1")), (24, libc::IPPROTO_IPV6));
        assert_eq!(level(None), (48, libc::IPPROTO_IP));
    }
}
