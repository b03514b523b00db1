//! [`Reply`]: an answer that was written down before its turn, or on another thread.

use super::super::gzip::Gzip;
use super::{Content, Out, Parts, ZeroResponse, is_compressible, parts_len_max};
use crate::error::{IoError, Result};
use crate::http::FileSpan;
use crate::pool::{SendBuffer, WriteGuard};

/// Header lines, and what they stand before. It borrows nothing.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) close: bool,
    memory: Memory,
    /// The header lines; a body that was copied lies behind them.
    lines_len: u32,
    is_compressible: bool,
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
}

impl Memory {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Buffer(buffer) => buffer,
            Self::Heap(bytes) => bytes,
        }
    }
}

impl Reply {
    /// Writes an answer down: into what `buffer` gives for so many bytes, else on the heap.
    ///
    /// # Errors
    /// When it is no sound answer.
    pub(crate) fn new(
        response: &mut ZeroResponse<'_>,
        buffer: impl FnOnce(usize) -> Option<SendBuffer>,
    ) -> Result<Self> {
        response.check()?;
        let content = std::mem::replace(&mut response.content, Content::None);
        let ZeroResponse { status, close, content_type, fields, .. } = response;
        let parts = Parts::Fields { content_type, fields };
        let is_compressible = Gzip::IS_ON && is_compressible(*status, content_type, fields);
        let lines_max = parts_len_max(&parts);
        let mut json = Vec::new();
        let (copied, body) = match content {
            Content::None => (NOTHING, Body::None),
            Content::Copied(bytes) => (bytes, Body::Here),
            Content::Json(value) => {
                value.write_to(&mut json).map_err(|_| BAD_JSON)?;
                (json.as_slice(), Body::Here)
            }
            Content::Kept(memory) => (NOTHING, Body::Kept(memory)),
            Content::Buffer(buffer) => (NOTHING, Body::Buffer(buffer)),
            Content::File(span) => (NOTHING, Body::File(span)),
            Content::NotThere(of) => (NOTHING, Body::NotThere(of)),
            Content::Later(len) => (NOTHING, Body::Later(len)),
        };
        let whole = lines_max + copied.len();
        let mut memory = match buffer(whole) {
            Some(buffer) => Memory::Buffer(buffer),
            None => Memory::Heap(vec![0; whole]),
        };
        let room: &mut [u8] = match &mut memory {
            Memory::Buffer(buffer) => buffer.as_mut_slice(),
            Memory::Heap(bytes) => bytes,
        };
        let mut out = Out::new(room);
        parts.write(&mut out);
        let lines_len = out.len() as u32;
        out.put(copied);
        let len = out.len();
        match &mut memory {
            Memory::Buffer(buffer) => buffer.set_len(len),
            Memory::Heap(bytes) => bytes.truncate(len),
        }
        Ok(Self { status: *status, close: *close, memory, lines_len, is_compressible, body })
    }

    /// Header lines and body, to be sent.
    pub(crate) fn with<T>(self, send: impl FnOnce(Parts<'_>, Content<'_>) -> T) -> T {
        let (lines, behind) = self.memory.bytes().split_at(self.lines_len as usize);
        let content = match self.body {
            Body::None => Content::None,
            Body::Here => Content::Copied(behind),
            Body::Kept(memory) => Content::Kept(memory),
            Body::Buffer(buffer) => Content::Buffer(buffer),
            Body::File(span) => Content::File(span),
            Body::NotThere(of) => Content::NotThere(of),
            Body::Later(len) => Content::Later(len),
        };
        let is_compressible = self.is_compressible;
        send(Parts::Lines { lines, is_compressible }, content)
    }

    /// Its header lines, how long its body is if that is no buffer, and whether it is a copy.
    pub(crate) fn sizes(&self) -> (Parts<'_>, Option<usize>, bool) {
        let (lines, behind) = self.memory.bytes().split_at(self.lines_len as usize);
        let (len, is_copied) = match &self.body {
            Body::None | Body::Later(_) => (Some(0), false),
            Body::Here => (Some(behind.len()), true),
            Body::Kept(memory) => (Some(memory.bytes().len()), false),
            Body::NotThere(_) => (Some(0), false),
            // A head, and what needs a place of its own.
            Body::Buffer(_) | Body::File(_) => (None, false),
        };
        let is_compressible = self.is_compressible;
        (Parts::Lines { lines, is_compressible }, len, is_copied)
    }

    /// How long its body is, if that is of a file.
    pub(crate) const fn file_len(&self) -> Option<u64> {
        match &self.body {
            Body::File(span) => Some(span.len),
            _ => None,
        }
    }

    /// Bytes that were copied into it.
    pub(crate) fn copied_len(&self) -> usize {
        self.memory.bytes().len() - self.lines_len as usize
    }
}

const NOTHING: &[u8] = &[];

pub(crate) const BAD_JSON: IoError = IoError::InvalidArgument {
    what: "JSON of an answer",
    why: "the value cannot be serialised: its Serialize failed, or a map has keys that are no \
          strings",
};
