//! Datagrams by the dozen: the arrays of recvmmsg(2) and sendmmsg(2).
//!
//! Role: stage buffers and datagrams, and read the results, without an allocation; keep what came
//! beside each datagram, by the key of its buffer. Not role: owning the buffers, choosing segment
//! sizes.
//!
//! *Invariants*
//! - The pointers between the arrays are set right before each call, so that a batch may be moved
//!   between calls. Of a header only what differs between datagrams is written.
//! - The memory behind the staged pointers is the caller's until they are cleared.
//! - A note changes only in a call that was given its buffer: it may be pointed at as long as the
//!   buffer is not staged.

use std::net::IpAddr;
use std::ptr;

use super::addr::SockAddr;
use super::cmsg::{Ancillary, Writer, space};

/// Datagrams, or trains of datagrams, of one call.
pub(crate) const BATCH_MAX: usize = 64;

/// Room for every control message that a socket can ask for, both families at once.
const RECV_CONTROL_LEN: usize = space(16) + space(12) + space(1) + space(20) + space(4) + space(4);
/// Segment size, both families' traffic class, and one family's source.
const SEND_CONTROL_LEN: usize = space(2) + space(4) + space(4) + space(20);

/// What is known of a received datagram, or of a train of them, besides its bytes. One line of the
/// cache, and the kernel writes the sender right into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
pub(crate) struct Received {
    /// Its sender.
    pub(crate) from: SockAddr,
    /// When the kernel received it, nanoseconds since 1970; 0 when the socket does not report it.
    pub(crate) timestamp_ns: u64,
    /// The address it was sent to, when the socket reports it.
    pub(crate) local: Option<IpAddr>,
    /// The length of each datagram of a train but the last; 0 when it is a single datagram.
    pub(crate) segment: u16,
    /// The ECN bits, when the socket reports them.
    pub(crate) ecn: u8,
    /// The datagram was longer than the buffer.
    pub(crate) truncated: bool,
}

const _: () = assert!(size_of::<Received>() == 64);

impl Received {
    pub(crate) const EMPTY: Self = Self {
        from: SockAddr::EMPTY,
        timestamp_ns: 0,
        local: None,
        segment: 0,
        ecn: 0,
        truncated: false,
    };
}

/// Where a datagram arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// What the buffer was staged with.
    pub(crate) key: u32,
    /// Bytes in the buffer.
    pub(crate) len: u32,
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
        msg_iovlen: 1,
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
    keys: [u32; BATCH_MAX],
    controls: [Control<RECV_CONTROL_LEN>; BATCH_MAX],
}

/// Buffers to receive into, and what arrived in them.
pub(crate) struct RecvBatch {
    arrays: Box<RecvArrays>,
    /// By key.
    notes: Box<[Received]>,
    len: usize,
    /// Datagrams to ask for; at most `len`.
    wanted: usize,
    /// The socket asked for control messages.
    has_control: bool,
}

impl RecvBatch {
    /// For buffers with keys below `key_count`.
    pub(crate) fn new(key_count: usize) -> Self {
        let arrays = Box::new(RecvArrays {
            headers: [HEADER; BATCH_MAX],
            pieces: [NO_PIECE; BATCH_MAX],
            keys: [0; BATCH_MAX],
            controls: [Control([0; RECV_CONTROL_LEN]); BATCH_MAX],
        });
        let notes = vec![Received::EMPTY; key_count].into_boxed_slice();
        Self { arrays, notes, len: 0, wanted: 0, has_control: false }
    }

    /// Staged buffers.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.len >= BATCH_MAX
    }

    /// Stages a buffer; false, and nothing is staged, when there is no room.
    ///
    /// # Panics
    /// When no note has that key.
    #[inline]
    pub(crate) fn push(&mut self, ptr: *mut u8, len: usize, key: u32) -> bool {
        if self.is_full() {
            return false;
        }
        assert!((key as usize) < self.notes.len(), "no note for the buffer");
        self.arrays.pieces[self.len] = libc::iovec { iov_base: ptr.cast(), iov_len: len };
        self.arrays.keys[self.len] = key;
        self.len += 1;
        true
    }

    /// Takes the last staged buffer back; its key.
    pub(crate) fn pop(&mut self) -> Option<u32> {
        self.len = self.len.checked_sub(1)?;
        Some(self.arrays.keys[self.len])
    }

    /// Says how many of the staged buffers the next call is given, and whether its socket asked for
    /// control messages.
    pub(crate) fn want(&mut self, count: usize, has_control: bool) {
        self.wanted = count.min(self.len);
        self.has_control = has_control;
    }

    pub(crate) const fn wanted(&self) -> usize {
        self.wanted
    }

    /// The buffers of the next call, in order: where and how long.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (*mut u8, usize)> {
        self.arrays.pieces[..self.wanted].iter().map(|p| (p.iov_base.cast(), p.iov_len))
    }

    /// What arrived in the first `count` buffers, of as many as the receive call said: where, and
    /// what was noted.
    #[inline]
    pub(crate) fn arrivals(&self, count: usize) -> impl Iterator<Item = (Arrival, &Received)> {
        let arrived = self.arrays.keys[..count].iter().zip(&self.arrays.headers);
        arrived.map(|(key, header)| {
            (Arrival { key: *key, len: header.msg_len }, &self.notes[*key as usize])
        })
    }

    /// What was last noted of the buffer with that key.
    #[inline]
    pub(crate) fn note(&self, key: u32) -> &Received {
        &self.notes[key as usize]
    }

    /// Says what arrived in buffer `i`.
    pub(crate) fn fill(&mut self, i: usize, len: u32, received: Received) {
        self.arrays.headers[i].msg_len = len;
        self.notes[self.arrays.keys[i] as usize] = received;
    }

    /// Forgets the first `count` buffers; those behind them stay staged and move to the front.
    pub(crate) fn consume(&mut self, count: usize) {
        let count = count.min(self.len);
        self.arrays.pieces.copy_within(count..self.len, 0);
        self.arrays.keys.copy_within(count..self.len, 0);
        self.len -= count;
    }

    /// The headers for recvmmsg(2), good until this batch is moved or changed.
    pub(crate) fn prepare(&mut self) -> *mut libc::mmsghdr {
        let arrays = &mut *self.arrays;
        let (mut control, step) = match self.has_control {
            true => (arrays.controls.as_mut_ptr(), RECV_CONTROL_LEN),
            false => (ptr::null_mut(), 0),
        };
        let pieces = arrays.pieces.as_mut_ptr();
        let headers = arrays.headers[..self.wanted].iter_mut();
        for (i, (header, key)) in headers.zip(&arrays.keys).enumerate() {
            let header = &mut header.msg_hdr;
            header.msg_name = self.notes[*key as usize].from.as_mut_ptr().cast();
            header.msg_namelen = SockAddr::CAPACITY;
            header.msg_iov = pieces.wrapping_add(i);
            header.msg_control = control.cast();
            header.msg_controllen = step;
            control = control.wrapping_byte_add(step);
        }
        arrays.headers.as_mut_ptr()
    }

    /// Reads what the kernel wrote into the first `count` headers.
    pub(crate) fn collect(&mut self, count: usize) {
        let arrays = &*self.arrays;
        let headers = &arrays.headers[..count.min(self.wanted)];
        for (i, (header, key)) in headers.iter().zip(&arrays.keys).enumerate() {
            let header = &header.msg_hdr;
            let note = &mut self.notes[*key as usize];
            note.from.set_len(header.msg_namelen);
            note.truncated = header.msg_flags & libc::MSG_TRUNC != 0;
            let beside = if self.has_control {
                let control = &arrays.controls[i].0;
                Ancillary::parse(&control[..header.msg_controllen.min(control.len())])
            } else {
                Ancillary::NONE
            };
            note.local = beside.local;
            note.ecn = beside.ecn;
            note.timestamp_ns = beside.timestamp_ns;
            note.segment = beside.segment;
        }
    }
}

const _: () = assert!(size_of::<Control<RECV_CONTROL_LEN>>() == RECV_CONTROL_LEN);

/// One datagram to send, or a train of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SendEntry {
    /// The receiver; null on a connected socket.
    pub(crate) to: *const SockAddr,
    pub(crate) ptr: *const u8,
    pub(crate) len: usize,
    pub(crate) how: Transmit,
}

/// What a datagram's control messages say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Transmit {
    /// Cut into datagrams of this length; 0 for one datagram.
    pub(crate) segment: u16,
    /// `IP_TOS`/`IPV6_TCLASS`, the ECN bits included; `None` for the socket's own.
    pub(crate) tos: Option<u8>,
    /// The address that it comes from; `None` for the socket's own, or what the route says.
    pub(crate) from: Option<IpAddr>,
}

impl Transmit {
    const PLAIN: Self = Self { segment: 0, tos: None, from: None };

    /// Writes the control messages; their length.
    fn write(self, to: Option<&SockAddr>, room: &mut [u8]) -> usize {
        let mut out = Writer::new(room);
        if self.segment != 0 {
            out.push(libc::SOL_UDP, libc::UDP_SEGMENT, &self.segment.to_ne_bytes());
        }
        if let Some(tos) = self.tos {
            // Each family skips the other's message. IPV6_TCLASS has no effect towards a mapped
            // address, so the kind is chosen by what travels; a connected socket gets both.
            let is_v4 = to.map(SockAddr::is_v4_on_the_wire);
            let value = i32::from(tos).to_ne_bytes();
            if is_v4 != Some(false) {
                out.push(libc::IPPROTO_IP, libc::IP_TOS, &value);
            }
            if is_v4 != Some(true) {
                out.push(libc::IPPROTO_IPV6, libc::IPV6_TCLASS, &value);
            }
        }
        if let (Some(from), Some(to)) = (self.from, to) {
            write_source(&mut out, from, to);
        }
        out.len()
    }
}

/// ip(7), ipv6(7): the address in a packet-info message is where the datagram comes from. An IPv6
/// socket takes the message of its own family alone, with a mapped address towards IPv4.
fn write_source(out: &mut Writer<'_>, from: IpAddr, to: &SockAddr) {
    match from {
        IpAddr::V4(v4) if to.family() == libc::AF_INET => {
            // in_pktinfo: the interface, the source, the address of the header, which is not read.
            let mut info = [0; 12];
            info[4..8].copy_from_slice(&v4.octets());
            out.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        _ => {
            let v6 = match from {
                IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                IpAddr::V6(v6) => v6,
            };
            // in6_pktinfo: the source, the interface.
            let mut info = [0; 20];
            info[..16].copy_from_slice(&v6.octets());
            out.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
    }
}

struct SendArrays {
    headers: [libc::mmsghdr; BATCH_MAX],
    pieces: [libc::iovec; BATCH_MAX],
    hows: [Transmit; BATCH_MAX],
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
            headers: [HEADER; BATCH_MAX],
            pieces: [NO_PIECE; BATCH_MAX],
            hows: [Transmit::PLAIN; BATCH_MAX],
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
        self.len >= BATCH_MAX
    }

    /// Stages a datagram or a train; false, and nothing is staged, when there is no room. The
    /// address is named, not copied: like the payload it stays where it is until the call.
    #[inline]
    pub(crate) fn push(
        &mut self,
        to: Option<&SockAddr>,
        ptr: *const u8,
        len: usize,
        how: Transmit,
    ) -> bool {
        if self.is_full() {
            return false;
        }
        let i = self.len;
        let arrays = &mut *self.arrays;
        arrays.pieces[i] = libc::iovec { iov_base: ptr.cast_mut().cast(), iov_len: len };
        arrays.hows[i] = how;
        let header = &mut arrays.headers[i].msg_hdr;
        (header.msg_name, header.msg_namelen) = match to {
            Some(to) => (ptr::from_ref(to).cast_mut().cast(), to.len()),
            None => (ptr::null_mut(), 0),
        };
        header.msg_controllen = match how {
            Transmit::PLAIN => 0,
            _ => how.write(to, &mut arrays.controls[i].0),
        };
        self.len = i + 1;
        true
    }

    /// A staged datagram.
    pub(crate) fn entry(&self, i: usize) -> SendEntry {
        let (header, piece) = (&self.arrays.headers[..self.len][i], &self.arrays.pieces[i]);
        SendEntry {
            to: header.msg_hdr.msg_name.cast_const().cast(),
            ptr: piece.iov_base.cast_const().cast(),
            len: piece.iov_len,
            how: self.arrays.hows[i],
        }
    }

    #[cfg(test)]
    /// Forgets the first `count` datagrams; those behind them stay staged and move to the front.
    pub(crate) fn consume(&mut self, count: usize) {
        let staged = count.min(self.len)..self.len;
        self.arrays.headers.copy_within(staged.clone(), 0);
        self.arrays.pieces.copy_within(staged.clone(), 0);
        self.arrays.hows.copy_within(staged.clone(), 0);
        self.arrays.controls.copy_within(staged.clone(), 0);
        self.len = staged.len();
    }

    /// The headers for sendmmsg(2), good until this batch is moved or changed.
    pub(crate) fn prepare(&mut self) -> *mut libc::mmsghdr {
        let arrays = &mut *self.arrays;
        let controls = arrays.controls.as_mut_ptr();
        let pieces = arrays.pieces.as_mut_ptr();
        for (i, header) in arrays.headers[..self.len].iter_mut().enumerate() {
            let header = &mut header.msg_hdr;
            header.msg_iov = pieces.wrapping_add(i);
            header.msg_control = match header.msg_controllen {
                0 => ptr::null_mut(),
                _ => controls.wrapping_add(i).cast(),
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
        let mut batch = RecvBatch::new(BATCH_MAX);
        let mut buffer = [0_u8; 4];
        for key in 0..BATCH_MAX as u32 {
            assert!(batch.push(buffer.as_mut_ptr(), 4, key));
        }
        assert!(batch.is_full() && !batch.push(buffer.as_mut_ptr(), 4, 0));
        batch.fill(7, 3, Received { ecn: 2, ..Received::EMPTY });
        let (arrival, note) = batch.arrivals(8).last().unwrap();
        assert_eq!((arrival, note.ecn), (Arrival { key: 7, len: 3 }, 2));
        assert_eq!((batch.note(7).ecn, batch.note(6).ecn), (2, 0));
        batch.consume(61);
        batch.want(99, false);
        assert_eq!((batch.len(), batch.wanted(), batch.iter().count()), (3, 3, 3));
        assert_eq!(std::iter::from_fn(|| batch.pop()).collect::<Vec<_>>(), [63, 62, 61]);
        batch.consume(99);
        assert_eq!(batch.len(), 0);
    }

    #[test]
    #[should_panic(expected = "no note for the buffer")]
    fn a_key_without_a_note_is_refused() {
        let mut buffer = [0_u8; 4];
        RecvBatch::new(1).push(buffer.as_mut_ptr(), 4, 1);
    }

    #[test]
    fn a_note_is_forgotten_by_a_socket_that_reports_less() {
        let mut batch = RecvBatch::new(1);
        let mut buffer = [0_u8; 4];
        assert!(batch.push(buffer.as_mut_ptr(), 4, 0));
        let local = Some("10.0.0.1".parse().unwrap());
        let full = Received { local, ecn: 3, timestamp_ns: 9, segment: 7, ..Received::EMPTY };
        batch.fill(0, 4, full);
        batch.want(1, false);
        batch.prepare();
        batch.collect(1);
        assert_eq!((batch.note(0).local, batch.note(0).ecn), (None, 0));
        assert_eq!((batch.note(0).timestamp_ns, batch.note(0).segment), (0, 0));
    }

    #[test]
    fn a_plain_datagram_has_no_control_after_one_that_had() {
        let mut batch = SendBatch::new();
        for (segment, has_control) in [(0, false), (1, true), (0, false)] {
            batch.clear();
            assert!(batch.push(
                None,
                [1_u8; 2].as_ptr(),
                2,
                Transmit { segment, ..Transmit::PLAIN }
            ));
            batch.prepare();
            let header = &batch.arrays.headers[0].msg_hdr;
            assert_eq!(!header.msg_control.is_null(), has_control);
            assert_eq!(header.msg_controllen > 0, has_control);
        }
    }

    #[test]
    fn the_traffic_class_follows_what_travels() {
        let level = |to: Option<&str>| {
            let to = to.map(|text| SockAddr::from(text.parse::<std::net::SocketAddr>().unwrap()));
            let mut room = [0; SEND_CONTROL_LEN];
            let len = Transmit { tos: Some(2), ..Transmit::PLAIN }.write(to.as_ref(), &mut room);
            (len, i32::from_ne_bytes(room[8..12].try_into().unwrap()))
        };
        assert_eq!(level(Some("1.2.3.4:1")), (24, libc::IPPROTO_IP));
        assert_eq!(level(Some("[::ffff:1.2.3.4]:1")), (24, libc::IPPROTO_IP));
        assert_eq!(level(Some("[::1]:1")), (24, libc::IPPROTO_IPV6));
        assert_eq!(level(None), (48, libc::IPPROTO_IP));
    }

    #[test]
    fn the_source_is_written_as_the_socket_takes_it() {
        let source = |from: &str, to: &str, family| {
            let to = SockAddr::from(to.parse::<std::net::SocketAddr>().unwrap()).for_family(family);
            let how = Transmit { from: Some(from.parse().unwrap()), ..Transmit::PLAIN };
            let mut room = [0; SEND_CONTROL_LEN];
            let len = how.write(Some(&to), &mut room);
            (len, i32::from_ne_bytes(room[8..12].try_into().unwrap()), room)
        };
        let (len, level, room) = source("10.0.0.7", "10.0.0.1:1", libc::AF_INET);
        assert_eq!((len, level), (space(12), libc::IPPROTO_IP));
        assert_eq!(room[16..28], [0, 0, 0, 0, 10, 0, 0, 7, 0, 0, 0, 0]);
        let (len, level, room) = source("10.0.0.7", "10.0.0.1:1", libc::AF_INET6);
        assert_eq!((len, level), (space(20), libc::IPPROTO_IPV6));
        assert_eq!(room[16..32], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 7]);
        let (len, level, room) = source("fd00::7", "[fd00::1]:1", libc::AF_INET6);
        assert_eq!((len, level, room[31]), (space(20), libc::IPPROTO_IPV6, 7));
    }
}
