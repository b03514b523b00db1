//! URLs that are taken, and those that are not; references by the table of RFC 3986 §5.4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::HttpUrlError as Bad;
use super::*;

fn url(text: &str) -> HttpUrl<'_> {
    HttpUrl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn parts_are_found() {
    // Text, host, port, authority, target, path, query.
    let rows = [
        ("http://a", "a", 80, "a", "/", "/", None),
        ("http://a/", "a", 80, "a", "/", "/", None),
        ("HTTP://A.example/", "A.example", 80, "A.example", "/", "/", None),
        ("https://a", "a", 443, "a", "/", "/", None),
        ("https://a:443/b", "a", 443, "a", "/b", "/b", None),
        ("https://a:80/b", "a", 80, "a:80", "/b", "/b", None),
        ("http://a:/b", "a", 80, "a", "/b", "/b", None),
        ("http://a:8080/b?c=d?e", "a", 8080, "a:8080", "/b?c=d?e", "/b", Some("c=d?e")),
        ("http://a?q", "a", 80, "a", "/?q", "/", Some("q")),
        ("http://a/?", "a", 80, "a", "/?", "/", Some("")),
        ("http://a/b#c?d", "a", 80, "a", "/b", "/b", None),
        ("http://a#/b", "a", 80, "a", "/", "/", None),
        ("http://a./", "a.", 80, "a.", "/", "/", None),
        ("http://[::1]:81/x", "::1", 81, "[::1]:81", "/x", "/x", None),
        ("http://[::1]", "::1", 80, "[::1]", "/", "/", None),
        ("http://127.0.0.1:1", "127.0.0.1", 1, "127.0.0.1:1", "/", "/", None),
        ("http://a_b-c.d/%zz^`{|}", "a_b-c.d", 80, "a_b-c.d", "/%zz^`{|}", "/%zz^`{|}", None),
        ("http://a/b@c:d//", "a", 80, "a", "/b@c:d//", "/b@c:d//", None),
    ];
    for (text, host, port, authority, target, path, query) in rows {
        let url = url(text);
        assert_eq!((url.host(), url.port(), url.authority()), (host, port, authority), "{text}");
        assert_eq!(url.target().concat(), target, "{text}");
        assert_eq!((url.path(), url.query()), (path, query), "{text}");
        assert_eq!(url.is_https(), text.starts_with("https"));
        assert_eq!(HttpUrl::at(url.as_str(), url.places()), url);
    }
    assert_eq!(url("http://[::1]").ip(), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
    assert_eq!(url("http://127.0.0.1").ip(), Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    assert_eq!(url("http://a1").ip(), None);
    assert_eq!(url("http://[::1]").host_in_brackets(), "[::1]");
    assert!(url("http://a").has_no_target() && !url("http://a/").has_no_target());
    assert_eq!(format!("{0} {0:?}", url("http://a#b")), "http://a HttpUrl(\"http://a\")");
}

#[test]
fn what_may_mislead_is_refused() {
    let long = format!("http://a/{}", "x".repeat(URL_LEN_MAX));
    let (label, name) =
        (format!("http://{}/", "x".repeat(64)), format!("http://{}/", "x.".repeat(128)));
    let rows: &[(&str, Bad)] = &[
        ("", Bad::Scheme),
        ("a", Bad::Scheme),
        ("//a/", Bad::Scheme),
        ("http:/a", Bad::Scheme),
        ("http:a", Bad::Scheme),
        ("ftp://a/", Bad::Scheme),
        (" http://a/", Bad::Scheme),
        ("http://u@a/", Bad::UserInfo),
        ("http://u:p@a/", Bad::UserInfo),
        ("http://@a/", Bad::UserInfo),
        ("http://", Bad::Host),
        ("http:///a", Bad::Host),
        ("http://:80/", Bad::Host),
        ("http://?a", Bad::Host),
        ("http://a..b/", Bad::Host),
        ("http://.a/", Bad::Host),
        ("http://./", Bad::Host),
        ("http://a%2eb/", Bad::Host),
        ("http://a,b/", Bad::Host),
        ("http://[::1/", Bad::Host),
        ("http://[::1]x/", Bad::Host),
        ("http://[::1%25eth0]/", Bad::Host),
        ("http://[1.2.3.4]/", Bad::Host),
        ("http://::1/", Bad::Host),
        ("http://127.1/", Bad::Host),
        ("http://2130706433/", Bad::Host),
        ("http://0x7f.1/", Bad::Host),
        ("http://0x7f000001/", Bad::Host),
        ("http://010.0.0.1/", Bad::Host),
        ("http://1.2.3.4./", Bad::Host),
        ("http://1.2.3.4.5/", Bad::Host),
        ("http://a.256/", Bad::Host),
        (&label, Bad::Host),
        (&name, Bad::Host),
        ("http://a:0/", Bad::Port),
        ("http://a:65536/", Bad::Port),
        ("http://a:080/", Bad::Port),
        ("http://a:+80/", Bad::Port),
        ("http://a:b/", Bad::Port),
        ("http://a:1:2/", Bad::Port),
        ("http://a/ b", Bad::Byte),
        ("http://a/b\r\nx: y", Bad::Byte),
        ("http://a/\0", Bad::Byte),
        ("http://a/\u{7f}", Bad::Byte),
        ("http://a/ü", Bad::Byte),
        ("http://ü/", Bad::Byte),
        ("http://a\\@b/", Bad::Byte),
        ("http://a/\\b", Bad::Byte),
        ("http://a/<b>", Bad::Byte),
        (&long, Bad::TooLong),
    ];
    for (text, error) in rows {
        assert_eq!(HttpUrl::parse(text), Err(*error), "{text}");
    }
    assert!(IoError::from(Bad::Port).to_string().contains("1 to 65535"));
}

#[test]
fn origins() {
    let rows = [
        ("http://a/x", "http://A:80/y", true),
        ("http://a/", "https://a/", false),
        ("http://a/", "http://a:81/", false),
        ("http://a/", "http://a./", false),
        ("http://[::1]/", "http://[0:0:0:0:0:0:0:1]/", true),
        ("http://127.0.0.1/", "http://[::1]/", false),
        ("http://127.0.0.1/", "http://a/", false),
    ];
    for (a, b, same) in rows {
        assert_eq!(url(a).is_same_origin(&url(b)), same, "{a} {b}");
        assert_eq!(url(b).is_same_origin(&url(a)), same, "{a} {b}");
    }
}

fn resolved(base: &str, location: &[u8]) -> Result<String, Bad> {
    let mut out = String::from("what was there");
    url(base).resolve(location, &mut out).map(|url| url.as_str().to_owned())
}

/// RFC 3986 §5.4, but for what is no http.
#[test]
fn references_lead_where_the_rfc_says() {
    let rows = [
        ("g", "http://a/b/c/g"),
        ("./g", "http://a/b/c/g"),
        ("g/", "http://a/b/c/g/"),
        ("/g", "http://a/g"),
        ("//g", "http://g"),
        ("?y", "http://a/b/c/d;p?y"),
        ("g?y", "http://a/b/c/g?y"),
        ("#s", "http://a/b/c/d;p?q"),
        ("g#s", "http://a/b/c/g"),
        ("g?y#s", "http://a/b/c/g?y"),
        (";x", "http://a/b/c/;x"),
        ("g;x", "http://a/b/c/g;x"),
        ("", "http://a/b/c/d;p?q"),
        (".", "http://a/b/c/"),
        ("./", "http://a/b/c/"),
        ("..", "http://a/b/"),
        ("../", "http://a/b/"),
        ("../g", "http://a/b/g"),
        ("../..", "http://a/"),
        ("../../", "http://a/"),
        ("../../g", "http://a/g"),
        ("../../../g", "http://a/g"),
        ("../../../../g", "http://a/g"),
        ("/./g", "http://a/g"),
        ("/../g", "http://a/g"),
        ("g.", "http://a/b/c/g."),
        (".g", "http://a/b/c/.g"),
        ("g..", "http://a/b/c/g.."),
        ("..g", "http://a/b/c/..g"),
        ("./../g", "http://a/b/g"),
        ("./g/.", "http://a/b/c/g/"),
        ("g/./h", "http://a/b/c/g/h"),
        ("g/../h", "http://a/b/c/h"),
        ("g;x=1/./y", "http://a/b/c/g;x=1/y"),
        ("g;x=1/../y", "http://a/b/c/y"),
        ("g?y/./x", "http://a/b/c/g?y/./x"),
        ("g?y/../x", "http://a/b/c/g?y/../x"),
        ("g#s/../x", "http://a/b/c/g"),
        ("https://h/../x/./y?z", "https://h/x/y?z"),
        ("HTTPS://h", "https://h"),
        ("//h:8080/..", "http://h:8080/"),
        ("//h?q", "http://h?q"),
        ("//", ""),
        ("a//../b", "http://a/b/c/a/b"),
        ("1:2", "http://a/b/c/1:2"),
        ("./a:b", "http://a/b/c/a:b"),
    ];
    for (location, expected) in rows {
        let found = resolved("http://a/b/c/d;p?q", location.as_bytes());
        let expected = if expected.is_empty() { Err(Bad::Host) } else { Ok(expected.to_owned()) };
        assert_eq!(found, expected, "{location}");
    }
    for base in ["http://a", "http://a?q", "http://a/", "http://a:80/x?/y/"] {
        let authority = base.split(['/', '?']).nth(2).unwrap();
        assert_eq!(resolved(base, b"g"), Ok(format!("http://{authority}/g")), "{base}");
        assert_eq!(resolved(base, b"../g/.."), Ok(format!("http://{authority}/")), "{base}");
        assert_eq!(resolved(base, b""), Ok(base.to_owned()));
    }
    assert_eq!(resolved("http://a?q", b"?r"), Ok("http://a?r".to_owned()));
    assert_eq!(resolved("HTTP://a/b", b"c"), Ok("http://a/c".to_owned()));
    assert_eq!(resolved("https://a/b", b"//c"), Ok("https://c".to_owned()));
}

#[test]
fn what_a_location_may_not_lead_to() {
    let rows: &[(&[u8], Bad)] = &[
        (b"javascript:alert(1)", Bad::Scheme),
        (b"file:///etc/passwd", Bad::Scheme),
        (b"http:g", Bad::Scheme),
        (b"a:b", Bad::Scheme),
        (b"//u@h/", Bad::UserInfo),
        (b"http://h:0/", Bad::Port),
        (b"//h\xFC/", Bad::Host),
        (b"// h/", Bad::Host),
        (b"/a\tb", Bad::Byte),
        (b"/\\h", Bad::Byte),
        (b"\\\\h", Bad::Byte),
        (b"?\r\n", Bad::Byte),
    ];
    for (location, error) in rows {
        assert_eq!(resolved("http://a/b", location), Err(*error), "{}", location.escape_ascii());
    }
    assert_eq!(
        resolved("http://a/b", "/ü b?ö".as_bytes()),
        Ok("http://a/%C3%BC%20b?%C3%B6".into())
    );
    for len in URL_LEN_MAX - 8..URL_LEN_MAX + 8 {
        let location = vec![b'x'; len - "http://a/".len()];
        let expected = if len <= URL_LEN_MAX { Ok(len) } else { Err(Bad::TooLong) };
        assert_eq!(resolved("http://a/b", &location).map(|url| url.len()), expected);
    }
    // Ever longer, as a hostile server would have it; no room beyond the bound is ever taken.
    let mut out = String::with_capacity(URL_LEN_MAX);
    let wide = [0xFF; 3 * URL_LEN_MAX];
    assert_eq!(url("http://a/b").resolve(&wide, &mut out), Err(Bad::TooLong));
    assert_eq!(out.capacity(), URL_LEN_MAX);
}
