//! Target `http_response`: the head of a response, at once and in pieces, and for httparse.
//!
//! Held: however the bytes arrive, the verdict is the same; what is accepted, httparse accepts,
//! with the same parts; it has no bare line end and one framing, which is that of RFC 9112 §6.3;
//! hyper reads the same response, with the same body. httparse's scalar path says what the one with
//! SIMD says.

use crate::http_request::arrives;
use crate::hyper::response_agrees;
use crate::input::Input;
use crate::scalar;
use httparse::{EMPTY_HEADER, Response, Status};
use zero_io::http_fuzz::{Framing, Head, Verdict, headers, response};

const METHODS: [&str; 4] = ["GET", "HEAD", "CONNECT", "POST"];
const FIELDS_MAX: usize = 128;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.byte();
    let method = METHODS[usize::from(choice & 3)];
    let count = if choice & 12 == 0 { u16::from(choice >> 4) } else { 100 };
    let size = if choice & 48 == 0 { u32::from(input.byte()) * 4 } else { 16_384 };
    let step = 1 + usize::from(input.byte() % 16);
    let bytes = input.rest();
    if bytes.is_empty() {
        return;
    }
    let parse = |bytes: &[u8]| response(bytes, count, size, method);
    let verdict = parse(bytes);
    arrives(bytes, step, &verdict, parse);
    scalar::response_agrees(bytes, count.into());
    response_agrees(bytes, method);
    let Verdict::Head(head) = &verdict else { return };
    assert!(head.len <= bytes.len() && head.len <= size as usize);
    accepted(&bytes[..head.len], head, method);
    let mut room = [EMPTY_HEADER; FIELDS_MAX];
    let mut theirs = Response::new(&mut room[..usize::from(count).min(FIELDS_MAX)]);
    assert_eq!(theirs.parse(bytes), Ok(Status::Complete(head.len)));
    assert_eq!((theirs.code, theirs.version), (Some(head.status), Some(!head.is_version_10 as u8)));
    let ours = headers(&bytes[head.block.clone()]);
    let theirs = theirs.headers.iter().map(|field| (field.name, field.value));
    assert!(ours.iter().eq(theirs), "{ours:?}");
}

fn accepted(bytes: &[u8], head: &Head, method: &str) {
    let crlfs = bytes.windows(2).filter(|pair| pair == b"\r\n").count();
    let others = bytes.iter().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
    assert_eq!(others, 2 * crlfs, "a bare CR or LF");
    let fields = headers(&bytes[head.block.clone()]);
    let length = fields.get("content-length").map(|text| text.parse::<u64>().expect("a length"));
    let is_chunked = fields.get("transfer-encoding").is_some();
    assert!(!(is_chunked && (length.is_some() || head.is_version_10)), "two framings");
    let is_bodiless = method == "HEAD"
        || matches!(head.status, 100..=199 | 204 | 304)
        || method == "CONNECT" && matches!(head.status, 200..=299);
    let expected = match length {
        _ if is_bodiless => Framing::None,
        _ if is_chunked => Framing::Chunked,
        None => Framing::UntilClose,
        Some(0) => Framing::None,
        Some(length) => Framing::Length(length),
    };
    assert_eq!(head.body, expected);
    assert!(head.closes || expected != Framing::UntilClose);
}
