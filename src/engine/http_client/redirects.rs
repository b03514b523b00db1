//! Redirects: a response that leads elsewhere becomes the next try of its request.

use crate::engine::Engine;
use crate::http::HttpResponse;

/// What was done with a response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Followed {
    /// Its request is on its way elsewhere.
    Yes,
    /// It is the application's.
    No,
}

impl Engine {
    /// Follows a redirect, where that is wanted and possible.
    #[expect(clippy::unused_self, reason = "")]
    pub(super) fn follow(&mut self, _key: u64, _response: &HttpResponse<'_>) -> Followed {
        Followed::No
    }
}
