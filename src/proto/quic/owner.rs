//! [`Owners`]: which shard of a cluster a datagram belongs to.
//!
//! Role: reads the connection id that a datagram goes to (RFC 8999 §5). Not role: getting it there.
//!
//! *Invariant*: a datagram is said to be another shard's only when its id was made by that shard,
//! or by whoever has the same keys: what is made up, what a client chose, and what concerns a
//! connection of our own is dealt with where it arrived. Of ids that the application makes, the
//! application says that.

use std::sync::Arc;

use aws_lc_rs::hmac;

use super::cid::is_scid;
use super::parts::VERSION;
use crate::config::{CID_LEN_MAX, ConnectionIds, QuicKeys, ReadyScid, ScidGenerator};

const CID_LEN: usize = ScidGenerator::CID_LEN;
/// RFC 8999 §5.1: the first bit of a long header.
pub(super) const LONG: u8 = 0x80;
/// The first two bits of it are such as no generator makes.
const NO_ID: [u8; CID_LEN] = [0xFF; CID_LEN];

/// How the shards of a listener are told from each other.
#[derive(Debug)]
pub(crate) enum Owners {
    /// By ids that name them.
    Named(Box<Named>),
    /// By what the application says of its own.
    Told(Box<Told>),
}

impl Owners {
    /// Of the shard whose ids `scid` makes, under those keys.
    pub(crate) fn named(scid: ScidGenerator, keys: &QuicKeys) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &keys.cid);
        Self::Named(Box::new(Named { scid: ReadyScid::new(scid), key, last: (NO_ID, None) }))
    }

    /// Of shard `me` of so many, whose ids those are.
    pub(crate) fn told(ids: &Arc<dyn ConnectionIds>, me: u16, shards: u16) -> Self {
        let (ids, len) = (Arc::clone(ids), ids.id_len().clamp(4, CID_LEN_MAX));
        Self::Told(Box::new(Told { ids, len, me, shards, last: None }))
    }

    /// The other shard of this server that made the datagram's id.
    #[inline]
    pub(crate) fn elsewhere(&mut self, datagram: &[u8]) -> Option<u16> {
        match self {
            Self::Named(named) => named.elsewhere(datagram),
            Self::Told(told) => told.elsewhere(datagram),
        }
    }
}

/// Ids of a [`ScidGenerator`].
pub(crate) struct Named {
    scid: ReadyScid,
    key: hmac::Key,
    /// The id that was looked at last, and whose it is if not ours: trains have one id, mostly.
    last: ([u8; CID_LEN], Option<u16>),
}

impl Named {
    #[inline]
    fn elsewhere(&mut self, datagram: &[u8]) -> Option<u16> {
        let cid = destination(datagram, CID_LEN)?.first_chunk()?;
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

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").field("scid", self.scid.scid()).finish_non_exhaustive()
    }
}

/// Ids that the application makes.
pub(crate) struct Told {
    ids: Arc<dyn ConnectionIds>,
    len: usize,
    me: u16,
    shards: u16,
    /// As above; its first `len` bytes.
    last: Option<([u8; CID_LEN_MAX], Option<u16>)>,
}

impl Told {
    fn elsewhere(&mut self, datagram: &[u8]) -> Option<u16> {
        let cid = destination(datagram, self.len)?;
        if let Some((last, owner)) = &self.last
            && last.starts_with(cid)
        {
            return *owner;
        }
        let owner = self.look(cid);
        let mut last = [0; CID_LEN_MAX];
        last.iter_mut().zip(cid).for_each(|(last, byte)| *last = *byte);
        self.last = Some((last, owner));
        owner
    }

    /// What the application says, as far as there is such a shard.
    fn look(&self, cid: &[u8]) -> Option<u16> {
        let shard = self.ids.is_ours(cid).then(|| self.ids.shard_of(cid))??;
        (shard != self.me && shard < self.shards).then_some(shard)
    }
}

impl std::fmt::Debug for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Told").field("len", &self.len).finish_non_exhaustive()
    }
}

/// The destination connection id of a datagram's first packet, if it has the length of ours: all
/// packets of a datagram have the same (RFC 9000 §12.2).
#[inline]
fn destination(datagram: &[u8], cid_len: usize) -> Option<&[u8]> {
    let (first, rest) = datagram.split_first()?;
    if first & LONG == 0 {
        return rest.get(..cid_len);
    }
    let (version, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first()?;
    let is_it = u32::from_be_bytes(*version) == VERSION && usize::from(*len) == cid_len;
    if is_it { rest.get(..cid_len) } else { None }
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
                let mut owners = Owners::named(one, &keys);
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
        let mut owners = Owners::named(own, &keys);
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

    /// Ids of 6 bytes that begin with `C1` and the shard, and how often they were looked at.
    #[derive(Default)]
    struct Marked(std::sync::atomic::AtomicU32);

    impl ConnectionIds for Marked {
        fn id_len(&self) -> usize {
            6
        }
        fn write(&self, id: &mut [u8]) {
            id[0] = 0xC1;
        }
        fn is_ours(&self, id: &[u8]) -> bool {
            id.len() == 6 && id[0] == 0xC1
        }
        fn shard_of(&self, id: &[u8]) -> Option<u16> {
            assert!(self.is_ours(id), "it was asked before");
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            (id[1] != 0xFF).then_some(id[1].into())
        }
    }

    #[test]
    fn the_application_says_whose_its_ids_are() {
        let marked = Arc::new(Marked::default());
        let ids: Arc<dyn ConnectionIds> = Arc::<Marked>::clone(&marked);
        let mut owners = Owners::told(&ids, 2, 4);
        let shards = [(0, Some(0)), (1, Some(1)), (2, None), (3, Some(3))];
        for (shard, expected) in shards.into_iter().chain([(4, None), (200, None), (0xFF, None)]) {
            let cid = [0xC1, shard, 1, 2, 3, 4];
            let before = marked.0.load(std::sync::atomic::Ordering::Relaxed);
            for datagram in [short(&cid), long(1, &cid), short(&cid)] {
                assert_eq!(owners.elsewhere(&datagram), expected, "{shard}");
            }
            assert_eq!(marked.0.load(std::sync::atomic::Ordering::Relaxed), before + 1);
            assert_eq!(owners.elsewhere(&long(2, &cid)), None, "of another version");
        }
        let sibling = [0xC1, 3, 1, 2, 3, 4];
        assert_eq!(owners.elsewhere(&short(&[0xC2, 3, 1, 2, 3, 4])), None, "not ours");
        assert_eq!(owners.elsewhere(&long(1, &[&sibling[..], &[5]].concat())), None);
        for len in 0..6 {
            assert_eq!(owners.elsewhere(&short(&sibling)[..=len]), None);
            assert_eq!(owners.elsewhere(&long(1, &sibling)[..6 + len]), None);
            assert_eq!(owners.elsewhere(&long(1, &sibling[..len])), None);
        }
        assert_eq!(owners.elsewhere(&short(&sibling)), Some(3));
    }
}
