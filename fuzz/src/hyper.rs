//! hyper as an oracle: what it makes of the bytes that a peer sent, on a wire in memory.
//!
//! Role: hyper's messages, and whether ours are the same. Not role: hyper as a judge of what may be
//! believed: it accepts more (bare line feeds, one length said twice), and only what is accepted
//! here is compared. Invariant: what is accepted here, hyper reads as the same messages, with the
//! same bodies, and ends each at the same byte: otherwise one of the two could be smuggled past.

mod wire;

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::{HeaderMap, Method, Request, Response, Uri};
use zero_io::http_fuzz::{
    Chunked, Framing, Head, Piece, Verdict, empty_lines, headers, request, response,
};

use wire::{Wire, drive};

/// Fields in a head, for both.
const FIELDS_MAX: u16 = 100;
const SIZE_MAX: u32 = 16_384;
/// Trailer fields that hyper takes: one for each of a head's, and it counts otherwise.
const TRAILERS_MAX: usize = 90;

/// A message, as far as it came.
#[derive(Debug, Default, PartialEq)]
struct Message {
    /// Method and target, or the status.
    start: String,
    /// In the order of their names, which are in small letters.
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    is_whole: bool,
}

/// Compares the requests of a connection that sent these bytes, and then its end.
pub(crate) fn requests_agree(bytes: &[u8]) {
    let theirs = their_requests(bytes);
    let mut at = 0;
    for seen in 0.. {
        at += empty_lines(&bytes[at..]);
        let input = &bytes[at..];
        let head = match request(input, FIELDS_MAX, SIZE_MAX) {
            _ if input.is_empty() => return assert_eq!(theirs.len(), seen, "requests of nothing"),
            Verdict::Partial => return assert_eq!(theirs.len(), seen, "half a head is a request"),
            Verdict::Refused(..) => return,
            Verdict::Head(head) => head,
        };
        let (method, target) = (text(input, &head.method), text(input, &head.target));
        // hyper has an opinion on characters of targets that nobody cuts differently.
        let Ok(uri) = target.parse::<Uri>() else { return };
        let mut ours = Message { start: format!("{method} {uri}"), ..Message::default() };
        ours.fields = sorted(headers(&input[head.block.clone()]).iter());
        let Some(len) = body(&input[head.len..], head.body, &mut ours) else { return };
        let theirs = theirs.get(seen).unwrap_or_else(|| panic!("hyper has not {ours:?}"));
        agrees(&ours, theirs);
        // hyper reads the fields of the connection otherwise where they contradict each other, and
        // another protocol may begin behind the others.
        let is_last = !ours.is_whole || head.closes || head.is_version_10 || method == "CONNECT";
        if is_last || ours.fields.iter().any(|(name, _)| name == "upgrade") {
            return;
        }
        at += head.len + len;
    }
}

/// Compares the response of a server that sent these bytes, and then its end.
pub(crate) fn response_agrees(bytes: &[u8], method: &str) {
    let mut at = 0;
    let head = loop {
        match response(&bytes[at..], FIELDS_MAX, SIZE_MAX, method) {
            Verdict::Partial | Verdict::Refused(..) => return,
            Verdict::Head(Head { status: 100 | 102..=199, len, .. }) => at += len,
            Verdict::Head(head) => break head,
        }
        if at == bytes.len() {
            return;
        }
    };
    let input = &bytes[at..];
    let mut ours = Message { start: head.status.to_string(), ..Message::default() };
    ours.fields = sorted(headers(&input[head.block.clone()]).iter());
    if body(&input[head.len..], head.body, &mut ours).is_none() {
        return;
    }
    match their_response(bytes, method) {
        Some(theirs) => agrees(&ours, &theirs),
        None => panic!("hyper has not {ours:?}"),
    }
}

/// The same of a request with this body in chunks, and of another one behind it where it `ends`.
pub(crate) fn chunks_agree(bytes: &[u8], ends: Option<usize>) {
    const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    const NEXT: &[u8] = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    match ends {
        Some(end) => requests_agree(&[HEAD, &bytes[..end], NEXT].concat()),
        None => requests_agree(&[HEAD, bytes].concat()),
    }
}

fn agrees(ours: &Message, theirs: &Message) {
    assert_eq!((&ours.start, &ours.fields), (&theirs.start, &theirs.fields), "hyper");
    assert_eq!(ours.is_whole, theirs.is_whole, "hyper: {ours:?}, {theirs:?}");
    if ours.is_whole {
        assert_eq!(ours.body, theirs.body, "hyper's body");
    }
}

/// Reads the body at the front of `input`; how long it is with what is around it. `None` when it is
/// refused here, or has more of something than hyper takes.
fn body(input: &[u8], framing: Framing, into: &mut Message) -> Option<usize> {
    let len = match framing {
        Framing::None => 0,
        Framing::Length(length) => input.len().min(usize::try_from(length).unwrap_or(usize::MAX)),
        Framing::UntilClose => input.len(),
        Framing::Chunked => return chunks(input, into),
    };
    into.body.extend_from_slice(&input[..len]);
    into.is_whole = !matches!(framing, Framing::Length(length) if length > len as u64);
    Some(len)
}

fn chunks(input: &[u8], into: &mut Message) -> Option<usize> {
    let mut chunked = Chunked::default();
    let mut at = 0;
    while at < input.len() {
        match chunked.step(&input[at..]) {
            Piece::Data(skip, len) => {
                into.body.extend_from_slice(&input[at + skip..at + skip + len]);
                at += skip + len;
            }
            Piece::Skip(len) => at += len,
            Piece::End(len) => {
                into.is_whole = true;
                let framing = &input[at..at + len];
                let trailers = framing.iter().filter(|byte| **byte == b':').count();
                return (trailers <= TRAILERS_MAX).then_some(at + len);
            }
            Piece::Bad(..) => return None,
        }
    }
    Some(at)
}

fn text<'a>(bytes: &'a [u8], range: &std::ops::Range<usize>) -> &'a str {
    std::str::from_utf8(&bytes[range.clone()]).expect("a token is ASCII")
}

fn sorted<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Vec<(String, Vec<u8>)> {
    let mut fields: Vec<_> =
        fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_vec())).collect();
    fields.sort_by(|(one, _), (other, _)| one.cmp(other));
    fields
}

// ---- hyper's side

fn their_requests(bytes: &[u8]) -> Vec<Message> {
    let seen = RefCell::new(Vec::new());
    let service = hyper::service::service_fn(async |request: Request<Incoming>| {
        let (parts, body) = request.into_parts();
        let place = seen.borrow().len();
        let start = format!("{} {}", parts.method, parts.uri);
        seen.borrow_mut().push(message(start, &parts.headers));
        let (body, is_whole) = read(body).await;
        let mut seen = seen.borrow_mut();
        (seen[place].body, seen[place].is_whole) = (body, is_whole);
        Ok::<_, Infallible>(Response::new(Nothing))
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    // A client that says no more still wants its answers.
    server.max_headers(FIELDS_MAX.into()).half_close(true);
    let connection = server.serve_connection(Wire::new(bytes), service);
    // How it ends is told by what came of it.
    let _ = drive(pin!(connection));
    seen.into_inner()
}

fn their_response(bytes: &[u8], method: &str) -> Option<Message> {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let uri = if method == Method::CONNECT { "a:1" } else { "/" };
    let asked = Request::builder().method(method).uri(uri).header("host", "a").body(Nothing);
    let asked = asked.expect("a request");
    let whole = async {
        let mut client = hyper::client::conn::http1::Builder::new();
        let wire = Wire::that_waits(bytes);
        let shaken = client.max_headers(FIELDS_MAX.into()).handshake(wire).await;
        let (mut sender, connection) = shaken.expect("nothing is said yet");
        let mut connection = pin!(connection);
        let mut answer = pin!(async {
            let (parts, body) = sender.send_request(asked).await.ok()?.into_parts();
            let mut message = message(parts.status.as_str().to_owned(), &parts.headers);
            (message.body, message.is_whole) = read(body).await;
            Some(message)
        });
        let mut is_over = false;
        std::future::poll_fn(|cx| {
            is_over = is_over || connection.as_mut().poll(cx).is_ready();
            answer.as_mut().poll(cx)
        })
        .await
    };
    drive(pin!(whole)).expect("a response, or an error")
}

fn message(start: String, fields: &HeaderMap) -> Message {
    let fields = fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    Message { start, fields: sorted(fields), ..Message::default() }
}

/// What came of a body, and whether that is all.
async fn read(body: Incoming) -> (Vec<u8>, bool) {
    let (mut body, mut bytes) = (pin!(body), Vec::new());
    loop {
        match std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            Some(Ok(frame)) => bytes.extend(frame.into_data().unwrap_or_default()),
            Some(Err(_)) => return (bytes, false),
            None => return (bytes, true),
        }
    }
}

/// A body without a byte.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hyper_reads_one_request_behind_the_other() {
        let bytes = b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nxy\
            PUT /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nz\r\n0\r\n\r\n\
            POST /c HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\ncut";
        let seen: Vec<_> = their_requests(bytes)
            .into_iter()
            .map(|message| (message.start, message.body, message.is_whole))
            .collect();
        let row = |start: &str, body: &[u8], is_whole| (start.to_owned(), body.to_vec(), is_whole);
        let wanted = [row("POST /a", b"xy", true), row("PUT /b", b"z", true)];
        assert_eq!(seen[..2], wanted);
        assert!(seen.len() == 3 && !seen[2].2, "{seen:?}");
        requests_agree(bytes);
    }

    #[test]
    fn hyper_reads_a_response() {
        let rows: [(&[u8], &str, &[u8], bool); 4] = [
            (
                b"HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nxyz",
                "200",
                b"xy",
                true,
            ),
            (
                b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nz\r\n0\r\n\r\n",
                "404",
                b"z",
                true,
            ),
            (b"HTTP/1.1 200 OK\r\n\r\nto the end", "200", b"to the end", true),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ncut", "200", b"cut", false),
        ];
        for (bytes, status, body, is_whole) in rows {
            let seen = their_response(bytes, "GET").expect("a response");
            assert_eq!((&*seen.start, seen.is_whole), (status, is_whole), "{seen:?}");
            assert!(seen.body == body || !is_whole, "{seen:?}");
            response_agrees(bytes, "GET");
        }
    }

    #[test]
    #[should_panic(expected = "hyper")]
    fn what_hyper_reads_otherwise_is_told() {
        let ours = Message { start: "GET /a".to_owned(), ..Message::default() };
        agrees(&ours, &their_requests(b"GET /b HTTP/1.1\r\nHost: h\r\n\r\n")[0]);
    }
}
