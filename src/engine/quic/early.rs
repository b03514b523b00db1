//! What is sent before the handshake is done, and what is known of earlier connections.

use super::session;
use crate::config::{CertReloadHandle, SessionTicket, TlsInfo, check_ticket};
use crate::conn::Flags;
use crate::engine::Engine;
use crate::error::{IoError, Result};
use crate::ids::{ConnId, EndpointId, StreamId};
use crate::time::Time;
use crate::transport::Kind as EndpointKind;

const EARLY_DATA: &str = "early data";
const TICKETS: &str = "session tickets";

impl Engine {
    /// Opens a stream before the handshake is done, and writes as much as the remembered windows
    /// allow.
    pub(crate) fn quic_early_send(
        &mut self,
        conn: ConnId,
        data: &[u8],
    ) -> Result<(StreamId, usize)> {
        if self.quic.races.has(conn) {
            return Err(IoError::EarlyDataUnavailable { conn });
        }
        let stream = self.quic_session(conn, EARLY_DATA)?.open_early()?;
        let taken = self.quic_write(conn, stream, data, IoError::EarlyDataUnavailable { conn })?;
        Ok((stream, taken))
    }

    pub(crate) fn quic_may_be_replayed(&mut self, conn: ConnId) -> Result<bool> {
        Ok(self.quic_session(conn, EARLY_DATA)?.may_be_replayed())
    }

    pub(crate) fn quic_ticket(&mut self, conn: ConnId) -> Result<Option<SessionTicket>> {
        Ok(self.quic_session(conn, TICKETS)?.ticket())
    }

    pub(crate) fn quic_keep_ticket(&mut self, name: &str, ticket: SessionTicket) -> Result<()> {
        check_ticket(&ticket, name)?;
        self.quic_memory().past.keep(ticket);
        Ok(())
    }

    /// The client has shown that it is there: how long that may take is over.
    pub(super) fn quic_secured(&mut self, conn: ConnId) {
        if let Some(conn) = self.conns.find(conn).filter(|conn| !conn.has(Flags::GRACEFUL)) {
            conn.deadline = Time::MAX;
        }
    }

    /// What TLS agreed on, on a connection of QUIC that knows.
    pub(crate) fn quic_tls(&mut self, conn: ConnId) -> Option<TlsInfo> {
        session(self.conns.find(conn)?)?.tls_info()
    }

    /// What replaces the certificates of a listener of QUIC.
    pub(crate) fn quic_reload(&mut self, endpoint: EndpointId) -> Option<CertReloadHandle> {
        match &self.endpoints.get(endpoint).ok()?.kind {
            EndpointKind::Quic(udp) => Some(udp.listening.as_ref()?.reload.clone()),
            _ => None,
        }
    }
}
