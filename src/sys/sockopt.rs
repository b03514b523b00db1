//! What the kernel tells about a socket.
//!
//! Role: the answers, as plain data. Not role: the calls, which are in `socket`.

use crate::ids::Protocol;
use std::time::Duration;

/// The parts of `TCP_INFO` that are worth reporting, tcp(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TcpInfo {
    /// Smoothed round-trip time, microseconds.
    pub(crate) rtt_us: u32,
    /// Its mean deviation, microseconds.
    pub(crate) rtt_var_us: u32,
    /// The least round-trip time seen lately, microseconds.
    pub(crate) rtt_min_us: u32,
    /// The congestion window, packets.
    pub(crate) cwnd_packets: u32,
    /// The sending segment size, bytes.
    pub(crate) mss: u32,
    /// Segments sent again, ever.
    pub(crate) retransmits_total: u32,
    /// Segments thought lost, now.
    pub(crate) lost: u32,
    /// Payload bytes sent, those sent again included.
    pub(crate) bytes_sent: u64,
    /// Payload bytes that the peer acknowledged.
    pub(crate) bytes_acked: u64,
    /// How long ago payload was last sent, for the first time or again.
    pub(crate) sent_ago: Duration,
    /// Payload bytes received.
    pub(crate) bytes_received: u64,
    /// Segments sent.
    pub(crate) segs_out: u32,
    /// Segments received.
    pub(crate) segs_in: u32,
    /// The rate at which data reached the peer lately, bytes per second.
    pub(crate) delivery_rate: u64,
}

/// The process at the other end of a Unix connection, as it was when it connected or listened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerCred {
    /// Its process id; 0 when it is in a process namespace that is not visible from here.
    pub pid: i32,
    /// Its effective user id.
    pub uid: u32,
    /// Its effective group id.
    pub gid: u32,
}

/// What a descriptor from outside is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Adopted {
    /// A listening stream socket.
    Listener(Protocol),
    /// A connected stream socket.
    Stream(Protocol),
    /// A UDP socket.
    Datagram,
}
