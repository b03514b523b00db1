//! [`Cipher`]: one direction's key, sequence number and record layout.
//!
//! Role: nonces, additional data, sealing and opening of one record where it lies (RFC 8446 §5.2,
//! §5.3; RFC 5288; RFC 7905). Not role: what a record means, when keys change.
//!
//! *Invariant*: a sequence number is used once. Sealing advances it before the cipher runs, so
//! that even a failed call cannot repeat a nonce; at its end the key is refused, never wrapped.

use std::ops::Range;

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use rustls::ConnectionTrafficSecrets;
use zeroize::Zeroize;

use super::failure::{Alert, Fault};
use super::wire::{
    APPLICATION_DATA, EXPLICIT_LEN, HEADER_LEN, Header, PLAIN_LEN_MAX, TAG_LEN, VERSION,
    strip_padding,
};
use crate::config::TlsVersion;
use crate::sys::ktls::{self, Key};

/// Longest key of the three ciphers.
const KEY_LEN_MAX: usize = 32;
/// RFC 8446 §5.5: up to 2^24.5 full-size records under one AES-GCM key. Refused beyond this.
const GCM_RECORDS_MAX: u64 = 1 << 24;
/// Where a new AES-GCM key is asked for, with as many records to spare.
const GCM_RECORDS_SOFT: u64 = 1 << 23;
/// "Sequence numbers MUST NOT wrap" (RFC 8446 §5.3): refused long before.
const RECORDS_MAX: u64 = 1 << 62;
/// Of these, kept from data for the key update or alert that must still go out under the key.
const RECORDS_RESERVED: u64 = 16;

/// Whether a key that sealed so many records wants a successor.
pub(crate) fn is_worn(is_gcm: bool, seq: u64, records_max: u64) -> bool {
    let cipher_max = if is_gcm { GCM_RECORDS_SOFT } else { RECORDS_MAX / 2 };
    seq + 1 >= records_max.min(cipher_max)
}

/// Whether a key that sealed so many records may seal no more data.
pub(crate) const fn is_exhausted(is_gcm: bool, seq: u64) -> bool {
    seq >= records_max(is_gcm) - RECORDS_RESERVED
}

const fn records_max(is_gcm: bool) -> u64 {
    if is_gcm { GCM_RECORDS_MAX } else { RECORDS_MAX }
}

/// A key as it came out of the handshake: kept because the kernel wants it in this form.
pub(crate) struct Secret {
    algorithm: &'static Algorithm,
    key: [u8; KEY_LEN_MAX],
    iv: [u8; NONCE_LEN],
}

impl Secret {
    pub(crate) fn new(secrets: &ConnectionTrafficSecrets) -> Option<Self> {
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return None,
        };
        let mut secret = Self { algorithm, key: [0; KEY_LEN_MAX], iv: [0; NONCE_LEN] };
        secret
            .key
            .get_mut(..algorithm.key_len())?
            .copy_from_slice(key.as_ref().get(..algorithm.key_len())?);
        secret.iv = *iv.as_ref().first_chunk()?;
        Some(secret)
    }

    pub(crate) fn key(&self) -> &[u8] {
        self.key.get(..self.algorithm.key_len()).unwrap_or_default()
    }

    pub(crate) const fn iv(&self) -> &[u8; NONCE_LEN] {
        &self.iv
    }

    fn is_gcm(&self) -> bool {
        self.algorithm != &CHACHA20_POLY1305
    }

    /// As the kernel names it.
    fn cipher(&self) -> ktls::Cipher {
        match () {
            () if self.algorithm == &AES_128_GCM => ktls::Cipher::Aes128Gcm,
            () if self.algorithm == &AES_256_GCM => ktls::Cipher::Aes256Gcm,
            () => ktls::Cipher::ChaCha20Poly1305,
        }
    }

    /// The key for the kernel to go on with; `iv` is its own or what stands in for it.
    pub(crate) fn kernel_key(&self, is_tls13: bool, iv: [u8; NONCE_LEN], seq: u64) -> Key<'_> {
        let suite = ktls::Suite { is_tls13, cipher: self.cipher() };
        Key { suite, key: self.key(), iv, seq }
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.key.zeroize();
        self.iv.zeroize();
    }
}

/// How a record is laid out and what its tag covers besides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    /// TLS 1.3: the type inside, the nonce unsaid.
    Inner,
    /// TLS 1.2, AES-GCM: eight bytes of nonce before the ciphertext.
    Explicit,
    /// TLS 1.2, ChaCha20-Poly1305: the nonce unsaid.
    Implicit,
}

/// The key is at its end, or the cipher refused the lengths: nothing was sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NotSealed;

/// One direction.
pub(crate) struct Cipher {
    aead: LessSafeKey,
    secret: Secret,
    seq: u64,
    layout: Layout,
}

impl Cipher {
    pub(crate) fn new(version: TlsVersion, seq: u64, secret: Secret) -> Option<Self> {
        let layout = match version {
            TlsVersion::Tls13 => Layout::Inner,
            TlsVersion::Tls12 if secret.is_gcm() => Layout::Explicit,
            TlsVersion::Tls12 => Layout::Implicit,
        };
        let key = UnboundKey::new(secret.algorithm, secret.key()).ok()?;
        Some(Self { aead: LessSafeKey::new(key), secret, seq, layout })
    }

    /// The next generation of the same direction: TLS 1.3 starts again at sequence number 0.
    pub(crate) fn renew(&mut self, secret: Secret) -> Option<()> {
        *self = Self::new(TlsVersion::Tls13, 0, secret)?;
        Some(())
    }

    /// The key and the number of the next record, for the kernel to go on with.
    ///
    /// TLS 1.2 with AES-GCM: the kernel counts its explicit nonces up from the last eight bytes of
    /// the IV, where we have xored the sequence number into them. It must not come by one of ours
    /// (RFC 5288 §3: "MUST be distinct"), so it starts in the other half of them, and so low there
    /// that counting never carries out of it.
    pub(crate) fn kernel_key(&self) -> Key<'_> {
        let mut iv = *self.secret.iv();
        if let (Layout::Explicit, Some(explicit)) = (self.layout, iv.last_chunk_mut::<8>()) {
            let start = (u64::from_be_bytes(*explicit) ^ 1 << 63) & !u64::from(u32::MAX);
            *explicit = start.to_be_bytes();
        }
        self.secret.kernel_key(self.layout == Layout::Inner, iv, self.seq)
    }

    pub(crate) fn is_gcm(&self) -> bool {
        self.secret.is_gcm()
    }

    #[cfg(test)]
    pub(super) const fn seq(&self) -> u64 {
        self.seq
    }

    /// As if so many records had been sealed or opened.
    #[cfg(test)]
    pub(super) const fn set_seq(&mut self, seq: u64) {
        self.seq = seq;
    }

    #[cfg(test)]
    pub(super) fn into_secret(self) -> Secret {
        self.secret
    }

    /// Whether the next record should be the last but one under this key: because `records_max`
    /// says so, or the cipher.
    pub(crate) fn is_worn(&self, records_max: u64) -> bool {
        is_worn(self.is_gcm(), self.seq, records_max)
    }

    /// Whether no more data may be sealed with this key.
    pub(crate) fn is_exhausted(&self) -> bool {
        is_exhausted(self.is_gcm(), self.seq)
    }

    /// Bytes before the payload.
    pub(crate) const fn head_len(&self) -> usize {
        HEADER_LEN + self.explicit_len()
    }

    /// Bytes behind the payload.
    pub(crate) const fn tail_len(&self) -> usize {
        match self.layout {
            Layout::Inner => 1 + TAG_LEN,
            Layout::Explicit | Layout::Implicit => TAG_LEN,
        }
    }

    const fn explicit_len(&self) -> usize {
        match self.layout {
            Layout::Explicit => EXPLICIT_LEN,
            Layout::Inner | Layout::Implicit => 0,
        }
    }

    /// RFC 8446 §5.3, and RFC 7905 §2: the sequence number, padded on the left, xor the IV. The
    /// same makes a nonce of RFC 5288 that never repeats.
    fn nonce(&self, seq: u64) -> [u8; NONCE_LEN] {
        let mut nonce = *self.secret.iv();
        let tail = nonce.iter_mut().skip(NONCE_LEN - size_of::<u64>());
        tail.zip(seq.to_be_bytes()).for_each(|(byte, seq)| *byte ^= seq);
        nonce
    }

    /// Takes a sequence number and writes a record's header, which is exactly as long as
    /// [`Self::head_len`] says.
    fn begin(
        &mut self,
        kind: u8,
        len: usize,
        head: &mut [u8],
    ) -> Result<(Nonce, Aad<Covered>), NotSealed> {
        let fits = len <= PLAIN_LEN_MAX && head.len() == self.head_len();
        if self.seq >= records_max(self.is_gcm()) || !fits {
            return Err(NotSealed);
        }
        let seq = self.seq;
        self.seq += 1;
        let kind = if self.layout == Layout::Inner { APPLICATION_DATA } else { kind };
        let body_len = self.explicit_len() + len + self.tail_len();
        let header = Header { kind, version: VERSION, body_len };
        let nonce = self.nonce(seq);
        let explicit = nonce.iter().skip(NONCE_LEN - EXPLICIT_LEN).copied();
        head.iter_mut().zip(header.bytes().into_iter().chain(explicit)).for_each(|(to, b)| *to = b);
        let aad = Aad::from(self.covered(header, seq, len));
        Ok((Nonce::assume_unique_for_key(nonce), aad))
    }

    /// Writes header and trailer of a record, and encrypts its payload from one place into another
    /// of the same length.
    pub(crate) fn seal_across(
        &mut self,
        kind: u8,
        (from, to): (&[u8], &mut [u8]),
        head: &mut [u8],
        tail: &mut [u8],
    ) -> Result<(), NotSealed> {
        let (nonce, aad) = self.begin(kind, from.len(), head)?;
        let inner = [kind];
        let extra = if self.layout == Layout::Inner { inner.as_slice() } else { &[] };
        let done = self.aead.seal_out_of_place_scatter(nonce, aad, from, to, extra, tail);
        done.map_err(|_| NotSealed)
    }

    /// The same where the payload lies, with room for the trailer right behind it in `body`: the
    /// inner type joins the payload, and the cipher has one run instead of two.
    pub(crate) fn seal_joined(
        &mut self,
        kind: u8,
        body: &mut [u8],
        head: &mut [u8],
    ) -> Result<(), NotSealed> {
        let len = body.len().checked_sub(self.tail_len()).ok_or(NotSealed)?;
        let (text, tag) = body.split_last_chunk_mut::<TAG_LEN>().ok_or(NotSealed)?;
        if let (Layout::Inner, Some(inner)) = (self.layout, text.last_mut()) {
            *inner = kind;
        }
        let (nonce, aad) = self.begin(kind, len, head)?;
        self.aead.seal_in_place_scatter(nonce, aad, text, &[], tag).map_err(|_| NotSealed)
    }

    /// Opens the body of a record in place: its content type, and where the content lies in
    /// `body`.
    pub(crate) fn open(
        &mut self,
        header: Header,
        body: &mut [u8],
    ) -> Result<(u8, Range<usize>), Fault> {
        const BAD: Fault = Fault::Refused(Alert::BAD_RECORD_MAC, "a record failed authentication");
        let start = self.explicit_len();
        let seq = self.seq;
        // A peer that sealed this many has used its key beyond every limit.
        self.seq = seq.checked_add(1).ok_or(BAD)?;
        let (explicit, sealed) = body.split_at_mut_checked(start).ok_or(BAD)?;
        let (text, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(BAD)?;
        let mut nonce = self.nonce(seq);
        let sent = nonce.iter_mut().skip(NONCE_LEN - EXPLICIT_LEN);
        sent.zip(explicit).for_each(|(to, byte)| *to = *byte);
        let aad = Aad::from(self.covered(header, seq, text.len()));
        let nonce = Nonce::assume_unique_for_key(nonce);
        let text = self.aead.open_in_place_separate_tag(nonce, aad, tag, text).map_err(|_| BAD)?;
        let (kind, len) = match self.layout {
            Layout::Inner => Self::unwrap_inner(text)?,
            Layout::Explicit | Layout::Implicit => (header.kind, text.len()),
        };
        if len > PLAIN_LEN_MAX {
            return Err(Fault::Refused(Alert::RECORD_OVERFLOW, "a record's content is too long"));
        }
        Ok((kind, start..start + len))
    }

    fn unwrap_inner(inner: &[u8]) -> Result<(u8, usize), Fault> {
        // RFC 8446 §5.4: "The full encoded TLSInnerPlaintext MUST NOT exceed 2^14 + 1 octets."
        if inner.len() > PLAIN_LEN_MAX + 1 {
            return Err(Fault::Refused(Alert::RECORD_OVERFLOW, "a record's content is too long"));
        }
        // RFC 8446 §5.4: "If a receiving implementation does not find a non-zero octet in the
        // cleartext, it MUST terminate the connection with an "unexpected_message" alert."
        strip_padding(inner)
            .ok_or(Fault::Refused(Alert::UNEXPECTED_MESSAGE, "a record of zeros has no type"))
    }

    /// What the tag covers besides the payload. TLS 1.3: the header as it came (RFC 8446 §5.2);
    /// TLS 1.2: sequence number and a header with the length of the payload (RFC 5246 §6.2.3.3).
    fn covered(&self, header: Header, seq: u64, plain_len: usize) -> Covered {
        if self.layout == Layout::Inner {
            return Covered::Header(header.bytes());
        }
        let mut pseudo = [0; 8 + HEADER_LEN];
        let header = Header { body_len: plain_len, ..header }.bytes();
        let bytes = seq.to_be_bytes().into_iter().chain(header);
        pseudo.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
        Covered::Pseudo(pseudo)
    }
}

/// Additional data, without a heap.
enum Covered {
    Header([u8; HEADER_LEN]),
    Pseudo([u8; 8 + HEADER_LEN]),
}

impl AsRef<[u8]> for Covered {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Header(bytes) => bytes,
            Self::Pseudo(bytes) => bytes,
        }
    }
}
