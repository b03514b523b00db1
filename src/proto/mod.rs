//! The protocols above a byte stream: machines that are fed bytes and give records, without a
//! socket, a clock or unsafe code.
//!
//! Role: the seam between a connection and what it speaks ([`App`]). Not role: receiving, sending,
//! time.
//!
//! *Invariants* of a machine: C1 it consumes a prefix and keeps no reference; C3 it names ranges,
//! never slices; C4 no panic and no allocation in proportion to what a peer sends; C5 `need` says
//! how long the unconsumed tail must grow; C6 however the same bytes are cut, the same messages
//! come out; C7 it is not called again after it asked for a close.

mod framed;
#[cfg(feature = "http-gzip")]
#[path = "http/gzip.rs"]
pub(crate) mod gzip;
#[cfg(all(feature = "http", not(feature = "http-gzip")))]
#[path = "http/gzip_off.rs"]
pub(crate) mod gzip;
#[cfg(feature = "http")]
pub(crate) mod http;
#[cfg(feature = "http")]
pub(crate) mod http1;
#[cfg(not(feature = "http"))]
#[path = "http1_off.rs"]
pub(crate) mod http1;
#[cfg(feature = "http-client")]
pub(crate) mod http_client;
#[cfg(not(feature = "http-client"))]
#[path = "http_client_off.rs"]
pub(crate) mod http_client;
#[cfg(all(feature = "http", feature = "_sim"))]
#[path = "http1/fuzz.rs"]
pub mod http_fuzz;
pub(crate) mod preface;
pub(crate) mod proxy;
#[cfg(feature = "quic")]
pub(crate) mod quic;
#[cfg(not(feature = "quic"))]
#[path = "quic_off.rs"]
pub(crate) mod quic;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls_off.rs"]
pub(crate) mod tls;
#[cfg(all(feature = "tls", feature = "_sim"))]
#[path = "tls/fuzz.rs"]
pub mod tls_fuzz;

pub(crate) use framed::Framed;

use std::rc::Rc;

use crate::code;
use crate::config::{Framing, MessageKind};
use crate::event::record::Kind;
use crate::time::Time;
use http_client::HttpClient;
use http1::{Http1, HttpServer};
use preface::Preface;

/// What a machine makes of the bytes at the front of its input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Behind the first `skip` bytes, the next `len` are one message. Nothing is skipped of what
    /// was gathered over several receives.
    Message { kind: Kind, extra: u64, skip: usize, len: usize },
    /// A message needs at least `need` bytes, more than there are.
    Need { need: usize },
    /// The first `len` bytes are of no interest to anybody. Of what was gathered: a whole unit.
    Skip { len: usize },
    /// The first `len` bytes were the preface: what follows is another machine's.
    Begin { len: usize },
    /// The peer broke the protocol, which has an answer for that: then close with this code.
    Refuse { status: u16, code: u64 },
    /// The peer broke the protocol: close with this code.
    Close { code: u64 },
}

impl Step {
    /// A message of a stream.
    pub(crate) const fn frame(kind: MessageKind, len: usize) -> Self {
        Self::Message { kind: Kind::StreamFrame(kind), extra: 0, skip: 0, len }
    }
}

/// What is to speak on connections that are not there yet.
#[derive(Clone, Debug)]
pub(crate) enum Speaks {
    Raw,
    Framed(Framing),
    Http1(Rc<HttpServer>),
}

impl From<Option<Framing>> for Speaks {
    fn from(framing: Option<Framing>) -> Self {
        framing.map_or(Self::Raw, Self::Framed)
    }
}

/// What speaks on a stream connection.
#[derive(Debug)]
pub(crate) enum App {
    /// Nothing: every piece that arrives is an event.
    Raw,
    /// The application's own framing.
    Framed(Framed),
    /// An HTTP/1.1 server.
    Http1(Box<Http1>),
    /// QUIC, which has datagrams below rather than a stream.
    Quic(Box<quic::session::Session>),
    /// An HTTP/1.1 client.
    HttpClient(Box<HttpClient>),
    /// What comes before all that: nobody knows of the connection yet.
    Preface(Box<Preface>),
}

impl App {
    pub(crate) fn new(speaks: impl Into<Speaks>) -> Self {
        match speaks.into() {
            Speaks::Raw => Self::Raw,
            Speaks::Framed(framing) => Self::Framed(Framed::new(framing)),
            Speaks::Http1(server) => Self::Http1(Box::new(Http1::new(server))),
        }
    }

    /// The application's framing, if it has one.
    pub(crate) const fn framing(&self) -> Option<Framing> {
        match self {
            Self::Framed(machine) => Some(machine.framing()),
            _ => None,
        }
    }

    /// Whether it has something to send that is not queued yet.
    pub(crate) const fn has_unsent(&self) -> bool {
        match self {
            Self::Http1(machine) => machine.has_file(),
            Self::Raw
            | Self::Framed(_)
            | Self::HttpClient(_)
            | Self::Quic(_)
            | Self::Preface(_) => false,
        }
    }

    /// Looks at the front of `input`, which is not empty.
    #[inline]
    pub(crate) fn step(&mut self, input: &[u8], now: Time) -> Step {
        match self {
            Self::Raw => Step::frame(MessageKind::Binary, input.len()),
            Self::Framed(machine) => machine.step(input),
            Self::Http1(machine) => machine.step(input, now),
            // Nothing of a stream comes to it.
            Self::Quic(_) => Step::Close { code: code::NONE },
            Self::HttpClient(machine) => machine.step(input),
            Self::Preface(machine) => machine.step(input),
        }
    }
}
