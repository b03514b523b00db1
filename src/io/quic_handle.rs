//! QUIC from other threads.

use super::IoHandle;
use crate::engine::{Command, QuicCommand};
use crate::error::Result;
use crate::ids::{ConnId, StreamId};
use crate::pool::SendBuffer;

/// Of QUIC connections, too, what was taken of one stream is done in order: a write for which a
/// stream's window has no room waits at the stream, and the end behind it; beyond
/// `Config::send_high_water` bytes, what follows waits as with other protocols. Writes of handles
/// wait for the end of the handshake. Resets, `stop_sending`, datagrams and `close_with` are done
/// at once. `IoStats::commands_refused` counts what came too late, and datagrams that could not be
/// sent.
impl IoHandle {
    fn quic(&self, conn: ConnId, command: QuicCommand) -> Result<()> {
        self.push(Command::Quic { conn, command })
    }

    /// Copies a datagram into the reserve and has it sent on a QUIC connection.
    ///
    /// # Errors
    /// `BufferTooLarge` above `Config::pool_slot_size`; `QueueFull`, `PoolExhausted`, `IoGone`.
    pub fn send_datagram(&self, conn: ConnId, data: &[u8]) -> Result<()> {
        let buffer = self.filled(data)?;
        self.quic(conn, QuicCommand::Datagram { buffer, is_copy: true })
    }

    /// Has a buffer sent as a datagram, from where it lies.
    ///
    /// # Errors
    /// `QueueFull`, `IoGone`: the buffer went back to where it came from. `InvalidArgument` for a
    /// buffer of another shard.
    pub fn send_datagram_buffer(&self, conn: ConnId, buffer: SendBuffer) -> Result<()> {
        self.check(&buffer)?;
        self.quic(conn, QuicCommand::Datagram { buffer, is_copy: false })
    }

    /// Ends a stream after what was asked before: the same as
    /// [`shutdown_write`](Self::shutdown_write).
    ///
    /// # Errors
    /// `QueueFull`, `IoGone`.
    pub fn stream_finish(&self, conn: ConnId, stream: StreamId) -> Result<()> {
        self.shutdown_write(conn, stream)
    }

    /// As [`Io::stream_reset`](crate::Io::stream_reset).
    ///
    /// # Errors
    /// `QueueFull`, `IoGone`.
    pub fn stream_reset(&self, conn: ConnId, stream: StreamId, error_code: u64) -> Result<()> {
        self.quic(conn, QuicCommand::Reset { stream, error_code })
    }

    /// As [`Io::stop_sending`](crate::Io::stop_sending).
    ///
    /// # Errors
    /// `QueueFull`, `IoGone`.
    pub fn stop_sending(&self, conn: ConnId, stream: StreamId, error_code: u64) -> Result<()> {
        self.quic(conn, QuicCommand::Stop { stream, error_code })
    }

    /// As [`Io::close_with`](crate::Io::close_with). The reason is copied into an allocation.
    ///
    /// # Errors
    /// `QueueFull`, `IoGone`.
    pub fn close_with(&self, conn: ConnId, error_code: u64, reason: &[u8]) -> Result<()> {
        self.quic(conn, QuicCommand::Close { error_code, reason: reason.into() })
    }
}
