//! What the application asks of connections.

use super::{Hub, session};
use crate::engine::Engine;
use crate::error::{IoError, Result};
use crate::ids::{ConnId, StreamDir, StreamId};
use crate::proto::quic::session::Session;
use crate::stats::ConnStats;

const STREAMS: &str = "streams to be opened and ended one by one";
pub(super) const DATAGRAMS: &str = "datagrams";

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
        let asked = self.quic_giving_up(|engine| ask(engine.quic_session(conn, what)?));
        self.quic_look(conn);
        asked
    }

    pub(crate) fn quic_finish(&mut self, conn: ConnId, stream: StreamId) -> Result<()> {
        let session = self.quic_session(conn, STREAMS)?;
        session.finish(stream)?;
        if !session.is_dirty {
            self.quic_dirty_conn(conn);
        }
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

    /// Nothing of one stream is read.
    pub(crate) fn quic_pause_stream(&mut self, conn: ConnId, stream: StreamId) -> Result<()> {
        self.quic_session(conn, STREAMS)?.pause_stream(stream)
    }

    pub(crate) fn quic_resume_stream(&mut self, conn: ConnId, stream: StreamId) -> Result<()> {
        self.quic_ask(conn, STREAMS, |session| session.resume_stream(stream))
    }

    /// Copies what came on a stream, as much as fits; how much.
    pub(crate) fn stream_read(
        &mut self,
        conn: ConnId,
        stream: StreamId,
        into: &mut [u8],
    ) -> Result<usize> {
        let entry = self.conns.get(conn)?;
        let protocol = entry.protocol;
        let session = session(entry).ok_or(IoError::StreamNotPullable { protocol })?;
        let done = session.read(stream, into)?;
        self.stats.bytes_copied_rx += done as u64;
        self.quic_look(conn);
        Ok(done)
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
        let done = session.write_copy(stream, data, &mut memory.cells)?;
        let is_dirty = session.is_dirty;
        self.stats.bytes_copied_tx += done as u64;
        if !is_dirty {
            self.quic_dirty_conn(conn);
        }
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

    /// The figures of a connection, if it is one of QUIC.
    pub(in crate::engine) fn quic_stats(&mut self, conn: ConnId) -> Option<ConnStats> {
        Some(session(self.conns.find(conn)?)?.stats())
    }
}
