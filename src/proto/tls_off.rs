//! The shape of `tls` without the feature: there is none, so nothing of it is ever run.

use std::borrow::Cow;
use std::ops::Range;
use std::time::Duration;

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
}

#[derive(Debug)]
pub(crate) struct Tls(Never);

pub(crate) struct TlsFailure {
    pub(crate) code: u64,
    pub(crate) reason: Cow<'static, str>,
}

pub(crate) struct SealError(Never);

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
}
