//! What a listener, a connection or a UDP socket is made with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::framing::Framing;
use super::{ProxyProtocol, check_ms};
use crate::error::Result;

/// RFC 8305 §5: the delay must not be less than 10 ms, and 2 s is the recommended maximum.
const ATTEMPT_DELAY_MIN_MS: u64 = 10;
const ATTEMPT_DELAY_MAX_MS: u64 = 2000;

/// Where to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HostOrAddr {
    /// An address.
    Addr(SocketAddr),
    /// A name and a port. It is resolved by the system's resolver on a thread of its own; then its
    /// addresses race as RFC 8305 says (Happy Eyeballs): the families take turns, each address
    /// starts `attempt_delay` (of [`TcpConnectConfig`], or of `QuicConnectConfig`) after the one
    /// before or as soon as one fails, and the first that answers is the connection. 16 addresses
    /// are tried at most, 8 at a time.
    Host(String, u16),
}

impl From<SocketAddr> for HostOrAddr {
    fn from(addr: SocketAddr) -> Self {
        Self::Addr(addr)
    }
}

impl From<(&str, u16)> for HostOrAddr {
    fn from((host, port): (&str, u16)) -> Self {
        Self::Host(host.to_owned(), port)
    }
}

/// Time limits of one connection. `None` is no limit, and zero one that has passed. Each is kept to
/// about a millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ConnTimeouts {
    /// Nothing sent and nothing received for this long: the connection is closed.
    pub idle: Option<Duration>,
    /// Nothing received for this long.
    pub read: Option<Duration>,
    /// Data queued for sending and none of it taken by the kernel for this long; or sent without a
    /// copy, and none of it acknowledged by the peer. A large send is one operation to the kernel,
    /// which tells of its end alone: when the limit passes before that, a TCP connection whose peer
    /// has taken something in the meantime goes on. Of a Unix socket that cannot be told.
    pub write: Option<Duration>,
}

/// TCP keep-alive, tcp(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// Idle time before the first probe, whole seconds, 1 to 32,767 (`TCP_KEEPIDLE`).
    pub idle: Duration,
    /// Between probes, whole seconds, 1 to 32,767 (`TCP_KEEPINTVL`).
    pub interval: Duration,
    /// Unanswered probes until the connection is given up, 1 to 127 (`TCP_KEEPCNT`).
    pub count: u8,
}

/// A TCP listener.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TcpListenConfig {
    /// Where to listen; port 0 lets the system choose (see `Io::local_addr`).
    pub addr: SocketAddr,
    /// Connections the kernel keeps before they are accepted. Default 4096 (capped by `somaxconn`);
    /// 1 to 2,147,483,647.
    pub backlog: u32,
    /// `SO_REUSEPORT`: several sockets on one port. Default off.
    pub reuseport: bool,
    /// An IPv6 wildcard also takes IPv4. Default on.
    pub dual_stack: bool,
    /// `TCP_NODELAY` on accepted connections. Default on.
    pub nodelay: bool,
    /// Keep-alive on accepted connections. Default none.
    pub keepalive: Option<Keepalive>,
    /// `TCP_USER_TIMEOUT`: unacknowledged data for this long ends a connection, RFC 5482. Default
    /// none; 1 to 2,147,483,647 ms, rounded up to whole ones.
    pub user_timeout: Option<Duration>,
    /// `TCP_FASTOPEN`: the queue length, up to 2,147,483,647; 0 (default) is off. RFC 7413.
    pub fastopen_queue: u32,
    /// `SO_RCVBUF` of accepted connections, in bytes; `None` leaves the kernel's own tuning.
    pub recv_buffer: Option<u32>,
    /// `SO_SNDBUF` of accepted connections, in bytes; `None` leaves the kernel's own tuning.
    pub send_buffer: Option<u32>,
    /// Time limits of accepted connections.
    pub timeouts: ConnTimeouts,
    /// How the byte stream is cut into messages. Default: not at all (`MessageKind::Binary`).
    pub framing: Option<Framing>,
    /// Each connection begins with a PROXY header that says who the client is. Default none.
    pub proxy: Option<ProxyProtocol>,
}

impl TcpListenConfig {
    /// The defaults, at that address.
    #[must_use]
    pub const fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            backlog: 4096,
            reuseport: false,
            dual_stack: true,
            nodelay: true,
            keepalive: None,
            user_timeout: None,
            fastopen_queue: 0,
            recv_buffer: None,
            send_buffer: None,
            timeouts: ConnTimeouts { idle: None, read: None, write: None },
            framing: None,
            proxy: None,
        }
    }

    /// The same configuration after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// An outgoing TCP connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TcpConnectConfig {
    /// The peer.
    pub target: HostOrAddr,
    /// The local address to bind first; port 0 lets the system choose.
    pub bind: Option<SocketAddr>,
    /// How long all tries together may take, name resolution included. Default 30 s; zero ends the
    /// connection at once.
    pub connect_timeout: Duration,
    /// How long one address of a host is waited for before the next one is tried beside it, the
    /// Connection Attempt Delay of RFC 8305 §5. Default 250 ms; 10 ms to 2 s.
    pub attempt_delay: Duration,
    /// `TCP_NODELAY`. Default on.
    pub nodelay: bool,
    /// Keep-alive. Default none.
    pub keepalive: Option<Keepalive>,
    /// `TCP_USER_TIMEOUT`, RFC 5482. Default none; 1 to 2,147,483,647 ms, rounded up to whole ones.
    pub user_timeout: Option<Duration>,
    /// `TCP_FASTOPEN_CONNECT`: the first write travels with the SYN when the peer has given a
    /// cookie. Default off. RFC 7413. Such a peer counts as connected before it has answered: among
    /// the addresses of a host, the first one with a cookie is the connection.
    pub fastopen: bool,
    /// `SO_RCVBUF`, in bytes; `None` leaves the kernel's own tuning.
    pub recv_buffer: Option<u32>,
    /// `SO_SNDBUF`, in bytes; `None` leaves the kernel's own tuning.
    pub send_buffer: Option<u32>,
    /// Time limits once connected.
    pub timeouts: ConnTimeouts,
    /// How the byte stream is cut into messages.
    pub framing: Option<Framing>,
}

impl TcpConnectConfig {
    /// The defaults, towards `target`.
    #[must_use]
    pub fn new(target: impl Into<HostOrAddr>) -> Self {
        Self {
            target: target.into(),
            bind: None,
            connect_timeout: Duration::from_secs(30),
            attempt_delay: Duration::from_millis(250),
            nodelay: true,
            keepalive: None,
            user_timeout: None,
            fastopen: false,
            recv_buffer: None,
            send_buffer: None,
            timeouts: ConnTimeouts::default(),
            framing: None,
        }
    }

    /// The same configuration after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl TcpConnectConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        let field = "TcpConnectConfig::attempt_delay (ms)";
        let (low, high) = (ATTEMPT_DELAY_MIN_MS, ATTEMPT_DELAY_MAX_MS);
        check_ms(field, self.attempt_delay, low, high, "10 ms to 2 s")
    }
}

/// A Unix stream listener.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UdsListenConfig {
    /// A path of at most 107 bytes; one that starts with `@` is a name in the abstract namespace.
    pub path: PathBuf,
    /// Connections the kernel keeps before they are accepted. Default 4096 (capped by `somaxconn`);
    /// 1 to 2,147,483,647.
    pub backlog: u32,
    /// Remove a socket file that nobody listens on any more. Default on.
    pub unlink_stale: bool,
    /// Permission bits of the socket file, for example `0o600`; `None` leaves the umask's.
    pub mode: Option<u32>,
    /// Time limits of accepted connections.
    pub timeouts: ConnTimeouts,
    /// How the byte stream is cut into messages.
    pub framing: Option<Framing>,
    /// Each connection begins with a PROXY header that says who the client is. Default none.
    pub proxy: Option<ProxyProtocol>,
}

impl UdsListenConfig {
    /// The defaults, at that path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            backlog: 4096,
            unlink_stale: true,
            mode: None,
            timeouts: ConnTimeouts::default(),
            framing: None,
            proxy: None,
        }
    }

    /// The same configuration after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// An outgoing Unix stream connection.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UdsConnectConfig {
    /// As in [`UdsListenConfig::path`].
    pub path: PathBuf,
    /// How long to wait for room in the listener's backlog. Default 30 s.
    pub connect_timeout: Duration,
    /// Time limits once connected.
    pub timeouts: ConnTimeouts,
    /// How the byte stream is cut into messages.
    pub framing: Option<Framing>,
}

impl UdsConnectConfig {
    /// The defaults, towards that path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            connect_timeout: Duration::from_secs(30),
            timeouts: ConnTimeouts::default(),
            framing: None,
        }
    }

    /// The same configuration after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// A UDP socket.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UdpEndpointConfig {
    /// The local address; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// Connected mode: only datagrams of this peer are received.
    ///
    /// That the peer refused one (ICMP "port unreachable") is no event: `IoStats::udp_errors`
    /// counts it, no later datagram is lost by it, and both directions go on. It tells of one
    /// datagram, which UDP never promised to deliver; it may have been forged; and it stays away
    /// where a firewall swallows it. Whoever needs to know of a peer waits for its answers, with a
    /// time limit.
    pub connect: Option<SocketAddr>,
    /// `SO_REUSEPORT`. Default off.
    pub reuseport: bool,
    /// `SO_REUSEADDR`, for several receivers of one multicast group. Default off.
    pub reuseaddr: bool,
    /// An IPv6 wildcard also takes IPv4. Default on.
    pub dual_stack: bool,
    /// The longest datagram to receive, 1 to 65,527 bytes. Up to `Config::pool_slot_size` (the
    /// default) datagrams use slots; above, 64 KiB buffers. A longer datagram arrives cut, and is
    /// marked.
    pub datagram_max: Option<usize>,
    /// `UDP_GRO`: trains of datagrams are received in one piece and handed out one by one. Default
    /// off.
    pub gro: bool,
    /// Report the local address of each datagram (`IP_PKTINFO`). Default off.
    pub local_addr: bool,
    /// Report the ECN bits of each datagram, RFC 3168. Default off.
    pub ecn: bool,
    /// Report the kernel's receive time of each datagram (`SO_TIMESTAMPNS`). Default off.
    pub timestamps: bool,
    /// Datagrams that may be queued for sending. Default 1024; 1 to 65,536.
    pub send_queue: usize,
    /// `SO_RCVBUF` in bytes. The kernel may give less: see `Io::udp_recv_buffer`.
    pub recv_buffer: Option<u32>,
    /// `SO_SNDBUF` in bytes.
    pub send_buffer: Option<u32>,
    /// `IP_TOS`/`IPV6_TCLASS` of what is sent, the ECN bits included. Default 0.
    pub tos: u8,
    /// `IP_TTL`/`IPV6_UNICAST_HOPS`, 1 to 255. Default: the system's.
    pub ttl: Option<u8>,
    /// `IP_MULTICAST_TTL`/`IPV6_MULTICAST_HOPS`. Default: the system's, 1.
    pub multicast_ttl: Option<u8>,
    /// Whether multicast that is sent here is also received here. Default on.
    pub multicast_loop: bool,
    /// The IPv4 address of the interface for sent multicast.
    pub multicast_interface_v4: Option<Ipv4Addr>,
    /// The index of the interface for sent IPv6 multicast.
    pub multicast_interface_v6: Option<u32>,
    /// `IP_MTU_DISCOVER` = PROBE: never fragment, and ignore the path's known MTU. Default off.
    pub dont_fragment: bool,
    /// Allow sending to a broadcast address. Default off.
    pub broadcast: bool,
}

impl UdpEndpointConfig {
    /// The defaults, at that address.
    #[must_use]
    pub const fn new(bind: SocketAddr) -> Self {
        Self {
            bind,
            connect: None,
            reuseport: false,
            reuseaddr: false,
            dual_stack: true,
            datagram_max: None,
            gro: false,
            local_addr: false,
            ecn: false,
            timestamps: false,
            send_queue: 1024,
            recv_buffer: None,
            send_buffer: None,
            tos: 0,
            ttl: None,
            multicast_ttl: None,
            multicast_loop: true,
            multicast_interface_v4: None,
            multicast_interface_v6: None,
            dont_fragment: false,
            broadcast: false,
        }
    }

    /// The same configuration after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// A multicast group to receive from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MulticastGroup {
    /// Any source, RFC 1112 (mDNS and the like). IPv4.
    AnySource {
        /// The group, 224.0.0.0/4.
        group: Ipv4Addr,
        /// The address of the interface; unspecified lets the system choose.
        interface: Ipv4Addr,
    },
    /// Any source, IPv6, RFC 4291 §2.7.
    AnySourceV6 {
        /// The group, ff00::/8.
        group: Ipv6Addr,
        /// The index of the interface; 0 lets the system choose.
        interface: u32,
    },
    /// One source, RFC 4607 (market data feeds). Both addresses are of one family.
    SourceSpecific {
        /// The group.
        group: IpAddr,
        /// The only source to be heard.
        source: IpAddr,
        /// The address of the IPv4 interface; unspecified lets the system choose.
        interface_v4: Ipv4Addr,
        /// The index of the IPv6 interface; 0 lets the system choose.
        interface_v6: u32,
    },
}
