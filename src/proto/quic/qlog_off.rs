//! The shape of `quic-qlog` without the feature: a log that is asked for is refused.

use std::net::SocketAddr;
use std::time::Instant;

use quinn_proto::TransportConfig;

use crate::config::{NoLog, Qlog, QlogWriter};

pub(super) const IS_BUILT: bool = false;

/// What the machine would ask for.
const _: fn(&Qlog, bool, SocketAddr) -> Result<QlogWriter, NoLog> = Qlog::begin;
const _: fn() = crate::trace::qlog_ends;

pub(super) const fn attach(_: &mut TransportConfig, _: &Qlog, _: bool, _: SocketAddr, _: Instant) {}
