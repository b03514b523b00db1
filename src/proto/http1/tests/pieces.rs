//! Chunked bodies: what comes out, at every cut.

use crate::code;
use crate::proto::http1::{ChunkStep, Chunked};

/// The body, the bytes behind it, and the code of a refusal.
#[derive(PartialEq, Debug, Default)]
struct Decoded {
    body: Vec<u8>,
    consumed: usize,
    is_over: bool,
    code: Option<u64>,
}

fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let (mut chunked, mut decoded) = (Chunked::new(), Decoded::default());
    for mut input in pieces {
        while !input.is_empty() {
            let consumed = match chunked.step(input) {
                ChunkStep::Data { skip, len } => {
                    assert!(len > 0, "data is never empty");
                    decoded.body.extend_from_slice(&input[skip..skip + len]);
                    skip + len
                }
                ChunkStep::Skip { len } => {
                    assert_eq!(len, input.len(), "all there was");
                    len
                }
                ChunkStep::End { len } => {
                    decoded.consumed += len;
                    decoded.is_over = true;
                    return decoded;
                }
                ChunkStep::Bad(refusal) => {
                    // How far it came depends on the pieces.
                    decoded.consumed = 0;
                    decoded.code = Some(refusal.code);
                    return decoded;
                }
            };
            decoded.consumed += consumed;
            input = &input[consumed..];
        }
    }
    decoded
}

/// Decodes in one piece, in two with each cut, and byte by byte.
#[track_caller]
fn check(bytes: &[u8], body: &[u8], end: Result<usize, u64>) {
    let expected = Decoded {
        body: body.to_vec(),
        consumed: end.unwrap_or(0),
        is_over: end.is_ok(),
        code: end.err(),
    };
    let text = bytes.escape_ascii();
    assert_eq!(decode([bytes]), expected, "{text}");
    for cut in 0..=bytes.len() {
        let (first, second) = bytes.split_at(cut);
        assert_eq!(decode([first, second]), expected, "{text} cut at {cut}");
    }
    assert_eq!(decode(bytes.chunks(1)), expected, "{text} byte by byte");
    assert_eq!(decode(bytes.chunks(3)), expected, "{text} by threes");
}

#[test]
fn bodies_come_out() {
    check(b"0\r\n\r\n", b"", Ok(5));
    check(b"0\r\n\r\nGET / HTTP/1.1", b"", Ok(5));
    check(b"3\r\nabc\r\n0\r\n\r\n", b"abc", Ok(13));
    check(b"3\r\nabc\r\nA\r\n\r\n0123\r\n\r\n\r\n000\r\n\r\nx", b"abc\r\n0123\r\n\r\n", Ok(30));
    check(b"1;a;b=c;d=\"e;\\\"\\\xFF\" ; f\r\nx\r\n0;last\r\n\r\n", b"x", Ok(37));
    check(b"1\r\nx\r\n0\r\nName: value\r\nEmpty:\r\n\r\n", b"x", Ok(32));
}

#[test]
fn what_was_good_came_out_before_what_is_bad() {
    check(b"3\r\nabc\r\n3\r\nabcd\r\n", b"abcabc", Err(code::HTTP_BAD_CHUNK));
    check(b"3\r\nabc\r\nx", b"abc", Err(code::HTTP_BAD_CHUNK));
    check(b"3\r\nabc\r\n0\r\n:\r\n", b"abc", Err(code::HTTP_BAD_HEADER));
    check(b"fffffffffffffffff\r\n", b"", Err(code::HTTP_BAD_CHUNK));
}

#[test]
fn it_is_small() {
    assert!(size_of::<Chunked>() <= 16);
}

#[test]
fn the_largest_chunk_is_no_overflow() {
    let mut chunked = Chunked::new();
    assert_eq!(chunked.step(b"FFFFFFFFFFFFFFFF\r\n"), ChunkStep::Skip { len: 18 });
    for _ in 0..3 {
        assert_eq!(chunked.step(&[0; 100]), ChunkStep::Data { skip: 0, len: 100 });
    }
}

#[test]
fn bounds_are_exact() {
    let line = |extension: usize| [b"1;", "e".repeat(extension).as_bytes(), b"\r\nx\r\n"].concat();
    let is_bad = |bytes: &[u8]| decode([bytes]).code == Some(code::HTTP_BAD_CHUNK);
    assert!(!is_bad(&line(254)) && is_bad(&line(255)));
    // 16 lines with 256 bytes of extensions but one each: 4080, and 16 more.
    let all = line(254).repeat(16);
    assert!(!is_bad(&all));
    assert!(!is_bad(&[&all[..], b"1;eeeeeeeeeeeeeee\r\nx\r\n"].concat()));
    assert!(is_bad(&[&all[..], b"1;eeeeeeeeeeeeeeee\r\nx\r\n"].concat()));
    let trailer = |len: usize| [b"0\r\nx:", "y".repeat(len - 6).as_bytes(), b"\r\n\r\n"].concat();
    assert!(decode([&trailer(8_192)[..]]).is_over);
    assert_eq!(decode([&trailer(8_193)[..]]).code, Some(code::HTTP_HEAD_TOO_LARGE));
    // Many small ones count as much.
    let many = [b"0\r\n", "a:\r\n".repeat(3_000).as_bytes()].concat();
    assert_eq!(decode([&many[..]]).code, Some(code::HTTP_HEAD_TOO_LARGE));
}
