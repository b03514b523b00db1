//! [`HttpUrl`]: what a client is to ask for, and of whom (RFC 3986, RFC 9110 §4.2).
//!
//! Role: absolute `http` and `https` URLs as views without a copy, and what a `Location` leads to
//! (`resolve`). Not role: the addresses of names, what is sent (`proto::http`).
//!
//! *Invariants*: strict where a lenient reader would talk to somebody else (RFC 9110 §4.2.4): no
//! user information, no backslash, no host that a resolver takes for another one; no byte that
//! could end a request line. Nothing here panics, whatever a server's `Location` is.

mod host;
mod resolve;
#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;

use crate::error::IoError;
use host::Authority;

/// Bytes of a URL at most: what a `Location` may make a client remember.
pub(crate) const URL_LEN_MAX: usize = 8192;

/// Why a URL is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HttpUrlError {
    /// It does not begin with `http://` or `https://`.
    Scheme,
    /// It has a user name or a password before the host.
    UserInfo,
    /// The host is neither a name, nor an IPv4 address, nor an IPv6 address in brackets. `127.1`
    /// and `0x7f.1`, which some take for addresses, are none of these.
    Host,
    /// The port is no number from 1 to 65,535.
    Port,
    /// It has a byte that must be percent-encoded: a blank, a control, `"`, `<`, `>`, `\`, or one
    /// beyond ASCII.
    Byte,
    /// It is longer than 8192 bytes.
    TooLong,
}

impl HttpUrlError {
    const fn why(self) -> &'static str {
        match self {
            Self::Scheme => "it must begin with http:// or https://",
            Self::UserInfo => {
                "a user name or password has no place in it; give an Authorization field instead"
            }
            Self::Host => "its host must be a name, an IPv4 address, or an IPv6 one in brackets",
            Self::Port => "its port must be 1 to 65535",
            Self::Byte => {
                "blanks, control bytes, one of \"<>\\ and bytes beyond ASCII must be \
                 percent-encoded"
            }
            Self::TooLong => "it is longer than 8192 bytes",
        }
    }
}

impl fmt::Display for HttpUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why())
    }
}

impl std::error::Error for HttpUrlError {}

impl From<HttpUrlError> for IoError {
    fn from(error: HttpUrlError) -> Self {
        Self::InvalidArgument { what: "URL", why: error.why() }
    }
}

/// Where the parts of a URL lie.
///
/// ```text
/// https://host:8443/path?query
///         |   |    |
///         |   |    target
///         |   host_end
///         host_start
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct UrlPlaces {
    host_start: u16,
    host_end: u16,
    target: u16,
    port: u16,
    is_https: bool,
    ip: Option<IpAddr>,
}

/// An absolute `http` or `https` URL, without its fragment: a view of the text it was parsed from.
///
/// ```
/// use zero_io::HttpUrl;
/// let url = HttpUrl::parse("https://a.example:8443/b?c#d")?;
/// assert_eq!((url.host(), url.port()), ("a.example", 8443));
/// assert_eq!((url.path(), url.query()), ("/b", Some("c")));
/// # Ok::<(), zero_io::HttpUrlError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HttpUrl<'a> {
    text: &'a str,
    places: UrlPlaces,
}

impl<'a> HttpUrl<'a> {
    /// Reads a URL. A fragment is cut off.
    ///
    /// # Errors
    /// When it is none that may be asked for.
    pub fn parse(text: &'a str) -> Result<Self, HttpUrlError> {
        let text = text.split_once('#').map_or(text, |(text, _)| text);
        if text.len() > URL_LEN_MAX {
            return Err(HttpUrlError::TooLong);
        }
        let (is_https, rest) = match (after(text, "http://"), after(text, "https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(HttpUrlError::Scheme),
        };
        if !rest.bytes().all(is_url_byte) {
            return Err(HttpUrlError::Byte);
        }
        let host_start = text.len() - rest.len();
        let authority_len = rest.find(['/', '?']).unwrap_or(rest.len());
        let authority = Authority::parse(rest.split_at(authority_len).0)?;
        let default_port = if is_https { 443 } else { 80 };
        let places = UrlPlaces {
            host_start: host_start as u16,
            host_end: (host_start + authority.host_len) as u16,
            target: (host_start + authority_len) as u16,
            port: authority.port.unwrap_or(default_port),
            is_https,
            ip: authority.ip,
        };
        Ok(Self { text, places })
    }

    /// The URL of a text that was parsed before, and kept with what was found.
    pub(crate) const fn at(text: &'a str, places: UrlPlaces) -> Self {
        Self { text, places }
    }

    pub(crate) const fn places(&self) -> UrlPlaces {
        self.places
    }

    fn part(&self, from: u16, to: u16) -> &'a str {
        self.text.get(usize::from(from)..usize::from(to)).unwrap_or_default()
    }

    /// The text, without a fragment.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.text
    }

    /// Whether the scheme is `https`.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        self.places.is_https
    }

    /// The host as it is written; an IPv6 address without its brackets.
    #[must_use]
    pub fn host(&self) -> &'a str {
        let host = self.part(self.places.host_start, self.places.host_end);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// The host's address, where the host is one.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        self.places.ip
    }

    /// The port: 80 or 443 where none is given.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.places.port
    }

    /// Host and port as the field `Host` has them (RFC 9110 §7.2): without the scheme's own port.
    #[must_use]
    pub fn authority(&self) -> &'a str {
        let default_port = if self.is_https() { 443 } else { 80 };
        let has_port = self.port() != default_port;
        let end = if has_port { self.places.target } else { self.places.host_end };
        self.part(self.places.host_start, end)
    }

    /// The host as the authority has it: an IPv6 address with its brackets.
    pub(crate) fn host_in_brackets(&self) -> &'a str {
        self.part(self.places.host_start, self.places.host_end)
    }

    /// The path, still percent-encoded; `/` where there is none.
    #[must_use]
    pub fn path(&self) -> &'a str {
        let [root, rest] = self.target();
        if !root.is_empty() {
            return root;
        }
        rest.split_once('?').map_or(rest, |(path, _)| path)
    }

    /// What follows the `?`, still percent-encoded.
    #[must_use]
    pub fn query(&self) -> Option<&'a str> {
        let [_, rest] = self.target();
        rest.split_once('?').map(|(_, query)| query)
    }

    /// Path and query, the origin form of a request's target (RFC 9112 §3.2.1), in two pieces: "If
    /// the target URI's path component is empty, the client MUST send "/" as the path".
    pub(crate) fn target(&self) -> [&'a str; 2] {
        let rest = self.part(self.places.target, self.text.len() as u16);
        [if rest.starts_with('/') { "" } else { "/" }, rest]
    }

    /// Whether nothing follows the authority. RFC 9110 §4.2.3: that is as good as `/`, but for
    /// OPTIONS.
    pub(crate) fn has_no_target(&self) -> bool {
        usize::from(self.places.target) == self.text.len()
    }

    /// Whether scheme, host and port are the same (RFC 9110 §4.3.1).
    #[must_use]
    pub fn is_same_origin(&self, other: &HttpUrl<'_>) -> bool {
        let is_same_host = match (self.ip(), other.ip()) {
            (None, None) => self.host().eq_ignore_ascii_case(other.host()),
            (own, others) => own == others,
        };
        is_same_host && self.is_https() == other.is_https() && self.port() == other.port()
    }
}

impl fmt::Debug for HttpUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("HttpUrl").field(&self.text).finish()
    }
}

impl fmt::Display for HttpUrl<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

/// Whether a text is a host, with or without a port.
pub(crate) fn is_authority(text: &str) -> bool {
    Authority::parse(text).is_ok()
}

/// What follows `prefix`, in any case.
fn after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (front, rest) = text.split_at_checked(prefix.len())?;
    front.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// What may stand in a URL here. RFC 3986 has fewer; ``^ ` { | }`` are sent as they are by browsers
/// (URL Standard), and no two recipients disagree where they end.
const fn is_url_byte(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'<' | b'>' | b'\\')
}
