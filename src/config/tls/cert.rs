//! Certificate chains of our own: leaf first, in order, valid now.
//!
//! Role: reading a chain and checking what can be checked without a root. Not role: keys (`key`),
//! the peer's certificates (`verify`).

use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, DnsName, ServerName, UnixTime};
use rustls::server::ParsedCertificate;

use crate::error::TlsConfigFault as Fault;

use super::error::{Origin, TlsConfigError};
use super::pem::Text;
use super::sni::SniName;
use super::x509::Certificate;

/// Certificates that a chain may have: beyond, it is a bundle of roots by mistake.
const CHAIN_LEN_MAX: usize = 16;

/// A chain and where each of its certificates stands.
pub(super) struct Chain {
    pub(super) ders: Vec<CertificateDer<'static>>,
    lines: Vec<u32>,
    origin: Origin,
}

impl Chain {
    pub(super) fn from_text(text: &Text) -> Result<Self, TlsConfigError> {
        let found = certificates(text)?;
        if found.is_empty() {
            return Err(text.error(Fault::NoCertificate, 0));
        }
        let (lines, ders) = found.into_iter().unzip();
        Self { ders, lines, origin: text.origin.clone() }.checked()
    }

    pub(super) fn from_der(ders: &[Vec<u8>]) -> Result<Self, TlsConfigError> {
        let origin = Origin::Given("the certificate chain");
        if ders.is_empty() {
            return Err(TlsConfigError::new(Fault::NoCertificate).at(&origin, 0));
        }
        let ders: Vec<_> = ders.iter().cloned().map(CertificateDer::from).collect();
        Self { lines: vec![0; ders.len()], ders, origin }.checked()
    }

    fn checked(self) -> Result<Self, TlsConfigError> {
        if self.ders.len() > CHAIN_LEN_MAX {
            let detail = format!("{} certificates, at most {CHAIN_LEN_MAX}", self.ders.len());
            return Err(self.error(CHAIN_LEN_MAX, Fault::ChainOrder, detail));
        }
        let mut parsed = Vec::with_capacity(self.ders.len());
        for (i, der) in self.ders.iter().enumerate() {
            let certificate = Certificate::parse(der);
            parsed.push(certificate.ok_or_else(|| self.error(i, Fault::BadCertificate, ""))?);
        }
        // RFC 8446 §4.4.2: "The sender's certificate MUST come in the first CertificateEntry";
        // the others may be cross-signed, so each must have issued some certificate before it.
        for (i, certificate) in parsed.iter().enumerate().skip(1) {
            if !parsed[..i].iter().any(|before| before.issuer == certificate.subject) {
                let detail = format!("certificate {} issued none of those before it", i + 1);
                return Err(self.error(i, Fault::ChainOrder, detail));
            }
        }
        match ParsedCertificate::try_from(&self.ders[0]) {
            Err(reason) => Err(self.error(0, Fault::BadCertificate, reason)),
            Ok(_) => Ok(self),
        }
    }

    /// Whether every certificate is valid at `now`.
    pub(super) fn check_dates(&self, now: UnixTime) -> Result<(), TlsConfigError> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        for (i, der) in self.ders.iter().enumerate() {
            let Some(certificate) = Certificate::parse(der) else { continue };
            if now > certificate.not_after {
                let detail = format!("{} s ago", now - certificate.not_after);
                return Err(self.error(i, Fault::CertificateExpired, detail));
            }
            if now < certificate.not_before {
                let detail = format!("{} s from now", certificate.not_before - now);
                return Err(self.error(i, Fault::CertificateNotYetValid, detail));
            }
        }
        Ok(())
    }

    /// Whether the leaf is for every host of `name`.
    pub(super) fn check_name(&self, name: &SniName) -> Result<(), TlsConfigError> {
        match covers(&self.ders, &name.sample()) {
            true => Ok(()),
            false => Err(self.error(0, Fault::NameNotCovered, name)),
        }
    }

    /// Where the leaf stands.
    pub(super) fn place(&self) -> String {
        match self.lines.first() {
            None | Some(0) => self.origin.to_string(),
            Some(line) => format!("{}:{line}", self.origin),
        }
    }

    /// An error at the `i`-th certificate.
    pub(super) fn error(
        &self,
        i: usize,
        fault: Fault,
        detail: impl std::fmt::Display,
    ) -> TlsConfigError {
        let line = self.lines.get(i).copied().unwrap_or(0);
        TlsConfigError::because(fault, detail).at(&self.origin, line)
    }
}

/// Whether the first certificate of `chain` is for that host.
pub(super) fn covers(chain: &[CertificateDer<'_>], host: &str) -> bool {
    let Some(leaf) = chain.first() else { return false };
    let (Ok(parsed), Ok(host)) = (ParsedCertificate::try_from(leaf), DnsName::try_from(host))
    else {
        return false;
    };
    verify_server_name(&parsed, &ServerName::DnsName(host)).is_ok()
}

/// Every certificate of the text, with its line.
pub(super) fn certificates(
    text: &Text,
) -> Result<Vec<(u32, CertificateDer<'static>)>, TlsConfigError> {
    let blocks = text.blocks()?.into_iter();
    // RFC 7468 §5.1; the two others are what old tools write.
    let is_certificate =
        |label: &str| matches!(label, "CERTIFICATE" | "X509 CERTIFICATE" | "X.509 CERTIFICATE");
    let found = blocks.filter(|block| is_certificate(&block.label));
    Ok(found.map(|block| (block.line, block.der.into())).collect())
}
