//! [`ZeroRequest`]: a request to be sent.

use std::time::Duration;

use super::content::{Content, content_methods};
use super::fields::{Reserved, is_token};
use super::{BodyLen, Fields, HttpFieldValue, Parts};
use crate::error::{IoError, Result};
use crate::http::{HttpMethod, HttpUrl, is_authority};

/// A request: what `http_request` takes. It borrows what it is made from, and is written straight
/// into send buffers.
///
/// ```
/// use zero_io::ZeroRequest;
/// let asked = ZeroRequest::get("http://a.example/b?c").header("accept", "text/plain");
/// let given = ZeroRequest::post("https://a.example/").text("Hello, World!");
/// # let _ = (asked, given);
/// ```
///
/// zero-io writes `Host`, `Content-Length` or `Transfer-Encoding`, `Connection` and `Expect`.
#[must_use = "a request does nothing until http_request"]
pub struct ZeroRequest<'a> {
    pub(crate) method: HttpMethod,
    pub(crate) url: &'a str,
    /// Empty: that of the URL.
    pub(super) host: &'a str,
    /// The protocols that are proposed; empty is none.
    pub(super) upgrade: &'a str,
    /// Where CONNECT leads; empty: where the URL does.
    pub(super) tunnel: &'a str,
    pub(crate) options: RequestOptions,
    pub(crate) timeout: Option<Duration>,
    content_type: &'a str,
    /// The application chose it.
    has_own_type: bool,
    fields: Fields<'a>,
    pub(crate) content: Content<'a>,
}

bitflags::bitflags! {
    /// How a request is to be sent.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) struct RequestOptions: u8 {
        /// The body waits for `100 Continue`.
        const EXPECTS = 1;
        /// A redirect is the application's to follow.
        const NO_REDIRECTS = 1 << 1;
    }
}

impl<'a> ZeroRequest<'a> {
    /// A request with that method for that URL, without a body. `http_request` refuses
    /// [`HttpMethod::Other`].
    ///
    /// CONNECT asks for a tunnel to the URL's own host and port; to have one from a proxy, see
    /// [`connect`](Self::connect).
    pub const fn method(method: HttpMethod, url: &'a str) -> Self {
        Self {
            method,
            url,
            host: "",
            upgrade: "",
            tunnel: "",
            options: RequestOptions::empty(),
            timeout: None,
            content_type: "",
            has_own_type: false,
            fields: Fields::new(),
            content: Content::None,
        }
    }

    /// GET
    pub const fn get(url: &'a str) -> Self {
        Self::method(HttpMethod::Get, url)
    }

    /// HEAD
    pub const fn head(url: &'a str) -> Self {
        Self::method(HttpMethod::Head, url)
    }

    /// POST
    pub const fn post(url: &'a str) -> Self {
        Self::method(HttpMethod::Post, url)
    }

    /// PUT
    pub const fn put(url: &'a str) -> Self {
        Self::method(HttpMethod::Put, url)
    }

    /// DELETE
    pub const fn delete(url: &'a str) -> Self {
        Self::method(HttpMethod::Delete, url)
    }

    /// PATCH
    pub const fn patch(url: &'a str) -> Self {
        Self::method(HttpMethod::Patch, url)
    }

    /// OPTIONS. A URL without a path, not even `/`, asks for the server as a whole (RFC 9110
    /// §9.3.7).
    pub const fn options(url: &'a str) -> Self {
        Self::method(HttpMethod::Options, url)
    }

    /// CONNECT: a tunnel to `host:port`, of the proxy at `url` (RFC 9110 §9.3.6). With a 2xx the
    /// connection is a stream of the application's.
    pub const fn connect(url: &'a str, to: &'a str) -> Self {
        let mut request = Self::method(HttpMethod::Connect, url);
        request.tunnel = to;
        request
    }

    /// Adds a header field. `http_request` refuses names that are no tokens, values with control
    /// bytes, and the fields that zero-io writes itself.
    pub fn header(mut self, name: &'a str, value: impl Into<HttpFieldValue<'a>>) -> Self {
        self.fields.push(name, value.into());
        self
    }

    content_methods!();

    /// The value of `Host`, in place of the URL's host and port. It does not change where the
    /// request goes, and is left behind by a redirect to another origin.
    pub const fn host(mut self, host: &'a str) -> Self {
        self.host = host;
        self
    }

    /// Proposes another protocol (RFC 9110 §7.8), `websocket` for example. With 101 the connection
    /// is a stream of the application's; with any other status the response is as always.
    pub const fn upgrade(mut self, protocol: &'a str) -> Self {
        self.upgrade = protocol;
        self
    }

    /// How long it may take as a whole, waiting and redirects included, in place of
    /// `HttpPoolConfig::request_timeout_ms`.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Has the server agree to the head before the body is sent (RFC 9110 §10.1.1). No effect
    /// without a body.
    pub const fn expect_continue(mut self) -> Self {
        self.options = self.options.union(RequestOptions::EXPECTS);
        self
    }

    /// Follows no redirect, whatever `HttpPoolConfig::redirects` says.
    pub const fn no_redirects(mut self) -> Self {
        self.options = self.options.union(RequestOptions::NO_REDIRECTS);
        self
    }

    /// Whether it can be sent; its URL.
    pub(crate) fn check(&self) -> Result<HttpUrl<'a>> {
        let url = HttpUrl::parse(self.url)?;
        if self.method == HttpMethod::Other {
            return Err(bad("method", "HttpMethod::Other stands for many: name one"));
        }
        let has_content = !matches!(self.content, Content::None);
        // RFC 9110 §9.3.6 and §9.3.8.
        if has_content && matches!(self.method, HttpMethod::Connect | HttpMethod::Trace) {
            return Err(bad("body", "CONNECT and TRACE have none"));
        }
        if !self.host.is_empty() && !is_authority(self.host) {
            return Err(bad("host", "it is no host with or without a port"));
        }
        let is_tunnel = !self.tunnel.is_empty();
        if is_tunnel && !(is_authority(self.tunnel) && has_port(self.tunnel)) {
            return Err(bad("target of CONNECT", "it must be host:port"));
        }
        let is_protocol = |byte: u8| is_token(byte) || matches!(byte, b'/' | b',' | b' ');
        if self.upgrade.len() > UPGRADE_LEN_MAX || !self.upgrade.bytes().all(is_protocol) {
            return Err(bad("protocol to upgrade to", "names of at most 255 bytes, as websocket"));
        }
        self.check_type()?;
        self.fields.check(&OF_REQUESTS)?;
        Ok(url)
    }

    /// How its body is framed.
    pub(super) fn body_len(&self) -> BodyLen {
        let len = match &self.content {
            Content::None | Content::NotThere(_) | Content::Json(_) => 0,
            Content::Copied(bytes) => bytes.len() as u64,
            Content::Kept(memory) => memory.bytes().len() as u64,
            Content::Buffer(buffer) => buffer.len() as u64,
            Content::File(span) => span.len,
            Content::Later(Some(len)) => *len,
            Content::Later(None) => return BodyLen::Chunked,
        };
        // RFC 9110 §8.6: "A user agent SHOULD send Content-Length in a request when the method
        // defines a meaning for enclosed content and it is not sending Transfer-Encoding."
        let means_content =
            matches!(self.method, HttpMethod::Post | HttpMethod::Put | HttpMethod::Patch);
        match &self.content {
            Content::None if !means_content => BodyLen::None,
            _ => BodyLen::Known(len),
        }
    }

    /// Its head. `url` is what [`check`](Self::check) gave. The length of JSON is not known
    /// before it is serialised, by whoever sends it.
    #[cfg(test)]
    pub(crate) fn request_head<'s>(&'s self, url: HttpUrl<'s>) -> super::RequestHead<'s> {
        let Self { content_type, fields, .. } = self;
        super::RequestHead {
            method: self.method,
            url,
            host: self.host,
            upgrade: self.upgrade,
            tunnel: self.tunnel,
            parts: Parts::Fields { content_type, fields },
            body: self.body_len(),
            expects: self.options.contains(RequestOptions::EXPECTS),
            is_absolute: false,
            proxy_authorization: "",
            close: false,
        }
    }

    pub(super) const fn parts(&self) -> Parts<'_> {
        Parts::Fields { content_type: self.content_type, fields: &self.fields }
    }
}

const UPGRADE_LEN_MAX: usize = 255;

/// Fields that say how a request is framed, whom it is for, or what is done with its connection.
const OF_REQUESTS: Reserved = Reserved {
    names: &[
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "expect",
        "upgrade",
        "te",
        "keep-alive",
        "proxy-connection",
    ],
    why: "Host, Content-Length, Transfer-Encoding, Connection, Expect, Upgrade, TE, Keep-Alive and \
          Proxy-Connection are written by zero-io or of no use; use the methods of ZeroRequest",
};

const fn bad(what: &'static str, why: &'static str) -> IoError {
    IoError::InvalidArgument { what, why }
}

fn has_port(authority: &str) -> bool {
    let port = authority.rsplit_once(':').map_or("", |(_, port)| port);
    !port.is_empty() && !port.ends_with(']')
}

impl std::fmt::Debug for ZeroRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZeroRequest")
            .field("method", &self.method)
            .field("url", &self.url)
            .field("content_type", &self.content_type)
            .finish_non_exhaustive()
    }
}
