//! Clients that move: their socket is replaced by one that is bound elsewhere, and the servers see
//! it by the next packet (RFC 9000 §9).
//!
//! *Invariant*: a socket moves as a whole. Its connections share connection ids, queues and memory,
//! so all of them get the new descriptor, and the old one is closed.

use std::net::SocketAddr;

use super::open::own;
use super::{session, socket_of};
use crate::engine::Engine;
use crate::error::{IoError, PoolKind, Result};
use crate::ids::{ConnId, EndpointId, Protocol};
use crate::proto::App;
use crate::proto::quic::endpoint::{Endpoint, Route};
use crate::proto::quic::parts::{EndpointParts, Secrets};
use crate::transport::Kind as EndpointKind;
use crate::transport::quic::QuicSocket;

const WHAT: &str = "QUIC connection to rebind";

impl Engine {
    pub(crate) fn quic_rebind(&mut self, conn: ConnId, bind: SocketAddr) -> Result<()> {
        let socket = socket_of(self.quic_conn(conn, "socket that can be replaced")?);
        self.quic_check_rebind(conn, socket, bind)?;
        let moved = self.quic_replace(socket, bind)?;
        let (from, to) = (self.endpoints.id(socket), self.endpoints.id(moved));
        let (Some(from), Some(to)) = (from, to) else { return Ok(()) };
        for client in &mut self.quic.clients {
            if *client == Some(socket) {
                *client = Some(moved);
            }
        }
        for touched in &mut self.quic.touched {
            if touched.0 == socket {
                touched.0 = moved;
            }
        }
        self.quic_follow(from, to);
        // Nobody uses it any more.
        self.quic_let_go(socket);
        Ok(())
    }

    fn quic_check_rebind(&mut self, conn: ConnId, socket: u32, bind: SocketAddr) -> Result<()> {
        let refused = |why| Err(IoError::InvalidArgument { what: WHAT, why });
        let Some(udp) = self.endpoints.quic(socket) else {
            return Err(IoError::StaleConn { conn });
        };
        if udp.listening.is_some() {
            return refused("it is on a listener's socket, which peers know; clients alone move");
        }
        if !udp.is_of_family(bind) {
            return refused("the new address is of another family than the socket");
        }
        // RFC 9000 §9: "An endpoint MUST NOT initiate connection migration before the handshake is
        // confirmed".
        if let Some(conn) = self.quic_shaking_on(socket) {
            return Err(IoError::NotConnected { conn });
        }
        if let Some(conn) = self.quic_unconfirmed_on(socket) {
            return Err(IoError::HandshakeUnconfirmed { conn });
        }
        self.endpoints.check_room()
    }

    /// A connection on that socket whose server has not confirmed the handshake, if there is one.
    fn quic_unconfirmed_on(&self, socket: u32) -> Option<ConnId> {
        self.conns.iter().find_map(|(index, conn)| match &conn.app {
            App::Quic(session) if socket_of(conn) == socket && session.is_unconfirmed() => {
                Some(conn.id(index))
            }
            _ => None,
        })
    }

    /// Puts what a socket has into a new one; where that is. The old place gets an empty one, to be
    /// closed as any.
    fn quic_replace(&mut self, socket: u32, bind: SocketAddr) -> Result<u32> {
        let secrets = Secrets::draw(None, |out| self.ring.entropy(out))?;
        let parts = EndpointParts::connect(&secrets)?;
        let base = self.quic_memory().base;
        let config = own(bind);
        let fd = self.ring.udp_bind(&config)?;
        let empty = Box::new(QuicSocket::new(Endpoint::new(parts, base), None, &config));
        let exhausted = IoError::exhausted(PoolKind::Endpoints);
        let Some(place) = self.endpoints.at(socket) else {
            self.ring.close_now(fd);
            return Err(exhausted);
        };
        let mut kind = std::mem::replace(&mut place.kind, EndpointKind::Quic(empty));
        if let (Some(was_armed), Some(is_armed)) = (kind.out_armed(), place.kind.out_armed()) {
            // Its poll is the old descriptor's.
            *is_armed = std::mem::take(was_armed);
        }
        if let EndpointKind::Quic(udp) = &mut kind {
            udp.rebound(bind);
        }
        // There is room: that was looked at first.
        let moved = self.endpoints.insert(fd, Protocol::Quic, kind)?;
        if let Some(endpoint) = self.endpoints.at(moved) {
            (endpoint.is_lame, endpoint.ready) = (true, true);
        }
        self.lists.endpoint_work = true;
        Ok(moved)
    }

    /// All connections of the one socket are the other one's, and tell their servers.
    fn quic_follow(&mut self, from: EndpointId, to: EndpointId) {
        let socket = to.index();
        let of_table = self.conns.iter().filter_map(|(index, conn)| {
            let is_of_it = matches!(conn.app, App::Quic(_)) && conn.endpoint == from.as_u64();
            is_of_it.then(|| conn.id(index))
        });
        let ids: Vec<ConnId> = of_table.collect();
        for id in ids {
            let Some(conn) = self.conns.find(id) else { continue };
            conn.endpoint = to.as_u64();
            if let Some(session) = session(conn) {
                session.on_moved();
            }
            self.quic_settle(socket, Route::Conn(id));
        }
        for (_, drain) in self.quic.drains.iter_mut() {
            if drain.socket == from.index() {
                drain.socket = socket;
            }
        }
        self.quic_list(socket);
    }
}
