//! Listeners, UDP sockets and those of QUIC: what an [`EndpointId`] names.
//!
//! Role: their state and table. Not role: accepting, receiving, sending (the engine's).

#[cfg(feature = "quic")]
pub(crate) mod quic;
#[cfg(not(feature = "quic"))]
#[path = "quic_off.rs"]
pub(crate) mod quic;
pub(crate) mod udp;

use crate::config::{ConnTimeouts, ProxyProtocol};
use crate::error::{IoError, PoolKind, Result};
use crate::ids::{EndpointId, GENERATION_BITS, Protocol};
use crate::proto::Speaks;
use crate::proto::tls::Acceptor;
use crate::ring::{Fd, Tag, Token};
use crate::time::Time;
use quic::QuicSocket;
use udp::UdpSocket;

/// What connections begin with, whatever they speak then.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) timeouts: ConnTimeouts,
    pub(crate) tls: Option<Box<Acceptor>>,
    /// What comes before it all.
    pub(crate) proxy: Option<Box<ProxyProtocol>>,
}

impl Terms {
    pub(crate) fn new(
        timeouts: ConnTimeouts,
        tls: Option<Acceptor>,
        proxy: Option<&ProxyProtocol>,
    ) -> Result<Self> {
        proxy.map_or(Ok(()), ProxyProtocol::validate)?;
        Ok(Self { timeouts, tls: tls.map(Box::new), proxy: proxy.cloned().map(Box::new) })
    }
}

/// What accepted connections inherit.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) terms: Terms,
    pub(crate) speaks: Speaks,
    /// After an error that lasts (no descriptors left), accepting rests until then.
    pub(crate) resting_until: Option<Time>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Listener(Listener),
    Udp(Box<UdpSocket>),
    Quic(Box<QuicSocket>),
}

impl Kind {
    /// What says that it is readable.
    pub(crate) const fn readable(&self) -> Tag {
        match self {
            Self::Listener(_) => Tag::Accept,
            Self::Udp(_) | Self::Quic(_) => Tag::UdpReadable,
        }
    }

    /// Whether a poll for writability is armed.
    const fn is_out_armed(&self) -> bool {
        match self {
            Self::Listener(_) => false,
            Self::Udp(udp) => udp.out_armed,
            Self::Quic(quic) => quic.is_out_armed(),
        }
    }

    /// The same, to be changed; `None` where there is none.
    pub(crate) const fn out_armed(&mut self) -> Option<&mut bool> {
        match self {
            Self::Listener(_) => None,
            Self::Udp(udp) => Some(&mut udp.out_armed),
            Self::Quic(quic) => Some(quic.out_armed()),
        }
    }
}

/// The group of an endpoint that is none of a cluster's.
pub(crate) const NO_GROUP: u16 = u16::MAX;

/// One listener or UDP socket.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) generation: u32,
    pub(crate) fd: Fd,
    pub(crate) protocol: Protocol,
    /// The number that the cluster's endpoint has, of which this is one shard's.
    pub(crate) group: u16,
    pub(crate) kind: Kind,
    /// The readiness poll is armed.
    pub(crate) armed: bool,
    /// There may be something to accept or to receive.
    pub(crate) ready: bool,
    /// `endpoint_close` was called: the descriptor is closed when what was queued is sent and the
    /// polls have ended.
    pub(crate) closing: bool,
    /// The application does not know it, or not any more: a QUIC socket goes on until the last of
    /// its connections is over.
    pub(crate) is_lame: bool,
}

impl Endpoint {
    pub(crate) const fn token(&self, tag: Tag, index: u32) -> Token {
        Token::new(tag, self.generation, index)
    }

    /// Whether the kernel still refers to the descriptor, or datagrams wait to be sent on it.
    pub(crate) fn is_busy(&self) -> bool {
        self.polls() > 0 || matches!(&self.kind, Kind::Udp(udp) if !udp.queue.is_empty())
    }

    /// How many polls of it are under way.
    const fn polls(&self) -> u64 {
        self.armed as u64 + self.kind.is_out_armed() as u64
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
            group: NO_GROUP,
            kind,
            armed: false,
            ready: false,
            closing: false,
            is_lame: false,
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
            .filter(|e| e.generation == endpoint.generation() && !e.closing && !e.is_lame)
            .ok_or(IoError::StaleEndpoint { endpoint })
    }

    /// The UDP socket with that id.
    #[inline]
    pub(crate) fn udp(&mut self, endpoint: EndpointId) -> Result<&mut UdpSocket> {
        let found = self.get(endpoint)?;
        let protocol = found.protocol;
        match &mut found.kind {
            Kind::Udp(udp) => Ok(udp),
            Kind::Listener(_) | Kind::Quic(_) => Err(IoError::WrongEndpoint { endpoint, protocol }),
        }
    }

    /// The same, to be looked at only.
    pub(crate) fn peek_udp(&self, endpoint: EndpointId) -> Option<&UdpSocket> {
        let found = self.places.get(endpoint.index() as usize)?.1.as_ref()?;
        match &found.kind {
            Kind::Udp(udp) if found.generation == endpoint.generation() => Some(udp),
            _ => None,
        }
    }

    /// The descriptor of a socket of UDP, whatever is spoken on it.
    pub(crate) fn datagrams_fd(&mut self, endpoint: EndpointId) -> Result<Fd> {
        let found = self.get(endpoint)?;
        match found.kind {
            Kind::Udp(_) | Kind::Quic(_) => Ok(found.fd),
            Kind::Listener(_) => Err(IoError::WrongEndpoint { endpoint, protocol: found.protocol }),
        }
    }

    /// The QUIC socket at that place.
    pub(crate) fn quic(&mut self, index: u32) -> Option<&mut QuicSocket> {
        match &mut self.at(index)?.kind {
            Kind::Quic(quic) => Some(quic),
            Kind::Listener(_) | Kind::Udp(_) => None,
        }
    }

    /// The endpoint of a cluster's group, while the application knows it.
    pub(crate) fn of_group(&mut self, group: u16) -> Option<EndpointId> {
        let index = self.place_of(|e| e.group == group && !e.closing && !e.is_lame)?;
        self.id(index)
    }

    /// The place of the first one that is such.
    pub(crate) fn place_of(&self, is_it: impl Fn(&Endpoint) -> bool) -> Option<u32> {
        let place = self.places.iter().position(|p| p.1.as_ref().is_some_and(&is_it));
        place.map(|index| index as u32)
    }

    pub(crate) fn of_token(&mut self, token: Token) -> Option<&mut Endpoint> {
        self.at(token.index()).filter(|e| e.generation == token.generation())
    }

    /// How many polls of endpoints are under way.
    pub(crate) fn polls(&self) -> u64 {
        self.places.iter().filter_map(|p| p.1.as_ref()).map(Endpoint::polls).sum()
    }

    /// Whether the descriptor of some closed endpoint is still in use.
    pub(crate) fn any_closing(&self) -> bool {
        self.places.iter().any(|p| p.1.as_ref().is_some_and(|e| e.closing || e.is_lame))
    }

    pub(crate) fn id(&mut self, index: u32) -> Option<EndpointId> {
        self.at(index).map(|e| EndpointId::new(index, e.generation))
    }

    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.places.len() as u32
    }

    /// All of them, beginning with the one that `turn` says.
    pub(crate) fn indices_from(&self, turn: u32) -> impl Iterator<Item = u32> + use<> {
        let count = self.places.len() as u32;
        let first = turn.checked_rem(count).unwrap_or(0);
        (first..count).chain(0..first)
    }
}
