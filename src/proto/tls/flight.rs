//! [`Flight`]: encoded bytes of the handshake on their way out.

use rustls::unbuffered::{EncodeError, EncodeTlsData};

use super::failure::Alert;
use super::wire::ALERT;

/// Whole records; the memory is given back once all are taken.
#[derive(Default)]
pub(crate) struct Flight {
    bytes: Vec<u8>,
    taken: usize,
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
        data.encode(self.bytes.get_mut(at..)?).ok().map(drop)
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
            *self = Self::default();
        }
        len
    }

    /// The alert in the clear behind `mark`, if that is what was appended.
    pub(crate) fn alert_behind(&self, mark: usize) -> Option<Alert> {
        match self.bytes.get(mark..)? {
            [ALERT, _, _, 0, 2, _level, description, ..] => Some(Alert(*description)),
            _ => None,
        }
    }
}
