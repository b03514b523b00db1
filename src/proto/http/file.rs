//! The answer that a request gets of a file.

use super::{Content, ZeroResponse};
use crate::http::{Decision, HttpFile, HttpMethod, HttpRequest, decide};

impl HttpFile {
    /// The answer to a request for this file: all of it, a range of it (206), that the client has
    /// it already (304), or that the request's conditions do not hold (412, 416), by RFC 9110
    /// §13.2.2. A request for several ranges gets the whole (§14.2). Methods other than GET and
    /// HEAD get 405.
    ///
    /// More may be added to it, `.header("cache-control", "max-age=60")` for example. The file is
    /// sent by the system from where it lies, without passing through the memory of the program
    /// (but for TLS, and for a file that is so short that copying it costs less).
    pub fn answer(&self, request: &HttpRequest<'_>) -> ZeroResponse<'_> {
        let method = request.method();
        if !matches!(method, HttpMethod::Get | HttpMethod::Head) {
            return ZeroResponse::method_not_allowed("GET, HEAD");
        }
        let len = self.len();
        match decide(self, method, request.headers()) {
            Decision::Whole => self.part(ZeroResponse::ok(), 0, len),
            Decision::Part { at, len } => self.part(ZeroResponse::status(206), at, len),
            // RFC 9110 §15.4.5: what a cache needs to find its copy.
            Decision::NotModified => self.dated(ZeroResponse::status(304)),
            Decision::Failed => ZeroResponse::status(412),
            Decision::Unsatisfiable => ZeroResponse::status(416).not_there(len),
        }
    }

    fn part<'a>(&'a self, response: ZeroResponse<'a>, at: u64, len: u64) -> ZeroResponse<'a> {
        self.dated(response)
            .header("accept-ranges", "bytes")
            .content_type(self.media_type())
            .typed("", Content::File(self.span(at, len)))
    }

    fn dated<'a>(&'a self, response: ZeroResponse<'a>) -> ZeroResponse<'a> {
        response.header("etag", self.etag()).header("last-modified", self.last_modified())
    }
}
