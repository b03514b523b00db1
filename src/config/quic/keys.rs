//! The secrets of an endpoint that outlive its connections.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use zeroize::Zeroize;

use super::used::UsedTokens;
use crate::error::{IoError, Result};

/// Keys of an endpoint. Shards and machines that are given the same ones know each other's
/// stateless resets, retry tokens and connection ids: after a restart a peer learns at once that
/// its connection is gone (RFC 9000 §10.3), and a client that is asked to retry may come to
/// another shard.
///
/// Clones also know which tokens were used. Keys that were made of the same bytes twice do not: a
/// token is then good once with each.
///
/// Whoever has them can end connections and forge addresses: keep them like a certificate's key.
#[derive(Clone)]
pub struct QuicKeys {
    /// Of stateless resets.
    pub(crate) reset: [u8; 64],
    /// Of tokens.
    pub(crate) token: [u8; 64],
    /// Of what tells our connection ids from made-up ones.
    pub(crate) cid: [u8; 16],
    /// Tokens of these keys that were used.
    pub(crate) used: Arc<UsedTokens>,
}

impl QuicKeys {
    /// Bytes of all keys together.
    pub const LEN: usize = 64 + 64 + 16;

    /// Random keys, to be given to several endpoints.
    ///
    /// # Errors
    /// [`IoError::Os`] when the system has no entropy.
    pub fn random() -> Result<Self> {
        let mut bytes = [0; Self::LEN];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| IoError::os("getrandom", libc::EIO))?;
        let keys = Self::from_bytes(&bytes);
        bytes.zeroize();
        Ok(keys)
    }

    /// The keys that those bytes are, which must be random and secret.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let used = Arc::new(UsedTokens::new());
        let mut keys = Self { reset: [0; 64], token: [0; 64], cid: [0; 16], used };
        keys.reset.copy_from_slice(&bytes[..64]);
        keys.token.copy_from_slice(&bytes[64..128]);
        keys.cid.copy_from_slice(&bytes[128..]);
        keys
    }

    /// The key of [`ScidCover::Light`](crate::ScidCover::Light), for a load balancer that reads
    /// such ids: four words of Speck32/64, that of the first round last.
    #[must_use]
    pub fn cover_key(&self) -> [u16; 4] {
        let [a, b, c, d, e, f, g, h] = self.derived(b"cover");
        [[a, b], [c, d], [e, f], [g, h]].map(u16::from_be_bytes)
    }

    /// The key of [`ScidCover::Strong`](crate::ScidCover::Strong).
    pub(crate) fn strong_cover_key(&self) -> [u8; 16] {
        self.derived(b"strong cover")
    }

    /// A key that follows from that of ids.
    fn derived<const LEN: usize>(&self, name: &[u8]) -> [u8; LEN] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.cid), name);
        tag.as_ref().first_chunk().copied().unwrap_or([0; LEN])
    }
}

impl Drop for QuicKeys {
    fn drop(&mut self) {
        self.reset.zeroize();
        self.token.zeroize();
        self.cid.zeroize();
    }
}

impl fmt::Debug for QuicKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QuicKeys(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts_and_none_is_shown() {
        let bytes = std::array::from_fn(|i| i as u8);
        let keys = QuicKeys::from_bytes(&bytes);
        assert_eq!(
            (keys.reset[63], keys.token[0], keys.token[63], keys.cid[0]),
            (63, 64, 127, 128)
        );
        assert_eq!(format!("{keys:?}"), "QuicKeys(..)");
        assert_ne!(keys.strong_cover_key()[..8], keys.cover_key().map(u16::to_be_bytes).concat());
        let (one, two) = (QuicKeys::random().unwrap(), QuicKeys::random().unwrap());
        assert_ne!(one.reset, two.reset);
    }
}
