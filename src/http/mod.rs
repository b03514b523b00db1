//! The vocabulary of HTTP: methods, header fields, status codes, dates.
//!
//! Role: values and views, for every version of HTTP; URLs; open files and what is said of them.
//! Not role: parsing a message (`proto::http1`), answering (`proto::http`).

pub(crate) mod date;
mod file;
mod headers;
mod method;
mod request;
#[cfg(feature = "http-client")]
mod response;
pub(crate) mod status;
#[cfg(feature = "http-client")]
mod url;

pub use file::HttpFile;
pub(crate) use file::{Decision, FileSpan, FileTurn, decide};
pub use headers::HttpHeaders;
pub use method::HttpMethod;
pub use request::HttpRequest;
pub(crate) use request::{Lens, Places, RequestFlags};
#[cfg(feature = "http-client")]
pub use response::HttpResponse;
#[cfg(feature = "http-client")]
pub(crate) use response::{ResponseFlags, ResponsePlaces};
#[cfg(feature = "http-client")]
pub use url::{HttpUrl, HttpUrlError};
#[cfg(feature = "http-client")]
pub(crate) use url::{UrlPlaces, is_authority};
