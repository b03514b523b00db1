//! [`Layer`]: who does the records of one direction, we or the kernel.
//!
//! Role: what is to be known of a direction that the kernel took over: whether it is between
//! messages, when its key is worn, what its next key is, and what records that are no data mean.
//! Not role: handing over (`sys::ktls`), when (the engine).
//!
//! *Invariants*
//! - A direction is handed over between messages, with its next sequence number, and never comes
//!   back; our copy of the key is wiped.
//! - A key's limits hold for the kernel too: records are counted from above.

use super::cipher::{Cipher, Secret, is_exhausted, is_worn};
use super::failure::{Alert, Fault, TlsFailure};
use super::record::{Own, Receiving, Record, Sending};
use super::wire::PLAIN_LEN_MAX;
use super::{Opened, Phase, SealError, Tls};
use crate::config::{KtlsReason, KtlsSide, TlsVersion};
use crate::sys::errno;
use crate::sys::ktls::{Key, Refusal, Side, Suite};

/// Who does the records of one direction.
pub(crate) enum Layer {
    Ours(Cipher),
    Kernel(Kernel),
}

/// What is left to know of a direction that the kernel does.
pub(crate) struct Kernel {
    is_gcm: bool,
    suite: Suite,
    /// Whether it takes another key (Linux 6.14).
    rekeys: bool,
    /// The key after this, to be handed over.
    next: Option<Secret>,
    /// The number of the first record that it did under this key, and how much was sent before.
    seq: u64,
    bytes_before: u64,
    /// Sends since.
    sends: u64,
}

impl Kernel {
    /// Records that were sealed under this key, at most: each send ends with one that may be
    /// short.
    const fn sealed_at_most(&self, bytes_sent: u64) -> u64 {
        let bytes = bytes_sent.saturating_sub(self.bytes_before);
        self.seq + self.sends + bytes / PLAIN_LEN_MAX as u64
    }
}

impl Layer {
    pub(crate) const fn can_renew(&self) -> bool {
        match self {
            Self::Ours(_) => true,
            Self::Kernel(kernel) => kernel.rekeys,
        }
    }

    /// Goes on with the next key, or has it ready for the kernel.
    pub(crate) fn renew(&mut self, secret: Secret) -> Option<()> {
        match self {
            Self::Ours(cipher) => cipher.renew(secret),
            Self::Kernel(kernel) => {
                kernel.next = Some(secret);
                Some(())
            }
        }
    }
}

/// How a direction is handed over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandOver {
    /// Whether the kernel takes further keys.
    pub(crate) rekeys: bool,
    /// Bytes that were sent before.
    pub(crate) bytes_sent: u64,
}

impl Record {
    const fn layer(&mut self, side: Side) -> &mut Layer {
        match side {
            Side::Tx => &mut self.tx,
            Side::Rx => &mut self.rx,
        }
    }

    /// Whether a direction is between messages, so that the kernel can go on; otherwise why not.
    fn check_handover(&self, side: Side) -> Result<(), &'static str> {
        match side {
            Side::Tx if self.pending().is_some() => Err("a record of TLS's own waits to be sent"),
            Side::Tx if self.sending != Sending::Open => Err("sending has ended"),
            Side::Rx if self.receiving != Receiving::Open => Err("receiving has ended"),
            Side::Rx if !self.partial.is_empty() => Err("a handshake message is not whole yet"),
            Side::Tx | Side::Rx => Ok(()),
        }
    }

    fn on_kernel_record(
        &mut self,
        kind: u8,
        content: &[u8],
        data_len: u64,
    ) -> Result<Opened, Fault> {
        if data_len > 0 {
            self.check_whole()?;
            // In how many records it came is not known; each byte may have been one.
            let counted = data_len.min(self.limits.control_refill_records.into());
            (0..counted).for_each(|_| self.patience.data(&self.limits));
        }
        self.control(kind, content, content.len())
    }
}

/// What the kernel's record layer takes, says and lacks.
impl Tls {
    /// What the kernel needs to go on with one direction; otherwise why it cannot yet.
    pub(crate) fn kernel_key(&self, side: Side) -> Result<Key<'_>, &'static str> {
        let record = match &self.phase {
            Phase::Record(record) => record,
            Phase::Handshake(_) | Phase::Over => return Err("the handshake is not done"),
        };
        if side == Side::Tx && self.flight.len() > 0 {
            return Err("the last flight waits to be sent");
        }
        record.check_handover(side)?;
        match if side == Side::Tx { &record.tx } else { &record.rx } {
            Layer::Ours(cipher) => Ok(cipher.kernel_key()),
            Layer::Kernel(_) => Err("the kernel has it"),
        }
    }

    /// The kernel took the key of [`Self::kernel_key`].
    pub(crate) fn hand_over(&mut self, side: Side, how: HandOver) {
        let Phase::Record(record) = &mut self.phase else { return };
        let layer = record.layer(side);
        let Layer::Ours(cipher) = layer else { return };
        let Key { suite, seq, .. } = cipher.kernel_key();
        *layer = Layer::Kernel(Kernel {
            is_gcm: cipher.is_gcm(),
            suite,
            rekeys: how.rekeys,
            next: None,
            seq,
            bytes_before: how.bytes_sent,
            sends: 0,
        });
        self.note_layer(side, Ok(()));
    }

    /// Notes who does the records, and why not the kernel.
    pub(crate) fn note_layer(&mut self, side: Side, kernel: Result<(), Refusal>) {
        let Phase::Record(record) = &mut self.phase else { return };
        let told = match kernel {
            Ok(()) => KtlsSide::Kernel,
            Err(refusal) => KtlsSide::UserSpace(reason(refusal)),
        };
        match side {
            Side::Tx => record.info.kernel.tx = told,
            Side::Rx => record.info.kernel.rx = told,
        }
    }

    /// Whether it is TLS 1.3, where keys change.
    pub(crate) fn changes_keys(&self) -> bool {
        self.info().is_some_and(|info| info.version == TlsVersion::Tls13)
    }

    /// The next key of a direction that the kernel does, when it is time.
    pub(crate) fn next_kernel_key(&self, side: Side) -> Option<Key<'_>> {
        let Phase::Record(record) = &self.phase else { return None };
        match if side == Side::Tx { &record.tx } else { &record.rx } {
            Layer::Kernel(Kernel { next: Some(next), .. }) => {
                Some(next.kernel_key(true, *next.iv(), 0))
            }
            _ => None,
        }
    }

    /// The kernel took the key of [`Self::next_kernel_key`].
    pub(crate) fn kernel_renewed(&mut self, side: Side, bytes_sent: u64) {
        let Phase::Record(record) = &mut self.phase else { return };
        if let Layer::Kernel(kernel) = record.layer(side) {
            *kernel = Kernel {
                next: None,
                seq: 0,
                sends: 0,
                bytes_before: bytes_sent,
                suite: kernel.suite,
                ..*kernel
            };
        }
    }

    /// The kernel did not take it: nothing can be sealed, or opened, any more.
    pub(crate) fn kernel_not_renewed(&mut self, side: Side) -> TlsFailure {
        if let Phase::Record(record) = &mut self.phase {
            record.refuse(Fault::NoRekey);
            if side == Side::Tx {
                // The peer has changed its key, and would not understand an alert.
                record.sending = Sending::Ended;
            }
        }
        Fault::NoRekey.failure(false)
    }

    /// The version and the cipher of what the kernel seals.
    pub(crate) const fn kernel_suite(&self) -> Option<Suite> {
        match &self.phase {
            Phase::Record(Record { tx: Layer::Kernel(kernel), .. }) => Some(kernel.suite),
            _ => None,
        }
    }

    /// The next record of TLS's own that the kernel is to seal: its type and its content.
    pub(crate) fn own_record(&self) -> Option<(u8, Own)> {
        match &self.phase {
            Phase::Record(record) => record.pending(),
            Phase::Handshake(_) | Phase::Over => None,
        }
    }

    /// The kernel took it.
    pub(crate) fn own_record_sent(&mut self) {
        if let Phase::Record(record) = &mut self.phase
            && let Some((_, own)) = record.pending()
        {
            record.said(own);
        }
    }

    /// Before a send of data that the kernel seals; `bytes_sent` were sent before it. There may
    /// be a record of TLS's own to be sent first.
    pub(crate) fn check_kernel_send(&mut self, bytes_sent: u64) -> Result<(), SealError> {
        let Phase::Record(record) = &mut self.phase else { return Err(SealError::Closed) };
        let Layer::Kernel(kernel) = &mut record.tx else { return Ok(()) };
        kernel.sends += 1;
        let seq = kernel.sealed_at_most(bytes_sent);
        let is_gcm = kernel.is_gcm;
        if is_worn(is_gcm, seq, record.limits.records_per_key_max) {
            record.update_key();
        }
        match is_exhausted(is_gcm, seq) && !record.owes_update {
            true => Err(SealError::KeyExhausted),
            false => Ok(()),
        }
    }

    /// A record that is no data, as the kernel opened it; `data_len` bytes of data came before it.
    pub(crate) fn on_kernel_record(&mut self, kind: u8, content: &[u8], data_len: u64) -> Opened {
        match &mut self.phase {
            Phase::Record(record) if record.has_ended() => Opened::Control { consumed: 0 },
            Phase::Record(record) => {
                let opened = record.on_kernel_record(kind, content, data_len);
                opened.unwrap_or_else(|fault| record.fail(fault))
            }
            Phase::Handshake(_) | Phase::Over => {
                let error = TlsFailure::unsent(Alert::INTERNAL_ERROR, "opened after the end");
                Opened::Fail { error }
            }
        }
    }

    /// What the kernel could not open, by its errno.
    pub(crate) fn on_kernel_fault(&mut self, errno: i32) -> TlsFailure {
        let fault = match errno {
            errno::EBADMSG => {
                Fault::Refused(Alert::BAD_RECORD_MAC, "a record failed authentication")
            }
            errno::EMSGSIZE => Fault::Refused(Alert::RECORD_OVERFLOW, "a record is too long"),
            errno::EKEYEXPIRED => Fault::NoRekey,
            _ => Fault::Refused(Alert::DECODE_ERROR, "a record with a header of another version"),
        };
        match &mut self.phase {
            Phase::Record(record) => record.refuse(fault),
            Phase::Handshake(_) | Phase::Over => fault.failure(false),
        }
    }
}

const fn reason(refusal: Refusal) -> KtlsReason {
    match refusal {
        Refusal::NotWanted => KtlsReason::NotWanted,
        Refusal::Pending => KtlsReason::DataPending,
        Refusal::NoModule => KtlsReason::NoModule,
        Refusal::OldKernel => KtlsReason::OldKernel,
        Refusal::Suite => KtlsReason::Suite,
        Refusal::NotTcp => KtlsReason::NotTcp,
        Refusal::RecordSize => KtlsReason::RecordSize,
        Refusal::Rekey => KtlsReason::Rekey,
        Refusal::Os(errno) => KtlsReason::Refused(errno),
    }
}
