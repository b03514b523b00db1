//! Words of HTTP that no version of it owns: methods, and the header fields of a message.
//!
//! Role: vocabulary that machines, events and the application share. Not role: parsing and
//! framing, which are a machine's (`proto`).

mod headers;
mod method;

pub use headers::HttpHeaders;
pub use method::HttpMethod;
