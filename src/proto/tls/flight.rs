//! [`Flight`]: encoded bytes of the handshake on their way out.

use rustls::unbuffered::{EncodeError, EncodeTlsData};

use super::failure::{Alert, Told};
use super::wire::{
    ALERT, APPLICATION_DATA, CHANGE_CIPHER_SPEC, FATAL, HEADER_LEN, Header, TAG_LEN, VERSION,
};

/// Bytes of an alert, RFC 8446 §6: its level and what it is.
const ALERT_LEN: usize = 2;
/// What follows the header of an alert that TLS 1.3 seals without padding, as rustls does: it, its
/// type, the tag. No handshake message is as short.
const SEALED_ALERT_LEN: usize = ALERT_LEN + 1 + TAG_LEN;

/// Whole records; the memory is given back once all are taken.
#[derive(Default)]
pub(crate) struct Flight {
    bytes: Vec<u8>,
    taken: usize,
    /// From here on rustls may seal what it sends.
    is_sealed: bool,
}

impl Flight {
    /// Appends what rustls wants to send.
    pub(crate) fn encode<D>(&mut self, data: &mut EncodeTlsData<'_, D>) -> Option<()> {
        let len = match data.encode(&mut []) {
            Ok(_) => return Some(()),
            Err(EncodeError::InsufficientSize(short)) => short.required_size,
            Err(EncodeError::AlreadyEncoded) => return None,
        };
        let at = self.bytes.len();
        self.bytes.resize(at + len, 0);
        data.encode(self.bytes.get_mut(at..)?).ok()?;
        let seals = |header: Header| matches!(header.kind, CHANGE_CIPHER_SPEC | APPLICATION_DATA);
        self.is_sealed = self.is_sealed || self.records_behind(at).any(|(header, _)| seals(header));
        Some(())
    }

    pub(crate) const fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    /// Bytes that were ever appended and not given back.
    pub(crate) const fn mark(&self) -> usize {
        self.bytes.len()
    }

    /// Moves as much as fits into `out`.
    pub(crate) fn take(&mut self, out: &mut [u8]) -> usize {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let len = rest.len().min(out.len());
        out.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
        self.taken += len;
        if self.len() == 0 {
            *self = Self { is_sealed: self.is_sealed, ..Self::default() };
        }
        len
    }

    /// What the peer is told of a failure by what was appended behind `mark`.
    pub(crate) fn told_behind(&self, mark: usize) -> Told {
        let told = |(header, body): (Header, &[u8])| match (header.kind, body) {
            (ALERT, [_level, description]) => Told::Alert(Alert(*description)),
            (ALERT, _) => Told::Sealed,
            (APPLICATION_DATA, body) if body.len() == SEALED_ALERT_LEN => Told::Sealed,
            _ => Told::Nothing,
        };
        self.records_behind(mark).last().map_or(Told::Nothing, told)
    }

    /// Appends an alert in the clear, if the peer could read that. Whether it was.
    pub(crate) fn tell(&mut self, alert: Alert) -> bool {
        if !self.is_sealed {
            let header = Header { kind: ALERT, version: VERSION, body_len: ALERT_LEN };
            self.bytes.extend_from_slice(&header.bytes());
            self.bytes.extend_from_slice(&[FATAL, alert.0]);
        }
        !self.is_sealed
    }

    fn records_behind(&self, mark: usize) -> impl Iterator<Item = (Header, &[u8])> {
        let mut rest = self.bytes.get(mark..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (header, behind) = rest.split_first_chunk::<HEADER_LEN>()?;
            let header = Header::read(*header);
            let (body, next) = behind.split_at_checked(header.body_len)?;
            rest = next;
            Some((header, body))
        })
    }
}
