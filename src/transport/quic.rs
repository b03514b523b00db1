//! [`QuicSocket`]: a UDP socket that QUIC connections share.
//!
//! Role: what waits on it: clients to be looked at, connections with something to send, trains for
//! the kernel. Not role: the system calls, the connections.
//!
//! *Invariants*
//! - What is staged goes out in order, each train whole or from where it was cut.
//! - A socket has [`STAGED_MAX`] buffers, of memory that is not touched before they are used.

use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::config::{CertReloadHandle, QuicListenConfig, RetryPolicy, UdpEndpointConfig};
use crate::error::{IoError, Result};
use crate::proto::quic::endpoint::{Endpoint, Incoming, Route};
use crate::proto::quic::owner::Owners;
use crate::proto::quic::signal::Outgoing;
use crate::sys::addr::SockAddr;
use crate::sys::batch::{BATCH_MAX, Transmit};

/// Trains that are staged at most.
const STAGED_MAX: usize = 16;
/// Bytes that are staged before they are handed over: what stays in a core's cache.
const STAGED_BYTES_MAX: usize = 256 << 10;
/// Bytes of a buffer: the longest train, and what the machine reserves for it.
const BUFFER_LEN: usize = 64 << 10;
/// Fewest datagrams to ask for.
const ASK_MIN: usize = 8;
const ASK_MAX: usize = BATCH_MAX;
/// Bytes that one receive call is to bring at most.
const RECEIVED_BYTES_MAX: usize = 512 << 10;

const _: () = assert!(STAGED_MAX <= BATCH_MAX);

const ANY_V4: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A socket cannot send to that family.
pub(crate) const OTHER_FAMILY: IoError = IoError::InvalidArgument {
    what: "QUIC target",
    why: "the socket is of the other address family; bind one of the target's",
};

/// What a listener's socket has besides.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) retry: RetryPolicy,
    pub(crate) handshake_timeout: Duration,
    pub(crate) waiting_max: usize,
    /// Of its certificates.
    pub(crate) reload: CertReloadHandle,
    /// `endpoint_close` was called: nobody new is taken.
    pub(crate) is_over: bool,
}

impl Listening {
    pub(crate) fn new(config: &QuicListenConfig) -> Self {
        Self {
            retry: config.retry,
            handshake_timeout: config.handshake_timeout,
            waiting_max: config.incoming_max,
            reload: config.tls.reload_handle(),
            is_over: false,
        }
    }
}

/// A datagram or a train that waits for the kernel.
pub(crate) struct Staged {
    bytes: Vec<u8>,
    to: SockAddr,
    how: Transmit,
    /// Bytes that were sent.
    sent: usize,
    /// Each of its datagrams goes out alone.
    is_cut: bool,
    /// Whose it is.
    pub(crate) of: Route,
}

impl Staged {
    /// The next piece to be sent.
    pub(crate) fn piece(&self) -> (&SockAddr, &[u8], Transmit) {
        let rest = self.bytes.get(self.sent..).unwrap_or_default();
        if !self.is_cut {
            return (&self.to, rest, self.how);
        }
        let len = rest.len().min(self.how.segment.into());
        (&self.to, &rest[..len], Transmit { segment: 0, ..self.how })
    }

    /// Whether the next piece is the last one.
    pub(crate) fn is_last(&self) -> bool {
        self.sent + self.piece().1.len() == self.bytes.len()
    }
}

/// One socket of QUIC.
pub(crate) struct QuicSocket {
    pub(crate) endpoint: Endpoint,
    /// Whose datagrams come besides; `None` where there are no other shards.
    pub(crate) owners: Option<Owners>,
    /// `None`: the connections are our own.
    pub(crate) listening: Option<Listening>,
    /// Connections on it, those included that are over for the application.
    pub(crate) users: u32,
    /// Clients whose first packet waits to be looked at.
    pub(crate) waiting: VecDeque<Incoming>,
    /// Connections that may have something to send.
    pub(crate) dirty: VecDeque<Route>,
    /// On the list of sockets with something to send.
    pub(crate) is_listed: bool,
    out_armed: bool,
    staged: VecDeque<Staged>,
    staged_bytes: usize,
    /// Buffers that are not staged.
    spare: Vec<Vec<u8>>,
    /// `AF_INET` or `AF_INET6`: how destinations are written.
    family: i32,
    /// Bound to no address: each answer says which one it comes from.
    is_wildcard: bool,
    /// An IPv6 socket that reaches IPv4 too.
    is_dual: bool,
    /// Datagrams to ask for at a time.
    pub(crate) ask: usize,
}

impl QuicSocket {
    pub(crate) fn new(
        endpoint: Endpoint,
        listening: Option<Listening>,
        config: &UdpEndpointConfig,
    ) -> Self {
        let bind = config.bind;
        let waiting_max = listening.as_ref().map_or(0, |l| l.waiting_max);
        Self {
            endpoint,
            owners: None,
            listening,
            users: 0,
            waiting: VecDeque::with_capacity(waiting_max),
            dirty: VecDeque::new(),
            is_listed: false,
            out_armed: false,
            staged: VecDeque::with_capacity(STAGED_MAX),
            staged_bytes: 0,
            spare: (0..STAGED_MAX).map(|_| Vec::with_capacity(BUFFER_LEN)).collect(),
            family: SockAddr::from(bind).family(),
            is_wildcard: bind.ip().is_unspecified(),
            is_dual: config.dual_stack && bind.ip() == Ipv6Addr::UNSPECIFIED,
            ask: ASK_MIN,
        }
    }

    pub(crate) const fn out_armed(&mut self) -> &mut bool {
        &mut self.out_armed
    }

    pub(crate) const fn is_out_armed(&self) -> bool {
        self.out_armed
    }

    /// Whether it can send there.
    pub(crate) fn check_reach(&self, ip: IpAddr) -> Result<()> {
        let is_v4 = self.family == SockAddr::from(ANY_V4).family();
        if ip.is_ipv4() == is_v4 || (ip.is_ipv4() && self.is_dual) {
            return Ok(());
        }
        Err(OTHER_FAMILY)
    }

    /// Goes on with another socket, bound there. Nothing of it is on a list any more.
    pub(crate) fn rebound(&mut self, bind: SocketAddr) {
        self.is_wildcard = bind.ip().is_unspecified();
        (self.is_listed, self.out_armed) = (false, false);
    }

    /// Whether addresses of that family are its own.
    pub(crate) fn is_of_family(&self, bind: SocketAddr) -> bool {
        SockAddr::from(bind).family() == self.family
    }

    /// Learns from the last receive: full batches ask for more next time, long trains for no more
    /// than stays in a core's cache.
    pub(crate) fn learn(&mut self, asked: usize, got: usize, bytes: usize) {
        let wanted = if got == asked { asked * 2 } else { got * 2 };
        let fitting = RECEIVED_BYTES_MAX / (bytes / got.max(1)).max(1);
        self.ask = wanted.min(fitting).clamp(ASK_MIN, ASK_MAX);
    }

    /// A new client: it waits to be looked at, or there are too many, or there is nobody to look.
    pub(crate) fn knock(&mut self, incoming: Incoming) {
        match &self.listening {
            Some(listening) if listening.is_over => {
                let out = self.endpoint.refuse(incoming);
                self.stage_reply(&out);
            }
            Some(listening) if self.waiting.len() < listening.waiting_max => {
                self.waiting.push_back(incoming);
            }
            _ => self.endpoint.ignore(incoming),
        }
    }

    /// An empty buffer to be staged, or to be given back; `None` when enough is staged.
    pub(crate) fn buffer(&mut self) -> Option<Vec<u8>> {
        if self.staged.len() == STAGED_MAX || self.staged_bytes >= STAGED_BYTES_MAX {
            return None;
        }
        let mut buffer = self.spare.pop()?;
        buffer.clear();
        Some(buffer)
    }

    pub(crate) fn give_back(&mut self, buffer: Vec<u8>) {
        self.spare.push(buffer);
    }

    /// Stages what was written into a buffer.
    pub(crate) fn stage(&mut self, bytes: Vec<u8>, out: &Outgoing, of: Route) {
        let tos = (out.ecn != 0).then_some(out.ecn);
        // A train of one is none.
        let segment = if usize::from(out.segment) < bytes.len() { out.segment } else { 0 };
        self.staged_bytes += bytes.len();
        self.staged.push_back(Staged {
            bytes,
            to: SockAddr::from(out.to).for_family(self.family),
            how: Transmit { segment, tos, from: out.from.filter(|_| self.is_wildcard) },
            sent: 0,
            is_cut: false,
            of,
        });
    }

    /// Stages the endpoint's own answer, if there is a buffer for it: nobody misses it otherwise.
    pub(crate) fn stage_reply(&mut self, out: &Outgoing) {
        let Some(mut buffer) = self.buffer() else { return };
        buffer.extend_from_slice(self.endpoint.reply());
        self.stage(buffer, out, Route::Free);
    }

    pub(crate) const fn staged(&self) -> &VecDeque<Staged> {
        &self.staged
    }

    /// The first `count` pieces were sent, or are given up.
    pub(crate) fn consume(&mut self, count: usize) {
        for _ in 0..count {
            let Some(first) = self.staged.front_mut() else { return };
            let is_last = first.is_last();
            let len = first.piece().1.len();
            first.sent += len;
            self.staged_bytes -= len;
            if is_last && let Some(done) = self.staged.pop_front() {
                self.spare.push(done.bytes);
            }
        }
    }

    /// The first train is refused as such: its datagrams go out one by one. `None` when it is a
    /// single datagram already; otherwise whose it is.
    pub(crate) fn cut_first(&mut self) -> Option<Route> {
        let first = self.staged.front_mut().filter(|f| f.how.segment > 0 && !f.is_cut)?;
        first.is_cut = true;
        Some(first.of)
    }
}

impl fmt::Debug for QuicSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicSocket")
            .field("users", &self.users)
            .field("waiting", &self.waiting.len())
            .field("staged", &self.staged.len())
            .finish_non_exhaustive()
    }
}
