//! TLS of one connection: the machine, what of the ciphertext waits, and what waits to be sealed.
//!
//! Role: state. Not role: opening and sealing (the engine's `tls` and `seal`, with the machine).

use std::time::Duration;

use super::Span;
use super::tx::TxQueue;
use crate::pool::carry::Carry;
use crate::proto::tls::{Start, Tls};

/// Between the socket and what speaks on it.
#[derive(Debug)]
pub(crate) struct Secure {
    pub(crate) tls: Tls,
    /// The record that straddles receive buffers.
    pub(crate) cipher: Carry,
    /// Ciphertext behind a payload that waits for room in the event queue.
    pub(crate) rest: Span,
    /// Payload that is sealed when there is room: what was written as a whole and is not copied.
    pub(crate) unsealed: TxQueue,
    /// close_notify follows what waits to be sealed.
    pub(crate) goodbye_due: bool,
    /// close_notify is all that is in the send queue, or was the last to leave it.
    pub(crate) goodbye_alone: bool,
    pub(crate) handshake_timeout: Duration,
    pub(crate) close_notify_timeout: Duration,
    /// It began on a connection that was already announced (STARTTLS).
    pub(crate) is_upgrade: bool,
}

impl Secure {
    pub(crate) fn new(start: Start, is_upgrade: bool) -> Self {
        let Start { tls, handshake_timeout, close_notify_timeout } = start;
        let (cipher, rest) = (Carry::EMPTY, Span::NONE);
        Self {
            tls,
            cipher,
            rest,
            unsealed: TxQueue::EMPTY,
            goodbye_due: false,
            goodbye_alone: false,
            handshake_timeout,
            close_notify_timeout,
            is_upgrade,
        }
    }
}
