//! A door to the machine for fuzz targets, benchmarks and tests outside of the crate. Private: no
//! stability promise.

use std::ops::Range;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

use super::tls::{HEAD_MAX, Limits, Opened, TAIL_MAX, TRANSMIT_LEN_MIN, Tls};

/// Free bytes that [`Machine::seal_in_place`] wants before a payload.
pub const ROOM_BEFORE: usize = HEAD_MAX;
/// Free bytes that [`Machine::seal_in_place`] wants behind a payload.
pub const ROOM_BEHIND: usize = TAIL_MAX;

/// What the machine found at the front of its input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// The record at the front has so many bytes.
    Need(usize),
    /// Payload, and bytes consumed.
    Data(Range<usize>, usize),
    /// Nothing for the application; bytes consumed.
    Control(usize),
    /// The handshake is done; bytes consumed.
    Established(usize),
    /// close_notify; bytes consumed.
    Closed(usize),
    /// A fatal end: the code and the reason.
    Fail(u64, String),
}

/// The machine of one connection.
#[derive(Debug)]
pub struct Machine(Box<Tls>);

impl Machine {
    /// A server with the default limits, except that it bears as much as rustls does.
    ///
    /// # Errors
    /// When the configuration cannot be used: why.
    pub fn server(config: Arc<ServerConfig>) -> Result<Self, String> {
        let tls = Tls::server(config, as_rustls()).map_err(|e| e.to_string())?;
        Ok(Self(Box::new(tls)))
    }

    /// A client with the same limits.
    ///
    /// # Errors
    /// When the configuration cannot be used: why.
    pub fn client(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, String> {
        let tls = Tls::client(config, name, as_rustls()).map_err(|e| e.to_string())?;
        Ok(Self(Box::new(tls)))
    }

    /// Looks at the front of `input`.
    #[inline]
    pub fn open(&mut self, input: &mut [u8]) -> Said {
        match self.0.open(input) {
            Opened::Need { need } => Said::Need(need),
            Opened::Data { consumed, plain } => Said::Data(plain, consumed),
            Opened::Control { consumed } => Said::Control(consumed),
            Opened::Established { consumed } => Said::Established(consumed),
            Opened::Closed { consumed } => Said::Closed(consumed),
            Opened::Fail { error } => Said::Fail(error.code, error.reason.into_owned()),
        }
    }

    /// Everything that the machine wants to send by itself.
    pub fn transmit(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut room = [0; TRANSMIT_LEN_MIN];
        loop {
            let len = self.0.transmit(&mut room);
            match room.get(..len) {
                Some(bytes) if len > 0 => out.extend_from_slice(bytes),
                _ => return out,
            }
        }
    }

    /// Bytes that the next transmission would have.
    #[must_use]
    pub fn transmit_len(&self) -> usize {
        self.0.transmit_len()
    }

    /// Seals one record where its payload lies: where the record lies.
    #[inline]
    pub fn seal_in_place(&mut self, buf: &mut [u8], payload: Range<usize>) -> Option<Range<usize>> {
        self.0.seal_in_place(buf, payload).ok()
    }

    /// Seals one record from one place into another: its length.
    #[inline]
    pub fn seal_into(&mut self, plain: &[u8], out: &mut [u8]) -> Option<usize> {
        self.0.seal_into(plain, out).ok()
    }

    /// Seals a record of any type with any content.
    pub fn forge(&mut self, kind: u8, content: &[u8], out: &mut [u8]) -> Option<usize> {
        self.0.forge(kind, content, out)
    }

    /// Goes on with the next key for what is sent, without telling.
    pub fn turn_key(&mut self) {
        self.0.turn_key();
    }

    /// Asks for a new key for what is sent.
    pub fn update_key(&mut self) {
        self.0.update_key();
    }

    /// Makes close_notify the last that is sent.
    pub fn close_notify(&mut self) {
        self.0.close_notify();
    }

    /// Whether the handshake is done.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.0.is_established()
    }
}

/// rustls forgives key updates at every record with data, and takes messages of 64 KiB.
fn as_rustls() -> Limits {
    Limits { control_refill_records: 1, message_len_max: 65_539, ..Limits::default() }
}
