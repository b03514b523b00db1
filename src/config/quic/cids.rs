//! What our connection ids look like: RFC 9000 §5.1.

use std::fmt;
use std::sync::Arc;

use crate::error::{IoError, Result};

/// Connection ids of one's own making, for a load balancer that reads something from them.
pub trait ConnectionIds: Send + Sync {
    /// Bytes of every id, 4 to 20; always the same.
    fn id_len(&self) -> usize;

    /// Makes an id of `id`, which comes filled with random bytes. Enough of them must stay that ids
    /// do not repeat.
    fn write(&self, id: &mut [u8]);

    /// Whether such an id may have been made here. What is denied gets no stateless reset.
    fn is_ours(&self, id: &[u8]) -> bool;
}

/// Connection ids by which packets find their machine and shard.
///
/// ```text
/// byte 0      2           7            10
///      | 00id | 5 random  | 3 of a MAC |
/// ```
///
/// `id` is 14 bits: the server's number above the shard's. The MAC, under
/// [`QuicKeys`](super::QuicKeys), tells ids that were made here, or by whoever has the same keys,
/// from made-up ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScidGenerator {
    id: u16,
    shard_bits: u32,
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
        Ok(Self { id: server as u16 | shard_id, shard_bits })
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

    /// Bits of a shard's number.
    #[must_use]
    pub const fn shard_bits(&self) -> u32 {
        self.shard_bits
    }

    /// The numbers of server and shard in a connection id that such a generator may have made.
    #[must_use]
    pub fn decode(&self, cid: &[u8]) -> Option<(u16, u16)> {
        let id = Self::id_of(cid)?;
        let of = Self { id, ..*self };
        Some((of.server_id(), of.shard_id()))
    }

    /// The same of another shard, whose number has no more bits.
    pub(crate) const fn of_shard(self, shard: u16) -> Self {
        Self { id: self.id - self.shard_id() + shard, ..self }
    }

    /// Both numbers, as they stand in the first two bytes of an id.
    #[must_use]
    pub const fn id(&self) -> u16 {
        self.id
    }

    /// The numbers in a connection id, if it has the length and the first bits of these.
    #[must_use]
    pub fn id_of(cid: &[u8]) -> Option<u16> {
        let id = u16::from_be_bytes(*cid.first_chunk()?);
        (cid.len() == Self::CID_LEN && id & !Self::SERVER_ID_MASK == 0).then_some(id)
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
}

impl QuicCids {
    pub(super) fn validate(&self) -> Result<()> {
        let Self::Custom(ids) = self else { return Ok(()) };
        let len = ids.id_len();
        super::check("ConnectionIds::id_len", len, (4..=20).contains(&len), "4 to 20 bytes")
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

    #[test]
    fn the_id_is_read_from_the_first_bytes() {
        assert_eq!(ScidGenerator::id_of(&[0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0]), Some(0x1234));
        assert_eq!(ScidGenerator::id_of(&[0x52, 0x34, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(ScidGenerator::id_of(&[0x12, 0x34, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(ScidGenerator::id_of(&[]), None);
    }
}
