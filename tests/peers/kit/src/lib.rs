//! What the peers share: their command line, what they send, and what is asked of their servers.
//!
//! A server echoes: bidirectional streams, unidirectional ones on new ones, datagrams. A stream
//! that begins with one of [`RESET`], [`STOP`] and [`CLOSE`] is answered by that instead. It prints
//! `listening on ADDR`, and a line for what cannot be seen from outside.
//!
//! A client does one thing after the other, and prints the name of each that went as it should.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The server gives its answer up with [`RESET_CODE`].
pub const RESET: &[u8] = b"!reset";
/// The server wants no more, with [`STOP_CODE`].
pub const STOP: &[u8] = b"!stop";
/// The server ends the connection with [`CLOSE_CODE`] and [`CLOSE_REASON`].
pub const CLOSE: &[u8] = b"!close";
/// The server updates its keys before it echoes that, where it can.
pub const UPDATE: &[u8] = b"!update";
pub const RESET_CODE: u32 = 5;
pub const STOP_CODE: u32 = 6;
pub const CLOSE_CODE: u32 = 9;
pub const CLOSE_REASON: &[u8] = b"as asked";
/// How a client ends its connection where the end is what is tested.
pub const LEAVE_CODE: u32 = 7;
pub const LEAVE_REASON: &[u8] = b"enough";

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What is echoed in the case `transfer`.
pub const SIZES: [usize; 5] = [0, 1, 1_200, 65_537, 3_000_000];
/// Streams of the case `multiplexing`.
pub const STREAMS: usize = 200;

/// How the program was called.
pub enum Role {
    /// `server ADDR --cert PEM --key PEM [--retry]`.
    Server { addr: SocketAddr, cert: PathBuf, key: PathBuf, retry: bool },
    /// `client ADDR --ca PEM CASE..`.
    Client { addr: SocketAddr, ca: PathBuf, cases: Vec<String> },
}

pub fn role() -> Role {
    let mut args = std::env::args().skip(1);
    let mut next = |what: &str| args.next().unwrap_or_else(|| panic!("{what} is missing"));
    let role = next("server or client");
    let addr = next("an address").parse().expect("an address");
    let (mut cert, mut key, mut ca, mut retry, mut cases) = (None, None, None, false, Vec::new());
    while let Some(arg) = args.next() {
        let mut path = || Some(PathBuf::from(args.next().expect("a path")));
        match arg.as_str() {
            "--cert" => cert = path(),
            "--key" => key = path(),
            "--ca" => ca = path(),
            "--retry" => retry = true,
            _ => cases.push(arg),
        }
    }
    match role.as_str() {
        "server" => {
            Role::Server { addr, cert: cert.expect("--cert"), key: key.expect("--key"), retry }
        }
        "client" => Role::Client { addr, ca: ca.expect("--ca"), cases },
        _ => panic!("{role}: server or client"),
    }
}

/// Prints a line at once.
pub fn say(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("somebody reads");
}

/// Bytes that differ from each other.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// Panics without showing either where they differ.
pub fn assert_same(came: &[u8], sent: &[u8]) {
    assert!(came == sent, "{} bytes sent, {} other bytes came back", sent.len(), came.len());
}
