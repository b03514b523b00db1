//! Version packets for clients of another version whose connection ids are longer than ours can
//! be: RFC 8999 §6, RFC 9000 §6.1.
//!
//! Role: "Servers SHOULD be able to read longer connection IDs from other QUIC versions in order to
//! properly form a Version Negotiation packet" (RFC 9000 §17.2). Not role: ids that version 1 can
//! have, with which the machine answers itself.

use super::owner::LONG;
use super::parts::VERSION;
use crate::config::CID_LEN_MAX;

/// Servers "MUST drop smaller packets that specify unsupported versions" (RFC 9000 §5.2.2).
const DATAGRAM_MIN: usize = 1200;
/// A version that nobody has, so that clients learn to live with what they do not know.
const RESERVED: u32 = 0x0a1a_2a3a;

/// Writes what that datagram of a stranger's is to be answered with; false when it is no such one.
pub(super) fn answer(datagram: &[u8], out: &mut Vec<u8>) -> bool {
    let Some((dcid, scid)) = ids(datagram) else { return false };
    out.extend_from_slice(&[0xC0, 0, 0, 0, 0]);
    for id in [scid, dcid] {
        out.push(id.len() as u8); // it was a byte
        out.extend_from_slice(id);
    }
    for version in [RESERVED, VERSION] {
        out.extend_from_slice(&version.to_be_bytes());
    }
    true
}

/// Both ids of a long header of another version, one of them longer than ours can be.
fn ids(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    if datagram.len() < DATAGRAM_MIN || datagram.first()? & LONG == 0 {
        return None;
    }
    let (version, rest) = datagram.get(1..)?.split_first_chunk::<4>()?;
    if [0, VERSION].contains(&u32::from_be_bytes(*version)) {
        return None;
    }
    let (dcid, rest) = id(rest)?;
    let (scid, _) = id(rest)?;
    (dcid.len().max(scid.len()) > CID_LEN_MAX).then_some((dcid, scid))
}

/// A connection id behind its length, and what follows it.
pub(super) fn id(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(*len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(version: u32, dcid: &[u8], scid: &[u8], len: usize) -> Vec<u8> {
        let [dcid_len, scid_len] = [dcid, scid].map(|id| id.len() as u8);
        let version = version.to_be_bytes();
        let mut all = [&[0x80], &version[..], &[dcid_len], dcid, &[scid_len], scid].concat();
        all.resize(len, 0);
        all
    }

    #[test]
    fn long_ids_change_places() {
        let (dcid, scid) = ([1; 255], [2; 21]);
        let mut out = Vec::new();
        assert!(answer(&datagram(0x1a2a_3a4a, &dcid, &scid, 1200), &mut out));
        let expected = [&[0xC0, 0, 0, 0, 0, 21][..], &scid, &[255], &dcid];
        let versions = [0x0a, 0x1a, 0x2a, 0x3a, 0, 0, 0, 1];
        assert_eq!(out, [&expected.concat()[..], &versions].concat());
    }

    #[test]
    fn nothing_else_is_answered_here() {
        let long = [3; 21];
        for datagram in [
            datagram(2, &long, &[], 1199),
            datagram(VERSION, &long, &[], 1200),
            datagram(0, &long, &[], 1200),
            datagram(2, &[5; 20], &[6; 20], 1200),
            [&[0x40][..], &datagram(2, &long, &[], 1200)[1..]].concat(),
            Vec::new(),
        ] {
            let mut out = Vec::new();
            assert!(!answer(&datagram, &mut out) && out.is_empty(), "{datagram:?}");
        }
    }
}
