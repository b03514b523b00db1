//! What the application asks of connections.

use super::{Hub, session};
use crate::engine::Engine;
use crate::engine::events::NOTHING_TO_DETACH;
use crate::engine::ops::NOT_OF_THIS_EVENT;
use crate::error::{IoError, PoolKind, Result};
use crate::ids::{ConnId, StreamDir, StreamId};
use crate::pool::{OwnedSlot, RawSend, Use};
use crate::proto::quic::session::Session;
use crate::stats::ConnStats;

const STREAMS: &str = "streams to be opened and ended one by one";
const DATAGRAMS: &str = "datagrams";

impl Engine {
    pub(crate) fn quic_open(&mut self, conn: ConnId, dir: StreamDir) -> Result<StreamId> {
        self.quic_session(conn, STREAMS)?.open(dir)
    }

    /// Asks something of a connection that may give it something to send or to tell.
    fn quic_ask(
        &mut self,
        conn: ConnId,
        what: &'static str,
        ask: impl FnOnce(&mut Session) -> Result<()>,
    ) -> Result<()> {
        ask(self.quic_session(conn, what)?)?;
        self.quic_look(conn);
        Ok(())
    }

    pub(crate) fn quic_finish(&mut self, conn: ConnId, stream: StreamId) -> Result<()> {
        self.quic_session(conn, STREAMS)?.finish(stream)?;
        self.quic_dirty_conn(conn);
        Ok(())
    }

    pub(crate) fn quic_reset(&mut self, conn: ConnId, stream: StreamId, code: u64) -> Result<()> {
        self.quic_ask(conn, STREAMS, |session| session.reset(stream, code))
    }

    pub(crate) fn quic_stop(&mut self, conn: ConnId, stream: StreamId, code: u64) -> Result<()> {
        self.quic_ask(conn, STREAMS, |session| session.stop(stream, code))
    }

    pub(crate) fn quic_priority(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        priority: i32,
    ) -> Result<()> {
        self.quic_session(conn, STREAMS)?.set_priority(stream, priority)
    }

    /// Nothing of the connection is read: its windows close.
    pub(in crate::engine) fn quic_pause(&mut self, conn: ConnId) -> Result<()> {
        self.quic_session(conn, STREAMS)?.pause();
        Ok(())
    }

    pub(in crate::engine) fn quic_resume(&mut self, conn: ConnId) -> Result<()> {
        self.quic_session(conn, STREAMS)?.resume();
        self.quic_look(conn);
        Ok(())
    }

    /// Copies as much as the windows allow; how much. `error` is what a connection of another
    /// protocol says.
    pub(in crate::engine) fn quic_write(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        data: &[u8],
        error: IoError,
    ) -> Result<usize> {
        let Self { conns, quic: Hub { memory: Some(memory), .. }, .. } = self else {
            return Err(error);
        };
        let session = session(conns.get(conn)?).ok_or(error)?;
        // Whether the stream takes anything is asked before something is copied.
        let mut done = session.write(stream, &mut [])?;
        while done < data.len() {
            let piece = memory.cells.write(&data[done..]);
            let len = piece.len();
            let taken = session.write(stream, &mut [piece])?;
            done += taken;
            if taken < len {
                break;
            }
        }
        self.stats.bytes_copied_tx += done as u64;
        self.quic_dirty_conn(conn);
        Ok(done)
    }

    pub(crate) fn quic_send_datagram(&mut self, conn: ConnId, data: &[u8]) -> Result<()> {
        self.quic_session(conn, DATAGRAMS)?;
        let Self { conns, quic: Hub { memory: Some(memory), .. }, .. } = self else {
            return Err(IoError::StaleConn { conn });
        };
        let session = session(conns.get(conn)?).ok_or(IoError::StaleConn { conn })?;
        session.send_datagram(memory.cells.write_whole(data))?;
        let is_dirty = session.is_dirty;
        self.stats.bytes_copied_tx += data.len() as u64;
        if !is_dirty {
            self.quic_dirty_conn(conn);
        }
        Ok(())
    }

    pub(crate) fn quic_datagram_max(&mut self, conn: ConnId) -> Result<usize> {
        self.quic_session(conn, DATAGRAMS)?.datagram_max()
    }

    /// Sends the payload of the current event to a connection of another protocol: it is copied,
    /// since it lies in memory that no other protocol names.
    pub(in crate::engine) fn quic_forward(&mut self, conn: ConnId, data: &[u8]) -> Result<()> {
        let Some(shown) = self.quic.current(self.stats.events) else {
            return Err(NOT_OF_THIS_EVENT);
        };
        if !shown.contains(data) {
            return Err(NOT_OF_THIS_EVENT);
        }
        let class = self.pool.class_for(data.len())?;
        let taken = self.pool.take_filled(class, Use::TxBulk, data);
        let (buf, _) = taken.ok_or_else(|| IoError::exhausted(class.kind()))?;
        self.stats.bytes_copied_tx += data.len() as u64;
        self.write_raw(conn, RawSend { buf, start: 0, len: data.len() as u32 })
    }

    /// The payload of the current event, to be kept: a copy, for the same reason.
    pub(in crate::engine) fn quic_detach(&mut self) -> Result<OwnedSlot> {
        let Some(shown) = self.quic.current(self.stats.events) else {
            return Err(NOTHING_TO_DETACH);
        };
        let data = shown.payload();
        let len = data.len() as u32;
        let class = self.pool.class_for(data.len())?;
        let exhausted = IoError::exhausted(PoolKind::Detached);
        let (buf, _) = self.pool.take_filled(class, Use::Scratch, data).ok_or(exhausted)?;
        self.stats.bytes_copied_rx += u64::from(len);
        match self.pool.detach(buf, 0, len) {
            Ok(owned) => {
                // As with any payload: it is detached once.
                self.quic.shown_at = 0;
                Ok(owned)
            }
            Err(error) => {
                self.pool.release(buf);
                Err(error)
            }
        }
    }

    /// The figures of a connection, if it is one of QUIC.
    pub(in crate::engine) fn quic_stats(&mut self, conn: ConnId) -> Option<ConnStats> {
        Some(session(self.conns.find(conn)?)?.stats())
    }
}
