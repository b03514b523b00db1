//! [`TlsFailure`]: why a TLS connection ended, and the alerts that say so (RFC 8446 §6).

use std::borrow::Cow;
use std::fmt;

use rustls::{AlertDescription, Error, PeerIncompatible, PeerMisbehaved};

use super::flight::Flight;
use crate::code;

/// What a peer is told of a failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    Alert(Alert),
    /// An alert that we cannot read.
    Sealed,
    Nothing,
}

/// A fatal end. The code is of [`code`]: [`code::TLS_ALERT_SENT`], [`code::TLS_ALERT_UNSENT`] or
/// [`code::TLS_ALERT_RECEIVED`] plus the alert, or one of the ends of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TlsFailure {
    pub(crate) code: u64,
    pub(crate) reason: Cow<'static, str>,
}

impl TlsFailure {
    /// Refused by us, with this alert.
    pub(crate) fn sent(alert: Alert, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code: code::TLS_ALERT_SENT | u64::from(alert.0), reason: reason.into() }
    }

    /// Refused by us, without a word: this would be the alert.
    pub(crate) fn unsent(alert: Alert, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { code: code::TLS_ALERT_UNSENT | u64::from(alert.0), reason: reason.into() }
    }

    /// Tells the peer of a refusal of which it was not told, if it can still be told in the clear.
    pub(crate) fn tell(self, flight: &mut Flight) -> Self {
        let is_untold = self.code & !0xFF == code::TLS_ALERT_UNSENT;
        match is_untold && flight.tell(Alert(self.code as u8)) {
            true => Self { code: code::TLS_ALERT_SENT | self.code & 0xFF, ..self },
            false => self,
        }
    }

    /// Refused by the peer, with this alert.
    pub(crate) fn received(alert: Alert) -> Self {
        let code = code::TLS_ALERT_RECEIVED | u64::from(alert.0);
        Self { code, reason: Cow::Borrowed("the peer sent a fatal alert") }
    }

    pub(crate) const fn ended(code: u64, reason: &'static str) -> Self {
        Self { code, reason: Cow::Borrowed(reason) }
    }

    /// What rustls refused, and what it told the peer: not all that it refuses is told.
    pub(crate) fn of_rustls(error: &Error, told: Told) -> Self {
        match (error, told) {
            (Error::AlertReceived(alert), _) => {
                let mut failure = Self::received(Alert(u8::from(*alert)));
                failure.reason = Cow::Owned(error.to_string());
                failure
            }
            (_, Told::Alert(alert)) => Self::sent(alert, error.to_string()),
            (_, Told::Sealed) => Self::sent(alert_for(error), error.to_string()),
            (_, Told::Nothing) => Self::unsent(alert_for(error), error.to_string()),
        }
    }
}

impl fmt::Display for TlsFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = code::reason(self.code).unwrap_or("TLS failed");
        let way = match self.code & !0xFF {
            code::TLS_ALERT_SENT => " sent",
            code::TLS_ALERT_UNSENT => " not sent",
            code::TLS_ALERT_RECEIVED => " received",
            _ => "",
        };
        write!(f, "{name}{way}: {}", self.reason)
    }
}

/// An alert's description byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Alert(pub(crate) u8);

impl Alert {
    pub(crate) const CLOSE_NOTIFY: Self = Self(0);
    pub(crate) const UNEXPECTED_MESSAGE: Self = Self(10);
    pub(crate) const BAD_RECORD_MAC: Self = Self(20);
    pub(crate) const RECORD_OVERFLOW: Self = Self(22);
    pub(crate) const HANDSHAKE_FAILURE: Self = Self(40);
    pub(crate) const ILLEGAL_PARAMETER: Self = Self(47);
    pub(crate) const DECODE_ERROR: Self = Self(50);
    pub(crate) const INTERNAL_ERROR: Self = Self(80);
    pub(crate) const USER_CANCELED: Self = Self(90);
    pub(crate) const NO_RENEGOTIATION: Self = Self(100);
}

/// Something that a record or a message after the handshake did wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Told to the peer with this alert.
    Refused(Alert, &'static str),
    /// The peer's own fatal alert.
    Received(Alert),
    /// The peer changes keys, or asks us to, and the kernel that has ours cannot.
    NoRekey,
}

impl Fault {
    /// What it ends with; whether the peer is told.
    pub(crate) fn failure(self, is_told: bool) -> TlsFailure {
        match self {
            Self::Refused(alert, reason) if is_told => TlsFailure::sent(alert, reason),
            Self::Refused(alert, reason) => TlsFailure::unsent(alert, reason),
            Self::Received(alert) => TlsFailure::received(alert),
            Self::NoRekey => TlsFailure::ended(
                code::TLS_NO_REKEY,
                "the peer changes keys, and this kernel cannot (Linux 6.14 can)",
            ),
        }
    }
}

/// The alert for an error of rustls that told the peer under a key, where we cannot read it, or
/// that did not tell it.
fn alert_for(error: &Error) -> Alert {
    let description = match error {
        Error::InvalidCertificate(error) => AlertDescription::from(error.clone()),
        Error::InvalidMessage(_) => AlertDescription::DecodeError,
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Error::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        Error::NoCertificatesPresented => AlertDescription::CertificateRequired,
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => AlertDescription::ProtocolVersion,
        Error::PeerIncompatible(_) => AlertDescription::HandshakeFailure,
        // RFC 8446 §5.1 and §5: records of another type between those of one message, and too many.
        Error::PeerMisbehaved(
            PeerMisbehaved::MessageInterleavedWithHandshakeMessage
            | PeerMisbehaved::IllegalMiddleboxChangeCipherSpec
            | PeerMisbehaved::TooManyEmptyFragments
            | PeerMisbehaved::TooManyWarningAlertsReceived
            | PeerMisbehaved::TooManyKeyUpdateRequests
            | PeerMisbehaved::TooManyRenegotiationRequests,
        ) => AlertDescription::UnexpectedMessage,
        Error::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        _ => AlertDescription::InternalError,
    };
    Alert(u8::from(description))
}
