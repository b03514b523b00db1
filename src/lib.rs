//! One [`Io`] per core over io_uring, driven by the caller's own loop: [`Io::poll`], then
//! [`Io::next_event`].

#![cfg_attr(
    any(
        not(feature = "_sim"),
        not(feature = "http-client"),
        not(feature = "quic"),
        not(feature = "tls")
    ),
    expect(dead_code, reason = "features use parts that are always compiled")
)]

mod cluster;
pub mod code;
mod config;
mod conn;
mod engine;
mod error;
mod event;
#[cfg(feature = "_sim")]
#[doc(hidden)]
pub mod fuzz;
#[cfg(feature = "http")]
mod http;
mod ids;
mod io;
mod pool;
mod proto;
mod ring;
mod rng;
#[cfg(feature = "_sim")]
#[doc(hidden)]
pub mod sim;
mod stats;
mod sync;
mod sys;
#[cfg(feature = "http")]
mod tagged;
mod time;
#[cfg(feature = "tracing")]
mod trace;
#[cfg(not(feature = "tracing"))]
#[path = "trace_off.rs"]
mod trace;
mod transport;

/// The README's program, compiled as the documentation's examples are.
#[cfg(all(doctest, feature = "tcp"))]
#[doc = include_str!("../README.md")]
pub struct Readme;

pub use cluster::{
    ClusterHandle, ClusterReadiness, ClusterReport, ClusterStats, IoCluster, ShardExit, ShardIo,
    ShardReport, ShardSeed, ShardStats, Supervised,
};
pub use config::*;
pub use error::{Errno, IoError, KernelVersion, PoolKind, Result, TlsConfigFault, UringDenied};
#[cfg(feature = "http")]
pub use event::{BodyChunk, BodyPart, BodyStream, HttpOwnedRequest};
pub use event::{Event, Readiness, SendOutcome};
#[cfg(feature = "http-client")]
pub use event::{HttpFailure, HttpOwnedResponse, HttpPhase};
#[cfg(feature = "http")]
pub use http::{HttpFile, HttpHeaders, HttpMethod, HttpRequest};
#[cfg(feature = "http-client")]
pub use http::{HttpResponse, HttpUrl, HttpUrlError};
pub use ids::{
    ClusterEndpoint, ConnId, EndpointId, HttpPool, PeerAddr, Protocol, RequestId, StreamDir,
    StreamId, TimerId, WatchId,
};
pub use io::{Events, Io, IoHandle, IoSeed, ProxiedBy, Sender, UdpTransmit};
pub use pool::{
    OwnedSlot, PoolPressureInfo, PoolStats, PoolUse, PressureState, ReferencePool, SendBuffer,
    StableBytes, WriteGuard,
};
#[cfg(feature = "http-client")]
pub use proto::http::ZeroRequest;
#[cfg(feature = "http")]
pub use proto::http::{HttpCookie, HttpFieldValue, SameSite, ZeroResponse};
#[cfg(all(feature = "_sim", feature = "http"))]
#[doc(hidden)]
pub use proto::http_fuzz;
#[cfg(all(feature = "_sim", feature = "tls"))]
#[doc(hidden)]
pub use proto::tls_fuzz;
pub use stats::{ConnStats, EcnState, FleetStats, IoStats, QuicStats};
pub use sys::affinity::{allowed_cpus, pin_current_thread};
pub use sys::sockopt::PeerCred;
