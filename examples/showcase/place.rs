//! Where the page is.

use zero_io::{ClusterEndpoint, EndpointId, ShardIo};

/// The endpoint, of a shard that is alone or of a cluster.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Alone(EndpointId),
    Cluster(ClusterEndpoint),
}

impl Place {
    /// That of one shard of a cluster.
    pub(super) fn on(self, shard: &mut ShardIo) -> zero_io::Result<Self> {
        match self {
            Self::Cluster(endpoint) => shard.endpoint(endpoint).map(Self::Alone),
            Self::Alone(_) => Ok(self),
        }
    }
}
