//! Versions, cipher suites and key exchange groups by name.

use std::fmt;

use rustls::crypto::SupportedKxGroup;
use rustls::crypto::aws_lc_rs::{ALL_CIPHER_SUITES, ALL_KX_GROUPS};
use rustls::{CipherSuite, NamedGroup, ProtocolVersion, SupportedCipherSuite};

/// A version of TLS. There are no older ones here: RFC 8996 forbids them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TlsVersion {
    /// TLS 1.2, RFC 5246: with AEAD suites and ephemeral keys only.
    Tls12,
    /// TLS 1.3, RFC 8446.
    Tls13,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}

impl TlsVersion {
    pub(super) fn of(version: ProtocolVersion) -> Option<Self> {
        match version {
            ProtocolVersion::TLSv1_2 => Some(Self::Tls12),
            ProtocolVersion::TLSv1_3 => Some(Self::Tls13),
            _ => None,
        }
    }
}

/// The registered name of a suite (the library's own names differ for TLS 1.3).
pub(super) fn suite_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// The registered name of a group.
pub(super) fn group_name(group: NamedGroup) -> &'static str {
    match group {
        NamedGroup::X25519 => "x25519",
        NamedGroup::secp256r1MLKEM768 => "SecP256r1MLKEM768",
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// The suite of that name.
pub(super) fn suite(name: &str) -> Option<SupportedCipherSuite> {
    ALL_CIPHER_SUITES.iter().copied().find(|suite| suite_name(suite.suite()) == name)
}

/// The group of that name, in any case, as it is written in many ways.
pub(super) fn group(name: &str) -> Option<&'static dyn SupportedKxGroup> {
    let mut groups = ALL_KX_GROUPS.iter().copied();
    groups.find(|group| group_name(group.name()).eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_to_its_own() {
        for known in ALL_CIPHER_SUITES {
            let name = suite_name(known.suite());
            assert!(name.starts_with("TLS_"), "{name}");
            assert_eq!(suite(name).map(|found| found.suite()), Some(known.suite()));
        }
        for known in ALL_KX_GROUPS {
            let name = group_name(known.name());
            assert_eq!(group(&name.to_uppercase()).map(|found| found.name()), Some(known.name()));
        }
        for bad in ["", "TLS_RSA_WITH_AES_128_CBC_SHA", "TLS13_AES_128_GCM_SHA256", "unknown"] {
            assert!(suite(bad).is_none() && group(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_document_has_every_name() {
        let document = include_str!("../../../docs/TLS.md");
        for name in ALL_CIPHER_SUITES
            .iter()
            .map(|suite| suite_name(suite.suite()))
            .chain(ALL_KX_GROUPS.iter().map(|group| group_name(group.name())))
        {
            assert!(document.contains(&format!("`{name}`")), "{name}");
        }
    }
}
