//! What handles ask of QUIC connections from other threads, besides what they ask of all.

use crate::conn::{Conn, Phase};
use crate::engine::Engine;
use crate::error::Result;
use crate::ids::{ConnId, StreamId};
use crate::pool::SendBuffer;
use crate::proto::App;

/// One request of another thread.
pub(crate) enum QuicCommand {
    /// `is_copy`: the handle copied the bytes into the buffer.
    Datagram {
        buffer: SendBuffer,
        is_copy: bool,
    },
    Reset {
        stream: StreamId,
        error_code: u64,
    },
    Stop {
        stream: StreamId,
        error_code: u64,
    },
    Close {
        error_code: u64,
        reason: Box<[u8]>,
    },
}

impl QuicCommand {
    /// Payload bytes that the handle copied for this.
    pub(in crate::engine) fn copied_len(&self) -> usize {
        match self {
            Self::Datagram { buffer, is_copy: true } => buffer.len(),
            _ => 0,
        }
    }
}

impl Engine {
    /// Whether a handle's write to a stream has to wait: for the handshake, as all that is sent
    /// from where it lies, or for what waits at the stream already.
    pub(in crate::engine) fn quic_waits(&self, conn: &Conn, stream: StreamId) -> bool {
        match &conn.app {
            App::Quic(session) if conn.phase == Phase::Open => {
                session.must_wait(stream, self.config.send_high_water)
            }
            _ => false,
        }
    }

    pub(in crate::engine) fn quic_command(
        &mut self,
        conn: ConnId,
        command: QuicCommand,
    ) -> Result<()> {
        match command {
            QuicCommand::Datagram { buffer, .. } => self.quic_send_datagram_buffer(conn, buffer),
            QuicCommand::Reset { stream, error_code } => self.quic_reset(conn, stream, error_code),
            QuicCommand::Stop { stream, error_code } => self.quic_stop(conn, stream, error_code),
            QuicCommand::Close { error_code, reason } => self.quic_close(conn, error_code, &reason),
        }
    }
}
