//! Records of HTTP clients, and how requests fail.

use crate::http::ResponseFlags;

/// What a record of an HTTP client will become. Its `extra` has the rest: the request's number in
/// the low 48 bits, and for a response the length of the head above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ClientKind {
    Response { flags: ResponseFlags },
    Body { last: bool },
}

/// What a request was doing when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HttpPhase {
    /// It waited for a connection.
    Waiting,
    /// A connection for it was being made: name, socket, proxy, TLS.
    Connecting,
    /// It was being sent, or its response had not begun.
    Sending,
    /// Its response had begun, and the head was not whole.
    Head,
    /// The body of its response was being received.
    Body,
}

/// How a request ended that has no (whole) response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpFailure {
    /// Why: a number of [`code`](crate::code), or an errno below 4096.
    pub code: u64,
    /// What it was doing.
    pub phase: HttpPhase,
    /// Something of it may have reached the server, which may have acted on it.
    pub was_sent: bool,
}

impl std::fmt::Display for HttpFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(std::str::from_utf8(super::reason_bytes(self.code)).unwrap_or_default())
    }
}
