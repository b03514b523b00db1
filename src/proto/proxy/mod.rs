//! The PROXY protocol: what a load balancer says of the client before the client's first byte.
//!
//! Role: reading a header of either version, told apart by their first bytes. Not role: who may
//! send one (`config::proxy`), and what follows from it (the engine's `preface`). To be read first:
//! "The PROXY protocol, versions 1 & 2" (haproxy's doc/proxy-protocol.txt).
//!
//! *Invariants*: nothing is accepted but what the specification's grammar has; a header has a
//! longest length, which is refused before anything of it is kept; and however its bytes are cut,
//! the same comes out.

mod v1;
mod v2;

use std::net::SocketAddr;

/// What begins a header of version 1.
const SIGNATURE_1: &[u8] = b"PROXY ";
/// What begins a header of version 2.
const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the front of the input is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Parsed<'a> {
    /// So many bytes are needed to say more.
    Need(usize),
    /// A header, of so many bytes.
    Done { len: usize, header: Header<'a> },
    /// No header, for this reason.
    Bad(&'static str),
}

/// What a header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Header<'a> {
    /// For whom the proxy speaks.
    pub(crate) client: Client,
    /// Where the client connected to.
    pub(crate) destination: Option<SocketAddr>,
    /// The host that the client asked for.
    pub(crate) authority: Option<&'a str>,
    /// The proxy's name for this connection.
    pub(crate) unique_id: Option<&'a [u8]>,
    /// The client spoke TLS with the proxy.
    pub(crate) tls: bool,
}

/// For whom a proxy speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Client {
    /// For itself: a health check.
    #[default]
    Itself,
    /// It does not say.
    Unknown,
    /// One with an IP address.
    Inet(SocketAddr),
    /// One that came by a Unix socket.
    Unix,
}

/// Reads the header at the front of the input.
pub(crate) fn parse(input: &[u8]) -> Parsed<'_> {
    match input.first() {
        None => Parsed::Need(v1::LEN_MIN),
        Some(b'P') if begins(input, SIGNATURE_1) => v1::parse(input),
        Some(b'\r') if begins(input, SIGNATURE_2) => v2::parse(input),
        Some(_) => Parsed::Bad("it does not begin with a PROXY signature"),
    }
}

/// Whether the input, as far as it goes, begins with that.
fn begins(input: &[u8], signature: &[u8]) -> bool {
    let len = input.len().min(signature.len());
    input.get(..len) == signature.get(..len)
}

#[cfg(test)]
mod tests;
