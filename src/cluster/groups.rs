//! The sockets of one endpoint: one per shard, or one for all of them.
//!
//! *Invariant*: the sockets of a group are made one after the other, each listening before the next
//! is made: the kernel numbers them in the order of bind(2) (UDP) or of listen(2) (TCP). What
//! routes by those numbers is attached when all are there.

use std::net::SocketAddr;

use super::IoCluster;
use crate::config::{ExpectedProtocols, TcpListenConfig, UdpEndpointConfig, UdsListenConfig};
use crate::engine::fleet::listen::{ListenPlan, What};
use crate::engine::fleet::mail::{Control, Mail};
use crate::engine::peer_addr;
use crate::error::{IoError, PoolKind, Result};
use crate::event::PeerAddr;
use crate::ids::ClusterEndpoint;
use crate::ring::ports::{Passed, Ports, Transport};
use crate::sync::mpsc::PushError;

/// One endpoint of the cluster.
pub(super) struct Group {
    /// In the order of the shards; a Unix socket is one for all.
    members: Vec<Passed>,
    plan: ListenPlan,
    addr: PeerAddr,
}

impl Group {
    /// What its shards make of their sockets.
    pub(super) const fn what(&self) -> &What {
        &self.plan.what
    }

    /// What a shard gets of it: a duplicate of its socket.
    fn part(&self, shard: u16, ports: &mut Ports) -> Result<(ListenPlan, Passed)> {
        let own = usize::from(shard).min(self.members.len() - 1);
        Ok((self.plan.of_shard(shard), ports.dup(&self.members[own])?))
    }
}

/// What the sockets of a group are made with.
pub(super) enum Socket {
    Tcp(TcpListenConfig),
    Uds(UdsListenConfig),
    Udp(UdpEndpointConfig),
}

impl Socket {
    /// The same, shared with the other shards.
    fn shared(mut self) -> Self {
        match &mut self {
            Self::Tcp(config) => config.reuseport = true,
            Self::Udp(config) => config.reuseport = true,
            Self::Uds(_) => {}
        }
        self
    }

    /// The address, where it is one that sockets can share.
    const fn addr(&self) -> Option<(SocketAddr, Transport)> {
        match self {
            Self::Tcp(TcpListenConfig { addr, dual_stack, .. }) => {
                Some((*addr, Transport { is_datagram: false, dual_stack: *dual_stack }))
            }
            Self::Udp(UdpEndpointConfig { bind, dual_stack, .. }) => {
                Some((*bind, Transport { is_datagram: true, dual_stack: *dual_stack }))
            }
            Self::Uds(_) => None,
        }
    }

    /// The port that the system chose for the first one is that of the others.
    const fn settle(&mut self, addr: SocketAddr) {
        match self {
            Self::Tcp(config) => config.addr.set_port(addr.port()),
            Self::Udp(config) => config.bind.set_port(addr.port()),
            Self::Uds(_) => {}
        }
    }

    fn make(&self, ports: &mut Ports) -> Result<Passed> {
        match self {
            Self::Tcp(config) => ports.tcp_listen(config),
            Self::Uds(config) => ports.uds_listen(config),
            Self::Udp(config) => ports.udp_bind(config),
        }
    }
}

impl IoCluster {
    /// Makes the sockets of an endpoint, and gives them to the shards that are out.
    pub(super) fn open(
        &mut self,
        expected: ExpectedProtocols,
        socket: Socket,
        what: What,
    ) -> Result<ClusterEndpoint> {
        self.config.expect(expected)?;
        what.check(&self.config.io)?;
        let most = self.config.io.max_endpoints.min(usize::from(u16::MAX));
        if self.groups.len() >= most {
            return Err(IoError::exhausted(PoolKind::Endpoints));
        }
        let (members, addr) = self.make(socket.shared())?;
        let number = self.groups.len() as u16;
        let group = Group { members, plan: ListenPlan { group: number, what }, addr };
        let shards = (0..self.config.shard_count).filter(|s| self.is_out[usize::from(*s)]);
        let parts = shards.map(|shard| Ok((shard, group.part(shard, &mut self.ports)?)));
        let parts = parts.collect::<Result<Vec<_>>>()?;
        self.groups.push(group);
        for (shard, (plan, passed)) in parts {
            self.outbox.push((shard, Mail::Control(Box::new(Control::Listen(plan, passed)))));
        }
        self.deliver();
        Ok(ClusterEndpoint::new(number))
    }

    fn make(&mut self, mut socket: Socket) -> Result<(Vec<Passed>, PeerAddr)> {
        let ports = &mut self.ports;
        let Some((addr, transport)) = socket.addr() else {
            return Ok((vec![socket.make(ports)?], PeerAddr::Unix));
        };
        if addr.port() != 0 {
            // Else a stranger that shares the address would get a part of what comes.
            ports.is_free(addr, transport)?;
        }
        let first = socket.make(ports)?;
        let addr = peer_addr(&ports.local_addr(&first)?);
        if let PeerAddr::Inet(addr) = addr {
            socket.settle(addr);
        }
        let mut members = vec![first];
        for _ in 1..self.config.shard_count {
            members.push(socket.make(ports)?);
        }
        Ok((members, addr))
    }

    /// Sends what shards have to be told, as far as their mail has room; the rest is for the next
    /// time. Who is down need not be told: it is given everything when it begins anew.
    pub(super) fn deliver(&mut self) {
        let mut full = Vec::new();
        for (shard, mail) in std::mem::take(&mut self.outbox) {
            let sent = match full.contains(&shard) {
                true => Err(PushError::Full(mail)),
                false => self.shared.send(shard, mail),
            };
            if let Err(PushError::Full(mail)) = sent {
                full.push(shard);
                self.outbox.push((shard, mail));
            }
        }
    }

    /// What a shard that begins is given of all endpoints.
    pub(super) fn parts(&mut self, shard: u16) -> Result<Vec<(ListenPlan, Passed)>> {
        self.groups.iter().map(|group| group.part(shard, &mut self.ports)).collect()
    }

    /// The local address of an endpoint: the port that the system chose.
    ///
    /// # Errors
    /// `InvalidArgument` when it is of another cluster.
    pub fn local_addr(&self, endpoint: ClusterEndpoint) -> Result<PeerAddr> {
        Ok(self.group(endpoint)?.addr)
    }

    pub(super) fn group(&self, endpoint: ClusterEndpoint) -> Result<&Group> {
        const ELSEWHERE: IoError = IoError::InvalidArgument {
            what: "cluster endpoint",
            why: "this cluster has none of that number; it is of another one",
        };
        self.groups.get(usize::from(endpoint.group())).ok_or(ELSEWHERE)
    }
}
