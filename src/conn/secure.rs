//! TLS of one connection: the machine, and what of the ciphertext waits.
//!
//! Role: state. Not role: opening and sealing (the engine's `tls` and `seal`, with the machine).

use std::time::Duration;

use super::Span;
use super::tx::TxQueue;
use crate::config::Toggle;
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

/// Who does the records of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Layer {
    /// This library, for good.
    Ours,
    /// This library, until there is an occasion.
    OursYet,
    /// The kernel.
    Kernel,
}

/// What the kernel's TLS was given to send, to tell when TCP has all of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KernelTx {
    /// Bytes that TCP had been handed before.
    pub(crate) handed: u64,
    /// `Conn::bytes_sent` before.
    pub(crate) sent: u64,
    /// Bytes of records of TLS's own.
    pub(crate) own: u64,
    /// Records under keys that were changed since, less those that were not the kernel's.
    pub(crate) records: i64,
    /// Bytes that each record adds.
    pub(crate) overhead: u64,
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
    /// What the configuration says of the kernel's record layer.
    pub(crate) ktls: Toggle,
    pub(crate) tx: Layer,
    pub(crate) rx: Layer,
    pub(crate) kernel_tx: KernelTx,
    /// `Conn::bytes_received` when the kernel last had a record that is no data.
    pub(crate) data_before: u64,
    /// The socket had room, and yet something did not fit: the next wait is one of time.
    pub(crate) had_room: bool,
    pub(crate) handshake_timeout: Duration,
    pub(crate) close_notify_timeout: Duration,
    /// It began on a connection that was already announced (STARTTLS).
    pub(crate) is_upgrade: bool,
}

impl Secure {
    pub(crate) fn new(start: Start, is_upgrade: bool) -> Self {
        let Start { tls, handshake_timeout, close_notify_timeout, ktls } = start;
        Self {
            tls,
            cipher: Carry::EMPTY,
            rest: Span::NONE,
            unsealed: TxQueue::EMPTY,
            goodbye: None,
            ktls,
            tx: Layer::Ours,
            rx: Layer::Ours,
            kernel_tx: KernelTx::default(),
            data_before: 0,
            had_room: false,
            handshake_timeout,
            close_notify_timeout,
            is_upgrade,
        }
    }
}
