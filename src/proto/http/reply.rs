//! [`Reply`]: an answer that was written down before its turn, or on another thread.

use super::super::gzip::Gzip;
use super::draft::Draft;
use super::{Content, Parts, ZeroResponse, is_compressible};
use crate::error::{IoError, Result};
use crate::pool::SendBuffer;

/// Header lines, and what they stand before. It borrows nothing.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) close: bool,
    is_compressible: bool,
    draft: Draft,
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
        let draft = Draft::new(&[], &parts, content, &mut Vec::new(), buffer)?;
        Ok(Self { status: *status, close: *close, is_compressible, draft })
    }

    /// Header lines and body, to be sent.
    pub(crate) fn with<T>(mut self, send: impl FnOnce(Parts<'_>, Content<'_>) -> T) -> T {
        let is_compressible = self.is_compressible;
        let (lines, content) = self.draft.take();
        send(Parts::Lines { lines, is_compressible }, content)
    }

    /// Its header lines, how long its body is if that is no buffer, and whether it is a copy.
    pub(crate) fn sizes(&self) -> (Parts<'_>, Option<usize>, bool) {
        let (len, is_copied) = self.draft.body_len();
        let is_compressible = self.is_compressible;
        (Parts::Lines { lines: self.draft.lines(), is_compressible }, len, is_copied)
    }

    /// How long its body is, if that is of a file.
    pub(crate) const fn file_len(&self) -> Option<u64> {
        self.draft.file_len()
    }

    /// Bytes that were copied into it.
    pub(crate) fn copied_len(&self) -> usize {
        self.draft.copied_len()
    }
}

pub(crate) const BAD_JSON: IoError = IoError::InvalidArgument {
    what: "JSON of a message",
    why: "the value cannot be serialised: its Serialize failed, or a map has keys that are no \
          strings",
};
