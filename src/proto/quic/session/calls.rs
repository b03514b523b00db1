//! What the application asks of a connection. After a call, `settle`.

use bytes::Bytes;
use quinn_proto::{SendDatagramError, VarInt};

use super::{DATAGRAM_OVERHEAD, Phase, Session, wire_dir, wire_id};
use crate::config::DatagramsFull;
use crate::error::{IoError, Result};
use crate::ids::{Protocol, StreamDir, StreamId};
use crate::proto::quic::streams::own_id;
use crate::time::Time;

/// The longest reason that is sent with a close; it has to fit a packet.
const REASON_LEN_MAX: usize = 256;

impl Session {
    /// Opens a stream, which the peer learns of by what is sent on it.
    pub(crate) fn open(&mut self, dir: StreamDir) -> Result<StreamId> {
        self.require_open()?;
        self.open_any(dir)
    }

    pub(super) fn open_any(&mut self, dir: StreamDir) -> Result<StreamId> {
        let Some(id) = self.conn.streams().open(wire_dir(dir)) else {
            self.streams.want(dir);
            return Err(IoError::StreamLimit { conn: self.id, dir });
        };
        let id = own_id(id);
        self.streams.on_opened(id);
        Ok(id)
    }

    /// Gives a stream up: what was written and did not arrive is not sent any more. Of one that is
    /// over, nothing.
    pub(crate) fn reset(&mut self, id: StreamId, error_code: u64) -> Result<()> {
        let code = wire_code(error_code)?;
        self.require_streams()?;
        self.require(self.streams.can_send(id))?;
        self.wants_send = true;
        // It may have ended in the meantime.
        let _ = self.conn.send_stream(wire_id(id)).reset(code);
        self.drop_writes(id);
        Ok(())
    }

    /// Asks the peer to send no more on a stream, and takes nothing more of it. Of one that is
    /// over, nothing.
    pub(crate) fn stop(&mut self, id: StreamId, error_code: u64) -> Result<()> {
        let code = wire_code(error_code)?;
        self.require_streams()?;
        self.require(self.streams.can_receive(id))?;
        self.wants_send = true;
        self.reader.forget(id);
        let _ = self.conn.recv_stream(wire_id(id)).stop(code);
        Ok(())
    }

    /// Streams with a higher number are sent first. The default is 0.
    pub(crate) fn set_priority(&mut self, id: StreamId, priority: i32) -> Result<()> {
        self.require_send(id)?;
        let set = self.conn.send_stream(wire_id(id)).set_priority(priority);
        set.map_err(|_| self.write_closed())
    }

    /// Tells nothing that was received until `resume`: the windows close, and the peer waits.
    pub(crate) const fn pause(&mut self) {
        self.is_paused = true;
    }

    pub(crate) const fn resume(&mut self) {
        self.is_paused = false;
    }

    /// Tells nothing of one stream until `resume_stream`: its window closes.
    pub(crate) fn pause_stream(&mut self, id: StreamId) -> Result<()> {
        self.require(self.streams.can_receive(id))?;
        self.reader.pause(id);
        Ok(())
    }

    pub(crate) fn resume_stream(&mut self, id: StreamId) -> Result<()> {
        self.require(self.streams.can_receive(id))?;
        self.reader.resume(id);
        Ok(())
    }

    /// Copies what was received of a stream, as much as fits; how many bytes. Its end is told
    /// behind them.
    pub(crate) fn read(&mut self, id: StreamId, into: &mut [u8]) -> Result<usize> {
        if !self.reader.is_pull() {
            return Err(IoError::StreamNotPullable { protocol: Protocol::Quic });
        }
        self.require(self.streams.can_receive(id))?;
        Ok(self.reader.read(&mut self.conn, id, into, &mut self.wants_send))
    }

    /// Queues a datagram.
    pub(crate) fn send_datagram(&mut self, data: Bytes) -> Result<()> {
        self.require_open()?;
        let (conn, len) = (self.id, data.len());
        let drops = self.how.when_full == DatagramsFull::DropOldest;
        match self.conn.datagrams().send(data, drops) {
            Ok(()) => {
                self.datagrams_taken += 1;
                self.wants_send = true;
                Ok(())
            }
            Err(SendDatagramError::TooLarge) => {
                Err(IoError::DatagramTooLarge { len, max: self.datagram_max()? })
            }
            Err(SendDatagramError::Blocked(_)) => {
                Err(IoError::QueueFull { queue: "QUIC datagram", capacity: self.how.datagrams_max })
            }
            Err(SendDatagramError::UnsupportedByPeer | SendDatagramError::Disabled) => {
                Err(IoError::DatagramsUnsupported { conn })
            }
        }
    }

    /// The longest datagram that the path and the peer take.
    pub(crate) fn datagram_max(&mut self) -> Result<usize> {
        self.require_open()?;
        let max = self.conn.datagrams().max_size().filter(|_| self.how.has_datagrams);
        let max = max.ok_or(IoError::DatagramsUnsupported { conn: self.id })?;
        // A longer one would not even fit the queue.
        Ok(max.min(self.how.datagrams_max.saturating_sub(DATAGRAM_OVERHEAD)))
    }

    /// Ends the connection at once; nothing more is told. It goes on until it is drained, for the
    /// peer may ask again.
    pub(crate) fn close(&mut self, now: Time, error_code: u64, reason: &[u8]) -> Result<()> {
        let code = wire_code(error_code)?;
        let reason = Bytes::copy_from_slice(reason.get(..REASON_LEN_MAX).unwrap_or(reason));
        self.conn.close(self.base.instant(now), code, reason);
        self.phase = Phase::Closed;
        self.wants_send = true;
        self.reader.clear();
        self.notes.clear();
        self.drop_all_writes();
        Ok(())
    }

    // ---- what is asked for exists

    pub(super) fn require_send(&mut self, id: StreamId) -> Result<()> {
        self.require_streams()?;
        self.require(self.streams.can_send(id))?;
        match self.conn.send_stream(wire_id(id)).stopped() {
            Ok(Some(code)) => Err(self.stopped(code)),
            _ => Ok(()),
        }
    }

    const fn require(&self, exists: bool) -> Result<()> {
        if exists { Ok(()) } else { Err(IoError::NoSuchStream { conn: self.id }) }
    }

    /// There are streams once it is open, and before that those for early data.
    pub(super) fn require_streams(&self) -> Result<()> {
        if self.sends_early() { Ok(()) } else { self.require_open() }
    }

    pub(super) const fn require_open(&self) -> Result<()> {
        match self.phase {
            Phase::Open => Ok(()),
            Phase::Handshaking => Err(IoError::NotConnected { conn: self.id }),
            Phase::Lost | Phase::Closed => Err(self.write_closed()),
        }
    }

    pub(super) const fn write_closed(&self) -> IoError {
        IoError::WriteClosed { conn: self.id }
    }

    pub(super) const fn stopped(&self, code: VarInt) -> IoError {
        IoError::StreamStopped { conn: self.id, error_code: code.into_inner() }
    }
}

/// A code as RFC 9000 §16 lets one be written.
pub(super) fn wire_code(error_code: u64) -> Result<VarInt> {
    VarInt::from_u64(error_code).map_err(|_| IoError::InvalidArgument {
        what: "QUIC error code",
        why: "it has at most 62 bits",
    })
}
