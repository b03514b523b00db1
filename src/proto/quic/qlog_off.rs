//! The shape of `quic-qlog` without the feature: a log that is asked for is refused.

use std::net::SocketAddr;
use std::time::Instant;

use quinn_proto::TransportConfig;

use crate::config::{Qlog, QlogWriter};

pub(super) const IS_BUILT: bool = false;

/// What the machine would ask for.
const _: fn(&Qlog, bool, SocketAddr) -> Option<QlogWriter> = Qlog::begin;

pub(super) const fn attach(_: &mut TransportConfig, _: &Qlog, _: bool, _: SocketAddr, _: Instant) {}
