//! [`Crypto`]: the library's cryptography, and who seals tickets.

use std::fmt;
use std::sync::Arc;

use rustls::Error;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::ProducesTickets;

/// Where keys and all else that is drawn come from. There is the system's; the simulator has one of
/// its own.
#[derive(Clone, Copy)]
pub(super) struct Crypto {
    pub(super) provider: fn() -> CryptoProvider,
    /// Makes what seals tickets, with keys of its own.
    pub(super) ticketer: fn() -> Result<Arc<dyn ProducesTickets>, Error>,
}

impl Default for Crypto {
    fn default() -> Self {
        Self { provider: default_provider, ticketer: Ticketer::new }
    }
}

impl fmt::Debug for Crypto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crypto").finish_non_exhaustive()
    }
}
