#![expect(clippy::print_stdout, reason = "an example talks to its user")]
//! Serves a directory: files with ranges and conditions, `index.html` for what ends with a slash.
//!
//! `cargo run --release --features http --example http_files -- 127.0.0.1:8080 DIR`
//!
//! No request leaves the directory by its path: each name between slashes is decoded on its own,
//! and is refused when it begins with a dot or has a slash or a NUL in it. Symbolic links are
//! followed, so what they lead to is served as well.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zero_io::{Config, Event, HttpFile, HttpListenConfig, HttpRequest, Io, IoError, Sender};
use zero_io::{ConnId, RequestId, TcpListenConfig, ZeroResponse};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let addr = args.next().and_then(|addr| addr.into_string().ok()).unwrap_or_default();
    let addr = if addr.is_empty() { "127.0.0.1:8080" } else { &addr }.parse()?;
    let root = PathBuf::from(args.next().unwrap_or_else(|| ".".into()));
    let mut io = Io::new(Config::default().with(|c| c.max_connections = 16_384))?;
    let endpoint = io.http_listen_with(HttpListenConfig::new(TcpListenConfig::new(addr)))?;
    println!("listening on {}", io.local_addr(endpoint)?);
    loop {
        io.poll(Duration::from_secs(1))?;
        let (mut events, mut sender) = io.split();
        while let Some(event) = events.next_event() {
            if let Event::HttpRequest { conn, id, request } = event
                && let Err(error) = answer(&mut sender, (conn, id), &request, &root)
            {
                eprintln!("{error}");
            }
        }
    }
}

fn answer(
    sender: &mut Sender<'_>,
    (conn, id): (ConnId, RequestId),
    request: &HttpRequest<'_>,
    root: &Path,
) -> Result<(), IoError> {
    let Some(path) = below(root, request.path()) else {
        return sender.http_respond(conn, id, ZeroResponse::not_found().text("not found\n"));
    };
    if !request.path().ends_with('/') && path.is_dir() {
        let there = format!("{}/", request.path());
        return sender.http_respond(conn, id, ZeroResponse::redirect(&there));
    }
    match HttpFile::open(path) {
        Ok(file) => sender.http_respond(conn, id, file.answer(request)),
        Err(_) => sender.http_respond(conn, id, ZeroResponse::not_found().text("not found\n")),
    }
}

/// The file that a path of a request names; `None` for one that names none.
fn below(root: &Path, path: &str) -> Option<PathBuf> {
    let mut found = root.to_path_buf();
    let mut names = path.strip_prefix('/')?.split('/').peekable();
    while let Some(name) = names.next() {
        let is_last = names.peek().is_none();
        found.push(decoded(if is_last && name.is_empty() { "index.html" } else { name })?);
    }
    Some(found)
}

/// One name, without its percent-encoding (RFC 3986 §2.1).
fn decoded(name: &str) -> Option<OsString> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || Some(char::from(rest.next()?).to_digit(16)? as u8);
        bytes.push(if byte == b'%' { digit()? << 4 | digit()? } else { byte });
    }
    let is_name =
        !bytes.is_empty() && bytes[0] != b'.' && !bytes.iter().any(|b| b"/\0".contains(b));
    is_name.then(|| OsString::from_vec(bytes))
}
