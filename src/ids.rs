//! Names of things: connections, streams, endpoints, timers, watches, protocols, peers.
//!
//! *Invariant*: an id carries a generation. An id whose object is gone is not mistaken for the
//! object that took its place: generations of 24 bits come again after 16 million tenants of one
//! place, and places of connections take turns, so an id does after 16 million times
//! `max_connections`.

use std::fmt;
use std::net::SocketAddr;

/// The bits of a generation that fit the ring's `user_data`.
pub(crate) const GENERATION_BITS: u32 = 24;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            pub(crate) const fn new(index: u32, generation: u32) -> Self {
                Self((generation as u64) << 32 | index as u64)
            }

            pub(crate) const fn index(self) -> u32 {
                self.0 as u32
            }

            pub(crate) const fn generation(self) -> u32 {
                (self.0 >> 32) as u32
            }

            /// A number that is this id and no other of the same `Io`: generation and index.
            #[must_use]
            pub const fn as_u64(self) -> u64 {
                self.0
            }

            /// The id with that number. A number that was never an id is refused where it is used.
            #[must_use]
            pub const fn from_u64(number: u64) -> Self {
                Self(number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}.{}"), self.index(), self.generation())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id! {
    /// One connection, from `Connected` (or from the `connect` call) to `Disconnected`.
    ConnId, "conn#"
}
id! {
    /// One listener or UDP socket.
    EndpointId, "endpoint#"
}
id! {
    /// One armed timer.
    TimerId, "timer#"
}
id! {
    /// One watched file descriptor.
    WatchId, "watch#"
}

id! {
    /// One pool of HTTP client connections.
    HttpPool, "http_pool#"
}

/// One listener or UDP socket of a cluster: an endpoint on each of its shards. It stays what it is
/// for as long as the cluster lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterEndpoint(u16);

impl ClusterEndpoint {
    pub(crate) const fn new(group: u16) -> Self {
        Self(group)
    }

    /// Its number, counted from 0 in the order in which they were opened.
    pub(crate) const fn group(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ClusterEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster_endpoint#{}", self.0)
    }
}

impl fmt::Debug for ClusterEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether both sides send on a QUIC stream, or only the one that opened it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamDir {
    /// Both send.
    Bidi,
    /// Only the side that opened it sends.
    Uni,
}

/// One stream of a connection. TCP and Unix connections have [`StreamId::ZERO`] alone; those of
/// QUIC have the numbers of RFC 9000 §2.1, of which [`StreamId::ZERO`] is the client's first
/// bidirectional one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StreamId(u64);

impl StreamId {
    /// The only stream of a TCP or Unix connection.
    pub const ZERO: Self = Self(0);

    /// The stream with that number.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Which sides of a QUIC stream send.
    #[must_use]
    pub const fn dir(self) -> StreamDir {
        if self.0 & 2 == 0 { StreamDir::Bidi } else { StreamDir::Uni }
    }

    /// Whether the client opened a QUIC stream, or the server did.
    #[must_use]
    pub const fn opened_by_client(self) -> bool {
        self.0 & 1 == 0
    }

    /// How many QUIC streams of its kind were opened before it.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.0 >> 2
    }
}

/// One HTTP request of a connection: the key under which it is answered. Requests of an HTTP/1.1
/// connection are numbered in the order in which they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

impl RequestId {
    /// The request with that number.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

/// What a connection or an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// TCP, RFC 9293.
    Tcp,
    /// A Unix stream socket, unix(7).
    Uds,
    /// UDP, RFC 768.
    Udp,
    /// QUIC, RFC 9000.
    Quic,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Uds => "Unix",
            Self::Udp => "UDP",
            Self::Quic => "QUIC",
        })
    }
}

/// The other side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PeerAddr {
    /// An IP address and port.
    Inet(SocketAddr),
    /// A Unix socket; see `Io::peer_cred` for who it is.
    Unix,
}

impl PeerAddr {
    /// The IP address and port, if it has them.
    #[must_use]
    pub const fn inet(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet(addr) => Some(*addr),
            Self::Unix => None,
        }
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(addr) => addr.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_both_halves() {
        let id = ConnId::new(7, u32::MAX);
        assert_eq!((id.index(), id.generation()), (7, u32::MAX));
        assert_eq!(ConnId::from_u64(id.as_u64()), id);
        assert_eq!(ConnId::new(3, 4).to_string(), "conn#3.4");
    }

    #[test]
    fn a_streams_number_says_whose_it_is() {
        let rows = [
            (0, StreamDir::Bidi, true, 0),
            (1, StreamDir::Bidi, false, 0),
            (2, StreamDir::Uni, true, 0),
            (7, StreamDir::Uni, false, 1),
        ];
        for (number, dir, opened_by_client, index) in rows {
            let id = StreamId::from_u64(number);
            assert_eq!(
                (id.dir(), id.opened_by_client(), id.index()),
                (dir, opened_by_client, index)
            );
        }
    }
}
