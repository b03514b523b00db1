//! HTTP servers: sockets, limits, counters.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{ConnTimeouts, ProxyProtocol, TcpListenConfig, UdsListenConfig, check};
use crate::error::Result;
use crate::http::HttpMethod;
use crate::ids::{ConnId, PeerAddr, RequestId};

/// What an HTTP server listens on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum HttpSocket {
    /// TCP.
    Tcp(TcpListenConfig),
    /// A Unix socket.
    Uds(UdsListenConfig),
    /// One that is there already, for [`Io::adopt_http_listener`](crate::Io::adopt_http_listener):
    /// the time limits of its connections.
    Adopted(ConnTimeouts),
}

impl From<TcpListenConfig> for HttpSocket {
    fn from(config: TcpListenConfig) -> Self {
        Self::Tcp(config)
    }
}

impl From<UdsListenConfig> for HttpSocket {
    fn from(config: UdsListenConfig) -> Self {
        Self::Uds(config)
    }
}

impl From<ConnTimeouts> for HttpSocket {
    fn from(timeouts: ConnTimeouts) -> Self {
        Self::Adopted(timeouts)
    }
}

impl HttpSocket {
    /// Time limits of its connections.
    pub(crate) const fn timeouts(&self) -> ConnTimeouts {
        match self {
            Self::Tcp(tcp) => tcp.timeouts,
            Self::Uds(uds) => uds.timeouts,
            Self::Adopted(timeouts) => *timeouts,
        }
    }

    /// Whether its connections begin with a PROXY header.
    pub(crate) const fn proxy(&self) -> Option<&ProxyProtocol> {
        match self {
            Self::Tcp(tcp) => tcp.proxy.as_ref(),
            Self::Uds(uds) => uds.proxy.as_ref(),
            Self::Adopted(_) => None,
        }
    }
}

/// An HTTP server. Every bound on what a client may claim is a field here.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpListenConfig {
    /// Where to listen. Its own framing is not used.
    pub socket: HttpSocket,
    /// Header fields of a request; more are answered with 431. Default 100; 1 to 128.
    pub max_header_count: usize,
    /// Bytes of a request's head, from the method to the empty line; more are answered with 431 (or
    /// 414 when it is the target). Default 16,384; 256 to 49,152.
    pub max_header_size: usize,
    /// A body of up to so many bytes, of a known length, comes whole with its request; a longer or
    /// chunked one in `Event::HttpBodyChunk`s. Default 16,384; at most 65,535 together with
    /// `max_header_size`.
    pub max_body_inline: usize,
    /// Bytes of a request's body; more are answered with 413 (a chunked body that grows beyond ends
    /// its connection). Default 1 GiB.
    pub max_body_size: u64,
    /// Requests of one connection that may wait for their answers; further ones stay unread.
    /// Default 32; 1 to 32.
    pub max_pipelined: usize,
    /// How long a request may wait for its answer, in milliseconds; then 503 is sent and the
    /// connection closed. Default 30,000; 0 is no limit.
    pub request_timeout_ms: u64,
    /// How long a head may take to arrive, and how long a body may pause, in milliseconds; then 408
    /// is sent and the connection closed. Default 10,000; 0 is no limit.
    pub receive_timeout_ms: u64,
    /// How long a connection may be idle between requests, in milliseconds; then it is closed.
    /// Default 75,000; 0 is no limit.
    pub keep_alive_timeout_ms: u64,
    /// Requests of one connection; the last one's answer says `Connection: close`. Default 0: no
    /// limit.
    pub keep_alive_requests: u32,
    /// Send `100 Continue` to a client that waits for it (RFC 9110 §10.1.1). Off, the application
    /// does it with `http_continue`, or answers without having the body sent; bodies that come
    /// inline are always asked for. Default on.
    pub auto_continue: bool,
    /// Bytes from which an answer is compressed for clients that accept it; `None` takes
    /// `Config::compression_threshold`. No effect without a feature that compresses.
    pub compression_threshold: Option<usize>,
    /// HTTP/2: concurrent streams. Default 128. Takes effect with HTTP/2.
    pub h2_max_concurrent_streams: u32,
    /// HTTP/2: the initial flow-control window of a stream in bytes. Default 65,535. Takes effect
    /// with HTTP/2.
    pub h2_initial_window_size: u32,
    /// HTTP/2: the largest frame in bytes. Default 16,384. Takes effect with HTTP/2.
    pub h2_max_frame_size: u32,
    /// HTTP/2: the largest header list in bytes. Default 16,384. Takes effect with HTTP/2.
    pub h2_max_header_list_size: u32,
    /// Called for every answer that was written whole. Default none.
    pub access_log: Option<AccessLog>,
}

impl HttpListenConfig {
    /// The defaults, on that socket.
    #[must_use]
    pub fn new(socket: impl Into<HttpSocket>) -> Self {
        Self {
            socket: socket.into(),
            max_header_count: 100,
            max_header_size: 16_384,
            max_body_inline: 16_384,
            max_body_size: 1 << 30,
            max_pipelined: PIPELINED_MAX,
            request_timeout_ms: 30_000,
            receive_timeout_ms: 10_000,
            keep_alive_timeout_ms: 75_000,
            keep_alive_requests: 0,
            auto_continue: true,
            compression_threshold: None,
            h2_max_concurrent_streams: 128,
            h2_initial_window_size: 65_535,
            h2_max_frame_size: 16_384,
            h2_max_header_list_size: 16_384,
            access_log: None,
        }
    }

    /// The same configuration after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.socket.proxy().map_or(Ok(()), ProxyProtocol::validate)?;
        let rows: [(&'static str, usize, usize, usize, &'static str); 4] = [
            ("HttpListenConfig::max_header_count", self.max_header_count, 1, 128, "1 to 128"),
            (
                "HttpListenConfig::max_header_size",
                self.max_header_size,
                256,
                49_152,
                "256 to 49,152",
            ),
            (
                "HttpListenConfig::max_body_inline",
                self.max_body_inline,
                0,
                MESSAGE_LEN_MAX - self.max_header_size.min(MESSAGE_LEN_MAX),
                "at most 65,535 together with max_header_size",
            ),
            ("HttpListenConfig::max_pipelined", self.max_pipelined, 1, PIPELINED_MAX, "1 to 32"),
        ];
        for (field, value, low, high, range) in rows {
            check(field, value, low <= value && value <= high, range)?;
        }
        Ok(())
    }
}

/// Requests of a connection whose answers are due, at most.
pub(crate) const PIPELINED_MAX: usize = 32;
/// A head and the body behind it: what the 16-bit places of a request can say.
const MESSAGE_LEN_MAX: usize = 65_535;

/// What an access log is told of an answer. The request's path was in its event.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct HttpAccess {
    /// The connection.
    pub conn: ConnId,
    /// The client: behind a proxy that said so, the one that the proxy spoke for.
    pub peer: PeerAddr,
    /// The request.
    pub request: RequestId,
    /// Its method.
    pub method: HttpMethod,
    /// The status code of the answer.
    pub status: u16,
    /// Bytes of the answer's body (without the lines of chunks).
    pub body_bytes: u64,
    /// From the arrival of the request (its whole head) to the last byte of the answer being
    /// queued, with the granularity of a `poll`.
    pub latency: Duration,
}

/// A function to be called for every answer.
#[derive(Clone)]
pub struct AccessLog(Arc<dyn Fn(&HttpAccess) + Send + Sync>);

impl AccessLog {
    /// Calls that function, on the shard's thread: it must not block.
    #[must_use]
    pub fn new(log: impl Fn(&HttpAccess) + Send + Sync + 'static) -> Self {
        Self(Arc::new(log))
    }

    pub(crate) fn call(&self, access: &HttpAccess) {
        (self.0)(access);
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessLog")
    }
}

/// What an HTTP listener has done so far. The figures only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HttpCounters {
    /// Requests handed out.
    pub requests: u64,
    /// Answers by the first digit of their status code: `[0]` counts 1xx, `[4]` counts 5xx. Those
    /// that zero-io gave itself are included.
    pub answers: [u64; 5],
    /// Requests that were refused without being handed out.
    pub refused: u64,
    /// Requests that waited for their answer or for their own bytes for too long.
    pub timeouts: u64,
    /// Bytes of heads and bodies of requests that were handed out, lines of chunks included.
    pub bytes_received: u64,
    /// Bytes of heads and bodies of answers, lines of chunks and `100 Continue` included.
    pub bytes_sent: u64,
    /// Answers by latency: `[n]` counts those below 2^n microseconds (and not below 2^(n-1)); the
    /// last one all that took longer.
    pub latency_us_log2: [u64; Self::LATENCY_BUCKETS],
}

impl HttpCounters {
    /// Buckets of the latency histogram.
    pub const LATENCY_BUCKETS: usize = 27;
}
