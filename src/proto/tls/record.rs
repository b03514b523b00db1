//! [`Record`]: an established connection, one record after the other.
//!
//! Role: what opened records mean, messages after the handshake, key updates, alerts, closing
//! (RFC 8446 §4.6, §5, §6; RFC 5246 §6, §7.2). Not role: ciphers ([`Cipher`]), the handshake.
//!
//! *Invariants*: one record in, one answer out, without a heap. What we want to send is noted and
//! sealed when it is fetched, so records leave in the order of their sequence numbers as long as
//! whoever calls sends in the order of its calls.

use std::ops::Range;

use super::cipher::Cipher;
use super::failure::{Alert, Fault, TlsFailure};
use super::kernel::Layer;
use super::limits::Limits;
use super::patience::Patience;
use super::session::Session;
use super::wire::{
    ALERT, APPLICATION_DATA, BODY_LEN_MAX_12, BODY_LEN_MAX_13, CHANGE_CIPHER_SPEC, FATAL,
    HANDSHAKE, HEADER_LEN, Header, PLAIN_LEN_MAX, WARNING, message_len, split_message,
};
use super::{Opened, SealError};
use crate::config::{TlsInfo, TlsVersion};

const HELLO_REQUEST: u8 = 0;
const CLIENT_HELLO: u8 = 1;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
/// A KeyUpdate that asks for none in return.
const KEY_UPDATE_MESSAGE: [u8; 5] = [KEY_UPDATE, 0, 0, 1, 0];

/// What the peer may still send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Receiving {
    Open,
    /// close_notify came.
    Ended,
    /// Something fatal came.
    Failed,
}

/// What we may still send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sending {
    Open,
    /// The last record waits to be fetched: an alert of this level.
    Last(u8, Alert),
    Ended,
}

/// An established connection.
pub(crate) struct Record {
    pub(super) tx: Layer,
    pub(super) rx: Layer,
    pub(super) session: Session,
    is_client: bool,
    pub(super) receiving: Receiving,
    pub(super) sending: Sending,
    /// A KeyUpdate waits to be fetched.
    pub(super) owes_update: bool,
    /// TLS 1.2: a no_renegotiation warning waits to be fetched; then there is none for a second.
    refusal: Refusal,
    /// The beginning of a message that goes on in the next record.
    pub(super) partial: Vec<u8>,
    pub(super) patience: Patience,
    pub(super) limits: Limits,
    pub(super) info: Box<TlsInfo>,
}

/// Our answer to an attempt to renegotiate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Refusal {
    Unasked,
    Owed,
    Given,
}

impl Record {
    pub(crate) fn new(
        tx: Cipher,
        rx: Cipher,
        session: Session,
        is_client: bool,
        info: Box<TlsInfo>,
        limits: Limits,
    ) -> Self {
        Self {
            tx: Layer::Ours(tx),
            rx: Layer::Ours(rx),
            session,
            is_client,
            receiving: Receiving::Open,
            sending: Sending::Open,
            owes_update: false,
            refusal: Refusal::Unasked,
            partial: Vec::new(),
            patience: Patience::default(),
            limits,
            info,
        }
    }

    pub(crate) const fn info(&self) -> &TlsInfo {
        &self.info
    }

    /// Bytes that sealing adds before and behind a payload; none where the kernel seals.
    pub(crate) const fn overhead(&self) -> (usize, usize) {
        match &self.tx {
            Layer::Ours(cipher) => (cipher.head_len(), cipher.tail_len()),
            Layer::Kernel(_) => (0, 0),
        }
    }

    pub(crate) fn plain_max(&self) -> usize {
        self.limits.plain_len_max.clamp(1, PLAIN_LEN_MAX)
    }

    /// Whether close_notify came.
    pub(crate) fn has_ended(&self) -> bool {
        self.receiving == Receiving::Ended
    }

    pub(crate) fn open(&mut self, input: &mut [u8]) -> Opened {
        match self.receiving {
            Receiving::Open => self.step(input).unwrap_or_else(|fault| self.fail(fault)),
            // RFC 8446 §6.1: "Any data received after a closure alert has been received MUST be
            // ignored."
            Receiving::Ended => Opened::Closed { consumed: input.len() },
            Receiving::Failed => Opened::Fail {
                error: TlsFailure::unsent(Alert::INTERNAL_ERROR, "opened after a failure"),
            },
        }
    }

    fn step(&mut self, input: &mut [u8]) -> Result<Opened, Fault> {
        let Some((header, rest)) = input.split_first_chunk_mut::<HEADER_LEN>() else {
            return Ok(Opened::Need { need: HEADER_LEN });
        };
        let header = Header::read(*header);
        self.check_header(header)?;
        let consumed = HEADER_LEN + header.body_len;
        let Some(body) = rest.get_mut(..header.body_len) else {
            return Ok(Opened::Need { need: consumed });
        };
        let Layer::Ours(rx) = &mut self.rx else {
            return Err(Fault::Refused(Alert::INTERNAL_ERROR, "opened what the kernel opens"));
        };
        let (kind, content) = rx.open(header, body)?;
        if kind == APPLICATION_DATA {
            self.check_whole()?;
            match content.is_empty() {
                true => self.patience.empty(&self.limits)?,
                false => self.patience.data(&self.limits),
            }
            let plain = HEADER_LEN + content.start..HEADER_LEN + content.end;
            return Ok(Opened::Data { consumed, plain });
        }
        self.control(kind, body.get(content).unwrap_or_default(), consumed)
    }

    /// A record that is no data.
    pub(super) fn control(
        &mut self,
        kind: u8,
        content: &[u8],
        consumed: usize,
    ) -> Result<Opened, Fault> {
        match kind {
            HANDSHAKE => self.on_handshake(content)?,
            ALERT => {
                self.check_whole()?;
                return self.on_alert(content, consumed);
            }
            _ => return Err(unexpected("a record of an unknown type, or ChangeCipherSpec")),
        }
        Ok(Opened::Control { consumed })
    }

    /// RFC 8446 §5.1: "if a handshake message is split over two or more records, there MUST NOT be
    /// any other records between them."
    pub(super) const fn check_whole(&self) -> Result<(), Fault> {
        match self.partial.is_empty() {
            true => Ok(()),
            false => Err(unexpected("a record in the middle of a handshake message")),
        }
    }

    /// What can be told from the header alone, so that nobody waits for the rest of a record that
    /// will be refused.
    fn check_header(&self, header: Header) -> Result<(), Fault> {
        let (may_be, len_max) = match self.info.version {
            // RFC 8446 §5: after the handshake all is application_data on the outside; a
            // ChangeCipherSpec is for the handshake only.
            TlsVersion::Tls13 => (header.kind == APPLICATION_DATA, BODY_LEN_MAX_13),
            TlsVersion::Tls12 => {
                (matches!(header.kind, ALERT | HANDSHAKE | APPLICATION_DATA), BODY_LEN_MAX_12)
            }
        };
        if header.kind == CHANGE_CIPHER_SPEC {
            return Err(unexpected("ChangeCipherSpec after the handshake"));
        }
        if !may_be {
            return Err(unexpected("a record of a type that cannot come after the handshake"));
        }
        if header.body_len > len_max {
            return Err(Fault::Refused(Alert::RECORD_OVERFLOW, "a record is too long"));
        }
        Ok(())
    }

    fn on_alert(&mut self, content: &[u8], consumed: usize) -> Result<Opened, Fault> {
        if content.is_empty() {
            // RFC 8446 §5.4: a record of type alert with nothing in it MUST be answered with
            // "unexpected_message".
            return Err(unexpected("an empty alert"));
        }
        let [level, description] = *content else {
            // RFC 8446 §5.1: "a record with an Alert type MUST contain exactly one message."
            return Err(Fault::Refused(Alert::DECODE_ERROR, "an alert is not two bytes long"));
        };
        if !matches!(level, WARNING | FATAL) {
            return Err(Fault::Refused(Alert::ILLEGAL_PARAMETER, "an alert of an unknown level"));
        }
        let alert = Alert(description);
        let is_warning = match self.info.version {
            // RFC 8446 §6: "All the alerts listed in Section 6.2 MUST be sent with AlertLevel=fatal
            // and MUST be treated as error alerts when received regardless of the AlertLevel".
            TlsVersion::Tls13 => alert == Alert::USER_CANCELED,
            TlsVersion::Tls12 => level == WARNING,
        };
        if alert == Alert::CLOSE_NOTIFY {
            self.receiving = Receiving::Ended;
            return Ok(Opened::Closed { consumed });
        }
        if !is_warning {
            return Err(Fault::Received(alert));
        }
        self.patience.control(&self.limits)?;
        Ok(Opened::Control { consumed })
    }

    fn on_handshake(&mut self, content: &[u8]) -> Result<(), Fault> {
        if content.is_empty() {
            // RFC 8446 §5.1: "Implementations MUST NOT send zero-length fragments of Handshake
            // types".
            return Err(unexpected("an empty handshake record"));
        }
        if self.partial.is_empty() {
            let rest = self.messages(content)?;
            self.partial.extend_from_slice(rest);
            return Ok(());
        }
        let mut joined = std::mem::take(&mut self.partial);
        joined.extend_from_slice(content);
        let rest_len = self.messages(&joined)?.len();
        if rest_len > 0 {
            joined.drain(..joined.len() - rest_len);
            self.partial = joined;
        }
        Ok(())
    }

    /// Handles whole messages at the front; what is left is the beginning of one.
    fn messages<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], Fault> {
        while let Some((kind, body, rest)) = split_message(bytes) {
            self.on_message(kind, body, rest.is_empty())?;
            bytes = rest;
        }
        match message_len(bytes) {
            Some(len) if len > self.limits.message_len_max => {
                let why = "a handshake message is longer than Limits::message_len_max";
                Err(Fault::Refused(Alert::DECODE_ERROR, why))
            }
            _ => Ok(bytes),
        }
    }

    fn on_message(&mut self, kind: u8, body: &[u8], is_last: bool) -> Result<(), Fault> {
        match (self.info.version, kind) {
            (TlsVersion::Tls13, KEY_UPDATE) if is_last => self.on_key_update(body),
            (TlsVersion::Tls13, KEY_UPDATE) => {
                // RFC 8446 §5.1: "Handshake messages MUST NOT span key changes."
                Err(unexpected("a handshake message behind a key update in one record"))
            }
            (TlsVersion::Tls13, NEW_SESSION_TICKET) => {
                self.patience.control(&self.limits)?;
                self.session.ticket(body)
            }
            (TlsVersion::Tls12, HELLO_REQUEST) if self.is_client => self.on_renegotiation(),
            (TlsVersion::Tls12, CLIENT_HELLO) if !self.is_client => self.on_renegotiation(),
            _ => Err(unexpected("a handshake message after the handshake")),
        }
    }

    /// RFC 8446 §4.6.3.
    fn on_key_update(&mut self, body: &[u8]) -> Result<(), Fault> {
        const NO_KEY: Fault = Fault::Refused(Alert::INTERNAL_ERROR, "a key could not be used");
        let asks = match body {
            [0] => false,
            [1] => true,
            [_] => {
                let why = "a key update asks for something unknown";
                return Err(Fault::Refused(Alert::ILLEGAL_PARAMETER, why));
            }
            _ => return Err(Fault::Refused(Alert::DECODE_ERROR, "a malformed key update")),
        };
        self.patience.control(&self.limits)?;
        if !self.rx.can_renew() || asks && !self.tx.can_renew() {
            return Err(Fault::NoRekey);
        }
        let secret = self.session.next_rx()?;
        self.rx.renew(secret).ok_or(NO_KEY)?;
        // Several requests before we answer get one answer.
        self.owes_update |= asks;
        Ok(())
    }

    /// TLS 1.2: refused with a warning, as RFC 5246 §7.2.2 has it; a peer that insists is fatal.
    fn on_renegotiation(&mut self) -> Result<(), Fault> {
        if self.refusal != Refusal::Unasked {
            return Err(Fault::Refused(Alert::HANDSHAKE_FAILURE, "the peer renegotiates"));
        }
        self.refusal = Refusal::Owed;
        Ok(())
    }

    pub(super) fn fail(&mut self, fault: Fault) -> Opened {
        Opened::Fail { error: self.refuse(fault) }
    }

    /// Nothing is received any more; the peer is told why, if it did not say so itself.
    pub(super) fn refuse(&mut self, fault: Fault) -> TlsFailure {
        self.receiving = Receiving::Failed;
        self.partial = Vec::new();
        self.sending = match (fault, self.sending) {
            // RFC 8446 §6.1: nothing follows our own closure alert.
            (_, Sending::Ended) | (Fault::Received(_), _) => Sending::Ended,
            (Fault::Refused(alert, _), _) => Sending::Last(FATAL, alert),
            (Fault::NoRekey, _) => Sending::Last(FATAL, Alert::INTERNAL_ERROR),
        };
        fault.failure(self.sending != Sending::Ended)
    }

    /// Lets close_notify be the last that we send.
    pub(crate) fn close_notify(&mut self) {
        if self.sending == Sending::Open {
            self.sending = Sending::Last(WARNING, Alert::CLOSE_NOTIFY);
        }
    }

    /// Asks for a new key for what we send. TLS 1.2 has none, and not every kernel takes one.
    pub(crate) fn update_key(&mut self) {
        self.owes_update |= self.info.version == TlsVersion::Tls13 && self.tx.can_renew();
    }

    /// Bytes that [`Self::transmit`] would write.
    pub(crate) fn transmit_len(&self) -> usize {
        match (&self.tx, self.pending()) {
            (Layer::Ours(tx), Some((_, content))) => {
                tx.head_len() + content.as_slice().len() + tx.tail_len()
            }
            _ => 0,
        }
    }

    /// Seals one record of our own; 0 when there is none, or no room for it.
    pub(crate) fn transmit(&mut self, out: &mut [u8]) -> usize {
        let Some((kind, content)) = self.pending() else { return 0 };
        let Ok(len) = self.seal_into(kind, content.as_slice(), out) else { return 0 };
        self.said(content);
        len
    }

    /// A record of our own is on its way.
    pub(super) fn said(&mut self, content: Own) {
        match content {
            Own::Refusal(_) => self.refusal = Refusal::Given,
            Own::Update(_) => self.turn_key(),
            Own::Last(_) => self.sending = Sending::Ended,
        }
    }

    /// The next record of our own.
    pub(super) fn pending(&self) -> Option<(u8, Own)> {
        match self.sending {
            Sending::Ended => None,
            Sending::Last(level, Alert(description)) => {
                Some((ALERT, Own::Last([level, description])))
            }
            Sending::Open if self.owes_update => Some((HANDSHAKE, Own::Update(KEY_UPDATE_MESSAGE))),
            Sending::Open if self.refusal == Refusal::Owed => {
                Some((ALERT, Own::Refusal([WARNING, Alert::NO_RENEGOTIATION.0])))
            }
            Sending::Open => None,
        }
    }

    /// The KeyUpdate is sealed: what follows goes under the next key.
    pub(crate) fn turn_key(&mut self) {
        self.owes_update = false;
        let next = self.session.next_tx().ok();
        if next.and_then(|secret| self.tx.renew(secret)).is_none() {
            // Without the next key nothing can be sent that the peer could read.
            self.sending = Sending::Ended;
            self.receiving = Receiving::Failed;
        }
    }

    /// Whether data may be sealed now.
    pub(crate) fn check_sealing(&mut self, len: usize) -> Result<(), SealError> {
        if self.sending != Sending::Open {
            return Err(SealError::Closed);
        }
        if len > self.plain_max() {
            return Err(SealError::TooLong { len, max: self.plain_max() });
        }
        let Layer::Ours(tx) = &self.tx else { return Err(SealError::Kernel) };
        let (is_worn, is_exhausted) =
            (tx.is_worn(self.limits.records_per_key_max), tx.is_exhausted());
        if is_worn {
            self.update_key();
        }
        match (is_exhausted, self.info.version) {
            (false, _) => Ok(()),
            (true, TlsVersion::Tls13) => Err(SealError::TransmitFirst),
            (true, TlsVersion::Tls12) => Err(SealError::KeyExhausted),
        }
    }

    /// Seals from one place into another.
    pub(crate) fn seal_into(
        &mut self,
        kind: u8,
        plain: &[u8],
        out: &mut [u8],
    ) -> Result<usize, SealError> {
        let Layer::Ours(tx) = &mut self.tx else { return Err(SealError::Kernel) };
        let (head_len, tail_len) = (tx.head_len(), tx.tail_len());
        let need = head_len + plain.len() + tail_len;
        let short = SealError::NoRoom { need };
        let (head, rest) = out.split_at_mut_checked(head_len).ok_or(short)?;
        let (to, rest) = rest.split_at_mut_checked(plain.len()).ok_or(short)?;
        let tail = rest.get_mut(..tail_len).ok_or(short)?;
        let sealed = tx.seal_across(kind, (plain, to), head, tail);
        sealed.map_err(|_| SealError::KeyExhausted)?;
        Ok(need)
    }

    /// Seals data where it lies, with free bytes around it.
    pub(crate) fn seal_in_place(
        &mut self,
        buf: &mut [u8],
        payload: Range<usize>,
    ) -> Result<Range<usize>, SealError> {
        let Layer::Ours(tx) = &mut self.tx else { return Err(SealError::Kernel) };
        let (head_len, tail_len) = (tx.head_len(), tx.tail_len());
        let short = SealError::NoRoom { need: head_len + payload.len() + tail_len };
        let start = payload.start.checked_sub(head_len).ok_or(short)?;
        let end = payload.end.checked_add(tail_len).ok_or(short)?;
        let record = buf.get_mut(start..end).ok_or(short)?;
        let (head, body) = record.split_at_mut_checked(head_len).ok_or(short)?;
        let sealed = tx.seal_joined(APPLICATION_DATA, body, head);
        sealed.map_err(|_| SealError::KeyExhausted)?;
        Ok(start..end)
    }
}

/// A record that TLS sends for itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Own {
    Refusal([u8; 2]),
    Update([u8; 5]),
    Last([u8; 2]),
}

impl Own {
    /// Whether nothing may follow it.
    pub(crate) const fn is_last(&self) -> bool {
        matches!(self, Self::Last(_))
    }

    pub(crate) const fn as_slice(&self) -> &[u8] {
        match self {
            Self::Refusal(bytes) | Self::Last(bytes) => bytes,
            Self::Update(bytes) => bytes,
        }
    }
}

pub(super) const fn unexpected(why: &'static str) -> Fault {
    Fault::Refused(Alert::UNEXPECTED_MESSAGE, why)
}
