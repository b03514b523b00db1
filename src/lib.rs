//! One `Io` per core over io_uring, driven by the caller's own loop.

pub mod code;
mod config;
mod error;
mod ids;
mod ring;
mod rng;
#[cfg(feature = "_sim")]
#[doc(hidden)]
pub mod sim;
mod sync;
mod sys;
mod time;

pub use config::*;
pub use error::{Errno, IoError, KernelVersion, PoolKind, Result, UringDenied};
pub use ids::{ConnId, EndpointId, Protocol, StreamId, TimerId, WatchId};
pub use sys::sockopt::PeerCred;
