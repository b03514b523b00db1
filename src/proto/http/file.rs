//! The answer that a request gets of a file.

use super::{Content, HttpFieldValue, ZeroResponse};
use crate::http::{Decision, HttpFile, HttpMethod, HttpRequest, decide};

impl HttpFile {
    /// The answer to a request for this file: all of it, a range of it (206), that the client has
    /// it already (304), or that the request's conditions do not hold (412, 416), by RFC 9110
    /// §13.2.2. A request for several ranges gets the whole (§14.2). Methods other than GET and
    /// HEAD get 405.
    ///
    /// More may be added to it, `.header("cache-control", "max-age=60")` for example. The file is
    /// sent by the system from where it lies, without passing through the memory of the program
    /// (but for TLS).
    pub fn answer(&self, request: &HttpRequest<'_>) -> ZeroResponse<'_> {
        let method = request.method();
        if !matches!(method, HttpMethod::Get | HttpMethod::Head) {
            return ZeroResponse::method_not_allowed("GET, HEAD");
        }
        let len = self.len();
        match decide(self, method, request.headers()) {
            Decision::Whole => self.part(ZeroResponse::ok(), 0, len),
            Decision::Part { at, len: wanted } => {
                let range = Some((at, at + (wanted - 1)));
                let field = HttpFieldValue::ContentRange { range, len };
                self.part(ZeroResponse::status(206).header("content-range", field), at, wanted)
            }
            // RFC 9110 §15.4.5: what a cache needs to find its copy.
            Decision::NotModified => self.dated(ZeroResponse::status(304)),
            Decision::Failed => ZeroResponse::status(412),
            Decision::Unsatisfiable => {
                let field = HttpFieldValue::ContentRange { range: None, len };
                ZeroResponse::status(416).header("content-range", field)
            }
        }
    }

    fn part<'a>(&'a self, response: ZeroResponse<'a>, at: u64, len: u64) -> ZeroResponse<'a> {
        self.dated(response)
            .header("accept-ranges", "bytes")
            .typed(self.media_type(), Content::File(self.span(at, len)))
    }

    fn dated<'a>(&'a self, response: ZeroResponse<'a>) -> ZeroResponse<'a> {
        response.header("etag", self.etag()).header("last-modified", self.last_modified())
    }
}
