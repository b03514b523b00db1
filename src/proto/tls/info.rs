//! [`TlsInfo`]: what the handshake agreed on.

use rustls::pki_types::ServerName;
use rustls::{CipherSuite, CommonState, HandshakeKind, ProtocolVersion};

use super::limits::Limits;

/// The version of TLS that a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TlsVersion {
    /// RFC 5246, with an AEAD cipher.
    Tls12,
    /// RFC 8446.
    Tls13,
}

/// Who encrypts and decrypts records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TlsRecordLayer {
    /// This process.
    User {
        /// Why not the kernel.
        reason: &'static str,
    },
    /// The kernel, in the directions that are set.
    Kernel {
        /// What is sent.
        tx: bool,
        /// What is received.
        rx: bool,
    },
}

/// What the handshake of a connection agreed on. Never changes after `Connected`, except for
/// `record_layer`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TlsInfo {
    /// The version.
    pub(crate) version: TlsVersion,
    /// The cipher suite's number in IANA's registry.
    pub(crate) suite: u16,
    /// The cipher suite's name in IANA's registry.
    pub(crate) suite_name: &'static str,
    /// The key exchange group's number in IANA's registry; `None` when a session was resumed
    /// without a key exchange.
    pub(crate) group: Option<u16>,
    /// The protocol that ALPN chose.
    pub(crate) alpn: Option<Box<[u8]>>,
    /// The name that the client asked for.
    pub(crate) server_name: Option<Box<str>>,
    /// The peer's certificates, DER, its own first; empty when it showed none.
    pub(crate) peer_certificates: Box<[Box<[u8]>]>,
    /// Whether an earlier session was resumed.
    pub(crate) resumed: bool,
    /// Who encrypts.
    pub(crate) record_layer: TlsRecordLayer,
}

impl TlsInfo {
    /// What `common` says after the handshake; `None` when it is not of a kind that we speak.
    pub(crate) fn new(common: &CommonState, name: Option<&str>, limits: &Limits) -> Option<Self> {
        let version = match common.protocol_version()? {
            ProtocolVersion::TLSv1_2 => TlsVersion::Tls12,
            ProtocolVersion::TLSv1_3 => TlsVersion::Tls13,
            _ => return None,
        };
        let suite = common.negotiated_cipher_suite()?.suite();
        let chain = common.peer_certificates().unwrap_or_default();
        let kept = chain.iter().take(limits.peer_certs_max);
        Some(Self {
            version,
            suite: u16::from(suite),
            suite_name: suite_name(suite),
            group: common.negotiated_key_exchange_group().map(|group| u16::from(group.name())),
            alpn: common.alpn_protocol().map(Box::from),
            server_name: name.map(Box::from),
            peer_certificates: kept.map(|der| Box::from(der.as_ref())).collect(),
            resumed: common.handshake_kind() == Some(HandshakeKind::Resumed),
            record_layer: TlsRecordLayer::User { reason: "kernel TLS was not asked for" },
        })
    }
}

/// The name of a server, as SNI would say it.
pub(crate) fn sni(name: &ServerName<'_>) -> Option<Box<str>> {
    match name {
        ServerName::DnsName(dns) => Some(Box::from(dns.as_ref())),
        _ => None,
    }
}

const fn suite_name(suite: CipherSuite) -> &'static str {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => {
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
        }
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => {
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"
        }
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => {
            "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => {
            "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"
        }
        _ => "a suite without a name here",
    }
}
