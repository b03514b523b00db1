//! [`UdpSocket`]: the queue of datagrams to be sent, and how many to ask for when receiving.

use std::collections::VecDeque;

use crate::pool::{BufId, Class};
use crate::sys::addr::SockAddr;
use crate::sys::batch::BATCH_MAX;

/// One datagram, or a train of equal ones, that waits to be sent. It holds its buffer once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TxDatagram {
    pub(crate) buf: BufId,
    pub(crate) offset: u32,
    pub(crate) len: u32,
    /// The length of each datagram of a train; 0 for a single one.
    pub(crate) segment: u16,
    /// The ECN bits, over the socket's own; `None` leaves those.
    pub(crate) tos: Option<u8>,
    /// `None` in connected mode.
    pub(crate) to: Option<SockAddr>,
}

/// The state of one UDP socket.
#[derive(Debug)]
pub(crate) struct UdpSocket {
    /// The class it receives into.
    pub(crate) class: Class,
    /// Bytes asked for.
    pub(crate) datagram_max: usize,
    pub(crate) connected: bool,
    /// `AF_INET` or `AF_INET6`: how destinations are written.
    pub(crate) family: i32,
    /// `IP_TOS` of what is sent.
    pub(crate) tos: u8,
    /// Report the kernel's receive time.
    pub(crate) timestamps: bool,
    pub(crate) queue: VecDeque<TxDatagram>,
    pub(crate) queue_max: usize,
    /// On the list of sockets with something to send.
    pub(crate) dirty: bool,
    /// The kernel took no more: a poll for writability is armed.
    pub(crate) out_armed: bool,
    /// Segmentation was refused on this path: trains are sent one by one.
    pub(crate) no_gso: bool,
    /// Datagrams to ask for at a time.
    pub(crate) ask: usize,
    pub(crate) dropped: u64,
}

/// Fewest datagrams to ask for.
const ASK_MIN: usize = 8;

impl UdpSocket {
    pub(crate) fn new(class: Class, datagram_max: usize, queue_max: usize) -> Self {
        Self {
            class,
            datagram_max,
            connected: false,
            family: 0,
            tos: 0,
            timestamps: false,
            queue: VecDeque::with_capacity(queue_max),
            queue_max,
            dirty: false,
            out_armed: false,
            no_gso: false,
            ask: ASK_MIN,
            dropped: 0,
        }
    }

    /// Learns from the last receive: full batches ask for more next time.
    pub(crate) fn learn(&mut self, asked: usize, got: usize) {
        self.ask = if got == asked {
            (asked * 2).min(BATCH_MAX)
        } else {
            (got * 2).clamp(ASK_MIN, BATCH_MAX)
        };
    }

    /// The piece at the front that goes out as one operation: the whole train, or one datagram of
    /// it.
    pub(crate) fn piece(&self, datagram: &TxDatagram) -> (u32, u16) {
        if datagram.segment == 0 || !self.no_gso {
            (datagram.len, datagram.segment)
        } else {
            (datagram.len.min(u32::from(datagram.segment)), 0)
        }
    }
}
