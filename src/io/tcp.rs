//! TCP.

use std::net::SocketAddr;
use std::os::fd::{IntoRawFd, OwnedFd};

use super::split::both;
use crate::config::{ConnTimeouts, Framing, TcpConnectConfig, TcpListenConfig};
use crate::error::{IoError, Result};
use crate::ids::{ConnId, EndpointId, Protocol};
use crate::proto::tls::Acceptor;
use crate::proto::{App, Speaks};
use crate::sys::sockopt::Adopted;
use crate::transport::Terms;

both! {
    /// Listens on a TCP address with the defaults of [`TcpListenConfig`].
    ///
    /// # Errors
    /// As [`tcp_listen_with`](Self::tcp_listen_with).
    pub fn tcp_listen(&mut self_, addr: SocketAddr) -> Result<EndpointId> {
        self_.tcp_listen(&TcpListenConfig::new(addr), None)
    }

    /// Listens on a TCP address. `Event::Connected` tells of each connection.
    ///
    /// # Errors
    /// `AddrInUse`; `InvalidConfig`; `PoolExhausted` when `Config::max_endpoints` are open;
    /// `NofileLimit`; `Os` with the call that failed.
    pub fn tcp_listen_with(&mut self_, config: TcpListenConfig) -> Result<EndpointId> {
        self_.tcp_listen(&config, None)
    }

    /// Connects to a TCP address with the defaults of [`TcpConnectConfig`].
    ///
    /// # Errors
    /// As [`tcp_connect_with`](Self::tcp_connect_with).
    pub fn tcp_connect(&mut self_, addr: SocketAddr) -> Result<ConnId> {
        self_.tcp_connect(TcpConnectConfig::new(addr))
    }

    /// Connects to a TCP address or host. `Event::Connected` follows, or `Event::Disconnected`
    /// with the reason; of a host whose addresses were all tried, with that of the last one.
    ///
    /// # Errors
    /// `PoolExhausted` when `Config::max_connections` are open; `InvalidConfig`; `NofileLimit`;
    /// `QueueFull` when 64 host names are being resolved;
    /// `Os` when the socket cannot be made or bound.
    pub fn tcp_connect_with(&mut self_, config: TcpConnectConfig) -> Result<ConnId> {
        self_.tcp_connect(config)
    }

    /// Takes over a listening TCP or Unix socket: socket activation, or one that was bound before
    /// privileges were dropped.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not a listening stream socket; `PoolExhausted`. The descriptor
    /// is closed then.
    pub fn adopt_listener(
        &mut self_,
        socket: OwnedFd,
        timeouts: ConnTimeouts,
        framing: Option<Framing>,
    ) -> Result<EndpointId> {
        self_.adopt_listener(socket, Terms::new(timeouts, None, None)?, framing)
    }

    /// The same for connections that may have to begin with a PROXY header. Of `config` the time
    /// limits, `framing` and `proxy` are used; what else is set on a socket is the caller's.
    ///
    /// # Errors
    /// As [`adopt_listener`](Self::adopt_listener); `InvalidConfig` for `proxy`.
    pub fn adopt_listener_with(
        &mut self_,
        socket: OwnedFd,
        config: TcpListenConfig,
    ) -> Result<EndpointId> {
        let TcpListenConfig { timeouts, framing, proxy, .. } = config;
        self_.adopt_listener(socket, Terms::new(timeouts, None, proxy.as_ref())?, framing)
    }

    /// Takes over a connected TCP or Unix socket, without time limits. `Event::Connected` follows.
    ///
    /// # Errors
    /// `InvalidArgument` when it is not a connected stream socket; `PoolExhausted`. The descriptor
    /// is closed then.
    pub fn adopt_stream(&mut self_, socket: OwnedFd, framing: Option<Framing>) -> Result<ConnId> {
        self_.adopt_any_stream(socket, ConnTimeouts::default(), framing)
    }

    /// The same with time limits.
    ///
    /// # Errors
    /// As [`adopt_stream`](Self::adopt_stream).
    pub fn adopt_stream_with(
        &mut self_,
        socket: OwnedFd,
        timeouts: ConnTimeouts,
        framing: Option<Framing>,
    ) -> Result<ConnId> {
        self_.adopt_any_stream(socket, timeouts, framing)
    }
}

const NOT_A_LISTENER: IoError = IoError::InvalidArgument {
    what: "descriptor",
    why: "it is not a listening TCP or Unix stream socket; call listen(2) on it first",
};
const NOT_A_STREAM: IoError = IoError::InvalidArgument {
    what: "descriptor",
    why: "it is not a connected TCP or Unix stream socket",
};

impl crate::engine::Engine {
    fn adopt_any_stream(
        &mut self,
        socket: OwnedFd,
        timeouts: ConnTimeouts,
        framing: Option<Framing>,
    ) -> Result<ConnId> {
        let fd = socket.into_raw_fd();
        let app = App::new(framing);
        let added = match self.ring.adopt(fd) {
            Ok(Adopted::Stream(protocol)) => self.adopt_stream(fd, protocol, app, timeouts),
            Ok(_) => Err(NOT_A_STREAM),
            Err(error) => Err(error),
        };
        added.inspect_err(|_| self.ring.close_now(fd))
    }

    pub(super) fn tcp_listen(
        &mut self,
        config: &TcpListenConfig,
        tls: Option<Acceptor>,
    ) -> Result<EndpointId> {
        self.endpoints.check_room()?;
        let terms = Terms::new(config.timeouts, tls, config.proxy.as_ref())?;
        let fd = self.ring.tcp_listen(config)?;
        self.add_listener(fd, Protocol::Tcp, terms, config.framing)
    }

    pub(super) fn adopt_listener(
        &mut self,
        socket: OwnedFd,
        terms: Terms,
        speaks: impl Into<Speaks>,
    ) -> Result<EndpointId> {
        let fd = socket.into_raw_fd();
        let added = match self.ring.adopt(fd) {
            Ok(Adopted::Listener(protocol)) => self.add_listener(fd, protocol, terms, speaks),
            Ok(_) => Err(NOT_A_LISTENER),
            Err(error) => Err(error),
        };
        added.inspect_err(|_| self.ring.close_now(fd))
    }
}
