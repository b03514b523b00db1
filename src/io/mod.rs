//! [`Io`]: what the application names.
//!
//! Role: the public methods, by subject, one file each. Not role: doing anything: every method is
//! one call into the engine.

mod cluster;
mod handle;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http-client")]
mod http_client;
#[cfg(feature = "http")]
mod http_file;
#[cfg(all(feature = "http", feature = "tls"))]
mod http_tls;
mod proxy;
#[cfg(feature = "quic")]
mod quic;
#[cfg(feature = "quic")]
mod quic_handle;
mod seed;
#[cfg(feature = "_sim")]
mod sim;
mod split;
mod stream;
#[cfg(feature = "tcp")]
mod tcp;
#[cfg(all(feature = "tcp", feature = "tls"))]
mod tls;
mod udp;
#[cfg(feature = "tcp")]
mod uds;

use std::marker::PhantomData;
use std::time::Duration;

pub use handle::IoHandle;
pub use proxy::ProxiedBy;
pub use seed::IoSeed;
pub use split::{Events, Sender};
pub use udp::UdpTransmit;

use crate::config::{Config, Effective};
use crate::engine::Engine;
use crate::error::Result;
use crate::event::Event;
use crate::pool::{OwnedSlot, PoolPressureInfo, PoolStats, PressureState};
use crate::ring::{Ring, Uring};
use crate::stats::IoStats;
use crate::trace;

/// One shard: its sockets, its ring, its payload pool and its connection table. Driven by the
/// thread that made it.
///
/// ```no_run
/// use std::time::Duration;
/// use zero_io::{Config, Event, Io};
///
/// # fn main() -> zero_io::Result<()> {
/// let mut io = Io::new(Config::default())?;
/// io.tcp_listen("127.0.0.1:7000".parse().unwrap())?;
/// loop {
///     io.poll(Duration::from_millis(10))?;
///     let (mut events, mut sender) = io.split();
///     while let Some(event) = events.next_event() {
///         match event {
///             Event::StreamFrame { conn, stream, data, .. } => {
///                 // A client that is gone, or that reads nothing, ends alone.
///                 if sender.stream_write(conn, stream, data) != Ok(data.len()) {
///                     let _ = sender.close(conn);
///                 }
///             }
///             Event::ReadClosed { conn, .. } => {
///                 let _ = sender.close_graceful(conn, Duration::ZERO);
///             }
///             _ => {}
///         }
///     }
/// }
/// # }
/// ```
pub struct Io {
    /// Boxed: the two halves of a split point to it.
    engine: Box<Engine>,
    /// `!Send`: the ring answers to the thread that made it.
    _here: PhantomData<*mut ()>,
}

impl Io {
    /// Makes a shard: allocates its pools, opens its ring and tries it.
    ///
    /// Raises the soft `RLIMIT_NOFILE` of the process to the hard one: every connection is a
    /// descriptor.
    ///
    /// # Errors
    /// [`IoError::InvalidConfig`](crate::IoError::InvalidConfig) names the field;
    /// [`KernelTooOld`](crate::IoError::KernelTooOld),
    /// [`UringDenied`](crate::IoError::UringDenied),
    /// [`MemlockLimit`](crate::IoError::MemlockLimit) and
    /// [`NofileLimit`](crate::IoError::NofileLimit) name the cause and the fix.
    pub fn new(config: Config) -> Result<Self> {
        config.validate()?;
        let fixed = u32::try_from(config.max_connections).unwrap_or(u32::MAX);
        let ring = Uring::new(&config.uring, fixed)?;
        Self::with_ring(config, Ring::Uring(ring))
    }

    pub(crate) fn with_ring(config: Config, ring: Ring) -> Result<Self> {
        config.validate()?;
        let engine = Box::new(Engine::new(config, ring)?);
        trace::io_started(&engine.effective);
        Ok(Self { engine, _here: PhantomData })
    }

    /// One tick: submits what was written, takes what the kernel completed, fires timers. Sleeps
    /// for at most `timeout` when there is nothing to do; `Duration::ZERO` never sleeps, and makes
    /// no system call when there is nothing to do.
    ///
    /// It may return early, without an event. Events that were not taken stay queued.
    ///
    /// # Errors
    /// [`IoError::Forked`](crate::IoError::Forked) in a child process;
    /// [`IoError::Os`](crate::IoError::Os) when the kernel fails the ring itself. Interrupted and
    /// empty waits are not errors.
    pub fn poll(&mut self, timeout: Duration) -> Result<()> {
        self.engine.tick(timeout)
    }

    /// The next event. It borrows the `Io`: it is valid until the next call on it. To write while
    /// looking at an event, use [`split`](Self::split).
    #[inline]
    pub fn next_event(&mut self) -> Option<Event<'_>> {
        self.engine.next_event()
    }

    /// The payload of the event that `next_event` returned last, to be kept and sent to other
    /// threads: one reference count, no copy (a copy when `Config::detached_max_pct` is reached).
    /// `None` when that event has no payload, it was detached already, or no buffer is left: then
    /// the event can still be handled in place.
    pub fn detach_event_data(&mut self) -> Option<OwnedSlot> {
        self.engine.detach_current().ok()
    }

    /// As [`detach_event_data`](Self::detach_event_data), with the reason.
    ///
    /// # Errors
    /// [`IoError::PoolExhausted`](crate::IoError::PoolExhausted) when the caps are reached and no
    /// buffer is left for a copy; [`IoError::InvalidArgument`](crate::IoError::InvalidArgument)
    /// when there is nothing to detach.
    pub fn try_detach_event_data(&mut self) -> Result<OwnedSlot> {
        self.engine.detach_current()
    }

    /// Two halves of the `Io`, so that an event can be looked at while something is sent. Neither
    /// can poll, so an event is never stale.
    pub fn split(&mut self) -> (Events<'_>, Sender<'_>) {
        split::split(&mut self.engine)
    }

    /// What the kernel gave: the answer to every `Toggle` of the configuration.
    #[must_use]
    pub fn effective(&self) -> Effective {
        self.engine.effective
    }

    /// The pressure on the pools, while there is any: `None` when healthy.
    #[must_use]
    pub fn pool_pressure(&self) -> Option<PoolPressureInfo> {
        let info = self.engine.pressure_info();
        (info.state != PressureState::Healthy).then_some(info)
    }

    /// Current, peak and capacity of every pool.
    #[must_use]
    pub fn pool_stats(&self) -> PoolStats {
        self.engine.pool_stats()
    }

    /// What this shard has done so far.
    #[must_use]
    pub fn io_stats(&self) -> IoStats {
        self.engine.stats
    }

    /// A way for other threads to send through this shard.
    #[must_use]
    pub fn handle(&self) -> IoHandle {
        IoHandle::new(&self.engine)
    }

    /// Checks that every buffer is accounted for. For tests and debugging; walks all tables.
    ///
    /// # Panics
    /// When one is not: a bug in zero-io.
    pub fn audit(&self) {
        self.engine.audit();
    }

    /// Whether nothing is open, queued, held or under way. For tests.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.engine.is_idle()
    }
}

impl Drop for Io {
    /// Cancels what is under way, closes every descriptor, and gives the memory back. Connections
    /// end without an event; what was queued may not be sent, nor what a zero-copy send handed over
    /// and the peer did not acknowledge: use `close_graceful` and poll before.
    fn drop(&mut self) {
        let came_home = self.engine.shut_down();
        trace::io_stopped(came_home);
        if !came_home {
            // P5: the kernel still refers to the memory, so it must outlive the process.
            self.engine.leak_memory();
        }
    }
}

impl std::fmt::Debug for Io {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Io").field("effective", &self.engine.effective).finish_non_exhaustive()
    }
}
