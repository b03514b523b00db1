//! Answers and requests of HTTP: what they consist of, and how HTTP/1.1 writes them.
//!
//! Role: [`ZeroResponse`] and `ZeroRequest`, and the bytes they become; what a client decides
//! without a socket. Not role: where bytes go (the engine's), and whose turn it is
//! (`proto::http1`).

pub(crate) mod coding;
mod content;
mod cookie;
mod draft;
mod encode;
mod fields;
mod file;
mod json;
#[cfg(feature = "http-client")]
mod order;
#[cfg(feature = "http-client")]
pub(crate) mod pool;
#[cfg(feature = "http-client")]
mod proxy;
#[cfg(feature = "http-client")]
mod redirect;
mod reply;
#[cfg(feature = "http-client")]
mod request;
#[cfg(feature = "http-client")]
mod request_head;
mod response;
mod same;

pub(crate) use coding::{Coding, is_compressible};
pub(crate) use content::Content;
pub use cookie::{HttpCookie, SameSite};
pub(crate) use encode::{
    BodyLen, CHUNK_HEAD_LEN_MAX, Clock, ContentRange, Head, Out, ShortHead, chunk_head,
    head_len_max, parts_len_max,
};
pub use fields::HttpFieldValue;
pub(crate) use fields::{Fields, OF_ANSWERS, is_field_byte};
pub(crate) use json::ErasedJson;
#[cfg(feature = "http-client")]
pub(crate) use order::Order;
#[cfg(feature = "http-client")]
pub(crate) use proxy::{HostKey, HostKind, Route, tunnel_head};
#[cfg(feature = "http-client")]
pub(crate) use redirect::RedirectRules;
pub(crate) use reply::{BAD_JSON, Reply};
#[cfg(feature = "http-client")]
pub(crate) use request::RequestOptions;
#[cfg(feature = "http-client")]
pub use request::ZeroRequest;
#[cfg(feature = "http-client")]
pub(crate) use request_head::RequestHead;
pub(crate) use response::Parts;
pub use response::ZeroResponse;
pub(crate) use same::is_same;
