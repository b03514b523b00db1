//! Whom we trust to issue certificates.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;

use crate::error::TlsConfigFault as Fault;

use super::cert::certificates;
use super::error::{Origin, TlsConfigError};
use super::pem::Text;

/// Root certificates: those that a peer's chain must lead to. Sets are joined with
/// [`and`](Self::and); files are read by `build()`.
#[derive(Clone)]
pub struct Roots {
    parts: Vec<Part>,
}

#[derive(Clone)]
struct Part {
    name: String,
    load: Arc<Load>,
}

type Load = dyn Fn(&mut RootCertStore) -> Result<(), TlsConfigError> + Send + Sync;

impl Roots {
    /// Every certificate of a PEM file. One that cannot be a root is an error.
    pub fn from_pem_file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self::of(path.display().to_string(), move |store| add_text(store, &Text::read(&path)?))
    }

    /// Every certificate of a PEM text, likewise.
    pub fn from_pem_bytes(pem: impl AsRef<[u8]>) -> Self {
        let pem: Arc<[u8]> = pem.as_ref().into();
        Self::of("PEM".to_owned(), move |store| {
            add_text(store, &Text::given("the root certificates", &pem)?)
        })
    }

    /// Certificates in DER.
    pub fn from_der(certificates: impl IntoIterator<Item = Vec<u8>>) -> Self {
        let certificates: Vec<_> = certificates.into_iter().collect();
        Self::of("DER".to_owned(), move |store| {
            for (i, der) in certificates.iter().enumerate() {
                store.add(der.as_slice().into()).map_err(|reason| {
                    let detail = format!("certificate {}: {reason}", i + 1);
                    TlsConfigError::because(Fault::BadCertificate, detail)
                        .at(&Origin::Given("the root certificates"), 0)
                })?;
            }
            Ok(())
        })
    }

    /// These and those.
    #[must_use]
    pub fn and(mut self, more: Self) -> Self {
        self.parts.extend(more.parts);
        self
    }

    pub(super) fn of(
        name: String,
        load: impl Fn(&mut RootCertStore) -> Result<(), TlsConfigError> + Send + Sync + 'static,
    ) -> Self {
        Self { parts: vec![Part { name, load: Arc::new(load) }] }
    }

    /// Reads them all. There is at least one, or an error.
    pub(super) fn load(&self) -> Result<Arc<RootCertStore>, TlsConfigError> {
        let mut store = RootCertStore::empty();
        for part in &self.parts {
            (part.load)(&mut store)?;
        }
        match store.is_empty() {
            true => Err(TlsConfigError::because(Fault::NoRoots, format!("{self:?}"))),
            false => Ok(Arc::new(store)),
        }
    }
}

impl fmt::Debug for Roots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Roots")?;
        f.debug_list().entries(self.parts.iter().map(|part| &part.name)).finish()
    }
}

fn add_text(store: &mut RootCertStore, text: &Text) -> Result<(), TlsConfigError> {
    let found = certificates(text)?;
    if found.is_empty() {
        return Err(text.error(Fault::NoCertificate, 0));
    }
    for (line, der) in found {
        let added = store.add(der);
        added.map_err(|reason| text.error_because(Fault::BadCertificate, line, reason))?;
    }
    Ok(())
}
