//! Listeners and UDP sockets: what an [`EndpointId`] names.
//!
//! Role: their state and table. Not role: accepting, receiving, sending (the engine's).

pub(crate) mod udp;

use crate::config::ConnTimeouts;
use crate::error::{IoError, PoolKind, Result};
use crate::ids::{EndpointId, GENERATION_BITS, Protocol};
use crate::proto::Speaks;
use crate::proto::tls::Acceptor;
use crate::ring::{Fd, Tag, Token};
use crate::time::Time;
use udp::UdpSocket;

/// What accepted connections inherit.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) timeouts: ConnTimeouts,
    pub(crate) speaks: Speaks,
    pub(crate) tls: Option<Box<Acceptor>>,
    /// After an error that lasts (no descriptors left), accepting rests until then.
    pub(crate) resting_until: Option<Time>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Listener(Listener),
    Udp(Box<UdpSocket>),
}

/// One listener or UDP socket.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) generation: u32,
    pub(crate) fd: Fd,
    pub(crate) protocol: Protocol,
    pub(crate) kind: Kind,
    /// The readiness poll is armed.
    pub(crate) armed: bool,
    /// There may be something to accept or to receive.
    pub(crate) ready: bool,
    /// `endpoint_close` was called: the descriptor is closed when the polls have ended.
    pub(crate) closing: bool,
}

impl Endpoint {
    pub(crate) const fn token(&self, tag: Tag, index: u32) -> Token {
        Token::new(tag, self.generation, index)
    }

    /// Whether the kernel still refers to the descriptor.
    pub(crate) const fn is_busy(&self) -> bool {
        self.armed
            || match &self.kind {
                Kind::Udp(udp) => udp.out_armed,
                Kind::Listener(_) => false,
            }
    }
}

/// The endpoints of one shard.
pub(crate) struct Endpoints {
    places: Vec<(u32, Option<Endpoint>)>,
    max: usize,
}

impl Endpoints {
    pub(crate) fn new(max: usize) -> Self {
        Self { places: Vec::new(), max }
    }

    /// Whether another endpoint fits.
    pub(crate) fn check_room(&self) -> Result<()> {
        if self.places.len() < self.max || self.places.iter().any(|p| p.1.is_none()) {
            return Ok(());
        }
        Err(IoError::exhausted(PoolKind::Endpoints))
    }

    pub(crate) fn insert(&mut self, fd: Fd, protocol: Protocol, kind: Kind) -> Result<u32> {
        self.check_room()?;
        let index = match self.places.iter().position(|p| p.1.is_none()) {
            Some(index) => index,
            None => {
                self.places.push((1, None));
                self.places.len() - 1
            }
        };
        let place = &mut self.places[index];
        place.1 = Some(Endpoint {
            generation: place.0,
            fd,
            protocol,
            kind,
            armed: false,
            ready: false,
            closing: false,
        });
        Ok(index as u32)
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<Endpoint> {
        let place = &mut self.places[index as usize];
        let next = (place.0 + 1) & ((1 << GENERATION_BITS) - 1);
        place.0 = next.max(1);
        place.1.take()
    }

    pub(crate) fn at(&mut self, index: u32) -> Option<&mut Endpoint> {
        self.places.get_mut(index as usize)?.1.as_mut()
    }

    /// The endpoint with that id, as the application knows it: not after it closed it.
    pub(crate) fn get(&mut self, endpoint: EndpointId) -> Result<&mut Endpoint> {
        self.at(endpoint.index())
            .filter(|e| e.generation == endpoint.generation() && !e.closing)
            .ok_or(IoError::StaleEndpoint { endpoint })
    }

    /// The UDP socket with that id.
    #[inline]
    pub(crate) fn udp(&mut self, endpoint: EndpointId) -> Result<&mut UdpSocket> {
        let found = self.get(endpoint)?;
        let protocol = found.protocol;
        match &mut found.kind {
            Kind::Udp(udp) => Ok(udp),
            Kind::Listener(_) => Err(IoError::WrongEndpoint { endpoint, protocol }),
        }
    }

    pub(crate) fn of_token(&mut self, token: Token) -> Option<&mut Endpoint> {
        self.at(token.index()).filter(|e| e.generation == token.generation())
    }

    /// Whether the descriptor of some closed endpoint is still in use by the kernel.
    pub(crate) fn any_closing(&self) -> bool {
        self.places.iter().any(|p| p.1.as_ref().is_some_and(|e| e.closing))
    }

    pub(crate) fn id(&mut self, index: u32) -> Option<EndpointId> {
        self.at(index).map(|e| EndpointId::new(index, e.generation))
    }

    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.places.len() as u32
    }
}
