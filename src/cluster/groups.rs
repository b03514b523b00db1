//! The sockets of one endpoint: one per shard, or one for all of them.
//!
//! *Invariant*: the sockets of a group are made one after the other, each listening before the next
//! is made: the kernel numbers them in the order of bind(2) (UDP) or of listen(2) (TCP). What
//! routes by those numbers is attached when all are there.

use std::net::SocketAddr;

use super::IoCluster;
use super::route::Kind;
use super::supervise::State;
use crate::config::{
    DrainOptions, ExpectedProtocols, TcpListenConfig, UdpEndpointConfig, UdsListenConfig,
};
use crate::engine::fleet::drain::{Doors, Of, Order};
use crate::engine::fleet::listen::{ListenPlan, What};
use crate::engine::fleet::mail::{Control, Mail};
use crate::engine::peer_addr;
use crate::error::{IoError, PoolKind, Result};
use crate::ids::{ClusterEndpoint, PeerAddr, Protocol};
use crate::ring::ports::{Passed, Ports, Transport};
use crate::sync::mpsc::PushError;
use crate::sys::steer::Router;

/// One endpoint of the cluster.
pub(super) struct Group {
    /// In the order of the shards; a Unix socket is one for all.
    pub(super) members: Vec<Passed>,
    plan: ListenPlan,
    addr: PeerAddr,
    /// Shards that have not closed theirs yet; `None` while it is open.
    closing: Option<Vec<u16>>,
    /// What chooses among the members, where there are several and the kernel takes a program.
    pub(super) router: Option<(Kind, Router)>,
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

    const fn is_open(&self) -> bool {
        self.closing.is_none()
    }

    /// The TCP listener of a shard, if it has one of its own that takes connections.
    pub(super) fn listener_of(&self, shard: u16) -> Option<&Passed> {
        let listens = self.is_open() && self.plan.protocol == Protocol::Tcp;
        self.members.get(usize::from(shard)).filter(|_| listens)
    }

    /// Listeners take nothing new.
    fn brake(&self, ports: &mut Ports) {
        for member in &self.members {
            if let Err(error) = ports.brake(member, self.plan.protocol) {
                crate::trace::brake_failed(self.plan.group, &error);
            }
        }
    }

    /// The shard has no part in it any more. The sockets go with the last one.
    fn closed_by(&mut self, shard: u16) {
        let Some(closing) = &mut self.closing else { return };
        closing.retain(|waited_for| *waited_for != shard);
        self.end_if_closed();
    }

    /// Lets go of the sockets, and of the maps of what chose among them, when no shard has a part
    /// in it.
    fn end_if_closed(&mut self) {
        if self.closing.as_ref().is_some_and(Vec::is_empty) {
            self.members.clear();
            self.router = None;
        }
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

    const fn protocol(&self) -> Protocol {
        match self {
            Self::Tcp(_) => Protocol::Tcp,
            Self::Uds(_) => Protocol::Uds,
            Self::Udp(_) => Protocol::Udp,
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
        let open = self.groups.iter().filter(|group| group.is_open()).count();
        if open >= most || self.groups.len() >= usize::from(u16::MAX) {
            return Err(IoError::exhausted(PoolKind::Endpoints));
        }
        let protocol = socket.protocol();
        let kind = Kind::of(expected, &what);
        let (members, addr) = self.make(socket.shared())?;
        let router = self.route(kind, &members)?.map(|router| (kind, router));
        let number = self.groups.len() as u16;
        let plan = ListenPlan { group: number, protocol, what };
        let group = Group { members, plan, addr, closing: None, router };
        let parts = self.shards_out().into_iter();
        let parts = parts.map(|shard| Ok((shard, group.part(shard, &mut self.ports)?)));
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
            // One that is about to end shuts its mail for a moment, or for good.
            let is_leaving = matches!(self.places[usize::from(shard)].state, State::Leaving(_));
            match sent {
                Err(PushError::Closed(mail)) if is_leaving => self.outbox.push((shard, mail)),
                Err(PushError::Full(mail)) => {
                    full.push(shard);
                    self.outbox.push((shard, mail));
                }
                Ok(()) | Err(PushError::Closed(_)) => {}
            }
        }
    }

    /// What a shard that begins is given of all endpoints.
    pub(super) fn parts(&mut self, shard: u16) -> Result<Vec<(ListenPlan, Passed)>> {
        let open = self.groups.iter().filter(|group| group.is_open());
        open.map(|group| group.part(shard, &mut self.ports)).collect()
    }

    fn shards_out(&self) -> Vec<u16> {
        let places = (0..).zip(&self.places);
        places.filter(|(_, place)| place.is_out()).map(|(shard, _)| shard).collect()
    }

    /// Ends an endpoint: nothing new is taken, what is in its backlogs is accepted, and connections
    /// that came to it and are left after the deadline are closed with
    /// [`code::SHUTDOWN`](crate::code::SHUTDOWN). There is no grace. The address is free when all
    /// shards have closed theirs, and the supervisor has heard it.
    ///
    /// # Errors
    /// `InvalidArgument` when it is of another cluster, or closed already.
    pub fn endpoint_close(&mut self, endpoint: ClusterEndpoint, drain: DrainOptions) -> Result<()> {
        self.group(endpoint)?;
        let shards = self.shards_out();
        let deadline = drain.deadline.unwrap_or(self.config.drain_deadline);
        let number = endpoint.group();
        let group = &mut self.groups[usize::from(number)];
        group.brake(&mut self.ports);
        group.closing = Some(shards.clone());
        group.end_if_closed();
        let order = Order { of: Of::Group(number), doors: Doors::Quiet, deadline };
        for shard in shards {
            self.outbox.push((shard, Mail::Control(Box::new(Control::Drain(order)))));
        }
        self.deliver();
        Ok(())
    }

    /// All listeners take nothing new.
    pub(super) fn brake_all(&mut self) {
        self.groups.iter().for_each(|group| group.brake(&mut self.ports));
    }

    /// The shard has closed its socket.
    pub(super) fn closed(&mut self, group: u16, shard: u16) {
        if let Some(group) = self.groups.get_mut(usize::from(group)) {
            group.closed_by(shard);
        }
    }

    /// The shard is gone, and all its sockets.
    pub(super) fn left_groups(&mut self, shard: u16) {
        self.groups.iter_mut().for_each(|group| group.closed_by(shard));
    }

    pub(super) fn group(&self, endpoint: ClusterEndpoint) -> Result<&Group> {
        const ELSEWHERE: IoError = IoError::InvalidArgument {
            what: "cluster endpoint",
            why: "this cluster has none of that number: it is of another one, or closed",
        };
        let group = self.groups.get(usize::from(endpoint.group()));
        group.filter(|group| group.is_open()).ok_or(ELSEWHERE)
    }

    /// The local address of an endpoint: the port that the system chose.
    ///
    /// # Errors
    /// `InvalidArgument` when it is of another cluster, or closed.
    pub fn local_addr(&self, endpoint: ClusterEndpoint) -> Result<PeerAddr> {
        Ok(self.group(endpoint)?.addr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::Supervised;
    use crate::config::ClusterConfig;

    #[test]
    fn a_closed_endpoint_keeps_no_descriptor() {
        let mut cluster = IoCluster::new(ClusterConfig::new(2)).unwrap();
        let endpoint = cluster.udp_bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let seeds = cluster.seeds().unwrap();
        cluster.endpoint_close(endpoint, DrainOptions::default()).unwrap();
        let group = |cluster: &IoCluster| {
            let group = &cluster.groups[usize::from(endpoint.group())];
            (group.members.len(), group.router.is_some())
        };
        assert_eq!(group(&cluster), (2, true), "the shards have not closed theirs");
        drop(seeds);
        assert!(matches!(cluster.supervise(std::time::Duration::ZERO), Ok(Supervised::Over)));
        assert_eq!(group(&cluster), (0, false));
    }
}
