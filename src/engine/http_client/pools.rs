//! [`Pools`]: the pools of a shard, each with its book, its hosts, its timers and its figures.

use std::rc::Rc;
use std::time::Duration;

use crate::config::{HttpPoolConfig, HttpPoolStats, PoolTls};
use crate::error::{IoError, Result};
use crate::ids::{ConnId, HttpPool};
use crate::proto::http::pool::Book;
use crate::proto::http::{HostKey, HostKind};
use crate::proto::http_client::ClientShared;
use crate::proto::http1::Limits;
use crate::time::Time;
use crate::time::wheel::Wheel;

/// Pools of a shard at most.
const POOLS_MAX: usize = 16;

/// One pool.
pub(super) struct Pool {
    generation: u32,
    pub(super) config: Rc<HttpPoolConfig>,
    pub(super) shared: Rc<ClientShared>,
    /// What `https` is spoken with, once it was asked for.
    pub(super) tls: Option<PoolTls>,
    pub(super) book: Book,
    /// Its connections, by the book's numbers.
    conns: Vec<ConnId>,
    /// When requests are over as a whole; the data is their key.
    pub(super) timers: Wheel,
    pub(super) stats: HttpPoolStats,
    /// Requests that have not had their last event.
    pub(super) live: usize,
    /// It takes no more requests.
    pub(super) is_closing: bool,
    is_due: bool,
    /// When what found no room is tried again.
    pub(super) retry_at: Time,
}

impl Pool {
    fn new(config: HttpPoolConfig, generation: u32) -> Self {
        let limit = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
        let shared = ClientShared {
            limits: Limits {
                header_count: config.max_header_count as u16,
                header_size: config.max_header_size as u32,
            },
            body_inline: config.max_body_inline as u64,
            body_max: config.max_body_size,
            first_byte_timeout: limit(config.first_byte_timeout_ms),
            body_timeout: limit(config.body_timeout_ms),
        };
        Self {
            generation,
            shared: Rc::new(shared),
            tls: Option::clone(&config.tls),
            book: Book::new(&config),
            conns: Vec::new(),
            timers: Wheel::with_capacity(live_max(&config)),
            stats: HttpPoolStats::default(),
            live: 0,
            is_closing: false,
            is_due: false,
            retry_at: Time::MAX,
            config: Rc::new(config),
        }
    }

    /// The connection with that number in the book.
    pub(super) fn conn_of(&self, member: u32) -> ConnId {
        self.conns.get(member as usize).copied().unwrap_or(ConnId::from_u64(0))
    }

    pub(super) fn set_conn(&mut self, member: u32, conn: ConnId) {
        let at = member as usize;
        if self.conns.len() <= at {
            self.conns.resize(at + 1, ConnId::from_u64(0));
        }
        self.conns[at] = conn;
    }

    /// What the connections to a host reach: a URL of the origin, or of the proxy that is asked for
    /// all of them.
    pub(super) fn origin(&self, host: u32) -> (HostKind, String) {
        let HostKey { kind, host, port } = self.book.key(host);
        let scheme = if kind.is_tls() { "https" } else { "http" };
        let url = match host.contains(':') {
            true => format!("{scheme}://[{host}]:{port}/"),
            false => format!("{scheme}://{host}:{port}/"),
        };
        (kind, url)
    }

    /// A response with that status code came.
    pub(super) fn count(&mut self, status: u16) {
        // RFC 9110 §15: one above 599 is to be treated as a 5xx.
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.stats.responses[class] += 1;
    }

    pub(super) fn live_max(&self) -> usize {
        live_max(&self.config)
    }

    pub(super) fn retries_idempotent(&self) -> bool {
        self.config.retry_idempotent
    }
}

/// Requests of a pool at most: those that wait, those under way, and as many whose last event waits
/// to be handed out.
const fn live_max(config: &HttpPoolConfig) -> usize {
    config.max_waiting + 2 * config.max_connections * config.pipeline
}

/// The pools of a shard.
#[derive(Default)]
pub(super) struct Pools {
    places: Vec<Option<Pool>>,
    generations: Vec<u32>,
    /// Pools with something to do.
    due: Vec<u32>,
}

impl Pools {
    pub(super) const fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Makes a pool.
    pub(super) fn insert(&mut self, config: HttpPoolConfig) -> Result<HttpPool> {
        let free = self.places.iter().position(Option::is_none);
        let index = match free {
            Some(index) => index,
            None if self.places.len() < POOLS_MAX => {
                self.places.push(None);
                self.generations.push(0);
                self.places.len() - 1
            }
            None => return Err(IoError::QueueFull { queue: "HTTP pools", capacity: POOLS_MAX }),
        };
        self.generations[index] += 1;
        let generation = self.generations[index];
        self.places[index] = Some(Pool::new(config, generation));
        Ok(HttpPool::new(index as u32, generation))
    }

    #[inline]
    pub(super) fn get(&mut self, index: u32) -> Option<&mut Pool> {
        self.places.get_mut(index as usize)?.as_mut()
    }

    /// The pool that the application names.
    pub(super) fn find(&mut self, id: HttpPool) -> Result<&mut Pool> {
        let pool = self.get(id.index()).filter(|pool| pool.generation == id.generation());
        pool.ok_or(IoError::InvalidArgument {
            what: "HTTP pool",
            why: "it was closed, or is another Io's",
        })
    }

    pub(super) fn remove(&mut self, index: u32) {
        if let Some(place) = self.places.get_mut(index as usize) {
            *place = None;
        }
    }

    /// There is something to do for a pool.
    pub(super) fn set_due(&mut self, index: u32) {
        if let Some(pool) = self.get(index)
            && !std::mem::replace(&mut pool.is_due, true)
        {
            self.due.push(index);
        }
    }

    pub(super) const fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    pub(super) fn take_due(&mut self) -> Option<u32> {
        let index = self.due.pop()?;
        if let Some(pool) = self.get(index) {
            pool.is_due = false;
        }
        Some(index)
    }

    /// When something falls due.
    pub(super) fn next_due(&self) -> Time {
        let pools = self.places.iter().flatten();
        pools.fold(Time::MAX, |due, pool| {
            let timer = pool.timers.next_deadline().unwrap_or(Time::MAX);
            due.min(pool.retry_at).min(pool.book.next_deadline()).min(timer)
        })
    }

    /// The next request whose time as a whole has passed. Pools whose time has come are put on the
    /// list of those with something to do.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<u64> {
        for index in 0..self.places.len() {
            let Some(pool) = &mut self.places[index] else { continue };
            if pool.retry_at <= now || pool.book.next_deadline() <= now {
                pool.retry_at = Time::MAX;
                pool.book.on_time(now);
                self.set_due(index as u32);
            }
            let Some(pool) = &mut self.places[index] else { continue };
            pool.timers.advance(now);
            if let Some((_, key)) = pool.timers.pop_due() {
                return Some(key);
            }
        }
        None
    }
}
