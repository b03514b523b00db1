//! Target `http_chunked`: a chunked body, at once, in pieces, byte by byte, and for a decoder that
//! sees all of it and reads it by lines.
//!
//! Held: the same bytes come out, the end is at the same place, and what is bad is bad, however it
//! is cut; the other decoder says the same of all lines that are whole, and so does hyper.

use crate::hyper::chunks_agree;
use crate::input::Input;
use zero_io::http_fuzz::{Chunked, Piece};

const LINE_LEN_MAX: usize = 256;
const EXTENSIONS_LEN_MAX: usize = 4 * 1024;
const TRAILERS_LEN_MAX: usize = 8 * 1024;

/// What is known of a body.
#[derive(PartialEq, Debug)]
struct Outcome {
    body: Vec<u8>,
    end: End,
}

#[derive(PartialEq, Debug)]
enum End {
    /// At this byte.
    At(usize),
    /// Not yet.
    Open,
    Bad,
}

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let seed = input.byte();
    let bytes = input.rest();
    let whole = decode(bytes, || usize::MAX);
    assert_eq!(whole, decode(bytes, || 1), "byte by byte");
    let mut cut = usize::from(seed);
    let uneven = decode(bytes, || {
        cut = (cut * 5 + 3) % 61;
        1 + cut
    });
    assert_eq!(whole, uneven, "in uneven pieces");
    match whole.end {
        End::At(end) => chunks_agree(bytes, Some(end)),
        End::Open => chunks_agree(bytes, None),
        End::Bad => {}
    }
    let theirs = by_lines(bytes);
    if theirs.end == End::Open {
        // A line that is not whole can be bad already.
        assert!(matches!(whole.end, End::Open | End::Bad), "{whole:?}, {theirs:?}");
        assert_eq!(whole.body, theirs.body, "the other decoder");
    } else {
        assert_eq!(whole, theirs, "the other decoder");
    }
}

fn decode(bytes: &[u8], mut piece_len: impl FnMut() -> usize) -> Outcome {
    let mut chunked = Chunked::default();
    let mut body = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let stop = bytes.len().min(at.saturating_add(piece_len()));
        while at < stop {
            let input = &bytes[at..stop];
            match chunked.step(input) {
                Piece::Data(skip, len) => {
                    assert!(len > 0, "data is never empty");
                    body.extend_from_slice(&input[skip..skip + len]);
                    at += skip + len;
                }
                Piece::Skip(len) => {
                    assert_eq!(len, input.len(), "all there was");
                    at += len;
                }
                Piece::End(len) => {
                    assert!(len <= input.len());
                    return Outcome { body, end: End::At(at + len) };
                }
                Piece::Bad(status, _) => {
                    assert!(matches!(status, 400 | 431));
                    return Outcome { body, end: End::Bad };
                }
            }
        }
    }
    Outcome { body, end: End::Open }
}

/// The same by whole lines: what is not whole is not looked at.
fn by_lines(bytes: &[u8]) -> Outcome {
    let mut body = Vec::new();
    let (mut at, mut extensions) = (0, 0);
    loop {
        let Some(line) = line_at(bytes, at) else { return Outcome { body, end: End::Open } };
        let size = size_of(line).filter(|(_, len)| extensions + len <= EXTENSIONS_LEN_MAX);
        let Some((size, extensions_len)) = size else { return Outcome { body, end: End::Bad } };
        extensions += extensions_len;
        at += line.len() + 2;
        if size == 0 {
            return Outcome { body, end: trailers(bytes, at) };
        }
        let available = (bytes.len() - at) as u64;
        let len = size.min(available) as usize;
        body.extend_from_slice(&bytes[at..at + len]);
        at += len;
        match &bytes[at..] {
            [] | [b'\r'] => return Outcome { body, end: End::Open },
            [b'\r', b'\n', ..] => at += 2,
            _ => return Outcome { body, end: End::Bad },
        }
    }
}

/// The line at `at`, without its CRLF. A bare LF or CR is part of it, and makes it a bad one.
fn line_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = &bytes[at..];
    let len = rest.windows(2).position(|pair| pair == b"\r\n")?;
    Some(&rest[..len])
}

/// A chunk's size, and how many bytes of extensions are behind it.
fn size_of(line: &[u8]) -> Option<(u64, usize)> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    if !(1..=16).contains(&digits) || line.len() > LINE_LEN_MAX {
        return None;
    }
    let text = std::str::from_utf8(&line[..digits]).ok()?;
    let size = u64::from_str_radix(text, 16).ok()?;
    are_extensions(&line[digits..]).then_some((size, line.len() - digits))
}

fn are_extensions(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Some(name) = blank(bytes).strip_prefix(b";") else { return false };
        let Some(behind) = token(blank(name)) else { return false };
        bytes = behind;
        let Some(value) = blank(behind).strip_prefix(b"=") else { continue };
        let value = blank(value);
        let behind = if value.starts_with(b"\"") { quoted(value) } else { token(value) };
        let Some(behind) = behind else { return false };
        bytes = behind;
    }
    true
}

fn blank(bytes: &[u8]) -> &[u8] {
    let len = bytes.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &bytes[len..]
}

/// What is behind a token.
fn token(bytes: &[u8]) -> Option<&[u8]> {
    let len = bytes.iter().take_while(|&&byte| is_token(byte)).count();
    (len > 0).then_some(&bytes[len..])
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7F
}

/// What is behind a quoted string.
fn quoted(bytes: &[u8]) -> Option<&[u8]> {
    let mut at = 1;
    loop {
        match *bytes.get(at)? {
            b'"' => return Some(&bytes[at + 1..]),
            b'\\' if is_text(*bytes.get(at + 1)?) => at += 2,
            byte if is_text(byte) && byte != b'\\' => at += 1,
            _ => return None,
        }
    }
}

fn trailers(bytes: &[u8], start: usize) -> End {
    let mut at = start;
    loop {
        let is_short = |len: usize| at + len - start <= TRAILERS_LEN_MAX;
        match line_at(bytes, at) {
            Some([]) if is_short(2) => return End::At(at + 2),
            Some(line) if is_field(line) && is_short(line.len() + 2) => at += line.len() + 2,
            Some(_) => return End::Bad,
            None => return End::Open,
        }
    }
}

fn is_field(line: &[u8]) -> bool {
    let Some(behind) = token(line) else { return false };
    behind.strip_prefix(b":").is_some_and(|value| value.iter().all(|&byte| is_text(byte)))
}
