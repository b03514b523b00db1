//! Where a redirect leads, and what of a request goes there: RFC 9110 §15.4.

use super::{BodyLen, Order};
use crate::http::{HttpMethod, HttpUrl};
use crate::proto::http::request::RequestOptions;

/// What a pool allows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RedirectRules {
    /// How many a request follows.
    pub(crate) count_max: u8,
    /// Whether from `https` to `http`.
    pub(crate) loses_tls: bool,
}

/// The method of the request that follows one with `method`; `None`: the status redirects nothing.
const fn method_after(status: u16, method: HttpMethod) -> Option<HttpMethod> {
    Some(match (status, method) {
        // "For historical reasons, a user agent MAY change the request method from POST to GET."
        (301 | 302, HttpMethod::Post) | (303, _) if !matches!(method, HttpMethod::Head) => {
            HttpMethod::Get
        }
        (301..=303 | 307 | 308, _) => method,
        _ => return None,
    })
}

impl Order {
    /// Makes of this request, which was answered with `status` and `location`, the one that
    /// follows, and tells whether there is one; if not, it is unchanged, and the response is the
    /// application's. `scratch` is room for a URL.
    pub(crate) fn follow(
        &mut self,
        status: u16,
        location: Option<&[u8]>,
        rules: RedirectRules,
        scratch: &mut String,
    ) -> bool {
        let is_wanted = !self.options.contains(RequestOptions::NO_REDIRECTS)
            && self.redirects < rules.count_max
            && !self.is_upgrade();
        let (true, Some(location)) = (is_wanted, location) else { return false };
        let Some(method) = method_after(status, self.method) else { return false };
        let keeps_body = method == self.method && status != 303;
        let from = self.url();
        let Ok(to) = from.resolve(location, scratch) else { return false };
        let loses_tls = from.is_https() && !to.is_https();
        if (loses_tls && !rules.loses_tls) || (keeps_body && !self.is_kept()) {
            return false;
        }
        let is_same_origin = from.is_same_origin(&to);
        self.go_to(&to, method, keeps_body, is_same_origin);
        true
    }

    fn go_to(&mut self, to: &HttpUrl<'_>, method: HttpMethod, keeps_body: bool, same: bool) {
        // What `Host` was to be is true of the old origin.
        let [_, host, ..] = self.front();
        let host = if same { host.to_owned() } else { String::new() };
        self.draft.rewrite(&[to.as_str(), &host], keeps_body, |name| {
            (keeps_body || !describes_content(name)) && (same || !is_secret(name))
        });
        self.lens = [to.as_str().len() as u16, host.len() as u16, 0, 0];
        self.places = to.places();
        self.method = method;
        self.redirects += 1;
        if !keeps_body {
            self.body = BodyLen::None;
        }
    }
}

/// Fields to be left behind with the content (RFC 9110 §15.4).
fn describes_content(name: &str) -> bool {
    let is_content = |front: &str| front.eq_ignore_ascii_case("content-");
    name.split_at_checked("content-".len()).is_some_and(|(front, _)| is_content(front))
        || ["digest", "last-modified", "trailer"].iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// Fields that are no business of another origin.
fn is_secret(name: &str) -> bool {
    ["authorization", "cookie", "proxy-authorization"]
        .iter()
        .any(|own| name.eq_ignore_ascii_case(own))
}

#[cfg(test)]
mod tests {
    use super::super::{Content, ZeroRequest};
    use super::*;

    const RULES: RedirectRules = RedirectRules { count_max: 3, loses_tls: false };

    fn order(mut request: ZeroRequest<'_>) -> Order {
        Order::new(&mut request, &mut Vec::new(), |_| None).unwrap()
    }

    fn body(order: &mut Order) -> Vec<u8> {
        match order.content() {
            Content::Copied(bytes) => bytes.to_vec(),
            Content::Kept(memory) => memory.bytes().to_vec(),
            _ => Vec::new(),
        }
    }

    #[test]
    fn methods_and_bodies() {
        use HttpMethod::{Delete, Get, Head, Options, Post, Put};
        // Status, method, the method that follows, whether the body does.
        let rows = [
            (301, Get, Some((Get, true))),
            (302, Head, Some((Head, true))),
            (301, Post, Some((Get, false))),
            (302, Post, Some((Get, false))),
            (301, Put, Some((Put, true))),
            (302, Delete, Some((Delete, true))),
            (303, Get, Some((Get, false))),
            (303, Head, Some((Head, false))),
            (303, Post, Some((Get, false))),
            (303, Put, Some((Get, false))),
            (307, Post, Some((Post, true))),
            (308, Post, Some((Post, true))),
            (308, Options, Some((Options, true))),
            (200, Get, None),
            (300, Get, None),
            (304, Get, None),
            (305, Get, None),
            (306, Get, None),
            (399, Post, None),
            (404, Get, None),
        ];
        for (status, method, expected) in rows {
            let request = ZeroRequest::method(method, "http://a/b");
            let mut order = order(request.header("content-language", "la").text("hello"));
            let follows = order.follow(status, Some(b"c"), RULES, &mut String::new());
            assert_eq!(follows, expected.is_some(), "{status} {method}");
            let Some((after, keeps)) = expected else { continue };
            assert_eq!(order.method, after, "{status} {method}");
            assert_eq!(order.url().as_str(), "http://a/c");
            assert_eq!(body(&mut order) == b"hello", keeps, "{status} {method}");
            let head = order.head().written().to_ascii_lowercase();
            assert_eq!(head.matches("content-").count(), if keeps { 3 } else { 0 }, "{head}");
            assert!(head.starts_with(&format!("{after} /c HTTP/1.1\r\n").to_ascii_lowercase()));
        }
    }

    #[test]
    fn secrets_stay_with_their_origin() {
        let rows = [
            ("/c", true),
            ("http://A:80/c", true),
            ("https://a/c", false),
            ("http://a:81/c", false),
            ("//b/c", false),
            ("http://sub.a/c", false),
        ];
        for (location, stay) in rows {
            let request = ZeroRequest::get("http://a/b").host("virtual").header("Accept", "x");
            let request = request.header("AUTHORIZATION", "s").header("cookie", "s");
            let mut order = order(request.header("Proxy-Authorization", "s").header("x-z", "y"));
            assert!(order.follow(302, Some(location.as_bytes()), RULES, &mut String::new()));
            let head = order.head().written();
            assert_eq!(head.matches(": s\r\n").count(), if stay { 3 } else { 0 }, "{head}");
            assert_eq!(head.contains("Host: virtual\r\n"), stay, "{head}");
            assert!(head.contains("\r\nAccept: x\r\n") && head.contains("\r\nx-z: y\r\n"));
        }
    }

    #[test]
    fn some_are_not_followed() {
        let rules = RULES;
        let mut scratch = String::new();
        let mut tries = |mut order: Order, location: Option<&str>, rules| {
            let before = order.head().written();
            let follows = order.follow(307, location.map(str::as_bytes), rules, &mut scratch);
            assert!(follows || order.head().written() == before);
            follows
        };
        let get = |url| order(ZeroRequest::get(url));
        assert!(tries(get("https://a/"), Some("https://b/"), rules));
        assert!(!tries(get("https://a/"), Some("http://a/"), rules));
        let loose = RedirectRules { loses_tls: true, ..rules };
        assert!(tries(get("https://a/"), Some("http://a/"), loose));
        assert!(!tries(get("http://a/"), None, rules));
        assert!(!tries(get("http://a/"), Some("ftp://b/"), rules));
        assert!(!tries(get("http://a/"), Some("http://u:p@b/"), rules));
        assert!(!tries(order(ZeroRequest::get("http://a").no_redirects()), Some("/"), rules));
        assert!(!tries(order(ZeroRequest::get("http://a").upgrade("x")), Some("/"), rules));
        assert!(!tries(order(ZeroRequest::connect("http://a", "b:1")), Some("/"), rules));
        let none = RedirectRules { count_max: 0, ..rules };
        assert!(!tries(get("http://a/"), Some("/"), none));
        // A streamed body is not followed, before it was asked for either.
        assert!(!tries(order(ZeroRequest::post("http://a").stream()), Some("/"), rules));
        // A body that was given away cannot be sent again; a 303 has no need of it.
        let mut sent = order(ZeroRequest::post("http://a").stream_of(5));
        sent.content();
        assert!(!sent.follow(307, Some(b"/"), rules, &mut scratch));
        assert!(sent.follow(303, Some(b"/"), rules, &mut scratch));
        assert!(sent.is_whole() && sent.head().written().starts_with("GET /"));
    }

    #[test]
    fn loops_end() {
        let mut order = order(ZeroRequest::post("http://a/").static_bytes(b"static"));
        let mut scratch = String::new();
        for _ in 0..3 {
            assert!(order.follow(308, Some(b""), RULES, &mut scratch));
            assert_eq!(body(&mut order), b"static");
        }
        assert!(!order.follow(308, Some(b""), RULES, &mut scratch));
        assert_eq!(order.redirects, 3);
    }
}
