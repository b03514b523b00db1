//! [`Endpoint`]: one UDP socket's part of QUIC, which finds the connection of each datagram.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use quinn_proto::{
    ConnectError, ConnectionEvent, ConnectionHandle, DatagramEvent, EcnCodepoint, EndpointEvent,
    ServerConfig, Transmit,
};

use super::cid::Draws;
use super::pacer::Reins;
use super::parts::{ClientParts, EndpointParts, How, Own};
use super::plain::{self, Kind};
use super::session::Session;
use super::signal::Outgoing;
use super::time::Base;
use super::versions;
use crate::error::{IoError, Result};
use crate::ids::ConnId;
use crate::time::Time;

/// Where the owner of an endpoint keeps a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Nowhere: its handle is free.
    Free,
    /// In the table.
    Conn(ConnId),
    /// With those that are over for the application.
    Drain(u32),
}

/// A connection, as its endpoint knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handle(pub(super) ConnectionHandle);

/// Something for a connection to take in.
#[derive(Debug)]
pub(crate) struct Input {
    pub(super) event: ConnectionEvent,
    /// The address that it came to, where it is known.
    pub(super) local: Option<IpAddr>,
    /// All of it, where it is not protected.
    pub(super) plain: Option<Box<[u8]>>,
}

/// A client whose first packet arrived. One of [`Endpoint::accept`], [`refuse`](Endpoint::refuse),
/// [`retry`](Endpoint::retry) and [`ignore`](Endpoint::ignore) must have it, or the endpoint keeps
/// a place for it for ever.
#[derive(Debug)]
pub(crate) struct Incoming(quinn_proto::Incoming);

impl Incoming {
    pub(crate) fn from(&self) -> SocketAddr {
        self.0.remote_address()
    }

    /// It was seen to be where it says.
    #[cfg(test)]
    pub(crate) fn is_validated(&self) -> bool {
        self.0.remote_address_validated()
    }

    /// It was neither asked to retry yet nor seen to be where it says, by a token of before.
    pub(crate) fn may_retry(&self) -> bool {
        self.0.may_retry() && !self.0.remote_address_validated()
    }
}

/// What a datagram was.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// Nothing that concerns anybody.
    Nothing,
    For(Route, Input),
    New(Incoming),
    /// It is to be answered with [`Endpoint::reply`], out of hand.
    Reply(Outgoing),
}

/// The protocol state of one UDP socket.
pub(crate) struct Endpoint {
    inner: quinn_proto::Endpoint,
    /// By handle, which is a dense number.
    routes: Vec<Route>,
    /// The bytes of the last answer.
    reply: Vec<u8>,
    base: Base,
    how: Option<How>,
    /// The configuration of accepted connections that have one each, and what is their own.
    own: Option<(Arc<ServerConfig>, Own)>,
    draws: Draws,
}

impl Endpoint {
    pub(crate) fn new(parts: EndpointParts, base: Base) -> Self {
        let EndpointParts { endpoint, server, own, draws } = parts;
        let (server, how) = server.unzip();
        let own = server.clone().zip(own);
        let inner = quinn_proto::Endpoint::new(endpoint, server, true, None);
        Self { inner, routes: Vec::new(), reply: Vec::new(), base, how, own, draws }
    }

    pub(super) const fn draws(&self) -> &Draws {
        &self.draws
    }

    /// Takes one datagram. `ecn` is its two bits, `local` the address it came to.
    pub(crate) fn on_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        local: Option<IpAddr>,
        ecn: u8,
        mut data: BytesMut,
    ) -> Arrival {
        self.reply.clear();
        let plain = match plain::kind(&data) {
            Kind::Plain => Some(Box::from(&*data)),
            Kind::Protected(len) => {
                data.truncate(len);
                None
            }
        };
        if self.how.is_some() && versions::answer(&data, &mut self.reply) {
            let len = self.reply.len();
            return Arrival::Reply(Outgoing { to: from, from: local, ecn: 0, len, segment: 0 });
        }
        let (now, ecn) = (self.base.instant(now), EcnCodepoint::from_bits(ecn));
        match self.inner.handle(now, from, local, ecn, data, &mut self.reply) {
            None => Arrival::Nothing,
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                Arrival::For(self.route(Handle(handle)), Input { event, local, plain })
            }
            Some(DatagramEvent::NewConnection(incoming)) => Arrival::New(Incoming(incoming)),
            Some(DatagramEvent::Response(transmit)) => Arrival::Reply(outgoing(&transmit)),
        }
    }

    /// The bytes of the last answer, until the next call.
    pub(crate) fn reply(&self) -> &[u8] {
        &self.reply
    }

    /// Takes a client, whose handshake begins: half a millisecond of signing. An error is one that
    /// needs nothing more than the answer in it.
    pub(crate) fn accept(
        &mut self,
        incoming: Incoming,
        now: Time,
        conn: ConnId,
    ) -> Result<Box<Session>, Option<Outgoing>> {
        self.reply.clear();
        let instant = self.base.instant(now);
        let Some(how) = self.how else {
            self.ignore(incoming);
            return Err(None);
        };
        let (own, reins) = self.own_config(incoming.from(), instant).unzip();
        match self.inner.accept(incoming.0, instant, &mut self.reply, own) {
            Ok((handle, machine)) => {
                self.set_route(Handle(handle), Route::Conn(conn));
                let reins = reins.flatten();
                Ok(Session::new(machine, Handle(handle), conn, self.base, how, reins))
            }
            Err(error) => Err(error.response.as_ref().map(outgoing)),
        }
    }

    /// The configuration of a client that has one of its own.
    fn own_config(
        &self,
        peer: SocketAddr,
        now: Instant,
    ) -> Option<(Arc<ServerConfig>, Option<Arc<Reins>>)> {
        let (server, own) = self.own.as_ref()?;
        let (transport, reins) = own.begin(true, peer, now).ok()?;
        let mut server = ServerConfig::clone(server);
        server.transport_config(transport);
        Some((Arc::new(server), reins))
    }

    /// Tells the client that it is not taken.
    pub(crate) fn refuse(&mut self, incoming: Incoming) -> Outgoing {
        self.reply.clear();
        outgoing(&self.inner.refuse(incoming.0, &mut self.reply))
    }

    /// Asks the client to come again, with a token that shows where it is. `None` when that was
    /// done before; then it is ignored.
    pub(crate) fn retry(&mut self, incoming: Incoming) -> Option<Outgoing> {
        self.reply.clear();
        match self.inner.retry(incoming.0, &mut self.reply) {
            Ok(transmit) => Some(outgoing(&transmit)),
            Err(error) => {
                self.inner.ignore(error.into_incoming());
                None
            }
        }
    }

    /// Forgets the client, in silence.
    pub(crate) fn ignore(&mut self, incoming: Incoming) {
        self.inner.ignore(incoming.0);
    }

    /// Begins a connection.
    pub(crate) fn connect(
        &mut self,
        now: Time,
        client: ClientParts,
        to: SocketAddr,
        conn: ConnId,
    ) -> Result<Box<Session>> {
        let ClientParts { mut config, how, own, name, tickets, first } = client;
        let now = self.base.instant(now);
        let mut reins = None;
        if let Some(own) = own {
            let transport;
            (transport, reins) = own.begin(false, to, now)?;
            config.transport_config(transport);
        }
        let (handle, machine) =
            self.inner.connect(now, config, to, &name).map_err(connect_error)?;
        self.set_route(Handle(handle), Route::Conn(conn));
        let mut session = Session::new(machine, Handle(handle), conn, self.base, how, reins);
        session.dials(first, tickets);
        Ok(session)
    }

    fn route(&self, handle: Handle) -> Route {
        self.routes.get(handle.0.0).copied().unwrap_or(Route::Free)
    }

    /// Where the connection is kept from now on.
    pub(super) fn set_route(&mut self, handle: Handle, route: Route) {
        let index = handle.0.0;
        if self.routes.len() <= index {
            self.routes.resize(index + 1, Route::Free);
        }
        if let Some(place) = self.routes.get_mut(index) {
            *place = route;
        }
    }

    /// Forgets a connection that is dropped before it was drained.
    pub(super) fn forget(&mut self, handle: Handle) {
        self.exchange(handle, EndpointEvent::drained());
    }

    /// Takes what a connection wants of its endpoint; the answer is for the connection.
    pub(super) fn exchange(
        &mut self,
        handle: Handle,
        event: EndpointEvent,
    ) -> Option<ConnectionEvent> {
        if event.is_drained() {
            // The handle is the next connection's.
            self.set_route(handle, Route::Free);
        }
        self.inner.handle_event(handle.0, event)
    }

    /// Connections that are not drained.
    #[cfg(test)]
    pub(crate) fn open_connections(&self) -> usize {
        self.inner.open_connections()
    }
}

pub(super) fn outgoing(transmit: &Transmit) -> Outgoing {
    Outgoing {
        to: transmit.destination,
        from: transmit.src_ip,
        ecn: transmit.ecn.map_or(0, |ecn| ecn as u8),
        len: transmit.size,
        // A datagram has at most 65,527 bytes.
        segment: transmit.segment_size.map_or(0, |len| len as u16),
    }
}

fn connect_error(error: ConnectError) -> IoError {
    let why = match error {
        ConnectError::InvalidRemoteAddress(_) => "an address and a port other than 0 are needed",
        ConnectError::CidsExhausted => "all connection ids are in use; use longer ones",
        _ => "the machine refused the configuration",
    };
    IoError::InvalidArgument { what: "QUIC target", why }
}
