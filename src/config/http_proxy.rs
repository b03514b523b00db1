//! [`HttpProxy`]: through whom a client asks.
//!
//! Role: which proxy serves a URL, its credentials, and the environment that names it. Not role:
//! what is said to it (`proto::http`).

use std::fmt;
use std::net::IpAddr;

use crate::error::{IoError, Result};
use crate::http::{HttpUrl, UrlPlaces};

/// The proxies of a pool, and the hosts that are reached without.
///
/// A request for `https` goes through a tunnel (CONNECT, RFC 9110 §9.3.6), one for `http` is sent
/// to the proxy itself (RFC 9112 §3.2.2).
///
/// ```
/// use zero_io::HttpProxy;
/// let proxy = HttpProxy::new("http://user:secret@proxy.example:3128")?;
/// let proxy = proxy.no_proxy("localhost,.example");
/// # let _ = proxy;
/// # Ok::<(), zero_io::IoError>(())
/// ```
#[derive(Clone, Debug)]
pub struct HttpProxy {
    for_http: Option<ProxyServer>,
    for_https: Option<ProxyServer>,
    exceptions: Vec<Exception>,
}

/// One proxy.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ProxyServer {
    /// Without user information.
    url: String,
    places: UrlPlaces,
    /// The value of `Proxy-Authorization`; empty is none.
    authorization: String,
}

/// A host that is reached directly.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Exception {
    /// In lower case and without dots around it; empty stands for every host.
    host: String,
    /// `None` is every port.
    port: Option<u16>,
}

impl HttpProxy {
    /// The proxy at `http://[user:password@]host[:port]`, for `http` and `https` alike. User and
    /// password may be percent-encoded; they are sent as Basic credentials (RFC 7617), which is to
    /// say in the clear.
    ///
    /// # Errors
    /// [`IoError::InvalidArgument`] when that is no such URL. A proxy that is itself spoken to with
    /// TLS is not supported.
    pub fn new(url: &str) -> Result<Self> {
        let server = ProxyServer::parse(url)?;
        Ok(Self { for_http: Some(server.clone()), for_https: Some(server), exceptions: Vec::new() })
    }

    /// Reaches these hosts without a proxy: names and addresses between commas, a name for itself
    /// and all below it (`example.org` and `.example.org` both are `a.example.org` as well), with a
    /// port (`a:8080`) for this alone; `*` is every host. Replaces those before.
    #[must_use]
    pub fn no_proxy(mut self, hosts: &str) -> Self {
        self.exceptions = hosts.split([',', ' ']).filter_map(Exception::parse).collect();
        self
    }

    /// The proxies that the environment names: `http_proxy` and `https_proxy`, without those of
    /// `no_proxy`; each in capitals where it is not there in small letters. `None` when it names
    /// none. A proxy without a scheme is an `http://` one.
    ///
    /// `HTTP_PROXY` in capitals is not looked at when `REQUEST_METHOD` is set: in a CGI program the
    /// client chooses its value, with a header field `Proxy` (CVE-2016-5385).
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_env() -> Result<Option<Self>> {
        Self::from_vars(|name| std::env::var(name).ok())
    }

    fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let var = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        let is_cgi = var("REQUEST_METHOD").is_some();
        let http = var("http_proxy").or_else(|| var("HTTP_PROXY").filter(|_| !is_cgi));
        let https = var("https_proxy").or_else(|| var("HTTPS_PROXY"));
        if http.is_none() && https.is_none() {
            return Ok(None);
        }
        let server = |url: Option<String>| match url {
            None => Ok(None),
            Some(url) if url.contains("://") => ProxyServer::parse(url.trim()).map(Some),
            Some(host) => ProxyServer::parse(&format!("http://{}", host.trim())).map(Some),
        };
        let (for_http, for_https) = (server(http)?, server(https)?);
        let proxy = Self { for_http, for_https, exceptions: Vec::new() };
        let exceptions = var("no_proxy").or_else(|| var("NO_PROXY"));
        Ok(Some(proxy.no_proxy(&exceptions.unwrap_or_default())))
    }

    /// The proxy that a URL is asked for through.
    pub(crate) fn server_for(&self, url: &HttpUrl<'_>) -> Option<&ProxyServer> {
        let server = if url.is_https() { &self.for_https } else { &self.for_http };
        let is_excepted = || self.exceptions.iter().any(|exception| exception.covers(url));
        server.as_ref().filter(|_| !is_excepted())
    }
}

impl ProxyServer {
    fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").ok_or(NO_SCHEME)?;
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(NO_SCHEME);
        }
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(end);
        if !matches!(behind, "" | "/") {
            return Err(HAS_PATH);
        }
        let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
        let url = format!("http://{host}/");
        let places = HttpUrl::parse(&url)?.places();
        let authorization = match user {
            "" => String::new(),
            _ => basic(user).ok_or(BAD_USER)?,
        };
        Ok(Self { url, places, authorization })
    }

    /// Where it is.
    pub(crate) fn url(&self) -> HttpUrl<'_> {
        HttpUrl::at(&self.url, self.places)
    }

    /// The value of `Proxy-Authorization`; empty where it asks for none.
    pub(crate) fn authorization(&self) -> &str {
        &self.authorization
    }
}

const NO_SCHEME: IoError =
    bad("it must begin with http://: no other protocol is spoken to a proxy");
const HAS_PATH: IoError = bad("it has no path: http://user:password@host:port is all");
const BAD_USER: IoError = bad(
    "user and password are percent-encoded, without control bytes and without a colon in the user",
);

const fn bad(why: &'static str) -> IoError {
    IoError::InvalidArgument { what: "proxy", why }
}

impl fmt::Debug for ProxyServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_credentials = !self.authorization.is_empty();
        f.debug_struct("ProxyServer")
            .field("url", &self.url)
            .field("has_credentials", &has_credentials)
            .finish()
    }
}

impl Exception {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (host, port) = match text.rsplit_once(':') {
            // An IPv6 address has colons of its own, and a port only behind brackets.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, Some(port.parse().ok()?))
            }
            _ => (text, None),
        };
        if host == "*" {
            return Some(Self { host: String::new(), port });
        }
        let host = host.strip_prefix("*.").unwrap_or(host);
        let host = host.trim_matches(['.', '[', ']']).to_ascii_lowercase();
        (!host.is_empty()).then_some(Self { host, port })
    }

    fn covers(&self, url: &HttpUrl<'_>) -> bool {
        if self.port.is_some_and(|port| port != url.port()) {
            return false;
        }
        if self.host.is_empty() {
            return true;
        }
        if let Some(ip) = url.ip() {
            return self.host.parse::<IpAddr>().is_ok_and(|own| own == ip);
        }
        let host = url.host().trim_end_matches('.');
        let Some(at) = host.len().checked_sub(self.host.len()) else { return false };
        let (front, end) = host.split_at(at);
        end.eq_ignore_ascii_case(&self.host) && (front.is_empty() || front.ends_with('.'))
    }
}

/// `Basic` and the credentials of `user[:password]`, percent-encoded: RFC 7617 §2.
fn basic(user: &str) -> Option<String> {
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let (mut pair, password) = (decoded(user)?, decoded(password)?);
    let is_sound = !pair.contains(&b':');
    pair.push(b':');
    pair.extend_from_slice(&password);
    let has_control = pair.iter().any(u8::is_ascii_control);
    (is_sound && !has_control).then(|| format!("Basic {}", base64(&pair)))
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut bytes = text.bytes();
    let mut out = Vec::new();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => digit(bytes.next()?)? << 4 | digit(bytes.next()?)?,
            _ => byte,
        });
    }
    Some(out)
}

/// RFC 4648 §4.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let six = (bits >> (18 - 6 * i)) as usize & 63;
            out.push(if i <= three.len() { char::from(ALPHABET[six]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(proxy: &HttpProxy, url: &str) -> Option<String> {
        let server = proxy.server_for(&HttpUrl::parse(url).unwrap());
        server.map(|server| server.url().authority().to_owned())
    }

    #[test]
    fn urls_of_proxies() {
        let rows = [
            ("http://p:3128", Some(("p:3128", ""))),
            ("HTTP://p:3128/", Some(("p:3128", ""))),
            ("http://[::1]:1", Some(("[::1]:1", ""))),
            ("http://user:pass@p", Some(("p", "Basic dXNlcjpwYXNz"))),
            ("http://user@p", Some(("p", "Basic dXNlcjo="))),
            ("http://a%40b:c%3Ad@p", Some(("p", "Basic YUBiOmM6ZA=="))),
            ("http://a:b@c@p", Some(("p", "Basic YTpiQGM="))),
            ("p:3128", None),
            ("https://p", None),
            ("socks5://p", None),
            ("http://p/x", None),
            ("http://p?x", None),
            ("http://", None),
            ("http://p:0", None),
            ("http://%zz@p", None),
            ("http://%4@p", None),
            ("http://a%0Ab:c@p", None),
            ("http://a%3Ab:c@p", None),
        ];
        for (text, expected) in rows {
            let found = ProxyServer::parse(text).ok();
            let found =
                found.as_ref().map(|server| (server.url().authority(), server.authorization()));
            assert_eq!(found, expected, "{text}");
        }
        let secret = format!("{:?}", HttpProxy::new("http://user:pass@p").unwrap());
        assert!(!secret.contains("pass") && !secret.contains("dXN"), "{secret}");
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        let rows = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (len, expected) in rows.iter().enumerate() {
            assert_eq!(base64(&b"foobar"[..len]), *expected);
        }
        assert_eq!(base64(&[0xFB, 0xFF, 0xFE]), "+//+");
    }

    #[test]
    fn some_hosts_are_reached_directly() {
        let rows = [
            ("", "http://a/", false),
            ("a", "http://a/", true),
            ("a", "http://A./", true),
            ("a", "https://a:8443/", true),
            ("A", "http://b.a/", true),
            (".a", "http://b.a/", true),
            (".a", "http://a/", true),
            ("*.a", "http://b.a/", true),
            ("a", "http://ba/", false),
            ("b.a", "http://a/", false),
            ("x, a ,y", "http://a/", true),
            ("x a", "http://a/", true),
            ("a:80", "http://a/", true),
            ("a:81", "http://a/", false),
            ("a:b", "http://a/", false),
            ("*", "http://anything/", true),
            ("*:81", "http://a/", false),
            ("127.0.0.1", "http://127.0.0.1/", true),
            ("0.0.1", "http://127.0.0.1/", false),
            ("::1", "http://[0::1]/", true),
            ("[::1]", "http://[::1]/", true),
            ("[::1]:80", "http://[::1]/", true),
            ("[::1]:81", "http://[::1]/", false),
            (",,.", "http://a/", false),
        ];
        for (list, url, direct) in rows {
            let proxy = HttpProxy::new("http://p").unwrap().no_proxy(list);
            assert_eq!(through(&proxy, url).is_none(), direct, "{list} {url}");
        }
    }

    #[test]
    fn the_environment() {
        let proxy = |vars: &[(&str, &str)]| {
            HttpProxy::from_vars(|name| {
                vars.iter().find(|(var, _)| *var == name).map(|(_, value)| (*value).to_owned())
            })
            .unwrap()
        };
        let both = |vars: &[(&str, &str)]| {
            let proxy = proxy(vars);
            let at = |url| proxy.as_ref().and_then(|proxy| through(proxy, url));
            (at("http://h/"), at("https://h/"))
        };
        let some = |host: &str| Some(host.to_owned());
        assert!(proxy(&[]).is_none());
        assert!(proxy(&[("http_proxy", " "), ("no_proxy", "a")]).is_none());
        assert_eq!(both(&[("http_proxy", "http://a:1")]), (some("a:1"), None));
        assert_eq!(both(&[("HTTPS_PROXY", "a:1")]), (None, some("a:1")));
        let two = [("http_proxy", "a"), ("HTTP_PROXY", "b"), ("https_proxy", "c")];
        assert_eq!(both(&two), (some("a"), some("c")));
        assert_eq!(both(&[("HTTP_PROXY", "b"), ("NO_PROXY", "h")]), (None, None));
        let cgi = ("REQUEST_METHOD", "GET");
        assert_eq!(both(&[("HTTP_PROXY", "b"), cgi]), (None, None));
        assert_eq!(both(&[("http_proxy", "b"), cgi]), (some("b"), None));
        assert_eq!(both(&[("HTTPS_PROXY", "b"), cgi]), (None, some("b")));
        assert!(HttpProxy::from_vars(|_| Some("ftp://x".into())).is_err());
    }
}
