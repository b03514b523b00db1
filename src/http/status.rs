//! Status codes and their reason phrases, RFC 9110 §15.

/// The start line of an answer, without its CRLF where the code has no phrase of its own.
macro_rules! phrases {
    ($($code:literal $phrase:literal)*) => {
        /// The reason phrase of a status code; empty for one without a name.
        #[must_use]
        pub(crate) const fn reason(code: u16) -> &'static str {
            match code {
                $($code => $phrase,)*
                _ => "",
            }
        }

        /// The whole status line of an HTTP/1.1 answer, with its CRLF; `None` for a code without a
        /// name.
        pub(crate) const fn line(code: u16) -> Option<&'static [u8]> {
            Some(match code {
                $($code => concat!("HTTP/1.1 ", $code, " ", $phrase, "\r\n").as_bytes(),)*
                _ => return None,
            })
        }
    };
}

phrases! {
    100 "Continue"
    101 "Switching Protocols"
    103 "Early Hints"
    200 "OK"
    201 "Created"
    202 "Accepted"
    203 "Non-Authoritative Information"
    204 "No Content"
    205 "Reset Content"
    206 "Partial Content"
    300 "Multiple Choices"
    301 "Moved Permanently"
    302 "Found"
    303 "See Other"
    304 "Not Modified"
    307 "Temporary Redirect"
    308 "Permanent Redirect"
    400 "Bad Request"
    401 "Unauthorized"
    402 "Payment Required"
    403 "Forbidden"
    404 "Not Found"
    405 "Method Not Allowed"
    406 "Not Acceptable"
    407 "Proxy Authentication Required"
    408 "Request Timeout"
    409 "Conflict"
    410 "Gone"
    411 "Length Required"
    412 "Precondition Failed"
    413 "Content Too Large"
    414 "URI Too Long"
    415 "Unsupported Media Type"
    416 "Range Not Satisfiable"
    417 "Expectation Failed"
    421 "Misdirected Request"
    422 "Unprocessable Content"
    425 "Too Early"
    426 "Upgrade Required"
    428 "Precondition Required"
    429 "Too Many Requests"
    431 "Request Header Fields Too Large"
    451 "Unavailable For Legal Reasons"
    500 "Internal Server Error"
    501 "Not Implemented"
    502 "Bad Gateway"
    503 "Service Unavailable"
    504 "Gateway Timeout"
    505 "HTTP Version Not Supported"
    511 "Network Authentication Required"
}

/// Whether an answer with that code never has a body, RFC 9110 §6.4.1.
pub(crate) const fn has_no_body(code: u16) -> bool {
    code < 200 || code == 204 || code == 304
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole() {
        assert_eq!(line(200), Some(&b"HTTP/1.1 200 OK\r\n"[..]));
        assert_eq!(line(299), None);
        assert_eq!(reason(404), "Not Found");
        assert!(has_no_body(304) && has_no_body(101) && !has_no_body(205));
    }
}
