//! A cluster's endpoint, as one shard takes it in.
//!
//! Role: [`ListenPlan`] is what every shard makes of its socket. Not role: the socket, which the
//! cluster made.

use crate::config::{Config, Framing, UdpEndpointConfig};
use crate::engine::udp::udp_class;
use crate::engine::{Engine, HttpPlan, QuicPlan};
use crate::error::Result;
use crate::ids::{EndpointId, Protocol};
use crate::ring::Fd;
use crate::ring::ports::Passed;
use crate::transport::Terms;

/// One endpoint of the cluster, the same on every shard.
#[derive(Clone, Debug)]
pub(crate) struct ListenPlan {
    /// Its number.
    pub(crate) group: u16,
    /// That of its sockets.
    pub(crate) protocol: Protocol,
    pub(crate) what: What,
}

impl ListenPlan {
    /// What one shard is given of it.
    pub(crate) fn of_shard(&self, shard: u16) -> Self {
        Self { what: self.what.clone().of_shard(shard), ..*self }
    }
}

/// What is made of the socket.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A listener of TCP or Unix sockets.
    Stream { terms: Terms, framing: Option<Framing> },
    /// A server of HTTP.
    Http { terms: Terms, plan: Box<HttpPlan> },
    /// A UDP socket.
    Udp(Box<UdpEndpointConfig>),
    /// A listener of QUIC.
    Quic(Box<QuicPlan>),
}

impl What {
    /// Whether shards of that configuration can have it.
    pub(crate) fn check(&self, shard: &Config) -> Result<()> {
        match self {
            Self::Stream { .. } | Self::Http { .. } => Ok(()),
            Self::Udp(config) => udp_class(shard, config).map(drop),
            Self::Quic(plan) => plan.check(),
        }
    }

    /// Whether it has connection ids that the application makes.
    pub(crate) fn has_own_ids(&self) -> bool {
        matches!(self, Self::Quic(plan) if plan.has_own_ids())
    }

    /// The same as one shard makes it.
    fn of_shard(mut self, shard: u16) -> Self {
        if let Self::Quic(plan) = &mut self {
            plan.use_shard(shard);
        }
        self
    }
}

impl Engine {
    /// Takes in this shard's socket of an endpoint of the cluster.
    pub(super) fn take_in(&mut self, plan: ListenPlan, passed: Passed) -> Result<EndpointId> {
        let fd = self.ring.import(passed)?;
        let added = self.add(fd, plan.protocol, plan.what);
        let added = added.inspect_err(|_| self.ring.close_now(fd))?;
        if let Some(endpoint) = self.endpoints.at(added.index()) {
            endpoint.group = plan.group;
        }
        Ok(added)
    }

    fn add(&mut self, fd: Fd, protocol: Protocol, what: What) -> Result<EndpointId> {
        match what {
            What::Stream { terms, framing } => self.add_listener(fd, protocol, terms, framing),
            What::Http { terms, plan } => {
                let speaks = self.http_speaks(&plan);
                self.add_listener(fd, protocol, terms, speaks)
            }
            What::Udp(config) => self.add_udp(fd, &config),
            What::Quic(plan) => self.quic_add_planned(fd, &plan),
        }
    }
}
