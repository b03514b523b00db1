//! [`ProxyProtocol`]: whom a listener believes when it says for whom it speaks.

use std::net::IpAddr;
use std::time::Duration;

use super::{IpNet, check_ms};
use crate::error::Result;

/// The specification asks for 3 s at least, so that a lost first segment may come again.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// A listener behind load balancers that begin each connection with a PROXY header (versions 1 and
/// 2, told apart by their first bytes): haproxy, ELB, nginx and others.
///
/// The header says who the client is, so only those may send one who are trusted to say the truth:
/// from a peer in `trusted` a header is required, and from anybody else none is looked for. The
/// peers of a Unix socket are trusted all: its file mode says who they may be.
///
/// ```
/// use std::net::SocketAddr;
/// use zero_io::{ProxyProtocol, TcpListenConfig};
/// let addr: SocketAddr = "[::]:8080".parse().unwrap();
/// let proxy = ProxyProtocol::new(["10.0.0.0/8".parse()?, "fd00::/8".parse()?]);
/// let config = TcpListenConfig::new(addr).with(|c| c.proxy = Some(proxy));
/// # Ok::<(), zero_io::IoError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProxyProtocol {
    /// From where headers are believed, and required. A mapped IPv4 address counts as what it
    /// maps.
    pub trusted: Vec<IpNet>,
    /// What becomes of the others. Default: they are refused.
    pub untrusted: Untrusted,
    /// How long a header may take to arrive; then the connection is closed. Default 5 s; 1 ms to
    /// 1 h.
    pub timeout: Duration,
}

/// What becomes of a connection from where headers are not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Untrusted {
    /// It is closed at once, unread, and nothing but `IoStats::proxy_refused` tells of it.
    #[default]
    Refuse,
    /// It is taken as it is: no header is looked for, and the peer is who it is. A header that
    /// comes nevertheless is what the client sends to the application.
    Direct,
}

impl ProxyProtocol {
    /// The defaults, with those networks trusted.
    #[must_use]
    pub fn new(trusted: impl IntoIterator<Item = IpNet>) -> Self {
        let trusted = trusted.into_iter().collect();
        Self { trusted, untrusted: Untrusted::default(), timeout: TIMEOUT_DEFAULT }
    }

    /// The same configuration after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`IoError::InvalidConfig`](crate::IoError::InvalidConfig) with the field.
    pub fn validate(&self) -> Result<()> {
        let field = "ProxyProtocol::timeout (ms)";
        check_ms(field, self.timeout, 1, TIMEOUT_MAX.as_millis() as u64, "1 ms to 1 h")
    }

    /// Whether a header of that peer is believed; `None` is one of a Unix socket.
    pub(crate) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        peer.is_none_or(|peer| self.trusted.iter().any(|net| net.contains(peer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::IoError;

    #[test]
    fn only_what_was_named_is_trusted() {
        let proxy = ProxyProtocol::new(["10.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()]);
        for (peer, expected) in
            [("10.1.2.3", true), ("::ffff:10.1.2.3", true), ("::1", true), ("127.0.0.1", false)]
        {
            assert_eq!(proxy.trusts(Some(peer.parse().unwrap())), expected, "{peer}");
        }
        assert!(proxy.trusts(None));
        assert!(!ProxyProtocol::new([]).trusts(Some("127.0.0.1".parse().unwrap())));
    }

    #[test]
    fn a_bad_timeout_is_named() {
        for (timeout, ok) in [
            (Duration::ZERO, false),
            (Duration::from_micros(999), false),
            (Duration::from_millis(1), true),
            (TIMEOUT_MAX, true),
            (TIMEOUT_MAX + Duration::from_millis(1), false),
            (Duration::MAX, false),
        ] {
            let answer = ProxyProtocol::new([]).with(|p| p.timeout = timeout).validate();
            assert_eq!(answer.is_ok(), ok, "{timeout:?}");
            if let Err(error) = answer {
                assert!(matches!(error, IoError::InvalidConfig { .. }) && !ok);
            }
        }
    }
}
