//! [`Owners`]: which shard of a cluster a datagram belongs to.
//!
//! Role: reads the connection id that a datagram goes to (RFC 8999 §5). Not role: getting it there.
//!
//! *Invariant*: a datagram is said to be another shard's only when its id was made by that shard,
//! or by whoever has the same keys: what is made up, what a client chose, and what concerns a
//! connection of our own is dealt with where it arrived.

use aws_lc_rs::hmac;

use super::cid::is_scid;
use super::parts::VERSION;
use crate::config::{QuicKeys, ReadyScid, ScidGenerator};

const CID_LEN: usize = ScidGenerator::CID_LEN;
/// RFC 8999 §5.1: the first bit of a long header.
const LONG: u8 = 0x80;
/// The first two bits of it are such as no generator makes.
const NO_ID: [u8; CID_LEN] = [0xFF; CID_LEN];

/// How the shards of a listener are told from each other.
pub(crate) struct Owners {
    scid: ReadyScid,
    key: hmac::Key,
    /// The id that was looked at last, and whose it is if not ours: trains have one id, mostly.
    last: ([u8; CID_LEN], Option<u16>),
}

impl Owners {
    /// Of the shard whose ids `scid` makes, under those keys.
    pub(crate) fn new(scid: ScidGenerator, keys: &QuicKeys) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &keys.cid);
        Self { scid: ReadyScid::new(scid), key, last: (NO_ID, None) }
    }

    /// The other shard of this server that made the datagram's id.
    #[inline]
    pub(crate) fn elsewhere(&mut self, datagram: &[u8]) -> Option<u16> {
        let cid = destination(datagram)?;
        if *cid != self.last.0 {
            self.last = (*cid, self.look(cid));
        }
        self.last.1
    }

    fn look(&self, cid: &[u8; CID_LEN]) -> Option<u16> {
        let (server, shard) = self.scid.decode(cid)?;
        let own = self.scid.scid();
        let is_siblings = server == own.server_id() && shard != own.shard_id();
        (is_siblings && is_scid(&self.key, cid)).then_some(shard)
    }
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Owners").field("scid", self.scid.scid()).finish_non_exhaustive()
    }
}

/// The destination connection id of a datagram's first packet, if it has the length of ours: all
/// packets of a datagram have the same (RFC 9000 §12.2).
fn destination(datagram: &[u8]) -> Option<&[u8; CID_LEN]> {
    let (first, rest) = datagram.split_first()?;
    if first & LONG == 0 {
        return rest.first_chunk();
    }
    let (version, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first()?;
    let is_it = u32::from_be_bytes(*version) == VERSION && usize::from(*len) == CID_LEN;
    if is_it { rest.first_chunk() } else { None }
}

#[cfg(test)]
mod tests {
    use quinn_proto::ConnectionIdGenerator;

    use super::super::cid::Generator;
    use super::*;
    use crate::config::{QuicCids, ScidCover};
    use crate::rng::Rng;

    const KEYS: [u8; QuicKeys::LEN] = [7; QuicKeys::LEN];

    fn cid(scid: ScidGenerator, keys: &QuicKeys, seed: u8) -> Vec<u8> {
        Generator::new(&QuicCids::Scid(scid), &keys.cid, &[seed; 32]).generate_cid().to_vec()
    }

    fn short(cid: &[u8]) -> Vec<u8> {
        [&[0x40], cid, &[0; 20]].concat()
    }

    fn long(version: u32, cid: &[u8]) -> Vec<u8> {
        [&[0xC0], &version.to_be_bytes()[..], &[cid.len() as u8], cid, &[0; 20]].concat()
    }

    #[test]
    fn ids_lead_to_their_shards_in_both_forms() {
        let keys = QuicKeys::from_bytes(&KEYS);
        for shard_bits in 1..=10 {
            let covers = [ScidCover::Clear, ScidCover::Light, ScidCover::Strong];
            for (server, cover) in [0, 3].into_iter().flat_map(|s| covers.map(|c| (s, c))) {
                let last = (1_u16 << shard_bits) - 1;
                let one = ScidGenerator::new(server, 0, shard_bits).unwrap();
                let one = one.covered(cover, &keys);
                let mut owners = Owners::new(one, &keys);
                for shard in [0, 1, last / 2, last] {
                    let cid = cid(one.of_shard(shard), &keys, shard as u8);
                    let expected = (shard != 0).then_some(shard);
                    // Asked again, it is remembered.
                    for datagram in [short(&cid), long(1, &cid), short(&cid)] {
                        assert_eq!(owners.elsewhere(&datagram), expected);
                    }
                    assert_eq!(owners.elsewhere(&long(2, &cid)), None, "of another version");
                }
            }
        }
    }

    #[test]
    fn what_nobody_here_made_stays() {
        let keys = QuicKeys::from_bytes(&KEYS);
        let own = ScidGenerator::new(1, 0, 2).unwrap();
        let mut owners = Owners::new(own, &keys);
        let sibling = cid(own.of_shard(3), &keys, 1);
        assert_eq!(owners.elsewhere(&short(&sibling)), Some(3));
        let of_other_server = cid(ScidGenerator::new(2, 3, 2).unwrap(), &keys, 1);
        assert_eq!(owners.elsewhere(&short(&of_other_server)), None);
        let of_other_keys = cid(own.of_shard(3), &QuicKeys::from_bytes(&[8; QuicKeys::LEN]), 1);
        assert_eq!(owners.elsewhere(&short(&of_other_keys)), None);
        for bit in 0..CID_LEN * 8 {
            let mut changed = sibling.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(owners.elsewhere(&short(&changed)), None, "bit {bit}");
        }
        for len in 0..CID_LEN {
            assert_eq!(owners.elsewhere(&short(&sibling)[..=len]), None);
            assert_eq!(owners.elsewhere(&long(1, &sibling)[..6 + len]), None);
            assert_eq!(owners.elsewhere(&long(1, &sibling[..len])), None);
        }
        assert_eq!(owners.elsewhere(&[]), None);
        let mut rng = Rng::from_seed(5);
        for _ in 0..10_000 {
            let bytes: Vec<u8> = (0..rng.below(40)).map(|_| rng.u64() as u8).collect();
            assert_eq!(owners.elsewhere(&bytes), None, "{bytes:?}");
        }
    }
}
