//! [`HttpMethod`]: what a request asks for (RFC 9110 §9).

use std::fmt;

/// The method of a request: RFC 9110 §9.3, and PATCH (RFC 5789).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum HttpMethod {
    /// Transfer a representation of the target.
    Get,
    /// As GET, without the content.
    Head,
    /// Let the target process the content.
    Post,
    /// Replace the target by the content.
    Put,
    /// Remove the target.
    Delete,
    /// Make a tunnel to the target.
    Connect,
    /// Say how to communicate with the target.
    Options,
    /// Loop the request back.
    Trace,
    /// Apply the content to the target.
    Patch,
    /// Any other token; methods are case-sensitive, so `get` is one.
    Other,
}

impl HttpMethod {
    /// The method that a token names.
    pub(crate) const fn of(token: &[u8]) -> Self {
        match token {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"CONNECT" => Self::Connect,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            b"PATCH" => Self::Patch,
            _ => Self::Other,
        }
    }

    /// The method whose discriminant (`method as u8`) that is.
    pub(crate) const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Get,
            1 => Self::Head,
            2 => Self::Post,
            3 => Self::Put,
            4 => Self::Delete,
            5 => Self::Connect,
            6 => Self::Options,
            7 => Self::Trace,
            8 => Self::Patch,
            _ => Self::Other,
        }
    }

    /// The token; `None` for [`HttpMethod::Other`], which stands for many.
    #[must_use]
    pub const fn as_str(self) -> Option<&'static str> {
        Some(match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Connect => "CONNECT",
            Self::Options => "OPTIONS",
            Self::Trace => "TRACE",
            Self::Patch => "PATCH",
            Self::Other => return None,
        })
    }

    /// Whether it asks for nothing but reading (RFC 9110 §9.2.1).
    #[must_use]
    pub const fn is_safe(self) -> bool {
        matches!(self, Self::Get | Self::Head | Self::Options | Self::Trace)
    }

    /// Whether doing it twice is as doing it once, so that it may be tried again (RFC 9110 §9.2.2).
    #[must_use]
    pub const fn is_idempotent(self) -> bool {
        self.is_safe() || matches!(self, Self::Put | Self::Delete)
    }
}

impl fmt::Display for HttpMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str().unwrap_or("(other)"))
    }
}

#[cfg(test)]
mod tests {
    use super::HttpMethod as M;

    #[test]
    fn numbers_are_those_of_the_methods() {
        for number in 0..=M::Other as u8 {
            assert_eq!(M::from_number(number) as u8, number);
        }
    }

    #[test]
    fn names_and_properties() {
        let rows = [
            ("GET", M::Get, true, true),
            ("HEAD", M::Head, true, true),
            ("POST", M::Post, false, false),
            ("PUT", M::Put, false, true),
            ("DELETE", M::Delete, false, true),
            ("CONNECT", M::Connect, false, false),
            ("OPTIONS", M::Options, true, true),
            ("TRACE", M::Trace, true, true),
            ("PATCH", M::Patch, false, false),
        ];
        for (name, method, safe, idempotent) in rows {
            assert_eq!(M::of(name.as_bytes()), method);
            assert_eq!(method.as_str(), Some(name));
            assert_eq!(method.to_string(), name);
            assert_eq!((method.is_safe(), method.is_idempotent()), (safe, idempotent), "{name}");
        }
        for other in ["get", "GETS", "GE", "", "PROPFIND"] {
            assert_eq!(M::of(other.as_bytes()), M::Other, "{other}");
        }
        assert_eq!((M::Other.as_str(), M::Other.is_idempotent()), (None, false));
    }
}
