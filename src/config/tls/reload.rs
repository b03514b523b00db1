//! New certificates for a server that goes on running.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;

use crate::error::TlsConfigFault as Fault;

use super::error::TlsConfigError;
use super::identity::TlsIdentity;
use super::sessions::Sessions;
use super::sni::SniName;
use super::table::{Entry, Table};

/// Replaces the certificates of a [`TlsServerConfig`](super::TlsServerConfig), from any thread.
///
/// A handshake that has begun goes on with the certificate it began with; every one that begins
/// after `reload_*` returned has the new one. A pair that is refused changes nothing: the checks
/// are those of `build()`. All clones of the configuration, on all shards, are replaced at once.
///
/// Clients may go on resuming sessions that they made under the old certificate: RFC 8446 §4.6.1
/// lets them for up to seven days, the ticket keys here for 12 hours. A resumed handshake shows no
/// certificate, so such a client does not see the new one. Where that is wrong, because the old key
/// is in the wrong hands, say [`forget_sessions`](Self::forget_sessions) after reloading.
#[derive(Clone)]
pub struct CertReloadHandle {
    pub(super) table: Arc<Table>,
    pub(super) sessions: Sessions,
    pub(super) provider: Arc<CryptoProvider>,
    /// The entry to replace; `None` is the default.
    pub(super) name: Option<SniName>,
}

impl CertReloadHandle {
    /// A handle for one entry of the table of names, by its name as it was configured (a wildcard
    /// as `*.example.com`). The handle of the configuration itself is for the default certificate.
    ///
    /// # Errors
    /// `BadServerName`, or `UnknownServerName` when the table has no such entry.
    pub fn for_name(&self, name: &str) -> Result<Self, TlsConfigError> {
        let name = SniName::parse(name)?;
        if self.table.names.entry(&name).is_none() {
            return Err(TlsConfigError::because(Fault::UnknownServerName, name));
        }
        Ok(Self { name: Some(name), ..self.clone() })
    }

    /// Takes the chain and the key of two PEM files. Reads files: not for a shard's thread when the
    /// files are far away.
    ///
    /// # Errors
    /// Those of `build()` about certificates and keys; then the old pair stays in force.
    pub fn reload_from_pem(
        &self,
        cert_chain_path: impl AsRef<Path>,
        key_path: impl AsRef<Path>,
    ) -> Result<(), TlsConfigError> {
        self.reload(&TlsIdentity::from_pem(cert_chain_path.as_ref(), key_path.as_ref()))
    }

    /// Takes the chain and the key of two PEM texts.
    ///
    /// # Errors
    /// Those of `build()` about certificates and keys; then the old pair stays in force.
    pub fn reload_from_bytes(
        &self,
        cert_chain_pem: impl AsRef<[u8]>,
        key_pem: impl AsRef<[u8]>,
    ) -> Result<(), TlsConfigError> {
        self.reload(&TlsIdentity::from_pem_bytes(cert_chain_pem, key_pem))
    }

    /// The same as [`reload_from_pem`](Self::reload_from_pem), which a QUIC listener takes too:
    /// certificates belong to the configuration, whatever listens with it.
    ///
    /// # Errors
    /// Those of `build()` about certificates and keys; then the old pair stays in force.
    pub fn reload_quic_from_pem(
        &self,
        cert_chain_path: impl AsRef<Path>,
        key_path: impl AsRef<Path>,
    ) -> Result<(), TlsConfigError> {
        self.reload_from_pem(cert_chain_path, key_path)
    }

    /// Takes any identity.
    ///
    /// # Errors
    /// Those of `build()` about certificates and keys; then the old pair stays in force.
    pub fn reload(&self, identity: &TlsIdentity) -> Result<(), TlsConfigError> {
        let pair = identity.load(&self.provider, UnixTime::now(), self.name.as_ref())?;
        self.entry()?.store(Arc::new(pair));
        Ok(())
    }

    /// Ends resumption of every session so far: new ticket keys and an empty cache. Connections
    /// that are established go on; the next handshake of each client is a full one.
    ///
    /// # Errors
    /// `Refused` when the system has no random numbers.
    pub fn forget_sessions(&self) -> Result<(), TlsConfigError> {
        self.sessions.forget()
    }

    fn entry(&self) -> Result<&Entry, TlsConfigError> {
        let Some(name) = &self.name else { return Ok(&self.table.default) };
        let entry = self.table.names.entry(name);
        entry.ok_or_else(|| TlsConfigError::because(Fault::UnknownServerName, name))
    }
}

impl fmt::Debug for CertReloadHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name.as_ref().map(SniName::to_string);
        f.debug_struct("CertReloadHandle").field("name", &name).finish_non_exhaustive()
    }
}
