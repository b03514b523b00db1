//! Requests as attackers, broken clients and good ones send them, and the answer to each.
//!
//! Role: a table for the parser's tests and for servers on a socket. Every refused row has an
//! accepted neighbour that differs in the one thing. What has no answer in the RFCs has the
//! stricter one that they allow.

mod bodies;
mod fields;
mod framing;
mod lines;

/// Fields that a server of this table accepts in one head.
pub(crate) const HEADER_COUNT: usize = 100;
/// Bytes that a server of this table accepts in one head.
pub(crate) const HEADER_SIZE: usize = 16_384;

/// One stream of bytes from a client.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) answer: Answer,
    /// Where the answer is from.
    pub(crate) section: &'static str,
}

/// What a server says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    /// All bytes are so many requests, and each goes to the application.
    Requests(usize),
    /// This status, and the end of the connection.
    Refused(u16),
}

/// A row as it is written down: name, status, section, bytes in two parts; the status 200 is one
/// request.
type Written = (&'static str, u16, &'static str, &'static [u8], &'static [u8]);

/// Beginnings that many rows share.
const RAW: &[u8] = b"";
const BARE: &[u8] = b"GET / HTTP/1.1\r\n";
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\n";
const CHUNKED: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Every row.
#[must_use]
pub(crate) fn rows() -> Vec<Row> {
    let written = [lines::ROWS, fields::ROWS, framing::ROWS, bodies::ROWS].concat();
    let mut rows: Vec<Row> = written.into_iter().map(read).collect();
    rows.extend(limits());
    rows.push(Row { answer: Answer::Requests(2), ..read(lines::TWO_REQUESTS) });
    rows.push(Row { answer: Answer::Requests(2), ..read(bodies::TWO_REQUESTS) });
    rows.push(Row { answer: Answer::Requests(2), ..read(bodies::CHUNKS_THEN_REQUEST) });
    rows
}

fn read((name, status, section, start, rest): Written) -> Row {
    let answer = match status {
        200 => Answer::Requests(1),
        status => Answer::Refused(status),
    };
    Row { name, bytes: [start, rest].concat(), answer, section }
}

/// Rows at and beyond the limits, too long to be written down.
fn limits() -> Vec<Row> {
    let head = |target: &str, fields: &str| {
        format!("GET /{target} HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n").into_bytes()
    };
    let room = HEADER_SIZE - head("", "").len();
    let fields = |count: usize| -> String { (1..count).map(|i| format!("x{i}: y\r\n")).collect() };
    let long_field = |len: usize| format!("x: {}\r\n", "y".repeat(len - 5));
    let chunk = |extension: &str, trailer: &str| {
        let head = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n";
        format!("{head}1{extension}\r\nx\r\n0\r\n{trailer}\r\n").into_bytes()
    };
    let method = |len: usize| {
        format!("{} / HTTP/1.1\r\nHost: a.example\r\n\r\n", "M".repeat(len)).into_bytes()
    };
    let extension = |len: usize| format!(";{}", "e".repeat(len - 2));
    let bomb = ";a=bcdefgh\r\nx\r\n1".repeat(1_000);
    let (sizes, urls, chunks) = ("RFC 6585 5", "9112 3", "9112 7.1.1");
    [
        ("as many fields as allowed", 200, sizes, head("", &fields(HEADER_COUNT))),
        ("one field more", 431, sizes, head("", &fields(HEADER_COUNT + 1))),
        ("field flood", 431, sizes, head("", &fields(1_500))),
        ("head as long as allowed", 200, sizes, head("", &long_field(room))),
        ("head one byte longer", 431, sizes, head("", &long_field(room + 1))),
        ("field without an end", 431, sizes, head("", &long_field(4 * room))),
        ("target as long as allowed", 200, urls, head(&"a".repeat(room), "")),
        ("target longer than a head", 414, urls, head(&"a".repeat(2 * room), "")),
        ("method of 32 bytes", 200, urls, method(32)),
        ("method of 33 bytes", 501, urls, method(33)),
        ("method without an end", 501, urls, method(2 * HEADER_SIZE)),
        ("size line as long as allowed", 200, chunks, chunk(&extension(256), "")),
        ("size line one byte longer", 400, chunks, chunk(&extension(257), "")),
        ("extensions in every chunk", 400, chunks, chunk(&bomb, "")),
        ("trailers as long as allowed", 200, "9112 7.1.2", chunk("", &long_field(8_190))),
        ("trailers longer", 431, "9112 7.1.2", chunk("", &long_field(8_300))),
    ]
    .into_iter()
    .map(|(name, status, section, bytes)| Row { bytes, ..read((name, status, section, RAW, RAW)) })
    .collect()
}
