//! What an operator may want to see happen, through the `tracing` facade; its off-twin is
//! `trace_off.rs`.
//!
//! Role: one function per fact, none on the hot path. Not role: statistics
//! ([`IoStats`](crate::IoStats)).

use crate::config::{Effective, EffectiveRouting, RoutingRefusal};
use crate::error::IoError;
use crate::ids::{ConnId, EndpointId, PeerAddr, Protocol};
use crate::pool::PoolPressureInfo;

/// A shard was made.
pub(crate) fn io_started(effective: &Effective) {
    tracing::info!(target: "zero_io", ?effective, "shard started");
}

/// A shard is dropped. `came_home`: the kernel let go of all memory.
pub(crate) fn io_stopped(came_home: bool) {
    if came_home {
        tracing::info!(target: "zero_io", "shard stopped");
    } else {
        tracing::error!(
            target: "zero_io",
            "shard stopped while the kernel still used its memory: the pool is leaked"
        );
    }
}

/// A listener or a UDP socket was opened.
pub(crate) fn endpoint_opened(endpoint: EndpointId, protocol: Protocol) {
    tracing::debug!(target: "zero_io", %endpoint, %protocol, "endpoint opened");
}

/// A shard could not take its part of an endpoint of the cluster.
pub(crate) fn listen_failed(shard: u16, group: u16, error: &IoError) {
    tracing::error!(target: "zero_io", shard, group, %error, "a shard does not listen");
}

/// The cluster's routing is found out.
pub(crate) fn routing(routing: &EffectiveRouting) {
    let mut lacking = routing.refused.iter().flatten().filter(|r| r.why != RoutingRefusal::NO_QUIC);
    if lacking.next().is_none() && routing.warnings.is_empty() {
        tracing::info!(target: "zero_io", %routing, "cluster routing");
    } else {
        tracing::warn!(target: "zero_io", %routing, "cluster routing is not the best one");
    }
}

/// All routers were made anew.
pub(crate) fn reloaded(routing: &EffectiveRouting) {
    tracing::info!(target: "zero_io", %routing, "cluster routing was made anew");
}

/// Some router could not be made anew: it is what it was.
pub(crate) fn reload_refused(error: &IoError) {
    tracing::warn!(target: "zero_io", %error, "cluster routing stays what it was");
}

/// A shard's life is over; `again`: another one follows.
pub(crate) fn shard_left(shard: u16, panicked: bool, again: bool) {
    if panicked {
        tracing::error!(target: "zero_io", shard, again, "a shard panicked");
    } else {
        tracing::info!(target: "zero_io", shard, again, "a shard ended");
    }
}

/// A listener that is to end may reset who comes late.
pub(crate) fn brake_failed(group: u16, error: &IoError) {
    tracing::warn!(target: "zero_io", group, %error, "a listener cannot be braked");
}

/// What is new may still come to shards that do not take it.
pub(crate) fn steering_failed(error: &IoError) {
    tracing::warn!(target: "zero_io", %error, "a router does not follow the shards");
}

/// Accepting rests.
pub(crate) fn accept_rests(endpoint: EndpointId, error: &IoError) {
    tracing::warn!(target: "zero_io", %endpoint, %error, "accepting rests");
}

/// A connection came from where PROXY headers are not believed.
pub(crate) fn proxy_untrusted(endpoint: EndpointId, peer: &PeerAddr) {
    tracing::debug!(target: "zero_io", %endpoint, %peer, "refused: no trusted proxy");
}

/// A connection ended before its PROXY header was read.
pub(crate) fn proxy_refused(conn: ConnId, reason: &str) {
    tracing::debug!(target: "zero_io", %conn, reason, "no PROXY header");
}

/// A connection is established.
pub(crate) fn conn_opened(conn: ConnId, protocol: Protocol) {
    tracing::debug!(target: "zero_io", %conn, %protocol, "connected");
}

/// A connection ended.
pub(crate) fn conn_ended(conn: ConnId, code: u64, clean: bool) {
    let reason = crate::code::reason(code).unwrap_or_else(|| crate::code::errno_name(code));
    tracing::debug!(target: "zero_io", %conn, code, reason, clean, "disconnected");
}

/// The pools changed their state.
pub(crate) fn pressure(info: &PoolPressureInfo) {
    tracing::warn!(target: "zero_io", ?info, "pool pressure");
}

/// TLS of a connection failed.
pub(crate) fn tls_failed(conn: ConnId, code: u64, reason: &str) {
    tracing::debug!(target: "zero_io", %conn, code, reason, "TLS failed");
}

/// Connections have no log from now on: there are as many as there may be.
pub(crate) fn qlog_ends() {
    tracing::warn!(target: "zero_io", "no further QUIC logs: logs_max or total_bytes_max of Qlog");
}
