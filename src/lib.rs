//! One [`Io`] per core over io_uring, driven by the caller's own loop: [`Io::poll`], then
//! [`Io::next_event`].

pub mod code;
mod config;
mod conn;
mod engine;
mod error;
mod event;
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
mod time;
mod transport;

pub use config::*;
pub use conn::guard::{StableBytes, WriteGuard};
pub use error::{Errno, IoError, KernelVersion, PoolKind, Result, UringDenied};
pub use event::{Event, PeerAddr, Readiness, SendOutcome};
pub use ids::{ConnId, EndpointId, Protocol, StreamId, TimerId, WatchId};
pub use io::{Events, Io, IoHandle, IoSeed, Sender, UdpTransmit};
pub use pool::{
    OwnedSlot, PoolPressureInfo, PoolStats, PoolUse, PressureState, ReferencePool, SendBuffer,
};
pub use stats::{ConnStats, IoStats};
pub use sys::sockopt::PeerCred;
