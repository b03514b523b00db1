//! [`ZeroResponse`]: an answer to be sent.

use serde::Serialize;

use super::{ErasedJson, Fields, HttpCookie, HttpFieldValue};
use crate::error::{IoError, Result};
use crate::http::{FileSpan, status};
use crate::pool::{SendBuffer, WriteGuard};

/// The body of an answer.
pub(crate) enum Content<'a> {
    None,
    /// Copied once, into the send buffer.
    Copied(&'a [u8]),
    /// Sent from where it lies, unless it is so short that a copy costs less.
    Kept(WriteGuard),
    /// A buffer of the pool.
    Buffer(SendBuffer),
    /// A part of a file, sent by the system.
    File(FileSpan),
    /// None: what was asked for is not there, in so many bytes.
    NotThere(u64),
    /// Serialised into the send buffer.
    Json(&'a dyn ErasedJson),
    /// Written later, with `http_write`; of a known length, or chunked.
    Later(Option<u64>),
}

/// An answer: what `http_respond` takes. It borrows what it is made from, and is written straight
/// into send buffers.
///
/// ```
/// use zero_io::ZeroResponse;
/// let plain = ZeroResponse::ok().text("Hello, World!");
/// let moved = ZeroResponse::redirect("/elsewhere");
/// let made = ZeroResponse::status(201).header("location", "/things/7").bytes(b"...");
/// # let _ = (plain, moved, made);
/// ```
///
/// zero-io adds `Date`, `Content-Length` or `Transfer-Encoding`, and `Connection` where one is
/// due; an answer to HEAD is sent without its body (RFC 9110 §9.3.2).
#[must_use = "an answer does nothing until http_respond"]
pub struct ZeroResponse<'a> {
    pub(crate) status: u16,
    pub(crate) close: bool,
    pub(crate) content_type: &'a str,
    /// The application chose it.
    pub(crate) has_own_type: bool,
    pub(crate) fields: Fields<'a>,
    pub(crate) content: Content<'a>,
}

impl<'a> ZeroResponse<'a> {
    /// An answer with that status code and no body. `http_respond` refuses a code outside 200 to
    /// 599 (and anything but 101 is refused by `http_upgrade`).
    #[inline]
    pub const fn status(code: u16) -> Self {
        Self {
            status: code,
            close: false,
            content_type: "",
            has_own_type: false,
            fields: Fields::new(),
            content: Content::None,
        }
    }

    /// `200 OK`
    #[inline]
    pub const fn ok() -> Self {
        Self::status(200)
    }

    /// `201 Created`
    pub const fn created() -> Self {
        Self::status(201)
    }

    /// `204 No Content`
    pub const fn no_content() -> Self {
        Self::status(204)
    }

    /// `400 Bad Request`
    pub const fn bad_request() -> Self {
        Self::status(400)
    }

    /// `404 Not Found`
    pub const fn not_found() -> Self {
        Self::status(404)
    }

    /// `405 Method Not Allowed`, with the methods that are (RFC 9110 §15.5.6).
    pub fn method_not_allowed(allowed: &'a str) -> Self {
        Self::status(405).header("allow", allowed)
    }

    /// `500 Internal Server Error`
    pub const fn internal_error() -> Self {
        Self::status(500)
    }

    /// `302 Found`, elsewhere. For another code: `status(308).header("location", ..)`.
    pub fn redirect(location: &'a str) -> Self {
        Self::status(302).header("location", location)
    }

    /// Adds a header field. `http_respond` refuses names that are no tokens, values with control
    /// bytes, and the fields that zero-io writes itself.
    #[inline]
    pub fn header(mut self, name: &'a str, value: impl Into<HttpFieldValue<'a>>) -> Self {
        self.fields.push(name, value.into());
        self
    }

    /// Adds a `Set-Cookie`.
    pub fn cookie(self, cookie: &'a HttpCookie<'a>) -> Self {
        self.header("set-cookie", HttpFieldValue::Cookie(cookie))
    }

    /// The `Content-Type`, in place of the one that the body's method chose.
    #[inline]
    pub const fn content_type(mut self, media_type: &'a str) -> Self {
        self.content_type = media_type;
        self.has_own_type = true;
        self
    }

    /// Ends the connection after this answer.
    pub const fn close(mut self) -> Self {
        self.close = true;
        self
    }

    /// A body of text: `text/plain; charset=utf-8`.
    #[inline]
    pub fn text(self, text: &'a str) -> Self {
        self.typed("text/plain; charset=utf-8", Content::Copied(text.as_bytes()))
    }

    /// A body of HTML: `text/html; charset=utf-8`.
    pub fn html(self, text: &'a str) -> Self {
        self.typed("text/html; charset=utf-8", Content::Copied(text.as_bytes()))
    }

    /// A body of bytes: `application/octet-stream`.
    #[inline]
    pub fn bytes(self, bytes: &'a [u8]) -> Self {
        self.typed(BINARY, Content::Copied(bytes))
    }

    /// A body that is part of the program: sent from where it lies.
    #[inline]
    pub fn static_bytes(self, bytes: &'static [u8]) -> Self {
        self.typed(BINARY, Content::Kept(WriteGuard::Static(bytes)))
    }

    /// A body in shared memory: sent from where it lies, and kept alive until it is.
    pub fn shared(self, memory: impl Into<WriteGuard>) -> Self {
        self.typed(BINARY, Content::Kept(memory.into()))
    }

    /// A body in a buffer of the pool (`Io::send_buffer`, or a payload that was received): sent
    /// from where it lies.
    pub fn buffer(self, buffer: SendBuffer) -> Self {
        self.typed(BINARY, Content::Buffer(buffer))
    }

    /// A value as JSON: `application/json`. It is serialised when the answer is sent.
    pub fn json<T: Serialize>(self, value: &'a T) -> Self {
        self.typed("application/json", Content::Json(value))
    }

    /// A body that is written later, with `http_write` and `http_finish`: chunked for HTTP/1.1,
    /// up to the end of the connection for HTTP/1.0.
    pub fn stream(self) -> Self {
        self.typed(BINARY, Content::Later(None))
    }

    /// The same for a body whose length is known.
    pub fn stream_of(self, len: u64) -> Self {
        self.typed(BINARY, Content::Later(Some(len)))
    }

    /// No body: what was asked for is not there, in so many bytes.
    pub(super) fn not_there(mut self, of: u64) -> Self {
        self.content = Content::NotThere(of);
        self
    }

    #[inline]
    pub(super) fn typed(mut self, media_type: &'a str, content: Content<'a>) -> Self {
        if !self.has_own_type {
            self.content_type = media_type;
        }
        self.content = content;
        self
    }

    /// Whether nothing but its type has to be looked at before it is written: the status is a final
    /// one that has a body, no field was given, and the connection goes on.
    #[inline]
    pub(crate) const fn is_short(&self) -> bool {
        self.status >= 200
            && !status::has_no_body(self.status)
            && self.fields.is_empty()
            && !self.close
    }

    /// Whether it can be sent: the status code is a final one, or 101, and the fields are sound.
    #[inline]
    pub(crate) fn check(&self) -> Result<()> {
        if self.status != 101 && !(200..=599).contains(&self.status) {
            return Err(IoError::InvalidArgument {
                what: "status code of an answer",
                why: "it must be 200 to 599; 101 is for http_upgrade, and 100 is sent by zero-io",
            });
        }
        let is_sound = || self.content_type.bytes().all(super::fields::is_field_byte);
        if self.has_own_type && !is_sound() {
            return Err(IoError::InvalidArgument {
                what: "Content-Type of an answer",
                why: "it has control bytes; a line break would begin another field",
            });
        }
        self.fields.check()
    }

    /// The status code.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.status
    }
}

const BINARY: &str = "application/octet-stream";

impl std::fmt::Debug for ZeroResponse<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZeroResponse")
            .field("status", &self.status)
            .field("reason", &status::reason(self.status))
            .field("content_type", &self.content_type)
            .finish_non_exhaustive()
    }
}

/// The header lines of an answer, as the engine takes them: to be written, or written already on
/// another thread.
pub(crate) enum Parts<'a> {
    Fields { content_type: &'a str, fields: &'a Fields<'a> },
    Lines { lines: &'a [u8], is_compressible: bool },
}
