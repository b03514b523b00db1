//! HTTP/1.1 clients.

use super::Events;
use super::split::both;
use crate::config::{HttpPoolConfig, HttpPoolStats};
use crate::error::Result;
use crate::event::HttpOwnedResponse;
use crate::ids::{HttpPool, RequestId};
use crate::proto::http::ZeroRequest;

both! {
    /// Makes a pool of client connections: it connects where requests lead, keeps connections that
    /// can be used again, and gives them to the requests that wait.
    ///
    /// # Errors
    /// `InvalidConfig`; `QueueFull` when the `Io` has 16 pools.
    pub fn http_pool(&mut self_, config: HttpPoolConfig) -> Result<HttpPool> {
        self_.http_pool(config)
    }

    /// Sends a request: at once, or when a connection of the pool is free for it. It ends with
    /// `Event::HttpResponse` (and the `Event::HttpBodyChunk`s that follow it), or with
    /// `Event::HttpFailed`.
    ///
    /// # Errors
    /// `InvalidArgument` for a URL, a header field or a method that cannot be sent, and for `https`
    /// without a configuration of TLS; `QueueFull` at `HttpPoolConfig::max_waiting`;
    /// `BufferTooLarge` for a head that fits no stream buffer, or a body where
    /// `Config::guard_count` is 0: stream it. Nothing was taken then.
    pub fn http_request(
        &mut self_,
        pool: HttpPool,
        request: ZeroRequest<'_>,
    ) -> Result<RequestId> {
        self_.http_request(pool, request)
    }

    /// Gives a request up: no further event of it comes. Whether one would have. A connection on
    /// which it was sent, or begun to be sent, is closed, unless others wait for it too.
    pub fn http_cancel(&mut self_, id: RequestId) -> bool {
        self_.http_cancel(id.as_u64())
    }

    /// Closes a pool: it takes no more requests, those under way end as they would have, and idle
    /// connections are closed. When all have ended it is gone.
    ///
    /// # Errors
    /// `InvalidArgument` when it is gone.
    pub fn http_pool_close(&mut self_, pool: HttpPool) -> Result<()> {
        self_.http_pool_close(pool)
    }

    /// What a pool is doing, and has done so far.
    ///
    /// # Errors
    /// `InvalidArgument` when it is gone.
    pub fn http_pool_stats(&mut self_, pool: HttpPool) -> Result<HttpPoolStats> {
        self_.http_pool_stats(pool)
    }
}

impl super::Io {
    /// The response of the event that `next_event` returned last, to be kept: one reference count,
    /// no copy. `None` when that event is no `HttpResponse`, it was detached already, or no buffer
    /// is left: then it can still be handled in place.
    pub fn detach_http_response(&mut self) -> Option<HttpOwnedResponse> {
        self.engine().detach_http_response().ok()
    }
}

impl Events<'_> {
    /// As [`Io::detach_http_response`](super::Io::detach_http_response).
    pub fn detach_http_response(&mut self) -> Option<HttpOwnedResponse> {
        self.engine().detach_http_response().ok()
    }
}
