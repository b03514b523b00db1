//! How HTTP/1.1 writes the head of a request, RFC 9112 §3 to §6.

use super::{BodyLen, Out, Parts, parts_len_max};
use crate::http::{HttpMethod, HttpUrl};

/// The head of a request.
pub(crate) struct RequestHead<'a> {
    pub(crate) method: HttpMethod,
    pub(crate) url: HttpUrl<'a>,
    /// In place of the URL's authority; empty is none.
    pub(crate) host: &'a str,
    /// The protocols that are proposed; empty is none.
    pub(crate) upgrade: &'a str,
    /// Where CONNECT leads; empty: where the URL does.
    pub(crate) tunnel: &'a str,
    pub(crate) parts: Parts<'a>,
    pub(crate) body: BodyLen,
    /// `Expect: 100-continue`, if there is a body.
    pub(crate) expects: bool,
    /// The target in absolute form, for a proxy.
    pub(crate) is_absolute: bool,
    /// The value of `Proxy-Authorization`; empty is none.
    pub(crate) proxy_authorization: &'a str,
    /// `Connection: close`
    pub(crate) close: bool,
}

const PROXY_AUTHORIZATION: &str = "Proxy-Authorization: ";
/// What every head may have besides texts that are given.
const FIXED_LEN_MAX: usize = "OPTIONS  HTTP/1.1\r\n".len()
    + "http:///".len()
    + "Host: \r\n".len()
    + 2 * ":65535".len()
    + PROXY_AUTHORIZATION.len()
    + "\r\n".len()
    + "Transfer-Encoding: chunked\r\n".len()
    + Out::NUMBER_LEN_MAX
    + "Expect: 100-continue\r\n".len()
    + "Connection: close, upgrade\r\n".len()
    + "Upgrade: \r\n".len()
    + "\r\n".len();

impl RequestHead<'_> {
    /// An upper bound of its length.
    pub(crate) fn len_max(&self) -> usize {
        // The authority is in the target and in `Host`.
        FIXED_LEN_MAX
            + 2 * self.url.as_str().len()
            + self.host.len()
            + self.upgrade.len()
            + 2 * self.tunnel.len()
            + self.proxy_authorization.len()
            + parts_len_max(&self.parts)
    }

    /// Whether the body waits for `100 Continue`. RFC 9110 §10.1.1: "A client MUST NOT generate a
    /// 100-continue expectation in a request that does not include content."
    pub(crate) const fn expects_continue(&self) -> bool {
        self.expects && !matches!(self.body, BodyLen::None | BodyLen::Known(0))
    }

    /// Writes the head, the empty line included.
    pub(crate) fn write(&self, out: &mut Out<'_>) {
        out.put(self.method.as_str().unwrap_or_default().as_bytes());
        out.put(b" ");
        self.write_target(out);
        out.put(b" HTTP/1.1\r\nHost: ");
        // RFC 9110 §7.2: "A user agent that sends Host SHOULD send it as the first field".
        self.write_host(out);
        out.put(b"\r\n");
        if !self.proxy_authorization.is_empty() {
            out.put(PROXY_AUTHORIZATION.as_bytes());
            out.put(self.proxy_authorization.as_bytes());
            out.put(b"\r\n");
        }
        self.parts.write(out);
        self.body.write(out);
        if self.expects_continue() {
            out.put(b"Expect: 100-continue\r\n");
        }
        match (self.close, self.upgrade.is_empty()) {
            (false, true) => {}
            (true, true) => out.put(b"Connection: close\r\n"),
            (false, false) => out.put(b"Connection: upgrade\r\n"),
            (true, false) => out.put(b"Connection: close, upgrade\r\n"),
        }
        if !self.upgrade.is_empty() {
            out.put(b"Upgrade: ");
            out.put(self.upgrade.as_bytes());
            out.put(b"\r\n");
        }
        out.put(b"\r\n");
    }

    /// RFC 9112 §3.2.
    fn write_target(&self, out: &mut Out<'_>) {
        let [root, rest] = self.url.target();
        match self.method {
            HttpMethod::Connect => return self.write_tunnel(out),
            // §3.2.4: "a client wishes to request OPTIONS for the server as a whole". To a proxy
            // it is the absolute form without a path.
            HttpMethod::Options if self.url.has_no_target() => {
                return out.put(if self.is_absolute { self.url.as_str().as_bytes() } else { b"*" });
            }
            _ => {}
        }
        if self.is_absolute {
            out.put(if self.url.is_https() { b"https://" } else { b"http://" });
            out.put(self.url.authority().as_bytes());
        }
        out.put(root.as_bytes());
        out.put(rest.as_bytes());
    }

    /// RFC 9112 §3.2.3: "only the host and port number of the tunnel destination", with the port
    /// also when it is the scheme's own.
    fn write_tunnel(&self, out: &mut Out<'_>) {
        if !self.tunnel.is_empty() {
            return out.put(self.tunnel.as_bytes());
        }
        out.put(self.url.host_in_brackets().as_bytes());
        out.put(b":");
        out.number(self.url.port().into());
    }

    /// RFC 9112 §3.2: "identical to that authority component", which for CONNECT is its target.
    fn write_host(&self, out: &mut Out<'_>) {
        match (self.host, self.method) {
            ("", HttpMethod::Connect) => self.write_tunnel(out),
            ("", _) => out.put(self.url.authority().as_bytes()),
            (host, _) => out.put(host.as_bytes()),
        }
    }

    /// As it would be sent.
    #[cfg(test)]
    pub(crate) fn written(&self) -> String {
        let mut room = vec![0; self.len_max()];
        let mut out = Out::new(&mut room);
        self.write(&mut out);
        let len = out.len();
        String::from_utf8(room[..len].to_vec()).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::super::ZeroRequest;
    use super::*;

    fn head_of(request: &ZeroRequest<'_>) -> String {
        let url = request.check().unwrap();
        request.request_head(url).written()
    }

    #[test]
    fn heads_are_as_the_rfc_says() {
        type R<'a> = ZeroRequest<'a>;
        let rows = [
            (R::get("http://a"), "GET / HTTP/1.1\r\nHost: a\r\n"),
            (R::get("https://a:443?q"), "GET /?q HTTP/1.1\r\nHost: a\r\n"),
            (R::get("https://a:80/b?q#f"), "GET /b?q HTTP/1.1\r\nHost: a:80\r\n"),
            (R::get("http://[::1]:81"), "GET / HTTP/1.1\r\nHost: [::1]:81\r\n"),
            (R::head("http://a").host("b:9"), "HEAD / HTTP/1.1\r\nHost: b:9\r\n"),
            (R::options("http://a"), "OPTIONS * HTTP/1.1\r\nHost: a\r\n"),
            (R::options("http://a/"), "OPTIONS / HTTP/1.1\r\nHost: a\r\n"),
            (R::delete("http://a"), "DELETE / HTTP/1.1\r\nHost: a\r\n"),
            (
                R::method(HttpMethod::Connect, "http://a/x"),
                "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n",
            ),
            (
                R::connect("http://p", "[::1]:443"),
                "CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n",
            ),
            (R::post("http://a"), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n"),
            (
                R::put("http://a").header("x", 7).bytes(b"123"),
                "PUT / HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\nx: 7\r\n\
                 Content-Length: 3\r\n",
            ),
            (
                R::patch("http://a").stream().expect_continue(),
                "PATCH / HTTP/1.1\r\nHost: a\r\nContent-Type: application/octet-stream\r\n\
                 Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n",
            ),
            (
                R::post("http://a").content_type("").stream_of(u64::MAX),
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\n",
            ),
            (
                R::post("http://a").expect_continue(),
                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n",
            ),
            (
                R::get("http://a").upgrade("websocket"),
                "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
            ),
        ];
        for (request, expected) in &rows {
            assert_eq!(head_of(request), format!("{expected}\r\n"), "{request:?}");
        }
    }

    #[test]
    fn to_a_proxy() {
        let rows = [
            ("HTTP://A:80/b?c", HttpMethod::Get, "GET http://A/b?c HTTP/1.1\r\nHost: A\r\n"),
            ("http://a", HttpMethod::Get, "GET http://a/ HTTP/1.1\r\nHost: a\r\n"),
            ("http://a?q", HttpMethod::Get, "GET http://a/?q HTTP/1.1\r\nHost: a\r\n"),
            ("http://a:81", HttpMethod::Options, "OPTIONS http://a:81 HTTP/1.1\r\nHost: a:81\r\n"),
        ];
        for (url, method, expected) in rows {
            let request = ZeroRequest::method(method, url);
            let head = request.request_head(request.check().unwrap());
            let proxy_authorization = "Basic eDp5";
            let head = RequestHead { is_absolute: true, proxy_authorization, close: true, ..head };
            let rest = "Proxy-Authorization: Basic eDp5\r\nConnection: close\r\n\r\n";
            assert_eq!(head.written(), format!("{expected}{rest}"));
        }
    }

    #[test]
    fn the_longest_head_fits() {
        let long = format!("http://{}:65535/{}", "a".repeat(60), "b".repeat(8000));
        let request = ZeroRequest::options(&long).upgrade("x").expect_continue().stream();
        for (is_absolute, body) in [(true, BodyLen::Known(u64::MAX)), (false, BodyLen::Chunked)] {
            let head = request.request_head(request.check().unwrap());
            let proxy_authorization = "Basic x";
            RequestHead { is_absolute, body, proxy_authorization, close: true, ..head }.written();
        }
        let tunnel = ZeroRequest::method(HttpMethod::Connect, "http://a:65535").upgrade("y");
        let head = tunnel.request_head(tunnel.check().unwrap());
        RequestHead { close: true, proxy_authorization: "z", ..head }.written();
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        type R<'a> = ZeroRequest<'a>;
        let rows = [
            (R::get("a"), "URL"),
            (R::get("http://u:p@a/"), "user name"),
            (R::method(HttpMethod::Other, "http://a"), "method"),
            (R::method(HttpMethod::Trace, "http://a").text("x"), "body"),
            (R::connect("http://a", "b:1").stream(), "body"),
            (R::connect("http://a", "b"), "CONNECT"),
            (R::connect("http://a", "b:"), "CONNECT"),
            (R::connect("http://a", "b:0"), "CONNECT"),
            (R::connect("http://a", "[::1]"), "CONNECT"),
            (R::connect("http://a", "b:1 HTTP/1.1"), "CONNECT"),
            (R::get("http://a").host("b\r\nx: y"), "host"),
            (R::get("http://a").host("b/c"), "host"),
            (R::get("http://a").upgrade("b\r\nc"), "upgrade"),
            (R::get("http://a").header("Host", "b"), "Host"),
            (R::get("http://a").header("content-length", 1), "Content-Length"),
            (R::get("http://a").header("expect", "100-continue"), "Expect"),
            (R::get("http://a").header("x", "a\nb"), "control bytes"),
            (R::post("http://a").content_type("a\r\nb").text(""), "Content-Type"),
        ];
        for (request, what) in rows {
            let error = request.check().map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(what), "{request:?}: {error}");
        }
    }
}
