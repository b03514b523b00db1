//! The head of a request: [`parse_plainly`], else [`parse_thoroughly`].

use std::mem::MaybeUninit;

use httparse::{Error, Request, Status};

use super::authority::KnownHost;
use super::bytes::{TARGET, is};
use super::fault::Fault;
use super::fields::{Fields, Seen};
use super::target::Target;
use super::{Body, HEADER_COUNT_MAX, Head, HeadFlags, Limits, METHOD_LEN_MAX, Parsed, plain};
use crate::http::HttpMethod;

/// `HTTP/1.1`.
const VERSION_LEN: usize = 8;

/// A request line that is well formed.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) method: HttpMethod,
    pub(super) method_len: usize,
    pub(super) target: &'a [u8],
    pub(super) is_version_10: bool,
}

/// Looks at the front of `input`, which is not empty and begins with no empty line
/// ([`super::leading_empty_lines`]), for a head that is good at first sight. `None` says nothing:
/// then it takes [`parse_thoroughly`].
#[inline]
pub(crate) fn parse_plainly(input: &[u8], limits: &Limits, host: &KnownHost) -> Option<Head> {
    let mut fields = Fields::new();
    let (line, len) = plain::read(limits.window(input), limits, &mut fields)?;
    check(line, &fields, len, host).ok()
}

/// The same for any head: the one that says what is wrong.
#[cold]
#[inline(never)]
pub(crate) fn parse_thoroughly(input: &[u8], limits: &Limits) -> Parsed {
    let window = limits.window(input);
    if let [b'\r' | b'\n', ..] = window {
        return begins_with_line_end(window, limits);
    }
    let mut room = [const { MaybeUninit::uninit() }; HEADER_COUNT_MAX];
    let room = room.get_mut(..limits.field_count()).unwrap_or_default();
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(window, room) {
        Ok(Status::Complete(len)) => {
            let head = window.get(..len).unwrap_or(window);
            check_tokens(&request, head).map_or_else(refused, Parsed::Head)
        }
        Ok(Status::Partial) => incomplete(window, limits),
        Err(error) => match fault_of(error, &request, window) {
            Some(fault) => refused(fault),
            None => incomplete(window, limits),
        },
    }
}

const fn refused(fault: Fault) -> Parsed {
    Parsed::Refused(fault.refusal())
}

/// A head that httparse takes: whether it has the one layout, and may be believed.
fn check_tokens(request: &Request<'_, '_>, head: &[u8]) -> Result<Head, Fault> {
    let (Some(token), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(Fault::RequestLine);
    };
    // RFC 9112 §3: "A server that receives a method longer than any that it implements SHOULD
    // respond with a 501 (Not Implemented) status code."
    if token.len() > METHOD_LEN_MAX {
        return Err(Fault::NotImplemented);
    }
    // §3.2.1: `origin-form = absolute-path [ "?" query ]`, and no fragment: RFC 9110 §7.1 leaves it
    // out of the target.
    if !target.bytes().all(|byte| is(byte, TARGET)) {
        return Err(Fault::Target);
    }
    let fields = Fields::read(head, request.headers)
        .map_err(|fault| sharpen(fault, head, token.len() + 1 + target.len() + 1))?;
    let line = Line {
        method: HttpMethod::of(token.as_bytes()),
        method_len: token.len(),
        target: target.as_bytes(),
        is_version_10: minor == 0,
    };
    check(line, &fields, head.len(), &KnownHost::new())
}

/// A head that is well formed: whether it may be believed.
#[inline(always)]
fn check(
    line: Line<'_>,
    fields: &Fields<'_>,
    head_len: usize,
    known: &KnownHost,
) -> Result<Head, Fault> {
    let form = Target::of(line.method, line.target)?;
    check_host(fields, form, line.is_version_10, known)?;
    let (body, flags) = match fields.seen == Seen::HOST && !line.is_version_10 {
        // Nothing was said: what most requests are.
        true => (Body::None, HeadFlags::empty()),
        false => said(fields, line.method, line.is_version_10)?,
    };
    // What is narrowed is no longer than the window, and that fits.
    Ok(Head {
        method: line.method,
        method_len: line.method_len as u8,
        target_len: line.target.len() as u16,
        head_len: head_len as u16,
        flags,
        body,
    })
}

/// What the fields say beside `Host`.
#[inline(never)]
fn said(
    fields: &Fields<'_>,
    method: HttpMethod,
    is_version_10: bool,
) -> Result<(Body, HeadFlags), Fault> {
    let body = body_of(fields, method, is_version_10)?;
    Ok((body, flags_of(fields, body, is_version_10)?))
}

/// RFC 9112 §3.2: "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1
/// request message that lacks a Host header field and to any request message that contains more
/// than one Host header field line or a Host header field with an invalid field value."
#[inline(always)]
fn check_host(
    fields: &Fields<'_>,
    form: Target<'_>,
    is_version_10: bool,
    known: &KnownHost,
) -> Result<(), Fault> {
    let is_one = match (fields.seen.contains(Seen::HOST), fields.seen.contains(Seen::HOST_AGAIN)) {
        (true, false) => known.is_authority(fields.host) || is_nameless(fields.host, form),
        (false, _) => is_version_10,
        (true, true) => false,
    };
    match form {
        _ if !is_one => Err(Fault::Host),
        // §3.2.2: a server ignores the Host beside an absolute target, and §3.2 has the two the
        // same. Where they differ the application would be told one and somebody on the way has
        // believed the other: refused.
        Target::Absolute(authority) if fields.seen.contains(Seen::HOST) => {
            match fields.host.eq_ignore_ascii_case(authority) {
                true => Ok(()),
                false => Err(Fault::Host),
            }
        }
        _ => Ok(()),
    }
}

/// §3.2: "If the authority component is missing or undefined for the target URI, then a client MUST
/// send a Host header field with an empty field value"; of a server's targets only `*` has none.
#[cold]
fn is_nameless(host: &[u8], form: Target<'_>) -> bool {
    host.is_empty() && form == Target::Asterisk
}

/// RFC 9112 §6.3.
fn body_of(fields: &Fields<'_>, method: HttpMethod, is_version_10: bool) -> Result<Body, Fault> {
    fields.check_framing(is_version_10)?;
    let body = match fields.length {
        _ if fields.seen.contains(Seen::CHUNKED) => Body::Chunked,
        0 => Body::None,
        length => Body::Length(length),
    };
    // RFC 9110 §9.3.6: "A CONNECT request message does not have content." What follows belongs to
    // the tunnel, or to nobody.
    match body != Body::None && method == HttpMethod::Connect {
        true => Err(Fault::Framing),
        false => Ok(body),
    }
}

fn flags_of(fields: &Fields<'_>, body: Body, is_version_10: bool) -> Result<HeadFlags, Fault> {
    let keeps = fields.keeps_connection(is_version_10);
    let mut flags = HeadFlags::empty();
    flags.set(HeadFlags::CLOSE, !keeps);
    flags.set(HeadFlags::VERSION_10, is_version_10);
    flags.set(HeadFlags::KEEP_ALIVE_10, keeps && is_version_10);
    flags.set(HeadFlags::UPGRADE, fields.upgrades(is_version_10));
    flags.set(HeadFlags::ACCEPTS_GZIP, fields.accepts_gzip());
    // RFC 9110 §10.1.1: a server that receives an expectation in HTTP/1.0 "MUST ignore" it; to one
    // other than 100-continue it "MAY respond with a 417"; without content there is nothing to
    // wait for.
    if !is_version_10 && fields.seen.contains(Seen::OTHER_EXPECTATION) {
        return Err(Fault::Expectation);
    }
    let waits = !is_version_10 && fields.seen.contains(Seen::CONTINUE) && body != Body::None;
    flags.set(HeadFlags::EXPECT_CONTINUE, waits);
    Ok(flags)
}

/// A line end before the request line. RFC 9112 §2.2: a recipient "MUST NOT" take a bare CR for
/// one; and there were as many empty lines as are skipped.
#[cold]
fn begins_with_line_end(window: &[u8], limits: &Limits) -> Parsed {
    match window {
        [b'\r'] => incomplete(window, limits),
        _ => refused(Fault::RequestLine),
    }
}

/// The head does not end in the window: whether it still may.
#[cold]
fn incomplete(window: &[u8], limits: &Limits) -> Parsed {
    if window.len() < limits.head_len() {
        return Parsed::Partial;
    }
    refused(match window.contains(&b'\n') {
        true => Fault::HeadTooLarge,
        false if method_is_too_long(window) => Fault::NotImplemented,
        false => Fault::UriTooLong,
    })
}

fn method_is_too_long(window: &[u8]) -> bool {
    window.get(..=METHOD_LEN_MAX).is_some_and(|front| !front.contains(&b' '))
}

/// What httparse found wrong; `None` when it takes more bytes to tell.
#[cold]
fn fault_of(error: Error, request: &Request<'_, '_>, window: &[u8]) -> Option<Fault> {
    let (Some(token), Some(target)) = (request.method, request.path) else {
        return Some(match request.method {
            None => Fault::RequestLine,
            Some(_) => Fault::Target,
        });
    };
    let version_at = token.len() + 1 + target.len() + 1;
    match error {
        Error::Version => version_fault(window.get(version_at..).unwrap_or_default()),
        Error::TooManyHeaders => Some(Fault::HeadTooLarge),
        _ => {
            let behind = window.get(version_at + VERSION_LEN..).unwrap_or_default();
            let is_line_ended = behind.starts_with(b"\r\n") || behind.starts_with(b"\n");
            let fault = if is_line_ended { Fault::Header } else { Fault::RequestLine };
            Some(sharpen(fault, window, version_at))
        }
    }
}

/// A version that httparse does not know. RFC 9112 §2.3: `HTTP-name "/" DIGIT "." DIGIT`, in
/// capitals. What has this form is another version, such as the one in HTTP/2's preface; what has
/// not is malformed.
fn version_fault(bytes: &[u8]) -> Option<Fault> {
    let front = bytes.get(..VERSION_LEN).unwrap_or(bytes);
    let is_version = front.iter().zip(b"HTTP/0.0").all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        _ => byte == form,
    });
    match is_version {
        false => Some(Fault::RequestLine),
        true if front.len() < VERSION_LEN => None,
        true => Some(Fault::Version),
    }
}

/// A line end that is wrong is the request line's fault when it is the first.
#[cold]
fn sharpen(fault: Fault, head: &[u8], version_at: usize) -> Fault {
    let end = head.get(version_at + VERSION_LEN..).unwrap_or_default();
    match fault {
        Fault::Header if !end.starts_with(b"\r\n") => Fault::RequestLine,
        _ => fault,
    }
}
