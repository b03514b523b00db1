//! [`Route`]: whether a request goes to its origin, through a proxy, or through a proxy's tunnel.

use super::{BodyLen, Parts, RequestHead};
use crate::config::{HttpProxy, ProxyServer};
use crate::http::{HttpMethod, HttpUrl};

/// The way to the origin of a URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route<'p> {
    Direct,
    /// The proxy is asked for it, with the target in absolute form.
    Forward(&'p ProxyServer),
    /// The proxy connects to the origin, and passes bytes.
    Tunnel(&'p ProxyServer),
}

/// What makes connections alike: those with the same key can serve the same requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HostKey<'a> {
    pub(crate) kind: HostKind,
    /// Without brackets, in any case.
    pub(crate) host: &'a str,
    pub(crate) port: u16,
}

/// What is spoken, and through what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HostKind {
    Http,
    Https,
    /// A proxy, which is asked for anything.
    Proxy,
    HttpTunnel,
    HttpsTunnel,
}

impl<'p> Route<'p> {
    /// The way that a request for `url` takes. One that upgrades its connection takes a tunnel: a
    /// proxy that is asked for it has no reason to pass what follows (RFC 6455 §4.1).
    pub(crate) fn of(proxy: Option<&'p HttpProxy>, url: &HttpUrl<'_>, is_upgrade: bool) -> Self {
        match proxy.and_then(|proxy| proxy.server_for(url)) {
            None => Self::Direct,
            Some(server) if url.is_https() || is_upgrade => Self::Tunnel(server),
            Some(server) => Self::Forward(server),
        }
    }

    /// What a connection must be to serve `url`.
    pub(crate) fn key<'a>(self, url: HttpUrl<'a>) -> HostKey<'a>
    where
        'p: 'a,
    {
        let (kind, url) = match (self, url.is_https()) {
            (Self::Direct, false) => (HostKind::Http, url),
            (Self::Direct, true) => (HostKind::Https, url),
            (Self::Forward(server), _) => (HostKind::Proxy, server.url()),
            (Self::Tunnel(_), false) => (HostKind::HttpTunnel, url),
            (Self::Tunnel(_), true) => (HostKind::HttpsTunnel, url),
        };
        HostKey { kind, host: url.host(), port: url.port() }
    }

    /// Whom the socket is connected to.
    pub(crate) fn peer<'a>(self, url: HttpUrl<'a>) -> HttpUrl<'a>
    where
        'p: 'a,
    {
        match self {
            Self::Direct => url,
            Self::Forward(server) | Self::Tunnel(server) => server.url(),
        }
    }

    /// A request's head as it is said on this way.
    pub(crate) fn apply<'a>(self, head: RequestHead<'a>) -> RequestHead<'a>
    where
        'p: 'a,
    {
        match self {
            Self::Forward(server) => RequestHead {
                is_absolute: true,
                proxy_authorization: server.authorization(),
                ..head
            },
            Self::Direct | Self::Tunnel(_) => head,
        }
    }
}

impl HostKind {
    /// Whether TLS is spoken to the origin.
    pub(crate) const fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::HttpsTunnel)
    }

    /// Whether a proxy has to be asked for a tunnel first.
    pub(crate) const fn is_tunnel(self) -> bool {
        matches!(self, Self::HttpTunnel | Self::HttpsTunnel)
    }
}

/// The head that asks `server` for a tunnel to the origin of `url` (RFC 9110 §9.3.6).
pub(crate) fn tunnel_head<'a>(server: &'a ProxyServer, url: HttpUrl<'a>) -> RequestHead<'a> {
    RequestHead {
        method: HttpMethod::Connect,
        url,
        host: "",
        upgrade: "",
        tunnel: "",
        parts: Parts::Lines { lines: &[], is_compressible: false },
        body: BodyLen::None,
        expects: false,
        is_absolute: false,
        proxy_authorization: server.authorization(),
        close: false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ZeroRequest;
    use super::*;

    #[test]
    fn ways_and_what_they_share() {
        let proxy = HttpProxy::new("http://u:p@proxy:3128").unwrap().no_proxy("near");
        let row = |url: &'static str, is_upgrade: bool| {
            let url = HttpUrl::parse(url).unwrap();
            let route = Route::of(Some(&proxy), &url, is_upgrade);
            let key = route.key(url);
            (key.kind, key.host.to_owned(), key.port, route.peer(url).authority().to_owned())
        };
        let expect = |kind, host: &str, port, peer: &str| (kind, host.into(), port, peer.into());
        use HostKind::{Http, HttpTunnel, Https, HttpsTunnel, Proxy};
        assert_eq!(row("http://a/", false), expect(Proxy, "proxy", 3128, "proxy:3128"));
        assert_eq!(row("http://b:81/", false), row("http://a/", false));
        assert_eq!(row("http://a/", true), expect(HttpTunnel, "a", 80, "proxy:3128"));
        assert_eq!(row("https://a/", false), expect(HttpsTunnel, "a", 443, "proxy:3128"));
        assert_eq!(row("http://near/", false), expect(Http, "near", 80, "near"));
        assert_eq!(row("https://x.near:8/", true), expect(Https, "x.near", 8, "x.near:8"));
        let url = HttpUrl::parse("http://[::1]/").unwrap();
        assert_eq!(Route::of(None, &url, false), Route::Direct);
        assert_eq!(Route::Direct.key(url).host, "::1");
        assert!(Https.is_tls() && HttpsTunnel.is_tls() && !HttpTunnel.is_tls() && !Proxy.is_tls());
        assert!(HttpTunnel.is_tunnel() && HttpsTunnel.is_tunnel() && !Proxy.is_tunnel());
    }

    #[test]
    fn what_a_proxy_is_told() {
        let proxy = HttpProxy::new("http://user:pass@proxy").unwrap();
        let authorization = "Proxy-Authorization: Basic dXNlcjpwYXNz\r\n";
        let request = ZeroRequest::get("http://a/b");
        let url = request.check().unwrap();
        let forward = Route::of(Some(&proxy), &url, false);
        let expected = format!("GET http://a/b HTTP/1.1\r\nHost: a\r\n{authorization}\r\n");
        assert_eq!(forward.apply(request.request_head(url)).written(), expected);
        // Inside of a tunnel the proxy's credentials have no place.
        let tunnel = Route::of(Some(&proxy), &url, true);
        let expected = "GET /b HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(tunnel.apply(request.request_head(url)).written(), expected);
        let Route::Tunnel(server) = tunnel else { panic!("{tunnel:?}") };
        for (url, to) in [("https://a/b", "a:443"), ("http://[::1]:8/", "[::1]:8")] {
            let head = tunnel_head(server, HttpUrl::parse(url).unwrap());
            let expected = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{authorization}\r\n");
            assert_eq!(head.written(), expected);
        }
    }
}
