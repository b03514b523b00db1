//! What can be wrong with a TLS configuration: the part of such an error that is `Copy`.
//!
//! Role: the named reasons, each with its fix. They are always compiled, so that
//! [`IoError`](super::IoError) has one shape. Not role: where it happened (file, entry), which
//! `TlsConfigError` adds and which needs heap memory.

use std::fmt;

use super::Errno;

/// Why a TLS configuration, or a certificate that was to be reloaded, is refused.
///
/// `Display` says what is wrong and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsConfigFault {
    /// A file cannot be read.
    FileUnreadable(Errno),
    /// A file or text is longer than any sensible bundle.
    FileTooLong,
    /// A PEM block that does not begin or end as RFC 7468 says.
    BadPem,
    /// Something in a PEM block that is not base64.
    BadBase64,
    /// No certificate where one is needed.
    NoCertificate,
    /// No private key where one is needed.
    NoPrivateKey,
    /// More than one private key.
    SeveralPrivateKeys,
    /// The private key is encrypted with a passphrase.
    EncryptedKey,
    /// The private key is of a type that cannot sign here, or is damaged.
    UnsupportedKey,
    /// The key is not the one of the first certificate.
    KeyMismatch,
    /// A certificate that is no X.509 version 3 certificate in DER.
    BadCertificate,
    /// The chain does not begin with the end entity's certificate, or has one that does not belong.
    ChainOrder,
    /// Our own certificate is past its end.
    CertificateExpired,
    /// Our own certificate is not valid yet.
    CertificateNotYetValid,
    /// No root is left to verify the peer with.
    NoRoots,
    /// A revocation list that cannot be read.
    BadCrl,
    /// Revocation lists without anybody to verify.
    CrlWithoutRoots,
    /// An empty set of pins, or a pin that is no SHA-256.
    BadPin,
    /// A host name that cannot be one.
    BadServerName,
    /// The same name twice in the table of certificates.
    DuplicateServerName,
    /// A name that the table of certificates does not have.
    UnknownServerName,
    /// The certificate is not for the name it is to be used for.
    NameNotCovered,
    /// The client does not know what name the server's certificate must have.
    NoServerName,
    /// A protocol name for ALPN that is empty, too long, there twice, or one too many.
    BadAlpn,
    /// The lowest version is above the highest.
    VersionRange,
    /// TLS 1.3 is not among the versions, and QUIC has no other.
    NoTls13,
    /// A cipher suite that does not exist here.
    UnknownCipherSuite,
    /// A version is enabled for which no cipher suite is left.
    NoCipherSuite,
    /// A key exchange group that does not exist here, or none for an enabled version.
    BadKeyExchange,
    /// A knob out of its range.
    OutOfRange,
    /// The TLS library refused for a reason without a name here.
    Refused,
}

impl TlsConfigFault {
    /// What is wrong, in a few words.
    pub(crate) fn what(self) -> Cause {
        Cause(self)
    }

    /// What to do about it.
    pub(crate) const fn fix(self) -> &'static str {
        match self {
            Self::FileUnreadable(_) => "check the path and its permissions",
            Self::FileTooLong => "4 MiB are the limit; give only what is needed",
            Self::BadPem => "repair the block, or export it again",
            Self::BadBase64 => "the file is damaged: copy or export it again",
            Self::NoCertificate => {
                "give a PEM file with a CERTIFICATE block (from DER: openssl x509 -inform der \
                 -in FILE -out FILE.pem)"
            }
            Self::NoPrivateKey => {
                "give a PEM file with a PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY block \
                 (from DER: openssl pkey -inform der -in FILE -out FILE.pem)"
            }
            Self::SeveralPrivateKeys => "keep only the key of the certificate in it",
            Self::EncryptedKey => "decrypt it: openssl pkey -in FILE -out FILE.plain.pem",
            Self::UnsupportedKey => {
                "use RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519, as \
                 PKCS#8, PKCS#1 or SEC1"
            }
            Self::KeyMismatch => "give the key with which this certificate was requested",
            Self::BadCertificate => "export the certificate again",
            Self::ChainOrder => {
                "put the server's own certificate first, then the one that issued it, and so on"
            }
            Self::CertificateExpired => "renew it; to use it all the same: allow_expired()",
            Self::CertificateNotYetValid => {
                "check the clock; to use it all the same: allow_expired()"
            }
            Self::NoRoots => {
                "give roots: Roots::platform(), Roots::webpki(), or a file of CA certificates"
            }
            Self::BadCrl => "give a PEM file with X509 CRL blocks",
            Self::CrlWithoutRoots => "ask for client certificates, or leave the lists out",
            Self::BadPin => "give at least one SHA-256, as 32 bytes, 64 hex digits or base64",
            Self::BadServerName => {
                "give a host name in ASCII (xn-- for others) without a trailing dot, at most 253 \
                 bytes; a wildcard is a whole left-most label (*.example.com)"
            }
            Self::DuplicateServerName => "keep one entry for the name",
            Self::UnknownServerName => "use a name of the configuration, spelled the same",
            Self::NameNotCovered => {
                "give a certificate with the name among its subject alternative names"
            }
            Self::NoServerName => "set TlsClientBuilder::server_name",
            Self::BadAlpn => "give at most 16 different names of 1 to 255 bytes each",
            Self::VersionRange => "put the lower version first",
            Self::NoTls13 => "allow TLS 1.3: TlsVersion::Tls13 as the highest version",
            Self::UnknownCipherSuite => "use a name of the list in docs/TLS.md",
            Self::NoCipherSuite => "add a suite of that version, or narrow the versions",
            Self::BadKeyExchange => "use names of the list in docs/TLS.md",
            Self::OutOfRange => "set it within its range",
            Self::Refused => "see the reason",
        }
    }
}

/// The cause alone, without the fix.
pub(crate) struct Cause(TlsConfigFault);

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use TlsConfigFault as F;
        f.write_str(match self.0 {
            F::FileUnreadable(errno) => return write!(f, "cannot be read: {errno}"),
            F::FileTooLong => "too long",
            F::BadPem => "broken PEM block",
            F::BadBase64 => "bad base64",
            F::NoCertificate => "no certificate in it",
            F::NoPrivateKey => "no private key in it",
            F::SeveralPrivateKeys => "more than one private key in it",
            F::EncryptedKey => "the private key is encrypted",
            F::UnsupportedKey => "unsupported or damaged private key",
            F::KeyMismatch => "the private key is not the one of the certificate",
            F::BadCertificate => "broken certificate",
            F::ChainOrder => "the certificate chain is out of order",
            F::CertificateExpired => "the certificate has expired",
            F::CertificateNotYetValid => "the certificate is not valid yet",
            F::NoRoots => "no root certificate to verify the peer with",
            F::BadCrl => "unusable certificate revocation list",
            F::CrlWithoutRoots => "revocation lists, but no client certificate is asked for",
            F::BadPin => "unusable pin",
            F::BadServerName => "no usable host name",
            F::DuplicateServerName => "the name is there twice",
            F::UnknownServerName => "no certificate under this name",
            F::NameNotCovered => "the certificate is not for this name",
            F::NoServerName => "the server's name is not known",
            F::BadAlpn => "unusable ALPN protocol name",
            F::VersionRange => "the lowest TLS version is above the highest",
            F::NoTls13 => "QUIC needs TLS 1.3, which is not enabled",
            F::UnknownCipherSuite => "unknown cipher suite",
            F::NoCipherSuite => "no cipher suite for an enabled TLS version",
            F::BadKeyExchange => "unusable key exchange group",
            F::OutOfRange => "a value is out of range",
            F::Refused => "the TLS library refused",
        })
    }
}

impl fmt::Display for TlsConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what(), self.fix())
    }
}
