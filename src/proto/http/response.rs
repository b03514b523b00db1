//! [`ZeroResponse`]: an answer to be sent.

use super::content::{Content, content_methods};
use super::fields::OF_ANSWERS;
use super::{Fields, HttpCookie, HttpFieldValue};
use crate::error::{IoError, Result};
use crate::http::status;

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

    /// Ends the connection after this answer.
    pub const fn close(mut self) -> Self {
        self.close = true;
        self
    }

    content_methods!();

    /// No body: what was asked for is not there, in so many bytes.
    pub(super) fn not_there(mut self, of: u64) -> Self {
        self.content = Content::NotThere(of);
        self
    }

    /// The body, where nothing but its type has to be looked at before it is written: the status
    /// is a final one that has a body, no field was given, the body is there, and the connection
    /// goes on.
    #[inline(always)]
    pub(crate) const fn short_body(&self) -> Option<&'a [u8]> {
        let body = match &self.content {
            Content::Copied(bytes) => *bytes,
            Content::None => &[],
            _ => return None,
        };
        let is_short = self.status >= 200
            && !status::has_no_body(self.status)
            && self.fields.is_empty()
            && !self.close;
        if is_short { Some(body) } else { None }
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
        self.check_type()?;
        self.fields.check(&OF_ANSWERS)
    }

    /// The status code.
    #[must_use]
    pub const fn code(&self) -> u16 {
        self.status
    }
}

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
