//! The shape of `tls` without the feature: there is none, so nothing of it is ever run.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

use crate::config::{HostOrAddr, Toggle};
use crate::sys::ktls::{Key, Refusal, Side, Suite};

/// Nothing that exists.
#[derive(Clone, Copy, Debug)]
enum Never {}

/// What listeners accept with.
#[derive(Clone, Debug)]
pub(crate) struct Acceptor(Never);

impl Acceptor {
    pub(crate) fn start(&self) -> Result<Start, TlsFailure> {
        match self.0 {}
    }
}

/// A machine that has not begun.
pub(crate) struct Start {
    pub(crate) tls: Tls,
    pub(crate) handshake_timeout: Duration,
    pub(crate) close_notify_timeout: Duration,
    pub(crate) ktls: Toggle,
}

impl Start {
    pub(crate) fn client(
        config: &std::convert::Infallible,
        _: Option<&HostOrAddr>,
    ) -> crate::error::Result<Self> {
        match *config {}
    }
}

#[derive(Debug)]
pub(crate) struct Tls(Never);

pub(crate) struct TlsFailure {
    pub(crate) code: u64,
    pub(crate) reason: Cow<'static, str>,
}

pub(crate) struct SealError(Never);

pub(crate) struct Own(Never);

impl Own {
    pub(crate) fn is_last(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self.0 {}
    }
}

#[expect(dead_code, reason = "the same shape as with the feature")]
pub(crate) struct HandOver {
    pub(crate) rekeys: bool,
    pub(crate) bytes_sent: u64,
}

#[expect(dead_code, reason = "the same shape as with the feature")]
pub(crate) enum Opened {
    Need { need: usize },
    Data { consumed: usize, plain: Range<usize> },
    Control { consumed: usize },
    Established { consumed: usize },
    Closed { consumed: usize },
    Fail { error: TlsFailure },
}

pub(crate) const HEAD_MAX: usize = 13;
pub(crate) const TAIL_MAX: usize = 17;
pub(crate) const TRANSMIT_LEN_MIN: usize = 35;

impl Tls {
    pub(crate) fn open(&mut self, _: &mut [u8]) -> Opened {
        match self.0 {}
    }

    pub(crate) fn on_eof(&self) -> Result<(), TlsFailure> {
        match self.0 {}
    }

    pub(crate) fn transmit(&mut self, _: &mut [u8]) -> usize {
        match self.0 {}
    }

    pub(crate) fn transmit_len(&self) -> usize {
        match self.0 {}
    }

    pub(crate) fn seal_into(&mut self, _: &[u8], _: &mut [u8]) -> Result<usize, SealError> {
        match self.0 {}
    }

    pub(crate) fn seal_in_place(
        &mut self,
        _: &mut [u8],
        _: Range<usize>,
    ) -> Result<Range<usize>, SealError> {
        match self.0 {}
    }

    pub(crate) fn overhead(&self) -> (usize, usize) {
        match self.0 {}
    }

    pub(crate) fn plain_max(&self) -> usize {
        match self.0 {}
    }

    pub(crate) fn close_notify(&mut self) {
        match self.0 {}
    }

    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match self.0 {}
    }

    pub(crate) fn kernel_key(&self, _: Side) -> Result<Key<'_>, &'static str> {
        match self.0 {}
    }

    pub(crate) fn hand_over(&mut self, _: Side, _: HandOver) {
        match self.0 {}
    }

    pub(crate) fn note_layer(&mut self, _: Side, _: Result<(), Refusal>) {
        match self.0 {}
    }

    pub(crate) fn changes_keys(&self) -> bool {
        match self.0 {}
    }

    pub(crate) fn next_kernel_key(&self, _: Side) -> Option<Key<'_>> {
        match self.0 {}
    }

    pub(crate) fn kernel_renewed(&mut self, _: Side, _: u64) {
        match self.0 {}
    }

    pub(crate) fn kernel_not_renewed(&mut self, _: Side) -> TlsFailure {
        match self.0 {}
    }

    pub(crate) fn kernel_suite(&self) -> Option<Suite> {
        match self.0 {}
    }

    pub(crate) fn own_record(&self) -> Option<(u8, Own)> {
        match self.0 {}
    }

    pub(crate) fn own_record_sent(&mut self) {
        match self.0 {}
    }

    pub(crate) fn check_kernel_send(&mut self, _: u64) -> Result<(), SealError> {
        match self.0 {}
    }

    pub(crate) fn on_kernel_record(&mut self, _: u8, _: &[u8], _: u64) -> Opened {
        match self.0 {}
    }

    pub(crate) fn on_kernel_fault(&mut self, _: i32) -> TlsFailure {
        match self.0 {}
    }
}
