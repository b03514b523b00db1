//! The twin of `trace.rs` without the feature `tracing`: the same functions, which do nothing.

use crate::config::{Effective, EffectiveRouting};
use crate::error::IoError;
use crate::ids::{ConnId, EndpointId, PeerAddr, Protocol};
use crate::pool::PoolPressureInfo;

/// A shard was made.
pub(crate) const fn io_started(_effective: &Effective) {}

/// A shard is dropped. `came_home`: the kernel let go of all memory.
pub(crate) const fn io_stopped(_came_home: bool) {}

/// A listener or a UDP socket was opened.
pub(crate) const fn endpoint_opened(_endpoint: EndpointId, _protocol: Protocol) {}

/// A shard could not take its part of an endpoint of the cluster.
pub(crate) const fn listen_failed(_shard: u16, _group: u16, _error: &IoError) {}

/// The cluster's routing is found out.
pub(crate) const fn routing(_routing: &EffectiveRouting) {}

/// All routers were made anew.
pub(crate) const fn reloaded(_routing: &EffectiveRouting) {}

/// Some router could not be made anew: it is what it was.
pub(crate) const fn reload_refused(_error: &IoError) {}

/// A shard's life is over; `again`: another one follows.
pub(crate) const fn shard_left(_shard: u16, _panicked: bool, _again: bool) {}

/// A listener that is to end may reset who comes late.
pub(crate) const fn brake_failed(_group: u16, _error: &IoError) {}

/// What is new may still come to shards that do not take it.
pub(crate) const fn steering_failed(_error: &IoError) {}

/// Accepting rests.
pub(crate) const fn accept_rests(_endpoint: EndpointId, _error: &IoError) {}

/// A connection came from where PROXY headers are not believed.
pub(crate) const fn proxy_untrusted(_endpoint: EndpointId, _peer: &PeerAddr) {}

/// A connection ended before its PROXY header was read.
pub(crate) const fn proxy_refused(_conn: ConnId, _reason: &str) {}

/// A connection is established.
pub(crate) const fn conn_opened(_conn: ConnId, _protocol: Protocol) {}

/// A connection ended.
pub(crate) const fn conn_ended(_conn: ConnId, _code: u64, _clean: bool) {}

/// The pools changed their state.
pub(crate) const fn pressure(_info: &PoolPressureInfo) {}

pub(crate) fn tls_failed(_: ConnId, _: u64, _: &str) {}

/// Connections have no log from now on.
pub(crate) const fn qlog_ends() {}
