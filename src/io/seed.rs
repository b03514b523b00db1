//! [`IoSeed`]: a configuration on its way to the thread that will own the shard.

use super::Io;
use crate::config::Config;
use crate::error::Result;

/// What an [`Io`] is grown from. `Send`, as the `Io` is not: make it anywhere, move it to the
/// thread, and [`grow`](Self::grow) it there.
///
/// ```no_run
/// use zero_io::{Config, IoSeed};
/// let seed = IoSeed::new(Config::default()).unwrap();
/// std::thread::spawn(move || {
///     let mut io = seed.grow().unwrap();
///     io.poll(std::time::Duration::ZERO).unwrap();
/// });
/// ```
#[derive(Debug, Clone)]
pub struct IoSeed {
    config: Config,
}

impl IoSeed {
    /// Checks the configuration.
    ///
    /// # Errors
    /// [`IoError::InvalidConfig`](crate::IoError::InvalidConfig) names the field.
    pub fn new(config: Config) -> Result<Self> {
        config.validate()?;
        Ok(Self { config })
    }

    /// Makes the shard on this thread.
    ///
    /// # Errors
    /// As [`Io::new`].
    pub fn grow(self) -> Result<Io> {
        Io::new(self.config)
    }
}
