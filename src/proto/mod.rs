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
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls_off.rs"]
pub(crate) mod tls;
#[cfg(all(feature = "tls", feature = "_sim"))]
#[path = "tls/fuzz.rs"]
pub mod tls_fuzz;

pub(crate) use framed::Framed;

use crate::config::{Framing, MessageKind};

/// What a machine makes of the bytes at the front of its input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The first `len` bytes are one message.
    Message { kind: MessageKind, len: usize },
    /// A message needs at least `need` bytes, more than there are.
    Need { need: usize },
    /// The peer broke the protocol: close with this code.
    Close { code: u64 },
}

/// What speaks on a stream connection.
#[derive(Debug)]
pub(crate) enum App {
    /// Nothing: every piece that arrives is an event.
    Raw,
    /// The application's own framing.
    Framed(Framed),
}

impl App {
    pub(crate) fn new(framing: Option<Framing>) -> Self {
        framing.map_or(Self::Raw, |f| Self::Framed(Framed::new(f)))
    }

    /// Looks at the front of `input`, which is not empty.
    #[inline]
    pub(crate) fn step(&mut self, input: &[u8]) -> Step {
        match self {
            Self::Raw => Step::Message { kind: MessageKind::Binary, len: input.len() },
            Self::Framed(machine) => machine.step(input),
        }
    }
}
