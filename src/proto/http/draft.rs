//! [`Draft`]: header lines and a body, written down to be sent later.

use super::{BAD_JSON, Content, Out, Parts, parts_len_max};
use crate::error::Result;
use crate::http::FileSpan;
use crate::pool::{SendBuffer, WriteGuard};

/// Texts, header lines, and what they stand before. It borrows nothing.
///
/// ```text
/// | front | header lines | body, if it is a copy |
/// ```
pub(super) struct Draft {
    memory: Memory,
    front_len: u32,
    lines_len: u32,
    body: Body,
}

enum Memory {
    Buffer(SendBuffer),
    Heap(Vec<u8>),
}

enum Body {
    None,
    /// Behind the header lines.
    Here,
    Kept(WriteGuard),
    Buffer(SendBuffer),
    File(FileSpan),
    NotThere(u64),
    Later(Option<u64>),
    /// It was sent, and cannot be again.
    Gone,
}

impl Memory {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Buffer(buffer) => buffer,
            Self::Heap(bytes) => bytes,
        }
    }
}

impl Draft {
    /// Writes it down: into what `buffer` gives for so many bytes, else on the heap. JSON is
    /// serialised into `scratch` first.
    ///
    /// # Errors
    /// When a value cannot be serialised.
    pub(super) fn new(
        front: &[&str],
        parts: &Parts<'_>,
        content: Content<'_>,
        scratch: &mut Vec<u8>,
        buffer: impl FnOnce(usize) -> Option<SendBuffer>,
    ) -> Result<Self> {
        let (copied, body) = match content {
            Content::None => (NOTHING, Body::None),
            Content::Copied(bytes) => (bytes, Body::Here),
            Content::Json(value) => {
                scratch.clear();
                value.write_to(scratch).map_err(|_| BAD_JSON)?;
                (scratch.as_slice(), Body::Here)
            }
            Content::Kept(memory) => (NOTHING, Body::Kept(memory)),
            Content::Buffer(buffer) => (NOTHING, Body::Buffer(buffer)),
            Content::File(span) => (NOTHING, Body::File(span)),
            Content::NotThere(of) => (NOTHING, Body::NotThere(of)),
            Content::Later(len) => (NOTHING, Body::Later(len)),
        };
        let front_len: usize = front.iter().map(|text| text.len()).sum();
        let whole = front_len + parts_len_max(parts) + copied.len();
        let mut memory = match buffer(whole) {
            Some(buffer) => Memory::Buffer(buffer),
            None => Memory::Heap(vec![0; whole]),
        };
        let room: &mut [u8] = match &mut memory {
            Memory::Buffer(buffer) => buffer.as_mut_slice(),
            Memory::Heap(bytes) => bytes,
        };
        let mut out = Out::new(room);
        front.iter().for_each(|text| out.put(text.as_bytes()));
        parts.write(&mut out);
        let lines_len = out.len() - front_len;
        out.put(copied);
        let len = out.len();
        match &mut memory {
            Memory::Buffer(buffer) => buffer.set_len(len),
            Memory::Heap(bytes) => bytes.truncate(len),
        }
        Ok(Self { memory, front_len: front_len as u32, lines_len: lines_len as u32, body })
    }

    /// Puts another front before it, and leaves those lines that `keeps` keeps; on the heap.
    pub(super) fn rewrite(
        &mut self,
        front: &[&str],
        keeps_body: bool,
        keeps: impl Fn(&str) -> bool,
    ) {
        let (_, lines, copied) = split(&self.memory, self.front_len, self.lines_len);
        let front_len: usize = front.iter().map(|text| text.len()).sum();
        let mut bytes = Vec::with_capacity(front_len + lines.len() + copied.len());
        front.iter().for_each(|text| bytes.extend_from_slice(text.as_bytes()));
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            if str::from_utf8(name).is_ok_and(&keeps) {
                bytes.extend_from_slice(line);
            }
        }
        let lines_len = bytes.len() - front_len;
        if keeps_body {
            bytes.extend_from_slice(copied);
        } else {
            self.body = Body::None;
        }
        self.memory = Memory::Heap(bytes);
        (self.front_len, self.lines_len) = (front_len as u32, lines_len as u32);
    }

    pub(super) fn front(&self) -> &[u8] {
        split(&self.memory, self.front_len, self.lines_len).0
    }

    pub(super) fn lines(&self) -> &[u8] {
        split(&self.memory, self.front_len, self.lines_len).1
    }

    /// Header lines and body, to be sent once.
    pub(super) fn take(&mut self) -> (&[u8], Content<'_>) {
        let body = std::mem::replace(&mut self.body, Body::Gone);
        self.hand_out(body)
    }

    /// Header lines and body, to be sent, and to be sent again where the body allows it.
    pub(super) fn lend(&mut self) -> (&[u8], Content<'_>) {
        let body = match &self.body {
            Body::None => Body::None,
            Body::Here => Body::Here,
            Body::Kept(memory) => Body::Kept(memory.clone()),
            _ => return self.take(),
        };
        self.hand_out(body)
    }

    fn hand_out(&self, body: Body) -> (&[u8], Content<'_>) {
        let (_, lines, copied) = split(&self.memory, self.front_len, self.lines_len);
        let content = match body {
            Body::None | Body::Gone => Content::None,
            Body::Here => Content::Copied(copied),
            Body::Kept(memory) => Content::Kept(memory),
            Body::Buffer(buffer) => Content::Buffer(buffer),
            Body::File(span) => Content::File(span),
            Body::NotThere(of) => Content::NotThere(of),
            Body::Later(len) => Content::Later(len),
        };
        (lines, content)
    }

    /// Whether its body was sent, and cannot be again.
    pub(super) const fn is_gone(&self) -> bool {
        matches!(self.body, Body::Gone)
    }

    /// Whether its body is written later.
    pub(super) const fn is_later(&self) -> bool {
        matches!(self.body, Body::Later(_))
    }

    /// How long its body is if that is no buffer, and whether it is a copy.
    pub(super) fn body_len(&self) -> (Option<usize>, bool) {
        match &self.body {
            Body::None | Body::Later(_) | Body::NotThere(_) | Body::Gone => (Some(0), false),
            Body::Here => (Some(self.copied_len()), true),
            Body::Kept(memory) => (Some(memory.bytes().len()), false),
            // A head, and what needs a place of its own.
            Body::Buffer(_) | Body::File(_) => (None, false),
        }
    }

    /// How long its body is, if that is of a file.
    pub(super) const fn file_len(&self) -> Option<u64> {
        match &self.body {
            Body::File(span) => Some(span.len),
            _ => None,
        }
    }

    /// Bytes that were copied into it, header lines apart.
    pub(super) fn copied_len(&self) -> usize {
        self.memory.bytes().len() - (self.front_len + self.lines_len) as usize
    }
}

/// Front, header lines, copied body.
fn split(memory: &Memory, front_len: u32, lines_len: u32) -> (&[u8], &[u8], &[u8]) {
    let (front, rest) = memory.bytes().split_at(front_len as usize);
    let (lines, copied) = rest.split_at(lines_len as usize);
    (front, lines, copied)
}

const NOTHING: &[u8] = &[];
