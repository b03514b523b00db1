//! stub
/// A request method, RFC 9110 §9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpMethod { /// G
 Get, /// H
 Head, /// P
 Post, /// P
 Put, /// D
 Delete, /// C
 Connect, /// O
 Options, /// T
 Trace, /// P
 Patch, /// O
 Other }
impl HttpMethod {
    /// name
    #[must_use]
    pub const fn as_str(self) -> Option<&'static str> {
        Some(match self { Self::Get => "GET", Self::Head => "HEAD", Self::Post => "POST", Self::Put => "PUT", Self::Delete => "DELETE", Self::Connect => "CONNECT", Self::Options => "OPTIONS", Self::Trace => "TRACE", Self::Patch => "PATCH", Self::Other => return None })
    }
}
