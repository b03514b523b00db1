//! [`HttpOwnedRequest`]: a request that outlives its event.

use std::fmt;

use super::BodyStream;
use crate::http::{HttpHeaders, HttpMethod, HttpRequest, Lens, Places, RequestFlags};
use crate::ids::{ConnId, PeerAddr, RequestId};
use crate::pool::OwnedSlot;

/// A request that was taken out of its event: `Send + Sync`, in the receive buffer where it
/// arrived, without a copy. Answer it from any thread with
/// [`IoHandle::http_respond`](crate::IoHandle::http_respond).
///
/// It keeps one receive buffer of its shard from being used again until it is dropped. A body that
/// comes behind the request comes to it from then on: [`body_stream`](Self::body_stream).
pub struct HttpOwnedRequest {
    message: OwnedSlot,
    conn: ConnId,
    id: RequestId,
    peer: PeerAddr,
    places: Places,
    method: HttpMethod,
    flags: RequestFlags,
    body: Option<BodyStream>,
}

impl HttpOwnedRequest {
    pub(crate) const fn new(
        message: OwnedSlot,
        (conn, id): (ConnId, RequestId),
        peer: PeerAddr,
        places: Places,
        (method, flags): (HttpMethod, RequestFlags),
        body: Option<BodyStream>,
    ) -> Self {
        Self { message, conn, id, peer, places, method, flags, body }
    }

    /// The request as it was in its event.
    #[must_use]
    pub fn request(&self) -> HttpRequest<'_> {
        let lens = Lens { target: self.places.target_len, head: self.places.body_start };
        HttpRequest::new(&self.message, lens, self.method, self.flags)
    }

    /// The connection that it came on.
    #[must_use]
    pub const fn conn(&self) -> ConnId {
        self.conn
    }

    /// The key under which it is answered.
    #[must_use]
    pub const fn id(&self) -> RequestId {
        self.id
    }

    /// The client's address.
    #[must_use]
    pub const fn peer(&self) -> PeerAddr {
        self.peer
    }

    /// As [`HttpRequest::method`].
    #[must_use]
    pub const fn method(&self) -> HttpMethod {
        self.method
    }

    /// As [`HttpRequest::path`].
    #[must_use]
    pub fn path(&self) -> &str {
        self.request().path()
    }

    /// As [`HttpRequest::query`].
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.request().query()
    }

    /// As [`HttpRequest::headers`].
    #[must_use]
    pub fn headers(&self) -> HttpHeaders<'_> {
        self.request().headers()
    }

    /// As [`HttpRequest::header`].
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.request().header(name)
    }

    /// As [`HttpRequest::body`].
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.request().body()
    }

    /// The body that follows the request ([`HttpRequest::body_follows`]). Once: `None` when it was
    /// taken already, and for a request that came whole. If it is not taken, the body is thrown
    /// away when the request is dropped.
    pub const fn body_stream(&mut self) -> Option<BodyStream> {
        self.body.take()
    }
}

impl fmt::Debug for HttpOwnedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOwnedRequest")
            .field("conn", &self.conn)
            .field("id", &self.id)
            .field("request", &self.request())
            .finish()
    }
}

const _: () = assert!(size_of::<HttpOwnedRequest>() >= 96 && size_of::<HttpOwnedRequest>() <= 112);
const fn assert_shared<T: Send + Sync>() {}
const _: () = assert_shared::<HttpOwnedRequest>();
