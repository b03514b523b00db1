//! What the driver says: what is to be sent, what the application is told, what comes next.

use std::net::{IpAddr, SocketAddr};

use crate::ids::{StreamDir, StreamId};
use crate::time::Time;

/// One datagram, or a train of equal ones, to be sent. Its bytes are in the buffer that the call
/// was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outgoing {
    pub(crate) to: SocketAddr,
    /// The address that it must come from, where one is known.
    pub(crate) from: Option<IpAddr>,
    /// The ECN bits; 0 is not-ECT.
    pub(crate) ecn: u8,
    /// Bytes of all of it.
    pub(crate) len: usize,
    /// The length of each datagram of a train but the last; 0 when it is a single one.
    pub(crate) segment: u16,
}

/// What the application is told next. A payload, `P`, is not in it: it is where the caller wants
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal<P = ()> {
    /// What was sent early was taken, or is gone. Before `Connected`.
    EarlyData(bool),
    /// The handshake is done; or it is not, and what comes now may be a recording.
    Connected,
    /// It was none: the handshake is done after all.
    Secured,
    Frame {
        stream: StreamId,
        data: P,
        fin: bool,
    },
    /// It has bytes to be read, where the application asks for them.
    Readable(StreamId),
    ReadClosed(StreamId),
    Writable(StreamId),
    Finished(StreamId),
    Reset {
        stream: StreamId,
        error_code: u64,
    },
    Stop {
        stream: StreamId,
        error_code: u64,
    },
    Available(StreamDir),
    Datagram(P),
    Migrated {
        old: SocketAddr,
        new: SocketAddr,
    },
    /// The last one, unless the application closed the connection.
    Lost {
        code: u64,
        reason: P,
        clean: bool,
    },
}

/// What a connection wants after something happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settled {
    /// There may be a [`Signal`].
    pub(crate) ready: bool,
    /// When it is to be given `on_timeout`; never is [`Time::MAX`].
    pub(crate) deadline: Time,
    /// It is over, and nothing more comes of it: forget it.
    pub(crate) drained: bool,
}
