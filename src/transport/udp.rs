//! [`UdpSocket`]: the queue of datagrams to be sent, and how many to ask for when receiving.
//!
//! Role: what may be queued, and where it goes. Not role: the system calls.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::config::UdpEndpointConfig;
use crate::error::{IoError, Result};
use crate::pool::{BufId, Class};
use crate::sys::addr::SockAddr;
use crate::sys::batch::BATCH_MAX;
use crate::time::Time;

/// One datagram, or a train of equal ones, that waits to be sent. It holds its buffer once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TxDatagram {
    pub(crate) buf: BufId,
    pub(crate) offset: u32,
    pub(crate) len: u32,
    /// The length of each datagram of a train; 0 for a single one.
    pub(crate) segment: u16,
    /// A train that was refused: its datagrams are sent one by one.
    pub(crate) is_cut: bool,
    /// The ECN bits, over the socket's own; `None` leaves those.
    pub(crate) tos: Option<u8>,
    pub(crate) to: Destination,
}

/// Where a datagram goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Destination {
    /// The socket is connected.
    Peer,
    /// Whoever sent what is in its buffer: the note of the buffer says so.
    Sender,
    To(SockAddr),
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
    /// Something comes beside each datagram.
    pub(crate) has_control: bool,
    pub(crate) queue: VecDeque<TxDatagram>,
    pub(crate) queue_max: usize,
    /// On the list of sockets with something to send.
    pub(crate) dirty: bool,
    /// The kernel took no more: a poll for writability is armed.
    pub(crate) out_armed: bool,
    /// The kernel or the device cannot cut trains: none is sent as one.
    pub(crate) no_gso: bool,
    /// Datagrams to ask for at a time.
    pub(crate) ask: usize,
    /// Closed, with datagrams in the queue: they are sent until then.
    pub(crate) linger_until: Time,
}

/// Fewest datagrams to ask for.
const ASK_MIN: usize = 8;
/// The longest UDP payload over IPv4: 65,535 less the IP and UDP headers.
const DATAGRAM_LEN_MAX: usize = 65_507;
/// Datagrams in one train: what every kernel from 4.18 on takes.
const GSO_SEGMENTS_MAX: usize = 64;

impl UdpSocket {
    pub(crate) fn new(class: Class, datagram_max: usize, config: &UdpEndpointConfig) -> Self {
        Self {
            class,
            datagram_max,
            connected: config.connect.is_some(),
            family: SockAddr::from(config.bind).family(),
            tos: config.tos,
            timestamps: config.timestamps,
            has_control: config.timestamps || config.ecn || config.local_addr || config.gro,
            queue: VecDeque::with_capacity(config.send_queue),
            queue_max: config.send_queue,
            dirty: false,
            out_armed: false,
            no_gso: false,
            ask: ASK_MIN,
            linger_until: Time::MAX,
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

    /// Where that address is, as the kernel takes it.
    pub(crate) fn destination(&self, to: Option<SocketAddr>) -> Result<Destination> {
        let invalid = |why| Err(IoError::InvalidArgument { what: "destination", why });
        let Some(to) = to else {
            if self.connected {
                return Ok(Destination::Peer);
            }
            return invalid(
                "the endpoint is not connected (UdpEndpointConfig::connect), so name a peer",
            );
        };
        if to.port() == 0 {
            return invalid("port 0 cannot be sent to; use the peer's port");
        }
        let to = SockAddr::from(to).for_family(self.family);
        if to.family() != self.family {
            return invalid("the socket is an IPv4 one; bind an IPv6 address to reach IPv6");
        }
        Ok(Destination::To(to))
    }

    /// Whether `to`, where a received datagram is sent on, is its sender: an address that need not
    /// be written again.
    #[inline]
    pub(crate) fn goes_back(&self, to: &SocketAddr, sender: Option<&SockAddr>) -> bool {
        sender.is_some_and(|sender| sender.family() == self.family && sender.is(to))
            && to.port() != 0
    }

    /// Whether a datagram of that length, or a train, may be queued now.
    #[inline]
    pub(crate) fn check(&self, len: usize, segment: u16) -> Result<()> {
        if len <= DATAGRAM_LEN_MAX && segment == 0 && self.queue.len() < self.queue_max {
            return Ok(());
        }
        self.check_any(len, segment)
    }

    #[cold]
    fn check_any(&self, len: usize, segment: u16) -> Result<()> {
        if len > DATAGRAM_LEN_MAX {
            return Err(IoError::DatagramTooLarge { len, max: DATAGRAM_LEN_MAX });
        }
        if segment > 0 && len.div_ceil(usize::from(segment)) > GSO_SEGMENTS_MAX {
            return Err(IoError::InvalidArgument {
                what: "segment length",
                why: "a train has at most 64 datagrams; send several trains",
            });
        }
        if self.is_full() {
            return Err(IoError::QueueFull { queue: "UDP send", capacity: self.queue_max });
        }
        Ok(())
    }

    /// Whether no more may be queued now.
    pub(crate) fn is_full(&self) -> bool {
        self.queue.len() >= self.queue_max
    }

    /// Queues a datagram; whether the socket has to go on the list of those with something to send.
    #[inline]
    pub(crate) fn push(&mut self, datagram: TxDatagram) -> bool {
        self.queue.push_back(datagram);
        if self.dirty || self.out_armed {
            return false;
        }
        self.dirty = true;
        true
    }

    /// The piece at the front that goes out as one operation: the whole train, or one datagram of
    /// it.
    #[inline]
    pub(crate) fn piece(&self, datagram: &TxDatagram) -> (u32, u16) {
        if datagram.segment == 0 { (datagram.len, 0) } else { self.piece_of_train(datagram) }
    }

    /// Apart, so that a single datagram asks one thing only.
    #[inline(never)]
    fn piece_of_train(&self, train: &TxDatagram) -> (u32, u16) {
        if self.no_gso || train.is_cut {
            (train.len.min(u32::from(train.segment)), 0)
        } else {
            (train.len, train.segment)
        }
    }

    /// Whether the last in the queue goes out as one operation.
    pub(crate) fn is_last_whole(&self) -> bool {
        self.queue.back().is_some_and(|last| self.piece(last).0 == last.len)
    }

    /// The train at the front was refused: its datagrams go out singly. False if what was refused
    /// is no train.
    pub(crate) fn cut_front(&mut self) -> bool {
        let goes_whole = |front: &&mut TxDatagram| front.segment > 0 && !front.is_cut;
        let train = self.queue.front_mut().filter(goes_whole).filter(|_| !self.no_gso);
        train.map(|train| train.is_cut = true).is_some()
    }
}
