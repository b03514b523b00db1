//! What a ticket remembers of a server's limits, as the machine is told it.
//!
//! Role: the connection's window among transport parameters (RFC 9000 §18). Not role: all others,
//! and whether they are well-formed, which the machine sees to.
//!
//! The machine never takes back what it knows of that window, although RFC 9000 §7.4.1 wants it
//! forgotten when early data is refused. So it is told of no more than what may be sent early, and
//! of the rest once the server has said it.

use quinn_proto::VarInt;
use quinn_proto::coding::Codec;

use super::unpad::varint;

/// RFC 9000 §18.2: "initial_max_data (0x04)".
const MAX_DATA: u64 = 0x04;

/// One parameter, and what follows it.
struct Param<'a> {
    id: u64,
    /// Its value alone, and all of it.
    value: &'a [u8],
    whole: &'a [u8],
}

/// The connection's window that those parameters give; 0 where they do not say.
pub(super) fn max_data(params: &[u8]) -> u64 {
    let found = parse(params).find(|param| param.id == MAX_DATA);
    found.and_then(|param| varint(param.value)).map_or(0, |(value, _)| value)
}

/// The same parameters with another window.
pub(super) fn with_max_data(params: &[u8], max: u64) -> Vec<u8> {
    let others = parse(params).filter(|param| param.id != MAX_DATA);
    let mut out = others.flat_map(|param| param.whole).copied().collect::<Vec<u8>>();
    let mut value = Vec::new();
    VarInt::from_u64(max).unwrap_or(VarInt::MAX).encode(&mut value);
    out.extend([MAX_DATA as u8, value.len() as u8]);
    out.extend(value);
    out
}

/// The parameters in their order, up to the first that is cut.
fn parse(mut rest: &[u8]) -> impl Iterator<Item = Param<'_>> {
    std::iter::from_fn(move || {
        let (id, behind) = varint(rest)?;
        let (len, behind) = varint(behind)?;
        let (value, behind) = behind.split_at_checked(usize::try_from(len).ok()?)?;
        let (whole, _) = rest.split_at_checked(rest.len() - behind.len())?;
        rest = behind;
        Some(Param { id, value, whole })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_found_and_replaced() {
        // An unknown one of two bytes' id, the window, and an empty one.
        let params = [0x40, 0x99, 2, 7, 8, 0x04, 4, 0x80, 1, 0, 0, 0x0c, 0];
        assert_eq!(max_data(&params), 65_536);
        let other = with_max_data(&params, 3000);
        assert_eq!(other, [0x40, 0x99, 2, 7, 8, 0x0c, 0, 0x04, 2, 0x4b, 0xb8]);
        assert_eq!(max_data(&[]), 0);
        // The machine takes a number for malformed that is longer than it has to be.
        let shortest = [(0, 1), (0x3f, 1), (0x40, 2), (0x3fff, 2), (0x4000, 4), (0x3fff_ffff, 4)];
        for (max, len) in shortest.into_iter().chain([(0x4000_0000, 8), ((1 << 62) - 1, 8)]) {
            let params = with_max_data(&[], max);
            assert_eq!((max_data(&params), params.len()), (max, 2 + len));
        }
    }

    #[test]
    fn what_is_cut_ends_it() {
        let params = [0x04, 1, 9, 0x05, 3, 1];
        assert_eq!(max_data(&params), 9);
        assert_eq!(with_max_data(&params, 1), [4, 1, 1]);
    }
}
