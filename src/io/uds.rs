//! Unix stream sockets.

use super::split::both;
use crate::config::{UdsConnectConfig, UdsListenConfig};
use crate::error::{IoError, Result};
use crate::ids::{ConnId, EndpointId, Protocol};
use crate::proto::tls::Acceptor;
use crate::sys::errno;
use crate::sys::sockopt::PeerCred;
use crate::transport::Terms;

both! {
    /// Listens on a Unix socket path, or on an abstract name (`@name`).
    ///
    /// # Errors
    /// As [`uds_listen_with`](Self::uds_listen_with).
    pub fn uds_listen(&mut self_, path: &str) -> Result<EndpointId> {
        self_.uds_listen(&UdsListenConfig::new(path), None)
    }

    /// Listens on a Unix socket.
    ///
    /// # Errors
    /// `InvalidArgument` for a path that is no socket name; `Os` (`EADDRINUSE` when somebody
    /// listens there); `PoolExhausted`.
    pub fn uds_listen_with(&mut self_, config: UdsListenConfig) -> Result<EndpointId> {
        self_.uds_listen(&config, None)
    }

    /// Connects to a Unix socket path, or to an abstract name (`@name`).
    ///
    /// # Errors
    /// As [`uds_connect_with`](Self::uds_connect_with).
    pub fn uds_connect(&mut self_, path: &str) -> Result<ConnId> {
        self_.uds_connect(UdsConnectConfig::new(path))
    }

    /// Connects to a Unix socket. `Event::Connected` follows, or `Event::Disconnected` with the
    /// reason.
    ///
    /// # Errors
    /// `InvalidArgument` for a path that is no socket name; `PoolExhausted` when
    /// `Config::max_connections` are open.
    pub fn uds_connect_with(&mut self_, config: UdsConnectConfig) -> Result<ConnId> {
        self_.uds_connect(config)
    }

    /// Who is on the other side of a Unix connection, as of its connect or listen call
    /// (`SO_PEERCRED`, unix(7)).
    ///
    /// # Errors
    /// `StaleConn`; `NotConnected`; `Os` when the connection is not a Unix one.
    pub fn peer_cred(&mut self_, conn: ConnId) -> Result<PeerCred> {
        let entry = self_.conns.get(conn)?;
        if entry.protocol != Protocol::Uds {
            // The kernel would answer with nobody's credentials.
            return Err(IoError::os("SO_PEERCRED", errno::EOPNOTSUPP));
        }
        let fd = self_.fd_of(conn)?;
        self_.ring.peer_cred(fd)
    }
}

impl crate::engine::Engine {
    pub(super) fn uds_listen(
        &mut self,
        config: &UdsListenConfig,
        tls: Option<Acceptor>,
    ) -> Result<EndpointId> {
        self.endpoints.check_room()?;
        let terms = Terms::new(config.timeouts, tls, config.proxy.as_ref())?;
        let fd = self.ring.uds_listen(config)?;
        self.add_listener(fd, Protocol::Uds, terms, config.framing)
    }
}
