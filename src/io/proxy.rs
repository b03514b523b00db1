//! Connections that a proxy made for somebody else.

use std::net::SocketAddr;

use super::split::both;
use crate::engine::peer_addr;
use crate::error::Result;
use crate::ids::{ConnId, PeerAddr};

/// What a proxy said of a connection, besides its peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxiedBy<'a> {
    /// The proxy: the other end of the socket.
    pub proxy: PeerAddr,
    /// Where the client had connected to, unless the proxy did not say.
    pub destination: Option<SocketAddr>,
    /// The host that the client asked for (`PP2_TYPE_AUTHORITY`): with TLS, its `server_name`.
    pub authority: Option<&'a str>,
    /// The proxy's name for the connection, of up to 128 bytes (`PP2_TYPE_UNIQUE_ID`).
    pub unique_id: Option<&'a [u8]>,
    /// The client spoke TLS with the proxy (`PP2_CLIENT_SSL`).
    pub tls: bool,
}

both! {
    /// Who made the connection for its peer: what the PROXY header said that it began with
    /// ([`ProxyProtocol`](crate::ProxyProtocol)). `None` for one that came directly, and for one
    /// on which the proxy speaks for itself (`LOCAL`: a health check). The client itself is the
    /// peer, in `Event::Connected` and everywhere else.
    ///
    /// # Errors
    /// `StaleConn`.
    pub fn proxied_by(&mut self_, conn: ConnId) -> Result<Option<ProxiedBy<'_>>> {
        let via = self_.via(conn)?;
        Ok(via.map(|via| ProxiedBy {
            proxy: peer_addr(&via.proxy),
            destination: via.said.destination,
            authority: via.said.authority.as_deref(),
            unique_id: via.said.unique_id.as_deref(),
            tls: via.said.tls,
        }))
    }
}
