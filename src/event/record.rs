//! [`Record`]: an event while it waits. It is `Copy` and holds places, not slices, so that it may
//! outlive every borrow; `next_event` resolves it.

use super::http::HttpKind;
use super::http_client::ClientKind;
use crate::config::MessageKind;
use crate::pool::BufId;

/// What a record will become.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// `id` is the endpoint. The buffer's datagram note has the rest.
    UdpRecv,
    /// `id` is the connection, `extra` the listener (or `u64::MAX`).
    Connected,
    /// `id` is the connection.
    StreamFrame(MessageKind),
    /// `id` is the connection.
    Http(HttpKind),
    /// `id` is the connection.
    HttpClient(ClientKind),
    /// `id` is the connection.
    Secured,
    /// `id` is the connection.
    ReadClosed,
    /// `id` is the watch, `extra` the token, `len` the readiness.
    FdReady,
    /// `extra` is the token.
    User,
    /// `id` is the connection.
    HandOverFailed,
    /// `extra` is the token; the fleet has the error.
    ConnectFailed,
    /// `extra` is the deadline, in nanoseconds from now.
    Draining,
}

/// One waiting event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    /// The buffer that holds the payload, held once for this record; or [`BufId::NONE`].
    pub(crate) buf: BufId,
    pub(crate) offset: u32,
    pub(crate) len: u32,
    pub(crate) id: u64,
    pub(crate) extra: u64,
}

impl Record {
    /// A record without a payload.
    pub(crate) const fn bare(kind: Kind, id: u64, extra: u64) -> Self {
        Self { kind, buf: BufId::NONE, offset: 0, len: 0, id, extra }
    }
}

const _: () = assert!(size_of::<Record>() <= 40);
