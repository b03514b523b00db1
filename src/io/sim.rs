//! [`Io`] on the simulated kernel. For tests; no stability promise.

use super::Io;
use crate::config::Config;
use crate::error::Result;
use crate::ring::Ring;
use crate::sim::World;

impl Io {
    /// A shard that is a new node of `world`. Its `poll` never blocks: see docs/SIM.md.
    ///
    /// # Errors
    /// As [`new`](Self::new), and what the world's faults make fail.
    #[doc(hidden)]
    pub fn in_world(config: Config, world: &World) -> Result<Self> {
        Self::with_ring(config, Ring::Sim(world.ring()))
    }
}
