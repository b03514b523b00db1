//! Why a connection ended, as a code of [`code`].

use bytes::Bytes;
use quinn_proto::{ConnectionError, TransportErrorCode};

use crate::code;

/// RFC 9001 §4.8: alerts are these codes and the alert's number.
const CRYPTO_ERROR: u64 = 0x100;
const ALERT_MAX: u64 = 0xFF;

/// The end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) code: u64,
    /// The peer's words; empty when there are none.
    pub(super) reason: Bytes,
    pub(super) clean: bool,
}

impl From<ConnectionError> for Lost {
    fn from(error: ConnectionError) -> Self {
        let (code, reason) = match error {
            ConnectionError::VersionMismatch => (code::QUIC_VERSION, Bytes::new()),
            ConnectionError::TransportError(error) => {
                (ours(u64::from(error.code)), Bytes::from(error.reason))
            }
            ConnectionError::ConnectionClosed(close) => (theirs(close.error_code), close.reason),
            ConnectionError::ApplicationClosed(close) => {
                (code::QUIC_APP | close.error_code.into_inner(), close.reason)
            }
            ConnectionError::Reset => (code::QUIC_STATELESS_RESET, Bytes::new()),
            ConnectionError::TimedOut => (code::IDLE_TIMEOUT, Bytes::new()),
            ConnectionError::LocallyClosed => (code::LOCAL_CLOSE, Bytes::new()),
            ConnectionError::CidsExhausted => (code::QUIC_CIDS_EXHAUSTED, Bytes::new()),
        };
        Self { code, reason, clean: code == code::QUIC_APP }
    }
}

/// The code of an alert, if it is one.
fn alert(wire: u64, base: u64) -> Option<u64> {
    let alert = wire.checked_sub(CRYPTO_ERROR).filter(|alert| *alert <= ALERT_MAX)?;
    Some(base + alert)
}

fn ours(wire: u64) -> u64 {
    alert(wire, code::TLS_ALERT_SENT).unwrap_or(code::QUIC_OWN_TRANSPORT | wire)
}

fn theirs(wire: TransportErrorCode) -> u64 {
    if wire == TransportErrorCode::CONNECTION_REFUSED {
        return code::QUIC_REFUSED;
    }
    let wire = u64::from(wire);
    alert(wire, code::TLS_ALERT_RECEIVED).unwrap_or(code::QUIC_PEER_TRANSPORT | wire)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::{QuicClose, QuicCloser, quic_close};

    #[test]
    fn wire_codes_keep_their_number_and_owner() {
        let (own, peer) = (QuicCloser::OwnTransport, QuicCloser::PeerTransport);
        assert_eq!(quic_close(ours(0xA)), Some(QuicClose { by: own, code: 0xA }));
        assert_eq!(ours(0x128), code::TLS_ALERT_SENT + 40);
        assert_eq!(ours(0x200), code::QUIC_OWN_TRANSPORT | 0x200);
        assert_eq!(theirs(TransportErrorCode::CONNECTION_REFUSED), code::QUIC_REFUSED);
        let refused = theirs(TransportErrorCode::INVALID_TOKEN);
        assert_eq!(quic_close(refused), Some(QuicClose { by: peer, code: 0xB }));
        assert_eq!(theirs(TransportErrorCode::crypto(42)), code::TLS_ALERT_RECEIVED + 42);
        assert_eq!(quic_close(code::QUIC_REFUSED), None);
        assert_eq!(Lost::from(ConnectionError::TimedOut).code, code::IDLE_TIMEOUT);
        assert!(!Lost::from(ConnectionError::Reset).clean);
    }
}
