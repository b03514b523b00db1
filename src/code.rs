//! Why a connection ended: the numbers in `Event::Disconnected`, by protocol.
//!
//! For TCP and Unix connections the code is 0 for an orderly end, a number of this module when
//! zero-io ended the connection, and otherwise the kernel's `errno` (below 4096), for example 104
//! (`ECONNRESET`).

/// An orderly end: both sides were done.
pub const NONE: u64 = 0;
/// The first number that is not an errno.
pub const FIRST_OWN: u64 = 0x1_0000;
/// The application called `close`.
pub const LOCAL_CLOSE: u64 = 0x1_0000;
/// `close_graceful` ran out of time: the peer did not finish, or did not take what was queued.
pub const CLOSE_TIMEOUT: u64 = 0x1_0001;
/// The connection was not established within its time.
pub const CONNECT_TIMEOUT: u64 = 0x1_0002;
/// Nothing sent and nothing received for `ConnTimeouts::idle`.
pub const IDLE_TIMEOUT: u64 = 0x1_0003;
/// Nothing received for `ConnTimeouts::read`.
pub const READ_TIMEOUT: u64 = 0x1_0004;
/// Nothing taken by the peer for `ConnTimeouts::write`.
pub const WRITE_TIMEOUT: u64 = 0x1_0005;
/// The host name was not resolved.
pub const RESOLVE_FAILED: u64 = 0x1_0006;
/// The framing refused what the peer sent.
pub const BAD_FRAME: u64 = 0x1_0007;
/// A message is longer than the framing or the buffers allow.
pub const FRAME_TOO_LONG: u64 = 0x1_0008;
/// The peer ended in the middle of a message.
pub const TRUNCATED: u64 = 0x1_0009;
/// No buffer was left for a message that straddles others: those who began earlier have them.
pub const CARRY_EXHAUSTED: u64 = 0x1_000A;
/// The `Io` was dropped: what a [`BodyStream`](crate::BodyStream) says then, no connection's end.
pub const IO_GONE: u64 = 0x1_000B;
/// `hand_over` took the connection to another shard of the cluster, where it goes on.
pub const HANDED_OVER: u64 = 0x1_000C;
/// A shard of a cluster, or a listener, was told to end, and the time for it was up.
pub const SHUTDOWN: u64 = 0x1_000D;
/// The connection was to begin with a PROXY header of [`ProxyProtocol`](crate::ProxyProtocol), and
/// did not: it was malformed, cut short, or too late. No `Connected` came before.
pub const PROXY_HEADER: u64 = 0x1_000E;
/// TLS refused what the peer sent; the low byte is the alert (RFC 8446 §6) for it, which was sent.
pub const TLS_ALERT_SENT: u64 = 0x1_0100;
/// The peer refused TLS; the low byte is the alert (RFC 8446 §6) that it sent.
pub const TLS_ALERT_RECEIVED: u64 = 0x1_0200;
/// TLS refused what the peer sent, and could not tell it so; the low byte is the alert (RFC 8446
/// §6) for it. So it is where a handshake fails under keys that only the TLS library has, and
/// behind our own close_notify.
pub const TLS_ALERT_UNSENT: u64 = 0x1_0500;
/// The stream ended without TLS's close_notify: what came may not be all that was sent.
pub const TLS_TRUNCATED: u64 = 0x1_0300;
/// The stream ended in the middle of the TLS handshake.
pub const TLS_HANDSHAKE_EOF: u64 = 0x1_0301;
/// The TLS handshake was not done within its time.
pub const TLS_HANDSHAKE_TIMEOUT: u64 = 0x1_0302;
/// The key sealed as many records as it may, and there is no other: TLS 1.2 has none, and a kernel
/// before Linux 6.14 that seals takes none. Connect again, or allow TLS 1.3.
pub const TLS_KEY_EXHAUSTED: u64 = 0x1_0303;
/// The peer changes its keys, or asks us to change ours, and the kernel that does the record layer
/// cannot: Linux 6.14 can, and so do we without `ktls`.
pub const TLS_NO_REKEY: u64 = 0x1_0304;
/// HTTP: the request line is malformed (400).
pub const HTTP_BAD_REQUEST_LINE: u64 = 0x1_0400;
/// HTTP: the request's target has a byte or a form that it cannot have (400).
pub const HTTP_BAD_TARGET: u64 = 0x1_0401;
/// HTTP: a header or trailer field is malformed (400).
pub const HTTP_BAD_HEADER: u64 = 0x1_0402;
/// HTTP: `Host` is missing, repeated, no host, or not the target's (400).
pub const HTTP_BAD_HOST: u64 = 0x1_0403;
/// HTTP: where the message ends is said twice, badly, or in a way that others read differently
/// (400): `Content-Length`, `Transfer-Encoding`.
pub const HTTP_BAD_FRAMING: u64 = 0x1_0404;
/// HTTP: a chunk of a body is malformed, or says more than a chunk may (400).
pub const HTTP_BAD_CHUNK: u64 = 0x1_0405;
/// HTTP: the request line is longer than the limit for the whole head (414).
pub const HTTP_URI_TOO_LONG: u64 = 0x1_0406;
/// HTTP: the head or the trailers are longer, or have more fields, than the limits allow (431).
pub const HTTP_HEAD_TOO_LARGE: u64 = 0x1_0407;
/// HTTP: a version other than 1.0 and 1.1 (505).
pub const HTTP_VERSION: u64 = 0x1_0408;
/// HTTP: a transfer coding that nobody here knows, or a method longer than any (501).
pub const HTTP_NOT_IMPLEMENTED: u64 = 0x1_0409;
/// HTTP: an expectation other than `100-continue` (417).
pub const HTTP_EXPECTATION: u64 = 0x1_040A;
/// HTTP: the status line of a response is malformed.
pub const HTTP_BAD_STATUS_LINE: u64 = 0x1_040B;
/// HTTP: a request's body is longer than `HttpListenConfig::max_body_size`; answered with 413.
pub const HTTP_BODY_TOO_LARGE: u64 = 0x1_0420;
/// HTTP: a request was not answered within `HttpListenConfig::request_timeout_ms`; answered with
/// 503 where no answer had begun.
pub const HTTP_ANSWER_TIMEOUT: u64 = 0x1_0421;
/// HTTP: a request did not arrive within `HttpListenConfig::receive_timeout_ms`; answered with 408.
pub const HTTP_REQUEST_TIMEOUT: u64 = 0x1_0422;
/// HTTP: no request came within `HttpListenConfig::keep_alive_timeout_ms`. A clean end.
pub const HTTP_IDLE: u64 = 0x1_0423;
/// HTTP: an answer ended before all of the length that it had promised: the application finished it
/// early, or the file that was being sent was cut short.
pub const HTTP_ANSWER_CUT: u64 = 0x1_0424;
/// HTTP: the request was answered before all of its body had come; the rest is thrown away. What a
/// [`BodyStream`](crate::BodyStream) says then, no connection's end.
pub const HTTP_BODY_UNWANTED: u64 = 0x1_0430;
/// HTTP client: the server sent bytes that no request had asked for: its connection is not used any
/// more (RFC 9112 §9.2).
pub const HTTP_UNSOLICITED: u64 = 0x1_0440;
/// HTTP client: more interim responses (1xx) came than one request may have.
pub const HTTP_INTERIM_FLOOD: u64 = 0x1_0441;
/// HTTP client: the server changes the protocol (101), and was not asked to.
pub const HTTP_UNASKED_UPGRADE: u64 = 0x1_0442;
/// HTTP client: the server ended the connection before it answered.
pub const HTTP_NO_RESPONSE: u64 = 0x1_0443;
/// HTTP client: no response began within `HttpPoolConfig::first_byte_timeout_ms`.
pub const HTTP_FIRST_BYTE_TIMEOUT: u64 = 0x1_0444;
/// HTTP client: a body paused for longer than `HttpPoolConfig::body_timeout_ms`.
pub const HTTP_BODY_TIMEOUT: u64 = 0x1_0445;
/// HTTP client: the whole request took longer than it may: `HttpPoolConfig::request_timeout_ms`, or
/// its own `timeout`.
pub const HTTP_DEADLINE: u64 = 0x1_0446;
/// HTTP client: the proxy refused the tunnel.
pub const HTTP_PROXY_REFUSED: u64 = 0x1_0447;
/// HTTP client: a streamed request was finished before all of the length that its head promised.
pub const HTTP_REQUEST_CUT: u64 = 0x1_0448;
/// HTTP client: the `Io` has no place for another connection, or for resolving another name.
pub const HTTP_NO_CONNECTION: u64 = 0x1_0449;

/// QUIC: the peer no longer knows the connection (a stateless reset, RFC 9000 §10.3): it was
/// restarted, or timed out earlier.
pub const QUIC_STATELESS_RESET: u64 = 0x1_0600;
/// QUIC: the peer speaks no version that we do.
pub const QUIC_VERSION: u64 = 0x1_0601;
/// QUIC: there are no connection ids left to connect with.
pub const QUIC_CIDS_EXHAUSTED: u64 = 0x1_0602;
/// QUIC: the server takes no connections at present (`CONNECTION_REFUSED`).
pub const QUIC_REFUSED: u64 = 0x1_0603;

/// Of the codes of QUIC connections, the two highest bits: nobody's but zero-io's.
const QUIC_OWNER_SHIFT: u32 = 62;
/// The peer's application closed the connection; the other bits are its code, of which 0 is an
/// orderly end.
pub const QUIC_APP: u64 = 1 << QUIC_OWNER_SHIFT;
/// The peer's QUIC gave up; the other bits are the code of RFC 9000 §20.1.
pub const QUIC_PEER_TRANSPORT: u64 = 2 << QUIC_OWNER_SHIFT;
/// The peer broke the protocol; the other bits are the code of RFC 9000 §20.1 that it was told.
pub const QUIC_OWN_TRANSPORT: u64 = 3 << QUIC_OWNER_SHIFT;

/// Whose code ended a QUIC connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuicCloser {
    /// The peer's application.
    PeerApplication,
    /// The peer's QUIC.
    PeerTransport,
    /// Our QUIC.
    OwnTransport,
}

/// The code of a QUIC connection's end that is not zero-io's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuicClose {
    /// Whose.
    pub by: QuicCloser,
    /// The code as it was on the wire.
    pub code: u64,
}

/// Takes apart the code of a QUIC connection. `None`: it is a number of this module.
#[must_use]
pub const fn quic_close(error_code: u64) -> Option<QuicClose> {
    let by = match error_code >> QUIC_OWNER_SHIFT {
        0 => return None,
        1 => QuicCloser::PeerApplication,
        2 => QuicCloser::PeerTransport,
        _ => QuicCloser::OwnTransport,
    };
    Some(QuicClose { by, code: error_code & (QUIC_APP - 1) })
}

/// The name and meaning of a code, or `None` for an errno or an unknown number.
#[must_use]
pub const fn reason(code: u64) -> Option<&'static str> {
    if let Some(QuicClose { by, .. }) = quic_close(code) {
        return Some(match by {
            QuicCloser::PeerApplication => "closed by the peer",
            QuicCloser::PeerTransport => "the peer's QUIC gave up",
            QuicCloser::OwnTransport => "the peer broke QUIC",
        });
    }
    Some(match code {
        NONE => "closed",
        LOCAL_CLOSE => "closed by the application",
        CLOSE_TIMEOUT => "graceful close timed out",
        CONNECT_TIMEOUT => "connect timed out",
        IDLE_TIMEOUT => "idle timeout",
        READ_TIMEOUT => "read timeout",
        WRITE_TIMEOUT => "write timeout",
        RESOLVE_FAILED => "host name not resolved",
        BAD_FRAME => "malformed message",
        FRAME_TOO_LONG => "message too long",
        TRUNCATED => "ended in the middle of a message",
        CARRY_EXHAUSTED => "no buffer for a partial message",
        IO_GONE => "the Io was dropped",
        HANDED_OVER => "handed over to another shard",
        SHUTDOWN => "the server is shutting down",
        PROXY_HEADER => "bad, cut or late PROXY header",
        TLS_TRUNCATED => "TLS stream truncated: no close_notify",
        TLS_HANDSHAKE_TIMEOUT => "TLS handshake timed out",
        TLS_KEY_EXHAUSTED => "TLS key used up: reconnect",
        TLS_NO_REKEY => "TLS key change that the kernel cannot do",
        QUIC_STATELESS_RESET => "QUIC: the peer has lost the connection",
        QUIC_VERSION => "QUIC: no version in common",
        QUIC_CIDS_EXHAUSTED => "QUIC: no connection ids left",
        QUIC_REFUSED => "QUIC: the server refuses connections",
        HTTP_BODY_TOO_LARGE => "HTTP body too large",
        HTTP_ANSWER_TIMEOUT => "HTTP request not answered in time",
        HTTP_REQUEST_TIMEOUT => "HTTP request did not arrive in time",
        HTTP_IDLE => "idle HTTP connection closed",
        HTTP_ANSWER_CUT => "HTTP answer shorter than announced",
        HTTP_BODY_UNWANTED => "HTTP request answered before its body came",
        TLS_HANDSHAKE_EOF => "ended in the middle of the TLS handshake",
        HTTP_BAD_REQUEST_LINE => "HTTP: malformed request line",
        HTTP_BAD_TARGET => "HTTP: malformed request target",
        HTTP_BAD_HEADER => "HTTP: malformed header field",
        HTTP_BAD_HOST => "HTTP: missing, repeated or wrong Host",
        HTTP_BAD_FRAMING => "HTTP: the end of the message is said badly or twice",
        HTTP_BAD_CHUNK => "HTTP: malformed chunk",
        HTTP_URI_TOO_LONG => "HTTP: request target too long",
        HTTP_HEAD_TOO_LARGE => "HTTP: too many or too long header fields",
        HTTP_VERSION => "HTTP version not supported",
        HTTP_NOT_IMPLEMENTED => "HTTP: transfer coding or method not implemented",
        HTTP_EXPECTATION => "HTTP: unknown expectation",
        HTTP_BAD_STATUS_LINE => "HTTP: malformed status line",
        HTTP_UNSOLICITED => "HTTP: the server sent what nobody had asked for",
        HTTP_INTERIM_FLOOD => "HTTP: too many interim responses",
        HTTP_UNASKED_UPGRADE => "HTTP: a change of protocol that nobody had asked for",
        HTTP_NO_RESPONSE => "HTTP: the server closed before it answered",
        HTTP_FIRST_BYTE_TIMEOUT => "HTTP: the response did not begin in time",
        HTTP_BODY_TIMEOUT => "HTTP: the body paused for too long",
        HTTP_DEADLINE => "HTTP: the request took too long",
        HTTP_PROXY_REFUSED => "HTTP: the proxy refused the tunnel",
        HTTP_NO_CONNECTION => "HTTP: no place for another connection",
        HTTP_REQUEST_CUT => "HTTP request shorter than announced",
        _ => match tls_alert(code) {
            Some(alert) => alert_name(alert),
            None => return None,
        },
    })
}

/// The alert in a code of [`TLS_ALERT_SENT`], [`TLS_ALERT_RECEIVED`] or [`TLS_ALERT_UNSENT`].
#[must_use]
pub const fn tls_alert(code: u64) -> Option<u8> {
    match code & !0xFF {
        TLS_ALERT_SENT | TLS_ALERT_RECEIVED | TLS_ALERT_UNSENT => Some(code as u8),
        _ => None,
    }
}

/// The name of a TLS alert, as RFC 8446 §6 and IANA's registry have it.
const fn alert_name(alert: u8) -> &'static str {
    match alert {
        0 => "TLS alert close_notify",
        10 => "TLS alert unexpected_message",
        20 => "TLS alert bad_record_mac",
        22 => "TLS alert record_overflow",
        40 => "TLS alert handshake_failure",
        42 => "TLS alert bad_certificate",
        43 => "TLS alert unsupported_certificate",
        44 => "TLS alert certificate_revoked",
        45 => "TLS alert certificate_expired",
        46 => "TLS alert certificate_unknown",
        47 => "TLS alert illegal_parameter",
        48 => "TLS alert unknown_ca",
        49 => "TLS alert access_denied",
        50 => "TLS alert decode_error",
        51 => "TLS alert decrypt_error",
        70 => "TLS alert protocol_version",
        71 => "TLS alert insufficient_security",
        80 => "TLS alert internal_error",
        86 => "TLS alert inappropriate_fallback",
        90 => "TLS alert user_canceled",
        100 => "TLS alert no_renegotiation",
        109 => "TLS alert missing_extension",
        110 => "TLS alert unsupported_extension",
        112 => "TLS alert unrecognized_name",
        113 => "TLS alert bad_certificate_status_response",
        115 => "TLS alert unknown_psk_identity",
        116 => "TLS alert certificate_required",
        120 => "TLS alert no_application_protocol",
        _ => "TLS alert without a name",
    }
}

/// The name of an errno that ends connections.
pub(crate) const fn errno_name(code: u64) -> &'static str {
    match code {
        4 => "EINTR: interrupted",
        9 => "EBADF: bad file descriptor",
        12 => "ENOMEM: the kernel is out of memory",
        13 => "EACCES: permission denied",
        22 => "EINVAL: invalid argument",
        23 => "ENFILE: the system's file table is full",
        24 => "EMFILE: the process's file table is full",
        32 => "EPIPE: the peer no longer receives",
        71 => "EPROTO: protocol error",
        95 => "EOPNOTSUPP: operation not supported",
        97 => "EAFNOSUPPORT: address family not supported",
        98 => "EADDRINUSE: address in use",
        99 => "EADDRNOTAVAIL: address not available",
        100 => "ENETDOWN: network is down",
        101 => "ENETUNREACH: network unreachable",
        102 => "ENETRESET: dropped by the network",
        103 => "ECONNABORTED: connection aborted",
        104 => "ECONNRESET: connection reset by peer",
        105 => "ENOBUFS: no buffer space in the kernel",
        110 => "ETIMEDOUT: the peer does not answer",
        111 => "ECONNREFUSED: connection refused",
        112 => "EHOSTDOWN: host is down",
        113 => "EHOSTUNREACH: host unreachable",
        125 => "ECANCELED: operation cancelled",
        1 => "EPERM: operation not permitted",
        2 => "ENOENT: no such socket",
        _ => "error reported by the kernel",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_have_their_ranges_to_themselves() {
        let of_quic = [QUIC_STATELESS_RESET, QUIC_VERSION, QUIC_CIDS_EXHAUSTED, QUIC_REFUSED];
        let others = [TLS_HANDSHAKE_EOF, HTTP_NO_CONNECTION, HTTP_BAD_HEADER, LOCAL_CLOSE];
        for code in of_quic.into_iter().chain(others) {
            assert_eq!(tls_alert(code), None, "{code:#x}");
            assert!(reason(code).is_some(), "{code:#x}");
        }
        for base in [TLS_ALERT_SENT, TLS_ALERT_RECEIVED, TLS_ALERT_UNSENT] {
            assert_eq!(tls_alert(base + 40), Some(40));
        }
    }
}
