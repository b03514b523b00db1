//! Answers of HTTP, for every version of it: what they consist of, and how HTTP/1.1 writes them.
//!
//! Role: [`ZeroResponse`], and the bytes it becomes. Not role: where those go (the engine's), and
//! whose turn it is (`proto::http1`).

pub(crate) mod coding;
mod cookie;
mod encode;
mod fields;
mod file;
mod json;
mod reply;
mod response;

pub(crate) use coding::{Coding, is_compressible};
pub use cookie::{HttpCookie, SameSite};
pub(crate) use encode::{
    BodyLen, CHUNK_HEAD_LEN_MAX, Clock, ContentRange, Head, Out, ShortHead, chunk_head,
    head_len_max, parts_len_max,
};
pub(crate) use fields::Fields;
pub use fields::HttpFieldValue;
pub(crate) use json::ErasedJson;
pub(crate) use reply::{BAD_JSON, Reply};
pub use response::ZeroResponse;
pub(crate) use response::{Content, Parts};
