//! Target `http_request`: the head of a request, at once and in pieces, and for httparse.
//!
//! Held: however the bytes arrive, the verdict is the same, and comes no later than the bytes that
//! a server would look at; what is accepted, httparse accepts, with the same parts at the same
//! places; it has the strict layout, one Host, and one framing; the fast way and the thorough one
//! agree. What httparse accepts and we do not has a reason that can be seen in the bytes. Its own
//! scalar path says what the one with SIMD says. hyper reads the same requests, one behind the
//! other, with the same bodies.

use crate::hyper::requests_agree;
use crate::input::Input;
use crate::scalar;
use httparse::{EMPTY_HEADER, Request, Status};
use zero_io::http_fuzz::request_thoroughly;
use zero_io::http_fuzz::{Framing, Head, Verdict, empty_lines, headers, may_complete, request};

const FIELDS_MAX: usize = 128;
const STEPS_MAX: usize = 512;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let choice = input.byte();
    // Mostly the limits of a server, sometimes such that they are met.
    let count = if choice & 3 == 0 { u16::from(choice >> 4) } else { 100 };
    let size = if choice & 12 == 0 { u32::from(input.byte()) * 4 } else { 16_384 };
    let step = 1 + usize::from(input.byte() % 16);
    let bytes = input.rest();
    let bytes = &bytes[empty_lines(bytes)..];
    if bytes.is_empty() {
        return;
    }
    let verdict = request(bytes, count, size);
    assert_eq!(
        request_thoroughly(bytes, count, size),
        verdict,
        "the fast way and the thorough one"
    );
    arrives(bytes, step, &verdict, |bytes| request(bytes, count, size));
    if let Verdict::Head(head) = &verdict {
        assert!(head.len <= bytes.len() && head.len <= size as usize);
        accepted(&bytes[..head.len], head);
        assert_eq!(request(&bytes[..head.len], count, size), verdict, "bytes behind the head");
    }
    agrees(bytes, count, size, &verdict);
    scalar::request_agrees(bytes, count.into());
    requests_agree(bytes);
}

/// Hands the bytes over in steps, and looks when a server would.
pub(crate) fn arrives(
    bytes: &[u8],
    step: usize,
    verdict: &Verdict,
    parse: impl Fn(&[u8]) -> Verdict,
) {
    // Each step parses all that came: long inputs come in longer steps.
    let step = step.max(bytes.len() / STEPS_MAX);
    let mut seen = 0;
    let mut early = Verdict::Partial;
    while early == Verdict::Partial && seen < bytes.len() {
        let more = &bytes[seen..bytes.len().min(seen + step)];
        seen += more.len();
        let now = parse(&bytes[..seen]);
        if !may_complete(more) {
            // A server may look later; a head does not become good without a line feed.
            assert!(!matches!(now, Verdict::Head(_)), "missed by `may_be_complete`");
        }
        early = now;
    }
    assert_eq!(&early, verdict, "the same bytes in steps of {step}");
}

/// What must be true of every head that is accepted, whatever its bytes.
fn accepted(bytes: &[u8], head: &Head) {
    assert_eq!(head.status, 0);
    assert!(bytes.ends_with(b"\r\n\r\n"));
    let line_feeds = bytes.iter().filter(|&&byte| byte == b'\n').count();
    let crlfs = bytes.windows(2).filter(|pair| pair == b"\r\n").count();
    let returns = bytes.iter().filter(|&&byte| byte == b'\r').count();
    assert!(line_feeds == crlfs && returns == crlfs, "a bare CR or LF");
    let fields = headers(&bytes[head.block.clone()]);
    assert_eq!(fields.len(), line_feeds - 2);
    let hosts: Vec<_> = fields.get_all("host").collect();
    assert!(hosts.len() == 1 || head.is_version_10 && hosts.is_empty());
    assert!(hosts.iter().all(|host| !host.iter().any(u8::is_ascii_whitespace)));
    let lengths: Vec<_> = fields.get_all("content-length").collect();
    let codings: Vec<_> = fields.get_all("transfer-encoding").collect();
    assert!(lengths.len() + codings.len() <= 1, "two framings");
    let length = lengths.first().map(|digits| {
        assert!(digits.iter().all(u8::is_ascii_digit) && !digits.is_empty());
        std::str::from_utf8(digits).expect("digits").parse::<u64>().expect("a length")
    });
    let expected = match length {
        _ if !codings.is_empty() => Framing::Chunked,
        None | Some(0) => Framing::None,
        Some(length) => Framing::Length(length),
    };
    assert_eq!(head.body, expected);
    assert!(codings.iter().all(|coding| coding.eq_ignore_ascii_case(b"chunked")));
    assert!(codings.is_empty() || !head.is_version_10);
}

/// Compares with httparse's own verdict on what we may look at.
fn agrees(bytes: &[u8], count: u16, size: u32, verdict: &Verdict) {
    let mut room = [EMPTY_HEADER; FIELDS_MAX];
    let mut theirs = Request::new(&mut room[..usize::from(count).min(FIELDS_MAX)]);
    let window = &bytes[..bytes.len().min(size as usize)];
    match (theirs.parse(window), verdict) {
        (Ok(Status::Complete(len)), Verdict::Head(head)) => {
            assert_eq!(head.len, len);
            let text = |range: &std::ops::Range<usize>| std::str::from_utf8(&bytes[range.clone()]);
            assert_eq!(text(&head.method).ok(), theirs.method);
            assert_eq!(text(&head.target).ok(), theirs.path);
            assert_eq!(theirs.version, Some(u8::from(!head.is_version_10)));
            let ours = headers(&bytes[head.block.clone()]);
            let theirs = theirs.headers.iter().map(|field| (field.name, field.value));
            assert!(ours.iter().eq(theirs), "{ours:?}");
        }
        (theirs, Verdict::Head(_)) => panic!("accepted, and httparse says {theirs:?}"),
        (Ok(Status::Complete(_)), Verdict::Partial) => panic!("it is all there"),
        (Err(error), Verdict::Partial) => {
            // What version it is takes more bytes than that it is none of ours.
            let early = error == httparse::Error::Version || bytes == b"\r";
            assert!(early, "{error:?} is waited for");
        }
        (Ok(Status::Partial), Verdict::Refused(status, _)) => {
            // Empty lines, or the limit.
            let is_full = window.len() >= size as usize && matches!(status, 431 | 414 | 501);
            assert!(is_full || matches!(bytes[0], b'\r' | b'\n'), "{status} too early");
        }
        (Ok(Status::Partial), Verdict::Partial) | (_, Verdict::Refused(..)) => {}
    }
}
