//! Tables of heads and bodies, each at once and cut everywhere.

#[path = "../../../../tests/http_corpus/mod.rs"]
mod corpus;
mod heads;
mod pieces;
mod refusals;
mod responses;

use super::Limits;

const LIMITS: Limits =
    Limits { header_count: corpus::HEADER_COUNT as u16, header_size: corpus::HEADER_SIZE as u32 };
