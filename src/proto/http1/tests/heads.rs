//! What an accepted head says: places, flags, body.

use super::{LIMITS, parse_request};
use crate::http::{HttpHeaders, HttpMethod};
use crate::proto::http1::{
    Body, HEADER_COUNT_MAX, Head, HeadFlags, Limits, Parsed, leading_empty_lines, may_be_complete,
    parse_thoroughly,
};

fn accepted(bytes: &[u8]) -> Head {
    let parsed = parse_request(bytes, &LIMITS);
    let text = String::from_utf8_lossy(bytes);
    assert_eq!(parse_thoroughly(bytes, &LIMITS), parsed, "{text}");
    match parsed {
        Parsed::Head(head) => head,
        other => panic!("{other:?} of {text}"),
    }
}

#[test]
fn places_follow_from_lengths() {
    let bytes = b"POST /a?b HTTP/1.1\r\nHost: a.example\r\nX: y\r\nContent-Length: 2\r\n\r\nzz";
    let head = accepted(bytes);
    assert_eq!((head.method, head.body), (HttpMethod::Post, Body::Length(2)));
    let method = usize::from(head.method_len);
    let target_end = method + 1 + usize::from(head.target_len);
    assert_eq!(&bytes[..method], b"POST");
    assert_eq!(&bytes[method + 1..target_end], b"/a?b");
    let block = &bytes[target_end + 11..usize::from(head.head_len) - 2];
    assert_eq!(block, b"Host: a.example\r\nX: y\r\nContent-Length: 2\r\n");
    assert_eq!(HttpHeaders::new(block).get("x"), Some("y"));
    assert_eq!(&bytes[usize::from(head.head_len)..], b"zz");
    let none = b"GET / HTTP/1.0\r\n\r\n";
    let head = accepted(none);
    assert_eq!((head.method_len, head.target_len, head.head_len), (3, 1, none.len() as u16));
}

#[test]
fn it_is_small() {
    assert!(size_of::<Head>() <= 24);
}

#[test]
fn flags() {
    use HeadFlags as F;
    let (close, gzip) = (F::CLOSE, F::ACCEPTS_GZIP);
    let rows: [(&str, &str, F); 29] = [
        ("1", "", F::empty()),
        ("1", "Connection: keep-alive\r\n", F::empty()),
        ("1", "Connection: close\r\n", close),
        ("1", "Connection: x, CLOSE ,y\r\n", close),
        ("1", "Connection: x\r\nConnection: close\r\n", close),
        ("1", "Connection: keep-alive, close\r\n", close),
        ("1", "Connection: closed\r\nx: close\r\n", F::empty()),
        ("0", "", F::VERSION_10 | close),
        ("0", "Connection: Keep-Alive\r\n", F::VERSION_10 | F::KEEP_ALIVE_10),
        ("0", "Connection: keep-alive, close\r\n", F::VERSION_10 | close),
        ("1", "Connection: Upgrade\r\nUpgrade: websocket\r\n", F::UPGRADE),
        ("1", "Upgrade: websocket\r\nConnection: keep-alive, upgrade\r\n", F::UPGRADE),
        ("1", "Upgrade: websocket\r\n", F::empty()),
        ("1", "Connection: upgrade\r\n", F::empty()),
        ("1", "Connection: upgrade\r\nUpgrade:\r\n", F::empty()),
        ("0", "Connection: upgrade\r\nUpgrade: x\r\n", F::VERSION_10 | close),
        ("1", "Expect: 100-continue\r\n", F::empty()),
        ("1", "Expect: 100-Continue\r\nContent-Length: 1\r\n", F::EXPECT_CONTINUE),
        ("1", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", F::EXPECT_CONTINUE),
        ("1", "Expect: 100-continue\r\nContent-Length: 0\r\n", F::empty()),
        ("0", "Expect: 100-continue\r\nContent-Length: 1\r\n", F::VERSION_10 | close),
        ("1", "Accept-Encoding: gzip\r\n", gzip),
        ("1", "Accept-Encoding: br, x-gzip;q=0.1\r\n", gzip),
        ("1", "Accept-Encoding: br\r\nAccept-Encoding: GZIP\r\n", gzip),
        ("1", "Accept-Encoding: gzip;q=0, *\r\n", F::empty()),
        ("1", "Accept-Encoding: *\r\n", gzip),
        ("1", "Accept-Encoding: *;q=0\r\n", F::empty()),
        ("1", "Accept-Encoding: identity\r\n", F::empty()),
        ("1", "Accept-Encoding:\r\n", F::empty()),
    ];
    for (minor, fields, flags) in rows {
        let bytes = format!("GET / HTTP/1.{minor}\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(accepted(bytes.as_bytes()).flags, flags, "{fields}");
    }
}

#[test]
fn bodies() {
    let rows: [(&str, Body); 6] = [
        ("", Body::None),
        ("Content-Length: 0\r\n", Body::None),
        ("Content-Length: 1\r\n", Body::Length(1)),
        ("Content-Length: 18446744073709551615\r\n", Body::Length(u64::MAX)),
        ("Content-Length: 000000000000000000000000000007\r\n", Body::Length(7)),
        ("Transfer-Encoding: Chunked\r\n", Body::Chunked),
    ];
    for (fields, body) in rows {
        let bytes = format!("PUT / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        assert_eq!(accepted(bytes.as_bytes()).body, body, "{fields}");
    }
}

#[test]
fn limits_are_exact() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nx: y\r\n\r\n";
    let verdict = |header_count, header_size| {
        let limits = Limits { header_count, header_size };
        let parsed = parse_request(bytes, &limits);
        assert_eq!(parse_thoroughly(bytes, &limits), parsed);
        match parsed {
            Parsed::Head(_) => 200,
            Parsed::Partial => 0,
            Parsed::Refused(refusal) => refusal.status,
        }
    };
    let len = bytes.len() as u32;
    assert_eq!([verdict(2, len), verdict(1, len), verdict(0, len)], [200, 431, 431]);
    assert_eq!([verdict(2, len - 1), verdict(2, 16), verdict(2, 15)], [431, 431, 414]);
    assert_eq!([verdict(u16::MAX, u32::MAX), verdict(2, 0)], [200, 414]);
    let fields = |count: usize| -> String { (1..count).map(|i| format!("x{i}: y\r\n")).collect() };
    for (count, is_good) in [(HEADER_COUNT_MAX, true), (HEADER_COUNT_MAX + 1, false)] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", fields(count));
        let parsed = parse_request(bytes.as_bytes(), &Limits { header_count: 500, ..LIMITS });
        assert_eq!(matches!(parsed, Parsed::Head(_)), is_good);
    }
    // The longest head there is.
    let most = Limits { header_count: 2, header_size: u32::MAX };
    let long = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(len - 27));
    let parsed = parse_request(long(65_535).as_bytes(), &most);
    assert!(matches!(parsed, Parsed::Head(head) if head.head_len == u16::MAX));
    assert!(matches!(parse_request(long(65_536).as_bytes(), &most), Parsed::Refused(_)));
}

#[test]
fn empty_lines_before_a_request() {
    let rows: [(&[u8], usize); 8] = [
        (b"GET", 0),
        (b"", 0),
        (b"\r", 0),
        (b"\n\n", 0),
        (b"\r\nG", 2),
        (b"\r\n\r", 2),
        (b"\r\n\r\n\r\n\r\nG", 8),
        (b"\r\n\r\n\r\n\r\n\r\n", 8),
    ];
    for (input, len) in rows {
        assert_eq!(leading_empty_lines(input), len, "{input:?}");
    }
    assert_eq!(parse_request(b"\r", &LIMITS), Parsed::Partial);
    assert!(matches!(parse_request(b"\r\n", &LIMITS), Parsed::Refused(_)));
    assert!(may_be_complete(b"a\nb") && !may_be_complete(b"ab\r") && !may_be_complete(b""));
}
