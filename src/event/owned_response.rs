//! [`HttpOwnedResponse`]: a response that outlives its event.

use std::fmt;

use crate::http::{HttpHeaders, HttpResponse, ResponseFlags, ResponsePlaces};
use crate::ids::RequestId;
use crate::pool::OwnedSlot;

/// A response that was taken out of its event: `Send + Sync`, in the receive buffer where it
/// arrived, without a copy.
///
/// It keeps one receive buffer of its shard from being used again until it is dropped.
pub struct HttpOwnedResponse {
    message: OwnedSlot,
    id: RequestId,
    places: ResponsePlaces,
    status: u16,
    flags: ResponseFlags,
}

impl HttpOwnedResponse {
    pub(crate) const fn new(
        message: OwnedSlot,
        id: RequestId,
        places: ResponsePlaces,
        status: u16,
        flags: ResponseFlags,
    ) -> Self {
        Self { message, id, places, status, flags }
    }

    /// The response as it was in its event.
    #[must_use]
    pub fn response(&self) -> HttpResponse<'_> {
        HttpResponse::new(&self.message, self.places, self.status, self.flags)
    }

    /// The request that it answers.
    #[must_use]
    pub const fn id(&self) -> RequestId {
        self.id
    }

    /// As [`HttpResponse::status`].
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }

    /// As [`HttpResponse::headers`].
    #[must_use]
    pub fn headers(&self) -> HttpHeaders<'_> {
        self.response().headers()
    }

    /// As [`HttpResponse::header`].
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response().header(name)
    }

    /// As [`HttpResponse::body`].
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.response().body()
    }
}

impl fmt::Debug for HttpOwnedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOwnedResponse")
            .field("id", &self.id)
            .field("response", &self.response())
            .finish()
    }
}

const fn assert_shared<T: Send + Sync>() {}
const _: () = assert_shared::<HttpOwnedResponse>();
