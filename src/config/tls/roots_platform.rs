//! The roots that the system trusts.

use crate::error::TlsConfigFault as Fault;

use super::error::TlsConfigError;
use super::roots::Roots;

impl Roots {
    /// The system's store, usually below `/etc/ssl`, or what the variables `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` name. It is read by `build()`, which takes some milliseconds: build once and
    /// clone. Certificates in it that cannot be read are passed over, as administrators put things
    /// there that are none of ours; none at all is an error. Feature `tls-platform-roots`.
    #[must_use]
    pub fn platform() -> Self {
        Self::of("platform".to_owned(), |store| {
            let found = rustls_native_certs::load_native_certs();
            let (added, _) = store.add_parsable_certificates(found.certs);
            match (added, found.errors.first()) {
                (0, Some(reason)) => Err(TlsConfigError::because(Fault::NoRoots, reason)),
                (0, None) => Err(TlsConfigError::because(Fault::NoRoots, "the system has none")),
                _ => Ok(()),
            }
        })
    }
}
