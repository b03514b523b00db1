//! [`Chunked`]: the decoder of chunked bodies, RFC 9112 §7.1.
//!
//! Role: which bytes of an input are the body's. Not role: holding them; trailer fields are checked
//! and passed over (§7.1.2 lets a recipient discard them).
//!
//! ```text
//!  1F ;name=value CRLF  31 bytes  CRLF  ..  0 CRLF  Trailer: value CRLF  ..  CRLF
//! ```
//!
//! *Invariants*: it keeps its own place across any cut, byte by byte if need be, so that nothing
//! has to be carried; what is not body is bounded: a size line by [`LINE_LEN_MAX`], all extensions
//! by [`EXTENSIONS_LEN_MAX`], trailers by [`TRAILERS_LEN_MAX`].

use super::bytes::{TOKEN, VALUE, is};
use super::fault::{Fault, Refusal};

/// Bytes of a line with a chunk's size and extensions, without its line end.
const LINE_LEN_MAX: u16 = 256;
/// Bytes of all extensions of a body. RFC 9112 §7.1.1: a server "ought to limit the total length of
/// chunk extensions received in a request".
const EXTENSIONS_LEN_MAX: u16 = 4 * 1024;
/// Bytes of all trailer fields and the empty line behind them.
const TRAILERS_LEN_MAX: u16 = 8 * 1024;
/// Hexadecimal digits of a size, leading zeros included: what 64 bits hold.
const DIGITS_MAX: u16 = 16;

/// What the decoder made of the bytes at the front of its input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ChunkStep {
    /// Behind `skip` bytes lie `len` bytes of the body, at least one; `skip + len` are consumed.
    Data { skip: usize, len: usize },
    /// `len` bytes, all there are, are consumed; they have no byte of the body.
    Skip { len: usize },
    /// `len` bytes are consumed, and with them the body ends.
    End { len: usize },
    /// The body is malformed: nothing behind it can be believed.
    Bad(Refusal),
}

/// The decoder of one body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chunked {
    /// Of the chunk: what its size line says so far, then what is still to come.
    left: u64,
    /// Bytes of this size line, or of the trailers.
    line_len: u16,
    extensions_len: u16,
    place: Place,
}

/// Which byte is expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// The first digit of a size.
    Size,
    /// Another digit, an extension, or the line's end.
    Digits,
    /// Whitespace before a semicolon.
    BeforeSemicolon,
    /// The name of an extension, after whitespace.
    BeforeName,
    Name,
    /// Whitespace between a name and its `=`, or the next semicolon.
    BehindName,
    /// The value of an extension, after whitespace.
    BeforeValue,
    Value,
    Quoted,
    /// A byte behind a backslash.
    Escaped,
    BehindQuoted,
    /// The LF of a size line.
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer field, or of the empty line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Ended,
}

impl Chunked {
    pub(crate) const fn new() -> Self {
        Self { left: 0, line_len: 0, extensions_len: 0, place: Place::Size }
    }

    /// Looks at the front of `input`; not to be called again after `End` or `Bad`.
    pub(crate) fn step(&mut self, input: &[u8]) -> ChunkStep {
        let mut skip = 0;
        for &byte in input {
            match self.place {
                Place::Data => return self.take(skip, input.len() - skip),
                Place::Ended => return ChunkStep::End { len: skip },
                _ => {}
            }
            match self.on_framing(byte) {
                Ok(place) => self.place = place,
                Err(fault) => return ChunkStep::Bad(fault.refusal()),
            }
            skip += 1;
        }
        match self.place {
            Place::Ended => ChunkStep::End { len: skip },
            _ => ChunkStep::Skip { len: skip },
        }
    }

    /// Takes what there is of a chunk's data; `available` is not zero, nor is `left`.
    fn take(&mut self, skip: usize, available: usize) -> ChunkStep {
        let len = usize::try_from(self.left).unwrap_or(usize::MAX).min(available);
        self.left -= len as u64;
        if self.left == 0 {
            self.place = Place::DataCr;
        }
        ChunkStep::Data { skip, len }
    }

    /// Takes one byte of framing: what is expected next.
    fn on_framing(&mut self, byte: u8) -> Result<Place, Fault> {
        Ok(match (self.place, byte) {
            // RFC 9112 §7.1: data, and behind it CRLF.
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Size,
            (Place::SizeLf, b'\n') => self.end_size_line(),
            (Place::DataCr | Place::DataLf | Place::SizeLf, _) => return Err(Fault::Chunk),
            (
                Place::Trailer
                | Place::TrailerName
                | Place::TrailerValue
                | Place::TrailerLf
                | Place::EndLf,
                _,
            ) => self.on_trailer(byte)?,
            _ => self.on_size_line(byte)?,
        })
    }

    fn end_size_line(&mut self) -> Place {
        self.line_len = 0;
        match self.left {
            // §7.1: "The last chunk has a chunk size of zero".
            0 => Place::Trailer,
            _ => Place::Data,
        }
    }

    fn on_size_line(&mut self, byte: u8) -> Result<Place, Fault> {
        let digit = (byte as char).to_digit(16);
        let place = match (self.place, byte) {
            (Place::Size | Place::Digits, _) if digit.is_some() => {
                if self.line_len >= DIGITS_MAX {
                    return Err(Fault::Chunk);
                }
                self.left = self.left << 4 | u64::from(digit.unwrap_or(0));
                Place::Digits
            }
            (Place::Size, _) => return Err(Fault::Chunk),
            // A bare LF ends no line here, whatever RFC 9112 §2.2 allows: an extension with one in
            // it is how chunks are smuggled.
            (Place::Digits | Place::Name | Place::Value | Place::BehindQuoted, b'\r') => {
                return Ok(Place::SizeLf);
            }
            _ => {
                self.extensions_len = self.extensions_len.saturating_add(1);
                self.on_extension(byte)?
            }
        };
        self.line_len = self.line_len.saturating_add(1);
        match self.line_len > LINE_LEN_MAX || self.extensions_len > EXTENSIONS_LEN_MAX {
            true => Err(Fault::Chunk),
            false => Ok(place),
        }
    }

    /// RFC 9112 §7.1.1: `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`. Nothing
    /// is wanted of it, but that everybody sees the same end of the line.
    fn on_extension(&self, byte: u8) -> Result<Place, Fault> {
        let is_token = is(byte, TOKEN);
        Ok(match (self.place, byte) {
            (Place::Digits | Place::BeforeSemicolon, b' ' | b'\t') => Place::BeforeSemicolon,
            (Place::Digits | Place::BeforeSemicolon, b';') => Place::BeforeName,
            (Place::BeforeName, b' ' | b'\t') => Place::BeforeName,
            (Place::BeforeName | Place::Name, _) if is_token => Place::Name,
            (Place::Name | Place::BehindName, b' ' | b'\t') => Place::BehindName,
            (Place::Name | Place::BehindName, b'=') => Place::BeforeValue,
            (Place::BeforeValue, b' ' | b'\t') => Place::BeforeValue,
            (Place::BeforeValue, b'"') => Place::Quoted,
            (Place::BeforeValue | Place::Value, _) if is_token => Place::Value,
            (Place::Quoted, b'"') => Place::BehindQuoted,
            (Place::Quoted, b'\\') => Place::Escaped,
            (Place::Quoted | Place::Escaped, _) if is(byte, VALUE) => Place::Quoted,
            (Place::Value | Place::BehindQuoted, b' ' | b'\t') => Place::BeforeSemicolon,
            (Place::Name | Place::BehindName | Place::Value | Place::BehindQuoted, b';') => {
                Place::BeforeName
            }
            _ => return Err(Fault::Chunk),
        })
    }

    /// RFC 9112 §7.1.2: fields as in a header section, and held to the same rules (§5).
    fn on_trailer(&mut self, byte: u8) -> Result<Place, Fault> {
        self.line_len = self.line_len.saturating_add(1);
        if self.line_len > TRAILERS_LEN_MAX {
            return Err(Fault::HeadTooLarge);
        }
        Ok(match (self.place, byte) {
            (Place::Trailer, b'\r') => Place::EndLf,
            (Place::Trailer | Place::TrailerName, _) if is(byte, TOKEN) => Place::TrailerName,
            (Place::TrailerName, b':') => Place::TrailerValue,
            (Place::TrailerValue, b'\r') => Place::TrailerLf,
            (Place::TrailerValue, _) if is(byte, VALUE) => Place::TrailerValue,
            (Place::TrailerLf, b'\n') => Place::Trailer,
            (Place::EndLf, b'\n') => Place::Ended,
            _ => return Err(Fault::Header),
        })
    }
}
