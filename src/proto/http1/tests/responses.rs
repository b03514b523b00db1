//! Heads of responses, for each rule of RFC 9112 §6.3.

use super::LIMITS;
use crate::code;
use crate::http::{HttpHeaders, HttpMethod as M};
use crate::proto::http1::response::{ParsedResponse, ResponseBody as B, parse_response};
use crate::proto::http1::{HeadFlags as F, Limits};

/// The verdict, the same at every cut.
fn parse(bytes: &[u8], method: M) -> ParsedResponse {
    let parsed = parse_response(bytes, &LIMITS, method);
    for cut in 1..bytes.len() {
        let early = parse_response(&bytes[..cut], &LIMITS, method);
        assert!(early == ParsedResponse::Partial || early == parsed, "{early:?} at {cut}");
        let is_refused = matches!(parsed, ParsedResponse::Refused(_));
        let is_behind = |head_len: u16| cut >= usize::from(head_len);
        match early {
            ParsedResponse::Head(head) => assert!(is_behind(head.head_len)),
            ParsedResponse::Refused(_) => assert!(is_refused),
            ParsedResponse::Partial => {}
        }
    }
    parsed
}

#[test]
fn bodies_and_flags() {
    let rows: [(M, &str, B, F); 32] = [
        (M::Get, "1.1 200 OK\r\nContent-Length: 3\r\n", B::Length(3), F::empty()),
        (M::Get, "1.1 200 OK\r\nContent-Length: 0\r\n", B::None, F::empty()),
        (M::Get, "1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", B::Chunked, F::empty()),
        (M::Get, "1.1 200 OK\r\n", B::UntilClose, F::CLOSE),
        (M::Get, "1.1 200 \r\n", B::UntilClose, F::CLOSE),
        (M::Get, "1.1 200\r\n", B::UntilClose, F::CLOSE),
        (M::Get, "1.1 200 \u{e9}t\u{e9}\t!\r\n", B::UntilClose, F::CLOSE),
        (
            M::Get,
            "1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n",
            B::Length(3),
            F::CLOSE,
        ),
        (M::Head, "1.1 200 OK\r\nContent-Length: 3\r\n", B::None, F::empty()),
        (M::Head, "1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", B::None, F::empty()),
        (M::Head, "1.1 200 OK\r\n", B::None, F::empty()),
        (M::Get, "1.1 204 No Content\r\n", B::None, F::empty()),
        (M::Get, "1.1 204 No Content\r\nContent-Length: 3\r\n", B::None, F::empty()),
        (M::Get, "1.1 304 Not Modified\r\nContent-Length: 3\r\n", B::None, F::empty()),
        (M::Get, "1.1 205 Reset\r\nContent-Length: 0\r\n", B::None, F::empty()),
        (M::Get, "1.1 100 Continue\r\n", B::None, F::INTERIM),
        (M::Get, "1.1 103 Early Hints\r\nLink: x\r\n", B::None, F::INTERIM),
        (M::Get, "1.1 199 x\r\n", B::None, F::INTERIM),
        (M::Get, "1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x\r\n", B::None, F::UPGRADE),
        (M::Connect, "1.1 200 OK\r\n", B::None, F::empty()),
        (M::Connect, "1.1 204 OK\r\nContent-Length: 3\r\n", B::None, F::empty()),
        (M::Connect, "1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", B::None, F::empty()),
        (M::Connect, "1.1 407 No\r\nContent-Length: 3\r\n", B::Length(3), F::empty()),
        (M::Connect, "1.1 502 No\r\n", B::UntilClose, F::CLOSE),
        (M::Post, "1.1 999 x\r\nContent-Length: 1\r\n", B::Length(1), F::empty()),
        (
            M::Get,
            "1.0 200 OK\r\nContent-Length: 3\r\n",
            B::Length(3),
            F::VERSION_10.union(F::CLOSE),
        ),
        (
            M::Get,
            "1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n",
            B::Length(3),
            F::VERSION_10.union(F::KEEP_ALIVE_10),
        ),
        (
            M::Get,
            "1.0 200 OK\r\nConnection: keep-alive\r\n",
            B::UntilClose,
            F::VERSION_10.union(F::CLOSE),
        ),
        (M::Get, "1.0 200 OK\r\n", B::UntilClose, F::VERSION_10.union(F::CLOSE)),
        (M::Get, "1.0 304 x\r\n", B::None, F::VERSION_10.union(F::CLOSE)),
        (M::Get, "1.1 301 x\r\nLocation: /\r\nContent-Length: 0\r\n", B::None, F::empty()),
        (M::Other, "1.1 200 OK\r\nContent-Length: 3\r\n", B::Length(3), F::empty()),
    ];
    for (method, text, body, flags) in rows {
        let bytes = format!("HTTP/{text}\r\nrest");
        let ParsedResponse::Head(head) = parse(bytes.as_bytes(), method) else {
            panic!("{text} was refused");
        };
        assert_eq!((head.body, head.flags), (body, flags), "{text}");
        assert_eq!(head.status, text[4..7].parse::<u16>().expect("a status"), "{text}");
        let block = usize::from(head.line_len)..usize::from(head.head_len) - 2;
        assert_eq!(&bytes[block.end + 2..], "rest");
        assert_eq!(&bytes[block.start - 2..block.start], "\r\n");
        let fields = HttpHeaders::new(&bytes.as_bytes()[block]);
        assert_eq!(fields.len(), text.matches("\r\n").count() - 1, "{text}");
    }
}

#[test]
fn refused() {
    let (line, header) = (code::HTTP_BAD_STATUS_LINE, code::HTTP_BAD_HEADER);
    let framing = code::HTTP_BAD_FRAMING;
    let length = "HTTP/1.1 200 OK\r\nContent-Length:";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n";
    let rows: [(String, u64); 32] = [
        ("\r\nHTTP/1.1 200 OK\r\n\r\n".into(), line),
        ("\nHTTP/1.1 200 OK\r\n\r\n".into(), line),
        (" HTTP/1.1 200 OK\r\n\r\n".into(), line),
        ("http/1.1 200 OK\r\n\r\n".into(), line),
        ("HTTP/1.1\r\n\r\n".into(), line),
        ("HTTP/1.1  200 OK\r\n\r\n".into(), line),
        ("HTTP/1.1\t200 OK\r\n\r\n".into(), line),
        ("HTTP/1.1 20 OK\r\n\r\n".into(), line),
        ("HTTP/1.1 2000 OK\r\n\r\n".into(), line),
        ("HTTP/1.1 099 OK\r\n\r\n".into(), line),
        ("HTTP/1.1 -20 OK\r\n\r\n".into(), line),
        ("HTTP/1.1 200 O\0K\r\n\r\n".into(), line),
        ("HTTP/1.1 200 OK\r\r\n\r\n".into(), line),
        ("HTTP/1.1 200 OK\n\r\n".into(), line),
        ("HTTP/1.1 200\n\r\n".into(), line),
        ("HTTP/2.0 200 OK\r\n\r\n".into(), code::HTTP_VERSION),
        ("HTTP/1.2 200 OK\r\n\r\n".into(), code::HTTP_VERSION),
        ("ICY 200 OK\r\n\r\n".into(), line),
        ("GET / HTTP/1.1\r\n\r\n".into(), line),
        ("HTTP/1.1 200 OK\r\nx: y\nz: a\r\n\r\n".into(), header),
        ("HTTP/1.1 200 OK\r\nx: y\r\n\n".into(), header),
        ("HTTP/1.1 200 OK\r\nx: y\r\n z\r\n\r\n".into(), header),
        ("HTTP/1.1 200 OK\r\nx : y\r\n\r\n".into(), header),
        ("HTTP/1.1 200 OK\r\nx: y\rz\r\n\r\n".into(), header),
        (format!("{length} 3\r\nContent-Length: 3\r\n\r\n"), framing),
        (format!("{length} 3, 3\r\n\r\n"), framing),
        (format!("{length} -1\r\n\r\n"), framing),
        (format!("{length}\r\n\r\n"), framing),
        (format!("{chunked}Content-Length: 3\r\n\r\n"), framing),
        (chunked.replace("1.1", "1.0") + "\r\n", framing),
        (chunked.replace("chunked", "gzip") + "\r\n", framing),
        (chunked.replace("chunked", "gzip, chunked") + "\r\n", code::HTTP_NOT_IMPLEMENTED),
    ];
    for (text, code) in rows {
        match parse(text.as_bytes(), M::Get) {
            ParsedResponse::Refused(refusal) => assert_eq!(refusal.code, code, "{text:?}"),
            other => panic!("{other:?} of {text:?}"),
        }
    }
}

#[test]
fn limits_are_exact() {
    let bytes = b"HTTP/1.1 200 OK\r\na: b\r\nc: d\r\n\r\n";
    let verdict = |header_count, header_size| match parse_response(
        bytes,
        &Limits { header_count, header_size },
        M::Get,
    ) {
        ParsedResponse::Head(_) => 0,
        ParsedResponse::Partial => 1,
        ParsedResponse::Refused(refusal) => refusal.code,
    };
    let len = bytes.len() as u32;
    assert_eq!([verdict(2, len), verdict(2, u32::MAX)], [0, 0]);
    let too_large = code::HTTP_HEAD_TOO_LARGE;
    assert_eq!([verdict(1, len), verdict(2, len - 1), verdict(2, 5)], [too_large; 3]);
}
