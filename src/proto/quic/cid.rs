//! Connection ids as the machine asks for them, and the random bytes in them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::hmac;
use quinn_proto::{ConnectionId, ConnectionIdGenerator, InvalidCid};

use crate::config::{CID_LEN_MAX, ConnectionIds, QuicCids, ReadyScid, ScidGenerator};

/// Bytes of a [`ScidGenerator`]'s id before its MAC.
const SCID_BODY_LEN: usize = 7;
/// The first bit of a [`ScidGenerator`]'s id is kept for a change of keys.
const NEVER_MADE: u8 = 0x80;

/// Random bytes that follow from a secret seed: an HMAC in counter mode.
pub(super) struct Draws {
    key: hmac::Key,
    drawn: AtomicU64,
}

impl Draws {
    pub(super) fn new(seed: &[u8; 32]) -> Self {
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, seed), drawn: AtomicU64::new(0) }
    }

    /// A random connection id. The peer's first one is such, and "MUST be at least 8 bytes in
    /// length" (RFC 9000 §7.2).
    pub(super) fn cid(&self) -> ConnectionId {
        ConnectionId::new(&self.bytes())
    }

    /// A random number.
    pub(super) fn number(&self) -> u64 {
        let bytes = self.bytes();
        u64::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default())
    }

    fn bytes(&self) -> [u8; CID_LEN_MAX] {
        let number = self.drawn.fetch_add(1, Ordering::Relaxed);
        let tag = hmac::sign(&self.key, &number.to_le_bytes());
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

/// The generator of one endpoint.
pub(super) struct Generator {
    kind: Kind,
    len: usize,
    draws: Draws,
}

enum Kind {
    Scid(Box<Scid>),
    Custom(Arc<dyn ConnectionIds>),
}

/// What makes ids that name the shard.
struct Scid {
    scid: ReadyScid,
    /// Of the MAC.
    key: hmac::Key,
}

impl Generator {
    /// `key` is for the MAC, `seed` for what is random.
    pub(super) fn new(cids: &QuicCids, key: &[u8; 16], seed: &[u8; 32]) -> Self {
        let own = |ids: Arc<dyn ConnectionIds>| {
            // The length was checked, but is the application's to tell.
            let len = ids.id_len().clamp(4, CID_LEN_MAX);
            (Kind::Custom(ids), len)
        };
        let (kind, len) = match cids {
            QuicCids::Scid(scid) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, key);
                let scid = ReadyScid::new(*scid);
                (Kind::Scid(Box::new(Scid { scid, key })), ScidGenerator::CID_LEN)
            }
            QuicCids::Custom(ids) => own(Arc::clone(ids)),
            // Who is no shard of a cluster is the only one.
            QuicCids::PerShard(make) => own(make(0)),
        };
        Self { kind, len, draws: Draws::new(seed) }
    }
}

impl ConnectionIdGenerator for Generator {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = self.draws.bytes();
        let id = bytes.get_mut(..self.len).unwrap_or_default();
        match &self.kind {
            Kind::Scid(scid) => scid.write(id),
            Kind::Custom(ids) => ids.write(id),
        }
        ConnectionId::new(id)
    }

    fn validate(&self, cid: &ConnectionId) -> Result<(), InvalidCid> {
        let is_ours = match &self.kind {
            Kind::Scid(scid) => is_scid(&scid.key, cid),
            Kind::Custom(ids) => ids.is_ours(cid),
        };
        if is_ours { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        self.len
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

impl Scid {
    fn write(&self, cid: &mut [u8]) {
        let Some((body, mac)) = cid.split_first_chunk_mut::<SCID_BODY_LEN>() else { return };
        let [_, _, random @ ..] = *body;
        *body = self.scid.encode(random);
        let tag = hmac::sign(&self.key, body);
        mac.iter_mut().zip(tag.as_ref()).for_each(|(mac, tag)| *mac = *tag);
    }
}

/// Whether whoever has the key made it, clear or covered. Not in constant time: a MAC of three
/// bytes keeps no secret, it saves answers to noise.
pub(super) fn is_scid(key: &hmac::Key, cid: &[u8]) -> bool {
    let Some((body, mac)) = cid.split_first_chunk::<SCID_BODY_LEN>() else { return false };
    let [first, ..] = *body;
    let is_such = cid.len() == ScidGenerator::CID_LEN && first & NEVER_MADE == 0;
    is_such && hmac::sign(key, body).as_ref().starts_with(mac)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::config::ScidCover;

    fn generator(scid: ScidGenerator, key: u8, seed: u8) -> Generator {
        Generator::new(&QuicCids::Scid(scid), &[key; 16], &[seed; 32])
    }

    #[test]
    fn ids_name_their_shard_and_are_known() {
        for shard_bits in 0..=14 {
            let shard = (1_u32 << shard_bits) as u16 - 1;
            let scid = ScidGenerator::new(0, shard, shard_bits).unwrap();
            let mut own = generator(scid, 1, 2);
            let sibling = generator(ScidGenerator::default(), 1, 3);
            let stranger = generator(scid, 2, 2);
            assert_eq!(own.cid_len(), ScidGenerator::CID_LEN);
            for _ in 0..700 {
                let cid = own.generate_cid();
                assert_eq!(cid.len(), ScidGenerator::CID_LEN);
                assert_eq!(ScidGenerator::id_of(&cid), Some(shard));
                assert!(own.validate(&cid).is_ok() && sibling.validate(&cid).is_ok());
                assert!(stranger.validate(&cid).is_err());
            }
        }
    }

    #[test]
    fn covered_ids_are_known_too() {
        let keys = crate::config::QuicKeys::from_bytes(&[3; crate::config::QuicKeys::LEN]);
        let clear = ScidGenerator::new(5, 2, 3).unwrap();
        for cover in [ScidCover::Light, ScidCover::Strong] {
            let scid = clear.covered(cover, &keys);
            let mut own = generator(scid, 1, 2);
            let sibling = generator(clear, 1, 3);
            for _ in 0..100 {
                let cid = own.generate_cid();
                assert_eq!((scid.decode(&cid), clear.decode(&cid)), (Some((5, 2)), None));
                assert!(own.validate(&cid).is_ok() && sibling.validate(&cid).is_ok());
                let mut other = cid.to_vec();
                other[0] |= NEVER_MADE;
                let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &[1; 16]), &other[..7]);
                other[7..].copy_from_slice(&mac.as_ref()[..3]);
                assert!(own.validate(&ConnectionId::new(&other)).is_err());
            }
        }
    }

    #[test]
    fn made_up_ids_are_not_known() {
        let own = generator(ScidGenerator::default(), 1, 2);
        let mut rng = crate::rng::Rng::from_seed(4);
        for _ in 0..10_000 {
            let bytes: Vec<u8> = (0..rng.below(21)).map(|_| rng.u64() as u8).collect();
            // One in 2^24 of those of the right length would be taken for ours.
            assert!(own.validate(&ConnectionId::new(&bytes)).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn none_comes_twice() {
        let mut own = generator(ScidGenerator::default(), 1, 2);
        // 40 random bits collide by chance once in 2^40 / 2^33 draws of 2^17.
        let seen: HashSet<_> = (0..100_000).map(|_| own.generate_cid()).collect();
        assert!(seen.len() >= 99_999, "{}", seen.len());
        let draws = Draws::new(&[7; 32]);
        let seen: HashSet<_> = (0..100_000).map(|_| draws.cid()).collect();
        assert_eq!(seen.len(), 100_000);
        assert_eq!(Draws::new(&[7; 32]).cid(), Draws::new(&[7; 32]).cid());
        assert_ne!(Draws::new(&[7; 32]).cid(), Draws::new(&[8; 32]).cid());
    }

    #[test]
    fn an_application_makes_its_own() {
        struct Marked;
        impl ConnectionIds for Marked {
            fn id_len(&self) -> usize {
                8
            }
            fn write(&self, id: &mut [u8]) {
                id[0] = 0xAB;
            }
            fn is_ours(&self, id: &[u8]) -> bool {
                id.len() == 8 && id[0] == 0xAB
            }
        }
        let mut own = Generator::new(&QuicCids::Custom(Arc::new(Marked)), &[1; 16], &[2; 32]);
        let (one, two) = (own.generate_cid(), own.generate_cid());
        assert!(one != two && one.len() == 8 && one[0] == 0xAB && two[0] == 0xAB);
        assert!(own.validate(&one).is_ok());
        assert!(own.validate(&ConnectionId::new(&[1; 8])).is_err());
    }
}
