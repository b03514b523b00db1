//! What the application calls: pools and requests.

use super::requests::{Traits, id_of, index_of};
use crate::config::{HttpPoolConfig, HttpPoolStats, default_pool_tls};
use crate::engine::Engine;
use crate::error::{IoError, Result};
use crate::ids::{HttpPool, RequestId};
use crate::pool::Class;
use crate::proto::http::{Content, Order, RequestOptions, Route, ZeroRequest};

impl Engine {
    pub(crate) fn http_pool(&mut self, config: HttpPoolConfig) -> Result<HttpPool> {
        config.validate()?;
        self.clients.pools.insert(config)
    }

    /// Takes a request, and sends it at once where a connection is free for it.
    pub(crate) fn http_request(
        &mut self,
        id: HttpPool,
        mut request: ZeroRequest<'_>,
    ) -> Result<RequestId> {
        self.now = self.ring.now();
        let is_https = request.check()?.is_https();
        let is_streamed = matches!(request.content, Content::Later(_));
        self.check_pool(id, is_https)?;
        self.check_body(&request)?;
        let mut scratch = std::mem::take(&mut self.clients.scratch);
        let order = Order::new(&mut request, &mut scratch, |len| self.pool.send_buffer(len).ok());
        self.clients.scratch = scratch;
        let order = order?;
        let (head_len, max) = (order.head().len_max(), self.pool.class_size(Class::Stream));
        if head_len > max {
            return Err(IoError::BufferTooLarge { len: head_len, max });
        }
        let key = self.enter(id, order, is_streamed)?;
        self.drive(id.index());
        Ok(id_of(key))
    }

    /// Whether the pool takes a request.
    fn check_pool(&mut self, id: HttpPool, is_https: bool) -> Result<()> {
        let pool = self.clients.pools.find(id)?;
        if pool.is_closing {
            return Err(IoError::InvalidArgument {
                what: "HTTP pool",
                why: "http_pool_close was called: it takes no more requests",
            });
        }
        if pool.live >= pool.live_max() {
            let capacity = pool.config.max_waiting;
            return Err(IoError::QueueFull { queue: "HTTP pool", capacity });
        }
        if is_https && pool.tls.is_none() {
            pool.tls = default_pool_tls()?;
        }
        if is_https && pool.tls.is_none() {
            return Err(IoError::InvalidArgument {
                what: "URL",
                why: "https needs HttpPoolConfig::tls, or the feature tls-platform-roots",
            });
        }
        Ok(())
    }

    /// Whether the body can be sent at all.
    fn check_body(&self, request: &ZeroRequest<'_>) -> Result<()> {
        match &request.content {
            Content::Buffer(buffer) => self.pool.check_adoptable(buffer),
            // They lie in one buffer with the head, of which a quarter is kept for that.
            Content::Copied(bytes) if self.guards.are_none() => self.check_len(bytes.len()),
            Content::Kept(memory) if self.guards.are_none() => self.check_len(memory.bytes().len()),
            _ => Ok(()),
        }
    }

    fn check_len(&self, len: usize) -> Result<()> {
        let max = self.pool.class_size(Class::Stream) / 4 * 3;
        if len > max { Err(IoError::BufferTooLarge { len, max }) } else { Ok(()) }
    }

    /// Puts a request into the queue of its pool.
    fn enter(&mut self, id: HttpPool, order: Order, is_streamed: bool) -> Result<u64> {
        let now = self.now;
        let pool = self.clients.pools.find(id)?;
        let full =
            IoError::QueueFull { queue: "HTTP requests", capacity: super::requests::REQUESTS_MAX };
        let (key, request) = self.clients.requests.insert().ok_or(full)?;
        let url = order.url();
        let route = Route::of(pool.config.proxy.as_ref(), &url, order.is_upgrade());
        let is_safe = order.method.is_safe() && !order.is_upgrade();
        if pool.book.enqueue(index_of(key), &route.key(url), is_safe).is_err() {
            self.clients.requests.remove(key);
            let capacity = pool.config.max_waiting;
            return Err(IoError::QueueFull { queue: "HTTP pool", capacity });
        }
        let no_redirects = order.options.contains(RequestOptions::NO_REDIRECTS);
        let limit = order.timeout.or_else(|| match pool.config.request_timeout_ms {
            0 => None,
            ms => Some(std::time::Duration::from_millis(ms)),
        });
        request.traits.set(Traits::STREAMED, is_streamed);
        request.traits.set(Traits::EXPECTS, order.head().expects_continue());
        request.traits.set(Traits::FOLLOWS, pool.config.redirects > 0 && !no_redirects);
        request.method = order.method;
        request.pool = id.index();
        request.order = Some(order);
        request.timer =
            limit.and_then(|limit| pool.timers.insert(now.saturating_add(limit), key).ok());
        pool.stats.requests += 1;
        pool.live += 1;
        Ok(key)
    }

    /// Takes no more requests; what is under way ends as it would have.
    pub(crate) fn http_pool_close(&mut self, id: HttpPool) -> Result<()> {
        self.now = self.ring.now();
        let pool = self.clients.pools.find(id)?;
        pool.is_closing = true;
        pool.book.close();
        self.drive(id.index());
        Ok(())
    }

    /// A pool that was closed is gone when nothing of it is left.
    pub(super) fn settle_pool(&mut self, pool: u32) {
        let Some(found) = self.clients.pools.get(pool) else { return };
        if found.is_closing && found.live == 0 && found.book.is_finished() {
            self.clients.pools.remove(pool);
        }
    }

    pub(crate) fn http_pool_stats(&mut self, id: HttpPool) -> Result<HttpPoolStats> {
        let pool = self.clients.pools.find(id)?;
        let (open, idle, waiting) = (pool.book.open(), pool.book.idle(), pool.book.waiting());
        Ok(HttpPoolStats { open, idle, waiting, ..pool.stats })
    }
}
