//! TLS: who we are, whom we believe, and what is agreed on.
//!
//! Role: the public configuration of both sides, read and checked by `build()`; what it yields is
//! the library's configuration, which the handshake takes. Not role: handshakes and records.
//!
//! *Invariants*: a configuration that was built needs no file and no check any more; every
//! refusal names the file, the line, the reason and the fix. Nothing weakens the check of a peer
//! that does not have `danger` in its name. The cryptography is passed explicitly, never installed
//! for the process. Files and the clock are read by `build()` and by reloading, never by a shard.

mod base64;
mod cert;
mod client;
mod client_auth;
mod crypto;
mod danger;
mod error;
mod identity;
mod info;
mod key;
mod knobs;
mod names;
mod pem;
mod pin;
mod reload;
#[cfg(feature = "_sim")]
mod repeated;
mod roots;
#[cfg(feature = "tls-platform-roots")]
mod roots_platform;
#[cfg(feature = "tls-webpki-roots")]
mod roots_webpki;
mod server;
mod sessions;
mod shelf;
mod sni;
mod socket;
mod table;
#[cfg(test)]
mod tests;
mod ticket;
mod verify;
mod x509;

impl Roots {
    /// The roots that come with this build: the platform's, otherwise Mozilla's. `None` without a
    /// feature that has some.
    #[must_use]
    pub fn built_in() -> Option<Self> {
        #[cfg(feature = "tls-platform-roots")]
        return Some(Self::platform());
        #[cfg(all(feature = "tls-webpki-roots", not(feature = "tls-platform-roots")))]
        return Some(Self::webpki());
        #[cfg(not(any(feature = "tls-platform-roots", feature = "tls-webpki-roots")))]
        return None;
    }
}

pub use client::{TlsClientBuilder, TlsClientConfig};
pub use danger::ClientDanger;
pub use error::TlsConfigError;
pub use identity::TlsIdentity;
pub use info::{KtlsReason, KtlsSide, KtlsState, PeerIdentity, TlsInfo};
pub use names::TlsVersion;
pub use pin::Pins;
pub use reload::CertReloadHandle;
pub use roots::Roots;
pub use server::{TlsServerBuilder, TlsServerConfig};
#[cfg(feature = "quic")]
pub(crate) use shelf::Shelf;
pub(crate) use socket::TlsSocket;
pub use socket::{TlsConnectConfig, TlsListenConfig};
pub use table::UnknownName;
pub use ticket::SessionTicket;
#[cfg(feature = "quic")]
pub(crate) use ticket::Tickets;
