//! PEM, RFC 7468, with the line of everything that is wrong.
//!
//! Role: text to labelled blocks. Not role: what the blocks mean.
//!
//! Invariants: text outside blocks is ignored, as in the files that tools write; a block is whole
//! or a named error; nothing is larger than [`TEXT_LEN_MAX`].

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Errno, TlsConfigFault as Fault};

use super::base64::Decoder;
use super::error::{Origin, TlsConfigError};

/// The longest file or text. All public roots together are 220 KiB.
pub(super) const TEXT_LEN_MAX: usize = 4 << 20;

/// Text and where it is from.
pub(super) struct Text {
    pub(super) origin: Origin,
    pub(super) bytes: Vec<u8>,
}

/// One `-----BEGIN LABEL-----` to its end.
pub(super) struct Block {
    pub(super) label: String,
    /// Of its first line, from 1.
    pub(super) line: u32,
    pub(super) der: Vec<u8>,
    /// The old way of encrypting keys, RFC 1421 §4.6.1.1: a header in the block.
    pub(super) has_encryption_header: bool,
}

impl Text {
    pub(super) fn read(path: &Path) -> Result<Self, TlsConfigError> {
        let origin = Origin::File(path.to_owned());
        let mut bytes = Vec::new();
        // One byte more than allowed shows that there is more, whatever the file says of its size.
        let read = File::open(path)
            .and_then(|file| file.take(TEXT_LEN_MAX as u64 + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            let errno = Errno(error.raw_os_error().unwrap_or(libc::EIO));
            return Err(TlsConfigError::new(Fault::FileUnreadable(errno)).at(&origin, 0));
        }
        Self::checked(origin, bytes)
    }

    pub(super) fn given(what: &'static str, bytes: &[u8]) -> Result<Self, TlsConfigError> {
        Self::checked(Origin::Given(what), bytes.to_vec())
    }

    fn checked(origin: Origin, bytes: Vec<u8>) -> Result<Self, TlsConfigError> {
        if bytes.len() > TEXT_LEN_MAX {
            return Err(TlsConfigError::new(Fault::FileTooLong).at(&origin, 0));
        }
        Ok(Self { origin, bytes })
    }

    /// An error at that line of this text.
    pub(super) fn error(&self, fault: Fault, line: u32) -> TlsConfigError {
        TlsConfigError::new(fault).at(&self.origin, line)
    }

    /// The same with a detail.
    pub(super) fn error_because(
        &self,
        fault: Fault,
        line: u32,
        detail: impl std::fmt::Display,
    ) -> TlsConfigError {
        TlsConfigError::because(fault, detail).at(&self.origin, line)
    }

    /// Every block, in order.
    pub(super) fn blocks(&self) -> Result<Vec<Block>, TlsConfigError> {
        let mut blocks = Vec::new();
        let mut open: Option<Open> = None;
        for (i, line) in self.bytes.split(|&byte| byte == b'\n').enumerate() {
            let number = u32::try_from(i + 1).unwrap_or(u32::MAX);
            let line = line.trim_ascii();
            match open.take() {
                None => open = self.begin(line, number)?,
                Some(block) if line.starts_with(b"-----") => {
                    blocks.push(self.end(block, line, number)?);
                }
                Some(block) => open = Some(self.body(block, line, number)?),
            }
        }
        match open {
            Some(block) => Err(self.error_because(Fault::BadPem, block.line, "it has no END line")),
            None => Ok(blocks),
        }
    }

    fn begin(&self, line: &[u8], number: u32) -> Result<Option<Open>, TlsConfigError> {
        // A mark that editors put before UTF-8 text.
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let Some(rest) = line.strip_prefix(b"-----") else { return Ok(None) };
        match label(rest, b"BEGIN ") {
            Some(label) => Ok(Some(Open::new(label, number))),
            None => Err(self.error_because(Fault::BadPem, number, "no BEGIN line here")),
        }
    }

    fn end(&self, block: Open, line: &[u8], number: u32) -> Result<Block, TlsConfigError> {
        let rest = line.strip_prefix(b"-----").unwrap_or(line);
        if label(rest, b"END ").as_ref() != Some(&block.label) {
            let detail = format!("the block of line {} is not ended here", block.line);
            return Err(self.error_because(Fault::BadPem, number, detail));
        }
        let der = block.decoder.finish().ok_or_else(|| self.error(Fault::BadBase64, number))?;
        let has_encryption_header = block.has_encryption_header;
        Ok(Block { label: block.label, line: block.line, der, has_encryption_header })
    }

    fn body(&self, mut block: Open, line: &[u8], number: u32) -> Result<Open, TlsConfigError> {
        if block.decoder.is_empty() && line.contains(&b':') {
            block.has_encryption_header |=
                line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED");
            return Ok(block);
        }
        if block.decoder.push(line).is_none() {
            return Err(self.error(Fault::BadBase64, number));
        }
        Ok(block)
    }
}

/// A block whose end is still to come.
struct Open {
    label: String,
    line: u32,
    has_encryption_header: bool,
    decoder: Decoder,
}

impl Open {
    fn new(label: String, line: u32) -> Self {
        Self { label, line, has_encryption_header: false, decoder: Decoder::default() }
    }
}

/// The label of `BEGIN LABEL-----` or `END LABEL-----`.
fn label(rest: &[u8], word: &[u8]) -> Option<String> {
    let label = rest.strip_prefix(word)?.strip_suffix(b"-----")?;
    let is_label = label.iter().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b' '));
    is_label.then(|| String::from_utf8_lossy(label).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Label, line and content.
    type Found<'a> = (&'a str, u32, &'a [u8]);

    fn check(text: &str, expected: Result<&[Found<'_>], (Fault, u32)>) {
        let given = Text::given("it", text.as_bytes()).unwrap();
        match (given.blocks(), expected) {
            (Ok(blocks), Ok(expected)) => {
                let found: Vec<_> =
                    blocks.iter().map(|b| (b.label.as_str(), b.line, b.der.as_slice())).collect();
                assert_eq!(found, expected, "{text}");
            }
            (Err(error), Err((fault, line))) => {
                assert_eq!((error.fault(), error.line()), (fault, Some(line)), "{text}: {error}");
            }
            (found, _) => panic!("{text}: {:?}", found.map(|blocks| blocks.len())),
        }
    }

    #[test]
    fn blocks_and_their_lines() {
        let x = "-----BEGIN X-----\nQUJD\n-----END X-----";
        check("", Ok(&[]));
        check("words\nand more: words\n", Ok(&[]));
        check(x, Ok(&[("X", 1, b"ABC")]));
        check(&x.replace('\n', "\r\n"), Ok(&[("X", 1, b"ABC")]));
        check(&format!("\u{feff}{x}"), Ok(&[("X", 1, b"ABC")]));
        check(&format!("a\nb\n{x}\nc\n{x}\n"), Ok(&[("X", 3, b"ABC"), ("X", 7, b"ABC")]));
        check("-----BEGIN A B-----\nQU\n JD \n\n-----END A B-----\n", Ok(&[("A B", 1, b"ABC")]));
        let headed = "-----BEGIN X-----\nA: b\n\nQUJD\n-----END X-----";
        check(headed, Ok(&[("X", 1, b"ABC")]));
    }

    #[test]
    fn what_is_broken_has_its_line() {
        let bad = |text: &str, fault, line| check(text, Err((fault, line)));
        bad("a\n-----BEGIN X-----\nQUJD\n", Fault::BadPem, 2);
        bad("-----BEGIN X-----\nQUJD\n-----END Y-----\n", Fault::BadPem, 3);
        bad("-----BEGIN X-----\nQUJD\n-----BEGIN X-----\n", Fault::BadPem, 3);
        bad("\n\n-----BEGIN X----\n", Fault::BadPem, 3);
        bad("-----END X-----\n", Fault::BadPem, 1);
        bad("-----BEGIN x-----\n", Fault::BadPem, 1);
        bad("-----BEGIN X-----\nQUJD\nQ!JD\n-----END X-----\n", Fault::BadBase64, 3);
        bad("-----BEGIN X-----\nQUJDQ\n-----END X-----\n", Fault::BadBase64, 3);
        bad("-----BEGIN X-----\nQUI=\nQUJD\n-----END X-----\n", Fault::BadBase64, 3);
    }

    #[test]
    fn a_text_that_is_too_long_is_refused() {
        let long = vec![b'x'; TEXT_LEN_MAX + 1];
        let error = Text::given("it", &long).map(drop).unwrap_err();
        assert_eq!(error.fault(), Fault::FileTooLong);
    }
}
