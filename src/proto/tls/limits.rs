//! [`Limits`]: every bound of one TLS connection, by name.

use super::wire::PLAIN_LEN_MAX;

/// What one connection may take, send and wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    /// Payload bytes of a record that we send, 1 to 16,384.
    pub(crate) plain_len_max: usize,
    /// Bytes of handshake records that are held until a whole message is there.
    pub(crate) handshake_len_max: usize,
    /// Bytes of one message after the handshake: a ticket, or an attempt to renegotiate.
    pub(crate) message_len_max: usize,
    /// Messages without data that a peer may send: key updates, tickets, warnings.
    pub(crate) control_max: u32,
    /// Records with data after which `control_max` is whole again.
    pub(crate) control_refill_records: u32,
    /// Empty records of application data in a row.
    pub(crate) empty_records_max: u32,
    /// Records that we seal with one key before we ask for the next, where TLS 1.3 can. What the
    /// cipher allows is a bound besides.
    pub(crate) records_per_key_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            plain_len_max: PLAIN_LEN_MAX,
            handshake_len_max: 65_536,
            message_len_max: 32_768,
            control_max: 32,
            control_refill_records: 64,
            empty_records_max: 32,
            records_per_key_max: u64::MAX,
        }
    }
}
