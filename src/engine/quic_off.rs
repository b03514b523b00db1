//! The shape of `quic` without the feature: no connection speaks it.

use super::Engine;
use super::end::Notice;
use super::events::NOTHING_TO_DETACH;
use super::ops::NOT_OF_THIS_EVENT;
use crate::config::ClusterConfig;
use crate::conn::Conn;
use crate::error::{IoError, Result};
use crate::event::Event;
use crate::ids::{ConnId, EndpointId, StreamId};
use crate::pool::{OwnedSlot, SendBuffer, WriteGuard};
use crate::proto::quic::signal::Signal;
use crate::ring::Fd;
use crate::stats::ConnStats;
use crate::time::Time;

/// None.
pub(crate) enum QuicCommand {}

impl QuicCommand {
    pub(super) const fn copied_len(&self) -> usize {
        match *self {}
    }
}

/// None.
#[derive(Debug, Clone)]
pub(crate) enum QuicPlan {}

impl QuicPlan {
    pub(super) const fn check(&self) -> Result<()> {
        match *self {}
    }

    pub(crate) const fn reload<T>(&self) -> T {
        match *self {}
    }

    pub(super) const fn has_own_ids(&self) -> bool {
        match *self {}
    }

    pub(super) const fn use_shard(&mut self, _: u16) {
        match *self {}
    }
}

/// No datagrams are passed on.
#[derive(Clone)]
pub(crate) struct Ferry;

#[derive(Default)]
pub(super) struct Pier(());

#[expect(clippy::unused_self, reason = "the same shape as with the feature")]
#[expect(clippy::needless_pass_by_ref_mut, reason = "the same shape as with the feature")]
impl Pier {
    pub(super) const fn open(&mut self, _: &ClusterConfig) -> Option<Ferry> {
        None
    }

    pub(super) const fn reclaim(&mut self) {}

    pub(super) const fn has_work(&self) -> bool {
        false
    }

    pub(super) const fn is_idle(&self) -> bool {
        true
    }
}

pub(super) struct Hub;

impl Hub {
    pub(super) const fn new(_: usize) -> Self {
        Self
    }

    pub(super) const fn timers_max(_: usize) -> usize {
        0
    }

    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the same shape as with the feature")]
    pub(super) const fn rest(&mut self) {}

    #[expect(clippy::unused_self, reason = "the same shape as with the feature")]
    pub(super) const fn is_idle(&self) -> bool {
        true
    }
}

#[expect(clippy::unused_self, reason = "the same shape as with the feature")]
#[expect(clippy::needless_pass_by_ref_mut, reason = "the same shape as with the feature")]
impl Engine {
    pub(super) const fn is_quic(&mut self, _: ConnId) -> bool {
        false
    }

    pub(super) const fn quic_races(&self, _: ConnId) -> bool {
        false
    }

    pub(super) fn quic_resolved(&mut self, _: ConnId, _: Option<Vec<std::net::SocketAddr>>) {}

    pub(super) const fn quic_receive(&mut self, _: u32) {}

    pub(super) const fn run_ferried(&mut self) {}

    pub(super) fn quic_add_planned(&mut self, _: Fd, plan: &QuicPlan) -> Result<EndpointId> {
        match *plan {}
    }

    pub(super) const fn quic_flush_listed(&mut self, _: u32) {}

    pub(super) const fn quic_cut(&mut self, _: ConnId, _: u64) {}

    pub(super) const fn quic_has_drains(&self) -> bool {
        false
    }

    pub(super) const fn quic_list(&mut self, _: u32) {}

    pub(super) const fn quic_timeout(&mut self, _: ConnId) {}

    pub(super) const fn quic_drain_timeout(&mut self, _: ConnId) {}

    pub(super) const fn quic_audit(&self) {}

    pub(super) const fn quic_command(&mut self, _: ConnId, command: QuicCommand) -> Result<()> {
        match command {}
    }

    pub(crate) fn stream_read(&mut self, conn: ConnId, _: StreamId, _: &mut [u8]) -> Result<usize> {
        let protocol = self.conns.get(conn)?.protocol;
        Err(IoError::StreamNotPullable { protocol })
    }

    pub(super) const fn quic_reclaim(&mut self) {}

    pub(super) const fn quic_lingers(&mut self, _: u32) -> bool {
        false
    }

    pub(super) const fn quic_notice(&mut self, _: ConnId) -> Option<Notice> {
        None
    }

    pub(super) const fn quic_next_of_turn<'a>(&mut self) -> Option<Event<'a>> {
        None
    }

    pub(super) const fn quic_event<'a>(&mut self, _: ConnId, signal: Signal) -> Event<'a> {
        match signal {}
    }

    pub(super) const fn quic_waits(&self, _: &Conn, _: StreamId) -> bool {
        false
    }

    pub(super) const fn quic_write(
        &mut self,
        _: ConnId,
        _: StreamId,
        _: &[u8],
        error: IoError,
    ) -> Result<usize> {
        Err(error)
    }

    pub(super) fn quic_write_buffer(
        &mut self,
        _: ConnId,
        _: StreamId,
        _: SendBuffer,
        _: usize,
        error: IoError,
    ) -> Result<()> {
        Err(error)
    }

    pub(super) fn quic_write_guard(
        &mut self,
        _: (ConnId, StreamId),
        _: WriteGuard,
        _: Option<u64>,
        _: usize,
        error: IoError,
    ) -> Result<()> {
        Err(error)
    }

    pub(super) const fn quic_forward_to(
        &mut self,
        _: ConnId,
        _: StreamId,
        _: &[u8],
        error: IoError,
    ) -> Result<()> {
        Err(error)
    }

    pub(crate) fn send_buffer_for(&mut self, conn: ConnId, min: usize) -> Result<SendBuffer> {
        self.conns.get(conn)?;
        self.pool.send_buffer(min)
    }

    pub(super) const fn quic_forward(&mut self, _: ConnId, _: &[u8]) -> Result<()> {
        Err(NOT_OF_THIS_EVENT)
    }

    pub(super) const fn quic_detach(&mut self) -> Result<OwnedSlot> {
        Err(NOTHING_TO_DETACH)
    }

    pub(super) const fn quic_stats(&mut self, _: ConnId) -> Option<ConnStats> {
        None
    }

    pub(super) const fn quic_local(&mut self, _: ConnId) -> Option<std::net::SocketAddr> {
        None
    }

    pub(super) const fn quic_close(&mut self, conn: ConnId, _: u64, _: &[u8]) -> Result<()> {
        Err(IoError::StaleConn { conn })
    }

    pub(super) const fn quic_close_graceful(&mut self, conn: ConnId, _: Time) -> Result<()> {
        Err(IoError::StaleConn { conn })
    }

    pub(crate) const fn quic_tls<T>(&mut self, _: ConnId) -> Option<T> {
        None
    }

    pub(crate) const fn quic_reload<T>(&mut self, _: EndpointId) -> Option<T> {
        None
    }

    pub(super) const fn quic_finish(&mut self, conn: ConnId, _: StreamId) -> Result<()> {
        Err(IoError::StaleConn { conn })
    }

    pub(super) const fn quic_pause(&mut self, conn: ConnId) -> Result<()> {
        Err(IoError::StaleConn { conn })
    }

    pub(super) const fn quic_resume(&mut self, conn: ConnId) -> Result<()> {
        Err(IoError::StaleConn { conn })
    }
}
