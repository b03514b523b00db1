//! [`Forge`]: seals whatever a test wants, by an implementation of its own.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};

use super::Parts;
use super::ends::Ours;
use crate::config::TlsVersion;
use crate::proto::tls::cipher::Cipher;
use crate::proto::tls::session::Session;

/// What was one of our ends, and now sends anything at all.
pub(super) struct Forge {
    key: LessSafeKey,
    iv: [u8; 12],
    pub(super) seq: u64,
    version: TlsVersion,
    is_gcm: bool,
    session: Session,
    pub(super) rx: Cipher,
}

impl Forge {
    pub(super) fn new(end: Ours) -> Self {
        let Parts { tx, rx, session, info } = end.tls.into_parts();
        let seq = tx.seq();
        let tx = tx.into_secret();
        let (key, is_gcm) = Self::key(info.cipher_suite, tx.key());
        Self { key, iv: *tx.iv(), seq, version: info.version, is_gcm, session, rx }
    }

    fn key(suite: &str, bytes: &[u8]) -> (LessSafeKey, bool) {
        let is_chacha = suite.contains("CHACHA20");
        let algorithm = match bytes.len() {
            16 => &AES_128_GCM,
            _ if is_chacha => &CHACHA20_POLY1305,
            _ => &AES_256_GCM,
        };
        (LessSafeKey::new(UnboundKey::new(algorithm, bytes).unwrap()), !is_chacha)
    }

    /// A record with this outside and this inside. TLS 1.3: `content` ends with type and padding.
    pub(super) fn record(&mut self, outer: u8, content: &[u8]) -> Vec<u8> {
        let mut nonce = self.iv;
        for (byte, seq) in nonce[4..].iter_mut().zip(self.seq.to_be_bytes()) {
            *byte ^= seq;
        }
        let explicit = if self.version == TlsVersion::Tls12 && self.is_gcm { 8 } else { 0 };
        let len = ((explicit + content.len() + 16) as u16).to_be_bytes();
        let mut record = vec![outer, 3, 3, len[0], len[1]];
        let aad = match self.version {
            TlsVersion::Tls13 => record.clone(),
            TlsVersion::Tls12 => {
                let plain_len = (content.len() as u16).to_be_bytes();
                let mut aad = self.seq.to_be_bytes().to_vec();
                aad.extend([outer, 3, 3, plain_len[0], plain_len[1]]);
                aad
            }
        };
        record.extend(&nonce[4..4 + explicit]);
        let mut sealed = content.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed).unwrap();
        record.extend(sealed);
        self.seq += 1;
        record
    }

    /// A record of this type in the form of the version.
    pub(super) fn typed(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        match self.version {
            TlsVersion::Tls13 => {
                let mut inner = content.to_vec();
                inner.push(kind);
                self.record(23, &inner)
            }
            TlsVersion::Tls12 => self.record(kind, content),
        }
    }

    /// A KeyUpdate, and the next key behind it.
    pub(super) fn key_update(&mut self, asks: u8) -> Vec<u8> {
        let record = self.typed(22, &[24, 0, 0, 1, asks]);
        self.turn_key();
        record
    }

    pub(super) fn turn_key(&mut self) {
        let secret = self.session.next_tx().ok().unwrap();
        let suite = if secret.key().len() == 16 { "AES_128" } else { "AES_256" };
        (self.key, self.is_gcm) = Self::key(suite, secret.key());
        self.iv = *secret.iv();
        self.seq = 0;
    }

    /// The next key of what the other end sends.
    pub(super) fn turn_rx(&mut self) {
        let secret = self.session.next_rx().ok().unwrap();
        self.rx.renew(secret).unwrap();
    }
}
