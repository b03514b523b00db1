//! [`HttpCookie`]: a cookie to be set, RFC 6265 §4.1.

use std::time::Duration;

use super::Out;
use super::fields::is_token;

/// To which requests from other sites a cookie is added (RFC 6265bis §5.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SameSite {
    /// To none.
    Strict,
    /// To top-level navigation alone.
    Lax,
    /// To all. Browsers demand `secure` with it.
    None,
}

/// A cookie of an answer.
///
/// ```
/// use zero_io::{HttpCookie, SameSite, ZeroResponse};
/// let cookie = HttpCookie::new("session", "d41d8cd9").path("/").same_site(SameSite::Lax);
/// let answer = ZeroResponse::ok().cookie(&cookie).text("welcome");
/// # let _ = answer;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HttpCookie<'a> {
    name: &'a str,
    value: &'a str,
    path: Option<&'a str>,
    domain: Option<&'a str>,
    max_age_s: Option<u64>,
    same_site: Option<SameSite>,
    secure: bool,
    http_only: bool,
}

impl<'a> HttpCookie<'a> {
    /// A cookie of the session, for the host and directory of the request. A name is a token, a
    /// value has no blanks, quotes, commas, semicolons and backslashes (RFC 6265 §4.1.1): whoever
    /// answers with another one gets an error.
    #[must_use]
    pub const fn new(name: &'a str, value: &'a str) -> Self {
        Self {
            name,
            value,
            path: None,
            domain: None,
            max_age_s: None,
            same_site: None,
            secure: false,
            http_only: false,
        }
    }

    /// `Path`: for this directory and what is below.
    #[must_use]
    pub const fn path(mut self, path: &'a str) -> Self {
        self.path = Some(path);
        self
    }

    /// `Domain`: for this host and its subdomains.
    #[must_use]
    pub const fn domain(mut self, domain: &'a str) -> Self {
        self.domain = Some(domain);
        self
    }

    /// `Max-Age`, in whole seconds; zero removes the cookie.
    #[must_use]
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.max_age_s = Some(age.as_secs());
        self
    }

    /// `SameSite`.
    #[must_use]
    pub const fn same_site(mut self, same_site: SameSite) -> Self {
        self.same_site = Some(same_site);
        self
    }

    /// `Secure`: over TLS alone.
    #[must_use]
    pub const fn secure(mut self) -> Self {
        self.secure = true;
        self
    }

    /// `HttpOnly`: hidden from scripts.
    #[must_use]
    pub const fn http_only(mut self) -> Self {
        self.http_only = true;
        self
    }

    pub(super) fn is_sound(&self) -> bool {
        let attribute = |text: Option<&str>| text.is_none_or(|t| t.bytes().all(is_attribute_byte));
        !self.name.is_empty()
            && self.name.bytes().all(is_token)
            && self.value.bytes().all(is_cookie_byte)
            && attribute(self.path)
            && attribute(self.domain)
    }

    /// An upper bound of what `write` writes.
    pub(super) fn len_max(&self) -> usize {
        const ATTRIBUTES: usize =
            "; Path=; Domain=; Max-Age=; SameSite=Strict; Secure; HttpOnly".len();
        let texts = self.path.map_or(0, str::len) + self.domain.map_or(0, str::len);
        self.name.len() + 1 + self.value.len() + texts + ATTRIBUTES + Out::NUMBER_LEN_MAX
    }

    pub(super) fn write(&self, out: &mut Out<'_>) {
        out.put(self.name.as_bytes());
        out.put(b"=");
        out.put(self.value.as_bytes());
        if let Some(path) = self.path {
            out.put(b"; Path=");
            out.put(path.as_bytes());
        }
        if let Some(domain) = self.domain {
            out.put(b"; Domain=");
            out.put(domain.as_bytes());
        }
        if let Some(age) = self.max_age_s {
            out.put(b"; Max-Age=");
            out.number(age);
        }
        match self.same_site {
            Some(SameSite::Strict) => out.put(b"; SameSite=Strict"),
            Some(SameSite::Lax) => out.put(b"; SameSite=Lax"),
            Some(SameSite::None) => out.put(b"; SameSite=None"),
            None => {}
        }
        if self.secure {
            out.put(b"; Secure");
        }
        if self.http_only {
            out.put(b"; HttpOnly");
        }
    }
}

/// `cookie-octet`
const fn is_cookie_byte(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x2B | 0x2D..=0x3A | 0x3C..=0x5B | 0x5D..=0x7E)
}

/// `av-octet`
const fn is_attribute_byte(byte: u8) -> bool {
    matches!(byte, 0x20..=0x3A | 0x3C..=0x7E)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_every_attribute_within_its_bound() {
        let cookie = HttpCookie::new("a", "b")
            .path("/p")
            .domain("d.example")
            .max_age(Duration::from_secs(60))
            .same_site(SameSite::Strict)
            .secure()
            .http_only();
        let mut buffer = vec![0; cookie.len_max()];
        let mut out = Out::new(&mut buffer);
        cookie.write(&mut out);
        let len = out.len();
        let text = "a=b; Path=/p; Domain=d.example; Max-Age=60; SameSite=Strict; Secure; HttpOnly";
        assert_eq!(std::str::from_utf8(&buffer[..len]), Ok(text));
    }

    #[test]
    fn refuses_what_would_begin_an_attribute() {
        assert!(HttpCookie::new("a", "b").is_sound());
        for (name, value) in
            [("", "b"), ("a=", "b"), ("a", "b; Secure"), ("a", "b\r\n"), ("a", "b c")]
        {
            assert!(!HttpCookie::new(name, value).is_sound(), "{name}={value}");
        }
        assert!(!HttpCookie::new("a", "b").path("/;x").is_sound());
    }
}
