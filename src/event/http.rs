//! Records of HTTP, and the events they become.

use super::Event;
use crate::http::{HttpMethod, HttpRequest, Places, RequestFlags};
use crate::ids::{ConnId, RequestId};

/// What a record of HTTP will become. Its `extra` has the rest: the request's number in the low
/// half, and for a request the lengths of target and head above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HttpKind {
    Request { method: HttpMethod, flags: RequestFlags },
    Body { last: bool },
}

/// The event of a record. `data` is the message: head and inline body, or the piece of a body.
pub(crate) fn event(kind: HttpKind, conn: ConnId, extra: u64, data: &[u8]) -> Event<'_> {
    let id = RequestId::from_u64(extra & u64::from(u32::MAX));
    match kind {
        HttpKind::Request { method, flags } => {
            let request = HttpRequest::new(data, places(method, extra, data), method, flags);
            Event::HttpRequest { conn, id, request }
        }
        HttpKind::Body { last } => Event::HttpBodyChunk { conn, id, data, last },
    }
}

/// Where the parts of a request lie.
pub(crate) fn places(method: HttpMethod, extra: u64, message: &[u8]) -> Places {
    let method_len = match method.as_str() {
        Some(name) => name.len(),
        None => message.iter().position(|byte| *byte == b' ').unwrap_or_default(),
    };
    let (target_len, head_len) = ((extra >> 32) as u16, (extra >> 48) as u16);
    Places::new(method_len as u16, target_len, head_len, message.len() as u32)
}
