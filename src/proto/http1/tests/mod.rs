//! Tables of heads and bodies, each at once and cut everywhere.

#[path = "../../../../tests/http_corpus/mod.rs"]
mod corpus;
mod heads;
mod pieces;
mod refusals;
mod responses;

use super::{KnownHost, Limits, Parsed, parse_plainly, parse_thoroughly};

const LIMITS: Limits =
    Limits { header_count: corpus::HEADER_COUNT as u16, header_size: corpus::HEADER_SIZE as u32 };

/// A head, plainly and then thoroughly: as a connection looks at it.
fn parse_request(input: &[u8], limits: &Limits) -> Parsed {
    let plain = parse_plainly(input, limits, &KnownHost::new());
    plain.map_or_else(|| parse_thoroughly(input, limits), Parsed::Head)
}
