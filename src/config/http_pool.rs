//! A pool of HTTP client connections: limits, times, counters.

use std::path::PathBuf;

use super::{HttpProxy, PoolTls, check};
use crate::error::{IoError, Result};

/// A pool of connections to HTTP servers. Every bound on what requests may take, and on what a
/// server may send, is a field here.
///
/// ```
/// use zero_io::HttpPoolConfig;
/// let config = HttpPoolConfig::default().with(|c| c.redirects = 5);
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct HttpPoolConfig {
    /// Connections to one origin (scheme, host and port), those being established included.
    /// Default 8; 1 to 4096.
    pub max_connections_per_host: usize,
    /// Connections of the pool. At the limit, an idle one to another host makes room. Default 256;
    /// 1 to 65,536.
    pub max_connections: usize,
    /// Idle connections that are kept for one origin. Default 8; 0 to 4096.
    pub max_idle_per_host: usize,
    /// Requests that may wait for a connection; beyond, `http_request` fails with
    /// [`IoError::QueueFull`]. Default 1024; 1 to 65,536.
    pub max_waiting: usize,
    /// Requests under way on one connection. Above 1, those with a safe method (GET, HEAD, OPTIONS)
    /// are sent behind others where no further connection may be made. Many servers serve them
    /// slowly, some wrongly. Default 1; 1 to 16.
    pub pipeline: usize,
    /// Requests of one connection; the last says `Connection: close`. Default 0: no limit.
    pub keep_alive_requests: u32,
    /// How long a connection may be idle, in milliseconds. Best shorter than the servers'
    /// keep-alive: a request that meets their close has failed. Default 30,000; 0 is no limit.
    pub idle_timeout_ms: u64,
    /// How long a connection may take to be established, in milliseconds: name, addresses, a
    /// proxy's tunnel. TLS has its own limit. Default 10,000; 0 is no limit.
    pub connect_timeout_ms: u64,
    /// How long a request may wait for the head of its response, in milliseconds, from when its
    /// last byte was queued for sending. Default 30,000; 0 is no limit.
    pub first_byte_timeout_ms: u64,
    /// How long the body of a response may pause, in milliseconds. Default 30,000; 0 is no limit.
    pub body_timeout_ms: u64,
    /// How long a request may take as a whole, waiting and redirects included, in milliseconds;
    /// a request's own `timeout` goes before it. Default 0: no limit.
    pub request_timeout_ms: u64,
    /// Header fields of a response. Default 100; 1 to 128.
    pub max_header_count: usize,
    /// Bytes of a response's head. Default 16,384; 256 to 49,152.
    pub max_header_size: usize,
    /// A body of up to so many bytes, of a known length, comes whole with its response; a longer or
    /// chunked one in `Event::HttpBodyChunk`s. Default 16,384; at most 65,535 together with
    /// `max_header_size`.
    pub max_body_inline: usize,
    /// Bytes of a response's body; a longer one ends in a failure. Default 1 GiB.
    pub max_body_size: u64,
    /// How often a request follows a redirect; then, and where one cannot be followed, the 3xx
    /// itself is the response. Default 0; at most 20.
    pub redirects: u8,
    /// Follow redirects from `https` to `http` as well. Default off.
    pub redirects_lose_tls: bool,
    /// Send a request once more when its connection, which had been used before, ended without a
    /// byte of a response, and the method is idempotent (RFC 9110 §9.2.2). Off, that is done only
    /// where nothing of the request had been sent. Default off.
    pub retry_idempotent: bool,
    /// The proxy to go through. Default none; see [`HttpProxy::from_env`].
    pub proxy: Option<HttpProxy>,
    /// Connect to this Unix socket, whatever host a URL names. Excludes `proxy`. Default none.
    pub unix_socket: Option<PathBuf>,
    /// What `https` is spoken with. Without the feature `tls` there is no value for it. Default
    /// none: the system's roots where the feature `tls-platform-roots` is on; else `https` is
    /// refused.
    pub tls: Option<PoolTls>,
}

impl Default for HttpPoolConfig {
    fn default() -> Self {
        Self {
            max_connections_per_host: 8,
            max_connections: 256,
            max_idle_per_host: 8,
            max_waiting: 1024,
            pipeline: 1,
            keep_alive_requests: 0,
            idle_timeout_ms: 30_000,
            connect_timeout_ms: 10_000,
            first_byte_timeout_ms: 30_000,
            body_timeout_ms: 30_000,
            request_timeout_ms: 0,
            max_header_count: 100,
            max_header_size: 16_384,
            max_body_inline: 16_384,
            max_body_size: 1 << 30,
            redirects: 0,
            redirects_lose_tls: false,
            retry_idempotent: false,
            proxy: None,
            unix_socket: None,
            tls: None,
        }
    }
}

impl HttpPoolConfig {
    /// The same configuration after `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`IoError::InvalidConfig`] with the first bad field, its value and its range;
    /// [`IoError::InvalidArgument`] when two fields exclude each other.
    pub fn validate(&self) -> Result<()> {
        let inline_max = MESSAGE_LEN_MAX - self.max_header_size.min(MESSAGE_LEN_MAX);
        let rows: [(&'static str, usize, usize, usize, &'static str); 9] = [
            (
                "HttpPoolConfig::max_connections_per_host",
                self.max_connections_per_host,
                1,
                4096,
                "1 to 4096",
            ),
            ("HttpPoolConfig::max_connections", self.max_connections, 1, 65_536, "1 to 65,536"),
            ("HttpPoolConfig::max_idle_per_host", self.max_idle_per_host, 0, 4096, "0 to 4096"),
            ("HttpPoolConfig::max_waiting", self.max_waiting, 1, 65_536, "1 to 65,536"),
            ("HttpPoolConfig::pipeline", self.pipeline, 1, 16, "1 to 16"),
            ("HttpPoolConfig::max_header_count", self.max_header_count, 1, 128, "1 to 128"),
            ("HttpPoolConfig::max_header_size", self.max_header_size, 256, 49_152, "256 to 49,152"),
            (
                "HttpPoolConfig::max_body_inline",
                self.max_body_inline,
                0,
                inline_max,
                "at most 65,535 together with max_header_size",
            ),
            ("HttpPoolConfig::redirects", self.redirects.into(), 0, 20, "0 to 20"),
        ];
        for (field, value, low, high, range) in rows {
            check(field, value, low <= value && value <= high, range)?;
        }
        if self.proxy.is_some() && self.unix_socket.is_some() {
            return Err(IoError::InvalidArgument {
                what: "HttpPoolConfig",
                why: "proxy and unix_socket exclude each other: set one of them to None",
            });
        }
        Ok(())
    }
}

/// A head and the body behind it: what the 16-bit places of a response can say.
const MESSAGE_LEN_MAX: usize = 65_535;

/// What a pool of HTTP connections is doing, and has done so far. All figures but the first three
/// only grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HttpPoolStats {
    /// Connections, those being established included.
    pub open: usize,
    /// Connections that no request is under way on.
    pub idle: usize,
    /// Requests that wait for a connection.
    pub waiting: usize,
    /// Requests that were accepted.
    pub requests: u64,
    /// Responses by the first digit of their status code: `[0]` counts 1xx, `[4]` counts 5xx.
    pub responses: [u64; 5],
    /// Requests that ended in `Event::HttpFailed`.
    pub failures: u64,
    /// Requests that were sent again, on another connection.
    pub retries: u64,
    /// Redirects that were followed.
    pub redirects: u64,
    /// Connections that were begun.
    pub connects: u64,
    /// Requests that were sent on a connection that had served another one before.
    pub reuses: u64,
    /// Bytes of heads and bodies of requests.
    pub bytes_sent: u64,
    /// Bytes of heads and bodies of responses.
    pub bytes_received: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_field_is_named() {
        type Change = fn(&mut HttpPoolConfig);
        let bad: [(Change, &str); 9] = [
            (|c| c.max_connections_per_host = 0, "max_connections_per_host"),
            (|c| c.max_connections = 65_537, "max_connections"),
            (|c| c.max_waiting = 0, "max_waiting"),
            (|c| c.pipeline = 17, "pipeline"),
            (|c| c.max_header_count = 129, "max_header_count"),
            (|c| c.max_header_size = 255, "max_header_size"),
            (|c| c.max_body_inline = 65_535, "max_body_inline"),
            (|c| c.redirects = 21, "redirects"),
            (
                |c| {
                    c.unix_socket = Some("/a".into());
                    c.proxy = HttpProxy::new("http://p").ok();
                },
                "unix_socket",
            ),
        ];
        for (change, name) in bad {
            let error = HttpPoolConfig::default().with(change).validate().unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        assert!(HttpPoolConfig::default().validate().is_ok());
    }
}
