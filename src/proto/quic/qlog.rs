//! Logs, by the machine's own hand: feature `quic-qlog`.

use std::net::SocketAddr;
use std::time::Instant;

use quinn_proto::{QlogConfig, TransportConfig};

use crate::config::{NoLog, Qlog};

/// Whether there can be any.
pub(super) const IS_BUILT: bool = true;

/// Gives a connection that begins its log.
pub(super) fn attach(
    to: &mut TransportConfig,
    log: &Qlog,
    is_server: bool,
    peer: SocketAddr,
    now: Instant,
) {
    let writer = match log.begin(is_server, peer) {
        Ok(writer) => writer,
        Err(NoLog::Bound { is_first: true }) => return crate::trace::qlog_ends(),
        Err(NoLog::Bound { .. } | NoLog::Unwanted) => return,
    };
    let side = if is_server { "server" } else { "client" };
    let mut config = QlogConfig::default();
    config.writer(writer).title(Some(format!("zero-io, {side} of {peer}"))).start_time(now);
    to.qlog_stream(config.into_stream());
}
