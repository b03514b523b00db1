//! TLS 1.3 and 1.2 over a byte stream: rustls shakes hands, then records are ours.
//!
//! Role: one machine per connection that is fed ciphertext and opens it where it lies, seals
//! payloads where they lie, and has bytes of its own to send. Not role: sockets, timeouts,
//! certificates (those are in the configurations of rustls that it is given).
//!
//! Read first: RFC 8446 §4.6, §5, §6; RFC 5246 §6, §7.2; RFC 5288; RFC 7905.
//!
//! ```text
//! open(input) → Need | Control .. → Established → Data | Control .. → Closed | Fail
//! ```
//!
//! *Invariants*: those of the machines of this stratum (C1 to C7), and
//! - a record is opened and sealed without a heap and without a copy beyond the cipher's own work;
//! - whoever calls sends in the order of its calls: what [`Tls::transmit`] wrote and what
//!   `seal_*` wrote leave in the order in which they were written;
//! - the handshake's memory is gone once the handshake is.

mod cipher;
mod failure;
mod flight;
mod handshake;
mod hello;
mod info;
mod kernel;
mod limits;
mod patience;
mod record;
mod session;
mod start;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use crate::config::TlsInfo;
pub(crate) use failure::TlsFailure;
pub(crate) use kernel::HandOver;
pub(crate) use limits::Limits;
pub(crate) use start::{Acceptor, Start};
pub(crate) use wire::{HEAD_MAX, TAIL_MAX};

use crate::code;
use failure::Alert;
use flight::Flight;
use handshake::Handshake;
use record::Record;
use wire::{APPLICATION_DATA, HEADER_LEN, Header};

/// Room in which [`Tls::transmit`] can always write a record of an established connection.
pub(crate) const TRANSMIT_LEN_MIN: usize = HEAD_MAX + 5 + TAIL_MAX;

/// What [`Tls::open`] found at the front of its input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Opened {
    /// The record at the front has `need` bytes in all, more than there are.
    Need { need: usize },
    /// One record was opened where it lies: `plain` of the input is payload, possibly empty.
    Data { consumed: usize, plain: Range<usize> },
    /// Nothing for the application; there may be something to transmit.
    Control { consumed: usize },
    /// The handshake is done. Said once, before any data.
    Established { consumed: usize },
    /// The peer's close_notify: a clean end of its data.
    Closed { consumed: usize },
    /// A fatal end. An alert may be there to be transmitted.
    Fail { error: TlsFailure },
}

/// Why nothing was sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SealError {
    #[error("the TLS handshake is not done: wait for it")]
    NotEstablished,
    #[error("TLS has bytes of its own to send first: call transmit until it answers 0")]
    TransmitFirst,
    #[error("TLS is closed for sending: close_notify or an alert was sent")]
    Closed,
    #[error("{len} bytes do not fit into one TLS record of {max}: split them")]
    TooLong { len: usize, max: usize },
    #[error("the record needs {need} bytes: give more room around the payload")]
    NoRoom { need: usize },
    #[error("the key of a TLS 1.2 connection sealed as many records as it may: reconnect")]
    KeyExhausted,
    #[error("the kernel seals what is sent on this connection: send it as it is")]
    Kernel,
}

/// TLS of one connection.
pub(crate) struct Tls {
    phase: Phase,
    /// What rustls encoded: goes out before anything that is sealed here.
    flight: Flight,
    limits: Limits,
}

#[expect(clippy::large_enum_variant, reason = "the large one is the one that lasts")]
enum Phase {
    Handshake(Box<Handshake>),
    Record(Record),
    /// The handshake failed or was broken off.
    Over,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase {
            Phase::Handshake(_) => "handshake",
            Phase::Record(_) => "record",
            Phase::Over => "over",
        };
        f.debug_struct("Tls").field("phase", &phase).finish_non_exhaustive()
    }
}

impl Tls {
    /// Waits for a client's first flight.
    pub(crate) fn server(config: Arc<ServerConfig>, limits: Limits) -> Result<Self, TlsFailure> {
        let handshake = Handshake::server(config)?;
        let phase = Phase::Handshake(Box::new(handshake));
        Ok(Self { phase, flight: Flight::default(), limits })
    }

    /// Has its first flight ready to be transmitted.
    pub(crate) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        limits: Limits,
    ) -> Result<Self, TlsFailure> {
        let mut flight = Flight::default();
        let handshake = Handshake::client(config, name, &mut flight)?;
        Ok(Self { phase: Phase::Handshake(Box::new(handshake)), flight, limits })
    }

    /// Looks at the front of `input`, which is not empty. What is consumed may be changed, and
    /// nothing else is. Not called again after `Fail`.
    pub(crate) fn open(&mut self, input: &mut [u8]) -> Opened {
        match &mut self.phase {
            Phase::Record(record) => record.open(input),
            Phase::Handshake(_) => self.shake(input).unwrap_or_else(|error| {
                self.phase = Phase::Over;
                Opened::Fail { error }
            }),
            Phase::Over => Opened::Fail {
                error: TlsFailure::unsent(Alert::INTERNAL_ERROR, "opened after the end"),
            },
        }
    }

    fn shake(&mut self, input: &[u8]) -> Result<Opened, TlsFailure> {
        let Phase::Handshake(handshake) = &mut self.phase else {
            return Ok(Opened::Need { need: input.len() + 1 });
        };
        let Some((header, _)) = input.split_first_chunk::<HEADER_LEN>() else {
            return Ok(Opened::Need { need: HEADER_LEN });
        };
        let read = Header::read(*header);
        if !read.is_plausible() {
            // rustls has the error, and the alert in whatever form the peer can read.
            handshake.feed(header, &self.limits, &mut self.flight)?;
            let failure = TlsFailure::unsent(Alert::DECODE_ERROR, "not a TLS record");
            return Err(failure.tell(&mut self.flight));
        }
        let consumed = HEADER_LEN + read.body_len;
        let Some(record) = input.get(..consumed) else {
            return Ok(Opened::Need { need: consumed });
        };
        if !handshake.feed(record, &self.limits, &mut self.flight)? {
            return Ok(Opened::Control { consumed });
        }
        if let Phase::Handshake(handshake) = std::mem::replace(&mut self.phase, Phase::Over) {
            self.phase = Phase::Record(handshake.finish(self.limits)?);
        }
        Ok(Opened::Established { consumed })
    }

    /// The stream ended. Not an error behind close_notify.
    pub(crate) fn on_eof(&self) -> Result<(), TlsFailure> {
        match &self.phase {
            Phase::Record(record) if record.has_ended() => Ok(()),
            Phase::Record(_) => {
                Err(TlsFailure::ended(code::TLS_TRUNCATED, "the stream ended without close_notify"))
            }
            Phase::Handshake(_) | Phase::Over => Err(TlsFailure::ended(
                code::TLS_HANDSHAKE_EOF,
                "the stream ended in the middle of the handshake",
            )),
        }
    }

    /// Writes bytes of TLS's own into `out`: flights in pieces of any size, later whole records
    /// for which [`TRANSMIT_LEN_MIN`] bytes are enough. Called until it answers 0: at the start,
    /// after every [`Self::open`], and after sealing when [`Self::transmit_len`] is not 0.
    pub(crate) fn transmit(&mut self, out: &mut [u8]) -> usize {
        if self.flight.len() > 0 {
            return self.flight.take(out);
        }
        match &mut self.phase {
            Phase::Record(record) => record.transmit(out),
            Phase::Handshake(_) | Phase::Over => 0,
        }
    }

    /// How much the next [`Self::transmit`] would write, given the room.
    pub(crate) fn transmit_len(&self) -> usize {
        match (&self.phase, self.flight.len()) {
            (Phase::Record(record), 0) => record.transmit_len(),
            (_, len) => len,
        }
    }

    /// Seals one record of `plain` into `out`, where the ciphertext is written by the cipher
    /// itself: the number of bytes written.
    pub(crate) fn seal_into(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        self.sealing(plain.len())?.seal_into(APPLICATION_DATA, plain, out)
    }

    /// Seals one record where its payload lies, with [`HEAD_MAX`] free bytes before and
    /// [`TAIL_MAX`] behind: where the record lies in `buf`.
    pub(crate) fn seal_in_place(
        &mut self,
        buf: &mut [u8],
        payload: Range<usize>,
    ) -> Result<Range<usize>, SealError> {
        self.sealing(payload.len())?.seal_in_place(buf, payload)
    }

    fn sealing(&mut self, len: usize) -> Result<&mut Record, SealError> {
        match &mut self.phase {
            Phase::Record(_) if self.flight.len() > 0 => Err(SealError::TransmitFirst),
            Phase::Record(record) => {
                record.check_sealing(len)?;
                Ok(record)
            }
            Phase::Handshake(_) => Err(SealError::NotEstablished),
            Phase::Over => Err(SealError::Closed),
        }
    }

    /// Bytes that sealing adds before and behind a payload; 0 before the handshake is done.
    pub(crate) const fn overhead(&self) -> (usize, usize) {
        match &self.phase {
            Phase::Record(record) => record.overhead(),
            Phase::Handshake(_) | Phase::Over => (0, 0),
        }
    }

    /// Makes close_notify the last that is sent: [`Self::transmit`] has it, and nothing can be
    /// sealed any more. Receiving goes on. In the middle of the handshake nothing is said: its
    /// keys are rustls', which has no goodbye there, and the end of the stream says as much.
    pub(crate) fn close_notify(&mut self) {
        match &mut self.phase {
            Phase::Record(record) => record.close_notify(),
            Phase::Handshake(_) | Phase::Over => self.phase = Phase::Over,
        }
    }

    /// Asks for a new key for what is sent: TLS 1.3 only, no effect otherwise.
    pub(crate) fn update_key(&mut self) {
        if let Phase::Record(record) = &mut self.phase {
            record.update_key();
        }
    }

    /// For the fuzzer: seals a record of any type, with no question asked.
    pub(crate) fn forge(&mut self, kind: u8, content: &[u8], out: &mut [u8]) -> Option<usize> {
        let Phase::Record(record) = &mut self.phase else { return None };
        record.seal_into(kind, content, out).ok()
    }

    /// For the fuzzer: goes on with the next key without telling the peer.
    pub(crate) fn turn_key(&mut self) {
        if let Phase::Record(record) = &mut self.phase {
            record.turn_key();
        }
    }

    /// Whether the handshake is done.
    pub(crate) const fn is_established(&self) -> bool {
        matches!(self.phase, Phase::Record(_))
    }

    /// What was agreed on; `None` before the handshake is done.
    pub(crate) const fn info(&self) -> Option<&TlsInfo> {
        match &self.phase {
            Phase::Record(record) => Some(record.info()),
            Phase::Handshake(_) | Phase::Over => None,
        }
    }

    /// The protocol that ALPN chose.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.info().and_then(|info| info.alpn.as_deref())
    }

    /// Payload bytes of one record at most.
    pub(crate) fn plain_max(&self) -> usize {
        self.limits.plain_len_max.clamp(1, wire::PLAIN_LEN_MAX)
    }
}
