//! UDP sockets of a cluster.

use std::net::SocketAddr;

use super::IoCluster;
use super::groups::Socket;
use crate::config::{ExpectedProtocols, UdpEndpointConfig};
use crate::engine::fleet::listen::What;
use crate::error::{IoError, Result};
use crate::ids::ClusterEndpoint;

const ONE_PEER: IoError = IoError::InvalidArgument {
    what: "UdpEndpointConfig::connect",
    why: "a socket with one peer is one shard's: bind it there",
};
const MULTICAST: IoError = IoError::InvalidArgument {
    what: "UdpEndpointConfig::bind",
    why: "every shard would hear every multicast datagram: bind it on one shard",
};

impl IoCluster {
    /// Binds UDP sockets with the defaults of [`UdpEndpointConfig`].
    ///
    /// # Errors
    /// As [`udp_bind_with`](Self::udp_bind_with).
    pub fn udp_bind(&mut self, addr: SocketAddr) -> Result<ClusterEndpoint> {
        self.udp_bind_with(UdpEndpointConfig::new(addr))
    }

    /// Binds a UDP socket for every shard. All datagrams from one address come to the same shard.
    ///
    /// # Errors
    /// `InvalidArgument` for a connected socket and for a multicast address: bind those on one
    /// [`ShardIo`](crate::ShardIo). `AddrInUse`, also when somebody else's sockets would share the
    /// address; `InvalidConfig`; `PoolExhausted`; `NofileLimit`; `Os`.
    pub fn udp_bind_with(&mut self, config: UdpEndpointConfig) -> Result<ClusterEndpoint> {
        if config.connect.is_some() {
            return Err(ONE_PEER);
        }
        // Sockets that share by that option all hear what is sent to a group.
        if config.bind.ip().is_multicast() || config.reuseaddr {
            return Err(MULTICAST);
        }
        let what = What::Udp(Box::new(config.clone()));
        self.open(ExpectedProtocols::UDP, Socket::Udp(config), what)
    }
}
