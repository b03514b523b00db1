//! Listeners, and connections of our own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::Memory;
use super::race::canonical;
use crate::config::{
    CertReloadHandle, HostOrAddr, QuicCids, QuicConnectConfig, QuicListenConfig, UdpEndpointConfig,
};
use crate::conn::Phase;
use crate::engine::Engine;
use crate::error::{IoError, PoolKind, Result};
use crate::ids::{ConnId, EndpointId, Protocol};
use crate::proto::App;
use crate::proto::quic::endpoint::Endpoint;
use crate::proto::quic::owner::Owners;
use crate::proto::quic::parts::{ClientParts, EndpointParts, Secrets};
use crate::proto::quic::time::Wall;
use crate::ring::Fd;
use crate::sys::addr::SockAddr;
use crate::transport::Kind as EndpointKind;
use crate::transport::quic::{Listening, OTHER_FAMILY, QuicSocket};

impl Engine {
    pub(crate) fn quic_listen(&mut self, config: &QuicListenConfig) -> Result<EndpointId> {
        config.validate()?;
        self.endpoints.check_room()?;
        let parts = self.quic_parts(config)?;
        let fd = self.ring.udp_bind(&listening(config))?;
        self.quic_take_in(fd, config, parts).inspect_err(|_| self.ring.close_now(fd))
    }

    /// What a listener is made of, besides its socket.
    fn quic_parts(&mut self, config: &QuicListenConfig) -> Result<EndpointParts> {
        let secrets = Secrets::draw(config.keys.as_ref(), |out| self.ring.entropy(out))?;
        let wall = std::sync::Arc::clone(&self.quic_memory().past.wall);
        EndpointParts::listen(config, &secrets, &wall)
    }

    /// Listens on a socket that was made as [`listening`] says.
    fn quic_take_in(
        &mut self,
        fd: Fd,
        config: &QuicListenConfig,
        parts: EndpointParts,
    ) -> Result<EndpointId> {
        let index = self.quic_add(fd, &listening(config), parts, Some(Listening::new(config)))?;
        let id = self.endpoints.id(index).ok_or(IoError::exhausted(PoolKind::Endpoints))?;
        crate::trace::endpoint_opened(id, Protocol::Quic);
        Ok(id)
    }

    /// Listens on a socket of the cluster's.
    pub(in crate::engine) fn quic_add_planned(
        &mut self,
        fd: Fd,
        plan: &QuicPlan,
    ) -> Result<EndpointId> {
        let parts = self.quic_parts(&plan.listen)?;
        let id = self.quic_take_in(fd, &plan.listen, parts)?;
        if let Some(udp) = self.endpoints.quic(id.index()) {
            udp.owners = plan.owners();
        }
        Ok(id)
    }

    pub(crate) fn quic_connect(&mut self, config: &QuicConnectConfig) -> Result<ConnId> {
        config.validate()?;
        let HostOrAddr::Addr(addr) = config.target else {
            return self.quic_connect_host(config);
        };
        let target = canonical(addr);
        let socket = match self.quic_named_socket(config, Some(target))? {
            Some(socket) => socket,
            None => self.quic_client_socket(target)?,
        };
        let started = self.quic_begin(socket, config, target);
        if started.is_err() {
            self.quic_let_go(socket);
        }
        started
    }

    fn quic_begin(
        &mut self,
        socket: u32,
        config: &QuicConnectConfig,
        target: SocketAddr,
    ) -> Result<ConnId> {
        let now = self.ring.now();
        let exhausted = IoError::exhausted(PoolKind::Endpoints);
        let endpoint = self.endpoints.id(socket).ok_or(exhausted)?;
        let udp = self.endpoints.quic(socket).ok_or(exhausted)?;
        let memory = self.quic.memory.as_mut().ok_or(exhausted)?;
        // Tickets and certificates expire by it.
        memory.past.wall.set(self.ring.wall_secs());
        let client = ClientParts::new(config, &udp.endpoint, &mut memory.past)?;
        let index = self.conns.insert(Phase::Connecting, Protocol::Quic, now)?;
        let conn = self.conns.at(index);
        let id = conn.id(index);
        match udp.endpoint.connect(now, client, target, id) {
            Ok(session) => conn.app = App::Quic(session),
            Err(error) => {
                self.conns.remove(index);
                return Err(error);
            }
        }
        conn.peer = SockAddr::from(target);
        conn.endpoint = endpoint.as_u64();
        conn.deadline = now.saturating_add(config.connect_timeout);
        self.quic_adopted(id);
        self.quic_look(id);
        Ok(id)
    }

    /// The socket that the configuration asks for: one of its own, or a listener's.
    pub(super) fn quic_named_socket(
        &mut self,
        config: &QuicConnectConfig,
        target: Option<SocketAddr>,
    ) -> Result<Option<u32>> {
        if let Some(endpoint) = config.endpoint {
            let found = self.endpoints.get(endpoint)?;
            let EndpointKind::Quic(udp) = &found.kind else {
                return Err(IoError::WrongEndpoint { endpoint, protocol: found.protocol });
            };
            target.map_or(Ok(()), |target| udp.check_reach(target.ip()))?;
            return Ok(Some(endpoint.index()));
        }
        let Some(bind) = config.bind else { return Ok(None) };
        if target.is_some_and(|target| target.is_ipv4() != bind.is_ipv4()) {
            return Err(OTHER_FAMILY);
        }
        self.quic_own_socket(bind).map(Some)
    }

    /// The socket that all connections to that family share. It goes with the last one.
    pub(super) fn quic_client_socket(&mut self, target: SocketAddr) -> Result<u32> {
        let family = usize::from(target.is_ipv6());
        if let Some(socket) = self.quic.clients[family] {
            return Ok(socket);
        }
        let any: IpAddr = match target {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = self.quic_own_socket(SocketAddr::new(any, 0))?;
        self.quic.clients[family] = Some(socket);
        Ok(socket)
    }

    /// A socket that nobody knows: it goes with its last connection.
    fn quic_own_socket(&mut self, addr: SocketAddr) -> Result<u32> {
        self.endpoints.check_room()?;
        let secrets = Secrets::draw(None, |out| self.ring.entropy(out))?;
        let parts = EndpointParts::connect(&secrets)?;
        let udp = own(addr);
        let fd = self.ring.udp_bind(&udp)?;
        let added = self.quic_add(fd, &udp, parts, None);
        let socket = added.inspect_err(|_| self.ring.close_now(fd))?;
        if let Some(endpoint) = self.endpoints.at(socket) {
            endpoint.is_lame = true;
        }
        Ok(socket)
    }

    /// Takes a bound socket in.
    fn quic_add(
        &mut self,
        fd: Fd,
        udp: &UdpEndpointConfig,
        parts: EndpointParts,
        listening: Option<Listening>,
    ) -> Result<u32> {
        let base = self.quic_memory().base;
        let socket = QuicSocket::new(Endpoint::new(parts, base), listening, udp);
        let kind = EndpointKind::Quic(Box::new(socket));
        let index = self.endpoints.insert(fd, Protocol::Quic, kind)?;
        // Looking comes first, and arms the poll.
        if let Some(endpoint) = self.endpoints.at(index) {
            endpoint.ready = true;
        }
        self.lists.endpoint_work = true;
        Ok(index)
    }

    /// What all sockets share, made for the first one.
    pub(super) fn quic_memory(&mut self) -> &mut Memory {
        let Self { config, ring, quic, .. } = self;
        quic.memory.get_or_insert_with(|| Box::new(Memory::new(config, ring)))
    }
}

/// `SO_RCVBUF` and `SO_SNDBUF` of the sockets of our own connections.
const SOCKET_BUFFER_LEN: u32 = 2 << 20;

/// What a socket of our own connections asks for.
pub(super) fn own(addr: SocketAddr) -> UdpEndpointConfig {
    bind(addr).with(|udp| {
        udp.dual_stack = false;
        udp.recv_buffer = Some(SOCKET_BUFFER_LEN);
        udp.send_buffer = Some(SOCKET_BUFFER_LEN);
    })
}

/// A listener of a cluster: its keys are there, and its ids tell the shard.
#[derive(Clone, Debug)]
pub(crate) struct QuicPlan {
    listen: QuicListenConfig,
    /// How many shards have it, and which of them this one is.
    shards: u16,
    shard: u16,
}

impl QuicPlan {
    /// Of so many shards, as the first one makes it.
    pub(crate) const fn new(listen: QuicListenConfig, shards: u16) -> Self {
        Self { listen, shards, shard: 0 }
    }

    /// Whether shards can have it.
    pub(in crate::engine) fn check(&self) -> Result<()> {
        let listen = &self.listen;
        listen.validate()?;
        let secrets = Secrets::draw(listen.keys.as_ref(), |_| Ok(()))?;
        EndpointParts::listen(listen, &secrets, &Wall::new(0)).map(drop)
    }

    /// Of its certificates.
    pub(crate) fn reload(&self) -> CertReloadHandle {
        self.listen.tls.reload_handle()
    }

    /// Whether the application makes its ids: no program of ours reads them.
    pub(in crate::engine) const fn has_own_ids(&self) -> bool {
        !matches!(self.listen.cids, QuicCids::Scid(_))
    }

    /// Makes ids that tell that shard.
    pub(in crate::engine) fn use_shard(&mut self, shard: u16) {
        self.shard = shard;
        self.listen.cids = self.listen.cids.of_shard(shard);
    }

    /// How its datagrams are told from those of the other shards, if there are any.
    fn owners(&self) -> Option<Owners> {
        if self.shards == 1 {
            return None;
        }
        match &self.listen.cids {
            QuicCids::Scid(scid) => Some(Owners::named(*scid, self.listen.keys.as_ref()?)),
            QuicCids::Custom(ids) => Some(Owners::told(ids, self.shard, self.shards)),
            // There is none any more: this is one shard's.
            QuicCids::PerShard(_) => None,
        }
    }
}

/// What the socket of a listener asks for.
pub(crate) fn listening(config: &QuicListenConfig) -> UdpEndpointConfig {
    bind(config.addr).with(|udp| {
        udp.reuseport = config.reuseport;
        udp.dual_stack = config.dual_stack;
        udp.gro = config.gro;
        udp.recv_buffer = config.recv_buffer;
        udp.send_buffer = config.send_buffer;
    })
}

/// What every socket of QUIC asks for.
fn bind(addr: SocketAddr) -> UdpEndpointConfig {
    UdpEndpointConfig::new(addr).with(|udp| {
        udp.gro = true;
        udp.local_addr = true;
        udp.ecn = true;
        // RFC 9000 §14: "UDP datagrams MUST NOT be fragmented at the IP layer."
        udp.dont_fragment = true;
    })
}
