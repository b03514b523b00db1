//! Pins: the peer's certificate is known beforehand, by its hash or by the hash of its key.

use aws_lc_rs::digest::{SHA256, digest};

use crate::error::TlsConfigFault as Fault;

use super::base64;
use super::error::TlsConfigError;
use super::x509::Certificate;

/// Pins of one configuration: present ones and spares.
const PINS_MAX: usize = 64;

/// What the server's own certificate must be: one of a set of certificates or of public keys.
///
/// A pin names the *leaf*, never an issuer: what else a peer sends in its chain is of its own
/// choosing, and a pinned certificate among it proves nothing. To trust one authority only, give
/// that one as root (`Roots::from_der`).
///
/// Pins of both kinds may be mixed; one that fits is enough.
#[derive(Debug, Clone, Default)]
pub struct Pins {
    pins: Vec<Pin>,
    /// The first text that was no hash: `build()` tells.
    unreadable: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pin {
    Certificate([u8; 32]),
    PublicKey([u8; 32]),
}

impl Pins {
    /// None yet. At least one and at most 64 are needed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The SHA-256 of the public key: of the whole `SubjectPublicKeyInfo` in DER, RFC 7469 §2.4. It
    /// outlives a renewal that keeps the key.
    #[must_use]
    pub fn spki_sha256(mut self, hash: [u8; 32]) -> Self {
        self.pins.push(Pin::PublicKey(hash));
        self
    }

    /// The same as text: base64, also with curl's `sha256//` before it, or 64 hexadecimal digits.
    #[must_use]
    pub fn spki_sha256_text(self, text: &str) -> Self {
        match hash_of(text) {
            Some(hash) => self.spki_sha256(hash),
            None => Self { unreadable: self.unreadable.or_else(|| Some(text.to_owned())), ..self },
        }
    }

    /// The SHA-256 of the whole certificate in DER: this very certificate.
    #[must_use]
    pub fn certificate_sha256(mut self, hash: [u8; 32]) -> Self {
        self.pins.push(Pin::Certificate(hash));
        self
    }

    /// This very certificate, in DER.
    #[must_use]
    pub fn certificate_der(self, der: &[u8]) -> Self {
        self.certificate_sha256(sha256(der))
    }

    pub(super) fn validate(&self) -> Result<(), TlsConfigError> {
        if let Some(text) = &self.unreadable {
            return Err(TlsConfigError::because(Fault::BadPin, format!("{text:?}")));
        }
        if !(1..=PINS_MAX).contains(&self.pins.len()) {
            let detail = format!("{} pins, 1 to {PINS_MAX} are possible", self.pins.len());
            return Err(TlsConfigError::because(Fault::BadPin, detail));
        }
        Ok(())
    }

    /// Whether one of them is for this certificate.
    pub(super) fn fit(&self, der: &[u8]) -> bool {
        let certificate = Pin::Certificate(sha256(der));
        let public_key = Certificate::parse(der).map(|c| Pin::PublicKey(sha256(c.public_key)));
        self.pins.iter().any(|pin| *pin == certificate || Some(*pin) == public_key)
    }
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

fn hash_of(text: &str) -> Option<[u8; 32]> {
    if text.len() == 64 {
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        return Some(hash);
    }
    base64::decode(text.strip_prefix("sha256//").unwrap_or(text))?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_in_all_its_spellings() {
        let hash = sha256(b"");
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let base64 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        for text in [hex, &hex.to_uppercase(), base64, &format!("sha256//{base64}")] {
            assert_eq!(hash_of(text), Some(hash), "{text}");
        }
        let bad = ["", "00", "sha256//", &hex[1..], &hex.replace("e3", "+3"), &base64[1..]];
        for text in bad {
            assert_eq!(hash_of(text), None, "{text}");
            let error = Pins::new().spki_sha256_text(text).validate().unwrap_err();
            assert_eq!(error.fault(), Fault::BadPin, "{text}");
        }
    }

    #[test]
    fn some_and_not_too_many() {
        let many = |count| (0..count).fold(Pins::new(), |pins, _| pins.spki_sha256([0; 32]));
        assert_eq!(many(0).validate().unwrap_err().fault(), Fault::BadPin);
        assert_eq!(many(PINS_MAX).validate(), Ok(()));
        assert_eq!(many(PINS_MAX + 1).validate().unwrap_err().fault(), Fault::BadPin);
    }

    #[test]
    fn the_key_or_the_certificate() {
        let make = || rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let (ours, other) = (make(), make());
        let der = ours.cert.der();
        let key = sha256(Certificate::parse(der).unwrap().public_key);
        for pins in [
            Pins::new().certificate_der(der),
            Pins::new().spki_sha256(key),
            Pins::new().spki_sha256([0; 32]).certificate_der(der),
        ] {
            assert!(pins.fit(der));
            assert!(!pins.fit(other.cert.der()));
            assert!(!pins.fit(b""));
        }
        // A hash of one kind is no pin of the other.
        assert!(!Pins::new().certificate_sha256(key).fit(der));
        assert!(!Pins::new().spki_sha256(sha256(der)).fit(der));
    }
}
