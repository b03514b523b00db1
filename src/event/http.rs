//! Records of HTTP, and the events they become.

use super::Event;
use crate::http::{HttpMethod, HttpRequest, Lens, RequestFlags};
use crate::ids::{ConnId, RequestId};

/// What a record of HTTP will become. Its `extra` has the rest: the request's number in the low
/// half, and for a request the lengths of target and head above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HttpKind {
    Request { method: HttpMethod, flags: RequestFlags },
    Body { last: bool },
}

/// The event of a record. `data` is the message: head and inline body, or the piece of a body.
#[inline]
pub(crate) fn event(kind: HttpKind, conn: ConnId, extra: u64, data: &[u8]) -> Event<'_> {
    let id = RequestId::from_u64(extra & u64::from(u32::MAX));
    match kind {
        HttpKind::Request { method, flags } => {
            Event::HttpRequest { conn, id, request: request(method, flags, extra, data) }
        }
        HttpKind::Body { last } => Event::HttpBodyChunk { conn, id, data, last },
    }
}

/// The request of a record.
#[inline]
pub(crate) const fn request(
    method: HttpMethod,
    flags: RequestFlags,
    extra: u64,
    data: &[u8],
) -> HttpRequest<'_> {
    let lens = Lens { target: (extra >> 32) as u16, head: (extra >> 48) as u16 };
    HttpRequest::new(data, lens, method, flags)
}
