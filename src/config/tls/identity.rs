//! A certificate chain with its private key.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};

use crate::error::TlsConfigFault as Fault;

use super::cert::Chain;
use super::error::TlsConfigError;
use super::key::Key;
use super::pem::Text;
use super::sni::SniName;

/// Who we are: a certificate chain, leaf first, and the private key of the leaf.
///
/// Nothing is read before it is used: files are opened by `build()`, or when a certificate is
/// reloaded. Keys are PKCS#8, PKCS#1 or SEC1; RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or
/// P-521, Ed25519.
#[derive(Clone)]
pub struct TlsIdentity {
    source: Source,
    allows_expired: bool,
}

#[derive(Clone)]
enum Source {
    Files { chain: PathBuf, key: PathBuf },
    Pem { chain: Arc<[u8]>, key: Arc<[u8]> },
    Der { chain: Arc<[Vec<u8>]>, key: Arc<[u8]> },
}

impl TlsIdentity {
    /// Two PEM files; they may be the same one.
    pub fn from_pem(cert_chain_path: impl Into<PathBuf>, key_path: impl Into<PathBuf>) -> Self {
        Self::of(Source::Files { chain: cert_chain_path.into(), key: key_path.into() })
    }

    /// Two PEM texts; they may be the same one.
    pub fn from_pem_bytes(cert_chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Self {
        Self::of(Source::Pem { chain: cert_chain.as_ref().into(), key: key.as_ref().into() })
    }

    /// Certificates in DER, leaf first, and a key in DER: PKCS#8, PKCS#1 or SEC1, told by its
    /// structure.
    pub fn from_der(cert_chain: impl IntoIterator<Item = Vec<u8>>, key: impl AsRef<[u8]>) -> Self {
        Self::of(Source::Der { chain: cert_chain.into_iter().collect(), key: key.as_ref().into() })
    }

    /// Uses the certificate although it has expired or is not valid yet: for machines whose clock
    /// is wrong when they start. Peers still refuse it when they find it so.
    #[must_use]
    pub fn allow_expired(mut self) -> Self {
        self.allows_expired = true;
        self
    }

    fn of(source: Source) -> Self {
        Self { source, allows_expired: false }
    }

    /// Reads and checks it. `name` is what it is going to be served under.
    pub(super) fn load(
        &self,
        provider: &CryptoProvider,
        now: UnixTime,
        name: Option<&SniName>,
    ) -> Result<CertifiedKey, TlsConfigError> {
        let (chain, key) = self.parts()?;
        if !self.allows_expired {
            chain.check_dates(now)?;
        }
        let signing_key = provider
            .key_provider
            .load_private_key(key.der.clone_key())
            .map_err(|reason| key.error(Fault::UnsupportedKey, reason))?;
        let pair = CertifiedKey::new(chain.ders.clone(), signing_key);
        match pair.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                let detail = format!("the certificate is the one of {}", chain.place());
                return Err(key.error(Fault::KeyMismatch, detail));
            }
            Err(reason) => return Err(chain.error(0, Fault::BadCertificate, reason)),
        }
        if let Some(name) = name {
            chain.check_name(name)?;
        }
        Ok(pair)
    }

    fn parts(&self) -> Result<(Chain, Key), TlsConfigError> {
        match &self.source {
            Source::Files { chain, key } => {
                let chain = Chain::from_text(&Text::read(chain)?)?;
                Ok((chain, Key::from_text(&Text::read(key)?)?))
            }
            Source::Pem { chain, key } => {
                let chain = Chain::from_text(&Text::given("the certificate chain", chain)?)?;
                Ok((chain, Key::from_text(&Text::given("the key", key)?)?))
            }
            Source::Der { chain, key } => Ok((Chain::from_der(chain)?, Key::from_der(key)?)),
        }
    }
}

impl fmt::Debug for TlsIdentity {
    /// Without key material.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Files { chain, key } => {
                write!(f, "TlsIdentity({}, {})", chain.display(), key.display())
            }
            Source::Pem { .. } => f.write_str("TlsIdentity(PEM)"),
            Source::Der { .. } => f.write_str("TlsIdentity(DER)"),
        }
    }
}
