//! The four forms of a request's target: RFC 9112 §3.2.

use super::authority::{is_authority, is_authority_with_port};
use super::fault::Fault;
use crate::http::HttpMethod;

/// A target that may be believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target<'a> {
    Origin,
    /// With the authority in it.
    Absolute(&'a [u8]),
    Authority,
    Asterisk,
}

impl<'a> Target<'a> {
    /// The form of `target`, whose bytes are those that a target can have.
    #[inline]
    pub(super) fn of(method: HttpMethod, target: &'a [u8]) -> Result<Self, Fault> {
        match target {
            [b'/', ..] if method != HttpMethod::Connect => Ok(Self::Origin),
            _ => Self::rare(method, target),
        }
    }

    #[cold]
    fn rare(method: HttpMethod, target: &'a [u8]) -> Result<Self, Fault> {
        match (method, target) {
            // §3.2.3: "only used for CONNECT requests"; and CONNECT has no other form.
            (HttpMethod::Connect, _) if is_authority_with_port(target) => Ok(Self::Authority),
            (HttpMethod::Connect, _) => Err(Fault::Target),
            // §3.2.4: "only used for a server-wide OPTIONS request".
            (HttpMethod::Options, b"*") => Ok(Self::Asterisk),
            // §3.2.2: "a server MUST accept the absolute-form in requests".
            _ => match authority_of(target) {
                Some(authority) if is_authority(authority) => Ok(Self::Absolute(authority)),
                _ => Err(Fault::Target),
            },
        }
    }
}

/// The authority of an `http` or `https` URI: RFC 9110 §4.2.
fn authority_of(target: &[u8]) -> Option<&[u8]> {
    let colon = target.iter().position(|&byte| byte == b':')?;
    let (scheme, behind) = target.split_at_checked(colon)?;
    let is_ours = scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https");
    let rest = behind.strip_prefix(b"://").filter(|_| is_ours)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    rest.get(..end)
}
