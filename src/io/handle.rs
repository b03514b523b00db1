//! [`IoHandle`]: the way from other threads into a shard.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Command, Engine, Requests};
use crate::error::{IoError, PoolKind, Result};
use crate::ids::{ConnId, EndpointId, StreamId};
use crate::pool::WriteGuard;
use crate::pool::{PoolShared, SendBuffer};
use crate::sync::gate::Gate;
use crate::sync::mpsc::PushError;

/// Sends through a shard from any thread. Cheap to clone.
///
/// What one thread asks of one stream, or of one UDP socket, through one handle is done in that
/// order, and so are its posts. A request is all or nothing; that it was taken says that the shard
/// will do it, not that it was done: if the connection ends first, `Event::Disconnected` is the
/// answer, `IoStats::commands_refused` counts what came too late, and of guard writes among that
/// `Event::SendDone` says `SendOutcome::Aborted`, maybe after `Disconnected`. That the loop itself
/// shuts down or closes the connection is such an end.
///
/// A write waits while the connection is being established, TLS handshake included, while
/// `Config::send_high_water` bytes are queued there, or as many pieces as slots hold that many
/// bytes, and while the shard's send queues or guard writes have no room; a datagram waits for room
/// in its socket's queue. What is asked of that stream or socket later waits behind it, as does a
/// graceful close of the connection, whose time runs meanwhile. Requests for others, posts, and a
/// close at once do not wait.
///
/// `Config::handle_queue_entries` bounds what waits, too, and a connection or socket may have only
/// as many requests under way as are left for others: half of them, if it is the only one. Then
/// `QueueFull` is the answer, for that one until its peer reads. Ends need no share, only a place;
/// posts and closes at once no more than room in the queue.
///
/// The shard is woken only if it sleeps. When its `Io` goes, what it has not done yet is dropped:
/// nothing of it is sent, no `SendDone` comes, memory and buffers are released. Whoever needs to
/// know that something was done has the loop say so before it ends.
#[derive(Clone)]
pub struct IoHandle {
    commands: Requests,
    gate: Arc<Gate>,
    pool: Arc<PoolShared>,
    /// Whether the shard has guard writes.
    guards: bool,
}

impl IoHandle {
    pub(super) fn new(engine: &Engine) -> Self {
        let (commands, gate) = engine.handle_parts();
        let pool = Arc::clone(engine.pool.shared());
        Self::from_parts(commands, gate, pool, engine.config.guard_count > 0)
    }

    pub(crate) const fn from_parts(
        commands: Requests,
        gate: Arc<Gate>,
        pool: Arc<PoolShared>,
        guards: bool,
    ) -> Self {
        Self { commands, gate, pool, guards }
    }

    pub(super) fn push(&self, command: Command) -> Result<()> {
        if self.pool.is_gone() {
            return Err(IoError::IoGone);
        }
        self.commands.push(command).map_err(|error| match error {
            PushError::Closed(_) => IoError::IoGone,
            PushError::Full(_) => {
                IoError::QueueFull { queue: "handle", capacity: self.commands.capacity() }
            }
        })?;
        self.nudge();
        Ok(())
    }

    /// A buffer of another shard is refused here: later there would be nobody to tell.
    pub(super) fn check(&self, buffer: &SendBuffer) -> Result<()> {
        buffer.check_of(&self.pool)
    }

    fn nudge(&self) {
        if self.gate.needs_wake() {
            self.pool.wake();
        }
    }

    /// A buffer of the shard's reserve, to be written here and sent without a copy. At most
    /// `Config::pool_slot_size` bytes.
    ///
    /// # Errors
    /// `BufferTooLarge`; `PoolExhausted` when all `Config::handle_reserve_count` are out; `IoGone`.
    pub fn send_buffer(&self, min: usize) -> Result<SendBuffer> {
        if self.pool.is_gone() {
            return Err(IoError::IoGone);
        }
        let buffer = self.pool.reserve_buffer(min);
        if matches!(buffer, Err(IoError::PoolExhausted { .. })) {
            // What was dropped is made up by the shard, which may sleep.
            self.nudge();
        }
        buffer
    }

    pub(super) fn filled(&self, data: &[u8]) -> Result<SendBuffer> {
        let mut buffer = self.send_buffer(data.len())?;
        buffer.as_mut_slice().copy_from_slice(data);
        Ok(buffer)
    }

    /// Copies bytes once and has them sent. Up to `Config::pool_slot_size` bytes come from the
    /// reserve, without an allocation; more are copied into one allocation, which is sent as a
    /// guard write. `IoStats::bytes_copied_tx` of the shard counts the copy when it takes it.
    ///
    /// # Errors
    /// `QueueFull`, `PoolExhausted`, `IoGone`: nothing was taken; `BufferTooLarge` for more than a
    /// slot's bytes where `Config::guard_count` is 0.
    pub fn stream_write(&self, conn: ConnId, stream: StreamId, data: &[u8]) -> Result<()> {
        match self.filled(data) {
            Ok(buffer) => self.push(Command::Write { conn, stream, buffer, copied: true }),
            Err(IoError::BufferTooLarge { .. }) if self.guards => {
                let memory = WriteGuard::Shared(Arc::from(data));
                self.push(Command::WriteGuard { conn, stream, memory, token: None })
            }
            Err(error) => Err(error),
        }
    }

    /// Has a buffer sent from where it lies: one of this handle, or of a received payload
    /// ([`OwnedSlot::try_into_send_buffer`](crate::OwnedSlot::try_into_send_buffer)).
    ///
    /// A buffer that [`send_buffer_for`](crate::Io::send_buffer_for) made for a QUIC connection
    /// goes to QUIC connections only: for another one it is counted as refused.
    ///
    /// # Errors
    /// `QueueFull`, `IoGone`: the buffer went back to the pool. `InvalidArgument` for a buffer of
    /// another shard.
    pub fn stream_write_buffer(
        &self,
        conn: ConnId,
        stream: StreamId,
        buffer: SendBuffer,
    ) -> Result<()> {
        self.check(&buffer)?;
        self.push(Command::Write { conn, stream, buffer, copied: false })
    }

    /// Has memory sent that stays where it is; `Event::SendDone` with this token comes to the
    /// shard's loop, also when nothing of it could be sent.
    ///
    /// # Errors
    /// `QueueFull`, `IoGone`; `PoolExhausted` where `Config::guard_count` is 0.
    pub fn stream_write_guard(
        &self,
        conn: ConnId,
        stream: StreamId,
        memory: impl Into<WriteGuard>,
        token: u64,
    ) -> Result<()> {
        if !self.guards {
            return Err(IoError::exhausted(PoolKind::Guards));
        }
        self.push(Command::WriteGuard { conn, stream, memory: memory.into(), token: Some(token) })
    }

    /// Copies a datagram into the reserve and has it sent. `IoStats::commands_refused` counts those
    /// that the socket cannot send at all: it was closed, or has no way to that address.
    ///
    /// # Errors
    /// `BufferTooLarge` above `Config::pool_slot_size`; `QueueFull`, `PoolExhausted`, `IoGone`.
    pub fn udp_send_bytes(&self, endpoint: EndpointId, to: SocketAddr, data: &[u8]) -> Result<()> {
        let buffer = self.filled(data)?;
        self.push(Command::UdpSend { endpoint, to, buffer })
    }

    /// Ends the sending direction after what was asked before.
    ///
    /// # Errors
    /// `QueueFull`, `IoGone`.
    pub fn shutdown_write(&self, conn: ConnId, stream: StreamId) -> Result<()> {
        self.push(Command::ShutdownWrite { conn, stream })
    }

    /// As [`Io::close`](crate::Io::close).
    ///
    /// # Errors
    /// `QueueFull`, `IoGone`.
    pub fn close(&self, conn: ConnId) -> Result<()> {
        self.push(Command::Close { conn })
    }

    /// As [`Io::close_graceful`](crate::Io::close_graceful).
    ///
    /// # Errors
    /// `QueueFull`, `IoGone`.
    pub fn close_graceful(&self, conn: ConnId, timeout: Duration) -> Result<()> {
        self.push(Command::CloseGraceful { conn, timeout })
    }

    /// Sends the loop a message: `Event::User` with this token and no data.
    ///
    /// # Errors
    /// `QueueFull`, `IoGone`.
    pub fn post(&self, token: u64) -> Result<()> {
        self.push(Command::Post { token, buffer: None })
    }

    /// Sends the loop a message with up to `Config::pool_slot_size` bytes: `Event::User`.
    ///
    /// # Errors
    /// `BufferTooLarge`, `QueueFull`, `PoolExhausted`, `IoGone`.
    pub fn post_data(&self, token: u64, data: &[u8]) -> Result<()> {
        let buffer = self.filled(data)?;
        self.push(Command::Post { token, buffer: Some(buffer) })
    }

    /// Makes a sleeping `poll` return, or the next one that would sleep. No event.
    ///
    /// # Errors
    /// `IoGone`.
    pub fn wake(&self) -> Result<()> {
        if self.pool.is_gone() {
            return Err(IoError::IoGone);
        }
        if self.gate.calls() {
            self.pool.wake();
        }
        Ok(())
    }
}

impl std::fmt::Debug for IoHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IoHandle").finish_non_exhaustive()
    }
}
