//! Private keys: PKCS#8, PKCS#1 and SEC1, in PEM or DER.
//!
//! Role: from a text or bytes to a key that the TLS library takes, with a name for everything that
//! is none. Not role: whether it belongs to a certificate.

use rustls::pki_types::PrivateKeyDer;

use crate::error::TlsConfigFault as Fault;

use super::error::{Origin, TlsConfigError};
use super::pem::{Block, Text};
use super::x509::begins_with_sequence;

/// A key and the place of its block, for what is found out later.
pub(super) struct Key {
    pub(super) der: PrivateKeyDer<'static>,
    pub(super) origin: Origin,
    pub(super) line: u32,
}

impl Key {
    /// The one key of the text. Other blocks are left alone: many tools write key and certificate,
    /// or the curve's parameters, into one file.
    pub(super) fn from_text(text: &Text) -> Result<Self, TlsConfigError> {
        let blocks = text.blocks()?;
        let mut keys = blocks.into_iter().filter(|block| block.label.ends_with("PRIVATE KEY"));
        let Some(block) = keys.next() else {
            return Err(text.error(Fault::NoPrivateKey, 0));
        };
        if let Some(second) = keys.next() {
            return Err(text.error(Fault::SeveralPrivateKeys, second.line));
        }
        let line = block.line;
        let der = typed(text, block)?;
        Ok(Self { der, origin: text.origin.clone(), line })
    }

    pub(super) fn from_der(der: &[u8]) -> Result<Self, TlsConfigError> {
        let origin = Origin::Given("the key");
        if begins_with_sequence(der) {
            return Err(TlsConfigError::new(Fault::EncryptedKey).at(&origin, 0));
        }
        let der = PrivateKeyDer::try_from(der.to_vec()).map_err(|reason| {
            TlsConfigError::because(Fault::UnsupportedKey, reason).at(&origin, 0)
        })?;
        Ok(Self { der, origin, line: 0 })
    }

    /// An error at this key.
    pub(super) fn error(&self, fault: Fault, detail: impl std::fmt::Display) -> TlsConfigError {
        TlsConfigError::because(fault, detail).at(&self.origin, self.line)
    }
}

/// The key by the label of its block.
fn typed(text: &Text, block: Block) -> Result<PrivateKeyDer<'static>, TlsConfigError> {
    if block.has_encryption_header {
        return Err(text.error(Fault::EncryptedKey, block.line));
    }
    match block.label.as_str() {
        "PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs8(block.der.into())),
        "RSA PRIVATE KEY" => Ok(PrivateKeyDer::Pkcs1(block.der.into())),
        "EC PRIVATE KEY" => Ok(PrivateKeyDer::Sec1(block.der.into())),
        "ENCRYPTED PRIVATE KEY" => Err(text.error(Fault::EncryptedKey, block.line)),
        label => Err(text.error_because(Fault::UnsupportedKey, block.line, label)),
    }
}
