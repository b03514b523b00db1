//! What a TLS connection agreed on, and with whom. Data only.

use std::fmt;

use rustls::{CommonState, HandshakeKind};

use crate::error::Errno;

use super::names::{TlsVersion, group_name, suite_name};
use super::pin::sha256;
use super::x509::Certificate;

/// A TLS connection after its handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TlsInfo {
    /// The version.
    pub version: TlsVersion,
    /// The cipher suite by its registered name, as in `TLS_AES_128_GCM_SHA256`.
    pub cipher_suite: &'static str,
    /// The key exchange group by its registered name; `None` when a session was resumed without a
    /// new exchange (TLS 1.2).
    pub key_exchange: Option<&'static str>,
    /// The application protocol that ALPN chose.
    pub alpn: Option<Box<[u8]>>,
    /// The name that the client asked for (SNI).
    pub server_name: Option<Box<str>>,
    /// Whether an earlier session was resumed. Then `peer` is who it was at the time.
    pub resumed: bool,
    /// The peer's certificates. On a server, `None` is a client that showed none.
    pub peer: Option<PeerIdentity>,
    /// Who does the record layer.
    pub kernel: KtlsState,
}

impl TlsInfo {
    /// What the library knows when the handshake is over; before, `None`. `server_name` is what the
    /// client asked for. The record layer is user space's.
    pub(crate) fn of(state: &CommonState, server_name: Option<&str>) -> Option<Self> {
        let suite = state.negotiated_cipher_suite()?;
        let group = state.negotiated_key_exchange_group();
        Some(Self {
            version: TlsVersion::of(state.protocol_version()?)?,
            cipher_suite: suite_name(suite.suite()),
            key_exchange: group.map(|group| group_name(group.name())),
            alpn: state.alpn_protocol().map(Box::from),
            server_name: server_name.map(Box::from),
            resumed: state.handshake_kind()? == HandshakeKind::Resumed,
            peer: state.peer_certificates().and_then(PeerIdentity::of),
            kernel: KtlsState::default(),
        })
    }
}

/// The certificate chain that the peer showed, verified as the configuration says.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerIdentity {
    chain: Box<[Box<[u8]>]>,
}

impl PeerIdentity {
    fn of(chain: &[rustls::pki_types::CertificateDer<'_>]) -> Option<Self> {
        let chain: Box<[Box<[u8]>]> = chain.iter().map(|der| Box::from(der.as_ref())).collect();
        (!chain.is_empty()).then_some(Self { chain })
    }

    /// The certificates in DER, the peer's own first. The others are what the peer sent along, not
    /// necessarily the way that was verified.
    pub fn chain(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.chain.iter().map(|der| &**der)
    }

    /// The peer's own certificate in DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        self.chain.first().map_or(&[], |der| der)
    }

    /// The SHA-256 of the peer's own certificate: what `Pins::certificate_sha256` takes.
    #[must_use]
    pub fn certificate_sha256(&self) -> [u8; 32] {
        sha256(self.certificate())
    }

    /// The SHA-256 of the peer's public key: what `Pins::spki_sha256` takes.
    #[must_use]
    pub fn spki_sha256(&self) -> Option<[u8; 32]> {
        Certificate::parse(self.certificate()).map(|parsed| sha256(parsed.public_key))
    }
}

impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PeerIdentity { certificate_sha256: ")?;
        self.certificate_sha256().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        write!(f, ", chain: {} certificates }}", self.chain.len())
    }
}

/// Who encrypts and who decrypts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct KtlsState {
    /// What is sent.
    pub tx: KtlsSide,
    /// What is received.
    pub rx: KtlsSide,
}

/// One direction of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KtlsSide {
    /// The kernel.
    Kernel,
    /// This library, and why not the kernel.
    UserSpace(KtlsReason),
}

impl Default for KtlsSide {
    fn default() -> Self {
        Self::UserSpace(KtlsReason::NotCompiled)
    }
}

/// Why the kernel does not do the record layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KtlsReason {
    /// The library was built without the feature `tls-ktls`.
    NotCompiled,
    /// The configuration says so, or leaves it to what pays, and this does not.
    NotWanted,
    /// The kernel has no module `tls`.
    NoModule,
    /// The kernel is older than 6.7.
    OldKernel,
    /// The kernel does not know the cipher suite or the version.
    Suite,
    /// The socket is not TCP.
    NotTcp,
    /// Sending: the kernel takes over with the next write that finds nothing under way. Receiving:
    /// a part of a record had been received when the kernel could have taken over.
    DataPending,
    /// `max_record_size` is not the largest: the kernel cuts records by itself.
    RecordSize,
    /// With TLS 1.3 keys may have to change, which kernels before 6.14 cannot.
    Rekey,
    /// The kernel refused.
    Refused(Errno),
}

impl fmt::Display for KtlsReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotCompiled => "the feature tls-ktls is off",
            Self::NotWanted => "it is off, or does not pay here",
            Self::NoModule => "the kernel has no module tls (modprobe tls)",
            Self::OldKernel => "the kernel is older than 6.7",
            Self::Suite => "the kernel does not know the cipher suite",
            Self::NotTcp => "the socket is not TCP",
            Self::DataPending => "data is under way, or was at the switch",
            Self::RecordSize => "max_record_size is not 16,384, which the kernel cuts at",
            Self::Rekey => "the kernel is older than 6.14 and cannot change keys",
            Self::Refused(errno) => return write!(f, "the kernel refused: {errno}"),
        })
    }
}
