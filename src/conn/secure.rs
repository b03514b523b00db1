//! TLS of one connection: the machine, and what of the ciphertext waits.
//!
//! Role: state. Not role: opening and sealing (the engine's `tls` and `seal`, with the machine).

use std::time::Duration;

use super::Span;
use super::tx::TxQueue;
use crate::pool::carry::Carry;
use crate::proto::tls::{Start, Tls};

/// Our close_notify was queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Goodbye {
    /// With nothing else to be sent: a peer that said its own may miss it.
    Alone,
    /// Behind data.
    BehindData,
}

/// Between the socket and what speaks on it.
#[derive(Debug)]
pub(crate) struct Secure {
    pub(crate) tls: Tls,
    /// The record that straddles receive buffers.
    pub(crate) cipher: Carry,
    /// Ciphertext behind a payload that waits for room in the event queue.
    pub(crate) rest: Span,
    /// What was accepted whole (buffers, payloads, guards) and waits for room to be sealed.
    pub(crate) unsealed: TxQueue,
    /// How close_notify was queued, if it was.
    pub(crate) goodbye: Option<Goodbye>,
    /// On the list of those that try to send again later.
    pub(crate) tries_again: bool,
    pub(crate) handshake_timeout: Duration,
    pub(crate) close_notify_timeout: Duration,
    /// It began on a connection that was already announced (STARTTLS).
    pub(crate) is_upgrade: bool,
}

impl Secure {
    pub(crate) fn new(start: Start, is_upgrade: bool) -> Self {
        let Start { tls, handshake_timeout, close_notify_timeout } = start;
        Self {
            tls,
            cipher: Carry::EMPTY,
            rest: Span::NONE,
            unsealed: TxQueue::EMPTY,
            goodbye: None,
            tries_again: false,
            handshake_timeout,
            close_notify_timeout,
            is_upgrade,
        }
    }
}
