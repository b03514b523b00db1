//! [`Fault`]: what can be wrong with a message, and the answer to each.

use crate::code;

/// What was refused, for the peer and for the application.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    /// The status of the answer (RFC 9110 §15).
    pub(crate) status: u16,
    /// A number of [`code`].
    pub(crate) code: u64,
}

/// Classes of faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    RequestLine,
    StatusLine,
    Target,
    Header,
    Host,
    Framing,
    Chunk,
    UriTooLong,
    HeadTooLarge,
    Version,
    NotImplemented,
    Expectation,
}

impl Fault {
    pub(super) const fn refusal(self) -> Refusal {
        let (status, code) = match self {
            // RFC 9112 §3: "Recipients of an invalid request-line SHOULD respond with either a 400
            // (Bad Request) error or a 301".
            Self::RequestLine => (400, code::HTTP_BAD_REQUEST_LINE),
            Self::StatusLine => (502, code::HTTP_BAD_STATUS_LINE),
            Self::Target => (400, code::HTTP_BAD_TARGET),
            Self::Header => (400, code::HTTP_BAD_HEADER),
            Self::Host => (400, code::HTTP_BAD_HOST),
            Self::Framing => (400, code::HTTP_BAD_FRAMING),
            Self::Chunk => (400, code::HTTP_BAD_CHUNK),
            // RFC 9112 §3: "A server that receives a request-target longer than any URI it wishes
            // to parse MUST respond with a 414 (URI Too Long) status code".
            Self::UriTooLong => (414, code::HTTP_URI_TOO_LONG),
            // RFC 6585 §5.
            Self::HeadTooLarge => (431, code::HTTP_HEAD_TOO_LARGE),
            // RFC 9110 §15.6.6.
            Self::Version => (505, code::HTTP_VERSION),
            // RFC 9112 §3 and §6.1.
            Self::NotImplemented => (501, code::HTTP_NOT_IMPLEMENTED),
            // RFC 9110 §10.1.1.
            Self::Expectation => (417, code::HTTP_EXPECTATION),
        };
        Refusal { status, code }
    }
}
