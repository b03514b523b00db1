//! Whether a server asks clients for a certificate, and whom it believes.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;

use crate::error::TlsConfigFault as Fault;

use super::error::TlsConfigError;
use super::knobs::refused;
use super::pem::Text;
use super::roots::Roots;

#[derive(Debug, Clone, Default)]
pub(super) struct ClientAuth {
    pub(super) demand: Demand,
    pub(super) crls: Vec<CrlSource>,
}

#[derive(Debug, Clone, Default)]
pub(super) enum Demand {
    #[default]
    None,
    Optional(Roots),
    Required(Roots),
}

#[derive(Debug, Clone)]
pub(super) enum CrlSource {
    File(PathBuf),
    Pem(Arc<[u8]>),
}

impl ClientAuth {
    pub(super) fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, TlsConfigError> {
        let (roots, is_optional) = match &self.demand {
            Demand::None if self.crls.is_empty() => {
                return Ok(WebPkiClientVerifier::no_client_auth());
            }
            Demand::None => return Err(TlsConfigError::new(Fault::CrlWithoutRoots)),
            Demand::Optional(roots) => (roots.load()?, true),
            Demand::Required(roots) => (roots.load()?, false),
        };
        let mut crls = Vec::new();
        for source in &self.crls {
            crls.extend(source.load(&roots, provider)?);
        }
        let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
        let builder = builder.with_crls(crls);
        let builder = if is_optional { builder.allow_unauthenticated() } else { builder };
        builder.build().map_err(refused)
    }
}

impl CrlSource {
    fn load(
        &self,
        roots: &Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsConfigError> {
        let text = match self {
            Self::File(path) => Text::read(path)?,
            Self::Pem(pem) => Text::given("the revocation lists", pem)?,
        };
        let mut crls = Vec::new();
        for block in text.blocks()?.into_iter().filter(|block| block.label == "X509 CRL") {
            let crl = CertificateRevocationListDer::from(block.der);
            // Only the builder knows whether it is one: asked for each, it tells which is not.
            WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
                .with_crls([crl.clone()])
                .build()
                .map_err(|reason| text.error_because(Fault::BadCrl, block.line, reason))?;
            crls.push(crl);
        }
        match crls.is_empty() {
            true => Err(text.error_because(Fault::BadCrl, 0, "no X509 CRL block")),
            false => Ok(crls),
        }
    }
}
