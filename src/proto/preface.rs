//! What comes before a connection's own protocol: a PROXY header.
//!
//! Role: a machine that reads it, and keeps what is to speak afterwards. Not role: whether there is
//! to be one, for how long it is waited, and what follows (the engine's `preface`).
//!
//! *Invariant*: nothing behind the header is looked at.

use std::net::SocketAddr;

use super::proxy::{self, Client, Parsed};
use super::tls::Acceptor;
use super::{Speaks, Step};
use crate::code;
use crate::config::ConnTimeouts;

/// What a connection is, once its preface was read.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) speaks: Speaks,
    pub(crate) tls: Option<Box<Acceptor>>,
    pub(crate) timeouts: ConnTimeouts,
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Preface {
    next: Next,
    read: Result<Introduced, &'static str>,
}

/// What is kept of a header: 383 bytes at most, and its addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Introduced {
    pub(crate) client: Client,
    pub(crate) destination: Option<SocketAddr>,
    pub(crate) authority: Option<Box<str>>,
    pub(crate) unique_id: Option<Box<[u8]>>,
    pub(crate) tls: bool,
}

impl Preface {
    pub(crate) const fn new(next: Next) -> Self {
        Self { next, read: Err("it did not come whole") }
    }

    pub(super) fn step(&mut self, input: &[u8]) -> Step {
        match proxy::parse(input) {
            Parsed::Need(need) => Step::Need { need },
            Parsed::Bad(why) => {
                self.read = Err(why);
                Step::Close { code: code::PROXY_HEADER }
            }
            Parsed::Done { len, header } => {
                self.read = Ok(Introduced {
                    client: header.client,
                    destination: header.destination,
                    authority: header.authority.map(Into::into),
                    unique_id: header.unique_id.map(Into::into),
                    tls: header.tls,
                });
                Step::Begin { len }
            }
        }
    }

    /// Why there is no header, or none yet.
    pub(crate) fn lacks(&self) -> Option<&'static str> {
        self.read.as_ref().err().copied()
    }

    /// What was read, and what is to follow; after [`Step::Begin`].
    pub(crate) fn finish(self) -> Option<(Introduced, Next)> {
        Some((self.read.ok()?, self.next))
    }
}
