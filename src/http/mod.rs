//! The vocabulary of HTTP: methods, header fields, status codes, dates.
//!
//! Role: values and views, for every version of HTTP; open files and what is said of them. Not
//! role: parsing a message (`proto::http1`), answering (`proto::http`).

pub(crate) mod date;
mod file;
mod headers;
mod method;
mod request;
pub(crate) mod status;

pub use file::HttpFile;
pub(crate) use file::{Decision, FileSpan, FileTurn, decide};
pub use headers::HttpHeaders;
pub use method::HttpMethod;
pub use request::HttpRequest;
pub(crate) use request::{Lens, Places, RequestFlags};
