//! What a ticket remembers of a server's limits, as the machine is told it.
//!
//! Role: the connection's window among transport parameters (RFC 9000 §18). Not role: all others,
//! and whether they are well-formed, which the machine sees to.
//!
//! The machine never takes back what it knows of that window, although RFC 9000 §7.4.1 wants it
//! forgotten when early data is refused. So it is told of no more than what may be sent early, and
//! of the rest once the server has said it.

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
    let len = varint_len(max);
    let number = max | u64::from(len.trailing_zeros()) << (8 * len - 2);
    out.extend([MAX_DATA as u8, len as u8]);
    out.extend(number.to_be_bytes().into_iter().skip(8 - len));
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

/// The bytes that an integer takes at least: the machine takes it for malformed when it has more.
const fn varint_len(number: u64) -> usize {
    match number {
        0..0x40 => 1,
        0x40..0x4000 => 2,
        0x4000..0x4000_0000 => 4,
        _ => 8,
    }
}

/// RFC 9000 §16: an integer of 1, 2, 4 or 8 bytes, and what is behind it.
fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let len = 1_usize << (bytes.first()? >> 6);
    let (number, behind) = bytes.split_at_checked(len)?;
    let number = number.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    let bits = 8 * len as u32 - 2;
    Some((number & (u64::MAX >> (64 - bits)), behind))
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
        for max in [0, 0x3f, 0x40, 0x3fff, 0x4000, 0x3fff_ffff, 0x4000_0000, (1 << 62) - 1] {
            let params = with_max_data(&[], max);
            assert_eq!((max_data(&params), params.len()), (max, 2 + varint_len(max)));
        }
    }

    #[test]
    fn integers_are_those_of_rfc_9000() {
        // §A.1.
        let rows: [(&[u8], u64); 5] = [
            (&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c], 151_288_809_941_952_652),
            (&[0x9d, 0x7f, 0x3e, 0x7d], 494_878_333),
            (&[0x7b, 0xbd], 15_293),
            (&[0x25], 37),
            (&[0x40, 0x25], 37),
        ];
        for (bytes, number) in rows {
            assert_eq!(varint(bytes), Some((number, &[][..])));
            assert_eq!(varint(&bytes[..bytes.len() - 1]), None, "it is cut");
        }
    }

    #[test]
    fn what_is_cut_ends_it() {
        let params = [0x04, 1, 9, 0x05, 3, 1];
        assert_eq!(max_data(&params), 9);
        assert_eq!(with_max_data(&params, 1), [4, 1, 1]);
    }
}
