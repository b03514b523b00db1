//! TLS on TCP and Unix sockets.

use std::net::SocketAddr;

use super::split::both;
use crate::config::{
    CertReloadHandle, HostOrAddr, TcpConnectConfig, TcpListenConfig, TlsClientConfig,
    TlsConnectConfig, TlsInfo, TlsListenConfig, TlsServerConfig, TlsSocket,
};
use crate::conn::{Flags, Phase};
use crate::error::{IoError, Result};
use crate::event::record::{Kind, Record};
use crate::ids::{ConnId, EndpointId};
use crate::proto::tls::{Acceptor, Start};
use crate::transport::Kind as EndpointKind;

both! {
    /// Listens for TLS on a TCP address with the defaults of [`TcpListenConfig`]. `Connected`
    /// follows each handshake, with the protocol that ALPN chose; a handshake that fails gives
    /// `Disconnected` alone, with a code of [`code`](crate::code).
    ///
    /// # Errors
    /// As [`tcp_listen_with`](Self::tcp_listen_with).
    pub fn tls_listen(&mut self_, addr: SocketAddr, tls: TlsServerConfig) -> Result<EndpointId> {
        self_.tcp_listen(&TcpListenConfig::new(addr), Some(Acceptor::new(tls)))
    }

    /// Listens for TLS on a TCP or Unix socket.
    ///
    /// # Errors
    /// As [`tcp_listen_with`](Self::tcp_listen_with) and
    /// [`uds_listen_with`](Self::uds_listen_with).
    pub fn tls_listen_with(&mut self_, config: TlsListenConfig) -> Result<EndpointId> {
        let TlsListenConfig { socket, tls } = config;
        let acceptor = Some(Acceptor::new(tls));
        match socket {
            TlsSocket::Tcp(config) => self_.tcp_listen(&config, acceptor),
            TlsSocket::Uds(config) => self_.uds_listen(&config, acceptor),
        }
    }

    /// Connects to a TCP address or host and shakes hands. The certificate must be for the host,
    /// or the address, unless the configuration names another
    /// ([`server_name`](crate::TlsClientBuilder::server_name)). `Connected` follows the handshake,
    /// or `Disconnected` with the reason.
    ///
    /// # Errors
    /// As [`tcp_connect_with`](Self::tcp_connect_with); `TlsConfig` for a host that cannot be a
    /// server's name.
    pub fn tls_connect(
        &mut self_,
        target: impl Into<HostOrAddr>,
        tls: TlsClientConfig,
    ) -> Result<ConnId> {
        let config = TlsConnectConfig::tcp(TcpConnectConfig::new(target), tls);
        self_.tls_connect(config)
    }

    /// Connects to a TCP or Unix socket and shakes hands.
    ///
    /// # Errors
    /// As [`tls_connect`](Self::tls_connect); to a Unix socket also `TlsConfig` when the
    /// configuration has no server name.
    pub fn tls_connect_with(&mut self_, config: TlsConnectConfig) -> Result<ConnId> {
        self_.tls_connect(config)
    }

    /// Puts TLS on an open connection, as the client (STARTTLS). What was written before is sent
    /// before, in the clear; writes are refused with `NotConnected` until `Event::Secured`.
    ///
    /// Call it when the server's consent was read. To be safe from injection (RFC 3207 §5 and
    /// alike), nothing that came in the clear may be handed out later as if it had been sealed: so
    /// the call fails while such bytes wait. Bytes behind the consent in the event that has it are
    /// the application's to refuse.
    ///
    /// # Errors
    /// `PlaintextPending` while bytes that came in the clear wait: close the connection;
    /// `StaleConn`; `NotConnected`; `InvalidArgument` when it speaks TLS already; `TlsConfig` when
    /// the configuration has no server name and the connection's target is not known.
    pub fn tls_upgrade(&mut self_, conn: ConnId, tls: TlsClientConfig) -> Result<()> {
        let peer = self_.conns.get(conn)?.peer.ip().map(HostOrAddr::from);
        self_.upgrade(conn, || Ok(Start::client(&tls, peer.as_ref())?))
    }

    /// The same as the server. Write the consent first: it is sent in the clear, before anything
    /// of TLS.
    ///
    /// # Errors
    /// As [`tls_upgrade`](Self::tls_upgrade).
    pub fn tls_accept_upgrade(&mut self_, conn: ConnId, tls: TlsServerConfig) -> Result<()> {
        self_.upgrade(conn, || {
            Acceptor::new(tls).start().map_err(|_| IoError::TlsConfig {
                fault: crate::error::TlsConfigFault::Refused,
                line: 0,
            })
        })
    }

    /// Replaces the certificates of a TLS or QUIC listener while it runs, from any thread.
    /// Connections in their handshake keep the old certificate, new ones get the new one; a bad
    /// pair is refused.
    ///
    /// # Errors
    /// `StaleEndpoint`; `InvalidArgument` when it is not a listener of TLS or QUIC.
    pub fn enable_cert_hot_reload(&mut self_, endpoint: EndpointId) -> Result<CertReloadHandle> {
        if let Some(handle) = self_.quic_reload(endpoint) {
            return Ok(handle);
        }
        match &self_.endpoints.get(endpoint)?.kind {
            EndpointKind::Listener(listener) => match &listener.terms.tls {
                Some(acceptor) => Ok(acceptor.config().reload_handle()),
                None => Err(NOT_TLS),
            },
            EndpointKind::Udp(_) | EndpointKind::Quic(_) => Err(NOT_TLS),
        }
    }

    /// What the TLS handshake of a connection agreed on, and with whom. Allocates: it is a copy.
    ///
    /// # Errors
    /// `StaleConn`; `NotConnected` before the handshake is done and on a connection without TLS.
    pub fn conn_tls_info(&mut self_, conn: ConnId) -> Result<TlsInfo> {
        if let Some(info) = self_.quic_tls(conn) {
            return Ok(info);
        }
        let secure = self_.conns.get(conn)?.secure.as_ref();
        let info = secure.and_then(|secure| secure.tls.info());
        info.cloned().ok_or(IoError::NotConnected { conn })
    }
}

const NOT_TLS: IoError = IoError::InvalidArgument {
    what: "endpoint",
    why: "it is not a listener of TLS; use the id that tls_listen or quic_listen gave",
};

impl crate::engine::Engine {
    pub(crate) fn tls_connect(&mut self, config: TlsConnectConfig) -> Result<ConnId> {
        let TlsConnectConfig { socket, tls } = config;
        let (start, conn) = match socket {
            TlsSocket::Tcp(config) => {
                (Start::client(&tls, Some(&config.target))?, self.tcp_connect(config)?)
            }
            TlsSocket::Uds(config) => (Start::client(&tls, None)?, self.uds_connect(config)?),
        };
        Ok(self.secure_outgoing(conn, start))
    }

    /// The same for one that was just asked for: nothing has happened on it yet.
    fn secure_outgoing(&mut self, conn: ConnId, start: Start) -> ConnId {
        self.now = self.ring.now();
        let index = conn.index();
        // A Unix socket may be connected already; or the connection may be over.
        let is_open = self.conns.at(index).phase == Phase::Open;
        self.secure(index, start, false);
        if is_open {
            self.conns.at(index).unset(Flags::ANNOUNCE_DUE);
            self.shake(index);
            self.settle_recv(index);
        }
        conn
    }

    /// Puts TLS on an open connection (STARTTLS).
    fn upgrade(&mut self, conn: ConnId, start: impl FnOnce() -> Result<Start>) -> Result<()> {
        self.now = self.ring.now();
        let entry = self.conns.get(conn)?;
        if !entry.takes_writes() || entry.has(Flags::TLS | Flags::EOF) {
            return Err(match entry.has(Flags::TLS) {
                true => IoError::InvalidArgument {
                    what: "connection to upgrade",
                    why: "it speaks TLS already",
                },
                false => IoError::NotConnected { conn },
            });
        }
        if self.has_unread(conn) {
            return Err(IoError::PlaintextPending { conn });
        }
        let start = start()?;
        self.secure(conn.index(), start, true);
        let entry = self.conns.at(conn.index());
        if entry.has(Flags::WRITABLE_QUEUED) {
            // It is told when it is true again.
            entry.unset(Flags::WRITABLE_QUEUED);
            entry.set(Flags::WANT_WRITABLE);
        }
        self.shake(conn.index());
        self.settle_recv(conn.index());
        Ok(())
    }

    /// Whether bytes that came before this moment are still to be handed out.
    fn has_unread(&mut self, conn: ConnId) -> bool {
        let is_of = |r: &Record| r.id == conn.as_u64() && matches!(r.kind, Kind::StreamFrame(_));
        let queued = self.inbox.waiting().any(is_of);
        let entry = self.conns.at(conn.index());
        queued || !entry.carry.is_empty() || entry.has(Flags::STALLED)
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
