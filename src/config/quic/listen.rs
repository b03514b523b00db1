//! What a QUIC listener is made with.

use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use super::cids::QuicCids;
use super::keys::QuicKeys;
use super::transport::QuicTransport;
use crate::config::TlsServerConfig;
use crate::config::{check, check_ms};
use crate::error::Result;

/// Whether a client has to show that it is where it says (RFC 9000 §8.1.2), which costs it a
/// round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RetryPolicy {
    /// Every client.
    Always,
    /// While there are many connections in the making, or memory runs low.
    #[default]
    UnderLoad,
    /// None. A flood of forged addresses costs a handshake each.
    Never,
}

/// A QUIC listener.
///
/// ```no_run
/// use zero_io::{QuicListenConfig, RetryPolicy, TlsServerConfig};
/// let tls = TlsServerConfig::from_pem("chain.pem", "key.pem").alpn(["hq"]).build()?;
/// let addr = "[::]:4433".parse().expect("an address");
/// let config = QuicListenConfig::new(addr, tls).with(|c| c.retry = RetryPolicy::Always);
/// # let _ = config;
/// # Ok::<(), zero_io::TlsConfigError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct QuicListenConfig {
    /// The local address; port 0 lets the system choose.
    pub addr: SocketAddr,
    /// Certificates and ALPN. TLS 1.3 must be among its versions.
    pub tls: TlsServerConfig,
    /// What accepted connections are made with.
    pub transport: QuicTransport,
    /// Who is asked to retry (RFC 9000 §8.1.2). Default under load.
    pub retry: RetryPolicy,
    /// How long a client may take to retry. Default 15 s; 1 s to 1 h.
    pub retry_token_lifetime: Duration,
    /// Tokens that each client is given for its next connections, which are then not asked to retry
    /// (RFC 9000 §8.1.3). Default 2; 0 to 8.
    pub new_tokens: u32,
    /// How long they are good. Each is good once, from the address that it was given to. Default 14
    /// days; 1 s to 30 days.
    pub new_token_lifetime: Duration,
    /// Takes what clients send before their handshake is done (0-RTT, RFC 9001 §4.6). Such a
    /// connection is told of at once, and `Event::Secured` follows when the client has shown that
    /// it is no recording: until then, act on nothing that does harm twice.
    ///
    /// A recording is good once at the most, as sessions are taken out of a cache: tickets are off,
    /// and [`session_cache`](crate::TlsServerBuilder::session_cache) is how many sessions can be
    /// resumed. Listeners resume each other's when they have clones of one `tls` and the same
    /// windows, limits and `migration`. Default off.
    pub early_data: bool,
    /// How long a handshake may take. Default 10 s; 100 ms to 1 h.
    pub handshake_timeout: Duration,
    /// Clients may change their address (RFC 9000 §9). `false` asks them not to, and drops what
    /// comes from elsewhere. Default on.
    pub migration: bool,
    /// Where clients should rather go once their handshake is done (RFC 9000 §9.6): an address of
    /// this machine alone, behind one that many share. The listener is bound to the wildcard of its
    /// family (for IPv4, that of IPv6 with `dual_stack` will do) and to the same port. Clients that
    /// do not know of it stay where they are. Default none.
    pub preferred_v4: Option<SocketAddrV4>,
    /// The same for IPv6.
    pub preferred_v6: Option<SocketAddrV6>,
    /// Clients whose first packet waits to be looked at; what comes beyond is dropped. Default 256;
    /// 1 to 65,536.
    pub incoming_max: usize,
    /// Of stateless resets (RFC 9000 §10.3), tokens and connection ids: the same for every shard
    /// and restart that is to know those of the others. Default: random ones.
    pub keys: Option<QuicKeys>,
    /// Who makes our connection ids (RFC 9000 §5.1). Default: ids that name server 0 and shard 0.
    pub cids: QuicCids,
    /// `SO_REUSEPORT`. Default off.
    pub reuseport: bool,
    /// An IPv6 wildcard also takes IPv4. Default on.
    pub dual_stack: bool,
    /// Trains of datagrams are received in one piece (`UDP_GRO`). Default on.
    pub gro: bool,
    /// `SO_RCVBUF` in bytes. Default 2 MiB; 1 to 2 GiB - 1. The kernel may give less: see
    /// [`Io::udp_recv_buffer`](crate::Io::udp_recv_buffer).
    pub recv_buffer: Option<u32>,
    /// `SO_SNDBUF` in bytes. Default 2 MiB; 1 to 2 GiB - 1. `None`, here and above: the system's.
    pub send_buffer: Option<u32>,
}

impl QuicListenConfig {
    /// The defaults, at that address.
    #[must_use]
    pub fn new(addr: SocketAddr, tls: TlsServerConfig) -> Self {
        Self {
            addr,
            tls,
            transport: QuicTransport::default(),
            retry: RetryPolicy::default(),
            retry_token_lifetime: Duration::from_secs(15),
            new_tokens: 2,
            new_token_lifetime: Duration::from_secs(14 * 86_400),
            early_data: false,
            handshake_timeout: Duration::from_secs(10),
            migration: true,
            preferred_v4: None,
            preferred_v6: None,
            incoming_max: 256,
            keys: None,
            cids: QuicCids::default(),
            reuseport: false,
            dual_stack: true,
            gro: true,
            recv_buffer: Some(2 << 20),
            send_buffer: Some(2 << 20),
        }
    }

    /// The same after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`IoError::InvalidConfig`](crate::IoError::InvalidConfig) with the first bad field;
    /// [`IoError::TlsConfig`](crate::IoError::TlsConfig) when `tls` lacks TLS 1.3.
    pub fn validate(&self) -> Result<()> {
        self.transport.validate()?;
        self.cids.validate()?;
        let timeout = self.handshake_timeout;
        let field = "QuicListenConfig::handshake_timeout";
        check_ms(field, timeout, 100, 3_600_000, "100 to 3,600,000 ms")?;
        let lifetime = self.retry_token_lifetime;
        let field = "QuicListenConfig::retry_token_lifetime";
        check_ms(field, lifetime, 1000, 3_600_000, "1000 to 3,600,000 ms")?;
        let tokens = self.new_tokens;
        check("QuicListenConfig::new_tokens", tokens as usize, tokens <= 8, "0 to 8")?;
        let lifetime = self.new_token_lifetime;
        let field = "QuicListenConfig::new_token_lifetime";
        check_ms(field, lifetime, 1000, 2_592_000_000, "1000 to 2,592,000,000 ms")?;
        let fits = (1..=65_536).contains(&self.incoming_max);
        check("QuicListenConfig::incoming_max", self.incoming_max, fits, "1 to 65,536")?;
        for (field, buffer) in [
            ("QuicListenConfig::recv_buffer", self.recv_buffer),
            ("QuicListenConfig::send_buffer", self.send_buffer),
        ] {
            let len = buffer.unwrap_or(1);
            let fits = (1..=i32::MAX as u32).contains(&len);
            check(field, len as usize, fits, "1 to 2,147,483,647")?;
        }
        self.check_preferred()?;
        self.tls.check_quic(self.early_data)
    }

    fn check_preferred(&self) -> Result<()> {
        let is_bound = |ip: IpAddr, port: u16| match (self.addr.ip(), ip) {
            _ if ip.is_unspecified() || port != self.addr.port() => false,
            (IpAddr::V6(own), IpAddr::V4(_)) => own.is_unspecified() && self.dual_stack,
            (own, ip) => own.is_unspecified() && own.is_ipv4() == ip.is_ipv4(),
        };
        let v4 = self.preferred_v4.map(|v4| ("QuicListenConfig::preferred_v4", v4.into()));
        let v6 = self.preferred_v6.map(|v6| ("QuicListenConfig::preferred_v6", v6.into()));
        for (field, addr) in v4.into_iter().chain(v6) {
            let addr: SocketAddr = addr;
            let fits = is_bound(addr.ip(), addr.port());
            let range = "an address that the listener is bound to by its wildcard, at its port";
            check(field, usize::from(addr.port()), fits, range)?;
        }
        Ok(())
    }
}
