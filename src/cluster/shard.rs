//! [`ShardIo`]: one shard of a cluster, on its thread.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use super::seed::Life;
use crate::error::Result;
use crate::ids::{ClusterEndpoint, EndpointId};
use crate::io::Io;
use crate::stats::FleetStats;

/// One shard of a cluster: an [`Io`], and what it has to do with the others.
///
/// ```compile_fail
/// # let mut cluster = zero_io::IoCluster::new(zero_io::ClusterConfig::new(1)).unwrap();
/// let shard = cluster.seeds().unwrap().pop().unwrap().grow().unwrap();
/// std::thread::spawn(move || drop(shard));
/// ```
#[derive(Debug)]
pub struct ShardIo {
    pub(super) io: Io,
    /// Behind it: the supervisor hears of its end when all is done.
    pub(super) _life: Life,
    /// `!Send`: the ring answers to the thread that made it.
    pub(super) _here: PhantomData<*mut ()>,
}

impl ShardIo {
    /// As [`Io::poll`].
    ///
    /// # Errors
    /// As [`Io::poll`].
    pub fn poll(&mut self, timeout: Duration) -> Result<()> {
        self.io.poll(timeout)
    }

    /// Whether the loop is to go on. False: leave it, and drop the shard.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.io.engine_ref().is_running()
    }

    /// The shard's number.
    #[must_use]
    pub fn shard(&self) -> u16 {
        self.io.engine_ref().shard_id()
    }

    /// This shard's part of an endpoint of the cluster.
    ///
    /// # Errors
    /// `InvalidArgument` when this shard has none: it has not heard of it yet, or has closed it.
    pub fn endpoint(&mut self, of: ClusterEndpoint) -> Result<EndpointId> {
        self.io.engine().endpoint_of(of)
    }

    /// The endpoint of the cluster that an endpoint of this shard is part of; `None` of one that
    /// the shard opened itself.
    pub fn cluster_endpoint(&mut self, of: EndpointId) -> Option<ClusterEndpoint> {
        self.io.engine().cluster_endpoint(of)
    }

    /// What this shard has had to do with the others so far.
    #[must_use]
    pub fn fleet_stats(&self) -> FleetStats {
        self.io.engine_ref().fleet_stats()
    }
}

impl Deref for ShardIo {
    type Target = Io;

    fn deref(&self) -> &Io {
        &self.io
    }
}

impl DerefMut for ShardIo {
    fn deref_mut(&mut self) -> &mut Io {
        &mut self.io
    }
}
