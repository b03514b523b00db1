//! QUIC listeners of a cluster.

use std::net::SocketAddr;
use std::sync::Arc;

use super::IoCluster;
use super::groups::Socket;
use crate::config::{
    CID_LEN_MAX, ClusterConfig, ConnectionIds, ExpectedProtocols, QuicCids, QuicKeys,
    QuicListenConfig, ScidGenerator, TlsServerConfig,
};
use crate::engine::fleet::listen::What;
use crate::engine::quic::{QuicPlan, listening};
use crate::error::{IoError, Result};
use crate::ids::ClusterEndpoint;

const OWN_IDS: IoError = IoError::InvalidArgument {
    what: "QuicListenConfig::cids",
    why: "the shards of a cluster find each other's packets by ids that tell them: leave the \
          default, or give each shard a generator of its own by `QuicCids::PerShard`",
};
/// Ids that each generator is tried with.
const IDS_TRIED: usize = 8;

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
    /// `InvalidArgument` for [`QuicCids::Custom`], and for a [`QuicCids::PerShard`] whose shards do
    /// not know each other's ids; `RoutingRefused` for the latter when a program in the kernel was
    /// to route by ids, by name; `AddrInUse`, also when somebody else's sockets would
    /// share the address; `InvalidConfig`; `TlsConfig`; `PoolExhausted` when
    /// `Config::max_endpoints` are open; `NofileLimit`; `Os`.
    pub fn quic_listen_with(&mut self, mut config: QuicListenConfig) -> Result<ClusterEndpoint> {
        // There are some wherever QUIC is expected, and elsewhere `open` refuses.
        let keys = self.config.keys.clone().map_or_else(QuicKeys::random, Ok)?;
        match &config.cids {
            // Listeners with keys of their own have the cover of all: the kernel's programs know
            // one.
            QuicCids::Scid(_) => {
                let ids = first_ids(&self.config)?.covered(self.config.scid_cover, &keys);
                config.cids = QuicCids::Scid(ids);
            }
            QuicCids::Custom(_) => return Err(OWN_IDS),
            QuicCids::PerShard(make) => {
                config.validate()?;
                let generators = (0..self.config.shard_count).map(|shard| make(shard));
                self.try_ids(&generators.collect::<Vec<_>>())?;
            }
        }
        config.keys.get_or_insert(keys);
        let socket = Socket::Udp(listening(&config));
        let plan = QuicPlan::new(config, self.config.shard_count);
        self.open(ExpectedProtocols::QUIC, socket, What::Quic(Box::new(plan)))
    }

    /// Whether shards whose ids these make would find each other's packets.
    fn try_ids(&mut self, generators: &[Arc<dyn ConnectionIds>]) -> Result<()> {
        let refuse = |why| Err(IoError::InvalidArgument { what: "QuicCids::PerShard", why });
        let Some(first) = generators.first() else { return Ok(()) };
        let mut random = [0; CID_LEN_MAX];
        let len = first.id_len().min(CID_LEN_MAX);
        for (shard, own) in (0..).zip(generators) {
            if own.id_len() != len {
                return refuse("`id_len` differs from shard to shard");
            }
            for _ in 0..IDS_TRIED {
                self.ports.entropy(&mut random)?;
                let id = &mut random[..len];
                own.write(id);
                if !first.is_ours(id) || !own.is_ours(id) {
                    return refuse("`is_ours` does not know what another shard's `write` made");
                }
                if (first.shard_of(id), own.shard_of(id)) != (Some(shard), Some(shard)) {
                    return refuse("`shard_of` does not tell whose `write` made an id");
                }
            }
        }
        Ok(())
    }
}

/// The ids of the first shard.
fn first_ids(config: &ClusterConfig) -> Result<ScidGenerator> {
    ScidGenerator::new(config.server_id, 0, config.shard_bits())
}
