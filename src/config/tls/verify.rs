//! Is this the server that we meant: chain, dates, name and pins.
//!
//! Role: one verifier for every way in which a client may be configured. The library's own does all
//! of it, but for pins and for what `danger` leaves out.
//!
//! Invariant: whatever is left out, the peer's signature over the handshake is checked: the peer
//! owns the key of the certificate that it shows.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::pin::{Pins, sha256};
use super::x509::Certificate;

/// What makes a certificate good.
#[derive(Debug)]
pub(super) enum Trust {
    /// A chain to a root.
    Chain(Arc<WebPkiServerVerifier>),
    /// A pin, instead of a chain.
    Pins,
    /// Nothing: `danger`.
    Anything,
}

#[derive(Debug)]
pub(super) struct ServerVerifier {
    pub(super) trust: Trust,
    /// Must fit, besides all else.
    pub(super) pins: Option<Pins>,
    /// `false`: `danger`.
    pub(super) checks_name: bool,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.trust {
            Trust::Chain(chain) => {
                let verdict = chain.verify_server_cert(
                    end_entity,
                    intermediates,
                    server_name,
                    ocsp_response,
                    now,
                );
                self.excuse_name(verdict)?;
            }
            Trust::Pins => self.verify_alone(end_entity, server_name, now)?,
            Trust::Anything => {}
        }
        match &self.pins {
            Some(pins) if !pins.fit(end_entity) => Err(no_pin(end_entity)),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerVerifier {
    /// The library checks the name last, after chain and dates: an error about the name says that
    /// all else was good. (A test holds it to that.)
    fn excuse_name(&self, verdict: Result<ServerCertVerified, Error>) -> Result<(), Error> {
        use CertificateError as C;
        match verdict {
            Err(Error::InvalidCertificate(
                C::NotValidForName | C::NotValidForNameContext { .. },
            )) if !self.checks_name => Ok(()),
            verdict => verdict.map(drop),
        }
    }

    /// Dates and name of a certificate that needs no issuer.
    fn verify_alone(
        &self,
        end_entity: &CertificateDer<'_>,
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let dates = Certificate::parse(end_entity).ok_or(CertificateError::BadEncoding)?;
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if seconds > dates.not_after {
            return Err(CertificateError::Expired.into());
        }
        if seconds < dates.not_before {
            return Err(CertificateError::NotValidYet.into());
        }
        match self.checks_name {
            true => verify_server_name(&parsed, server_name),
            false => Ok(()),
        }
    }
}

/// The certificate is none of those that were pinned.
struct NoPin {
    certificate_sha256: [u8; 32],
}

fn no_pin(end_entity: &CertificateDer<'_>) -> Error {
    let reason = NoPin { certificate_sha256: sha256(end_entity) };
    CertificateError::Other(OtherError(Arc::new(reason))).into()
}

impl fmt::Display for NoPin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no pin fits the certificate whose SHA-256 is ")?;
        self.certificate_sha256.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NoPin {
    /// The library shows errors that are not its own in this form only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for NoPin {}
