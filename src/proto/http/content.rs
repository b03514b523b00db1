//! [`Content`]: the body of a message to be sent, and how it is given.

use super::ErasedJson;
use crate::http::FileSpan;
use crate::pool::{SendBuffer, WriteGuard};

/// The body of a message.
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

impl<'a> Content<'a> {
    /// `*self = content`. A first content has no call to drop what was there before: with one, a
    /// compiler has to put the message together in memory, field by field.
    #[inline]
    pub(super) fn give_way_to(&mut self, content: Self) {
        match std::mem::replace(self, content) {
            // Else it would be dropped, by a call.
            before @ Self::None => std::mem::forget(before),
            before => before.end(),
        }
    }

    #[cold]
    #[inline(never)]
    fn end(self) {}
}

pub(super) const BINARY: &str = "application/octet-stream";

/// The methods of a message, answer or request, that give it a body.
macro_rules! content_methods {
    () => {
        /// The `Content-Type`, in place of the one that the body's method chose.
        #[inline]
        pub const fn content_type(mut self, media_type: &'a str) -> Self {
            self.content_type = media_type;
            self.has_own_type = true;
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
            self.typed($crate::proto::http::content::BINARY, Content::Copied(bytes))
        }

        /// A body that is part of the program: sent from where it lies.
        #[inline]
        pub fn static_bytes(self, bytes: &'static [u8]) -> Self {
            let kept = $crate::pool::WriteGuard::Static(bytes);
            self.typed($crate::proto::http::content::BINARY, Content::Kept(kept))
        }

        /// A body in shared memory: sent from where it lies, and kept alive until it is.
        pub fn shared(self, memory: impl Into<$crate::pool::WriteGuard>) -> Self {
            self.typed($crate::proto::http::content::BINARY, Content::Kept(memory.into()))
        }

        /// A body in a buffer of the pool (`Io::send_buffer`, or a payload that was received): sent
        /// from where it lies.
        pub fn buffer(self, buffer: $crate::pool::SendBuffer) -> Self {
            self.typed($crate::proto::http::content::BINARY, Content::Buffer(buffer))
        }

        /// A value as JSON: `application/json`. It is serialised when the message is sent.
        pub fn json<T: serde::Serialize>(self, value: &'a T) -> Self {
            self.typed("application/json", Content::Json(value))
        }

        /// A body that is written later, with `http_write` and `http_finish`: chunked for HTTP/1.1,
        /// up to the end of the connection for HTTP/1.0.
        pub fn stream(self) -> Self {
            self.typed($crate::proto::http::content::BINARY, Content::Later(None))
        }

        /// The same for a body whose length is known.
        pub fn stream_of(self, len: u64) -> Self {
            self.typed($crate::proto::http::content::BINARY, Content::Later(Some(len)))
        }

        #[inline]
        pub(super) fn typed(mut self, media_type: &'a str, content: Content<'a>) -> Self {
            if !self.has_own_type {
                self.content_type = media_type;
            }
            self.content.give_way_to(content);
            self
        }

        /// Whether the application's own media type may stand in a head.
        fn check_type(&self) -> $crate::error::Result<()> {
            let is_sound = || self.content_type.bytes().all($crate::proto::http::is_field_byte);
            if self.has_own_type && !is_sound() {
                return Err($crate::error::IoError::InvalidArgument {
                    what: "Content-Type",
                    why: "it has control bytes; a line break would begin another field",
                });
            }
            Ok(())
        }
    };
}
pub(super) use content_methods;
