//! QUIC listeners of a cluster.

use std::net::SocketAddr;

use super::IoCluster;
use super::groups::Socket;
use crate::config::{
    ClusterConfig, ExpectedProtocols, QuicCids, QuicKeys, QuicListenConfig, ScidGenerator,
    TlsServerConfig,
};
use crate::engine::fleet::listen::What;
use crate::engine::quic::listening;
use crate::error::{IoError, Result};
use crate::ids::ClusterEndpoint;

const OWN_IDS: IoError = IoError::InvalidArgument {
    what: "QuicListenConfig::cids",
    why: "the shards of a cluster find each other's packets by its ids; leave the default",
};

impl IoCluster {
    /// Listens for QUIC connections with the defaults of [`QuicListenConfig`]: `cert_pem` is the
    /// chain, `key_pem` its key, both in PEM. Without ALPN, which clients may insist on.
    ///
    /// # Errors
    /// As [`quic_listen_with`](Self::quic_listen_with).
    pub fn quic_listen(
        &mut self,
        addr: SocketAddr,
        cert_pem: impl AsRef<[u8]>,
        key_pem: impl AsRef<[u8]>,
    ) -> Result<ClusterEndpoint> {
        let tls = TlsServerConfig::from_pem_bytes(cert_pem, key_pem).build()?;
        self.quic_listen_with(QuicListenConfig::new(addr, tls))
    }

    /// Listens for QUIC connections with a socket for every shard. Each connection is one shard's,
    /// for as long as it lasts: its ids name the shard, and what another one receives, because the
    /// peer moved, is passed on to it. Packets of a shard that is not there are answered by whoever
    /// gets them, with a stateless reset.
    ///
    /// All listeners have the cluster's keys
    /// ([`ClusterConfig::keys`]) unless `config` has some, and ids with the cluster's server number
    /// in place of those in `config`. Sessions are resumed, and tokens are good, on whichever shard
    /// a client comes back to.
    ///
    /// # Errors
    /// `InvalidArgument` for ids of one's own; `AddrInUse`, also when somebody else's sockets would
    /// share the address; `InvalidConfig`; `TlsConfig`; `PoolExhausted` when
    /// `Config::max_endpoints` are open; `NofileLimit`; `Os`.
    pub fn quic_listen_with(&mut self, mut config: QuicListenConfig) -> Result<ClusterEndpoint> {
        if let QuicCids::Custom(_) = config.cids {
            return Err(OWN_IDS);
        }
        // There are some wherever QUIC is expected, and elsewhere `open` refuses.
        let keys = self.config.keys.clone().map_or_else(QuicKeys::random, Ok)?;
        // Listeners with keys of their own have the cover of all: the kernel's programs know one.
        config.cids =
            QuicCids::Scid(first_ids(&self.config)?.covered(self.config.scid_cover, &keys));
        config.keys.get_or_insert(keys);
        let socket = Socket::Udp(listening(&config));
        self.open(ExpectedProtocols::QUIC, socket, What::Quic(Box::new(config)))
    }
}

/// The ids of the first shard.
fn first_ids(config: &ClusterConfig) -> Result<ScidGenerator> {
    ScidGenerator::new(config.server_id, 0, config.shard_bits())
}
