//! A cluster's endpoint, as one shard takes it in.
//!
//! Role: [`ListenPlan`] is what every shard makes of its socket. Not role: the socket, which the
//! cluster made.

use crate::config::{Config, ConnTimeouts, Framing, ProxyProtocol, UdpEndpointConfig};
use crate::engine::udp::udp_class;
use crate::engine::{Engine, HttpPlan, QuicPlan};
use crate::error::Result;
use crate::ids::{EndpointId, Protocol};
use crate::proto::tls::Acceptor;
use crate::ring::Fd;
use crate::ring::ports::Passed;

/// One endpoint of the cluster, the same on every shard.
#[derive(Clone, Debug)]
pub(crate) struct ListenPlan {
    /// Its number.
    pub(crate) group: u16,
    pub(crate) what: What,
}

impl ListenPlan {
    /// What one shard is given of it.
    pub(crate) fn of_shard(&self, shard: u16) -> Self {
        Self { group: self.group, what: self.what.clone().of_shard(shard) }
    }
}

/// What is made of the socket.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// A listener of TCP or Unix sockets.
    Stream {
        protocol: Protocol,
        timeouts: ConnTimeouts,
        framing: Option<Framing>,
        tls: Option<Acceptor>,
        proxy: Option<ProxyProtocol>,
    },
    /// A server of HTTP.
    Http {
        protocol: Protocol,
        timeouts: ConnTimeouts,
        plan: Box<HttpPlan>,
        tls: Option<Acceptor>,
        proxy: Option<ProxyProtocol>,
    },
    /// A UDP socket.
    Udp(Box<UdpEndpointConfig>),
    /// A listener of QUIC.
    Quic(Box<QuicPlan>),
}

impl What {
    /// Whether shards of that configuration can have it.
    pub(crate) fn check(&self, shard: &Config) -> Result<()> {
        match self {
            Self::Stream { proxy, .. } | Self::Http { proxy, .. } => {
                proxy.as_ref().map_or(Ok(()), ProxyProtocol::validate)
            }
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
        let added = self.add(fd, plan.what).inspect_err(|_| self.ring.close_now(fd))?;
        if let Some(endpoint) = self.endpoints.at(added.index()) {
            endpoint.group = plan.group;
        }
        Ok(added)
    }

    fn add(&mut self, fd: Fd, what: What) -> Result<EndpointId> {
        match what {
            What::Stream { protocol, timeouts, framing, tls, proxy } => {
                let id = self.add_listener(fd, protocol, timeouts, framing, tls)?;
                self.expect_proxy(id, proxy.as_ref());
                Ok(id)
            }
            What::Http { protocol, timeouts, plan, tls, proxy } => {
                let speaks = self.http_speaks(&plan);
                let id = self.add_listener(fd, protocol, timeouts, speaks, tls)?;
                self.expect_proxy(id, proxy.as_ref());
                Ok(id)
            }
            What::Udp(config) => self.add_udp(fd, &config),
            What::Quic(plan) => self.quic_add_planned(fd, &plan),
        }
    }
}
