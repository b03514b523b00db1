//! Keys of the handshake's packets, as the machine asks for them.
//!
//! *Invariant*: the keys of a client's first packet are made once. The machine asks for them when
//! that packet comes and again when the connection is begun; in between they wait in
//! [`FirstKeys`], of which there are few: keys that were put out are made again.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::BytesMut;
use quinn_proto::crypto::{CryptoError, HeaderKey, KeyPair, Keys, PacketKey};
use quinn_proto::{ConnectionId, Side};
use rustls::quic::{Suite, Version};

use super::unpad::len_unpadded;

/// First packets whose keys are kept: those of two turns of accepting.
const PLACES: usize = 16;

/// Keys of clients that wait to be accepted.
pub(super) struct FirstKeys {
    suite: Suite,
    places: [ArcSwapOption<Made>; PLACES],
}

struct Made {
    dst_cid: ConnectionId,
    keys: Arc<rustls::quic::Keys>,
}

impl FirstKeys {
    pub(super) fn new(suite: Suite) -> Self {
        Self { suite, places: std::array::from_fn(|_| ArcSwapOption::empty()) }
    }

    /// For the client's first packet.
    pub(super) fn make(&self, dst_cid: &ConnectionId) -> Keys {
        let keys = Arc::new(derived(&self.suite, dst_cid, Side::Server));
        let made = Made { dst_cid: *dst_cid, keys: Arc::clone(&keys) };
        self.place(dst_cid).store(Some(Arc::new(made)));
        shared(&keys)
    }

    /// For its connection.
    pub(super) fn take(&self, dst_cid: &ConnectionId) -> Keys {
        let made = self.place(dst_cid).swap(None).filter(|made| made.dst_cid == *dst_cid);
        match made {
            Some(made) => shared(&made.keys),
            None => initial(&self.suite, dst_cid, Side::Server),
        }
    }

    /// Clients choose the id at random.
    fn place(&self, dst_cid: &ConnectionId) -> &ArcSwapOption<Made> {
        let [first, ..] = &self.places;
        let at = dst_cid.first().map_or(0, |byte| usize::from(*byte) % PLACES);
        self.places.get(at).unwrap_or(first)
    }
}

/// RFC 9001 §5.2: keys that follow from the client's first destination id.
pub(super) fn initial(suite: &Suite, dst_cid: &ConnectionId, side: Side) -> Keys {
    shared(&Arc::new(derived(suite, dst_cid, side)))
}

fn derived(suite: &Suite, dst_cid: &ConnectionId, side: Side) -> rustls::quic::Keys {
    let side = match side {
        Side::Client => rustls::Side::Client,
        Side::Server => rustls::Side::Server,
    };
    suite.keys(dst_cid, side, Version::V1)
}

/// Keys of the handshake, whose packets are padded.
pub(super) fn of_handshake(keys: rustls::quic::Keys) -> Keys {
    shared(&Arc::new(keys))
}

fn shared(keys: &Arc<rustls::quic::Keys>) -> Keys {
    let (local, remote) = (Local(Arc::clone(keys)), Remote(Arc::clone(keys)));
    Keys {
        header: KeyPair { local: Box::new(local.clone()), remote: Box::new(remote.clone()) },
        packet: KeyPair { local: Box::new(local), remote: Box::new(remote) },
    }
}

/// What we seal with.
#[derive(Clone)]
struct Local(Arc<rustls::quic::Keys>);

/// What the peer seals with.
#[derive(Clone)]
struct Remote(Arc<rustls::quic::Keys>);

/// The keys of one direction.
macro_rules! direction {
    ($half:ident, $side:ident) => {
        impl HeaderKey for $half {
            fn decrypt(&self, pn_offset: usize, packet: &mut [u8]) {
                HeaderKey::decrypt(&self.0.$side.header, pn_offset, packet);
            }

            fn encrypt(&self, pn_offset: usize, packet: &mut [u8]) {
                HeaderKey::encrypt(&self.0.$side.header, pn_offset, packet);
            }

            fn sample_size(&self) -> usize {
                HeaderKey::sample_size(&self.0.$side.header)
            }
        }

        impl PacketKey for $half {
            fn encrypt(&self, packet: u64, buf: &mut [u8], header_len: usize) {
                PacketKey::encrypt(&self.0.$side.packet, packet, buf, header_len);
            }

            fn decrypt(
                &self,
                packet: u64,
                header: &[u8],
                payload: &mut BytesMut,
            ) -> Result<(), CryptoError> {
                PacketKey::decrypt(&self.0.$side.packet, packet, header, payload)?;
                payload.truncate(len_unpadded(payload));
                Ok(())
            }

            fn tag_len(&self) -> usize {
                PacketKey::tag_len(&self.0.$side.packet)
            }

            fn confidentiality_limit(&self) -> u64 {
                PacketKey::confidentiality_limit(&self.0.$side.packet)
            }

            fn integrity_limit(&self) -> u64 {
                PacketKey::integrity_limit(&self.0.$side.packet)
            }
        }
    };
}

direction!(Local, local);
direction!(Remote, remote);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::quic::parts::initial_suite;

    /// What the peer's key makes of the first packet of a client.
    fn opened(keys: &Keys, client: &Keys, payload: &[u8]) -> BytesMut {
        let mut packet = [b"header", payload, &[0; 16]].concat();
        client.packet.local.encrypt(7, &mut packet, 6);
        let mut sealed = BytesMut::from(&packet[6..]);
        keys.packet.remote.decrypt(7, b"header", &mut sealed).unwrap();
        sealed
    }

    #[test]
    fn keys_are_made_once_and_are_the_same_again() {
        let suite = initial_suite().unwrap();
        let first = FirstKeys::new(suite);
        let cid = ConnectionId::new(&[3; 8]);
        let client = initial(&suite, &cid, Side::Client);
        let kept = |first: &FirstKeys| first.place(&cid).load().is_some();
        for keys in [first.make(&cid), first.take(&cid), first.take(&cid)] {
            assert_eq!(opened(&keys, &client, b"\x01"), b"\x01"[..]);
            assert!(!kept(&first), "they are taken once");
        }
        first.make(&cid);
        assert!(kept(&first));
        // Another client whose id falls into the same place puts them out.
        let other = ConnectionId::new(&[3 + PLACES as u8; 8]);
        let keys = first.take(&other);
        assert!(!kept(&first));
        let client = initial(&suite, &other, Side::Client);
        assert_eq!(opened(&keys, &client, b"\x01"), b"\x01"[..]);
    }

    #[test]
    fn padding_is_not_handed_on() {
        let suite = initial_suite().unwrap();
        let cid = ConnectionId::new(&[1; 8]);
        let (keys, client) =
            (initial(&suite, &cid, Side::Server), initial(&suite, &cid, Side::Client));
        let payload = [&[6, 0, 3, 1, 0, 0][..], &[0; 1100]].concat();
        assert_eq!(opened(&keys, &client, &payload), [6, 0, 3, 1, 0, 0][..]);
    }
}
