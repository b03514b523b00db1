//! What our connection ids look like: RFC 9000 §5.1.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;

use super::QuicKeys;
use crate::config::cover::Speck;
use crate::config::{ScidCover, check};
use crate::error::{IoError, Result};

/// RFC 9000 §17.2: "this value MUST NOT exceed 20 bytes".
pub(crate) const CID_LEN_MAX: usize = 20;

/// Connection ids of one's own making, for a load balancer that reads something from them.
pub trait ConnectionIds: Send + Sync {
    /// Bytes of every id, 4 to 20; always the same.
    fn id_len(&self) -> usize;

    /// Makes an id of `id`, which comes filled with random bytes. Enough of them must stay that ids
    /// do not repeat.
    fn write(&self, id: &mut [u8]);

    /// Whether such an id may have been made here. What is denied gets no stateless reset.
    fn is_ours(&self, id: &[u8]) -> bool;

    /// On a cluster ([`QuicCids::PerShard`]), the shard whose generator makes such ids: packets
    /// with one that came to another shard are passed on to it. Whoever can send packets chooses
    /// what is asked here, so it had better be something that only the generator can have made;
    /// [`is_ours`](Self::is_ours) said yes to it before. `None`, and a shard that there is not: it
    /// is dealt with where it came.
    fn shard_of(&self, id: &[u8]) -> Option<u16> {
        let _ = id;
        None
    }
}

/// Connection ids by which packets find their machine and shard.
///
/// ```text
/// byte 0      2           7            10
///      | ccid | 5 random  | 3 of a MAC |
/// ```
///
/// `id` is 14 bits: the server's number above the shard's. The two bits `cc` are 00 when it is
/// clear, and 01 when it is covered: 14 bits that follow from the last four random bytes
/// ([`ScidCover::Light`]) or from all five ([`ScidCover::Strong`]) are added to it, bit by bit. The
/// MAC, under [`QuicKeys`], tells ids that were made here, or by whoever has the same keys, from
/// made-up ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScidGenerator {
    id: u16,
    shard_bits: u32,
    cover: Cover,
}

/// What hides the numbers, with its key.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Cover {
    #[default]
    Clear,
    Light(Speck),
    Strong([u8; 16]),
}

impl Cover {
    /// The first two bits of ids, where they stand.
    const fn code(&self) -> u16 {
        match self {
            Self::Clear => 0,
            Self::Light(_) | Self::Strong(_) => ScidGenerator::SERVER_ID_MASK + 1,
        }
    }

    /// The key of the strong one, made ready.
    fn strong_key(&self) -> Option<hmac::Key> {
        let Self::Strong(key) = self else { return None };
        Some(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// What is added to the numbers; `strong` is what `strong_key` gave.
    fn pad(&self, strong: Option<&hmac::Key>, random: [u8; 5]) -> u16 {
        let [_, block @ ..] = random;
        let pad = match (self, strong) {
            (Self::Light(speck), _) => speck.encrypt(block) as u16,
            (Self::Strong(_), Some(key)) => {
                let tag = hmac::sign(key, &random);
                tag.as_ref().first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes))
            }
            _ => 0,
        };
        pad & ScidGenerator::SERVER_ID_MASK
    }
}

impl fmt::Debug for Cover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clear => "Clear",
            Self::Light(_) => "Light(..)",
            Self::Strong(_) => "Strong(..)",
        })
    }
}

impl ScidGenerator {
    /// The bits of server and shard together.
    pub const SERVER_ID_MASK: u16 = 0x3FFF;
    /// Bytes of an id.
    pub const CID_LEN: usize = 10;

    const ID_BITS: u32 = Self::SERVER_ID_MASK.count_ones();

    /// For shard `shard_id` of 2^`shard_bits` on server `server_id`; both numbers share 14 bits.
    ///
    /// # Errors
    /// [`IoError::InvalidConfig`] when a number has more bits than are left for it.
    pub fn new(server_id: u16, shard_id: u16, shard_bits: u32) -> Result<Self> {
        let bad = |field, value: u64, range| Err(IoError::InvalidConfig { field, value, range });
        if shard_bits > Self::ID_BITS {
            return bad("ScidGenerator::shard_bits", shard_bits.into(), "0 to 14");
        }
        if u32::from(shard_id) >> shard_bits != 0 {
            return bad("ScidGenerator::shard_id", shard_id.into(), "below 2^shard_bits");
        }
        if u32::from(server_id) >> (Self::ID_BITS - shard_bits) != 0 {
            return bad("ScidGenerator::server_id", server_id.into(), "below 2^(14 - shard_bits)");
        }
        // All 14 bits may be the shard's: then the server's number is 0, and is not shifted out.
        let server = u32::from(server_id) << shard_bits;
        Ok(Self { id: server as u16 | shard_id, shard_bits, cover: Cover::Clear })
    }

    /// The same, with the numbers hidden under keys. Whoever is to read them needs the same.
    #[must_use]
    pub fn covered(self, cover: ScidCover, keys: &QuicKeys) -> Self {
        let cover = match cover {
            ScidCover::Clear => Cover::Clear,
            ScidCover::Light => Cover::Light(Speck::new(keys.cover_key())),
            ScidCover::Strong => Cover::Strong(keys.strong_cover_key()),
        };
        Self { cover, ..self }
    }

    /// How the numbers are hidden.
    #[must_use]
    pub const fn cover(&self) -> ScidCover {
        match self.cover {
            Cover::Clear => ScidCover::Clear,
            Cover::Light(_) => ScidCover::Light,
            Cover::Strong(_) => ScidCover::Strong,
        }
    }

    /// Bits of the shard's number.
    #[must_use]
    pub const fn shard_bits(&self) -> u32 {
        self.shard_bits
    }

    /// An id but for its MAC, around random bytes.
    #[must_use]
    pub fn encode(&self, random: [u8; 5]) -> [u8; 7] {
        self.encode_with(self.cover.strong_key().as_ref(), random)
    }

    fn encode_with(&self, strong: Option<&hmac::Key>, random: [u8; 5]) -> [u8; 7] {
        let first = self.cover.code() | (self.id ^ self.cover.pad(strong, random));
        let ([a, b], [c, d, e, f, g]) = (first.to_be_bytes(), random);
        [a, b, c, d, e, f, g]
    }

    /// The server's and the shard's number in a connection id, if it has the length and the first
    /// two bits of those that this one makes. Whether somebody made it up is not looked at.
    #[must_use]
    pub fn decode(&self, cid: &[u8]) -> Option<(u16, u16)> {
        self.decode_with(self.cover.strong_key().as_ref(), cid)
    }

    fn decode_with(&self, strong: Option<&hmac::Key>, cid: &[u8]) -> Option<(u16, u16)> {
        let (first, rest) = cid.split_first_chunk()?;
        let (random, mac) = rest.split_first_chunk()?;
        let first = u16::from_be_bytes(*first);
        if mac.len() != 3 || first & !Self::SERVER_ID_MASK != self.cover.code() {
            return None;
        }
        let id = (first & Self::SERVER_ID_MASK) ^ self.cover.pad(strong, *random);
        let shard = u32::from(id) & ((1 << self.shard_bits) - 1);
        Some((id >> self.shard_bits, shard as u16))
    }

    /// The server's number.
    #[must_use]
    pub const fn server_id(&self) -> u16 {
        self.id >> self.shard_bits
    }

    /// The shard's number.
    #[must_use]
    pub const fn shard_id(&self) -> u16 {
        self.id & ((1_u32 << self.shard_bits) - 1) as u16
    }

    /// The same of another shard, whose number has no more bits.
    pub(crate) const fn of_shard(self, shard: u16) -> Self {
        Self { id: self.id - self.shard_id() + shard, ..self }
    }

    /// Both numbers, as they stand in the first two bytes of a clear id.
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.id
    }

    /// The numbers in a clear connection id, if it has the length and the first bits of these.
    #[must_use]
    pub fn id_of(cid: &[u8]) -> Option<u16> {
        let id = u16::from_be_bytes(*cid.first_chunk()?);
        (cid.len() == Self::CID_LEN && id & !Self::SERVER_ID_MASK == 0).then_some(id)
    }
}

/// A generator with its key made ready, for whoever makes or reads many ids.
pub(crate) struct ReadyScid {
    scid: ScidGenerator,
    strong: Option<hmac::Key>,
}

impl ReadyScid {
    pub(crate) fn new(scid: ScidGenerator) -> Self {
        Self { scid, strong: scid.cover.strong_key() }
    }

    /// What it was made of.
    pub(crate) const fn scid(&self) -> &ScidGenerator {
        &self.scid
    }

    /// As [`ScidGenerator::encode`].
    pub(crate) fn encode(&self, random: [u8; 5]) -> [u8; 7] {
        self.scid.encode_with(self.strong.as_ref(), random)
    }

    /// As [`ScidGenerator::decode`].
    pub(crate) fn decode(&self, cid: &[u8]) -> Option<(u16, u16)> {
        self.scid.decode_with(self.strong.as_ref(), cid)
    }
}

/// Who makes our connection ids.
#[derive(Clone)]
#[non_exhaustive]
pub enum QuicCids {
    /// Ids that name the shard. The default, with server and shard 0.
    Scid(ScidGenerator),
    /// The application.
    Custom(Arc<dyn ConnectionIds>),
    /// The application, on a cluster: the generator of each shard, by its number. It is asked for
    /// when the listener is made, and for each life of a shard. What one makes, all others know:
    /// their ids have the same length, [`is_ours`](ConnectionIds::is_ours) and
    /// [`shard_of`](ConnectionIds::shard_of) say the same on each. An `Io` alone has shard 0's.
    ///
    /// No program in the kernel reads them: the kernel spreads packets by a hash of the addresses,
    /// and shards pass on what is another's.
    PerShard(Arc<dyn Fn(u16) -> Arc<dyn ConnectionIds> + Send + Sync>),
}

impl QuicCids {
    pub(super) fn validate(&self) -> Result<()> {
        let Self::Custom(ids) = self.of_shard(0) else { return Ok(()) };
        let len = ids.id_len();
        check("ConnectionIds::id_len", len, (4..=CID_LEN_MAX).contains(&len), "4 to 20 bytes")
    }

    /// The same as one shard of a cluster has it; never `PerShard`.
    pub(crate) fn of_shard(&self, shard: u16) -> Self {
        match self {
            Self::Scid(scid) => Self::Scid(scid.of_shard(shard)),
            Self::Custom(ids) => Self::Custom(Arc::clone(ids)),
            Self::PerShard(make) => Self::Custom(make(shard)),
        }
    }
}

impl Default for QuicCids {
    fn default() -> Self {
        Self::Scid(ScidGenerator::default())
    }
}

impl fmt::Debug for QuicCids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scid(scid) => scid.fmt(f),
            Self::Custom(ids) => write!(f, "Custom({} bytes)", ids.id_len()),
            Self::PerShard(_) => f.write_str("PerShard(..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_share_14_bits() {
        for shard_bits in 0..=14 {
            let (server, shard) =
                ((1_u32 << (14 - shard_bits)) - 1, (1_u32 << shard_bits).wrapping_sub(1));
            let scid = ScidGenerator::new(server as u16, shard as u16, shard_bits).unwrap();
            assert_eq!((u32::from(scid.server_id()), u32::from(scid.shard_id())), (server, shard));
            assert_eq!(scid.id(), 0x3FFF);
            assert_eq!(scid.shard_bits(), shard_bits);
            let first = scid.of_shard(0);
            assert_eq!((first.server_id(), first.shard_id()), (server as u16, 0));
            assert_eq!(first.of_shard(shard as u16), scid);
            let id = [[0x3F, 0xFF].as_slice(), &[7; 8]].concat();
            assert_eq!(scid.decode(&id), Some((server as u16, shard as u16)));
            assert_eq!(scid.decode(&id[1..]), None);
            let over = ScidGenerator::new(server as u16 + 1, shard as u16, shard_bits);
            assert!(over.unwrap_err().to_string().contains("server_id"));
            let over = ScidGenerator::new(server as u16, shard as u16 + 1, shard_bits);
            assert!(over.unwrap_err().to_string().contains("shard_id"));
        }
        assert!(ScidGenerator::new(0, 0, 15).is_err());
    }

    fn keys(byte: u8) -> QuicKeys {
        QuicKeys::from_bytes(&[byte; QuicKeys::LEN])
    }

    const COVERS: [ScidCover; 3] = [ScidCover::Clear, ScidCover::Light, ScidCover::Strong];

    /// All 16,384 pairs of numbers for every split of the bits.
    #[test]
    fn what_was_encoded_is_decoded() {
        let keys = keys(5);
        for cover in COVERS {
            // The strong one takes a hash for each.
            let step = if cover == ScidCover::Strong { 61 } else { 1 };
            for shard_bits in 0..=14 {
                for id in (0..1_u32 << 14).step_by(step) {
                    let server = (id >> shard_bits) as u16;
                    let shard = (id & ((1 << shard_bits) - 1)) as u16;
                    let scid = ScidGenerator::new(server, shard, shard_bits).unwrap();
                    let scid = scid.covered(cover, &keys);
                    let random = u64::from(id).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
                    let body = scid.encode(*random.first_chunk().unwrap());
                    assert_eq!(body[2..], random[..5]);
                    let cid = [&body[..], &[1, 2, 3]].concat();
                    assert_eq!(scid.decode(&cid), Some((server, shard)));
                    if id % 61 == 0 {
                        let ready = ReadyScid::new(scid);
                        assert_eq!(body, ready.encode(*random.first_chunk().unwrap()));
                        assert_eq!(ready.decode(&cid), Some((server, shard)));
                    }
                    let is_clear = cover == ScidCover::Clear;
                    assert_eq!(ScidGenerator::id_of(&cid), is_clear.then_some(id as u16));
                    assert_eq!((scid.cover(), scid.shard_bits()), (cover, shard_bits));
                }
            }
        }
    }

    #[test]
    fn other_ids_are_not_decoded() {
        for cover in COVERS {
            let scid = ScidGenerator::new(3, 1, 2).unwrap().covered(cover, &keys(1));
            let body = scid.encode([9; 5]);
            let cid = [&body[..], &[0; 3]].concat();
            assert_eq!(scid.decode(&cid), Some((3, 1)));
            for len in (0..10).chain([11, 20]) {
                let other = [&cid[..], &[0; 10]].concat();
                assert_eq!(scid.decode(&other[..len]), None, "{len}");
            }
            for bits in [0x40, 0x80, 0xC0] {
                let mut other = cid.clone();
                other[0] ^= bits;
                assert_eq!(scid.decode(&other), None);
            }
        }
    }

    /// Ids of one shard look alike when they are clear, and like any other one's when not.
    #[test]
    fn covers_hide_the_shard() {
        for cover in [ScidCover::Light, ScidCover::Strong] {
            let scid = |byte| ScidGenerator::new(0, 1, 1).unwrap().covered(cover, &keys(byte));
            let first = |byte, n: u16| {
                let [a, b] = n.to_be_bytes();
                let [c, d, ..] = scid(byte).encode([0, 0, 0, a, b]);
                u16::from_be_bytes([c, d]) & 1
            };
            let ones = (0..1000).map(|n| first(1, n)).sum::<u16>();
            assert!((400..600).contains(&ones), "{ones}");
            assert!((0..100).any(|n| first(1, n) != first(2, n)), "the key matters");
            assert!(!format!("{:?}", scid(1)).contains('['), "and is not shown");
        }
    }

    #[test]
    fn the_id_is_read_from_the_first_bytes() {
        assert_eq!(ScidGenerator::id_of(&[0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0]), Some(0x1234));
        assert_eq!(ScidGenerator::id_of(&[0x52, 0x34, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(ScidGenerator::id_of(&[0x12, 0x34, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(ScidGenerator::id_of(&[]), None);
    }
}
